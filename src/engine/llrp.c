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

/* The counter of a rejection. */
static void count_reject(struct llr_counters *counters, enum llr_frame_verdict verdict)
{
	switch (verdict) {
	case LLR_FRAME_BAD_MAGIC:
		counters->reject_magic++;
		break;
	case LLR_FRAME_BAD_VERSION:
		counters->reject_version++;
		break;
	case LLR_FRAME_BAD_LENGTH:
		counters->reject_length++;
		break;
	case LLR_FRAME_BAD_CRC:
		counters->reject_crc++;
		break;
	case LLR_FRAME_BAD_FLAGS:
		counters->reject_flags++;
		break;
	case LLR_FRAME_BAD_ROUTE:
		counters->reject_route++;
		break;
	case LLR_FRAME_BAD_FRAGMENT:
		counters->reject_fragment++;
		break;
	case LLR_FRAME_BAD_PADDING:
		counters->reject_padding++;
		break;
	case LLR_FRAME_OK:
	case LLR_FRAME_PARTIAL:
	default:
		LLR_ASSERT(verdict != verdict);
	}
}

static struct llr_stream_state *stream_of(struct llr_listener *listener,
					  const struct llr_peer *peer)
{
	return listener->streams == NULL ? NULL : &listener->streams[peer->index];
}

/* A rejected frame ends its datagram or connection; what came before it counts. */
static bool reject(struct llr_request *request, struct llr_span *span,
		   enum llr_frame_verdict verdict)
{
	struct llr_listener *listener = request->listener;
	struct llr_stream_state *state = stream_of(listener, span->peer);

	count_reject(request->engine->counters, verdict);
	span->consumed = span->size;
	if (state != NULL)
		state->dead = 1;
	if (listener->transport->ops->drop != NULL)
		listener->transport->ops->drop(listener->transport, span->peer);
	return false;
}

/* Zeros between frames. False: rejected, or the span is over. */
static bool padding_take(struct llr_request *request, struct llr_span *span, uint32_t *left)
{
	uint32_t there = span->size - span->consumed;
	uint32_t taken = *left < there ? *left : there;

	if (!llr_all_zero(span->bytes + span->consumed, taken))
		return reject(request, span, LLR_FRAME_BAD_PADDING);
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
			return reject(request, span, LLR_FRAME_BAD_PADDING);
		if (!padding_take(request, span, &padding))
			return false;
	}
	verdict = llr_frame_decode(span->bytes + span->consumed, span->size - span->consumed,
				   request->listener->place, &request->frame);
	if (verdict != LLR_FRAME_OK)
		return reject(request, span, verdict);
	span->consumed += request->frame.frame_size;
	return true;
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

static bool next_stream(struct llr_request *request, struct llr_span *span)
{
	struct llr_stream_state *state = stream_of(request->listener, span->peer);
	unsigned int place = request->listener->place;
	uint8_t *bytes;
	uint32_t there;
	enum llr_frame_verdict verdict;

	span->wanted = 0;
	if (state->dead) {
		span->consumed = span->size;
		return false;
	}
	if (state->skip_left > 0)
		return llr_stream_skip(request, state, span);
	if (!padding_take(request, span, &state->padding_left))
		return false;
	bytes = span->bytes + span->consumed;
	there = span->size - span->consumed;
	verdict = llr_frame_peek(bytes, there, place, &request->frame);
	if (verdict == LLR_FRAME_PARTIAL) {
		span->wanted = LLR_HEADER_SIZE;
		return false;
	}
	if (verdict != LLR_FRAME_OK)
		return reject(request, span, verdict);
	if (request->frame.frame_size > request->engine->frame_max) {
		span->wanted = LLR_HEAD_SIZE;
		if (there < LLR_HEAD_SIZE)
			return false;
		llr_stream_skip_begin(request, state, bytes, there);
		return llr_stream_skip(request, state, span);
	}
	if (request->frame.frame_size > there) {
		span->wanted = request->frame.frame_size;
		return false;
	}
	bytes = stream_frame(request, bytes, request->frame.frame_size);
	verdict = llr_frame_decode(bytes, request->frame.frame_size, place, &request->frame);
	if (verdict != LLR_FRAME_OK)
		return reject(request, span, verdict);
	span->consumed += request->frame.frame_size;
	state->padding_left = llr_frame_padding(request->frame.frame_size);
	return true;
}

static bool llrp_next(struct llr_request *request, struct llr_span *span)
{
	enum llr_frame_verdict rejected = request->rejected;
	bool found;

	request_start(request, span);
	if (rejected != LLR_FRAME_OK)
		return reject(request, span, rejected);
	found = request->listener->streams != NULL ? next_stream(request, span)
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
	request->peer = session->peer;
	return session;
}

/* A request without a session: 401, or a sessionless one that may run. */
static bool stranger(struct llr_request *request)
{
	const struct llr_frame *frame = &request->frame;

	request->answer_size_max = frame->frame_size;
	if (request->engine->options.sessionless != 0 && frame->session == 0 &&
	    (frame->flags & LLR_FLAG_IDEMPOTENT) != 0 &&
	    (frame->flags & (LLR_FLAG_FRAGMENT | LLR_FLAG_EXT)) == 0 &&
	    (request->listener->place & LLR_PLACE_CONNECTED) == 0) {
		request->method = llr_method_find(request->engine, frame->route);
		request->idempotent = true;
		return true;
	}
	if ((request->listener->place & LLR_PLACE_CONNECTED) == 0) {
		struct llr_session *session = llr_sessions_find_address(&request->engine->sessions,
									request->listener->index,
									&request->peer->address);

		if (session != NULL)
			session->last_ns = request->engine->now_ns;
	}
	/* Answers that share a datagram are padded to 16: the padding must be paid for too. */
	request->answer_size_max = frame->frame_size & ~(LLR_ALIGN - 1);
	llr_llrp_refuse(request, LLRPH_STATUS_NO_SESSION, NULL);
	return false;
}

/* A repeat of what was answered. A burst of its parts is answered once. */
static void repeat(struct llr_request *request)
{
	struct llr_session_datagram *datagram = request->session->datagram;
	const struct llr_slot *slot = llr_session_slot(request->session, request->frame.sequence);
	uint64_t now_ns = request->engine->now_ns;
	const uint8_t *payload = llr_replies_find(&datagram->replies, datagram->replies_bytes,
						  slot->reply_at, slot->reply_size);

	LLR_ASSERT(payload != NULL);
	if ((request->frame.flags & LLR_FLAG_FRAGMENT) != 0) {
		if (datagram->repeat_sequence == slot->sequence &&
		    now_ns - datagram->repeat_ns < LLR_REPEAT_NS)
			return;
		datagram->repeat_sequence = slot->sequence;
		datagram->repeat_ns = now_ns;
	}
	request->engine->counters->repeat_remembered++;
	llr_llrp_repeat(request, slot, payload);
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
		repeat(request);
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

/* Adds a part; true: the message is whole, and request is it. */
static bool fragment_take(struct llr_request *request)
{
	struct llr_session_datagram *datagram = request->session->datagram;
	struct llr_reassembly *whole = &datagram->reassembly;
	struct llr_frame *frame = &request->frame;
	struct llr_counters *counters = request->engine->counters;

	counters->fragments++;
	counters->fragments_expired +=
		llr_reassembly_expire(whole, request->engine->now_ns) ? 1U : 0U;
	if (frame->trace != NULL) {
		datagram->trace_sequence = frame->sequence;
		memcpy(datagram->trace, frame->trace, LLR_TRACE_SIZE);
	}
	switch (llr_reassembly_add(whole, datagram->message, request->session->max_message,
				   datagram->bitmap, frame, request->engine->now_ns)) {
	case LLR_PART_COMPLETE:
		break;
	case LLR_PART_TAKEN:
		return false;
	case LLR_PART_REPEATED:
		counters->fragments_repeated++;
		return false;
	case LLR_PART_OFF_GRID:
		counters->fragments_off_grid++;
		return false;
	case LLR_PART_BAD_CRC:
		counters->fragments_bad_crc++;
		return false;
	case LLR_PART_TOO_LARGE:
	default:
		llr_llrp_refuse(request, LLRPH_STATUS_TOO_LARGE, NULL);
		return false;
	}
	frame->payload = datagram->message;
	frame->payload_size = whole->total;
	frame->route = whole->route;
	frame->budget_us = whole->budget_us;
	frame->flags = (uint16_t)(whole->flags | LLR_FLAG_FRAGMENT);
	/* The trace stood in a part that is gone. */
	frame->trace =
		(whole->flags & LLR_FLAG_EXT) != 0 && datagram->trace_sequence == frame->sequence
			? datagram->trace
			: NULL;
	llr_reassembly_reset(whole);
	return true;
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
		return stranger(request);
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
		if (!fragment_take(request))
			return false;
		method_set(request);
	}
	return true;
}

static void llrp_closed(struct llr_listener *listener, struct llr_peer *peer)
{
	struct llr_stream_state *state = stream_of(listener, peer);

	if (state != NULL)
		memset(state, 0, sizeof(*state));
	if (peer->session != NULL)
		llr_session_end(listener->engine, peer->session);
	LLR_ASSERT(peer->session == NULL);
}

const struct llr_framing llr_framing_llrp = {
	.next = llrp_next,
	.session = llrp_session,
	.refuse = llr_llrp_refuse,
	.room = llr_llrp_room,
	.reply = llr_llrp_reply,
	.closed = llrp_closed,
};
