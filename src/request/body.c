/* SPDX-License-Identifier: MIT */
/*
 * What stands in a frame's body besides a plain payload: extension blocks, the fragment block,
 * HELLO and WELCOME. See frame.h. Pure; any thread; owns nothing.
 */
#include "request/frame.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"

#define EXT_BLOCK_HEADER_SIZE 4U
#define EXT_BLOCK_SIZE        16U /* blocks take multiples of it */
#define EXT_TYPE_TRACE        1U

/*
 * Walks the blocks at the start of size bytes. Returns the bytes that they take, the end block
 * included, or 0 if they are broken.
 */
static uint32_t ext_walk(const uint8_t *bytes, uint32_t size, const uint8_t **trace)
{
	uint32_t at = 0;

	while (size - at >= EXT_BLOCK_SIZE && at < LLR_EXT_SIZE_MAX) {
		uint16_t type = llr_le16_load(bytes + at);
		uint32_t data_size = llr_le16_load(bytes + at + 2);
		uint32_t taken = (EXT_BLOCK_HEADER_SIZE + data_size + 15U) & ~15U;

		if (type == 0)
			return data_size == 0 ? at + EXT_BLOCK_SIZE : 0;
		if (taken > size - at)
			return 0;
		if (type == EXT_TYPE_TRACE && data_size != LLR_TRACE_SIZE)
			return 0;
		if (type == EXT_TYPE_TRACE && *trace == NULL)
			*trace = bytes + at + EXT_BLOCK_HEADER_SIZE;
		at += taken;
	}
	return 0;
}

static bool fragment_take(struct llr_frame *frame, uint32_t skip)
{
	const uint8_t *block = frame->payload + skip;

	if (frame->payload_size < skip || frame->payload_size - skip < LLR_FRAGMENT_SIZE)
		return false;
	frame->fragment.offset = llr_le32_load(block);
	frame->fragment.total = llr_le32_load(block + 4);
	frame->fragment.message_crc = llr_le32_load(block + 8);
	frame->payload += skip + LLR_FRAGMENT_SIZE;
	frame->payload_size -= skip + LLR_FRAGMENT_SIZE;
	return true;
}

enum llr_frame_verdict llr_frame_split(struct llr_frame *frame, bool ext_granted, bool *ext_broken)
{
	uint32_t ext_size = 0;

	LLR_ASSERT_HOT(frame->type == LLR_REQUEST || frame->type == LLR_REPLY);
	*ext_broken = false;
	if ((frame->flags & (LLR_FLAG_EXT | LLR_FLAG_FRAGMENT)) == 0)
		return LLR_FRAME_OK;
	if ((frame->flags & LLR_FLAG_EXT) != 0) {
		if (!ext_granted)
			return LLR_FRAME_BAD_FLAGS;
		ext_size = ext_walk(frame->payload, frame->payload_size, &frame->trace);
	}
	if ((frame->flags & LLR_FLAG_FRAGMENT) != 0) {
		struct llr_frame whole = *frame;

		/*
		 * Only the part at offset 0 has blocks. A later part may carry the flag all the
		 * same: then what stands there is its fragment block, with another offset.
		 */
		if (fragment_take(frame, ext_size) &&
		    (ext_size == 0 || frame->fragment.offset == 0)) {
			*ext_broken = ext_size == 0 && (frame->flags & LLR_FLAG_EXT) != 0 &&
				      frame->fragment.offset % 16U != 0;
			return LLR_FRAME_OK;
		}
		*frame = whole;
		frame->trace = NULL;
		return fragment_take(frame, 0) ? LLR_FRAME_OK : LLR_FRAME_BAD_FRAGMENT;
	}
	*ext_broken = ext_size == 0;
	frame->payload += ext_size;
	frame->payload_size -= ext_size;
	return LLR_FRAME_OK;
}

void llr_fragment_encode(uint8_t *block, const struct llr_fragment *fragment)
{
	llr_le32_store(block, fragment->offset);
	llr_le32_store(block + 4, fragment->total);
	llr_le32_store(block + 8, fragment->message_crc);
	llr_le32_store(block + 12, 0);
}

void llr_hello_encode(uint8_t *body, const struct llr_hello *hello)
{
	memset(body, 0, LLR_HELLO_SIZE);
	llr_le64_store(body, hello->nonce);
	llr_le64_store(body + 8, hello->cookie);
	llr_le32_store(body + 16, hello->max_message);
	llr_le16_store(body + 20, hello->window);
	llr_le64_store(body + 24, hello->features);
}

void llr_hello_decode(const uint8_t *body, struct llr_hello *hello)
{
	hello->nonce = llr_le64_load(body);
	hello->cookie = llr_le64_load(body + 8);
	hello->max_message = llr_le32_load(body + 16);
	hello->window = llr_le16_load(body + 20);
	hello->features = llr_le64_load(body + 24);
}

void llr_welcome_encode(uint8_t *body, const struct llr_welcome *welcome)
{
	llr_le64_store(body, welcome->session);
	llr_le64_store(body + 8, welcome->cookie);
	llr_le32_store(body + 16, welcome->max_message);
	llr_le16_store(body + 20, welcome->window);
	llr_le16_store(body + 22, welcome->status);
	llr_le64_store(body + 24, welcome->epoch);
	llr_le64_store(body + 32, welcome->features);
	llr_le64_store(body + 40, welcome->nonce);
}

void llr_welcome_decode(const uint8_t *body, struct llr_welcome *welcome)
{
	welcome->session = llr_le64_load(body);
	welcome->cookie = llr_le64_load(body + 8);
	welcome->max_message = llr_le32_load(body + 16);
	welcome->window = llr_le16_load(body + 20);
	welcome->status = llr_le16_load(body + 22);
	welcome->epoch = llr_le64_load(body + 24);
	welcome->features = llr_le64_load(body + 32);
	welcome->nonce = llr_le64_load(body + 40);
}

uint32_t llr_utf8_cut(const char *text, uint32_t size, uint32_t size_max)
{
	LLR_ASSERT(text != NULL || size == 0);
	if (size <= size_max)
		return size;
	size = size_max;
	/* A continuation byte (10xxxxxx) is not where a character begins: step back to one. */
	while (size > 0 && ((uint8_t)text[size] & 0xC0U) == 0x80U)
		size--;
	return size;
}
