/* SPDX-License-Identifier: MIT */
/*
 * The handler's turn: what it sees, what it may call, and whether its status is one that it may
 * return.
 *
 * Thread: the worker's. Owns: nothing.
 * Invariant: the slot says RUNNING before the handler's first instruction, so that a successor
 * knows what died with its worker.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"

void *llrph_call_room(struct llrph_call *call, uint32_t size)
{
	struct llr_request *request = (struct llr_request *)(void *)call;

	LLR_ASSERT(call != NULL);
	return request->listener->framing->room(request, size);
}

/* Statuses that any handler may return; others must be declared by its method. */
static bool status_is_common(int status)
{
	return (status >= 200 && status <= 299) || status == LLRPH_STATUS_BAD_PAYLOAD ||
	       status == LLRPH_STATUS_NO_METHOD || status == LLRPH_STATUS_TOO_LARGE ||
	       status == LLRPH_STATUS_REFUSED || status == LLRPH_STATUS_HANDLER_FAILED ||
	       status == LLRPH_STATUS_UNAVAILABLE;
}

static bool status_is_declared(const struct llrph_method *method, int status)
{
	if (method->statuses == NULL || status < 400 || status > 599)
		return false;
	for (unsigned int i = 0; method->statuses[i] != 0; i++) {
		if (method->statuses[i] == status)
			return true;
	}
	return false;
}

int llr_status_check(struct llr_request *request, int status)
{
	/* It could not know why it got no room: where that passes, the same request may come again.
	 */
	if (status == LLRPH_STATUS_TOO_LARGE && request->no_room)
		status = LLRPH_STATUS_UNAVAILABLE;
	if (status_is_declared(request->method->spec, status)) {
		request->engine->counters->status_declared++;
		return status;
	}
	if (!status_is_common(status)) {
		request->engine->counters->status_unknown++;
		request->call.reply_size = 0;
		request->reasoned = false;
		status = LLRPH_STATUS_HANDLER_FAILED;
	}
	/* Not 2xx and not its own: the payload is a reason, or becomes the status's text. */
	if (status > 299 && (!request->reasoned || request->call.reply_size == 0))
		(void)llrph_call_reason(&request->call, status,
					llrph_status_text((unsigned int)status));
	return status;
}

int llr_dispatch(struct llr_request *request)
{
	struct llrph_engine *engine = request->engine;
	struct llrph_call *call = &request->call;
	const struct llr_method *method = request->method;
	int status;

	call->payload = request->frame.payload;
	call->payload_size = request->frame.payload_size;
	call->sequence = request->frame.sequence;
	call->session = request->frame.session;
	call->trace = request->frame.trace;
	call->reply = NULL;
	call->reply_size = 0;
	call->room_size = 0;
	request->start_ns = engine->now_ns;
	if (request->session != NULL)
		llr_slot_begin(request->session, call->sequence, request->frame.route,
			       (request->idempotent ? LLR_SLOT_IDEMPOTENT : 0U) |
				       ((request->frame.flags & LLR_FLAG_NO_CRC) != 0
						? LLR_SLOT_NO_CRC
						: 0U));
	engine->counters->executed++;
	method->stats->requests++;
	status = method->spec->handler(call, method->state);
	engine->now_ns = llr_clock_now(&engine->clock);
	if (status == LLRPH_DEFERRED && request->deferred != NULL)
		return LLRPH_DEFERRED;
	return llr_status_check(request, status);
}
