/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C by table, eight bytes a step ("slicing by 8", Kounavis and Berry 2005), and the choice of
 * the best function for this CPU. Any thread; table and pointer are written once before main, by
 * the constructor below, and read-only from then on.
 *
 * table[0] is the plain bytewise table; table[k][b] is what byte b contributes k bytes later, so
 * that eight bytes are looked up independently of each other and folded with xor.
 */
#include "base/crc32c.h"
#include "base/bytes.h"

#define POLYNOMIAL 0x82F63B78U /* Castagnoli's, bits reversed */

static uint32_t table[8][256];

llr_crc32c_fn llr_crc32c;

static void fill_table(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (POLYNOMIAL & -(crc & 1U));
		table[0][byte] = crc;
	}
	for (uint32_t byte = 0; byte < 256; byte++) {
		for (int k = 1; k < 8; k++) {
			uint32_t before = table[k - 1][byte];

			table[k][byte] = (before >> 8) ^ table[0][before & 0xFFU];
		}
	}
}

/* Before the constructors without a priority, so that they can use it. */
__attribute__((constructor(101))) static void choose(void)
{
	fill_table();
	llr_crc32c = llr_crc32c_native();
	if (llr_crc32c == NULL)
		llr_crc32c = llr_crc32c_portable;
}

uint32_t llr_crc32c_portable(uint32_t crc, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	crc = ~crc;
	for (; size >= 8; size -= 8, at += 8) {
		uint32_t low = llr_le32_load(at) ^ crc;
		uint32_t high = llr_le32_load(at + 4);

		crc = table[7][low & 0xFFU] ^ table[6][low >> 8 & 0xFFU] ^
		      table[5][low >> 16 & 0xFFU] ^ table[4][low >> 24] ^ table[3][high & 0xFFU] ^
		      table[2][high >> 8 & 0xFFU] ^ table[1][high >> 16 & 0xFFU] ^
		      table[0][high >> 24];
	}
	for (; size > 0; size--, at++)
		crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xFFU];
	return ~crc;
}

const char *llr_crc32c_name(void)
{
	return llr_crc32c == llr_crc32c_portable ? "portable" : llr_crc32c_native_name();
}
