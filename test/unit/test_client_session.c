/* SPDX-License-Identifier: MIT */
/*
 * Sessions on datagrams: how they open, live, are lost and come back, what is then said of
 * requests; and two at a time, for hedging. The network is scripted, time moves by hand.
 */
#include "../support/fake_wire.h"

static const struct llrph_client_options small = {
	.size = sizeof(struct llrph_client_options), .window = 8, .max_message = 8192};

/* ---- sessions ---- */

static void test_session_opens_with_a_cookie(void **state)
{
	struct rig *rig = rig_make(0, 1, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_hello hello;
	void *payload;

	(void)state;
	assert_int_equal(llrph_call_begin(rig->client, 1, &payload), LLRPH_E_PEER_DEAD);
	rig_poll(rig);
	hello = wire_take_hello(wire);
	assert_int_equal(hello.cookie, 0);
	assert_int_equal(hello.window, 8);
	assert_int_equal(hello.max_message, 8192);
	wire->sent_seen--;
	rig_welcome(rig, wire, EPOCH, MS);
	assert_int_equal(rig_info(rig).sessions, 1);
	assert_int_equal(rig_info(rig).epoch, EPOCH);
	assert_int_equal(rig_info(rig).window, 8);
	assert_string_equal(rig_info(rig).endpoint, "fake:first");
	assert_int_equal(wire_unseen(wire), 0);
	rig_free(rig);
}

static void test_hello_is_repeated(void **state)
{
	struct rig *rig = rig_make(0, 1, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t nonce;

	(void)state;
	rig_poll(rig);
	nonce = wire_take_hello(wire).nonce;
	rig_pass(rig, 50 * MS - 1);
	assert_int_equal(wire_unseen(wire), 0);
	rig_pass(rig, 1);
	assert_int_equal(wire_take_hello(wire).nonce, nonce);
	rig_pass(rig, 100 * MS - 1);
	assert_int_equal(wire_unseen(wire), 0);
	rig_pass(rig, 1);
	assert_int_equal(wire_take_hello(wire).nonce, nonce);
	rig_free(rig);
}

/* The WELCOME 200 is lost: the same nonce and cookie ask for the same session. */
static void test_lost_welcome(void **state)
{
	struct rig *rig = rig_make(0, 1, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_hello hello;
	struct llr_welcome welcome = {.cookie = 9, .status = LLRPH_STATUS_NO_SESSION};

	(void)state;
	rig_poll(rig);
	hello = wire_take_hello(wire);
	welcome.nonce = hello.nonce;
	wire_bring_welcome(wire, &welcome);
	wire_bring_welcome(wire, &welcome); /* a duplicate causes no second HELLO */
	rig_poll(rig);
	assert_int_equal(wire_take_hello(wire).cookie, 9);
	assert_int_equal(wire_unseen(wire), 0);
	rig_pass(rig, 50 * MS);
	hello = wire_take_hello(wire);
	assert_int_equal(hello.nonce, welcome.nonce);
	assert_int_equal(hello.cookie, 9);
	rig_free(rig);
}

static void test_foreign_welcomes_are_dropped(void **state)
{
	struct rig *rig = rig_make(0, 1, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_hello hello;
	struct llr_welcome welcome;

	(void)state;
	rig_poll(rig);
	hello = wire_take_hello(wire);
	welcome = wire_grant(wire, &hello, EPOCH);
	welcome.nonce++;
	wire_bring_welcome(wire, &welcome);
	rig_poll(rig);
	assert_false(llr_client_is_open(rig->client));
	assert_int_equal(rig_info(rig).rejected, 1);
	welcome.nonce--;
	wire_bring_welcome(wire, &welcome);
	wire->coming_spans[0].peer = &wire->stranger;
	rig_poll(rig);
	assert_false(llr_client_is_open(rig->client));
	assert_int_equal(rig_info(rig).rejected, 2);
	wire_bring_welcome(wire, &welcome);
	wire_bring_welcome(wire, &welcome);
	rig_poll(rig);
	assert_true(llr_client_is_open(rig->client));
	assert_int_equal(rig_info(rig).rejected, 3);
	rig_free(rig);
}

static void test_nonsense_is_not_granted(void **state)
{
	static const struct llr_welcome nonsense[] = {
		{.session = 0, .window = 8, .max_message = 100, .status = 200},
		{.session = 1, .window = 3, .max_message = 100, .status = 200},
		{.session = 1, .window = 16, .max_message = 100, .status = 200},
		{.session = 1, .window = 0, .max_message = 100, .status = 200},
		{.session = 1, .window = 8, .max_message = 8193, .status = 200},
		{.session = 1, .window = 8, .max_message = 0, .status = 200},
		{.status = 503},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct rig *rig = rig_make(0, 1, &small);
		struct llr_welcome welcome = nonsense[i];

		rig_poll(rig);
		welcome.nonce = wire_take_hello(&rig->wires[0]).nonce;
		wire_bring_welcome(&rig->wires[0], &welcome);
		rig_poll(rig);
		assert_false(llr_client_is_open(rig->client));
		assert_int_equal(rig->client->failures, 1);
		assert_int_equal(rig->client->open_error,
				 welcome.status == 503 ? LLRPH_E_NO_SESSION : LLRPH_E_BAD_PEER);
		rig_poll(rig);
		assert_false(rig->wires[0].is_open);
		rig_free(rig);
	}
}

static void test_a_silent_endpoint_gives_way_to_the_next(void **state)
{
	struct rig *rig = rig_make(0, 2, &small);

	(void)state;
	rig_poll(rig);
	wire_take_hello(&rig->wires[0]);
	assert_int_equal(rig->wires[1].connects, 0);
	rig_pass(rig, SECOND); /* connect_ns */
	assert_int_equal(rig->client->open_error, -ETIMEDOUT);
	rig_poll(rig);
	assert_false(rig->wires[0].is_open);
	rig_welcome(rig, &rig->wires[1], EPOCH, MS);
	assert_string_equal(rig_info(rig).endpoint, "fake:second");
	rig_free(rig);
}

static void test_heartbeats_and_a_dead_peer(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_frame beat;

	(void)state;
	rig_pass(rig, 10 * SECOND - 2 * MS);
	assert_int_equal(wire_unseen(wire), 0);
	rig_pass(rig, 2 * MS);
	beat = wire_take(wire, LLR_HEARTBEAT);
	assert_int_equal(beat.length, 8);
	assert_int_equal(llr_le64_load(beat.body), wire->session);
	wire_bring_named(wire, LLR_ACK, beat.sequence);
	rig_pass(rig, MS);
	rig_pass(rig, 10 * SECOND);
	assert_int_equal(wire_take(wire, LLR_HEARTBEAT).sequence, beat.sequence + 1);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(llr_client_is_open(rig->client));
		rig_pass(rig, 2500 * MS);
		wire_take(wire, LLR_HEARTBEAT);
	}
	rig_pass(rig, 2500 * MS);
	assert_false(llr_client_is_open(rig->client));
	rig_poll(rig);
	assert_int_equal(wire->connects, 2);
	rig_poll(rig);
	rig_welcome(rig, wire, EPOCH, MS);
	assert_int_equal(rig_info(rig).sessions, 2);
	rig_free(rig);
}

/* ---- sessions that are lost ---- */

static void refuse(struct rig *rig, struct wire *wire, uint64_t sequence, uint64_t after_ns)
{
	rig->now_ns += after_ns;
	wire_bring_status(wire, sequence, LLRPH_STATUS_NO_SESSION);
	assert_int_equal(rig_poll(rig), 0);
	assert_false(llr_client_is_open(rig->client));
}

static void test_a_restarted_server(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){"x", 1, 0, 0, 5});
	struct llr_frame frame;
	void *payload;

	(void)state;
	refuse(rig, wire, sequence, 100 * US);
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), LLRPH_E_PEER_DEAD);
	rig_welcome(rig, wire, EPOCH + 1, MS);
	rig_poll(rig);
	frame = wire_take(wire, LLR_REQUEST);
	assert_true(frame.sequence > sequence);
	assert_int_equal(frame.flags, 0); /* nothing was sent before in this session */
	assert_int_equal(frame.session, wire->session);
	assert_memory_equal(frame.payload, "x", 1);
	wire_bring_status(wire, sequence, LLRPH_STATUS_NO_SESSION); /* late, of the old session */
	assert_int_equal(rig_poll(rig), 0);
	assert_true(llr_client_is_open(rig->client));
	wire_bring_status(wire, frame.sequence, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].error, 0);
	assert_int_equal(rig->done[0].tag, 5);
	assert_int_equal(rig->done[0].attempts, 2);
	assert_int_equal(rig_info(rig).epoch, EPOCH + 1);
	rig_free(rig);
}

/* The server had time to run it, die and come back: that is said, unless it may run twice. */
static void test_what_may_have_run_is_said(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t once = rig_send(rig, wire, &(struct rig_request){.tag = 1});
	uint64_t twice = rig_send(
		rig, wire, &(struct rig_request){.tag = 2, .flags = LLRPH_REQUEST_IDEMPOTENT});
	uint64_t unheard = rig_send(rig, wire, &(struct rig_request){.tag = 3});

	(void)state;
	rig_pass(rig, 5 * MS);
	wire_skip(wire);
	refuse(rig, wire, once, 0);
	wire_bring_status(wire, twice, LLRPH_STATUS_NO_SESSION);
	rig_poll(rig);
	rig->wires[0].sent_seen = rig->wires[0].sent_count - 1;
	rig_welcome(rig, wire, EPOCH + 1, MS);
	assert_int_equal(rig->done_count, 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(rig->done[i].error, LLRPH_E_MAYBE_RAN);
		assert_int_equal(rig->done[i].tag, i == 0 ? 1 : 3);
	}
	rig_poll(rig);
	assert_int_equal(wire_unseen(wire), 1);
	assert_int_equal(wire_take(wire, LLR_REQUEST).flags, LLR_FLAG_IDEMPOTENT);
	assert_true(unheard > twice);
	rig_free(rig);
}

/* The same epoch: only a session that had ended of its silence cannot have run it. */
static void test_a_session_that_ended_of_silence(void **state)
{
	static const uint64_t silences_ns[] = {31 * SECOND, SECOND};

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct rig *rig = rig_open(0, &small);
		struct wire *wire = &rig->wires[0];

		rig->now_ns += silences_ns[i];
		rig_commit(rig, &(struct rig_request){0});
		refuse(rig, wire, wire_take(wire, LLR_REQUEST).sequence, 100 * US);
		rig->wires[0].sent_seen = rig->wires[0].sent_count - 1;
		rig_welcome(rig, wire, EPOCH, MS);
		assert_int_equal(rig->done_count, i);
		rig_poll(rig);
		assert_int_equal(wire_unseen(wire), 1 - i);
		rig_free(rig);
	}
}

/* ---- hedging ---- */

static struct rig *rig_hedged(const struct llrph_client_options *options)
{
	struct rig *rig = rig_make(0, 2, options);

	rig->wires[0].echoes = rig->wires[1].echoes = true;
	for (unsigned int i = 0; i < 4; i++)
		rig_poll(rig);
	rig->wires[0].echoes = rig->wires[1].echoes = false;
	assert_int_equal(rig_info(rig).sessions, 2);
	wire_skip(&rig->wires[0]);
	wire_skip(&rig->wires[1]);
	return rig;
}

static void test_hedging(void **state)
{
	struct llrph_client_options options = small;
	struct rig *rig;
	struct wire *wires;
	uint64_t first;
	uint64_t second;

	(void)state;
	options.hedge_ns = 100 * US;
	rig = rig_hedged(&options);
	wires = rig->wires;
	first = rig_send(rig, &wires[0],
			 &(struct rig_request){.tag = 6, .flags = LLRPH_REQUEST_IDEMPOTENT});
	rig_send(rig, &wires[0], &(struct rig_request){.tag = 7});
	rig_pass(rig, 100 * US - 1);
	assert_int_equal(wire_unseen(&wires[1]), 0);
	rig_pass(rig, 1);
	second = wire_take(&wires[1], LLR_REQUEST).sequence;
	assert_int_equal(wire_unseen(&wires[1]), 0); /* the other one may not run twice */
	assert_int_equal(rig_info(rig).hedges, 1);
	wire_bring_status(&wires[1], second, 503); /* does not count while the other may answer */
	assert_int_equal(rig_poll(rig), 0);
	wire_bring_status(&wires[0], first, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 6);
	assert_int_equal(rig->done[0].attempts, 2);

	first = rig_send(rig, &wires[0],
			 &(struct rig_request){.tag = 8, .flags = LLRPH_REQUEST_IDEMPOTENT});
	rig_pass(rig, 100 * US);
	second = wire_take(&wires[1], LLR_REQUEST).sequence;
	wire_skip(&wires[0]); /* the other call's repeats */
	wire_bring_status(&wires[1], second, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 8);
	assert_int_equal(wire_take(&wires[0], LLR_CANCEL).sequence, first);
	wire_bring_status(&wires[0], first, 200);
	assert_int_equal(rig_poll(rig), 0);
	rig_free(rig);
}

static void test_hedging_after_p95(void **state)
{
	struct llrph_client_options options = small;
	struct rig *rig;

	(void)state;
	options.hedge_p95 = 1;
	rig = rig_hedged(&options);
	for (unsigned int i = 0; i < LLR_P95_SAMPLES_MIN; i++) {
		uint64_t sequence =
			rig_send(rig, &rig->wires[0],
				 &(struct rig_request){.flags = LLRPH_REQUEST_IDEMPOTENT});

		rig->now_ns += i % 16 == 0 ? 900 * US : 40 * US; /* 6 % are slow */
		wire_bring_status(&rig->wires[0], sequence, 200);
		assert_int_equal(rig_poll(rig), 1);
	}
	assert_in_range(rig->client->p95_ns, 900 * US, 940 * US);
	assert_int_equal(rig_info(rig).hedges, 0);
	rig_send(rig, &rig->wires[0], &(struct rig_request){.flags = LLRPH_REQUEST_IDEMPOTENT});
	rig_pass(rig, rig->client->p95_ns);
	assert_int_equal(rig_info(rig).hedges, 1);
	rig_free(rig);
}

/* The primary falls silent: the hedge's session is there already. */
static void test_hedge_takes_over(void **state)
{
	struct llrph_client_options options = small;
	struct rig *rig;
	unsigned int errors = 0;

	(void)state;
	options.hedge_ns = 10 * SECOND;
	rig = rig_hedged(&options);
	rig_commit(rig, &(struct rig_request){.tag = 1, .timeout_ns = 100 * SECOND});
	rig_commit(rig, &(struct rig_request){.tag = 2,
					      .timeout_ns = 100 * SECOND,
					      .flags = LLRPH_REQUEST_IDEMPOTENT});
	rig_poll(rig);
	for (unsigned int i = 0; i < 1001; i++) {
		if (rig_pass(rig, MS) == 0)
			continue;
		assert_int_equal(rig->done[0].tag, 1);
		assert_int_equal(rig->done[0].error, LLRPH_E_MAYBE_RAN);
		errors++;
	}
	assert_int_equal(errors, 1);
	assert_true(llr_client_is_open(rig->client));
	assert_string_equal(rig_info(rig).endpoint, "fake:second");
	assert_int_equal(wire_take(&rig->wires[1], LLR_REQUEST).flags, LLR_FLAG_IDEMPOTENT);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session_opens_with_a_cookie),
		cmocka_unit_test(test_hello_is_repeated),
		cmocka_unit_test(test_lost_welcome),
		cmocka_unit_test(test_foreign_welcomes_are_dropped),
		cmocka_unit_test(test_nonsense_is_not_granted),
		cmocka_unit_test(test_a_silent_endpoint_gives_way_to_the_next),
		cmocka_unit_test(test_heartbeats_and_a_dead_peer),
		cmocka_unit_test(test_a_restarted_server),
		cmocka_unit_test(test_what_may_have_run_is_said),
		cmocka_unit_test(test_a_session_that_ended_of_silence),
		cmocka_unit_test(test_hedging),
		cmocka_unit_test(test_hedging_after_p95),
		cmocka_unit_test(test_hedge_takes_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
