/* SPDX-License-Identifier: MIT */
/*
 * Frames in a stream of bytes: cut anywhere, with their padding late, larger than what is held, and
 * broken; and rejected datagrams beside them.
 */
#include "lab.h"

#define HELD_MAX LLR_FRAME_SIZE_MAX(32768U) /* lab_setup's max_message: more is stepped over */

/* Appends a request and its padding; returns the new size. */
static uint32_t append(uint8_t *bytes, uint32_t size, const struct lab_ask *ask)
{
	size += lab_frame(bytes + size, ask);
	memset(bytes + size, 0, llr_frame_padding(size));
	return size + llr_frame_padding(size);
}

/* Takes the answers to sequences first..last, in this order, and nothing more. */
static void expect_run(uint64_t first, uint64_t last)
{
	struct llr_frame frame;
	uint32_t peer;

	for (uint64_t sequence = first; sequence <= last; sequence++) {
		assert_true(fake_net_take(&lab.streams, &peer, &frame));
		lab_expect(&frame, sequence, 200, NULL, 0);
	}
	lab_no_answer(&lab.streams);
	fake_net_clear(&lab.streams);
}

/* Three requests whose sizes are no multiples of 16. */
static uint32_t three(uint8_t *bytes, uint64_t session, uint64_t sequence)
{
	struct lab_ask ask = {
		.method = LAB_ECHO, .session = session, .payload = "abcdefghijklmnopqrstu"};
	uint32_t size = 0;

	for (uint32_t i = 0; i < 3; i++) {
		ask.sequence = sequence + i;
		ask.size = 7 * i + 1;
		size = append(bytes, size, &ask);
	}
	return size;
}

static void test_cut_anywhere(void **state)
{
	uint64_t session = lab_open(&lab.streams, 0);
	uint8_t bytes[512];
	uint64_t sequence = 0;
	uint32_t size = three(bytes, session, sequence);

	(void)state;
	for (uint32_t cut = 1; cut < size; cut++) {
		(void)three(bytes, session, sequence);
		fake_net_put(&lab.streams, 0, bytes, cut);
		(void)lab_turn();
		fake_net_put(&lab.streams, 0, bytes + cut, size - cut);
		(void)lab_turn();
		expect_run(sequence, sequence + 2);
		sequence += 3;
	}
	for (uint32_t step = 1; step < 70; step++) {
		(void)three(bytes, session, sequence);
		for (uint32_t at = 0; at < size; at += step) {
			fake_net_put(&lab.streams, 0, bytes + at,
				     (uint32_t)llr_min_u64(step, size - at));
			(void)lab_turn();
		}
		expect_run(sequence, sequence + 2);
		sequence += 3;
	}
	assert_int_equal(lab.streams.dropped[0], false);
}

/* A frame is complete, and answered, without its padding. */
static void test_padding_comes_late(void **state)
{
	static const uint8_t zeros[16];
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "12345", .size = 5};
	uint8_t bytes[LLR_HEAD_SIZE + 16];
	uint32_t size;

	(void)state;
	ask.session = lab_open(&lab.streams, 0);
	for (ask.sequence = 0; ask.sequence < 24; ask.sequence++) {
		uint32_t split = (uint32_t)ask.sequence % 12U;

		size = lab_frame(bytes, &ask);
		fake_net_put(&lab.streams, 0, bytes, size);
		(void)lab_turn();
		expect_run(ask.sequence, ask.sequence);
		fake_net_put(&lab.streams, 0, zeros, split);
		if (ask.sequence < 12)
			(void)lab_turn();
		fake_net_put(&lab.streams, 0, zeros, llr_frame_padding(size) - split);
	}
	assert_int_equal(lab.counters->reject_padding, 0);
	assert_int_equal(lab.seen.runs, 24);
}

/* The connection ends, by our hand, and is of no more use; another one goes on. */
static void expect_dropped(uint32_t peer, const uint64_t *counter, uint64_t count)
{
	struct lab_ask ask = {.method = LAB_ECHO, .session = lab_open(&lab.streams, 7)};
	struct llr_frame frame;

	assert_int_equal(*counter, count);
	assert_true(lab.streams.dropped[peer] || lab.counters->sessions_ended > 0);
	frame = lab_ask(&lab.streams, 7, &ask);
	lab_expect(&frame, 0, 200, NULL, 0);
	lab_put_control(&lab.streams, 7, LLR_BYE, 0, 0);
	(void)lab_turn();
	/* The session went with its connection. */
	ask.session = 1;
	frame = lab_ask(&lab.streams, peer, &ask);
	lab_expect(&frame, 0, 401, NULL, 0);
}

static void test_bad_padding(void **state)
{
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "12345", .size = 5};
	uint8_t bytes[512];
	uint32_t size;

	(void)state;
	for (uint32_t at = 0; at < 11; at++) {
		ask.session = lab_open(&lab.streams, 0);
		ask.sequence = 0;
		size = append(bytes, 0, &ask);
		bytes[LLR_HEAD_SIZE + 5 + at] = 1;
		ask.sequence = 1;
		size = append(bytes, size, &ask);
		fake_net_put(&lab.streams, 0, bytes, size);
		(void)lab_turn();
		/* What came before it counts, what follows does not. */
		expect_run(0, 0);
		expect_dropped(0, &lab.counters->reject_padding, at + 1);
	}
	assert_int_equal(lab.seen.runs, 22);
}

static void test_bad_frames(void **state)
{
	/* Where a frame is broken, and what that is counted as. */
	const struct {
		uint32_t at;
		uint8_t flip;
		uint64_t *counter;
	} breaks[] = {
		{0, 1, &lab.counters->reject_magic},
		{4, 2, &lab.counters->reject_version},
		{6, 0x40, &lab.counters->reject_flags},
		{6, 0x02, &lab.counters->reject_flags},
		{8, 1, &lab.counters->reject_crc},
		{27, 0x80, &lab.counters->reject_length},
		{31, 1, &lab.counters->reject_crc},
		{LLR_HEAD_SIZE, 1, &lab.counters->reject_crc},
	};
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "123456789", .size = 9};
	uint8_t bytes[256];

	(void)state;
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
		uint64_t before = *breaks[i].counter;
		uint32_t size;

		ask.session = lab_open(&lab.streams, 0);
		ask.sequence = 0;
		size = append(bytes, 0, &ask);
		ask.sequence = 1;
		(void)append(bytes, size, &ask);
		bytes[size + breaks[i].at] ^= breaks[i].flip;
		fake_net_put(&lab.streams, 0, bytes, 2 * size);
		(void)lab_turn();
		expect_run(0, 0);
		expect_dropped(0, breaks[i].counter, before + 1);
	}
}

/* A request larger than what is held; put in pieces of step bytes. */
static void put_large(uint64_t session, uint64_t sequence, uint32_t size, uint32_t step)
{
	static uint8_t payload[HELD_MAX + 4096];
	static uint8_t bytes[HELD_MAX + 8192];
	struct lab_ask ask = {.method = LAB_ECHO,
			      .session = session,
			      .sequence = sequence,
			      .payload = payload,
			      .size = size};
	uint32_t total;

	memset(payload, 0x5A, sizeof(payload));
	total = append(bytes, 0, &ask);
	for (uint32_t at = 0; at < total; at += step) {
		fake_net_put(&lab.streams, 0, bytes + at, (uint32_t)llr_min_u64(step, total - at));
		(void)lab_turn();
	}
}

static void test_larger_than_held(void **state)
{
	/* At once; in pieces; the head in two. */
	static const uint32_t steps[] = {1U << 20, 4096, 1000, 47, 33};
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "after", .size = 5};
	struct llr_frame frame;
	uint32_t peer;

	(void)state;
	ask.session = lab_open(&lab.streams, 0);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t size = HELD_MAX - LLR_HEAD_SIZE + 1 + 7 * i;

		put_large(ask.session, 2 * i, size, steps[i]);
		assert_true(fake_net_take(&lab.streams, &peer, &frame));
		lab_expect(&frame, 2 * i, 413, NULL, 0);
		lab_no_answer(&lab.streams);
		ask.sequence = 2 * i + 1;
		frame = lab_ask(&lab.streams, 0, &ask);
		lab_expect(&frame, 2 * i + 1, 200, "after", 5);
	}
	assert_int_equal(lab.counters->status_413, 5);
	assert_int_equal(lab.seen.runs, 5);
	/* The largest that is held is answered too; it is beyond the session's terms. */
	put_large(ask.session, 20, HELD_MAX - LLR_HEAD_SIZE, 1U << 20);
	frame = lab_answer(&lab.streams, 0);
	lab_expect(&frame, 20, 413, NULL, 0);
	/* A sequence that has its answer stays as it is. */
	put_large(ask.session, 20, HELD_MAX, 1U << 20);
	frame = lab_answer(&lab.streams, 0);
	lab_expect(&frame, 20, 409, NULL, 0);
	/* Before HELLO there is no session to be too large for. */
	put_large(4711, 0, HELD_MAX, 1U << 20);
	frame = lab_answer(&lab.streams, 0);
	lab_expect(&frame, 0, 401, NULL, 0);
}

static void test_larger_than_held_and_broken(void **state)
{
	static uint8_t payload[HELD_MAX];
	static uint8_t bytes[2 * HELD_MAX];
	struct lab_ask ask = {.method = LAB_ECHO, .payload = payload, .size = sizeof(payload)};
	uint32_t size;
	uint32_t total;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		ask.session = lab_open(&lab.streams, 0);
		size = append(bytes, 0, &ask);
		bytes[size - 20 - i] ^= 1;
		/* What follows on a broken connection is not looked at. */
		total = append(bytes, size,
			       &(struct lab_ask){
				       .method = LAB_ECHO, .session = ask.session, .sequence = 1});
		for (uint32_t at = 0; at < total; at += 5000) {
			fake_net_put(&lab.streams, 0, bytes + at,
				     (uint32_t)llr_min_u64(5000, total - at));
			if (i > 0)
				(void)lab_turn();
		}
		(void)lab_turn();
		lab_no_answer(&lab.streams);
		expect_dropped(0, &lab.counters->reject_crc, i + 1);
	}
	assert_int_equal(lab.counters->status_413, 0);
}

/* The end of a connection in the middle of whatever: the next one under its number starts anew. */
static void test_ends_in_the_middle(void **state)
{
	uint8_t bytes[512];
	uint32_t size = three(bytes, lab_open(&lab.streams, 0), 0);

	(void)state;
	for (uint32_t cut = 1; cut < size; cut++) {
		fake_net_put(&lab.streams, 0, bytes, cut);
		(void)lab_turn();
		fake_net_hang_up(&lab.streams, 0);
		(void)lab_turn();
		fake_net_clear(&lab.streams);
		size = three(bytes, lab_open(&lab.streams, 0), 0);
	}
	fake_net_put(&lab.streams, 0, bytes, size);
	(void)lab_turn();
	expect_run(0, 2);
	assert_int_equal(lab.counters->sessions_open, 1);
	put_large(1, 0, HELD_MAX, 30000);
	fake_net_clear(&lab.streams);
	put_large(1, 0, HELD_MAX - 48, 1U << 20);
	assert_int_equal(lab.streams.sent_count, 1);
}

/* Datagrams: frames at multiples of 16, zeros between, nothing behind. */
static void test_packed_datagram(void **state)
{
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "abc", .size = 3};
	uint8_t bytes[512];
	struct llr_frame frame;
	uint32_t peer;
	uint32_t size = 0;
	uint32_t end = 0;

	(void)state;
	ask.session = lab_open(&lab.datagrams, 0);
	for (ask.sequence = 0; ask.sequence < 4; ask.sequence++) {
		end = size + LLR_HEAD_SIZE + 3;
		size = append(bytes, size, &ask);
	}
	fake_net_put(&lab.datagrams, 0, bytes, end);
	(void)lab_turn();
	for (uint64_t i = 0; i < 4; i++) {
		assert_true(fake_net_take(&lab.datagrams, &peer, &frame));
		lab_expect(&frame, i, 200, "abc", 3);
	}
	lab_no_answer(&lab.datagrams);
	/* A tail, even of zeros, is rejected; the frames before it count. */
	bytes[end] = 0;
	fake_net_put(&lab.datagrams, 0, bytes, size);
	(void)lab_turn();
	assert_int_equal(lab.counters->reject_padding, 1);
	assert_int_equal(lab.counters->repeat_remembered, 4);
	assert_int_equal(lab.seen.runs, 4);
}

int main(void)
{
#define WITH_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		WITH_LAB(test_cut_anywhere),       WITH_LAB(test_padding_comes_late),
		WITH_LAB(test_bad_padding),        WITH_LAB(test_bad_frames),
		WITH_LAB(test_larger_than_held),   WITH_LAB(test_larger_than_held_and_broken),
		WITH_LAB(test_ends_in_the_middle), WITH_LAB(test_packed_datagram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
