/* SPDX-License-Identifier: MIT */
/*
 * Histogram: every step's bounds against the index function, precision, percentiles against sorted
 * values, mean and deviation against their definitions.
 */
#include "base/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BITS_FINE   11U
#define BITS_COARSE 6U
#define TOP         ((UINT64_C(1) << LLR_HISTOGRAM_EXPONENT_MAX) - 1)

static uint64_t counts[LLR_HISTOGRAM_COUNT(BITS_FINE)];

static int clear(void **state)
{
	(void)state;
	memset(counts, 0, sizeof(counts));
	return 0;
}

/* Steps follow each other without gap or overlap, from 0 to the top. */
static void check_steps(uint32_t bits)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++) {
		uint64_t low = llr_histogram_low(bits, i);
		uint64_t high = llr_histogram_high(bits, i);

		assert_true(low == next);
		assert_true(high >= low);
		assert_int_equal(llr_histogram_index(bits, low), i);
		assert_int_equal(llr_histogram_index(bits, high), i);
		assert_true((high - low) * (UINT64_C(1) << (bits - 1)) <= low);
		next = high + 1;
	}
	assert_true(next == TOP + 1);
}

static void test_steps(void **state)
{
	(void)state;
	check_steps(BITS_FINE);
	check_steps(BITS_COARSE);
}

static void test_top(void **state)
{
	uint32_t last = (uint32_t)LLR_HISTOGRAM_COUNT(BITS_COARSE) - 1;

	(void)state;
	assert_int_equal(llr_histogram_index(BITS_COARSE, TOP), last);
	assert_int_equal(llr_histogram_index(BITS_COARSE, TOP + 1), last);
	assert_int_equal(llr_histogram_index(BITS_COARSE, UINT64_MAX), last);
}

static void test_empty(void **state)
{
	(void)state;
	assert_true(llr_histogram_total(counts, BITS_FINE) == 0);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 50.0) == 0);
	assert_true(llr_histogram_mean(counts, BITS_FINE) == 0.0);
	assert_true(llr_histogram_stddev(counts, BITS_FINE) == 0.0);
}

/* 1..1000, each once: the nth per mille is n. */
static void test_percentiles_exact(void **state)
{
	(void)state;
	for (uint64_t value = 1; value <= 1000; value++)
		llr_histogram_record(counts, BITS_FINE, value);
	assert_true(llr_histogram_total(counts, BITS_FINE) == 1000);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 0.0) == 1);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 0.1) == 1);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 50.0) == 500);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 50.01) == 501);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 90.0) == 900);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 99.0) == 990);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 99.9) == 999);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 99.99) == 1000);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 100.0) == 1000);
}

static void test_single(void **state)
{
	(void)state;
	llr_histogram_record(counts, BITS_FINE, 1234567);
	for (int percent = 0; percent <= 100; percent++) {
		uint64_t found = llr_histogram_percentile(counts, BITS_FINE, (double)percent);

		assert_true(found >= 1234567);
		assert_true(found - 1234567 <= 1234567 / 1024);
	}
}

static void test_moments(void **state)
{
	(void)state;
	/* 2, 4, 4, 4, 5, 5, 7, 9: mean 5, deviation of the population 2 */
	const uint64_t values[] = {2, 4, 4, 4, 5, 5, 7, 9};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		llr_histogram_record(counts, BITS_FINE, values[i]);
	assert_true(fabs(llr_histogram_mean(counts, BITS_FINE) - 5.0) < 1e-9);
	assert_true(fabs(llr_histogram_stddev(counts, BITS_FINE) - 2.0) < 1e-9);
}

static void test_add(void **state)
{
	static uint64_t more[LLR_HISTOGRAM_COUNT(BITS_FINE)];

	(void)state;
	llr_histogram_record(counts, BITS_FINE, 10);
	llr_histogram_record(more, BITS_FINE, 10);
	llr_histogram_record(more, BITS_FINE, UINT64_MAX);
	llr_histogram_add(counts, more, BITS_FINE);
	assert_true(llr_histogram_total(counts, BITS_FINE) == 3);
	assert_true(counts[10] == 2);
	assert_true(llr_histogram_percentile(counts, BITS_FINE, 100.0) == TOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_top),
		cmocka_unit_test_setup(test_empty, clear),
		cmocka_unit_test_setup(test_percentiles_exact, clear),
		cmocka_unit_test_setup(test_single, clear),
		cmocka_unit_test_setup(test_moments, clear),
		cmocka_unit_test_setup(test_add, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
