/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C by the SSE4.2 instruction; compiled on x86-64 alone. Any thread; owns nothing.
 *
 * One chain of eight bytes a step: three chains side by side would be faster above some 200 bytes,
 * but cost the small frames, which are most, their set-up and a table for the joining.
 */
#include "base/crc32c.h"

#include <nmmintrin.h>
#include <string.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *bytes,
							       size_t size)
{
	const uint8_t *at = bytes;
	uint64_t wide = ~crc; /* the instruction's own width: no move between steps */

	for (; size >= 8; size -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	if (size >= 4) {
		uint32_t word;

		memcpy(&word, at, sizeof(word));
		crc = _mm_crc32_u32(crc, word);
		size -= 4;
		at += 4;
	}
	for (; size > 0; size--, at++)
		crc = _mm_crc32_u8(crc, *at);
	return ~crc;
}

llr_crc32c_fn llr_crc32c_native(void)
{
	/* Called from a constructor, perhaps before libgcc's own. */
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") ? crc32c_sse42 : NULL;
}

const char *llr_crc32c_native_name(void)
{
	return "sse4.2";
}
