/* SPDX-License-Identifier: MIT */
/*
 * Sessions over their lives: cookies that expire, terms that do not fit, silence, credits, requests
 * without a session, a transport without room, and a successor over a dead worker's table.
 */
#include "lab.h"

#include "engine/inside.h"

#include <errno.h>

#define SECOND UINT64_C(1000000000)

static struct fake_net *const nets[] = {&lab.datagrams, &lab.lanes, &lab.streams};

static void start_small(uint32_t session_memory, uint32_t sessionless)
{
	struct llrph_engine_options options = {.size = sizeof(options),
					       .sessions_max = 4,
					       .lanes_max = 2,
					       .connections_max = 4,
					       .max_message = 32768,
					       .session_memory = session_memory,
					       .sessionless = sessionless};

	lab_start(&options);
}

static void test_cookie_expires(void **state)
{
	struct llr_hello hello = {.nonce = 1};
	struct llr_welcome welcome;

	(void)state;
	hello.cookie = lab_hello(&lab.datagrams, 0, &hello).cookie;
	lab_sleep(10 * SECOND - 2 * LAB_TURN_NS);
	welcome = lab_hello(&lab.datagrams, 0, &hello);
	assert_int_equal(welcome.status, 200);
	assert_int_equal(welcome.cookie, 0);
	/* Too old, and of another address. */
	assert_int_equal(lab_hello(&lab.datagrams, 1, &hello).status, 401);
	lab_sleep(10 * SECOND);
	hello.nonce = 2;
	welcome = lab_hello(&lab.datagrams, 0, &hello);
	assert_int_equal(welcome.status, 401);
	assert_int_not_equal(welcome.cookie, hello.cookie);
	assert_int_equal(lab.counters->hello_challenged, 3);
	/* A HELLO without a good cookie ended nobody's session. */
	assert_int_equal(lab.counters->sessions_open, 1);
	assert_int_equal(lab.counters->sessions_opened, 1);
}

static void test_nonce(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t first = lab_open_with(nets[i], 0, 8, 100);
		struct llr_hello hello = {.nonce = 1, .window = 1024, .max_message = 5000};
		struct llr_welcome welcome;
		struct lab_ask ask = {.method = LAB_ECHO, .session = first};
		struct llr_frame frame;

		if (i == 0)
			hello.cookie = lab_hello(nets[i], 0, &hello).cookie;
		/* Its WELCOME was lost: the same session on its first terms. */
		welcome = lab_hello(nets[i], 0, &hello);
		assert_int_equal(welcome.session, first);
		assert_int_equal(welcome.window, 8);
		assert_int_equal(welcome.max_message, 100);
		hello.nonce = 2;
		welcome = lab_hello(nets[i], 0, &hello);
		assert_int_not_equal(welcome.session, first);
		assert_int_equal(welcome.window, 1024);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 401, NULL, 0);
		assert_int_equal(lab.counters->sessions_open, i + 1);
	}
}

/* Where a window does not fit it is halved; where nothing fits the answer is 503. */
static void test_memory_runs_out(void **state)
{
	struct llr_hello hello = {.nonce = 1, .window = 1024, .max_message = 4096};
	struct llr_welcome welcome;
	uint32_t last = 1024;
	uint32_t opened = 0;

	(void)state;
	start_small(512U << 10, 0);
	for (uint32_t peer = 0; peer < 5; peer++) {
		hello.cookie = 0;
		hello.cookie = lab_hello(&lab.datagrams, peer, &hello).cookie;
		welcome = lab_hello(&lab.datagrams, peer, &hello);
		if (welcome.status == 503)
			break;
		assert_int_equal(welcome.status, 200);
		assert_true(welcome.window <= last && welcome.window >= 1);
		last = welcome.window;
		opened++;
	}
	assert_true(opened >= 2);
	assert_true(last < 1024);
	assert_int_equal(welcome.status, 503);
	assert_int_equal(welcome.session, 0);
	assert_int_equal(welcome.window, 0);
	assert_int_equal(welcome.max_message, 0);
	assert_int_equal(lab.counters->sessions_open, opened);
	/* One that leaves makes room. */
	lab_put_control(&lab.datagrams, 0, LLR_BYE, 0, 0);
	(void)lab_turn();
	assert_int_equal(lab_hello(&lab.datagrams, opened, &hello).status, 200);
}

static void test_sessions_run_out(void **state)
{
	struct llr_hello hello = {.nonce = 1};

	(void)state;
	start_small(4U << 20, 0);
	/* Four datagram sessions and two lanes share a table, connections have their own of four.
	 */
	for (uint32_t peer = 0; peer < 4; peer++)
		(void)lab_open(&lab.datagrams, peer);
	hello.cookie = lab_hello(&lab.datagrams, 4, &hello).cookie;
	assert_int_equal(lab_hello(&lab.datagrams, 4, &hello).status, 503);
	for (uint32_t peer = 0; peer < 2; peer++)
		(void)lab_open(&lab.lanes, peer);
	for (uint32_t peer = 0; peer < 4; peer++)
		(void)lab_open(&lab.streams, peer);
	assert_int_equal(lab.counters->sessions_open, 10);
}

static void test_silence(void **state)
{
	uint64_t sessions[3];
	uint64_t other;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		sessions[i] = lab_open(nets[i], 0);
	other = lab_open(&lab.datagrams, 1);
	lab_sleep(20 * SECOND);
	/* Each good frame that names it, or comes from its address, is news. */
	lab_put_control(&lab.lanes, 0, LLR_HEARTBEAT, 77, sessions[1]);
	lab_put_control(&lab.datagrams, 1, LLR_HEARTBEAT, 78, 0);
	(void)lab_turn();
	assert_int_equal(lab_answer(&lab.lanes, 0).sequence, 77);
	assert_int_equal(lab_answer(&lab.datagrams, 1).type, LLR_ACK);
	lab_sleep(10 * SECOND - SECOND / 100);
	assert_int_equal(lab.counters->sessions_open, 4);
	for (unsigned int i = 0; i < 100; i++)
		lab_sleep(1000000);
	assert_int_equal(lab.counters->sessions_open, 2);
	assert_int_equal(lab.counters->sessions_expired, 2);
	for (unsigned int i = 0; i < 3; i++) {
		struct lab_ask ask = {.method = LAB_ECHO, .session = sessions[i]};
		struct llr_frame frame = lab_ask(nets[i], 0, &ask);

		lab_expect(&frame, 0, i == 1 ? 200 : 401, NULL, 0);
	}
	lab_sleep(21 * SECOND);
	for (unsigned int i = 0; i < 100; i++)
		lab_sleep(1000000);
	assert_int_equal(lab.counters->sessions_open, 1); /* the lane's, which has asked */
	(void)other;
}

/* What the socket's queue holds is shared by the datagram sessions, at least one credit for each.
 */
static void test_credits_are_shared(void **state)
{
	struct lab_ask ask = {.method = LAB_ECHO};
	uint64_t sessions[4];
	struct llr_frame frame;

	(void)state;
	lab.engine->listeners[0].queue_capacity = 100;
	for (uint32_t i = 0; i < 4; i++) {
		sessions[i] = lab_open_with(&lab.datagrams, i, 64, 64);
		ask.session = sessions[0];
		ask.sequence++;
		frame = lab_ask(&lab.datagrams, 0, &ask);
		assert_int_equal(frame.credits, i == 0 ? 64 : 100 / (i + 1));
	}
	for (uint32_t i = 1; i < 4; i++)
		lab_put_control(&lab.datagrams, i, LLR_BYE, 0, sessions[i]);
	(void)lab_turn();
	ask.sequence++;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	assert_int_equal(frame.credits, 64);
	/* More sessions than the queue has places for: they are not let in. */
	lab.engine->listeners[0].queue_capacity = 2;
	(void)lab_open(&lab.datagrams, 1);
	ask.sequence++;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	assert_int_equal(frame.credits, 1);
	{
		struct llr_hello hello = {.nonce = 1};

		hello.cookie = lab_hello(&lab.datagrams, 2, &hello).cookie;
		assert_int_equal(lab_hello(&lab.datagrams, 2, &hello).status, 503);
	}
	/* Connections have flow control of their own. */
	ask.session = lab_open_with(&lab.streams, 0, 32, 64);
	frame = lab_ask(&lab.streams, 0, &ask);
	assert_int_equal(frame.credits, 32);
}

static void test_sessionless(void **state)
{
	struct lab_ask ask = {
		.method = LAB_ECHO, .flags = LLR_FLAG_IDEMPOTENT, .payload = "12345678", .size = 8};
	uint8_t wanted[4];
	struct llr_frame frame;

	(void)state;
	start_small(1U << 20, 1);
	/* It runs as often as it is asked for: nothing is kept. */
	for (unsigned int i = 0; i < 3; i++) {
		frame = lab_ask(&lab.datagrams, 0, &ask);
		lab_expect(&frame, 0, 200, "12345678", 8);
		assert_int_equal(frame.credits, 0);
	}
	assert_int_equal(lab.seen.runs, 3);
	/* A reply larger than its request: 413, and that is no larger either. */
	ask.method = LAB_SIZE;
	ask.payload = wanted;
	ask.size = 4;
	for (uint32_t size = 3; size < 6; size++) {
		llr_le32_store(wanted, size);
		frame = lab_ask(&lab.datagrams, 0, &ask);
		lab_expect(&frame, 0, size <= 4 ? 200 : 413, NULL, 0);
		assert_true(frame.frame_size <= LLR_HEAD_SIZE + 4);
	}
	ask.method = "test.Lab/None";
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 404, NULL, 0);
	/* Not idempotent, of another session, or in a fragment: no. */
	ask = (struct lab_ask){.method = LAB_ECHO};
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 401, NULL, 0);
	ask.flags = LLR_FLAG_IDEMPOTENT;
	ask.session = 5;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 401, NULL, 0);
	ask.session = 0;
	ask.flags |= LLR_FLAG_FRAGMENT;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 401, NULL, 0);
	/* Nor on connections. */
	ask.flags = LLR_FLAG_IDEMPOTENT;
	for (unsigned int i = 1; i < 3; i++) {
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 401, NULL, 0);
	}
}

/*
 * The transport has room for k answers alone, for each k. On datagrams the client repeats what it
 * heard nothing of: then each request has its answer, and ran once.
 */
static void test_full_transport(void **state)
{
	struct lab_ask asks[] = {
		{.method = LAB_ECHO, .payload = "first", .size = 5},
		{.method = LAB_STATUS, .payload = "\xa6\x01own", .size = 5}, /* 422 */
		{.method = LAB_SIZE, .payload = "\x00\x20\0", .size = 4},    /* 8192: fragments */
		{.method = "test.Lab/None"},
		{.method = LAB_REASON, .payload = "\xf4\x01why", .size = 6}, /* 500 */
	};
	static const unsigned int statuses[] = {200, 422, 200, 404, 500};
	uint64_t session = lab_open(&lab.datagrams, 0);
	uint64_t sequence = 0;
	struct llr_frame frame;
	uint32_t peer;

	(void)state;
	for (uint32_t room = 0; room < 14; room++, sequence += 5) {
		uint32_t done = lab.seen.runs - lab.seen.no_room;

		lab.datagrams.reserves_left = room;
		for (uint32_t round = 0; round < 2; round++) {
			for (uint32_t i = 0; i < 5; i++) {
				asks[i].session = session;
				asks[i].sequence = sequence + i;
				lab_put(&lab.datagrams, 0, &asks[i]);
			}
			fake_net_clear(&lab.datagrams);
			(void)lab_turn();
			lab.datagrams.reserves_left = FAKE_ANY;
		}
		for (uint32_t i = 0; i < 5; i++) {
			assert_true(fake_net_take(&lab.datagrams, &peer, &frame));
			while (i == 2 && frame.fragment.offset + frame.payload_size < 8192)
				assert_true(fake_net_take(&lab.datagrams, &peer, &frame));
			lab_expect(&frame, sequence + i, statuses[i], NULL, 0);
		}
		lab_no_answer(&lab.datagrams);
		assert_int_equal(lab.seen.runs - lab.seen.no_room, done + 4);
	}
	assert_true(lab.counters->reply_lost > 0);
}

/* One flush is tried where there is no room. */
static void test_flushed_once(void **state)
{
	struct lab_ask ask = {.method = LAB_ECHO, .payload = "x", .size = 1};
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		nets[i]->reserves_left = 0;
		nets[i]->reserves_by_flush = 1;
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 200, "x", 1);
		assert_int_equal(nets[i]->refused, 1);
		nets[i]->reserves_left = FAKE_ANY;
	}
	assert_int_equal(lab.counters->reply_lost, 0);
}

/* The peer went, and the end of its connection has not been told yet. */
static void test_peer_is_gone(void **state)
{
	(void)state;
	for (unsigned int i = 1; i < 3; i++) {
		struct lab_ask ask = {.method = LAB_ECHO,
				      .session = lab_open(nets[i], 0),
				      .payload = "x",
				      .size = 1};

		nets[i]->gone[0] = true;
		lab_put(nets[i], 0, &ask);
		ask.method = "test.Lab/None";
		ask.sequence = 1;
		lab_put(nets[i], 0, &ask);
		fake_net_hang_up(nets[i], 0);
		(void)lab_turn();
		lab_no_answer(nets[i]);
		assert_int_equal(lab.counters->reply_lost, 2 * i);
		assert_int_equal(lab.counters->sessions_open, 0);
		nets[i]->gone[0] = false;
	}
}

static void test_successor(void **state)
{
	struct lab_ask ask = {.method = LAB_DEFER};
	struct lab_ask done = {.method = LAB_ECHO, .sequence = 3, .payload = "kept", .size = 4};
	uint64_t lane = lab_open(&lab.lanes, 0);
	struct llr_frame frame;
	uint32_t peer;

	(void)state;
	ask.session = lab_open(&lab.datagrams, 0);
	done.session = ask.session;
	(void)lab_ask(&lab.datagrams, 0, &done);
	/* Two that run while their worker dies: one may run again. */
	ask.sequence = 1;
	lab_put(&lab.datagrams, 0, &ask);
	ask.sequence = 2;
	ask.flags = LLR_FLAG_IDEMPOTENT;
	lab_put(&lab.datagrams, 0, &ask);
	(void)lab_turn();
	assert_int_equal(lab.seen.runs, 3);
	fake_net_clear(&lab.datagrams);
	lab_succeed();
	(void)lab_turn();
	assert_true(fake_net_take(&lab.datagrams, &peer, &frame));
	lab_expect(&frame, 1, 500, "the worker died", 15);
	lab_no_answer(&lab.datagrams);
	assert_int_equal(lab.counters->recovered_500, 1);
	assert_int_equal(lab.counters->sessions_recovered, 1);
	/* The 500 is remembered, and so is what was answered before. */
	ask.sequence = 1;
	ask.flags = 0;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 1, 500, "the worker died", 15);
	frame = lab_ask(&lab.datagrams, 0, &done);
	lab_expect(&frame, 3, 200, "kept", 4);
	assert_int_equal(lab.seen.runs, 3);
	ask.sequence = 2;
	ask.flags = LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY;
	fake_net_clear(&lab.datagrams);
	lab_put(&lab.datagrams, 0, &ask);
	(void)lab_turn();
	assert_int_equal(lab.seen.runs, 4);
	assert_int_equal(llrph_deferred_reply(lab.seen.deferred[0], 200, "again", 5, 0), 0);
	frame = lab_answer(&lab.datagrams, 0);
	lab_expect(&frame, 2, 200, "again", 5);
	/* A lane that nobody has any more went with its worker. */
	ask.session = lane;
	frame = lab_ask(&lab.lanes, 0, &ask);
	lab_expect(&frame, 2, 401, NULL, 0);
}

int main(void)
{
#define WITH_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		WITH_LAB(test_cookie_expires),
		WITH_LAB(test_nonce),
		cmocka_unit_test_teardown(test_memory_runs_out, lab_teardown),
		cmocka_unit_test_teardown(test_sessions_run_out, lab_teardown),
		WITH_LAB(test_silence),
		WITH_LAB(test_credits_are_shared),
		cmocka_unit_test_teardown(test_sessionless, lab_teardown),
		WITH_LAB(test_full_transport),
		WITH_LAB(test_flushed_once),
		WITH_LAB(test_peer_is_gone),
		WITH_LAB(test_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
