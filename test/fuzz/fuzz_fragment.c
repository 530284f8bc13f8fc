/* SPDX-License-Identifier: MIT */
/*
 * Reassembly: the input is a list of parts and of pauses, for one message's memory of exactly its
 * capacity. The parts' bytes follow from their offsets, so that a whole message can be compared.
 */
#include "input.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "request/fragment.h"

#include <stdlib.h>

#define MESSAGE_SIZE_MAX 8192U
#define PART_SIZE_MAX    2048U

/* What stands at each offset of every message. */
static void fill(uint8_t *bytes, uint32_t offset, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)((offset + i) * 7U + ((offset + i) >> 8));
}

static void make_part(struct fuzz_input *input, struct llr_frame *frame, uint8_t *part)
{
	static uint8_t whole[MESSAGE_SIZE_MAX];
	uint16_t control = fuzz_u16(input);
	uint32_t total = fuzz_u16(input) % (MESSAGE_SIZE_MAX + 64U);

	*frame = (struct llr_frame){.type = LLR_REQUEST, .payload = part};
	frame->sequence = control & 7U;
	frame->flags = LLR_FLAG_FRAGMENT;
	frame->fragment.total = total;
	frame->fragment.offset = fuzz_u16(input);
	frame->payload_size = fuzz_u16(input) % (PART_SIZE_MAX + 1U);
	if ((control & 8U) != 0) {
		frame->fragment.offset &= ~15U;
		frame->payload_size &= ~15U;
	}
	/* The last part, as it should be. */
	if ((control & 16U) != 0 && frame->fragment.offset < total &&
	    total - frame->fragment.offset < frame->payload_size)
		frame->payload_size = total - frame->fragment.offset;
	if ((control & 32U) != 0 && total <= MESSAGE_SIZE_MAX) {
		fill(whole, 0, total);
		frame->fragment.message_crc = llr_crc32c(0, whole, total);
	} else {
		frame->fragment.message_crc = control >> 8;
	}
	if ((control & 64U) != 0)
		frame->fragment.offset =
			0U - (uint32_t)(control >> 8); /* near the end of 32 bits */
	fill(part, frame->fragment.offset, frame->payload_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint32_t capacity = fuzz_u16(&input) % (MESSAGE_SIZE_MAX + 1U);
	struct llr_reassembly reassembly = {0};
	uint8_t *buffer = malloc(capacity + 1U);
	uint8_t *bitmap = malloc(LLR_REASSEMBLY_BITMAP_SIZE(capacity));
	uint64_t now_ns = 1;

	LLR_MUST(buffer != NULL);
	LLR_MUST(bitmap != NULL);
	while (input.left > 0) {
		struct llr_frame frame;
		uint8_t part[PART_SIZE_MAX];

		now_ns += (uint64_t)fuzz_u8(&input) * 1000000U;
		(void)llr_reassembly_expire(&reassembly, now_ns);
		make_part(&input, &frame, part);
		if (llr_reassembly_add(&reassembly, buffer, capacity, bitmap, &frame, now_ns) !=
		    LLR_PART_COMPLETE)
			continue;
		LLR_ASSERT(frame.fragment.total <= capacity);
		LLR_ASSERT(llr_crc32c(0, buffer, frame.fragment.total) ==
			   frame.fragment.message_crc);
		llr_reassembly_reset(&reassembly);
	}
	free(bitmap);
	free(buffer);
	return 0;
}
