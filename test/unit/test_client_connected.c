/* SPDX-License-Identifier: MIT */
/*
 * The client on connected transports: requests built in place, streams cut anywhere, replies in
 * parts of a handler, connections that end, and synchronous calls. The other end is scripted, time
 * moves by hand.
 */
#include "../support/fake_wire.h"

#define STREAM (LLR_TRAIT_CONNECTED | LLR_TRAIT_STREAM)
#define LANE   (LLR_TRAIT_CONNECTED | LLR_TRAIT_NO_CRC)

static const struct llrph_client_options small = {
	.size = sizeof(struct llrph_client_options), .window = 4, .max_message = 2048};
static const struct rig_request twice = {.flags = LLRPH_REQUEST_IDEMPOTENT, .tag = 2};

static void test_hello_is_answered_at_once(void **state)
{
	struct rig *rig = rig_make(STREAM, 1, &small);
	struct wire *wire = &rig->wires[0];

	(void)state;
	rig_poll(rig);
	rig_pass(rig, 900 * MS);
	assert_int_equal(wire_unseen(wire), 1); /* nothing is repeated on a connection */
	rig_welcome(rig, wire, EPOCH, MS);
	rig_free(rig);
}

static void test_close_says_bye(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_frame frame;
	void *payload;

	(void)state;
	assert_int_equal(llrph_call_begin(rig->client, 4, &payload), 0);
	llrph_client_close(rig->client);
	frame = wire_take(wire, LLR_BYE);
	assert_int_equal(frame.length, 8);
	assert_int_equal(llr_le64_load(frame.body), wire->session);
	assert_int_equal(wire_unseen(wire), 0);
	assert_false(wire->is_open);
	test_free(rig);
}

static void test_built_in_place(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_frame frame;
	void *payload = NULL;

	(void)state;
	assert_int_equal(llrph_call_begin(rig->client, 100, &payload), 0);
	assert_ptr_equal(payload, wire->room + LLR_HEAD_SIZE);
	memcpy(payload, "abc", 3);
	rig_pass(rig, 20 * SECOND); /* a heartbeat is due, but the room is the request's */
	assert_int_equal(wire_unseen(wire), 0);
	assert_true(llrph_call_commit(rig->client, ROUTE, 3, 0, SECOND, 0) > 0);
	frame = wire_take(wire, LLR_REQUEST);
	assert_int_equal(frame.payload_size, 3);
	assert_memory_equal(frame.payload, "abc", 3);
	assert_int_equal(frame.budget_us, 1000000);
	rig_free(rig);
}

static void test_memory_goes_without_checksum(void **state)
{
	struct llrph_client_options options = small;
	struct rig *rig = rig_open(LANE, &options);

	(void)state;
	rig_commit(rig, &(struct rig_request){0});
	assert_int_equal(wire_take(&rig->wires[0], LLR_REQUEST).flags, LLR_FLAG_NO_CRC);
	rig_free(rig);
	options.checksum = 1;
	rig = rig_open(LANE, &options);
	rig_commit(rig, &(struct rig_request){0});
	assert_int_equal(wire_take(&rig->wires[0], LLR_REQUEST).flags, 0);
	rig_free(rig);
}

static void test_what_begin_says(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	void *payload;

	(void)state;
	wire->reserve_error = -EAGAIN;
	assert_int_equal(llrph_call_begin(rig->client, 1, &payload), LLRPH_E_RING_FULL);
	wire->reserve_error = -ECONNRESET;
	assert_int_equal(llrph_call_begin(rig->client, 1, &payload), LLRPH_E_PEER_DEAD);
	wire->reserve_error = -EMSGSIZE;
	assert_int_equal(llrph_call_begin(rig->client, 1, &payload), LLRPH_E_TOO_LARGE);
	wire->reserve_error = 0;
	for (unsigned int i = 0; i < 4; i++)
		rig_commit(rig, &(struct rig_request){0});
	assert_int_equal(llrph_call_begin(rig->client, 1, &payload), LLRPH_E_WINDOW_FULL);
	rig_free(rig);
}

static void test_a_stream_cut_anywhere(void **state)
{
	_Alignas(16) uint8_t frame[WIRE_FRAME_SIZE_MAX];
	uint32_t size = wire_reply_encode(
		frame, &(struct wire_reply){.sequence = 4, .payload = "0123456789", .size = 10});

	(void)state;
	/* Two replies, the first padded: cut after every byte of both. */
	for (uint32_t cut = 1; cut < 2 * 64; cut++) {
		struct rig *rig = rig_open(STREAM, &small);
		struct wire *wire = &rig->wires[0];
		unsigned int done = 0;
		uint32_t base = wire->stream_size;

		assert_int_equal(rig_send(rig, wire, &(struct rig_request){0}), 4);
		assert_int_equal(rig_send(rig, wire, &(struct rig_request){0}), 5);
		wire_bring(wire, frame, size);
		llr_le64_store(frame + 8, 5);
		wire_bring_reply(wire, &(struct wire_reply){
					       .sequence = 5, .payload = "0123456789", .size = 10});
		llr_le64_store(frame + 8, 4);
		wire->stream_size = base + cut;
		for (unsigned int i = 0; i < 3; i++) {
			done += rig_poll(rig);
			for (unsigned int k = 0; k < rig->done_count; k++) {
				assert_int_equal((uintptr_t)rig->done[k].payload % 16, 0);
				assert_memory_equal(rig->done[k].payload, "0123456789", 10);
			}
			if (i == 0)
				assert_int_equal(done, (cut >= 58) + (cut >= 64 + 58));
			wire->stream_size = base + 2 * 64;
		}
		assert_int_equal(done, 2);
		assert_int_equal(rig_info(rig).rejected, 0);
		assert_true(llr_client_is_open(rig->client));
		rig_free(rig);
	}
}

static void test_a_broken_frame_ends_the_connection(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){0});

	(void)state;
	wire_bring_status(wire, sequence, 200);
	wire->stream[wire->stream_size - 20] ^= 1;
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_MAYBE_RAN);
	assert_int_equal(rig_info(rig).rejected, 1);
	rig_poll(rig);
	assert_int_equal(wire->connects, 2);
	rig_free(rig);
}

static void test_replies_in_parts(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){.tag = 4});
	static const char *const parts[] = {"one", "two", "end"};
	struct llrph_completion done;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence,
							    .payload = parts[i],
							    .size = 3,
							    .flags = i < 2 ? LLR_FLAG_MORE : 0});
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(rig_info(rig).outstanding, 1);
		assert_int_equal(llrph_client_poll(rig->client, &done, 1), 1);
		assert_int_equal(done.tag, 4);
		assert_int_equal(done.more, i < 2);
		assert_memory_equal(done.payload, parts[i], 3);
	}
	assert_int_equal(rig_info(rig).outstanding, 0);
	rig_free(rig);
}

/* What was sent may have run; what is only begun did not; what may run twice goes again. */
static void test_a_connection_ends(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_frame frame;
	void *payload;

	(void)state;
	rig_send(rig, wire, &(struct rig_request){.tag = 1});
	rig_commit(rig, &(struct rig_request){"twice", 5, LLRPH_REQUEST_IDEMPOTENT, 0, 2});
	assert_int_equal(llrph_call_begin(rig->client, 7, &payload), 0);
	wire_skip(wire);
	wire->has_ended = true;
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_MAYBE_RAN);
	rig_poll(rig);
	assert_true(wire->is_open); /* its room is still being written to */
	memset(payload, 1, 7);
	assert_true(llrph_call_commit(rig->client, ROUTE, 7, 0, SECOND, 3) > 0);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 3);
	assert_int_equal(rig->done[0].error, LLRPH_E_PEER_DEAD);
	assert_int_equal(rig->done[0].attempts, 0);
	assert_int_equal(llrph_call_begin(rig->client, 7, &payload), LLRPH_E_PEER_DEAD);
	assert_null(rig_info(rig).endpoint);
	rig_poll(rig);
	assert_int_equal(wire->connects, 2);
	rig_welcome(rig, wire, EPOCH + 1, MS);
	rig_poll(rig);
	frame = wire_take(wire, LLR_REQUEST);
	assert_memory_equal(frame.payload, "twice", 5);
	assert_int_equal(wire_unseen(wire), 0);
	wire_bring_status(wire, frame.sequence, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 2);
	assert_int_equal(rig->done[0].attempts, 2);
	rig_free(rig);
}

/* Begun before the end, committed after: an idempotent one waits for the next session. */
static void test_begun_before_the_end(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	void *payload;

	(void)state;
	assert_int_equal(llrph_call_begin(rig->client, 3, &payload), 0);
	memcpy(payload, "abc", 3);
	wire->has_ended = true;
	rig_poll(rig);
	assert_true(llrph_call_commit(rig->client, ROUTE, 3, LLRPH_REQUEST_IDEMPOTENT, SECOND, 0) >
		    0);
	rig_poll(rig);
	rig_poll(rig);
	rig_welcome(rig, wire, EPOCH, MS);
	rig_poll(rig);
	assert_memory_equal(wire_take(wire, LLR_REQUEST).payload, "abc", 3);
	rig_free(rig);
}

/* The same endpoint, the next, and so on; a pause after each round, from 1 to 100 ms. */
static void test_the_way_back(void **state)
{
	struct rig *rig = rig_make(STREAM, 2, &small);
	struct wire *wires = rig->wires;
	uint64_t pause_ns = MS;

	(void)state;
	rig_poll(rig);
	rig_welcome(rig, &wires[0], EPOCH, MS);
	wires[0].is_refused = wires[1].is_refused = true;
	wires[0].has_ended = true;
	rig_poll(rig);
	for (unsigned int i = 0; i < 4; i++)
		rig_poll(rig);
	assert_int_equal(wires[0].connects, 2);
	assert_int_equal(wires[1].connects, 1);
	for (unsigned int round = 1; round < 10; round++) {
		rig_pass(rig, pause_ns - 1);
		assert_int_equal(wires[0].connects, 1 + round);
		rig_pass(rig, 1);
		assert_int_equal(wires[0].connects, 2 + round);
		for (unsigned int i = 0; i < 4; i++)
			rig_poll(rig);
		assert_int_equal(wires[1].connects, 1 + round);
		pause_ns = llr_min_u64(2 * pause_ns, 100 * MS);
	}
	wires[1].is_refused = false;
	rig_pass(rig, 100 * MS);
	rig_poll(rig);
	rig_welcome(rig, &wires[1], EPOCH, MS);
	assert_string_equal(rig_info(rig).endpoint, "fake:second");
	rig_free(rig);
}

/* On a connection there is one copy: a 401 says that it did not run. */
static void test_an_expired_session(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t once = rig_send(rig, wire, &(struct rig_request){.tag = 1});
	uint64_t again = rig_send(rig, wire, &twice);

	(void)state;
	rig->now_ns += 20 * MS;
	wire_bring_status(wire, once, LLRPH_STATUS_NO_SESSION);
	wire_bring_status(wire, again, LLRPH_STATUS_NO_SESSION);
	assert_int_equal(rig_poll(rig), 0);
	rig_welcome(rig, wire, EPOCH, MS);
	assert_int_equal(wire->connects, 1);
	assert_int_equal(rig->done_count, 1);
	assert_int_equal(rig->done[0].tag, 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_NO_SESSION);
	rig_poll(rig);
	assert_true(wire_take(wire, LLR_REQUEST).sequence > again);
	rig_free(rig);
}

static void test_deadlines(void **state)
{
	struct rig *rig = rig_open(STREAM, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence;

	(void)state;
	sequence = rig_send(rig, wire, &(struct rig_request){.timeout_ns = 50 * MS});
	assert_int_equal(rig_pass(rig, 50 * MS - 1), 0);
	assert_int_equal(wire_unseen(wire), 0);
	assert_int_equal(rig_pass(rig, 1), 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_DEADLINE);
	assert_int_equal(wire_take(wire, LLR_CANCEL).sequence, sequence);
	/* One that waits for a session in vain: it did not run. */
	rig_commit(rig, &twice);
	wire->has_ended = true;
	wire->is_refused = true;
	rig_poll(rig);
	assert_int_equal(rig_pass(rig, 20 * SECOND), 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_DEADLINE); /* it was sent once */
	rig_free(rig);
}

/* ---- synchronous calls ---- */

static struct rig *rig_echo(unsigned int traits)
{
	struct rig *rig = rig_make(traits, 1, &small);

	rig->wires[0].echoes = true;
	rig->wires[0].tick_ns = US;
	rig_poll(rig);
	rig_poll(rig);
	assert_true(llr_client_is_open(rig->client));
	return rig;
}

static void test_sync(void **state)
{
	static const unsigned int traits[] = {STREAM, LANE, 0};

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct rig *rig = rig_echo(traits[i]);
		struct llrph_completion done;

		for (unsigned int k = 0; k < 20; k++) {
			assert_int_equal(
				llrph_call_sync(rig->client, ROUTE, "ping", 4, 0, SECOND, &done),
				0);
			assert_int_equal(done.status, 200);
			assert_int_equal(done.size, 4);
			assert_memory_equal(done.payload, "ping", 4);
			assert_true(done.latency_ns <= 5 * US);
		}
		assert_int_equal(llrph_call_sync(rig->client, ROUTE, NULL, 0, 0, SECOND, &done), 0);
		assert_int_equal(llrph_call_sync(rig->client, ROUTE, NULL, 1, 0, SECOND, &done),
				 LLRPH_E_BAD_ARGUMENT);
		assert_int_equal(done.error, LLRPH_E_BAD_ARGUMENT);
		assert_int_equal(llrph_call_sync(rig->client, ROUTE, "", 4000, 0, SECOND, &done),
				 LLRPH_E_TOO_LARGE);
		rig_free(rig);
	}
}

/* Replies to pipelined requests that come during a synchronous call are kept for poll. */
static void test_sync_keeps_what_others_get(void **state)
{
	struct rig *rig = rig_echo(STREAM);
	struct llrph_completion done;
	void *payload;

	(void)state;
	for (uint64_t i = 0; i < 2; i++)
		rig_commit(rig, &(struct rig_request){i == 0 ? "first" : "other", 5, 0, 0, 10 + i});
	assert_int_equal(llrph_call_sync(rig->client, ROUTE, "mine!", 5, 0, SECOND, &done), 0);
	assert_memory_equal(done.payload, "mine!", 5);
	assert_int_equal(rig_info(rig).outstanding, 0);
	assert_int_equal(rig_poll(rig), 2);
	assert_int_equal(rig->done[0].tag, 10);
	assert_memory_equal(rig->done[0].payload, "first", 5);
	assert_int_equal((uintptr_t)rig->done[0].payload % 16, 0);
	assert_int_equal(rig->done[1].tag, 11);
	/* Their payloads stay until the next poll, whatever is begun meanwhile. */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(llrph_call_begin(rig->client, 5, &payload), 0);
		memset(payload, 0, 5);
		llrph_call_abort(rig->client);
	}
	assert_memory_equal(rig->done[1].payload, "other", 5);
	rig_free(rig);
}

static void test_sync_meets_its_deadline(void **state)
{
	struct rig *rig = rig_echo(STREAM);
	uint64_t start_ns = rig->now_ns;
	struct llrph_completion done;

	(void)state;
	rig->wires[0].echoes = false;
	assert_int_equal(llrph_call_sync(rig->client, ROUTE, "", 0, 0, 2 * MS, &done),
			 LLRPH_E_DEADLINE);
	assert_int_equal(done.error, LLRPH_E_DEADLINE);
	assert_in_range(rig->now_ns - start_ns, 2 * MS, 3 * MS);
	/* Why it could not be sent is what is told then. */
	rig->wires[0].reserve_error = -EAGAIN;
	assert_int_equal(llrph_call_sync(rig->client, ROUTE, "", 0, 0, 2 * MS, &done),
			 LLRPH_E_RING_FULL);
	rig_free(rig);
}

/* What certainly did not run is made again by itself, in the next session. */
static void test_sync_waits_for_a_session(void **state)
{
	struct rig *rig = rig_echo(STREAM);
	struct llrph_completion done;

	(void)state;
	rig->wires[0].has_ended = true;
	rig_poll(rig);
	assert_false(llr_client_is_open(rig->client));
	rig->now_ns += 5 * MS;
	assert_int_equal(llrph_call_sync(rig->client, ROUTE, "hi", 2, 0, 100 * MS, &done), 0);
	assert_memory_equal(done.payload, "hi", 2);
	assert_int_equal(rig->wires[0].connects, 2);
	assert_int_equal(rig_info(rig).sessions, 2);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello_is_answered_at_once),
		cmocka_unit_test(test_close_says_bye),
		cmocka_unit_test(test_built_in_place),
		cmocka_unit_test(test_memory_goes_without_checksum),
		cmocka_unit_test(test_what_begin_says),
		cmocka_unit_test(test_a_stream_cut_anywhere),
		cmocka_unit_test(test_a_broken_frame_ends_the_connection),
		cmocka_unit_test(test_replies_in_parts),
		cmocka_unit_test(test_a_connection_ends),
		cmocka_unit_test(test_begun_before_the_end),
		cmocka_unit_test(test_the_way_back),
		cmocka_unit_test(test_an_expired_session),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_sync),
		cmocka_unit_test(test_sync_keeps_what_others_get),
		cmocka_unit_test(test_sync_meets_its_deadline),
		cmocka_unit_test(test_sync_waits_for_a_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
