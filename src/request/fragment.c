/* SPDX-License-Identifier: MIT */
/*
 * Reassembly: see fragment.h. Pure; the owner's thread; owns nothing: object, buffer and bitmap are
 * the caller's.
 *
 * Invariant while active: the bit offset / 16 is set for each part that is in the buffer, and
 * received is the sum of their sizes.
 */
#include "request/fragment.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"

void llr_reassembly_reset(struct llr_reassembly *reassembly)
{
	memset(reassembly, 0, sizeof(*reassembly));
}

static void begin(struct llr_reassembly *reassembly, uint8_t *bitmap, const struct llr_frame *frame)
{
	llr_reassembly_reset(reassembly);
	reassembly->active = 1;
	reassembly->sequence = frame->sequence;
	reassembly->total = frame->fragment.total;
	reassembly->message_crc = frame->fragment.message_crc;
	reassembly->route = frame->route;
	reassembly->budget_us = frame->budget_us;
	reassembly->flags = frame->flags;
	memset(bitmap, 0, LLR_REASSEMBLY_BITMAP_SIZE(frame->fragment.total));
}

/* Whether a part agrees with the size of the others; learns that size from a part not the last. */
static bool on_grid(struct llr_reassembly *reassembly, const struct llr_frame *frame)
{
	uint32_t offset = frame->fragment.offset;
	uint32_t size = frame->payload_size;
	bool last = offset + size == reassembly->total;

	if (!last) {
		uint32_t part = reassembly->part_size == 0 ? size : reassembly->part_size;
		uint32_t tail = reassembly->total - reassembly->last_offset;

		if (size != part || size % 16U != 0 || offset % part != 0)
			return false;
		if (reassembly->last_offset != 0 &&
		    (reassembly->last_offset % part != 0 || tail > part))
			return false;
		reassembly->part_size = part;
		return true;
	}
	if (reassembly->part_size != 0 &&
	    (offset % reassembly->part_size != 0 || size > reassembly->part_size))
		return false;
	if (reassembly->last_offset != 0 && reassembly->last_offset != offset)
		return false;
	reassembly->last_offset = offset;
	return true;
}

/* Offsets and sizes that could be right for some grid: everything later is computed in 32 bits. */
static bool is_sane(const struct llr_frame *frame)
{
	uint32_t offset = frame->fragment.offset;
	uint32_t total = frame->fragment.total;

	return offset % 16U == 0 && offset <= total && frame->payload_size <= total - offset &&
	       (frame->payload_size > 0 || total == 0);
}

enum llr_reassembly_verdict llr_reassembly_add(struct llr_reassembly *reassembly, uint8_t *buffer,
					       uint32_t capacity, uint8_t *bitmap,
					       const struct llr_frame *frame, uint64_t now_ns)
{
	uint32_t bit = frame->fragment.offset / 16U;
	uint8_t mask = (uint8_t)(1U << (bit % 8U));

	LLR_ASSERT(capacity <= LLR_PAYLOAD_SIZE_MAX);
	if (frame->fragment.total > capacity)
		return LLR_PART_TOO_LARGE;
	if (!is_sane(frame))
		return LLR_PART_OFF_GRID;
	if (reassembly->active && frame->sequence < reassembly->sequence)
		return LLR_PART_REPEATED;
	if (!reassembly->active || frame->sequence != reassembly->sequence ||
	    frame->fragment.total != reassembly->total ||
	    frame->fragment.message_crc != reassembly->message_crc)
		begin(reassembly, bitmap, frame);
	if (!on_grid(reassembly, frame))
		return LLR_PART_OFF_GRID;
	if ((bitmap[bit / 8U] & mask) != 0)
		return LLR_PART_REPEATED;

	bitmap[bit / 8U] |= mask;
	memcpy(buffer + frame->fragment.offset, frame->payload, frame->payload_size);
	reassembly->received += frame->payload_size;
	reassembly->last_ns = now_ns;
	if (frame->fragment.offset == 0) {
		reassembly->has_first = 1;
		reassembly->route = frame->route;
		reassembly->budget_us = frame->budget_us;
		reassembly->flags = frame->flags;
	}
	LLR_ASSERT(reassembly->received <= reassembly->total);
	if (reassembly->received < reassembly->total)
		return LLR_PART_TAKEN;
	if (llr_crc32c(0, buffer, reassembly->total) != reassembly->message_crc) {
		llr_reassembly_reset(reassembly);
		return LLR_PART_BAD_CRC;
	}
	return LLR_PART_COMPLETE;
}

bool llr_reassembly_expire(struct llr_reassembly *reassembly, uint64_t now_ns)
{
	if (!reassembly->active || now_ns < reassembly->last_ns ||
	    now_ns - reassembly->last_ns < LLR_REASSEMBLY_IDLE_NS)
		return false;
	llr_reassembly_reset(reassembly);
	return true;
}

uint32_t llr_fragment_part_size(uint32_t datagram_size, uint32_t ext_size)
{
	uint32_t overhead = LLR_HEAD_SIZE + ext_size + LLR_FRAGMENT_SIZE;

	LLR_ASSERT(datagram_size >= overhead + 16U);
	return (datagram_size - overhead) & ~15U;
}
