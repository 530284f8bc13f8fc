/* SPDX-License-Identifier: MIT */
/*
 * Requests on datagrams: retransmission and its clock, congestion, deadlines, messages in parts.
 * The network is scripted, time moves by hand.
 */
#include "../support/fake_wire.h"

#include "base/crc32c.h"

static const struct llrph_client_options small = {
	.size = sizeof(struct llrph_client_options), .window = 8, .max_message = 8192};

/* ---- requests and replies ---- */

static void test_request_and_reply(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	struct llr_frame frame;

	(void)state;
	rig_commit(rig, &(struct rig_request){"hello", 5, 0, 3 * MS, 1234});
	rig_poll(rig);
	frame = wire_take(wire, LLR_REQUEST);
	assert_int_equal(frame.flags, 0);
	assert_int_equal(frame.route, ROUTE);
	assert_int_equal(frame.session, wire->session);
	assert_int_equal(frame.budget_us, 3000);
	assert_int_equal(frame.timestamp, WALL_NS + rig->now_ns);
	assert_int_equal(frame.payload_size, 5);
	assert_memory_equal(frame.payload, "hello", 5);
	assert_int_equal(rig_info(rig).outstanding, 1);
	wire_bring_reply(wire, &(struct wire_reply){.sequence = frame.sequence,
						    .payload = "world!",
						    .size = 6,
						    .queue_ns = 22});
	assert_int_equal(rig_pass(rig, 7 * US), 1);
	assert_int_equal(rig->done[0].error, 0);
	assert_int_equal(rig->done[0].status, 200);
	assert_int_equal(rig->done[0].tag, 1234);
	assert_int_equal(rig->done[0].more, 0);
	assert_int_equal(rig->done[0].attempts, 1);
	assert_int_equal(rig->done[0].service_ns, 11);
	assert_int_equal(rig->done[0].queue_ns, 22);
	assert_int_equal(rig->done[0].latency_ns, 7 * US);
	assert_int_equal(rig->done[0].size, 6);
	assert_memory_equal(rig->done[0].payload, "world!", 6);
	assert_int_equal(rig_info(rig).outstanding, 0);
	rig_free(rig);
}

static void test_arguments(void **state)
{
	struct rig *rig = rig_open(0, &small);
	void *payload;

	(void)state;
	assert_int_equal(llrph_call_begin(rig->client, 8193, &payload), LLRPH_E_TOO_LARGE);
	assert_int_equal(llrph_call_commit(rig->client, 1, 0, 0, SECOND, 0), LLRPH_E_BAD_ARGUMENT);
	assert_int_equal(llrph_call_begin(rig->client, 10, &payload), 0);
	assert_int_equal(llrph_call_begin(rig->client, 10, &payload), LLRPH_E_BUSY);
	assert_int_equal(llrph_call_commit(rig->client, 1, 11, 0, SECOND, 0), LLRPH_E_BAD_ARGUMENT);
	assert_int_equal(llrph_call_commit(rig->client, 1, 10, 2, SECOND, 0), LLRPH_E_BAD_ARGUMENT);
	assert_int_equal(llrph_call_commit(rig->client, 1, 10, 0, 999, 0), LLRPH_E_BAD_ARGUMENT);
	assert_int_equal(llrph_call_commit(rig->client, 1, 10, 0, 3600 * SECOND + 1, 0),
			 LLRPH_E_BAD_ARGUMENT);
	llrph_call_abort(rig->client);
	llrph_call_abort(rig->client);
	assert_int_equal(llrph_call_begin(rig->client, 8192, &payload), 0);
	llrph_call_abort(rig->client);
	rig_poll(rig);
	assert_int_equal(wire_unseen(&rig->wires[0]), 0);
	rig_free(rig);
}

static void test_window_full(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t slots = 0;
	void *payload;

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		slots |= UINT64_C(1) << (rig_send(rig, wire, &(struct rig_request){0}) % 8);
	assert_int_equal(slots, 0xff); /* each in a slot of its own */
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), LLRPH_E_WINDOW_FULL);
	assert_int_equal(rig_info(rig).outstanding, 8);
	rig_free(rig);
}

static void test_credits(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){0});
	void *payload;

	(void)state;
	wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence, .credits = 2});
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig_info(rig).credits, 2);
	/* The same slot goes on, by the window. */
	assert_int_equal(rig_send(rig, wire, &(struct rig_request){0}), sequence + 8);
	rig_send(rig, wire, &(struct rig_request){0});
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), LLRPH_E_WINDOW_FULL);
	rig_free(rig);
}

static void test_what_is_not_a_reply_is_dropped(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){0});
	struct wire_reply reply = {.sequence = sequence};

	(void)state;
	wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence, .route = ROUTE + 1});
	wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence + 8});
	wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence + 1});
	wire_bring_reply(wire, &reply);
	wire->coming_spans[3].peer = &wire->stranger;
	wire_bring_reply(wire, &reply);
	wire->coming_spans[4].bytes[30] ^= 1; /* its crc */
	wire_bring_reply(wire, &reply);
	wire->coming_spans[5].size -= 1;
	wire_bring_named(wire, LLR_HEARTBEAT, 1);
	assert_int_equal(rig_poll(rig), 0);
	assert_int_equal(rig_info(rig).rejected, 7);
	wire_bring_reply(wire, &reply);
	wire_bring_reply(wire, &reply);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig_info(rig).rejected, 8);
	rig_free(rig);
}

/* Three frames in one datagram; the tail behind the last one is broken, and they count. */
static void test_packed_replies_and_a_short_harvest(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	_Alignas(16) uint8_t datagram[WIRE_FRAME_SIZE_MAX] = {0};
	struct llrph_completion done;
	uint32_t size = 0;

	(void)state;
	for (uint64_t i = 0; i < 3; i++) {
		uint64_t sequence = rig_send(rig, wire, &(struct rig_request){.tag = i});

		size = (uint32_t)llr_round_up(size, 16);
		size += wire_reply_encode(
			datagram + size,
			&(struct wire_reply){.sequence = sequence, .payload = "abc", .size = 3});
	}
	wire_bring(wire, datagram, size + 1);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(llrph_client_poll(rig->client, &done, 1), 1);
		assert_int_equal(done.tag, i);
		assert_int_equal((uintptr_t)done.payload % 16, 0);
		assert_memory_equal(done.payload, "abc", 3);
	}
	assert_int_equal(llrph_client_poll(rig->client, &done, 1), 0);
	assert_int_equal(rig_info(rig).rejected, 1);
	rig_free(rig);
}

/* ---- retransmission ---- */

static void test_estimator(void **state)
{
	struct llr_link link = {0};

	(void)state;
	llr_rtt_reset(&link);
	assert_int_equal(link.rto_ns, 50 * MS);
	llr_rtt_sample(&link, 8 * MS); /* srtt 8, rttvar 4 */
	assert_int_equal(link.rto_ns, 24 * MS);
	llr_rtt_sample(&link, 16 * MS); /* rttvar 3/4 * 4 + 1/4 * 8 = 5, srtt 9 */
	assert_int_equal(link.srtt_ns, 9 * MS);
	assert_int_equal(link.rttvar_ns, 5 * MS);
	assert_int_equal(link.rto_ns, 29 * MS);
	for (unsigned int i = 0; i < 200; i++)
		llr_rtt_sample(&link, 5 * US);
	assert_int_equal(link.rto_ns, 200 * US);
	for (unsigned int i = 0; i < 200; i++)
		llr_rtt_sample(&link, 20 * SECOND);
	assert_int_equal(link.rto_ns, SECOND);
}

static void test_repeats_double(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){"x", 1, 0, 0, 7});
	uint64_t wait_ns = 2500 * US;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct llr_frame frame;

		assert_int_equal(wire_unseen(wire), 0);
		rig_pass(rig, wait_ns - 1);
		assert_int_equal(wire_unseen(wire), 0);
		rig_pass(rig, 1);
		frame = wire_take(wire, LLR_REQUEST);
		assert_int_equal(frame.sequence, sequence);
		assert_int_equal(frame.flags, LLR_FLAG_RETRY);
		assert_int_equal(frame.timestamp, WALL_NS + rig->now_ns);
		assert_memory_equal(frame.payload, "x", 1);
		wait_ns *= 2;
		/* 2.5 ms, then 7.5, then 17.5 of the 10 s are gone. */
		assert_int_equal(frame.budget_us, 10000000 - (wait_ns - 2500 * US) / US);
	}
	assert_int_equal(rig_info(rig).retransmissions, 3);
	wire_bring_status(wire, sequence, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].attempts, 4);
	/* Karn: that reply measured nothing; the doubled timeout stays until one does. */
	sequence = rig_send(rig, wire, &(struct rig_request){0});
	rig_pass(rig, 20 * MS - 1);
	assert_int_equal(wire_unseen(wire), 0);
	wire_bring_status(wire, sequence, 200);
	assert_int_equal(rig_poll(rig), 1);
	assert_true(rig->client->primary->srtt_ns > MS);
	rig_free(rig);
}

static void test_repeats_are_a_second_apart_at_most(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	unsigned int copies;

	(void)state;
	rig_send(rig, wire, &(struct rig_request){.timeout_ns = 3600 * SECOND});
	for (unsigned int i = 0; i < 4000; i++)
		rig_pass(rig, MS);
	copies = wire_unseen(wire);
	wire_skip(wire);
	rig_pass(rig, SECOND);
	assert_true(wire_unseen(wire) >= 1);
	assert_true(copies >= 9); /* 2.5 ms doubling 9 times is beyond a second */
	assert_true(copies <= 16);
	rig_free(rig);
}

static void test_timeouts_halve_the_window(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequences[8];
	void *payload;

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		sequences[i] = rig_send(rig, wire, &(struct rig_request){0});
	rig_pass(rig, 2500 * US);
	/* One event, one halving; and only as many as the window allows go again. */
	assert_int_equal(rig->client->primary->cwnd, 4);
	assert_int_equal(wire_unseen(wire), 4);
	wire_bring_status(wire, wire_take(wire, LLR_REQUEST).sequence, 200);
	wire_skip(wire);
	assert_int_equal(rig_poll(rig), 1);
	rig_poll(rig);
	assert_int_equal(wire_unseen(wire), 1); /* a reply makes way for another */
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), LLRPH_E_WINDOW_FULL);
	for (unsigned int i = 0; i < 8; i++)
		wire_bring_status(wire, sequences[i], 200);
	assert_int_equal(rig_poll(rig), 7);
	/* 8 replies in all: 4 made it 5, the next 4 are not yet a window of 5. */
	assert_int_equal(rig->client->primary->cwnd, 5);
	wire_skip(wire);
	for (unsigned int i = 0; i < 200; i++) {
		wire_bring_status(wire, rig_send(rig, wire, &(struct rig_request){0}), 200);
		assert_int_equal(rig_poll(rig), 1);
		wire_skip(wire);
		wire->sent_count = wire->sent_seen = 0;
	}
	assert_int_equal(rig->client->primary->cwnd, 8);
	rig_free(rig);
}

static void test_deadline(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){.timeout_ns = 2 * MS});
	struct llr_frame frame;

	(void)state;
	assert_int_equal(rig_pass(rig, 2 * MS - 1), 0);
	assert_int_equal(rig_pass(rig, 1), 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_DEADLINE);
	assert_int_equal(rig->done[0].status, 0);
	frame = wire_take(wire, LLR_CANCEL);
	assert_int_equal(frame.sequence, sequence);
	assert_int_equal(llr_le64_load(frame.body), wire->session);
	wire_bring_status(wire, sequence, 200);
	assert_int_equal(rig_poll(rig), 0);
	assert_int_equal(rig_info(rig).rejected, 1);
	assert_int_equal(rig_send(rig, wire, &(struct rig_request){0}), sequence + 8);
	rig_free(rig);
}

static void test_cancel(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	int64_t number = rig_commit(rig, &(struct rig_request){.tag = 3});

	(void)state;
	assert_int_equal(llrph_call_cancel(rig->client, number + 8), LLRPH_E_NOT_FOUND);
	assert_int_equal(llrph_call_cancel(rig->client, number + 1), LLRPH_E_NOT_FOUND);
	assert_int_equal(llrph_call_cancel(rig->client, -1), LLRPH_E_NOT_FOUND);
	assert_int_equal(llrph_call_cancel(rig->client, number), 0);
	assert_int_equal(llrph_call_cancel(rig->client, number), LLRPH_E_NOT_FOUND);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].error, LLRPH_E_CANCELLED);
	assert_int_equal(rig->done[0].tag, 3);
	wire_take(wire, LLR_REQUEST);
	wire_take(wire, LLR_CANCEL);
	rig_free(rig);
}

static void test_a_full_socket(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	void *payload;

	(void)state;
	wire->reserve_error = -EAGAIN;
	rig_commit(rig, &(struct rig_request){0});
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), LLRPH_E_RING_FULL);
	rig_pass(rig, 20 * US);
	wire->reserve_error = 0;
	rig_pass(rig, 20 * US);
	assert_int_equal(wire_take(wire, LLR_REQUEST).flags, 0); /* its first copy */
	rig_poll(rig);
	assert_int_equal(llrph_call_begin(rig->client, 0, &payload), 0);
	llrph_call_abort(rig->client);
	rig_free(rig);
}

static void test_the_next_timer_is_told(void **state)
{
	struct rig *rig = rig_open(0, &small);
	uint64_t timeout_ns = 0;

	(void)state;
	rig_send(rig, &rig->wires[0], &(struct rig_request){0});
	assert_true(llrph_client_fd(rig->client, &timeout_ns) >= 0);
	assert_true(timeout_ns <= 2500 * US);
	assert_int_equal(llrph_client_wait(rig->client, SECOND), 0);
	rig_free(rig);
}

/* 429 is the caller's. But where a second copy may be under way, the sequence is tried again. */
static void test_refusals(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence = rig_send(rig, wire, &(struct rig_request){0});

	(void)state;
	wire_bring_reply(
		wire, &(struct wire_reply){.sequence = sequence, .status = 429, .queue_ns = 300});
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].status, 429);
	assert_int_equal(rig->done[0].queue_ns, 300);
	sequence = rig_send(rig, wire, &(struct rig_request){0});
	rig_pass(rig, 5 * MS);
	assert_int_equal(wire_take(wire, LLR_REQUEST).flags, LLR_FLAG_RETRY);
	wire_bring_reply(
		wire, &(struct wire_reply){.sequence = sequence, .status = 503, .queue_ns = 90000});
	assert_int_equal(rig_poll(rig), 0);
	rig_pass(rig, 90 * MS - 1);
	assert_int_equal(wire_unseen(wire), 0);
	rig_pass(rig, 1);
	assert_int_equal(wire_take(wire, LLR_REQUEST).sequence, sequence);
	rig_free(rig);
}

/* ---- messages in parts ---- */

static void fill(uint8_t *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
}

/* Takes the parts that were sent; they must be those of a message of fill(). */
static void take_parts(struct wire *wire, uint32_t size, uint16_t flags)
{
	uint8_t expected[8192];
	uint32_t part_size = llr_fragment_part_size(WIRE_MTU, 0);
	uint32_t offset = 0;

	fill(expected, size);
	while (offset < size) {
		struct llr_frame frame = wire_take(wire, LLR_REQUEST);
		uint32_t left = size - offset;

		assert_int_equal(frame.flags, flags | LLR_FLAG_FRAGMENT);
		assert_true(frame.frame_size <= WIRE_MTU);
		assert_int_equal(frame.fragment.offset, offset);
		assert_int_equal(frame.fragment.total, size);
		assert_int_equal(frame.fragment.message_crc, llr_crc32c(0, expected, size));
		assert_int_equal(frame.payload_size, left < part_size ? left : part_size);
		assert_memory_equal(frame.payload, expected + offset, frame.payload_size);
		offset += frame.payload_size;
	}
	assert_int_equal(wire_unseen(wire), 0);
}

static void test_a_large_request(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint8_t bytes[8000];

	(void)state;
	fill(bytes, sizeof(bytes));
	rig_commit(rig, &(struct rig_request){bytes, WIRE_MTU - 48, 0, 0, 0});
	rig_poll(rig);
	assert_int_equal(wire_take(wire, LLR_REQUEST).flags, 0); /* just fits in one */
	rig_commit(rig, &(struct rig_request){bytes, WIRE_MTU - 47, 0, 0, 0});
	rig_poll(rig);
	take_parts(wire, WIRE_MTU - 47, LLR_FLAG_FRAGMENT);
	rig_free(rig);
	rig = rig_open(0, &small);
	wire = &rig->wires[0];
	rig_commit(rig, &(struct rig_request){bytes, sizeof(bytes), 0, 0, 0});
	rig_poll(rig);
	take_parts(wire, sizeof(bytes), 0);
	rig_pass(rig, 2500 * US);
	take_parts(wire, sizeof(bytes), LLR_FLAG_RETRY);
	rig_free(rig);
}

/* A message of more parts than one turn sends, and a socket that fills up in its midst. */
static void test_a_request_of_many_parts(void **state)
{
	struct llrph_client_options options = small;
	uint8_t *bytes = test_malloc(100000);
	struct rig *rig;
	struct wire *wire;

	(void)state;
	options.max_message = 100000;
	rig = rig_open(0, &options);
	wire = &rig->wires[0];
	memset(bytes, 3, 100000);
	rig_commit(rig, &(struct rig_request){bytes, 100000, 0, 0, 0});
	assert_int_equal(wire_unseen(wire), LLR_PART_BURST);
	wire->reserve_error = -EAGAIN;
	rig_pass(rig, 100 * US);
	assert_int_equal(wire_unseen(wire), LLR_PART_BURST);
	wire->reserve_error = 0;
	rig_pass(rig, 100 * US);
	rig_pass(rig, 100 * US);
	assert_int_equal(wire_unseen(wire), (100000 + 1407) / 1408);
	for (uint32_t i = 0; wire_unseen(wire) > 0; i++)
		assert_int_equal(wire_take(wire, LLR_REQUEST).fragment.offset, i * 1408);
	assert_int_equal(rig_info(rig).retransmissions, 0);
	test_free(bytes);
	rig_free(rig);
}

static void bring_part(struct wire *wire, uint64_t sequence, const uint8_t *bytes, uint32_t offset)
{
	uint32_t left = 3000 - offset;

	wire_bring_reply(
		wire, &(struct wire_reply){.sequence = sequence,
					   .payload = bytes + offset,
					   .size = left < 1408 ? left : 1408,
					   .flags = LLR_FLAG_FRAGMENT,
					   .fragment = {offset, 3000, llr_crc32c(0, bytes, 3000)}});
}

static void test_a_large_reply(void **state)
{
	struct rig *rig = rig_open(0, &small);
	struct wire *wire = &rig->wires[0];
	uint64_t sequence;
	uint8_t bytes[8000];

	(void)state;
	fill(bytes, sizeof(bytes));
	rig_send(rig, wire, &(struct rig_request){0});
	rig_commit(rig, &(struct rig_request){bytes, sizeof(bytes), 0, 0, 9});
	rig_poll(rig);
	sequence = wire_take(wire, LLR_REQUEST).sequence;
	wire_skip(wire);
	bring_part(wire, sequence, bytes, 2816);
	bring_part(wire, sequence, bytes, 0);
	bring_part(wire, sequence, bytes, 0);
	assert_int_equal(rig_pass(rig, MS), 0);
	/* One part is lost; the server has the request, so its first part asks again. */
	rig_pass(rig, 2500 * US);
	rig_pass(rig, 2500 * US);
	while (wire_unseen(wire) > 0) {
		struct llr_frame frame = wire_take(wire, LLR_REQUEST);

		if (frame.sequence == sequence)
			assert_int_equal(frame.fragment.offset, 0);
	}
	bring_part(wire, sequence, bytes, 1408);
	assert_int_equal(rig_poll(rig), 1);
	assert_int_equal(rig->done[0].tag, 9);
	assert_int_equal(rig->done[0].size, 3000);
	assert_int_equal((uintptr_t)rig->done[0].payload % 16, 0);
	assert_memory_equal(rig->done[0].payload, bytes, 3000);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_and_reply),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_window_full),
		cmocka_unit_test(test_credits),
		cmocka_unit_test(test_what_is_not_a_reply_is_dropped),
		cmocka_unit_test(test_packed_replies_and_a_short_harvest),
		cmocka_unit_test(test_estimator),
		cmocka_unit_test(test_repeats_double),
		cmocka_unit_test(test_repeats_are_a_second_apart_at_most),
		cmocka_unit_test(test_timeouts_halve_the_window),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_a_full_socket),
		cmocka_unit_test(test_the_next_timer_is_told),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_large_request),
		cmocka_unit_test(test_a_request_of_many_parts),
		cmocka_unit_test(test_a_large_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
