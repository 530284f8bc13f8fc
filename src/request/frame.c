/* SPDX-License-Identifier: MIT */
/*
 * LLRP/1 frames: see frame.h for the picture. Pure; any thread; owns nothing.
 *
 * Invariant: a field is read from the wire once, into struct llr_frame, and used from there.
 */
#include "request/frame.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"

#define FLAGS_LISTED                                                                               \
	(LLR_FLAG_NO_CRC | LLR_FLAG_FRAGMENT | LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY |              \
	 LLR_FLAG_MORE | LLR_FLAG_EXT)
#define EXT_BLOCK_HEADER_SIZE 4U
#define EXT_BLOCK_SIZE        16U /* blocks take multiples of it */
#define EXT_TYPE_TRACE        1U

static const uint8_t magic[4] = {'L', 'L', 'R', 'P'};

/* The flags that a frame of this type may carry in this place. */
static unsigned int flags_allowed(uint8_t type, unsigned int place)
{
	unsigned int allowed = (place & LLR_PLACE_NO_CRC) != 0 ? LLR_FLAG_NO_CRC : 0U;

	if (type == LLR_REQUEST)
		allowed |= LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY | LLR_FLAG_EXT;
	else if (type == LLR_REPLY)
		allowed |= LLR_FLAG_EXT | ((place & LLR_PLACE_CONNECTED) != 0 ? LLR_FLAG_MORE : 0U);
	else if (type == 0 || type > LLR_CANCEL)
		allowed |= FLAGS_LISTED & ~(unsigned int)LLR_FLAG_NO_CRC;
	if ((type == LLR_REQUEST || type == LLR_REPLY) && (place & LLR_PLACE_CONNECTED) == 0)
		allowed |= LLR_FLAG_FRAGMENT;
	return allowed;
}

enum llr_frame_verdict llr_frame_peek(const uint8_t *bytes, size_t size, unsigned int place,
				      struct llr_frame *frame)
{
	LLR_ASSERT_HOT(bytes != NULL && frame != NULL);
	frame->frame_size = 0;
	if (size < LLR_HEADER_SIZE)
		return (place & LLR_PLACE_STREAM) != 0 ? LLR_FRAME_PARTIAL : LLR_FRAME_BAD_LENGTH;
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return LLR_FRAME_BAD_MAGIC;
	if (bytes[4] != 1)
		return LLR_FRAME_BAD_VERSION;
	frame->type = bytes[5];
	frame->flags = llr_le16_load(bytes + 6);
	frame->sequence = llr_le64_load(bytes + 8);
	frame->timestamp = llr_le64_load(bytes + 16);
	frame->length = llr_le32_load(bytes + 24);
	if (frame->length > LLR_BODY_SIZE_MAX)
		return LLR_FRAME_BAD_LENGTH;
	if ((frame->flags & ~flags_allowed(frame->type, place)) != 0)
		return LLR_FRAME_BAD_FLAGS;
	frame->frame_size = LLR_HEADER_SIZE + frame->length;
	return LLR_FRAME_OK;
}

static bool crc_is_right(const uint8_t *bytes, const struct llr_frame *frame)
{
	uint32_t crc = llr_le32_load(bytes + 28);

	if ((frame->flags & LLR_FLAG_NO_CRC) != 0)
		return crc == 0;
	return crc == llr_crc32c(llr_crc32c(0, bytes, 28), bytes + LLR_HEADER_SIZE, frame->length);
}

enum llr_frame_verdict llr_frame_decode(uint8_t *bytes, size_t size, unsigned int place,
					struct llr_frame *frame)
{
	enum llr_frame_verdict verdict = llr_frame_peek(bytes, size, place, frame);
	const uint8_t *route = bytes + LLR_HEADER_SIZE;

	if (verdict != LLR_FRAME_OK)
		return verdict;
	if (frame->frame_size > size)
		return (place & LLR_PLACE_STREAM) != 0 ? LLR_FRAME_PARTIAL : LLR_FRAME_BAD_LENGTH;
	if (!crc_is_right(bytes, frame))
		return LLR_FRAME_BAD_CRC;
	frame->body = route;
	if (frame->type != LLR_REQUEST && frame->type != LLR_REPLY)
		return LLR_FRAME_OK;
	if (frame->length < LLR_ROUTE_SIZE)
		return LLR_FRAME_BAD_ROUTE;
	frame->route = llr_le32_load(route);
	if (frame->type == LLR_REQUEST) {
		frame->budget_us = llr_le32_load(route + 4);
		frame->session = llr_le64_load(route + 8);
	} else {
		frame->status = llr_le16_load(route + 4);
		frame->credits = llr_le16_load(route + 6);
		frame->service_ns = llr_le32_load(route + 8);
		frame->queue_ns = llr_le32_load(route + 12);
	}
	frame->trace = NULL;
	frame->payload = bytes + LLR_HEAD_SIZE;
	frame->payload_size = frame->length - LLR_ROUTE_SIZE;
	if ((frame->flags & LLR_FLAG_FRAGMENT) != 0 && frame->payload_size < LLR_FRAGMENT_SIZE)
		return LLR_FRAME_BAD_FRAGMENT;
	return LLR_FRAME_OK;
}

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

void llr_header_encode(uint8_t *frame, const struct llr_header *header)
{
	uint32_t crc = 0;

	LLR_ASSERT_HOT(header->length <= LLR_BODY_SIZE_MAX);
	memcpy(frame, magic, sizeof(magic));
	frame[4] = 1;
	frame[5] = header->type;
	llr_le16_store(frame + 6, header->flags);
	llr_le64_store(frame + 8, header->sequence);
	llr_le64_store(frame + 16, header->timestamp);
	llr_le32_store(frame + 24, header->length);
	if ((header->flags & LLR_FLAG_NO_CRC) == 0)
		crc = llr_crc32c(llr_crc32c(0, frame, 28), frame + LLR_HEADER_SIZE, header->length);
	llr_le32_store(frame + 28, crc);
}

void llr_request_route_encode(uint8_t *frame, uint32_t route, uint32_t budget_us, uint64_t session)
{
	llr_le32_store(frame + LLR_HEADER_SIZE, route);
	llr_le32_store(frame + LLR_HEADER_SIZE + 4, budget_us);
	llr_le64_store(frame + LLR_HEADER_SIZE + 8, session);
}

void llr_reply_route_encode(uint8_t *frame, const struct llr_reply_route *reply)
{
	llr_le32_store(frame + LLR_HEADER_SIZE, reply->route);
	llr_le16_store(frame + LLR_HEADER_SIZE + 4, reply->status);
	llr_le16_store(frame + LLR_HEADER_SIZE + 6, reply->credits);
	llr_le32_store(frame + LLR_HEADER_SIZE + 8, reply->service_ns);
	llr_le32_store(frame + LLR_HEADER_SIZE + 12, reply->queue_ns);
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
