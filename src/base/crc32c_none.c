/* SPDX-License-Identifier: MIT */
/*
 * For CPUs that have no CRC-32C instruction which we know. Any thread; owns nothing.
 */
#include "base/crc32c.h"

llr_crc32c_fn llr_crc32c_native(void)
{
	return NULL;
}

const char *llr_crc32c_native_name(void)
{
	return "none";
}
