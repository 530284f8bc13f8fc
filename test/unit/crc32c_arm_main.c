/* SPDX-License-Identifier: MIT */
/*
 * The ARMv8 instruction against the table and known answers, where no test framework is: built by
 * Debian's cross compiler and run under qemu-user (test/aarch64).
 */
#include "base/crc32c.h"

#include <stdio.h>

#define BYTES 4096U

static uint8_t bytes[BYTES];

static void fill(void)
{
	uint32_t seed = 12345;

	for (size_t i = 0; i < BYTES; i++) {
		seed = seed * 1103515245U + 12345U;
		bytes[i] = (uint8_t)(seed >> 16);
	}
}

/* Every size and alignment that the loops tell apart; the count of differences. */
static unsigned int differences(llr_crc32c_fn one, llr_crc32c_fn other)
{
	unsigned int count = 0;

	for (size_t start = 0; start < 16; start++) {
		for (size_t size = 0; size <= 300; size++) {
			uint32_t begin = (uint32_t)(start * size);

			count += one(begin, bytes + start, size) !=
				 other(begin, bytes + start, size);
		}
	}
	count += one(0, bytes, BYTES) != other(0, bytes, BYTES);
	return count;
}

int main(void)
{
	unsigned int wrong = 0;

	fill();
	if (llr_crc32c_native() == NULL) {
		printf("this CPU has no CRC-32C instruction\n");
		return 77;
	}
	wrong += llr_crc32c != llr_crc32c_native();
	wrong += llr_crc32c_native()(0, "123456789", 9) != 0xE3069283U;
	wrong += llr_crc32c_portable(0, "123456789", 9) != 0xE3069283U;
	wrong += differences(llr_crc32c_native(), llr_crc32c_portable);
	printf("%s: %u differences\n", llr_crc32c_name(), wrong);
	return wrong == 0 ? 0 : 1;
}
