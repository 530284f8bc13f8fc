/* SPDX-License-Identifier: MIT */
/*
 * Log-linear histogram of nanoseconds, as Gil Tene's HdrHistogram lays it out: within each power of
 * two, 2^(bits-1) equal steps, so that a recorded value is off by at most 1 in 2^(bits-1).
 * bits 11 gives three significant decimal digits (the bench's), bits 6 about 3 % (the stats
 * page's). Values above 2^36 ns (68 s) are counted in the last step.
 *
 * The counts are the caller's memory, so that they can lie on a shared page. Single writer.
 */
#ifndef LLR_BASE_HISTOGRAM_H
#define LLR_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define LLR_HISTOGRAM_EXPONENT_MAX 36U

/* Items of counts for a precision of bits. */
#define LLR_HISTOGRAM_COUNT(bits)                                                                  \
	((size_t)((LLR_HISTOGRAM_EXPONENT_MAX - (bits) + 2U) << ((bits)-1U)))

/* index of the step that holds value */
static inline uint32_t llr_histogram_index(uint32_t bits, uint64_t value)
{
	uint32_t shift;
	uint64_t top = (UINT64_C(1) << LLR_HISTOGRAM_EXPONENT_MAX) - 1;

	if (value > top)
		value = top;
	shift = (uint32_t)(63 - __builtin_clzll(value | ((UINT64_C(1) << bits) - 1))) - (bits - 1);
	return (shift << (bits - 1)) + (uint32_t)(value >> shift);
}

static inline void llr_histogram_record(uint64_t *counts, uint32_t bits, uint64_t value)
{
	counts[llr_histogram_index(bits, value)]++;
}

/* Smallest and largest value of a step. */
uint64_t llr_histogram_low(uint32_t bits, uint32_t index);
uint64_t llr_histogram_high(uint32_t bits, uint32_t index);
uint64_t llr_histogram_total(const uint64_t *counts, uint32_t bits);
/* Largest value of the step in which the percentile (0..100) lies; 0 if nothing was recorded. */
uint64_t llr_histogram_percentile(const uint64_t *counts, uint32_t bits, double percentile);
double llr_histogram_mean(const uint64_t *counts, uint32_t bits);
double llr_histogram_stddev(const uint64_t *counts, uint32_t bits);
void llr_histogram_add(uint64_t *into, const uint64_t *from, uint32_t bits);

#endif
