/* SPDX-License-Identifier: MIT */
/*
 * Remembered replies: see replies.h. Pure; the worker's thread; owns nothing.
 *
 * Invariants: oldest <= newest <= oldest + capacity; entries follow one another without a gap and
 * none crosses the end of the bytes (what is left there is an entry without a payload).
 */
#include "request/replies.h"

#include "base/assert.h"
#include "base/bytes.h"

void llr_replies_init(struct llr_replies *replies, uint32_t capacity)
{
	LLR_ASSERT(capacity % 16U == 0);
	replies->oldest = 0;
	replies->newest = 0;
	replies->capacity = capacity;
	replies->reserved = 0;
}

static uint32_t entry_size_at(const struct llr_replies *replies, const uint8_t *bytes, uint64_t at)
{
	return llr_le32_load(bytes + at % replies->capacity);
}

bool llr_replies_check(struct llr_replies *replies, const uint8_t *bytes, uint32_t capacity)
{
	uint64_t at = replies->oldest;
	bool sane = replies->capacity == capacity && replies->oldest % 16U == 0 &&
		    replies->newest >= replies->oldest &&
		    replies->newest - replies->oldest <= capacity;

	while (sane && at < replies->newest) {
		uint32_t size = entry_size_at(replies, bytes, at);

		sane = size >= LLR_REPLIES_ENTRY_SIZE && size % 16U == 0 &&
		       size <= replies->newest - at && size <= capacity - at % capacity;
		at += size;
	}
	if (!sane)
		llr_replies_init(replies, capacity);
	return sane;
}

/* Makes room for an entry of size bytes at the newest place, and says where. */
static uint64_t entry_open(struct llr_replies *replies, uint8_t *bytes, uint32_t size)
{
	uint64_t at = replies->newest;

	while (at + size - replies->oldest > replies->capacity) {
		LLR_ASSERT(replies->oldest < at);
		replies->oldest += entry_size_at(replies, bytes, replies->oldest);
	}
	/* A worker that dies here has forgotten the oldest before it writes over them. */
	__asm__ __volatile__("" ::: "memory");
	llr_le32_store(bytes + at % replies->capacity, size);
	__asm__ __volatile__("" ::: "memory");
	replies->newest = at + size;
	return at;
}

bool llr_replies_keep(struct llr_replies *replies, uint8_t *bytes, const uint8_t *payload,
		      uint32_t size, uint64_t *place)
{
	uint64_t entry_size = LLR_REPLIES_ENTRY_SIZE + llr_round_up(size, 16);
	uint32_t left = replies->capacity - (uint32_t)(replies->newest % replies->capacity);

	if (entry_size > replies->capacity)
		return false;
	if (entry_size > left)
		(void)entry_open(replies, bytes, left);
	*place = entry_open(replies, bytes, (uint32_t)entry_size);
	if (size > 0)
		memcpy(bytes + *place % replies->capacity + LLR_REPLIES_ENTRY_SIZE, payload, size);
	return true;
}

const uint8_t *llr_replies_find(const struct llr_replies *replies, const uint8_t *bytes,
				uint64_t place, uint32_t size)
{
	uint64_t offset = place % replies->capacity;

	if (place < replies->oldest || place >= replies->newest)
		return NULL;
	/* The slot that says place and size may come from a dead worker: none may reach beyond. */
	if (place % LLR_REPLIES_ENTRY_SIZE != 0 ||
	    size > replies->capacity - offset - LLR_REPLIES_ENTRY_SIZE)
		return NULL;
	return bytes + offset + LLR_REPLIES_ENTRY_SIZE;
}
