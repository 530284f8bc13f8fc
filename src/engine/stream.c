/* SPDX-License-Identifier: MIT */
/*
 * A frame on a stream that is larger than any message the server would take: it is not held but
 * stepped over, its checksum computed on the way, and answered 413 if it was a good request.
 *
 * Thread: the worker's. Owns: nothing; the state is the listener's.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

/* bytes: at least LLR_HEAD_SIZE of them; request->frame has the header's fields. */
void llr_stream_skip_begin(struct llr_request *request, struct llr_stream_state *state,
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

bool llr_stream_skip(struct llr_request *request, struct llr_stream_state *state,
		     struct llr_span *span)
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
