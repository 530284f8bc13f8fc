/* SPDX-License-Identifier: MIT */
/*
 * ITCH decoding: every type and length with a guard page behind, and every field that a book uses.
 */
#include "service/itch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE 4096U

static uint8_t *page_end; /* the byte here may not be read */

/* Written from the feed's specification, not from the table under test. */
static const struct {
	char type;
	uint32_t size;
} specified[] = {
	{'S', 12}, {'R', 39}, {'H', 25}, {'Y', 20}, {'L', 26}, {'V', 35}, {'W', 12}, {'K', 28},
	{'J', 35}, {'h', 21}, {'A', 36}, {'F', 40}, {'E', 31}, {'C', 36}, {'X', 23}, {'D', 19},
	{'U', 35}, {'P', 44}, {'Q', 40}, {'B', 19}, {'I', 50}, {'N', 20}, {'O', 48},
};
#define SPECIFIED_COUNT (sizeof(specified) / sizeof(specified[0]))

static int set_up(void **state)
{
	uint8_t *pages = mmap(NULL, (size_t)2 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (pages == MAP_FAILED || mprotect(pages + PAGE, PAGE, PROT_NONE) != 0)
		return -1;
	page_end = pages + PAGE;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return munmap(page_end - PAGE, (size_t)2 * PAGE);
}

static uint32_t specified_size(int type)
{
	for (size_t i = 0; i < SPECIFIED_COUNT; i++) {
		if (specified[i].type == type)
			return specified[i].size;
	}
	return 0;
}

static void test_lengths(void **state)
{
	struct llr_itch_message message;

	(void)state;
	assert_int_equal(SPECIFIED_COUNT, LLR_ITCH_TYPE_COUNT);
	for (int type = 0; type < 256; type++) {
		uint32_t right = specified_size(type);

		for (uint32_t size = 1; size <= 64; size++) {
			enum llr_itch_verdict verdict;

			memset(page_end - size, 0xff, size);
			page_end[-(int)size] = (uint8_t)type;
			verdict = llr_itch_decode(page_end - size, size, &message);
			if (right == 0) {
				assert_int_equal(verdict, LLR_ITCH_UNKNOWN_TYPE);
			} else if (size != right) {
				assert_int_equal(verdict, LLR_ITCH_WRONG_LENGTH);
			} else {
				assert_int_equal(verdict, strchr("AFECXDU", type) != NULL
								  ? LLR_ITCH_ORDER
								  : LLR_ITCH_OTHER);
				assert_int_equal(llr_itch_letter(message.type), type);
				assert_int_equal(message.locate, 65535);
			}
		}
	}
	assert_int_equal(llr_itch_decode(page_end, 0, &message), LLR_ITCH_WRONG_LENGTH);
}

/* Bytes that count up, so that each field has a value that only its place gives. */
static void decode_ramp(char type, struct llr_itch_message *message)
{
	uint32_t size = specified_size(type);
	uint8_t *bytes = page_end - size;

	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)i;
	bytes[0] = (uint8_t)type;
	assert_int_equal(llr_itch_decode(bytes, size, message), LLR_ITCH_ORDER);
	assert_int_equal(message->locate, 0x0102);
	assert_true(message->reference == 0x0b0c0d0e0f101112);
}

static void test_fields(void **state)
{
	static const char adds[] = "AF";
	static const char takes[] = "ECX";
	struct llr_itch_message message;

	(void)state;
	for (size_t i = 0; adds[i] != '\0'; i++) {
		decode_ramp(adds[i], &message);
		assert_int_equal(message.side, 0x13);
		assert_int_equal(message.shares, 0x14151617);
		assert_int_equal(message.price, 0x20212223);
		assert_true(message.new_reference == 0);
	}
	for (size_t i = 0; takes[i] != '\0'; i++) {
		decode_ramp(takes[i], &message);
		assert_int_equal(message.shares, 0x13141516);
		assert_int_equal(message.price, 0);
	}
	decode_ramp('D', &message);
	assert_int_equal(message.shares, 0);
	decode_ramp('U', &message);
	assert_true(message.new_reference == 0x131415161718191a);
	assert_int_equal(message.shares, 0x1b1c1d1e);
	assert_int_equal(message.price, 0x1f202122);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests_name("itch", tests, set_up, tear_down);
}
