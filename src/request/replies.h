/* SPDX-License-Identifier: MIT */
/*
 * Remembered replies of one session: a ring of bytes in which the newest displaces the oldest.
 * Places are counted from the session's first byte on and never wrap, so a place says by itself
 * whether its reply is still there. Pure.
 *
 *   entry: size u32 (whole entry, a multiple of 16) | 12 zeros | payload, padded to 16
 */
#ifndef LLR_REQUEST_REPLIES_H
#define LLR_REQUEST_REPLIES_H

#include <stdbool.h>
#include <stdint.h>

#define LLR_REPLIES_ENTRY_SIZE 16U

struct llr_replies {
	uint64_t oldest;   /* place of the first entry that is still there */
	uint64_t newest;   /* place behind the last */
	uint32_t capacity; /* bytes, a multiple of 16 */
	uint32_t reserved;
};

void llr_replies_init(struct llr_replies *replies, uint32_t capacity);
/* False, and empty, if what a dead worker left makes no sense. bytes: capacity of them. */
bool llr_replies_check(struct llr_replies *replies, const uint8_t *bytes, uint32_t capacity);
/* Copies payload in. True and its place; false: larger than the budget. */
bool llr_replies_keep(struct llr_replies *replies, uint8_t *bytes, const uint8_t *payload,
		      uint32_t size, uint64_t *place);
/* The payload at a place, borrowed until the next keep; NULL: forgotten. */
const uint8_t *llr_replies_find(const struct llr_replies *replies, const uint8_t *bytes,
				uint64_t place, uint32_t size);

#endif
