/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C: known answers, and instruction and table against a bit-by-bit one written from the
 * definition, at every size and alignment that the loops tell apart, with a guard page behind.
 */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 4096U

static uint8_t *page; /* BYTES bytes, then nothing may be read */

static uint32_t crc_by_bit(uint32_t crc, const uint8_t *bytes, size_t size)
{
	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc & 1U) != 0 ? (crc >> 1) ^ 0x82F63B78U : crc >> 1;
	}
	return ~crc;
}

static int set_up(void **state)
{
	uint32_t seed = 12345;

	(void)state;
	page = mmap(NULL, (size_t)2 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (page == MAP_FAILED || mprotect(page + BYTES, BYTES, PROT_NONE) != 0)
		return -1;
	for (size_t i = 0; i < BYTES; i++) {
		seed = seed * 1103515245U + 12345U;
		page[i] = (uint8_t)(seed >> 16);
	}
	return 0;
}

static void check_known(llr_crc32c_fn crc32c)
{
	uint8_t bytes[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283U);
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, NULL, 0), 0);
	/* RFC 3720, appendix B.4. */
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8A9136AAU);
	memset(bytes, 0xFF, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62A8AB43U);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46DD794EU);
}

/* Every size to 300 bytes, each ending at the guard page, so that every alignment comes too. */
static void check_sizes(llr_crc32c_fn crc32c)
{
	for (size_t size = 0; size <= 300; size++) {
		const uint8_t *at = page + BYTES - size;

		assert_int_equal(crc32c(0, at, size), crc_by_bit(0, at, size));
		assert_int_equal(crc32c(0xDEADBEEFU, at, size), crc_by_bit(0xDEADBEEFU, at, size));
	}
	assert_int_equal(crc32c(0, page, BYTES), crc_by_bit(0, page, BYTES));
}

static void check_continues(llr_crc32c_fn crc32c)
{
	uint32_t whole = crc32c(0, page, 200);

	for (size_t cut = 0; cut <= 200; cut++)
		assert_int_equal(crc32c(crc32c(0, page, cut), page + cut, 200 - cut), whole);
}

static void check_flips(llr_crc32c_fn crc32c)
{
	uint32_t right = crc32c(0, page, 112);

	for (size_t bit = 0; bit < (size_t)112 * 8; bit++) {
		page[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_not_equal(crc32c(0, page, 112), right);
		page[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}

static void check_all(llr_crc32c_fn crc32c)
{
	check_known(crc32c);
	check_sizes(crc32c);
	check_continues(crc32c);
	check_flips(crc32c);
}

static void test_portable(void **state)
{
	(void)state;
	check_all(llr_crc32c_portable);
}

static void test_native(void **state)
{
	(void)state;
	if (llr_crc32c_native() == NULL)
		skip();
	check_all(llr_crc32c_native());
}

static void test_chosen(void **state)
{
	(void)state;
	assert_non_null(llr_crc32c);
	check_known(llr_crc32c);
	if (llr_crc32c_native() != NULL) {
		assert_ptr_equal(llr_crc32c, llr_crc32c_native());
		assert_string_equal(llr_crc32c_name(), llr_crc32c_native_name());
	} else {
		assert_ptr_equal(llr_crc32c, llr_crc32c_portable);
		assert_string_equal(llr_crc32c_name(), "portable");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_portable),
		cmocka_unit_test(test_native),
		cmocka_unit_test(test_chosen),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
