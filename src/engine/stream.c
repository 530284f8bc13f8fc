/* SPDX-License-Identifier: MIT */
/*
 * Frames on a stream: found in runs of bytes, whole, in part, or too large to be held. The last are
 * stepped over, their checksum computed on the way, and answered 413 if they were good requests.
 *
 * Thread: the worker's. Owns: nothing; the state is the listener's.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

/* bytes: at least LLR_HEAD_SIZE of them; request->frame has the header's fields. */
static void skip_begin(struct llr_request *request, struct llr_stream_state *state,
		       const uint8_t *bytes, uint32_t size)
{
	const struct llr_frame *frame = &request->frame;

	LLR_ASSERT(size >= LLR_HEAD_SIZE && frame->frame_size > LLR_HEAD_SIZE);
	state->skip_left = frame->frame_size;
	state->skip_size = frame->frame_size;
	state->skip_crc = llr_crc32c(0, bytes, LLR_HEADER_SIZE - 4);
	state->skip_crc_sent = llr_le32_load(bytes + LLR_HEADER_SIZE - 4);
	state->skip_sequence = frame->sequence;
	state->skip_route = llr_le32_load(bytes + LLR_HEADER_SIZE);
	state->skip_session = llr_le64_load(bytes + LLR_HEADER_SIZE + 8);
	state->skip_flags = frame->flags;
	state->skip_type = frame->type;
}

static bool skip(struct llr_request *request, struct llr_stream_state *state, struct llr_span *span)
{
	const uint8_t *bytes = span->bytes + span->consumed;
	uint32_t there = span->size - span->consumed;
	uint32_t taken = (uint32_t)llr_min_u64(state->skip_left, there);
	/* The header's own bytes are in the checksum already. */
	uint32_t header = state->skip_left == state->skip_size ? LLR_HEADER_SIZE : 0;

	LLR_ASSERT(taken >= header);
	state->skip_crc = llr_crc32c(state->skip_crc, bytes + header, taken - header);
	state->skip_left -= taken;
	span->consumed += taken;
	if (state->skip_left > 0)
		return false;
	if (state->skip_crc != state->skip_crc_sent) {
		request->rejected = LLR_FRAME_BAD_CRC;
		return request->listener->framing->next(request, span);
	}
	state->padding_left = llr_frame_padding(state->skip_size);
	request->frame.type = state->skip_type;
	request->frame.flags = state->skip_flags;
	request->frame.sequence = state->skip_sequence;
	request->frame.session = state->skip_session;
	request->frame.route = state->skip_route;
	request->frame.frame_size = state->skip_size;
	request->frame.length = state->skip_size - LLR_HEADER_SIZE;
	request->frame.budget_us = 0;
	/* Larger than any session's max_message: verify answers 413, and reads none of it. */
	request->frame.payload = NULL;
	request->frame.body = NULL;
	request->frame.trace = NULL;
	request->frame.flags &= (uint16_t)~LLR_FLAG_EXT;
	request->frame.payload_size = request->frame.length - LLR_ROUTE_SIZE;
	return true;
}

struct llr_stream_state *llr_stream_of(struct llr_listener *listener, const struct llr_peer *peer)
{
	return listener->streams == NULL ? NULL : &listener->streams[peer->index];
}

/*
 * Streams keep frames at multiples of 16, but where a frame's padding comes late the next one
 * begins anywhere in memory: then it is copied to where its payload is aligned.
 */
static uint8_t *stream_frame(struct llr_request *request, uint8_t *bytes, uint32_t size)
{
	struct llrph_engine *engine = request->engine;

	if (((uintptr_t)bytes & (LLR_ALIGN - 1)) == 0)
		return bytes;
	LLR_ASSERT(size <= engine->stage_size);
	memcpy(engine->stage, bytes, size);
	return engine->stage;
}

bool llr_stream_next(struct llr_request *request, struct llr_span *span)
{
	struct llr_stream_state *state = llr_stream_of(request->listener, span->peer);
	unsigned int place = request->listener->place;
	uint8_t *bytes;
	uint32_t there;
	enum llr_frame_verdict verdict;

	LLR_ASSERT_HOT(state != NULL);
	span->wanted = 0;
	if (state->dead) {
		span->consumed = span->size;
		return false;
	}
	/* Whoever reads its replies slowly waits with its requests, instead of outgrowing us. */
	if (span->peer->blocked) {
		span->wanted = 1;
		return false;
	}
	if (state->skip_left > 0)
		return skip(request, state, span);
	if (!llr_padding_take(request, span, &state->padding_left))
		return false;
	bytes = span->bytes + span->consumed;
	there = span->size - span->consumed;
	verdict = llr_frame_peek(bytes, there, place, &request->frame);
	if (verdict == LLR_FRAME_PARTIAL) {
		span->wanted = LLR_HEADER_SIZE;
		return false;
	}
	if (verdict != LLR_FRAME_OK)
		return llr_llrp_reject(request, span, verdict);
	if (request->frame.frame_size > request->engine->frame_max) {
		span->wanted = LLR_HEAD_SIZE;
		if (there < LLR_HEAD_SIZE)
			return false;
		skip_begin(request, state, bytes, there);
		return skip(request, state, span);
	}
	if (request->frame.frame_size > there) {
		span->wanted = request->frame.frame_size;
		return false;
	}
	bytes = stream_frame(request, bytes, request->frame.frame_size);
	verdict = llr_frame_decode(bytes, request->frame.frame_size, place, &request->frame);
	if (verdict != LLR_FRAME_OK)
		return llr_llrp_reject(request, span, verdict);
	span->consumed += request->frame.frame_size;
	state->padding_left = llr_frame_padding(request->frame.frame_size);
	return true;
}
