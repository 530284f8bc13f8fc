/* SPDX-License-Identifier: MIT */
/*
 * Setting up a clock; reading it is inline in the header. The thread that owns the struct; owns
 * nothing beyond it.
 */
#include "base/clock.h"
#include "base/assert.h"

#include <string.h>

void llr_clock_init(struct llr_clock *clock)
{
	memset(clock, 0, sizeof(*clock));
	llr_clock_calibrate(clock);
}

void llr_clock_init_virtual(struct llr_clock *clock, const uint64_t *virtual_ns)
{
	LLR_ASSERT(virtual_ns != NULL);
	memset(clock, 0, sizeof(*clock));
	clock->virtual_ns = virtual_ns;
}

const char *llr_clock_source(const struct llr_clock *clock)
{
	if (clock->virtual_ns != NULL)
		return "virtual";
	return clock->scale != 0 ? "tsc" : "clock_gettime";
}

uint64_t llr_clock_wall_ns(void)
{
	struct timespec now;

	LLR_MUST(clock_gettime(CLOCK_REALTIME, &now) == 0);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}
