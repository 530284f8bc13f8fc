/* SPDX-License-Identifier: MIT */
/*
 * Answers that come later than their handler's return. The request's bytes are gone by then; what
 * it takes to answer is kept in one of LLR_DEFERRED_MAX records.
 *
 * Thread: the worker's. Owns: nothing; the records are the engine's.
 * Invariant: a record is used exactly while deferred_count counts it.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"

struct llrph_deferred *llrph_call_defer(struct llrph_call *call)
{
	struct llr_request *request = (struct llr_request *)(void *)call;
	struct llrph_engine *engine = request->engine;
	struct llrph_deferred *deferred = engine->deferred_free;

	LLR_ASSERT(request->deferred == NULL);
	if (deferred == NULL)
		return NULL;
	engine->deferred_free = deferred->next;
	engine->deferred_count++;
	engine->counters->deferred++;
	deferred->engine = engine;
	deferred->listener = request->listener;
	deferred->method = request->method;
	deferred->session = request->session;
	deferred->session_id = request->session != NULL ? request->session->id : 0;
	deferred->sequence = call->sequence;
	deferred->received_ns = call->received_ns;
	deferred->start_ns = request->start_ns;
	deferred->peer = *request->peer;
	deferred->answer_size_max = request->answer_size_max;
	deferred->route = request->frame.route;
	deferred->flags = request->frame.flags;
	deferred->idempotent = request->idempotent;
	deferred->used = true;
	request->deferred = deferred;
	/* Room that was taken goes back with the handler's return. */
	if (request->room_open)
		request->listener->transport->ops->tx_abort(request->listener->transport,
							    &request->room);
	request->room_open = false;
	request->staged = false;
	call->room_size = 0;
	return deferred;
}

/* The request as it was, for the answer. False: nobody is there to be answered. */
static bool request_resume(struct llr_request *request, struct llrph_deferred *deferred)
{
	struct llrph_engine *engine = deferred->engine;
	struct llr_session *session = deferred->session;

	memset(request, 0, sizeof(*request));
	request->engine = engine;
	request->listener = deferred->listener;
	request->method = deferred->method;
	request->session = session;
	request->start_ns = deferred->start_ns;
	request->answer_size_max = deferred->answer_size_max;
	request->idempotent = deferred->idempotent;
	request->frame.sequence = deferred->sequence;
	request->frame.route = deferred->route;
	request->frame.flags = deferred->flags;
	request->call.sequence = deferred->sequence;
	request->call.received_ns = deferred->received_ns;
	request->peer = session != NULL ? session->peer : &deferred->peer;
	if (session == NULL)
		return true;
	if (session->id != deferred->session_id)
		return false;
	if (!llr_slot_is_newest(session, deferred->sequence)) {
		engine->counters->superseded++;
		return false;
	}
	/* A later request may have come to another address of ours. */
	if (session->datagram != NULL)
		session->peer->local = deferred->peer.local;
	return true;
}

static void deferred_free(struct llrph_deferred *deferred)
{
	struct llrph_engine *engine = deferred->engine;

	LLR_ASSERT(deferred->used && engine->deferred_count > 0);
	deferred->used = false;
	deferred->next = engine->deferred_free;
	engine->deferred_free = deferred;
	engine->deferred_count--;
}

/* Whether an answer of that size could go out at all. */
static bool answer_fits(const struct llr_request *request, uint32_t size)
{
	uint32_t size_max = request->session != NULL ? request->session->max_message
						     : request->answer_size_max - LLR_HEAD_SIZE;

	return size <= size_max &&
	       (request->reasoned || size <= request->method->spec->reply_size_max);
}

int llrph_deferred_reply(struct llrph_deferred *deferred, int status, const void *payload,
			 uint32_t size, unsigned int flags)
{
	bool part = (flags & LLRPH_PART) != 0;
	struct llr_request request;
	void *room;
	int error;

	LLR_ASSERT(deferred != NULL && deferred->used);
	LLR_ASSERT(payload != NULL || size == 0);
	if (part && (deferred->listener->place & LLR_PLACE_CONNECTED) == 0)
		return -EOPNOTSUPP;
	if (!request_resume(&request, deferred)) {
		if (!part)
			deferred_free(deferred);
		return 0;
	}
	deferred->engine->now_ns = llr_clock_now(&deferred->engine->clock);
	request.reasoned = status > 299 && size <= LLRPH_REASON_SIZE_MAX;
	room = llr_llrp_room(&request, size);
	if (room == NULL)
		return answer_fits(&request, size) ? -EAGAIN : -EMSGSIZE;
	if (size > 0)
		memcpy(room, payload, size);
	request.call.reply_size = size;
	error = llr_llrp_reply(&request, (unsigned int)llr_status_check(&request, status), part);
	if (error == 0 && part)
		deferred->engine->counters->parts++;
	if (error == 0 && !part)
		deferred_free(deferred);
	return error;
}
