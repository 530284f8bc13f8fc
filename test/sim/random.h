/* SPDX-License-Identifier: MIT */
/*
 * The simulator's dice: xoshiro256** by Blackman and Vigna, seeded through splitmix64. Each
 * concern of a run (network, plan, crashes, ...) rolls its own, split off the seed, so that a
 * change to one leaves the others' rolls as they were.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include "base/assert.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
	uint64_t state[4];
};

static inline uint64_t sim_splitmix64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* stream: which concern; any small number, different for each. */
static inline void sim_random_init(struct sim_random *random, uint64_t seed, uint64_t stream)
{
	uint64_t state = seed ^ (stream * UINT64_C(0xd1342543de82ef95));

	for (int i = 0; i < 4; i++)
		random->state[i] = sim_splitmix64(&state);
}

static inline uint64_t sim_rotate_left(uint64_t value, unsigned int bits)
{
	return (value << bits) | (value >> (64U - bits));
}

static inline uint64_t sim_random_next(struct sim_random *random)
{
	uint64_t *s = random->state;
	uint64_t result = sim_rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = sim_rotate_left(s[3], 45);
	return result;
}

/* 0..bound - 1, by Lemire's multiplication; its bias of 2^-64 * bound is of no matter here. */
static inline uint64_t sim_below(struct sim_random *random, uint64_t bound)
{
	LLR_ASSERT(bound > 0);
	return (uint64_t)(((unsigned __int128)sim_random_next(random) * bound) >> 64);
}

/* low..high, both included. */
static inline uint64_t sim_between(struct sim_random *random, uint64_t low, uint64_t high)
{
	LLR_ASSERT(low <= high);
	return low + sim_below(random, high - low + 1);
}

/* True in ppm of a million rolls. */
static inline bool sim_chance(struct sim_random *random, uint32_t ppm)
{
	return ppm != 0 && sim_below(random, 1000000) < ppm;
}

/* low..high, small values as likely as large ones: uniform in the exponent. */
static inline uint64_t sim_log_between(struct sim_random *random, uint64_t low, uint64_t high)
{
	unsigned int bits;
	uint64_t top;

	LLR_ASSERT(low > 0);
	LLR_ASSERT(low <= high);
	bits = (unsigned int)(64 - __builtin_clzll(high / low));
	top = low << sim_below(random, bits + 1);
	return sim_between(random, low, top > high || top < low ? high : top);
}

#endif
