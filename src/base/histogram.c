/* SPDX-License-Identifier: MIT */
/*
 * Reading a log-linear histogram. Any thread that may read the counts; owns nothing.
 *
 * Steps by index, for bits b and h = 2^(b-1): the first 2h steps hold one value each; every further
 * h steps are one power of two, each step twice as wide as in the power before.
 */
#include "base/histogram.h"
#include "base/assert.h"

#include <math.h>

/* A step is 2^shift values wide. */
static uint32_t step_shift(uint32_t bits, uint32_t index)
{
	uint32_t power = index >> (bits - 1);

	LLR_ASSERT(bits >= 2 && bits <= 16);
	LLR_ASSERT(index < LLR_HISTOGRAM_COUNT(bits));
	return power > 1 ? power - 1 : 0;
}

uint64_t llr_histogram_low(uint32_t bits, uint32_t index)
{
	uint32_t shift = step_shift(bits, index);

	return (uint64_t)(index - (shift << (bits - 1))) << shift;
}

uint64_t llr_histogram_high(uint32_t bits, uint32_t index)
{
	return llr_histogram_low(bits, index) + (UINT64_C(1) << step_shift(bits, index)) - 1;
}

uint64_t llr_histogram_total(const uint64_t *counts, uint32_t bits)
{
	uint64_t total = 0;

	for (size_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++)
		total += counts[i];
	return total;
}

/*
 * How many of total values lie at or below the percentile, 1 at least. Rounded up, but not for the
 * last bit of a division: 99.9 % of 1000 are 999, not 1000.
 */
static uint64_t percentile_rank(uint64_t total, double percentile)
{
	double exact = percentile / 100.0 * (double)total;
	uint64_t rank = (uint64_t)exact;

	if (exact - (double)rank > 1e-6)
		rank++;
	if (rank == 0)
		return 1;
	return rank < total ? rank : total;
}

uint64_t llr_histogram_percentile(const uint64_t *counts, uint32_t bits, double percentile)
{
	uint64_t total = llr_histogram_total(counts, bits);
	uint64_t rank;
	uint64_t seen = 0;
	uint32_t index = 0;

	LLR_ASSERT(percentile >= 0.0);
	LLR_ASSERT(percentile <= 100.0);
	if (total == 0)
		return 0;
	rank = percentile_rank(total, percentile);
	for (;; index++) { /* ends where seen reaches total, at the latest */
		seen += counts[index];
		if (seen >= rank || index == LLR_HISTOGRAM_COUNT(bits) - 1)
			return llr_histogram_high(bits, index);
	}
}

static double step_middle(uint32_t bits, uint32_t index)
{
	return ((double)llr_histogram_low(bits, index) + (double)llr_histogram_high(bits, index)) /
	       2.0;
}

double llr_histogram_mean(const uint64_t *counts, uint32_t bits)
{
	double sum = 0.0;
	double total = 0.0;

	for (uint32_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++) {
		if (counts[i] == 0)
			continue;
		sum += step_middle(bits, i) * (double)counts[i];
		total += (double)counts[i];
	}
	return total > 0.0 ? sum / total : 0.0;
}

double llr_histogram_stddev(const uint64_t *counts, uint32_t bits)
{
	double mean = llr_histogram_mean(counts, bits);
	double sum = 0.0;
	double total = 0.0;

	for (uint32_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++) {
		double off;

		if (counts[i] == 0)
			continue;
		off = step_middle(bits, i) - mean;
		sum += off * off * (double)counts[i];
		total += (double)counts[i];
	}
	return total > 0.0 ? sqrt(sum / total) : 0.0;
}

void llr_histogram_add(uint64_t *into, const uint64_t *from, uint32_t bits)
{
	for (size_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++)
		into[i] += from[i];
}
