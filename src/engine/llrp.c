/* SPDX-License-Identifier: MIT */
/*
 * LLRP over any transport: finding frames in spans, and the session and slot that a request belongs
 * to. What follows a decision is in reply.c and control.c.
 *
 * Thread: the worker's. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"

/* Zeros between frames. False: rejected, or the span is over. */
bool llr_padding_take(struct llr_request *request, struct llr_span *span, uint32_t *left)
{
	uint32_t there = span->size - span->consumed;
	uint32_t taken = *left < there ? *left : there;

	if (!llr_all_zero(span->bytes + span->consumed, taken))
		return llr_llrp_reject(request, span, LLR_FRAME_BAD_PADDING);
	span->consumed += taken;
	*left -= taken;
	return *left == 0;
}

static void request_start(struct llr_request *request, const struct llr_span *span)
{
	request->peer = span->peer;
	request->session = NULL;
	request->method = NULL;
	request->deferred = NULL;
	request->call.received_ns = span->received_ns;
	request->call.flags = 0;
	request->answer_size_max = UINT32_MAX;
	request->room_open = false;
	request->staged = false;
	request->ext_broken = false;
	request->no_room = false;
	request->reasoned = false;
	request->rejected = LLR_FRAME_OK;
}

/* Datagrams and lanes: whole frames, the first at the first byte. */
static bool next_whole(struct llr_request *request, struct llr_span *span)
{
	uint32_t padding = llr_frame_padding(span->consumed);
	enum llr_frame_verdict verdict;

	if (span->consumed == span->size)
		return false;
	if (span->consumed > 0) {
		/* Something follows a frame: zeros to the next multiple of 16, then a frame. */
		if (span->size - span->consumed <= padding)
			return llr_llrp_reject(request, span, LLR_FRAME_BAD_PADDING);
		if (!llr_padding_take(request, span, &padding))
			return false;
	}
	verdict = llr_frame_decode(span->bytes + span->consumed, span->size - span->consumed,
				   request->listener->place, &request->frame);
	if (verdict != LLR_FRAME_OK)
		return llr_llrp_reject(request, span, verdict);
	span->consumed += request->frame.frame_size;
	return true;
}

static bool llrp_next(struct llr_request *request, struct llr_span *span)
{
	enum llr_frame_verdict rejected = request->rejected;
	bool found;

	request_start(request, span);
	if (rejected != LLR_FRAME_OK)
		return llr_llrp_reject(request, span, rejected);
	found = request->listener->streams != NULL ? llr_stream_next(request, span)
						   : next_whole(request, span);
	request->engine->counters->frames += found;
	return found;
}

/* The session that a request names, if it may: on datagrams from its address alone. */
static struct llr_session *session_find(struct llr_request *request)
{
	struct llrph_engine *engine = request->engine;
	struct llr_session *session;

	if ((request->listener->place & LLR_PLACE_CONNECTED) != 0) {
		session = request->peer->session;
		return session != NULL && session->id == request->frame.session ? session : NULL;
	}
	session = llr_sessions_find(&engine->sessions, request->frame.session);
	if (session == NULL || session->datagram == NULL ||
	    session->listener != request->listener->index ||
	    memcmp(&session->peer->address, &request->peer->address,
		   sizeof(session->peer->address)) != 0)
		return NULL;
	/* A larger datagram than before shows what the path can carry. */
	if (request->peer->mtu > session->peer->mtu)
		session->peer->mtu = request->peer->mtu;
	/* Answers leave from where their request came to. */
	session->peer->local = request->peer->local;
	request->peer = session->peer;
	return session;
}

/* What the slot says. True: go on. */
static bool slot_allows(struct llr_request *request)
{
	struct llr_session *session = request->session;
	struct llr_counters *counters = request->engine->counters;

	switch (llr_slot_judge(session, request->frame.sequence, request->idempotent)) {
	case LLR_RUN:
		session->recovering = 0;
		return true;
	case LLR_RERUN:
		counters->repeat_rerun++;
		return true;
	case LLR_REMEMBERED:
		llr_llrp_repeat(request);
		return false;
	case LLR_FORGOTTEN:
		counters->repeat_forgotten++;
		llr_llrp_refuse(request, LLRPH_STATUS_FORGOTTEN, NULL);
		return false;
	case LLR_IN_PROGRESS:
		counters->repeat_running++;
		if (session->datagram != NULL || session->recovering)
			return false;
		llr_llrp_refuse(request, LLRPH_STATUS_NOT_NEWER, NULL);
		return false;
	case LLR_STALE:
	default:
		counters->stale++;
		if (session->datagram == NULL && !session->recovering)
			llr_llrp_refuse(request, LLRPH_STATUS_NOT_NEWER, NULL);
		return false;
	}
}

static void method_set(struct llr_request *request)
{
	request->method = llr_method_find(request->engine, request->frame.route);
	request->idempotent = (request->frame.flags & LLR_FLAG_IDEMPOTENT) != 0 ||
			      (request->method != NULL &&
			       (request->method->spec->flags & LLRPH_METHOD_IDEMPOTENT) != 0);
}

static bool llrp_session(struct llr_request *request)
{
	struct llr_frame *frame = &request->frame;
	struct llr_counters *counters = request->engine->counters;
	enum llr_frame_verdict verdict;

	if (frame->type != LLR_REQUEST) {
		llr_llrp_control(request);
		return false;
	}
	counters->requests++;
	counters->retries += (frame->flags & LLR_FLAG_RETRY) != 0;
	request->session = session_find(request);
	if (request->session == NULL)
		return llr_llrp_stranger(request);
	request->session->last_ns = request->engine->now_ns;
	verdict = llr_frame_split(frame, request->session->ext_granted != 0, &request->ext_broken);
	if (verdict != LLR_FRAME_OK) {
		request->rejected = verdict;
		return false;
	}
	method_set(request);
	if (!slot_allows(request))
		return false;
	if ((frame->flags & LLR_FLAG_FRAGMENT) != 0 && !request->ext_broken) {
		if (!llr_llrp_part_take(request))
			return false;
		method_set(request);
	}
	return true;
}

const struct llr_framing llr_framing_llrp = {
	.next = llrp_next,
	.session = llrp_session,
	.refuse = llr_llrp_refuse,
	.room = llr_llrp_room,
	.reply = llr_llrp_reply,
	.closed = llr_llrp_closed,
};
