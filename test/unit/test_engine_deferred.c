/* SPDX-License-Identifier: MIT */
/*
 * Answers that come later, answers in parts, and what becomes of both when the transport is full,
 * the slot goes on, the session ends or the pool runs dry.
 */
#include "lab.h"

#include <errno.h>

static struct fake_net *const nets[] = {&lab.datagrams, &lab.lanes, &lab.streams};

/* Sends a request that is put off; its handle. */
static struct llrph_deferred *put_off(struct fake_net *net, uint64_t session, uint64_t sequence)
{
	struct lab_ask ask = {.method = LAB_DEFER, .session = session, .sequence = sequence};
	uint32_t before = lab.seen.deferred_count;

	fake_net_clear(net);
	lab_put(net, 0, &ask);
	(void)lab_turn();
	lab_no_answer(net);
	assert_int_equal(lab.seen.deferred_count, before + 1);
	return lab.seen.deferred[before];
}

static void test_later(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t session = lab_open(nets[i], 0);
		struct llrph_deferred *first = put_off(nets[i], session, 1);
		struct llrph_deferred *second = put_off(nets[i], session, 2);
		struct llr_frame frame;

		assert_int_equal(llr_engine_deferred_count(lab.engine), 2);
		lab_sleep(5000000);
		lab_no_answer(nets[i]);
		/* In any order. */
		assert_int_equal(llrph_deferred_reply(second, 200, "two", 3, 0), 0);
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 2, 200, "two", 3);
		assert_true(frame.service_ns >= 5000000);
		assert_int_equal(llrph_deferred_reply(first, 500, "because", 7, 0), 0);
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 1, 500, "because", 7);
		assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
	}
	assert_int_equal(lab.counters->deferred, 6);
	assert_true(lab.seen.polls > 0);
}

/* A repeat of what is put off is dropped; once it is answered the answer is remembered. */
static void test_repeated_meanwhile(void **state)
{
	struct lab_ask ask = {.method = LAB_DEFER, .sequence = 4};
	struct llrph_deferred *deferred;
	struct llr_frame frame;

	(void)state;
	ask.session = lab_open(&lab.datagrams, 0);
	deferred = put_off(&lab.datagrams, ask.session, 4);
	lab_put(&lab.datagrams, 0, &ask);
	(void)lab_turn();
	lab_no_answer(&lab.datagrams);
	assert_int_equal(lab.counters->repeat_running, 1);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "late", 4, 0), 0);
	frame = lab_answer(&lab.datagrams, 0);
	lab_expect(&frame, 4, 200, "late", 4);
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 4, 200, "late", 4);
	assert_int_equal(lab.seen.runs, 1);
}

static void test_superseded(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct lab_ask ask = {.method = LAB_ECHO, .session = lab_open(nets[i], 0)};
		struct llrph_deferred *deferred = put_off(nets[i], ask.session, 1);
		struct llr_frame frame;

		ask.sequence = 65; /* the same slot of 64 */
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 65, 200, NULL, 0);
		assert_int_equal(llrph_deferred_reply(deferred, 200, "old", 3, 0), 0);
		lab_no_answer(nets[i]);
		assert_int_equal(lab.counters->superseded, i + 1);
		assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
	}
}

static void test_session_ended(void **state)
{
	struct llr_hello hello = {.nonce = 555};

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t session = lab_open(nets[i], 0);
		struct llrph_deferred *by_bye = put_off(nets[i], session, 1);
		struct llrph_deferred *by_nonce;

		lab_put_control(nets[i], 0, LLR_BYE, 0, session);
		(void)lab_turn();
		/* Whoever opened the next session has nothing to do with it. */
		session = lab_open(nets[i], 0);
		by_nonce = put_off(nets[i], session, 1);
		assert_int_equal(llrph_deferred_reply(by_bye, 200, "late", 4, 0), 0);
		lab_no_answer(nets[i]);
		(void)lab_hello(nets[i], 0, &hello); /* a new nonce */
		if (i == 0) {
			hello.cookie = lab_hello(nets[i], 0, &hello).cookie;
			(void)lab_hello(nets[i], 0, &hello);
		}
		fake_net_clear(nets[i]);
		assert_int_equal(llrph_deferred_reply(by_nonce, 200, "late", 4, 0), 0);
		lab_no_answer(nets[i]);
		hello.cookie = 0;
	}
	for (unsigned int i = 1; i < 3; i++) {
		struct llrph_deferred *deferred = put_off(nets[i], lab_open(nets[i], 0), 1);

		fake_net_hang_up(nets[i], 0);
		(void)lab_turn();
		assert_int_equal(llrph_deferred_reply(deferred, 200, "late", 4, 0), 0);
		lab_no_answer(nets[i]);
	}
	assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
}

static void test_pool_is_bounded(void **state)
{
	struct lab_ask ask = {.method = LAB_DEFER};
	struct llr_frame frame;

	(void)state;
	ask.session = lab_open_with(&lab.lanes, 0, 1024, 64);
	for (uint32_t i = 0; i < LLR_DEFERRED_MAX; i++)
		(void)put_off(&lab.lanes, ask.session, i);
	assert_int_equal(llr_engine_deferred_count(lab.engine), LLR_DEFERRED_MAX);
	ask.session = lab_open(&lab.streams, 0);
	frame = lab_ask(&lab.streams, 0, &ask);
	lab_expect(&frame, 0, 503, NULL, 0);
	assert_int_equal(lab.seen.pool_empty, 1);
	/* One that is answered makes room for one. */
	assert_int_equal(llrph_deferred_reply(lab.seen.deferred[700], 200, NULL, 0, 0), 0);
	frame = lab_answer(&lab.lanes, 0);
	lab_expect(&frame, 700, 200, "", 0);
	lab.seen.deferred_count = 700;
	(void)put_off(&lab.streams, ask.session, 0);
	for (uint32_t i = 0; i < LLR_DEFERRED_MAX; i++)
		assert_int_equal(llrph_deferred_reply(lab.seen.deferred[i], 200, NULL, 0, 0), 0);
	assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
	assert_int_equal(lab.lanes.sent_count, LLR_DEFERRED_MAX);
}

static void test_full(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct llrph_deferred *deferred = put_off(nets[i], lab_open(nets[i], 0), 3);
		struct llr_frame frame;

		nets[i]->reserves_left = 0;
		assert_int_equal(llrph_deferred_reply(deferred, 200, "a", 1, 0), -EAGAIN);
		assert_int_equal(llrph_deferred_reply(deferred, 200, NULL, 0, 0), -EAGAIN);
		assert_int_equal(llr_engine_deferred_count(lab.engine), 1);
		nets[i]->reserves_left = FAKE_ANY;
		assert_int_equal(llrph_deferred_reply(deferred, 200, "b", 1, 0), 0);
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 3, 200, "b", 1);
		assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
	}
}

static void test_out_of_range(void **state)
{
	static const uint8_t bytes[5000];
	struct llrph_deferred *deferred;
	struct llr_frame frame;

	(void)state;
	deferred = put_off(&lab.lanes, lab_open_with(&lab.lanes, 0, 0, 1000), 3);
	assert_int_equal(llrph_deferred_reply(deferred, 200, bytes, 1001, 0), -EMSGSIZE);
	assert_int_equal(llrph_deferred_reply(deferred, 200, bytes, 1000, 0), 0);
	frame = lab_answer(&lab.lanes, 0);
	lab_expect(&frame, 3, 200, bytes, 1000);
	deferred = put_off(&lab.streams, lab_open(&lab.streams, 0), 3);
	assert_int_equal(llrph_deferred_reply(deferred, 200, bytes, 4097, 0), -EMSGSIZE);
	assert_int_equal(llrph_deferred_reply(deferred, 200, bytes, 4096, 0), 0);
	frame = lab_answer(&lab.streams, 0);
	lab_expect(&frame, 3, 200, bytes, 4096);
}

/* Without a session: the answer goes to the sender, and is never larger than what it sent. */
static void test_sessionless(void **state)
{
	struct llrph_engine_options options = {.size = sizeof(options),
					       .sessions_max = 4,
					       .lanes_max = 4,
					       .connections_max = FAKE_PEERS,
					       .session_memory = 4U << 20,
					       .sessionless = 1};
	struct lab_ask ask = {.method = LAB_DEFER,
			      .flags = LLR_FLAG_IDEMPOTENT,
			      .payload = "0123456789abcdef",
			      .size = 16};
	struct llrph_deferred *deferred;
	struct llr_frame frame;

	(void)state;
	lab_start(&options);
	lab_put(&lab.datagrams, 5, &ask);
	(void)lab_turn();
	lab_no_answer(&lab.datagrams);
	deferred = lab.seen.deferred[0];
	assert_int_equal(llrph_deferred_reply(deferred, 200, "0123456789abcdefg", 17, 0),
			 -EMSGSIZE);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "0123456789abcdef", 16, 0), 0);
	frame = lab_answer(&lab.datagrams, 5);
	lab_expect(&frame, 0, 200, "0123456789abcdef", 16);
	assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
}

static void test_deferred_parts(void **state)
{
	struct llrph_deferred *deferred;
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 1; i < 3; i++) {
		deferred = put_off(nets[i], lab_open(nets[i], 0), 3);
		for (unsigned int k = 0; k < 3; k++) {
			assert_int_equal(llrph_deferred_reply(deferred, 200, "part", 4, LLRPH_PART),
					 0);
			frame = lab_answer(nets[i], 0);
			lab_expect(&frame, 3, 200, "part", 4);
			assert_int_equal(frame.flags & LLR_FLAG_MORE, LLR_FLAG_MORE);
		}
		assert_int_equal(llrph_deferred_reply(deferred, 200, "end", 3, 0), 0);
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 3, 200, "end", 3);
		assert_int_equal(frame.flags & LLR_FLAG_MORE, 0);
		assert_int_equal(lab.counters->parts, 3 * i);
	}
	/* The caller goes between two parts: the rest goes nowhere, and the handle is given back.
	 */
	deferred = put_off(&lab.lanes, lab_open(&lab.lanes, 0), 4);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "part", 4, LLRPH_PART), 0);
	fake_net_hang_up(&lab.lanes, 0);
	(void)lab_turn();
	fake_net_clear(&lab.lanes);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "part", 4, LLRPH_PART), 0);
	assert_int_equal(llr_engine_deferred_count(lab.engine), 1);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "end", 3, 0), 0);
	lab_no_answer(&lab.lanes);
	assert_int_equal(llr_engine_deferred_count(lab.engine), 0);
	/* Datagrams keep no order: there are no parts, and the handle stays good. */
	deferred = put_off(&lab.datagrams, lab_open(&lab.datagrams, 0), 3);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "x", 1, LLRPH_PART), -EOPNOTSUPP);
	assert_int_equal(llrph_deferred_reply(deferred, 200, "x", 1, 0), 0);
	frame = lab_answer(&lab.datagrams, 0);
	lab_expect(&frame, 3, 200, "x", 1);
}

static void test_parts(void **state)
{
	struct lab_ask ask = {.method = LAB_PARTS, .payload = "\x05", .size = 1};
	struct llr_frame frame;
	uint32_t peer;

	(void)state;
	for (unsigned int i = 1; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		lab_put(nets[i], 0, &ask);
		(void)lab_turn();
		for (uint8_t k = 0; k < 5; k++) {
			assert_true(fake_net_take(nets[i], &peer, &frame));
			lab_expect(&frame, 0, 200, &k, 1);
			assert_int_equal(frame.flags & LLR_FLAG_MORE, LLR_FLAG_MORE);
		}
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 0, 200, "last", 4);
		assert_int_equal(frame.flags & LLR_FLAG_MORE, 0);
		assert_int_equal(lab.seen.part_error, -EINVAL); /* it asked without room */
		assert_int_equal(lab.counters->parts, 5 * i);
		assert_int_equal(lab.counters->status_200, i);
	}
	ask.session = lab_open(&lab.datagrams, 0);
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 500, NULL, 0);
	assert_int_equal(lab.seen.part_error, -EOPNOTSUPP);
}

/* Drained: nothing new, but what is inside is answered. */
static void test_drain(void **state)
{
	uint64_t session = lab_open(&lab.lanes, 0);
	struct llrph_deferred *deferred = put_off(&lab.lanes, session, 1);
	struct llr_frame frame;

	(void)state;
	assert_int_equal(llrph_engine_stop(lab.engine), 1);
	(void)lab_turn();
	assert_int_equal(llrph_deferred_reply(deferred, 200, "done", 4, 0), 0);
	frame = lab_answer(&lab.lanes, 0);
	lab_expect(&frame, 1, 200, "done", 4);
	assert_int_equal(llrph_engine_stop(lab.engine), 0);
	assert_int_equal(lab_turn(), 0);
}

int main(void)
{
#define WITH_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		WITH_LAB(test_later),
		WITH_LAB(test_repeated_meanwhile),
		WITH_LAB(test_superseded),
		WITH_LAB(test_session_ended),
		WITH_LAB(test_pool_is_bounded),
		WITH_LAB(test_full),
		WITH_LAB(test_out_of_range),
		cmocka_unit_test_teardown(test_sessionless, lab_teardown),
		WITH_LAB(test_deferred_parts),
		WITH_LAB(test_parts),
		WITH_LAB(test_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
