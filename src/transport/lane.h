/* SPDX-License-Identifier: MIT */
/*
 * A lane: how one client and its worker share memory.
 *
 *   request memfd   | client's page | request ring |   client writes, server maps read-only
 *   reply memfd     | server's page | reply ring   |   server writes, client can only read
 *
 * The rings themselves: ring.h.
 *
 * Thread: set-up's.
 */
#ifndef LLR_TRANSPORT_LANE_H
#define LLR_TRANSPORT_LANE_H

#include "base/limits.h"
#include "transport/ring.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLR_LANE_PARKED       1U            /* bit of a parked word, see below */
#define LLR_LANE_OVERHEAD     (4096U + 32U) /* of a frame above its payload: body's 4096, header */
#define LLR_LANE_CAPACITY_MIN (256U << 10)  /* three largest records of 64 KiB messages */

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
