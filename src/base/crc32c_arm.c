/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C by the ARMv8 instruction; compiled on aarch64 alone. Any thread; owns nothing.
 */
#include "base/crc32c.h"

#include <arm_acle.h>
#include <string.h>
#include <sys/auxv.h>

#define HAS_CRC32 (1UL << 7) /* HWCAP_CRC32 of <asm/hwcap.h> */

__attribute__((target("+crc"))) static uint32_t crc32c_armv8(uint32_t crc, const void *bytes,
							     size_t size)
{
	const uint8_t *at = bytes;

	crc = ~crc;
	for (; size >= 8; size -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		crc = __crc32cd(crc, word);
	}
	if (size >= 4) {
		uint32_t word;

		memcpy(&word, at, sizeof(word));
		crc = __crc32cw(crc, word);
		size -= 4;
		at += 4;
	}
	for (; size > 0; size--, at++)
		crc = __crc32cb(crc, *at);
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
