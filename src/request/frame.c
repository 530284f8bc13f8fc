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
