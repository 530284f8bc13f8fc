/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (Castagnoli, as in iSCSI, RFC 3720 appendix B.4): by instruction where the CPU has it
 * (SSE4.2, ARMv8 CRC), else by table. Pure.
 *
 * llr_crc32c(0, "123456789", 9) == 0xE3069283. Continues: crc(crc(0, a), b) == crc(0, a + b).
 */
#ifndef LLR_BASE_CRC32C_H
#define LLR_BASE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t (*llr_crc32c_fn)(uint32_t crc, const void *bytes, size_t size);

/* The best one for this CPU, chosen once before main. */
extern llr_crc32c_fn llr_crc32c;

uint32_t llr_crc32c_portable(uint32_t crc, const void *bytes, size_t size);
/* The instruction's; NULL where this build or CPU has none. One file for each architecture. */
llr_crc32c_fn llr_crc32c_native(void);
const char *llr_crc32c_native_name(void);
/* The name of what llr_crc32c is: "sse4.2", "armv8" or "portable". */
const char *llr_crc32c_name(void);

#endif
