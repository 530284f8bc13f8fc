/* SPDX-License-Identifier: MIT */
/*
 * Time in nanoseconds. Monotonic time comes from the TSC where it is invariant (calibrated once
 * against CLOCK_MONOTONIC, so that both agree), else from clock_gettime; the simulator sets it by
 * hand. Nothing but frame timestamps uses the wall clock, and no timer does.
 *
 * Thread: any; the struct is read-only after llr_clock_init, but for the virtual clock.
 */
#ifndef LLR_BASE_CLOCK_H
#define LLR_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct llr_clock {
	const uint64_t *virtual_ns; /* borrows; the simulator's clock; NULL: real time */
	uint64_t base_ticks;        /* TSC at calibration */
	uint64_t base_ns;           /* CLOCK_MONOTONIC at calibration */
	uint64_t scale;             /* ns for each tick, 32.32 fixed point; 0: use clock_gettime */
};

/* Calibrates for about 10 ms where the TSC is invariant. */
void llr_clock_init(struct llr_clock *clock);
void llr_clock_init_virtual(struct llr_clock *clock, const uint64_t *virtual_ns);
/* Sets base and scale if the CPU's counter can be trusted. One file for each architecture. */
void llr_clock_calibrate(struct llr_clock *clock);
/* "tsc", "clock_gettime" or "virtual". */
const char *llr_clock_source(const struct llr_clock *clock);

/* Wall-clock nanoseconds since the Unix epoch, for frames' timestamps and reports. */
uint64_t llr_clock_wall_ns(void);

static inline uint64_t llr_clock_gettime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Monotonic nanoseconds, comparable with CLOCK_MONOTONIC's. */
static inline uint64_t llr_clock_now(const struct llr_clock *clock)
{
	if (clock->virtual_ns != NULL)
		return *clock->virtual_ns;
#if defined(__x86_64__)
	if (clock->scale != 0) {
		uint64_t ticks = __rdtsc() - clock->base_ticks;

		return clock->base_ns + (uint64_t)(((unsigned __int128)ticks * clock->scale) >> 32);
	}
#endif
	return llr_clock_gettime_ns();
}

#endif
