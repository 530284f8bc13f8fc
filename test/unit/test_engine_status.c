/* SPDX-License-Identifier: MIT */
/*
 * Every status that a server answers, where it comes from, what it says, and that it is counted; on
 * datagrams, lanes and streams.
 */
#include "lab.h"

#include <errno.h>

#define EURO "\xe2\x82\xac" /* three bytes */

/* The payload of LAB_STATUS and LAB_REASON. */
static uint32_t status_payload(uint8_t *bytes, unsigned int status, const char *text, size_t size)
{
	llr_le16_store(bytes, (uint16_t)status);
	if (size > 0)
		memcpy(bytes + 2, text, size);
	return 2 + (uint32_t)size;
}

static struct fake_net *const nets[] = {&lab.datagrams, &lab.lanes, &lab.streams};

static void test_done(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct lab_ask ask = {
			.method = LAB_ECHO, .session = lab_open(nets[i], 0), .sequence = 5};
		struct llr_frame frame;

		ask.payload = "hello";
		ask.size = 5;
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 5, 200, "hello", 5);
		assert_int_equal(frame.route, llrph_route(LAB_ECHO));
		assert_true(frame.credits >= 1 && frame.credits <= 64);
		ask.sequence = 6;
		ask.size = 0;
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 6, 200, "", 0);
		assert_int_equal(lab.counters->status_200, 2 * (i + 1));
		assert_int_equal(lab.counters->executed, 2 * (i + 1));
		assert_int_equal(lab.counters->requests, 2 * (i + 1));
		assert_int_equal(lab.counters->replies, 2 * (i + 1));
	}
}

/* Statuses that a handler returns. expected: what is answered. */
static void expect_handler(unsigned int returned, unsigned int expected, uint64_t *counter)
{
	uint64_t before = *counter;
	uint8_t payload[2];
	struct lab_ask ask = {.method = LAB_STATUS, .payload = payload};
	struct llr_frame frame;

	ask.size = status_payload(payload, returned, NULL, 0);
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		ask.sequence = 1000 + returned;
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, ask.sequence, expected, NULL, 0);
		if (expected > 299 && expected != LAB_DECLARED) {
			/* It says why, though the handler did not. */
			assert_string_not_equal(llrph_status_text(expected), "");
			assert_int_equal(frame.payload_size, strlen(llrph_status_text(expected)));
			assert_memory_equal(frame.payload, llrph_status_text(expected),
					    frame.payload_size);
		}
		if (expected == 429 || expected == 503)
			assert_true(frame.queue_ns > 0); /* microseconds until a new try */
	}
	assert_int_equal(*counter, before + 3);
}

static void test_handlers_statuses(void **state)
{
	struct llr_counters *counters = lab.counters;

	(void)state;
	expect_handler(200, 200, &counters->status_200);
	expect_handler(204, 204, &counters->status_200);
	expect_handler(299, 299, &counters->status_200);
	expect_handler(400, 400, &counters->status_400);
	expect_handler(404, 404, &counters->status_404);
	expect_handler(413, 413, &counters->status_413);
	expect_handler(429, 429, &counters->status_429);
	expect_handler(500, 500, &counters->status_500);
	expect_handler(503, 503, &counters->status_503);
	expect_handler(LAB_DECLARED, LAB_DECLARED, &counters->status_declared);
	assert_int_equal(counters->status_unknown, 0);
}

static void test_unknown_statuses(void **state)
{
	static const unsigned int none[] = {1,   99,  100, 199, 300, 302, 401,  409,
					    410, 418, 499, 504, 598, 600, 65535};

	(void)state;
	for (unsigned int i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		expect_handler(none[i], 500, &lab.counters->status_unknown);
	assert_int_equal(lab.counters->status_500, lab.counters->status_unknown);
}

static void test_status_of_its_own(void **state)
{
	uint8_t payload[600];
	struct lab_ask ask = {.method = LAB_STATUS, .payload = payload};
	struct llr_frame frame;
	char own[500];

	(void)state;
	memset(own, '\xff', sizeof(own)); /* no UTF-8, and larger than a reason: it is no reason */
	ask.size = status_payload(payload, LAB_DECLARED, own, sizeof(own));
	ask.session = lab_open(&lab.datagrams, 0);
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, LAB_DECLARED, own, sizeof(own));
	assert_int_equal(lab.counters->status_declared, 1);
	/* Undeclared: what stands in the room is not sent as a reason. */
	ask.size = status_payload(payload, 500, own, sizeof(own));
	ask.sequence = 1;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 1, 500, llrph_status_text(500),
		   (uint32_t)strlen(llrph_status_text(500)));
}

static void test_reasons_are_cut(void **state)
{
	char text[400];
	uint8_t payload[402];
	struct lab_ask ask = {.method = LAB_REASON, .payload = payload};
	struct llr_frame frame;

	(void)state;
	ask.session = lab_open(&lab.datagrams, 0);
	for (uint32_t before = 0; before < 4; before++) {
		/* 'a' times before, then signs of three bytes: whole ones up to 256 bytes. */
		uint32_t whole = (256 - before) / 3 * 3 + before;

		memset(text, 'a', before);
		for (uint32_t at = before; at + 3 < sizeof(text); at += 3)
			memcpy(text + at, EURO, 4);
		ask.size = status_payload(payload, 429, text, strlen(text) + 1);
		frame = lab_ask(&lab.datagrams, 0, &ask);
		ask.sequence++;
		lab_expect(&frame, before, 429, text, whole);
	}
	ask.size = status_payload(payload, 500, "short", 6);
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 4, 500, "short", 5);
}

static void test_ext_broken(void **state)
{
	static const uint8_t broken[16] = {1, 0, 255, 255}; /* longer than the frame */
	static const uint8_t good[64] = {1, 0, 25, 0, 0xAB, [32] = 9, 0, 3, 0, 1, 2, 3};
	struct lab_ask ask = {.method = LAB_ECHO, .flags = LLR_FLAG_EXT, .payload = "x", .size = 1};
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		ask.sequence = 1;
		ask.ext = broken;
		ask.ext_size = sizeof(broken);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 1, 400, NULL, 0);
		assert_int_equal(lab.seen.runs, i);
		ask.sequence = 2;
		ask.ext = good;
		ask.ext_size = sizeof(good);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 2, 200, "x", 1);
		assert_true(lab.seen.has_trace);
	}
	assert_int_equal(lab.counters->status_400, 3);
}

static void test_no_session(void **state)
{
	struct lab_ask ask = {.method = LAB_ECHO, .session = 99, .sequence = 3};
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		uint32_t asked = LLR_HEAD_SIZE;

		frame = lab_ask(nets[i], 1, &ask);
		lab_expect(&frame, 3, 401, NULL, 0);
		assert_int_equal(frame.credits, 0);
		if (i == 0)
			assert_true(frame.frame_size <= asked);
	}
	assert_int_equal(lab.counters->status_401, 3);
	assert_int_equal(lab.counters->executed, 0);
	/* Somebody else's session is none, either. */
	ask.session = lab_open(&lab.datagrams, 0);
	frame = lab_ask(&lab.datagrams, 1, &ask);
	lab_expect(&frame, 3, 401, NULL, 0);
	ask.session = lab_open(&lab.streams, 0);
	frame = lab_ask(&lab.streams, 2, &ask);
	lab_expect(&frame, 3, 401, NULL, 0);
	assert_int_equal(lab.seen.runs, 0);
}

static void test_no_method(void **state)
{
	struct lab_ask ask = {.method = "test.Lab/None"};
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 404, NULL, 0);
		assert_int_equal(frame.route, llrph_route("test.Lab/None"));
	}
	assert_int_equal(lab.counters->status_404, 3);
}

static void test_not_newer(void **state)
{
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 1; i < 3; i++) {
		struct lab_ask ask = {
			.method = LAB_IDEM, .session = lab_open(nets[i], 0), .sequence = 70};

		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 70, 200, NULL, 0);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 70, 409, NULL, 0);
		ask.sequence = 6; /* the same slot of 64 */
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 6, 409, NULL, 0);
		ask.sequence = 134;
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 134, 200, NULL, 0);
	}
	assert_int_equal(lab.counters->status_409, 4);
	assert_int_equal(lab.counters->stale, 4);
}

static void test_forgotten(void **state)
{
	static const uint8_t large[1024];
	struct lab_ask ask = {.method = LAB_ECHO, .payload = large, .size = sizeof(large)};
	struct llr_frame frame;

	(void)state;
	/* Two slots and a budget of some 2 x 256 + 1024 bytes. */
	ask.session = lab_open_with(&lab.datagrams, 0, 2, 1024);
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 200, large, sizeof(large));
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 200, large, sizeof(large));
	assert_int_equal(lab.counters->repeat_remembered, 1);
	for (ask.sequence = 1; ask.sequence < 7; ask.sequence += 2)
		(void)lab_ask(&lab.datagrams, 0, &ask);
	ask.sequence = 0;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 0, 410, NULL, 0);
	assert_int_equal(lab.counters->status_410, 1);
	assert_int_equal(lab.counters->repeat_forgotten, 1);
	assert_int_equal(lab.seen.runs, 4);
}

static void test_too_large(void **state)
{
	static const uint8_t bytes[65];
	struct lab_ask ask = {.method = LAB_ECHO, .payload = bytes, .size = sizeof(bytes)};
	uint8_t wanted[4];
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open_with(nets[i], 0, 0, 64);
		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 413, NULL, 0);
	}
	assert_int_equal(lab.counters->status_413, 3);
	assert_int_equal(lab.seen.runs, 0);
	/* Room beyond the method's largest reply, or the session's largest message: none. */
	ask = (struct lab_ask){
		.method = LAB_SMALL, .payload = wanted, .size = 4, .session = ask.session};
	for (uint32_t size = 8; size <= 9; size++) {
		llr_le32_store(wanted, size);
		ask.sequence++;
		frame = lab_ask(&lab.streams, 0, &ask);
		lab_expect(&frame, ask.sequence, size == 8 ? 200 : 413, NULL, 0);
	}
	ask.method = LAB_SIZE;
	for (uint32_t size = 64; size <= 65; size++) {
		llr_le32_store(wanted, size);
		ask.sequence++;
		frame = lab_ask(&lab.streams, 0, &ask);
		lab_expect(&frame, ask.sequence, size == 64 ? 200 : 413, NULL, 0);
	}
}

/* 429 and 503 settle nothing: the same sequence may be tried again. */
static void test_tried_again(void **state)
{
	static const uint16_t statuses[] = {429, 503};
	uint8_t payload[2];
	struct lab_ask ask = {.method = LAB_STATUS, .payload = payload, .size = 2};
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		ask.session = lab_open(nets[i], 0);
		for (unsigned int k = 0; k < 2; k++) {
			ask.sequence = 10 + k;
			(void)status_payload(payload, statuses[k], NULL, 0);
			frame = lab_ask(nets[i], 0, &ask);
			lab_expect(&frame, ask.sequence, statuses[k], NULL, 0);
			(void)status_payload(payload, 200, NULL, 0);
			frame = lab_ask(nets[i], 0, &ask);
			lab_expect(&frame, ask.sequence, 200, NULL, 0);
		}
	}
	assert_int_equal(lab.seen.runs, 12);
}

static void test_cancelled(void **state)
{
	static const uint8_t whole[64];
	struct lab_ask ask = {.method = LAB_ECHO,
			      .sequence = 9,
			      .flags = LLR_FLAG_FRAGMENT,
			      .payload = whole,
			      .size = 32,
			      .fragment = {.total = 64, .message_crc = 1}};
	struct llr_frame frame;

	(void)state;
	ask.session = lab_open(&lab.datagrams, 0);
	lab_put(&lab.datagrams, 0, &ask);
	(void)lab_turn();
	lab_no_answer(&lab.datagrams);
	/* Not by somebody else, nor under another sequence. */
	lab_put_control(&lab.datagrams, 1, LLR_CANCEL, 9, ask.session);
	lab_put_control(&lab.datagrams, 0, LLR_CANCEL, 8, ask.session);
	(void)lab_turn();
	lab_no_answer(&lab.datagrams);
	lab_put_control(&lab.datagrams, 0, LLR_CANCEL, 9, ask.session);
	(void)lab_turn();
	frame = lab_answer(&lab.datagrams, 0);
	lab_expect(&frame, 9, 499, NULL, 0);
	assert_int_equal(lab.counters->status_499, 1);
	assert_int_equal(lab.counters->cancelled, 1);
	assert_int_equal(lab.counters->cancels, 3);
	/* The rest of it comes late: the slot has its answer. */
	ask.fragment.offset = 32;
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 9, 499, NULL, 0);
	assert_int_equal(lab.seen.runs, 0);
	/* What has run is not cancelled, and the slot goes on. */
	ask = (struct lab_ask){.method = LAB_ECHO, .session = ask.session, .sequence = 73};
	frame = lab_ask(&lab.datagrams, 0, &ask);
	lab_expect(&frame, 73, 200, NULL, 0);
	lab_put_control(&lab.datagrams, 0, LLR_CANCEL, 73, ask.session);
	(void)lab_turn();
	lab_no_answer(&lab.datagrams);
}

static void test_stopping(void **state)
{
	uint64_t sessions[3];
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		sessions[i] = lab_open(nets[i], 0);
	assert_int_equal(llrph_engine_stop(lab.engine), 0);
	for (unsigned int i = 0; i < 3; i++) {
		struct lab_ask ask = {.method = LAB_ECHO, .session = sessions[i]};
		struct llr_hello hello = {.nonce = 88};
		struct llr_welcome welcome;

		frame = lab_ask(nets[i], 0, &ask);
		lab_expect(&frame, 0, 503, "stopping", 8);
		assert_int_equal(frame.queue_ns, LLR_RETRY_US);
		/* Nobody new is let in. */
		welcome = lab_hello(nets[i], 1, &hello);
		if (i == 0) {
			hello.cookie = welcome.cookie;
			welcome = lab_hello(nets[i], 1, &hello);
		}
		assert_int_equal(welcome.status, 503);
		assert_int_equal(welcome.session, 0);
	}
	assert_int_equal(lab.counters->status_503, 3);
	assert_int_equal(lab.seen.runs, 0);
}

static void test_budget_spent(void **state)
{
	uint8_t bytes[LLR_HEAD_SIZE];
	struct llr_frame frame;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct lab_ask ask = {
			.method = LAB_ECHO, .session = lab_open(nets[i], 0), .budget_us = 1000};
		uint32_t size = lab_frame(bytes, &ask);

		/* It waited 1 ms in a queue, less the 200 us that the turn takes. */
		fake_net_put_late(nets[i], 0, bytes, size, 1000000 - LAB_TURN_NS);
		(void)lab_turn();
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 0, 504, NULL, 0);
		assert_int_equal(frame.queue_ns, 1000000);
		ask.sequence = 1;
		size = lab_frame(bytes, &ask);
		fake_net_put_late(nets[i], 0, bytes, size, 1000000 - LAB_TURN_NS - 1);
		(void)lab_turn();
		frame = lab_answer(nets[i], 0);
		lab_expect(&frame, 1, 200, NULL, 0);
		assert_int_equal(frame.queue_ns, 999999);
	}
	assert_int_equal(lab.counters->status_504, 2);
	assert_int_equal(lab.seen.runs, 2);
}

int main(void)
{
#define WITH_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		WITH_LAB(test_done),
		WITH_LAB(test_handlers_statuses),
		WITH_LAB(test_unknown_statuses),
		WITH_LAB(test_status_of_its_own),
		WITH_LAB(test_reasons_are_cut),
		WITH_LAB(test_ext_broken),
		WITH_LAB(test_no_session),
		WITH_LAB(test_no_method),
		WITH_LAB(test_not_newer),
		WITH_LAB(test_forgotten),
		WITH_LAB(test_too_large),
		WITH_LAB(test_tried_again),
		WITH_LAB(test_cancelled),
		WITH_LAB(test_stopping),
		WITH_LAB(test_budget_spent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
