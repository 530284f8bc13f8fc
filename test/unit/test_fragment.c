/* SPDX-License-Identifier: MIT */
/*
 * Reassembly: any order, repeats, holes, parts off the grid, another message, a wrong checksum.
 */
#include "request/fragment.h"

#include "base/crc32c.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 1024U
#define PART     160U

static struct llr_reassembly whole;
static uint8_t buffer[CAPACITY];
static uint8_t bitmap[LLR_REASSEMBLY_BITMAP_SIZE(CAPACITY)];
static uint8_t message[CAPACITY];

static int setup(void **state)
{
	(void)state;
	llr_reassembly_reset(&whole);
	memset(buffer, 0, sizeof(buffer));
	memset(bitmap, 0xFF, sizeof(bitmap)); /* what an earlier message left */
	for (uint32_t i = 0; i < CAPACITY; i++)
		message[i] = (uint8_t)(i ^ (i >> 8) ^ 0x5A);
	return 0;
}

/* Adds size bytes at offset of a message of total bytes. */
static enum llr_reassembly_verdict add(uint64_t sequence, uint32_t offset, uint32_t size,
				       uint32_t total, uint64_t now_ns)
{
	struct llr_frame frame = {
		.sequence = sequence,
		.payload = message + offset,
		.payload_size = size,
		.route = 7 + offset,
		.budget_us = 9 + offset,
		.type = LLR_REQUEST,
		.fragment = {offset, total, llr_crc32c(0, message, total)},
	};

	return llr_reassembly_add(&whole, buffer, CAPACITY, bitmap, &frame, now_ns);
}

static void test_in_every_order(void **state)
{
	/* 3 parts of 160 and a last one of 20: all 24 orders */
	static const uint32_t offsets[4] = {0, PART, 2 * PART, 3 * PART};
	static const uint32_t sizes[4] = {PART, PART, PART, 20};

	for (unsigned int order = 0; order < 256; order++) {
		unsigned int seen = 0;

		for (unsigned int k = 0; k < 4; k++)
			seen |= 1U << (order >> (2 * k) & 3U);
		if (seen != 15)
			continue;
		(void)setup(state);
		for (unsigned int k = 0; k < 4; k++) {
			unsigned int part = order >> (2 * k) & 3U;

			assert_int_equal(add(1, offsets[part], sizes[part], 500, k),
					 k < 3 ? LLR_PART_TAKEN : LLR_PART_COMPLETE);
		}
		assert_memory_equal(buffer, message, 500);
		assert_int_equal(whole.route, 7); /* the first part's, whenever it came */
		assert_int_equal(whole.budget_us, 9);
	}
}

static void test_repeats_count_once(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, PART, 300, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 0, PART, 300, 0), LLR_PART_REPEATED);
	assert_int_equal(add(1, PART, 140, 300, 0), LLR_PART_COMPLETE);
}

static void test_one_part_is_a_message(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, 33, 33, 0), LLR_PART_COMPLETE);
	llr_reassembly_reset(&whole);
	assert_int_equal(add(2, 0, 0, 0, 0), LLR_PART_COMPLETE);
}

static void test_off_the_grid(void **state)
{
	(void)state;
	assert_int_equal(add(1, 8, PART, 500, 0), LLR_PART_OFF_GRID); /* no multiple of 16 */
	assert_int_equal(add(1, 0, 150, 500, 0), LLR_PART_OFF_GRID);  /* a part not the last */
	assert_int_equal(add(1, 0, PART, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 2 * PART, 144, 500, 0), LLR_PART_OFF_GRID); /* another size */
	assert_int_equal(add(1, 176, PART, 500, 0), LLR_PART_OFF_GRID);     /* between cells */
	assert_int_equal(add(1, 320, 180, 500, 0), LLR_PART_OFF_GRID); /* last larger than a part */
	assert_int_equal(add(1, 496, 4, 500, 0), LLR_PART_OFF_GRID);   /* last between cells */
	assert_int_equal(add(1, 480, 20, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 496, 16, 500, 0), LLR_PART_OFF_GRID); /* beyond the total */
	assert_int_equal(add(1, 16, 0, 500, 0), LLR_PART_OFF_GRID);   /* nothing in it */
	assert_int_equal(add(1, PART, PART, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 2 * PART, PART, 500, 0), LLR_PART_COMPLETE);
	assert_memory_equal(buffer, message, 500);
}

static void test_last_part_first_binds_the_grid(void **state)
{
	(void)state;
	assert_int_equal(add(1, 480, 20, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 0, 176, 500, 0), LLR_PART_OFF_GRID); /* 480 is no multiple of 176 */
	assert_int_equal(add(1, 0, 16, 500, 0), LLR_PART_OFF_GRID);  /* the last would be larger */
	assert_int_equal(add(1, 0, 240, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 240, 240, 500, 0), LLR_PART_COMPLETE);
}

static void test_another_total_starts_afresh(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, PART, 500, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, 0, PART, 320, 0), LLR_PART_TAKEN);
	assert_int_equal(add(1, PART, PART, 320, 0), LLR_PART_COMPLETE);
}

static void test_the_newest_message_is_kept(void **state)
{
	(void)state;
	assert_int_equal(add(5, 0, PART, 320, 0), LLR_PART_TAKEN);
	assert_int_equal(add(4, 0, PART, 320, 0), LLR_PART_REPEATED);
	assert_int_equal(add(6, 0, PART, 320, 0), LLR_PART_TAKEN);
	assert_int_equal(add(5, PART, PART, 320, 0), LLR_PART_REPEATED);
	assert_int_equal(add(6, PART, PART, 320, 0), LLR_PART_COMPLETE);
	assert_int_equal(whole.sequence, 6);
}

static void test_too_large_keeps_nothing(void **state)
{
	(void)state;
	struct llr_frame frame = {.payload = message,
				  .payload_size = 16,
				  .type = LLR_REQUEST,
				  .fragment = {0, CAPACITY + 1, 0}};

	assert_int_equal(llr_reassembly_add(&whole, buffer, CAPACITY, bitmap, &frame, 0),
			 LLR_PART_TOO_LARGE);
	assert_false(whole.active);
	frame.fragment.offset = 0xFFFFFFF0;
	frame.fragment.total = 32;
	assert_int_equal(llr_reassembly_add(&whole, buffer, CAPACITY, bitmap, &frame, 0),
			 LLR_PART_OFF_GRID);
}

static void test_wrong_message_crc(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, PART, 320, 0), LLR_PART_TAKEN);
	message[PART + 3] ^= 1;
	struct llr_frame frame = {.sequence = 1,
				  .payload = message + PART,
				  .payload_size = PART,
				  .type = LLR_REQUEST,
				  .fragment = {PART, 320, whole.message_crc}};

	assert_int_equal(llr_reassembly_add(&whole, buffer, CAPACITY, bitmap, &frame, 0),
			 LLR_PART_BAD_CRC);
	assert_false(whole.active);
}

static void test_silence_ends_a_message(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, PART, 320, 1000), LLR_PART_TAKEN);
	assert_false(llr_reassembly_expire(&whole, 1000 + LLR_REASSEMBLY_IDLE_NS - 1));
	assert_int_equal(add(1, 0, PART, 320, 1000 + LLR_REASSEMBLY_IDLE_NS - 1),
			 LLR_PART_REPEATED); /* no new part: the clock goes on */
	assert_true(llr_reassembly_expire(&whole, 1000 + LLR_REASSEMBLY_IDLE_NS));
	assert_false(llr_reassembly_expire(&whole, UINT64_MAX));
}

static void test_part_sizes(void **state)
{
	(void)state;
	assert_int_equal(llr_fragment_part_size(1472, 0), 1408);
	assert_int_equal(llr_fragment_part_size(1452, 0), 1376);
	assert_int_equal(llr_fragment_part_size(1472, 48), 1360);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_in_every_order, setup),
		cmocka_unit_test_setup(test_repeats_count_once, setup),
		cmocka_unit_test_setup(test_one_part_is_a_message, setup),
		cmocka_unit_test_setup(test_off_the_grid, setup),
		cmocka_unit_test_setup(test_last_part_first_binds_the_grid, setup),
		cmocka_unit_test_setup(test_another_total_starts_afresh, setup),
		cmocka_unit_test_setup(test_the_newest_message_is_kept, setup),
		cmocka_unit_test_setup(test_too_large_keeps_nothing, setup),
		cmocka_unit_test_setup(test_wrong_message_crc, setup),
		cmocka_unit_test_setup(test_silence_ends_a_message, setup),
		cmocka_unit_test_setup(test_part_sizes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
