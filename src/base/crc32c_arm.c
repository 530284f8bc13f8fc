/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C by the ARMv8 instruction; compiled on aarch64 alone. Any thread; owns nothing.
 *
 * The instructions are written as assembly, because gcc and clang do not agree on how a single
 * function is allowed an extension that the rest of the program must do without.
 */
#include "base/crc32c.h"

#include <string.h>
#include <sys/auxv.h>

#define HAS_CRC32 (1UL << 7) /* HWCAP_CRC32 of <asm/hwcap.h> */

static uint32_t step_8(uint32_t crc, uint64_t word)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
	return crc;
}

static uint32_t step_4(uint32_t crc, uint32_t word)
{
	__asm__(".arch_extension crc\n\tcrc32cw %w0, %w0, %w1" : "+r"(crc) : "r"(word));
	return crc;
}

static uint32_t step_1(uint32_t crc, uint8_t byte)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)byte));
	return crc;
}

static uint32_t crc32c_armv8(uint32_t crc, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	crc = ~crc;
	for (; size >= 8; size -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		crc = step_8(crc, word);
	}
	if (size >= 4) {
		uint32_t word;

		memcpy(&word, at, sizeof(word));
		crc = step_4(crc, word);
		size -= 4;
		at += 4;
	}
	for (; size > 0; size--, at++)
		crc = step_1(crc, *at);
	return ~crc;
}

llr_crc32c_fn llr_crc32c_native(void)
{
	return (getauxval(AT_HWCAP) & HAS_CRC32) != 0 ? crc32c_armv8 : NULL;
}

const char *llr_crc32c_native_name(void)
{
	return "armv8";
}
