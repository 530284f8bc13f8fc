/* SPDX-License-Identifier: MIT */
/*
 * One direction of a lane: a ring of records with one writer and one reader, in memory that one
 * side can write and the other only reads. Where it lies: lane.h.
 *
 * A record starts at a multiple of 64 and is contiguous, for a ring is mapped twice in a row:
 *
 *   0        4        8                16                    64 (plain REQUEST or REPLY)
 *   +--------+--------+----------------+---------------------+------------------
 *   | size   | mark   | seal           | frame: header, ...  | payload
 *   +--------+--------+----------------+---------------------+------------------
 *   \____ word _______/
 *
 *   position  of a record: bytes written to this ring before it; never wraps
 *   mark      position / 64 + 1, low 32 bits: tells this lap's record from what earlier laps left
 *   seal      the ring's random key + position: tells a record from payload that happens, or was
 *             made, to look like one; whoever supplies payloads does not know the key
 *
 * The word is stored last, with release; the reader polls it at the place where the next record
 * will start. So nothing is cleared behind a record: clearing the next word makes the line that
 * the reader polls change hands twice for each message, which was measured at 60 ns a round trip
 * out of 220. An echo of 64 bytes moves two cache lines each way and no index.
 *
 * The writer learns how far the reader is from one published position, which it loads only when
 * the ring seems full. Nothing in here trusts the other side: a word is loaded once, sizes and
 * positions are bounded before use, and -EPROTO says that they made no sense.
 *
 * Thread: a writer and a reader have one owner each.
 */
#ifndef LLR_TRANSPORT_RING_H
#define LLR_TRANSPORT_RING_H

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLR_LANE_UNIT      64U /* a cache line; records start at multiples of it */
#define LLR_LANE_PREFIX    16U /* word and seal before the frame */
#define LLR_LANE_FRAME_MIN 32U /* a frame is at least its header */

struct llr_ring_writer {
	uint8_t *bytes;               /* borrows; the ring, twice in a row */
	const _Atomic uint64_t *read; /* borrows; where the reader publishes: its memory */
	uint64_t key;
	uint64_t position;  /* where the next record starts */
	uint64_t read_seen; /* the last value of *read that made sense */
	uint32_t capacity;
	uint32_t frame_max;
};

struct llr_ring_reader {
	const uint8_t *bytes;   /* borrows; the ring, twice in a row */
	_Atomic uint64_t *read; /* borrows; where this side publishes */
	uint64_t key;
	uint64_t position; /* where the next record will start */
	uint64_t released; /* as published */
	uint32_t capacity;
	uint32_t frame_max;
};

/* Bytes that a frame takes in the ring. */
static inline uint32_t llr_ring_need(uint32_t frame_size)
{
	return (frame_size + LLR_LANE_PREFIX + LLR_LANE_UNIT - 1) & ~(LLR_LANE_UNIT - 1);
}

static inline uint32_t llr_ring_mark(uint64_t position)
{
	return (uint32_t)(position / LLR_LANE_UNIT) + 1;
}

static inline const _Atomic uint64_t *llr_ring_word(const uint8_t *bytes, uint32_t capacity,
						    uint64_t position)
{
	return (const _Atomic uint64_t *)(const void *)(bytes + (position & (capacity - 1)));
}

/* Bytes that the writer may still write; from what it has seen last. */
static inline uint64_t llr_ring_room(const struct llr_ring_writer *writer)
{
	return writer->capacity - (writer->position - writer->read_seen);
}

/* Looks how far the reader is. 0; -EPROTO: what it published makes no sense. */
static inline int llr_ring_refresh(struct llr_ring_writer *writer)
{
	/* Partner: the release store in llr_ring_release. What it read may now be overwritten. */
	uint64_t read = atomic_load_explicit(writer->read, memory_order_acquire);

	if (read - writer->read_seen > writer->position - writer->read_seen)
		return -EPROTO;
	writer->read_seen = read;
	return 0;
}

/* Where a frame of size may be built. 0; -EAGAIN full; -EMSGSIZE; -EPROTO. */
static inline int llr_ring_reserve(struct llr_ring_writer *writer, uint32_t size, uint8_t **frame)
{
	uint32_t need = llr_ring_need(size);

	if (__builtin_expect(size > writer->frame_max, 0))
		return -EMSGSIZE;
	if (__builtin_expect(need > llr_ring_room(writer), 0)) {
		int code = llr_ring_refresh(writer);

		if (code != 0)
			return code;
		if (need > llr_ring_room(writer))
			return -EAGAIN;
	}
	*frame = writer->bytes + (writer->position & (writer->capacity - 1)) + LLR_LANE_PREFIX;
	return 0;
}

/* Publishes the frame that was built where llr_ring_reserve said; size at most as reserved. */
static inline void llr_ring_commit(struct llr_ring_writer *writer, uint32_t size)
{
	uint8_t *record = writer->bytes + (writer->position & (writer->capacity - 1));
	uint64_t seal = writer->key + writer->position;

	LLR_ASSERT_HOT(size >= LLR_LANE_FRAME_MIN);
	LLR_ASSERT_HOT(llr_ring_need(size) <= llr_ring_room(writer));
	memcpy(record + 8, &seal, sizeof(seal));
	/* Partner: the acquire load in llr_ring_peek. Publishes seal and frame. */
	atomic_store_explicit((_Atomic uint64_t *)(void *)record,
			      size | (uint64_t)llr_ring_mark(writer->position) << 32,
			      memory_order_release);
	writer->position += llr_ring_need(size);
}

/*
 * The next record: 1 and its frame; 0: none yet; -EPROTO: its size makes no sense. The frame stays
 * where it is until llr_ring_release after llr_ring_advance; a hostile writer may still change it.
 */
static inline int llr_ring_peek(const struct llr_ring_reader *reader, const uint8_t **frame,
				uint32_t *size)
{
	/* Partner: the release store in llr_ring_commit. The one load of this word. */
	uint64_t word = atomic_load_explicit(
		llr_ring_word(reader->bytes, reader->capacity, reader->position),
		memory_order_acquire);
	const uint8_t *record = reader->bytes + (reader->position & (reader->capacity - 1));
	uint32_t frame_size = (uint32_t)word;
	uint64_t seal;

	/* The line behind, which most frames reach into, is fetched beside the first. */
	__builtin_prefetch(record + LLR_LANE_UNIT);
	if ((uint32_t)(word >> 32) != llr_ring_mark(reader->position))
		return 0;
	memcpy(&seal, record + 8, sizeof(seal));
	if (__builtin_expect(seal != reader->key + reader->position, 0))
		return 0;
	if (__builtin_expect(
		    frame_size - LLR_LANE_FRAME_MIN > reader->frame_max - LLR_LANE_FRAME_MIN, 0))
		return -EPROTO;
	/* What has not been released cannot have been overwritten by an honest writer. */
	if (__builtin_expect(reader->position - reader->released + llr_ring_need(frame_size) >
				     reader->capacity,
			     0))
		return -EPROTO;
	*frame = record + LLR_LANE_PREFIX;
	*size = frame_size;
	return 1;
}

static inline void llr_ring_advance(struct llr_ring_reader *reader, uint32_t size)
{
	reader->position += llr_ring_need(size);
}

/* Gives back everything up to where llr_ring_advance went. */
static inline void llr_ring_release(struct llr_ring_reader *reader)
{
	reader->released = reader->position;
	/* Partner: the acquire load in llr_ring_refresh. All reads of those bytes are done. */
	atomic_store_explicit(reader->read, reader->released, memory_order_release);
}

#endif
