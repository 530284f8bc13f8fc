/* SPDX-License-Identifier: MIT */
/*
 * Putting a message together from its parts, in memory that the caller took at start. One object
 * holds one message at a time; a part of a newer one replaces what is there. Pure.
 *
 * Used by the server (one for each datagram session) and the client (one for each slot).
 */
#ifndef LLR_REQUEST_FRAGMENT_H
#define LLR_REQUEST_FRAGMENT_H

#include "request/frame.h"

/* Bytes of the bitmap for a message of size bytes: parts have at least 16. */
#define LLR_REASSEMBLY_BITMAP_SIZE(size) (((size_t)(size) + 127U) / 128U + 8U)

/*
 * Plain data, so that it can lie in a shared session table; a successor that finds nonsense in it
 * calls llr_reassembly_reset. Buffer and bitmap are passed in, for their places differ by process.
 */
struct llr_reassembly {
	uint64_t sequence;
	uint64_t last_ns; /* when the last new part came */
	uint32_t total;   /* bytes; meaningful while active */
	uint32_t message_crc;
	uint32_t part_size;   /* 0: only the last part has come yet */
	uint32_t received;    /* bytes */
	uint32_t last_offset; /* of the last part if it came before part_size was known */
	uint32_t route;       /* of the part at offset 0, or the first that came */
	uint32_t budget_us;   /* likewise */
	uint16_t flags;       /* likewise */
	uint8_t active;
	uint8_t has_first; /* the part at offset 0 has come */
};

enum llr_reassembly_verdict {
	LLR_PART_TAKEN,     /* new, message not complete */
	LLR_PART_REPEATED,  /* known already */
	LLR_PART_COMPLETE,  /* the message is whole and its crc is right */
	LLR_PART_OFF_GRID,  /* off the others' grid or beyond total: dropped */
	LLR_PART_TOO_LARGE, /* total above capacity: nothing kept */
	LLR_PART_BAD_CRC,   /* whole, but message_crc is wrong: dropped */
};

void llr_reassembly_reset(struct llr_reassembly *reassembly);

/*
 * Adds the part in frame (split: fragment block and payload found) at time now_ns.
 * buffer: capacity bytes; bitmap: LLR_REASSEMBLY_BITMAP_SIZE(capacity) bytes.
 */
enum llr_reassembly_verdict llr_reassembly_add(struct llr_reassembly *reassembly, uint8_t *buffer,
					       uint32_t capacity, uint8_t *bitmap,
					       const struct llr_frame *frame, uint64_t now_ns);

/* True, and it is reset, if the message has had no new part for 100 ms. */
bool llr_reassembly_expire(struct llr_reassembly *reassembly, uint64_t now_ns);

/*
 * Payload bytes of each part but the last, where datagrams have datagram_size bytes: a multiple of
 * 16. The first part of an extended request is shorter by its blocks: pass their size.
 */
uint32_t llr_fragment_part_size(uint32_t datagram_size, uint32_t ext_size);

#endif
