/* SPDX-License-Identifier: MIT */
/*
 * Decoding: the input's first byte says where the frame came from, the rest are the bytes that
 * arrived, in memory of exactly that size. Whatever is taken for a frame must lie within it.
 */
#include "input.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "request/frame.h"

#include <stdlib.h>

/* All that a decoded frame promises. */
static void check(const struct llr_frame *frame, const uint8_t *bytes, size_t size)
{
	LLR_ASSERT(frame->frame_size >= LLR_HEADER_SIZE);
	LLR_ASSERT(frame->frame_size <= size);
	LLR_ASSERT(frame->length == frame->frame_size - LLR_HEADER_SIZE);
	LLR_ASSERT(frame->body == bytes + LLR_HEADER_SIZE);
}

static void split(struct llr_frame frame, const uint8_t *end, bool ext_granted)
{
	bool ext_broken = false;

	if (llr_frame_split(&frame, ext_granted, &ext_broken) != LLR_FRAME_OK || ext_broken)
		return;
	LLR_ASSERT(frame.payload <= end);
	LLR_ASSERT(frame.payload_size <= (size_t)(end - frame.payload));
	/* Touched, so that a sanitizer looks. */
	(void)llr_crc32c(0, frame.payload, frame.payload_size);
	if (frame.trace != NULL)
		(void)llr_crc32c(0, frame.trace, LLR_TRACE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t how = fuzz_u8(&input);
	struct llr_frame frame = {0};
	uint8_t *bytes;

	if (input.left == 0)
		return 0;
	bytes = malloc(input.left);
	LLR_MUST(bytes != NULL);
	size = input.left;
	memcpy(bytes, input.bytes, size);
	/* A fuzzer does not guess checksums. */
	if ((how & 8U) != 0 && size >= LLR_HEADER_SIZE) {
		uint32_t crc;

		llr_le32_store(bytes + 24, (uint32_t)(size - LLR_HEADER_SIZE));
		crc = llr_crc32c(0, bytes, LLR_HEADER_SIZE - 4);
		crc = llr_crc32c(crc, bytes + LLR_HEADER_SIZE, size - LLR_HEADER_SIZE);
		llr_le32_store(bytes + 28, crc);
	}
	(void)llr_frame_peek(bytes, size, how & 7U, &frame);
	if (llr_frame_decode(bytes, size, how & 7U, &frame) == LLR_FRAME_OK) {
		check(&frame, bytes, size);
		if (frame.type == LLR_REQUEST || frame.type == LLR_REPLY) {
			split(frame, bytes + frame.frame_size, true);
			split(frame, bytes + frame.frame_size, false);
		}
	}
	free(bytes);
	return 0;
}
