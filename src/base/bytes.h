/* SPDX-License-Identifier: MIT */
/*
 * Little- and big-endian integers in bytes of any alignment, and rounding. Pure.
 */
#ifndef LLR_BASE_BYTES_H
#define LLR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LLR_LE_(bits, x) (x)
#define LLR_BE_(bits, x) __builtin_bswap##bits(x)
#else
#define LLR_LE_(bits, x) __builtin_bswap##bits(x)
#define LLR_BE_(bits, x) (x)
#endif

#define LLR_BYTES_DEFINE_(order, ORDER, bits)                                                      \
	static inline uint##bits##_t llr_##order##bits##_load(const void *bytes)                   \
	{                                                                                          \
		uint##bits##_t value;                                                              \
		memcpy(&value, bytes, sizeof(value));                                              \
		return ORDER(bits, value);                                                         \
	}                                                                                          \
	static inline void llr_##order##bits##_store(void *bytes, uint##bits##_t value)            \
	{                                                                                          \
		value = ORDER(bits, value);                                                        \
		memcpy(bytes, &value, sizeof(value));                                              \
	}

LLR_BYTES_DEFINE_(le, LLR_LE_, 16)
LLR_BYTES_DEFINE_(le, LLR_LE_, 32)
LLR_BYTES_DEFINE_(le, LLR_LE_, 64)
LLR_BYTES_DEFINE_(be, LLR_BE_, 16)
LLR_BYTES_DEFINE_(be, LLR_BE_, 32)
LLR_BYTES_DEFINE_(be, LLR_BE_, 64)

/* Rounds up to a power of two; size must be at most SIZE_MAX / 2. */
static inline size_t llr_round_up(size_t size, size_t power_of_two)
{
	return (size + power_of_two - 1) & ~(power_of_two - 1);
}

static inline bool llr_is_power_of_two(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static inline uint64_t llr_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t llr_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* True if size bytes are all zero; for padding, so size is small. */
static inline bool llr_all_zero(const uint8_t *bytes, size_t size)
{
	uint8_t seen = 0;

	for (size_t i = 0; i < size; i++)
		seen |= bytes[i];
	return seen == 0;
}

#endif
