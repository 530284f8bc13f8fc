/* SPDX-License-Identifier: MIT */
/*
 * Frames: every field there and back, every bit flip and truncation found, nothing read beyond the
 * bytes given (each decode runs on a copy that ends at a guard page).
 */
#include "request/frame.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "test/support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#define DATAGRAM 0U
#define LANE     (LLR_PLACE_CONNECTED | LLR_PLACE_NO_CRC)
#define STREAM   (LLR_PLACE_CONNECTED | LLR_PLACE_STREAM)

static uint8_t frame_bytes[4096];

/* A REQUEST with size bytes of payload; returns the frame's size. */
static uint32_t request_make(uint16_t flags, uint32_t size)
{
	struct llr_header header = {
		.sequence = UINT64_C(0x0102030405060708),
		.timestamp = 99,
		.length = LLR_ROUTE_SIZE + size,
		.flags = flags,
		.type = LLR_REQUEST,
	};

	for (uint32_t i = 0; i < size; i++)
		frame_bytes[LLR_HEAD_SIZE + i] = (uint8_t)(i * 7U + 1U);
	llr_request_route_encode(frame_bytes, 0xAABBCCDD, 1234, UINT64_C(0x1122334455667788));
	llr_header_encode(frame_bytes, &header);
	return LLR_HEAD_SIZE + size;
}

static enum llr_frame_verdict decode(const uint8_t *bytes, uint32_t size, unsigned int place,
				     struct llr_frame *frame)
{
	return llr_frame_decode(guard_copy(bytes, size), size, place, frame);
}

static void test_request_there_and_back(void **state)
{
	uint32_t size = request_make(LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY, 77);
	struct llr_frame frame;

	(void)state;
	assert_int_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_OK);
	assert_int_equal(frame.type, LLR_REQUEST);
	assert_int_equal(frame.flags, LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY);
	assert_true(frame.sequence == UINT64_C(0x0102030405060708));
	assert_int_equal(frame.timestamp, 99);
	assert_int_equal(frame.route, 0xAABBCCDD);
	assert_int_equal(frame.budget_us, 1234);
	assert_true(frame.session == UINT64_C(0x1122334455667788));
	assert_int_equal(frame.payload_size, 77);
	assert_int_equal(frame.frame_size, size);
	assert_memory_equal(frame.payload, frame_bytes + LLR_HEAD_SIZE, 77);
}

/* The layout itself, byte by byte, so that both directions can't be wrong together. */
static void test_layout(void **state)
{
	static const uint8_t head[28] = {'L', 'L', 'R', 'P', 1, 6, 4, 0, 8, 7, 6,  5, 4, 3,
					 2,   1,   99,  0,   0, 0, 0, 0, 0, 0, 19, 0, 0, 0};
	static const uint8_t route[16] = {0xDD, 0xCC, 0xBB, 0xAA, 0xD2, 4,    0,    0,
					  0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	uint32_t size = request_make(LLR_FLAG_IDEMPOTENT, 3);
	uint32_t crc;

	(void)state;
	assert_memory_equal(frame_bytes, head, sizeof(head));
	assert_memory_equal(frame_bytes + 32, route, sizeof(route));
	crc = llr_crc32c(llr_crc32c(0, frame_bytes, 28), frame_bytes + 32, size - 32);
	assert_int_equal(llr_le32_load(frame_bytes + 28), crc);
}

static void test_reply_there_and_back(void **state)
{
	struct llr_reply_route reply = {
		.route = 7, .service_ns = 8, .queue_ns = 9, .status = 404, .credits = 3};
	struct llr_header header = {
		.sequence = 5, .length = LLR_ROUTE_SIZE, .flags = LLR_FLAG_MORE, .type = LLR_REPLY};
	struct llr_frame frame;

	(void)state;
	llr_reply_route_encode(frame_bytes, &reply);
	llr_header_encode(frame_bytes, &header);
	assert_int_equal(decode(frame_bytes, 48, LANE, &frame), LLR_FRAME_OK);
	assert_int_equal(frame.status, 404);
	assert_int_equal(frame.credits, 3);
	assert_int_equal(frame.service_ns, 8);
	assert_int_equal(frame.queue_ns, 9);
	/* MORE belongs to connected transports alone. */
	assert_int_equal(decode(frame_bytes, 48, DATAGRAM, &frame), LLR_FRAME_BAD_FLAGS);
}

static void test_every_flip_is_found(void **state)
{
	uint32_t size = request_make(0, 40);
	struct llr_frame frame;

	(void)state;
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		frame_bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		assert_int_not_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_OK);
		frame_bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
	}
	assert_int_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_OK);
}

static void test_every_truncation(void **state)
{
	uint32_t size = request_make(0, 40);
	struct llr_frame frame;

	(void)state;
	for (uint32_t cut = 0; cut < size; cut++) {
		assert_int_equal(decode(frame_bytes, cut, DATAGRAM, &frame), LLR_FRAME_BAD_LENGTH);
		assert_int_equal(decode(frame_bytes, cut, STREAM, &frame), LLR_FRAME_PARTIAL);
		assert_int_equal(frame.frame_size, cut < LLR_HEADER_SIZE ? 0 : size);
	}
}

static void test_every_length(void **state)
{
	uint32_t size = request_make(0, 40);
	uint32_t right = size - LLR_HEADER_SIZE;
	static const uint32_t lies[] = {0,
					1,
					15,
					16,
					0x7FFFFFFF,
					0x80000000,
					0xFFFFFFFF,
					(16U << 20) + 4096U,
					(16U << 20) + 4097U};
	struct llr_frame frame;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		llr_le32_store(frame_bytes + 24, lies[i]);
		assert_int_not_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_OK);
		if (lies[i] > (16U << 20) + 4096U)
			assert_int_equal(decode(frame_bytes, size, STREAM, &frame),
					 LLR_FRAME_BAD_LENGTH);
	}
	llr_le32_store(frame_bytes + 24, right);
	assert_int_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_OK);
}

/* Which flags go with which type, in which place. The crc is right: flags alone decide. */
static void test_flags_by_type_and_place(void **state)
{
	static const struct {
		uint8_t type;
		uint16_t flags;
		unsigned int place;
		enum llr_frame_verdict verdict;
	} cases[] = {
		{LLR_REQUEST, LLR_FLAG_FRAGMENT, DATAGRAM, LLR_FRAME_OK},
		{LLR_REQUEST, LLR_FLAG_FRAGMENT, STREAM, LLR_FRAME_BAD_FLAGS},
		{LLR_REQUEST, LLR_FLAG_FRAGMENT, LANE, LLR_FRAME_BAD_FLAGS},
		{LLR_REQUEST, LLR_FLAG_MORE, LANE, LLR_FRAME_BAD_FLAGS},
		{LLR_REQUEST, LLR_FLAG_EXT, DATAGRAM, LLR_FRAME_OK},
		{LLR_REQUEST, LLR_FLAG_ORDERED, LANE, LLR_FRAME_BAD_FLAGS},
		{LLR_REQUEST, 0x0080, LANE, LLR_FRAME_BAD_FLAGS},
		{LLR_REQUEST, 0x8000, DATAGRAM, LLR_FRAME_BAD_FLAGS},
		{LLR_REPLY, LLR_FLAG_IDEMPOTENT, DATAGRAM, LLR_FRAME_BAD_FLAGS},
		{LLR_REPLY, LLR_FLAG_RETRY, STREAM, LLR_FRAME_BAD_FLAGS},
		{LLR_REPLY, LLR_FLAG_FRAGMENT, DATAGRAM, LLR_FRAME_OK},
		{LLR_HELLO, LLR_FLAG_EXT, DATAGRAM, LLR_FRAME_BAD_FLAGS},
		{LLR_HEARTBEAT, LLR_FLAG_IDEMPOTENT, DATAGRAM, LLR_FRAME_BAD_FLAGS},
		{77, 0, DATAGRAM, LLR_FRAME_OK},
		{0, 0, DATAGRAM, LLR_FRAME_OK},
		{77, LLR_FLAG_ORDERED, DATAGRAM, LLR_FRAME_BAD_FLAGS},
	};
	struct llr_frame frame;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct llr_header header = {
			.length = 48, .flags = cases[i].flags, .type = cases[i].type};

		memset(frame_bytes, 0, 80);
		llr_header_encode(frame_bytes, &header);
		assert_int_equal(decode(frame_bytes, 80, cases[i].place, &frame), cases[i].verdict);
	}
}

static void test_no_crc_in_memory_alone(void **state)
{
	uint32_t size = request_make(LLR_FLAG_NO_CRC, 40);
	struct llr_frame frame;

	(void)state;
	assert_int_equal(llr_le32_load(frame_bytes + 28), 0);
	assert_int_equal(decode(frame_bytes, size, LANE, &frame), LLR_FRAME_OK);
	assert_int_equal(decode(frame_bytes, size, DATAGRAM, &frame), LLR_FRAME_BAD_FLAGS);
	assert_int_equal(decode(frame_bytes, size, STREAM, &frame), LLR_FRAME_BAD_FLAGS);
	frame_bytes[28] = 1;
	assert_int_equal(decode(frame_bytes, size, LANE, &frame), LLR_FRAME_BAD_CRC);
}

static void test_route_and_fragment_blocks_must_be_there(void **state)
{
	struct llr_header header = {.length = 15, .type = LLR_REQUEST};
	struct llr_frame frame;

	(void)state;
	memset(frame_bytes, 0, 96);
	llr_header_encode(frame_bytes, &header);
	assert_int_equal(decode(frame_bytes, 47, DATAGRAM, &frame), LLR_FRAME_BAD_ROUTE);
	header.flags = LLR_FLAG_FRAGMENT;
	header.length = 31;
	llr_header_encode(frame_bytes, &header);
	assert_int_equal(decode(frame_bytes, 63, DATAGRAM, &frame), LLR_FRAME_BAD_FRAGMENT);
	header.length = 32;
	llr_header_encode(frame_bytes, &header);
	assert_int_equal(decode(frame_bytes, 64, DATAGRAM, &frame), LLR_FRAME_OK);
}

/* A request whose body behind the route block is these bytes; split in place. */
static enum llr_frame_verdict split(const uint8_t *body, uint32_t size, uint16_t flags,
				    bool granted, struct llr_frame *frame, bool *broken)
{
	struct llr_header header = {
		.length = LLR_ROUTE_SIZE + size, .flags = flags, .type = LLR_REQUEST};

	memset(frame_bytes, 0, LLR_HEAD_SIZE);
	memcpy(frame_bytes + LLR_HEAD_SIZE, body, size);
	llr_header_encode(frame_bytes, &header);
	assert_int_equal(decode(frame_bytes, LLR_HEAD_SIZE + size, DATAGRAM, frame), LLR_FRAME_OK);
	return llr_frame_split(frame, granted, broken);
}

static void test_extension_blocks(void **state)
{
	/* trace context (25 bytes), an unknown type with 3 bytes, the end, "hi" */
	uint8_t body[16 * 4 + 2] = {1, 0, 25, 0};
	struct llr_frame frame;
	bool broken;

	(void)state;
	for (uint8_t i = 0; i < 25; i++)
		body[4 + i] = (uint8_t)(100 + i);
	body[32] = 9;
	body[34] = 3;
	body[64] = 'h';
	body[65] = 'i';
	assert_int_equal(split(body, sizeof(body), LLR_FLAG_EXT, true, &frame, &broken),
			 LLR_FRAME_OK);
	assert_false(broken);
	assert_int_equal(frame.payload_size, 2);
	assert_memory_equal(frame.payload, "hi", 2);
	assert_non_null(frame.trace);
	assert_int_equal(frame.trace[0], 100);
	assert_int_equal(frame.trace[24], 124);
	/* Not granted: rejected. */
	assert_int_equal(split(body, sizeof(body), LLR_FLAG_EXT, false, &frame, &broken),
			 LLR_FRAME_BAD_FLAGS);
	/* No end block, a size beyond the body, a trace of another size: broken, a 400. */
	(void)split(body, 48, LLR_FLAG_EXT, true, &frame, &broken);
	assert_true(broken);
	body[34] = 200;
	(void)split(body, sizeof(body), LLR_FLAG_EXT, true, &frame, &broken);
	assert_true(broken);
	body[34] = 3;
	body[2] = 24;
	(void)split(body, sizeof(body), LLR_FLAG_EXT, true, &frame, &broken);
	assert_true(broken);
	(void)split(body, 0, LLR_FLAG_EXT, true, &frame, &broken);
	assert_true(broken);
}

static void test_extension_blocks_of_a_first_part(void **state)
{
	uint8_t body[16 + 16 + 16] = {0};
	struct llr_fragment fragment = {0, 64, 0x1234};
	struct llr_frame frame;
	bool broken;

	(void)state;
	llr_fragment_encode(body + 16, &fragment);
	memset(body + 32, 'x', 16);
	assert_int_equal(
		split(body, sizeof(body), LLR_FLAG_EXT | LLR_FLAG_FRAGMENT, true, &frame, &broken),
		LLR_FRAME_OK);
	assert_false(broken);
	assert_int_equal(frame.fragment.total, 64);
	assert_int_equal(frame.payload_size, 16);
	/* A later part with the flag has no blocks: its fragment block stands first. */
	fragment.offset = 48;
	llr_fragment_encode(body, &fragment);
	assert_int_equal(split(body, 32, LLR_FLAG_EXT | LLR_FLAG_FRAGMENT, true, &frame, &broken),
			 LLR_FRAME_OK);
	assert_int_equal(frame.fragment.offset, 48);
	assert_int_equal(frame.payload_size, 16);
}

static void test_hello_and_welcome(void **state)
{
	struct llr_hello hello = {1, 2, 3, 4, 5};
	struct llr_hello hello_back;
	struct llr_welcome welcome = {1, 2, 3, 4, 5, 6, 7, 8};
	struct llr_welcome welcome_back;
	uint8_t body[LLR_HELLO_SIZE];

	(void)state;
	llr_hello_encode(body, &hello);
	llr_hello_decode(body, &hello_back);
	assert_true(hello_back.nonce == 1 && hello_back.cookie == 2 && hello_back.features == 3 &&
		    hello_back.max_message == 4 && hello_back.window == 5);
	assert_int_equal(body[20], 5);
	assert_int_equal(body[24], 3);
	llr_welcome_encode(body, &welcome);
	llr_welcome_decode(body, &welcome_back);
	assert_true(welcome_back.session == 1 && welcome_back.cookie == 2 &&
		    welcome_back.epoch == 3 && welcome_back.features == 4 &&
		    welcome_back.nonce == 5 && welcome_back.max_message == 6 &&
		    welcome_back.window == 7 && welcome_back.status == 8);
	assert_int_equal(body[22], 8);
	assert_int_equal(body[40], 5);
}

static void test_utf8_is_cut_between_characters(void **state)
{
	static const char text[] = "ab\xC3\xA4\xE2\x82\xAC";

	(void)state;
	assert_int_equal(llr_utf8_cut(text, 7, 7), 7);
	assert_int_equal(llr_utf8_cut(text, 7, 6), 4);
	assert_int_equal(llr_utf8_cut(text, 7, 5), 4);
	assert_int_equal(llr_utf8_cut(text, 7, 4), 4);
	assert_int_equal(llr_utf8_cut(text, 7, 3), 2);
	assert_int_equal(llr_utf8_cut(text, 7, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_there_and_back),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_reply_there_and_back),
		cmocka_unit_test(test_every_flip_is_found),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_flags_by_type_and_place),
		cmocka_unit_test(test_no_crc_in_memory_alone),
		cmocka_unit_test(test_route_and_fragment_blocks_must_be_there),
		cmocka_unit_test(test_extension_blocks),
		cmocka_unit_test(test_extension_blocks_of_a_first_part),
		cmocka_unit_test(test_hello_and_welcome),
		cmocka_unit_test(test_utf8_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
