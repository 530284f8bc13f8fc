/* SPDX-License-Identifier: MIT */
/*
 * Clock: whatever its source, it goes forward and agrees with the kernel's; the virtual one stands
 * still until it is set.
 */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Between two readings of the kernel's clock, give or take what calibration may be off by. */
static void check_agrees(const struct llr_clock *clock)
{
	const uint64_t slack = 1000000; /* 1 ms; the readings are made within one second */

	for (int i = 0; i < 1000; i++) {
		uint64_t before = llr_clock_gettime_ns();
		uint64_t now = llr_clock_now(clock);
		uint64_t after = llr_clock_gettime_ns();

		assert_true(now + slack >= before);
		assert_true(now <= after + slack);
	}
}

static void test_real(void **state)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	struct llr_clock clock;
	uint64_t last;

	(void)state;
	llr_clock_init(&clock);
	assert_string_not_equal(llr_clock_source(&clock), "virtual");
	check_agrees(&clock);
	nanosleep(&pause, NULL);
	check_agrees(&clock);

	last = llr_clock_now(&clock);
	for (int i = 0; i < 100000; i++) {
		uint64_t now = llr_clock_now(&clock);

		assert_true(now >= last);
		last = now;
	}
}

/* The way that machines without a trusted counter go. */
static void test_gettime(void **state)
{
	struct llr_clock clock;

	(void)state;
	memset(&clock, 0, sizeof(clock));
	assert_string_equal(llr_clock_source(&clock), "clock_gettime");
	check_agrees(&clock);
}

static void test_virtual(void **state)
{
	uint64_t time = 5;
	struct llr_clock clock;

	(void)state;
	llr_clock_init_virtual(&clock, &time);
	assert_string_equal(llr_clock_source(&clock), "virtual");
	assert_true(llr_clock_now(&clock) == 5);
	time = UINT64_MAX;
	assert_true(llr_clock_now(&clock) == UINT64_MAX);
}

static void test_wall(void **state)
{
	uint64_t before = (uint64_t)time(NULL);
	uint64_t now = llr_clock_wall_ns();

	(void)state;
	assert_true(now / 1000000000U >= before);
	assert_true(now / 1000000000U <= before + 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_gettime),
		cmocka_unit_test(test_virtual),
		cmocka_unit_test(test_wall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
