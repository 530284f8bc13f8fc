/* SPDX-License-Identifier: MIT */
/*
 * What is refused before a handler sees it, and the credits that a reply grants.
 *
 * Thread: the worker's. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"

/* The methods' table is at most half full, so a chain is short and ends. */
const struct llr_method *llr_method_find(const struct llrph_engine *engine, uint32_t route)
{
	uint32_t mask = 2U * LLR_METHODS_MAX - 1U;

	for (uint32_t at = route & mask;; at = (at + 1) & mask) {
		uint32_t found = engine->method_table[at];

		if (found == 0)
			return NULL;
		if (engine->methods[found - 1].route == route)
			return &engine->methods[found - 1];
	}
}

bool llr_admit(struct llr_request *request)
{
	struct llrph_engine *engine = request->engine;
	uint64_t budget_ns = (uint64_t)request->frame.budget_us * 1000U;

	if (engine->stopping) {
		llr_llrp_refuse(request, LLRPH_STATUS_UNAVAILABLE, "stopping");
		return false;
	}
	if (request->method == NULL) {
		llr_llrp_refuse(request, LLRPH_STATUS_NO_METHOD, NULL);
		return false;
	}
	request->call.deadline_ns = budget_ns == 0 ? 0 : request->call.received_ns + budget_ns;
	if (budget_ns != 0 && engine->now_ns >= request->call.deadline_ns) {
		llr_llrp_refuse(request, LLRPH_STATUS_BUDGET_SPENT, NULL);
		return false;
	}
	return true;
}

bool llr_verify(struct llr_request *request)
{
	if (request->ext_broken) {
		llr_llrp_refuse(request, LLRPH_STATUS_BAD_PAYLOAD, "extension blocks are broken");
		return false;
	}
	if (request->session != NULL &&
	    request->frame.payload_size > request->session->max_message) {
		llr_llrp_refuse(request, LLRPH_STATUS_TOO_LARGE, NULL);
		return false;
	}
	return true;
}

/*
 * Datagram sessions share what the sockets' queues surely hold, so that all credits granted fit in.
 * Connections have flow control of their own.
 */
void llr_credits_share(struct llrph_engine *engine)
{
	uint32_t capacity = UINT32_MAX;

	for (unsigned int i = 0; i < engine->listener_count; i++) {
		if (engine->listeners[i].queue_capacity != 0)
			capacity = (uint32_t)llr_min_u64(capacity,
							 engine->listeners[i].queue_capacity);
	}
	engine->credits_share = capacity / (engine->sessions.datagram_count +
					    (engine->sessions.datagram_count == 0));
	if (engine->credits_share == 0)
		engine->credits_share = 1;
}

uint16_t llr_credits(const struct llr_request *request)
{
	const struct llr_session *session = request->session;

	if (session == NULL)
		return 0;
	if (session->datagram == NULL)
		return (uint16_t)session->window;
	return (uint16_t)llr_min_u64(session->window, request->engine->credits_share);
}
