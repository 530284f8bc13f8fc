/* SPDX-License-Identifier: MIT */
/*
 * Lanes: their memory and seals, the ring operations of both sides, and what a hostile other side
 * may store. The threaded tests run under TSan too: two threads on one mapping stand for two
 * processes, each with its own of the two structs.
 */
#include "transport/lane.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define KEY     0x1122334455667788U
#define RECORDS 200000U
#define PARKS   100000U

struct ring {
	struct llr_lane_memory memory;
	struct llr_lane_shape shape;
	struct llr_lane_client_page *page;
	struct llr_ring_writer writer;
	struct llr_ring_reader reader;
};

static void ring_open(struct ring *ring, uint32_t message_max, uint64_t start)
{
	size_t size;
	int fd;

	llr_lane_shape_init(&ring->shape, message_max, false);
	size = llr_lane_file_size(&ring->shape);
	fd = llr_lane_memfd("test", size, false);
	assert_true(fd >= 0);
	assert_int_equal(llr_lane_map(&ring->memory, fd, &ring->shape, LLR_LANE_WRITE), 0);
	(void)close(fd);
	ring->page = (void *)ring->memory.page;
	atomic_store(&ring->page->reply_read, start);
	ring->writer = (struct llr_ring_writer){
		.bytes = ring->memory.ring,
		.read = &ring->page->reply_read,
		.key = KEY,
		.position = start,
		.read_seen = start,
		.capacity = ring->shape.capacity,
		.frame_max = ring->shape.frame_max,
	};
	ring->reader = (struct llr_ring_reader){
		.bytes = ring->memory.ring,
		.read = &ring->page->reply_read,
		.key = KEY,
		.position = start,
		.released = start,
		.capacity = ring->shape.capacity,
		.frame_max = ring->shape.frame_max,
	};
}

static void ring_close(struct ring *ring)
{
	llr_lane_unmap(&ring->memory);
}

static uint8_t pattern(uint64_t seed, uint32_t at)
{
	return (uint8_t)(seed * 31 + at * 7 + (at >> 8));
}

static bool put(struct ring *ring, uint32_t size, uint64_t seed)
{
	uint8_t *frame = NULL;
	int code = llr_ring_reserve(&ring->writer, size, &frame);

	if (code == -EAGAIN)
		return false;
	assert_int_equal(code, 0);
	for (uint32_t i = 0; i < size; i++)
		frame[i] = pattern(seed, i);
	llr_ring_commit(&ring->writer, size);
	return true;
}

static bool get(struct ring *ring, uint32_t size, uint64_t seed)
{
	const uint8_t *frame = NULL;
	uint32_t got = 0;
	int found = llr_ring_peek(&ring->reader, &frame, &got);

	assert_true(found >= 0);
	if (found == 0)
		return false;
	assert_int_equal(got, size);
	for (uint32_t i = 0; i < size; i++)
		assert_int_equal(frame[i], pattern(seed, i));
	llr_ring_advance(&ring->reader, size);
	return true;
}

static void test_shape(void **state)
{
	struct llr_lane_shape shape;

	(void)state;
	llr_lane_shape_init(&shape, 1, false);
	assert_int_equal(shape.capacity, 256 << 10);
	llr_lane_shape_init(&shape, 65536, false);
	assert_int_equal(shape.capacity, 256 << 10);
	assert_true(llr_lane_shape_is_good(&shape));
	llr_lane_shape_init(&shape, 65537, false);
	assert_int_equal(shape.capacity, 512 << 10);
	llr_lane_shape_init(&shape, LLR_PAYLOAD_SIZE_MAX, false);
	assert_int_equal(shape.capacity, 128 << 20);
	assert_true(llr_lane_shape_is_good(&shape));
	llr_lane_shape_init(&shape, 1, true);
	assert_int_equal(shape.capacity, 2 << 20);
	assert_true(llr_lane_shape_is_good(&shape));
	shape.capacity *= 2;
	assert_false(llr_lane_shape_is_good(&shape));
	shape = (struct llr_lane_shape){.message_max = UINT32_MAX};
	assert_false(llr_lane_shape_is_good(&shape));
	shape = (struct llr_lane_shape){0};
	assert_false(llr_lane_shape_is_good(&shape));
}

/* What was mapped before the seal is written to; nothing else ever can be. */
static void test_seals(void **state)
{
	struct llr_lane_memory writable;
	struct llr_lane_memory readable;
	struct llr_lane_memory another;
	struct llr_lane_shape shape;
	size_t size;
	int fd;

	(void)state;
	llr_lane_shape_init(&shape, 65536, false);
	size = llr_lane_file_size(&shape);
	fd = llr_lane_memfd("test", size, false);
	assert_true(fd >= 0);
	assert_false(llr_lane_is_sealed(fd, size));
	assert_int_equal(llr_lane_map(&writable, fd, &shape, LLR_LANE_WRITE), 0);
	assert_int_equal(llr_lane_seal(fd, LLR_LANE_READ), 0);
	assert_true(llr_lane_is_sealed(fd, size));
	assert_false(llr_lane_is_sealed(fd, size + 1));
	assert_int_equal(llr_lane_map(&readable, fd, &shape, LLR_LANE_READ), 0);
	assert_int_equal(llr_lane_map(&another, fd, &shape, LLR_LANE_WRITE), -EPERM);
	assert_int_equal(mprotect(readable.page, readable.size, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, (off_t)size * 2), -1);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_not_equal(llr_lane_seal(fd, LLR_LANE_WRITE), 0);
	writable.ring[0] = 42;
	assert_int_equal(readable.ring[0], 42);
	assert_int_equal(readable.ring[shape.capacity], 42);
	llr_lane_unmap(&writable);
	llr_lane_unmap(&readable);
	(void)close(fd);
}

static void test_every_size(void **state)
{
	struct ring ring;
	uint64_t laps;

	(void)state;
	ring_open(&ring, 65536, 4096 - 64);
	for (uint32_t size = LLR_LANE_FRAME_MIN; size <= ring.shape.frame_max;
	     size += size < 2048 ? 1 : 61) {
		assert_true(put(&ring, size, size));
		assert_true(get(&ring, size, size));
		assert_false(get(&ring, size, size));
		llr_ring_release(&ring.reader);
	}
	assert_true(put(&ring, ring.shape.frame_max, 1));
	assert_true(get(&ring, ring.shape.frame_max, 1));
	laps = ring.writer.position / ring.shape.capacity;
	assert_true(laps > 10);
	ring_close(&ring);
}

static void test_mark_wraps(void **state)
{
	struct ring ring;

	(void)state;
	ring_open(&ring, 4096, (uint64_t)UINT32_MAX * 64 - 64 * 1000);
	for (uint64_t i = 0; i < 10000; i++) {
		assert_true(put(&ring, 112, i));
		assert_true(get(&ring, 112, i));
		assert_false(get(&ring, 112, i));
		llr_ring_release(&ring.reader);
	}
	ring_close(&ring);
}

static void test_full(void **state)
{
	struct ring ring;
	uint64_t in = 0;
	uint64_t out = 0;
	uint8_t *frame;

	(void)state;
	ring_open(&ring, 65536, 0);
	for (int round = 0; round < 5; round++) {
		while (put(&ring, 112, in))
			in++;
		assert_int_equal(in - out, ring.shape.capacity / 128);
		for (int i = 0; i < 777; i++)
			assert_true(get(&ring, 112, out++));
		assert_int_equal(llr_ring_reserve(&ring.writer, 112, &frame), -EAGAIN);
		llr_ring_release(&ring.reader);
		while (put(&ring, 112, in))
			in++;
		assert_int_equal(in - out, ring.shape.capacity / 128);
		while (get(&ring, 112, out))
			out++;
		assert_int_equal(in, out);
		llr_ring_release(&ring.reader);
	}
	assert_int_equal(llr_ring_reserve(&ring.writer, ring.shape.frame_max + 1, &frame),
			 -EMSGSIZE);
	assert_int_equal(llr_ring_reserve(&ring.writer, UINT32_MAX, &frame), -EMSGSIZE);
	ring_close(&ring);
}

/* A commit may be smaller than its reservation, and a reservation be left. */
static void test_smaller_commit(void **state)
{
	struct ring ring;
	uint8_t *first = NULL;
	uint8_t *second = NULL;

	(void)state;
	ring_open(&ring, 65536, 0);
	assert_int_equal(llr_ring_reserve(&ring.writer, 60000, &first), 0);
	assert_int_equal(llr_ring_reserve(&ring.writer, 112, &second), 0);
	assert_ptr_equal(first, second);
	assert_int_equal(((uintptr_t)first + 48) % 64, 0);
	llr_ring_commit(&ring.writer, 100);
	assert_int_equal(llr_ring_size_at(&ring.writer, 0), 100);
	assert_int_equal(llr_ring_size_at(&ring.writer, 128), 0);
	assert_int_equal(ring.writer.position, 128);
	ring_close(&ring);
}

static void test_hostile_position(void **state)
{
	static const uint64_t lies[] = {0, 1, 4095, 4096 + 129, UINT64_MAX, 1ULL << 63, 5000};
	struct ring ring;

	(void)state;
	ring_open(&ring, 65536, 4096);
	assert_true(put(&ring, 112, 0));
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		atomic_store(&ring.page->reply_read, lies[i]);
		assert_int_equal(llr_ring_refresh(&ring.writer), -EPROTO);
	}
	atomic_store(&ring.page->reply_read, 4096 + 128);
	assert_int_equal(llr_ring_refresh(&ring.writer), 0);
	atomic_store(&ring.page->reply_read, 4096); /* backwards */
	assert_int_equal(llr_ring_refresh(&ring.writer), -EPROTO);
	ring_close(&ring);
}

static void store_word(struct ring *ring, uint64_t position, uint32_t size, uint64_t seal)
{
	uint8_t *record = ring->memory.ring + (position & (ring->shape.capacity - 1));
	uint64_t word = size | (uint64_t)llr_ring_mark(position) << 32;

	memcpy(record, &word, sizeof(word));
	memcpy(record + 8, &seal, sizeof(seal));
}

static void test_hostile_word(void **state)
{
	struct ring ring;
	const uint8_t *frame = NULL;
	uint32_t size = 0;
	uint32_t max;

	(void)state;
	ring_open(&ring, 65536, 640);
	max = ring.shape.frame_max;
	for (uint32_t lie = 0; lie < LLR_LANE_FRAME_MIN; lie++) {
		store_word(&ring, 640, lie, KEY + 640);
		assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), -EPROTO);
	}
	for (uint32_t bit = 0; bit < 32; bit++) {
		store_word(&ring, 640, (max + 1) | 1U << bit, KEY + 640);
		assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), -EPROTO);
	}
	/* More outstanding than the ring holds. */
	for (int i = 0; i < 3; i++) {
		store_word(&ring, ring.reader.position, max, KEY + ring.reader.position);
		assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), 1);
		llr_ring_advance(&ring.reader, size);
	}
	store_word(&ring, ring.reader.position, max, KEY + ring.reader.position);
	assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), -EPROTO);
	ring_close(&ring);
}

/* Payload that was made to look like the next lap's record is not one: it lacks the key. */
static void test_forged_payload(void **state)
{
	struct ring ring;
	const uint8_t *frame = NULL;
	uint32_t size = 0;

	(void)state;
	ring_open(&ring, 65536, 0);
	for (uint64_t at = 0; at < ring.shape.capacity; at += 64)
		store_word(&ring, at, 112, at * 3);
	assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), 0);
	store_word(&ring, 0, 112, KEY + 64); /* of another place */
	assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), 0);
	store_word(&ring, 0, 112, KEY);
	assert_int_equal(llr_ring_peek(&ring.reader, &frame, &size), 1);
	ring_close(&ring);
}

/* ---- two threads ---- */

static uint32_t size_of(uint64_t i)
{
	return LLR_LANE_FRAME_MIN + (uint32_t)((i * 2654435761U) % (i % 64 == 0 ? 30000 : 300));
}

static void *write_all(void *argument)
{
	struct ring *ring = argument;

	for (uint64_t i = 0; i < RECORDS;) {
		if (put(ring, size_of(i), i))
			i++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct ring ring;
	pthread_t writer;

	(void)state;
	ring_open(&ring, 65536, 0);
	assert_int_equal(pthread_create(&writer, NULL, write_all, &ring), 0);
	for (uint64_t i = 0; i < RECORDS;) {
		if (get(&ring, size_of(i), i)) {
			if (++i % 7 == 0)
				llr_ring_release(&ring.reader);
		} else {
			llr_ring_release(&ring.reader);
		}
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	ring_close(&ring);
}

/* One side of a ping-pong in which both sleep at random. */
struct side {
	struct llr_ring_writer *out;
	struct llr_ring_reader *in;
	_Atomic uint32_t *own_parked;
	const _Atomic uint32_t *other_parked;
	uint32_t woken;
	uint32_t random;
	int own_bell;
	int other_bell;
	bool starts;
	bool lost; /* a wake-up was */
};

static void say(struct side *side)
{
	uint64_t one = 1;
	uint8_t *frame;

	assert_int_equal(llr_ring_reserve(side->out, 64, &frame), 0);
	llr_ring_commit(side->out, 64);
	atomic_thread_fence(memory_order_seq_cst);
	if (llr_lane_must_wake(side->other_parked, &side->woken))
		assert_int_equal(write(side->other_bell, &one, sizeof(one)), sizeof(one));
}

static void sleep_once(struct side *side)
{
	struct pollfd bell = {.fd = side->own_bell, .events = POLLIN};
	const uint8_t *frame;
	uint64_t rung;
	uint32_t size;

	llr_lane_park(side->own_parked);
	if (llr_ring_peek(side->in, &frame, &size) == 0 && poll(&bell, 1, 20000) == 0)
		side->lost = true;
	llr_lane_unpark(side->own_parked);
	if (read(side->own_bell, &rung, sizeof(rung)) < 0)
		assert_int_equal(errno, EAGAIN);
}

static void *ping_pong(void *argument)
{
	struct side *side = argument;

	for (uint32_t i = 0; i < PARKS && !side->lost; i++) {
		const uint8_t *frame = NULL;
		uint32_t size = 0;
		uint32_t spins;

		if (side->starts)
			say(side);
		side->random = side->random * 1664525 + 1013904223;
		spins = side->random >> 24;
		while (llr_ring_peek(side->in, &frame, &size) == 0) {
			if (spins-- == 0)
				sleep_once(side);
			if (side->lost)
				return NULL;
		}
		llr_ring_advance(side->in, size);
		llr_ring_release(side->in);
		if (!side->starts)
			say(side);
	}
	return NULL;
}

static void test_no_wakeup_is_lost(void **state)
{
	struct ring there;
	struct ring back;
	struct side sides[2] = {{0}};
	pthread_t other;

	(void)state;
	ring_open(&there, 4096, 0);
	ring_open(&back, 4096, 0);
	for (int i = 0; i < 2; i++) {
		sides[i].own_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		sides[i].random = (uint32_t)i + 1;
	}
	for (int i = 0; i < 2; i++) {
		sides[i].out = i == 0 ? &there.writer : &back.writer;
		sides[i].in = i == 0 ? &back.reader : &there.reader;
		sides[i].own_parked = i == 0 ? &there.page->parked : &back.page->parked;
		sides[i].other_parked = i == 0 ? &back.page->parked : &there.page->parked;
		sides[i].other_bell = sides[1 - i].own_bell;
		sides[i].starts = i == 0;
	}
	assert_int_equal(pthread_create(&other, NULL, ping_pong, &sides[1]), 0);
	(void)ping_pong(&sides[0]);
	assert_int_equal(pthread_join(other, NULL), 0);
	assert_false(sides[0].lost);
	assert_false(sides[1].lost);
	assert_int_equal(there.writer.position, (uint64_t)PARKS * 128);
	assert_int_equal(back.writer.position, (uint64_t)PARKS * 128);
	for (int i = 0; i < 2; i++)
		(void)close(sides[i].own_bell);
	ring_close(&there);
	ring_close(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_seals),
		cmocka_unit_test(test_every_size),
		cmocka_unit_test(test_mark_wraps),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_smaller_commit),
		cmocka_unit_test(test_hostile_position),
		cmocka_unit_test(test_hostile_word),
		cmocka_unit_test(test_forged_payload),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_no_wakeup_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
