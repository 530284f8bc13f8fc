/* SPDX-License-Identifier: MIT */
/*
 * A lane: how one client and its worker share memory, and the ring operations of both sides.
 *
 *   request memfd   | client's page | request ring |   client writes, server maps read-only
 *   reply memfd     | server's page | reply ring   |   server writes, client can only read
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
#ifndef LLR_TRANSPORT_LANE_H
#define LLR_TRANSPORT_LANE_H

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLR_LANE_UNIT         64U           /* a cache line; records start at multiples of it */
#define LLR_LANE_PREFIX       16U           /* word and seal before the frame */
#define LLR_LANE_FRAME_MIN    32U           /* a frame is at least its header */
#define LLR_LANE_OVERHEAD     (4096U + 32U) /* of a frame above its payload: body's 4096, header */
#define LLR_LANE_CAPACITY_MIN (256U << 10)  /* three largest records of 64 KiB messages */
#define LLR_LANE_PARKED       1U            /* bit of a parked word, see below */

/*
 * Each side publishes where it has read up to, and whether it sleeps, on its own page. A parked
 * word counts: odd while its owner sleeps or is about to, so that the other side wakes each sleep
 * once. Lines of different writers or rhythms are apart.
 */
struct llr_lane_client_page {
	/* Release by the client's rx_release; acquired by the server's llr_ring_refresh. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint64_t reply_read;
	/* Set before a full fence by wait_prepare; loaded after one by the server's tx_flush. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint32_t parked;
};
struct llr_lane_server_page {
	/* Release by the server's rx_release; acquired by the client's llr_ring_refresh. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint64_t request_read;
	/* Position of the last reply committed, plus 1; 0: none. Read by a successor alone. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint64_t reply_last;
};
/* One for each worker, on a memfd of its own that clients map read-only. */
struct llr_lane_worker_page {
	/* Set before a full fence by wait_prepare; loaded after one by clients' tx_flush. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint32_t parked;
	/* Set with release by the host after a message to the worker, exchanged by the worker. */
	_Alignas(LLR_LANE_UNIT) _Atomic uint32_t news;
};
_Static_assert(sizeof(struct llr_lane_client_page) == 128, "shared between builds");
_Static_assert(sizeof(struct llr_lane_server_page) == 128, "shared between builds");
_Static_assert(sizeof(struct llr_lane_worker_page) == 128, "shared between builds");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared by processes");

/* Sizes of a lane; both memfds have the same. */
struct llr_lane_shape {
	uint32_t message_max;  /* bytes of payload */
	uint32_t frame_max;    /* bytes of a frame */
	uint32_t control_size; /* bytes before the ring: one page of the memory's kind */
	uint32_t capacity;     /* bytes of the ring: a power of two */
};

/* The shape for messages of up to message_max (1..LLR_PAYLOAD_SIZE_MAX). */
void llr_lane_shape_init(struct llr_lane_shape *shape, uint32_t message_max, bool hugepages);
/* True if it is one that llr_lane_shape_init makes: the client's check of what it was told. */
bool llr_lane_shape_is_good(const struct llr_lane_shape *shape);

/* One memfd, mapped: page, ring, ring again. */
struct llr_lane_memory {
	uint8_t *page; /* owns; NULL: not mapped */
	uint8_t *ring; /* within */
	size_t size;   /* of the whole mapping */
};

/* A new memfd of that shape, unsealed. A descriptor, or a negative errno code. */
int llr_lane_memfd(const char *name, size_t size, bool hugepages);
static inline size_t llr_lane_file_size(const struct llr_lane_shape *shape)
{
	return (size_t)shape->control_size + shape->capacity;
}
enum llr_lane_access {
	LLR_LANE_READ,
	LLR_LANE_WRITE,
};
int llr_lane_map(struct llr_lane_memory *memory, int fd, const struct llr_lane_shape *shape,
		 enum llr_lane_access access);
void llr_lane_unmap(struct llr_lane_memory *memory);
/*
 * No more shrinking, growing and sealing; LLR_LANE_READ: nor any new way to write, but the
 * mappings that are there. 0 or a negative errno code.
 */
int llr_lane_seal(int fd, enum llr_lane_access access);
/* True if the file has that size and cannot shrink: reading a mapping of it cannot fault. */
bool llr_lane_is_sealed(int fd, size_t size);

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

/* The writer's own record at position: its size; 0: none was committed there. For a successor. */
static inline uint32_t llr_ring_size_at(const struct llr_ring_writer *writer, uint64_t position)
{
	const uint8_t *record = writer->bytes + (position & (writer->capacity - 1));
	uint64_t word = atomic_load_explicit(
		llr_ring_word(writer->bytes, writer->capacity, position), memory_order_acquire);
	uint64_t seal;

	memcpy(&seal, record + 8, sizeof(seal));
	if ((uint32_t)(word >> 32) != llr_ring_mark(position) || seal != writer->key + position)
		return 0;
	return (uint32_t)word;
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

/*
 * Parks: afterwards the owner looks once more for work, and sleeps only if there is none. The
 * fence orders "I sleep" before that look; the other side's fence orders its work before its look
 * at the word (llr_lane_must_wake): one of the two sees the other.
 */
static inline void llr_lane_park(_Atomic uint32_t *parked)
{
	uint32_t count = atomic_load_explicit(parked, memory_order_relaxed);

	atomic_store_explicit(parked, (count + 1) | LLR_LANE_PARKED, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

/* Wakes; what was published meanwhile is found by polling, so that nothing need be ordered. */
static inline void llr_lane_unpark(_Atomic uint32_t *parked)
{
	uint32_t count = atomic_load_explicit(parked, memory_order_relaxed);

	atomic_store_explicit(parked, (count + 1) & ~LLR_LANE_PARKED, memory_order_relaxed);
}

/*
 * After a full fence behind the commits: true if the other side sleeps and this sleep of its was
 * not ended yet; woken remembers.
 */
static inline bool llr_lane_must_wake(const _Atomic uint32_t *parked, uint32_t *woken)
{
	/* Partner: llr_lane_park. */
	uint32_t count = atomic_load_explicit(parked, memory_order_relaxed);

	if ((count & LLR_LANE_PARKED) == 0 || count == *woken)
		return false;
	*woken = count;
	return true;
}

#endif
