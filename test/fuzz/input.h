/* SPDX-License-Identifier: MIT */
/*
 * Reading a fuzzer's input as a script: what is missing reads as zeros, so that every input means
 * something. Single-threaded; the bytes are the fuzzer's.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fuzz_input {
	const uint8_t *bytes; /* borrows */
	size_t left;
};

static inline void fuzz_take(struct fuzz_input *input, void *into, size_t size)
{
	size_t there = size < input->left ? size : input->left;

	memset(into, 0, size);
	if (there > 0)
		memcpy(into, input->bytes, there);
	input->bytes += there;
	input->left -= there;
}

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	uint8_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint16_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
