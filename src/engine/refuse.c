/* SPDX-License-Identifier: MIT */
/*
 * Answers without a handler: refusals, and frames without a route block.
 *
 * Thread: the worker's. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"

void llr_count_status(struct llr_counters *counters, unsigned int status)
{
	uint64_t *const of[] = {&counters->status_400, &counters->status_401, &counters->status_404,
				&counters->status_409, &counters->status_410, &counters->status_413,
				&counters->status_429, &counters->status_499, &counters->status_500,
				&counters->status_503, &counters->status_504};
	static const uint16_t statuses[] = {400, 401, 404, 409, 410, 413, 429, 499, 500, 503, 504};

	counters->replies++;
	if (status <= 299) {
		counters->status_200++;
		return;
	}
	for (unsigned int i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i] == status)
			(*of[i])++;
	}
}

void llr_llrp_refuse(struct llr_request *request, unsigned int status, const char *text)
{
	struct llrph_engine *engine = request->engine;
	uint64_t received_ns = llr_min_u64(request->call.received_ns, engine->now_ns);
	struct llr_reply_route route = {
		.route = request->frame.route,
		.queue_ns = llr_settles(status) ? llr_saturate(engine->now_ns - received_ns)
						: LLR_RETRY_US,
		.status = (uint16_t)status,
		.credits = status == LLRPH_STATUS_NO_SESSION ? 0 : llr_credits(request),
	};
	uint32_t size_max =
		(uint32_t)llr_min_u64(LLRPH_REASON_SIZE_MAX, llr_answer_size_max(request));
	uint32_t size;
	bool touches;

	if (text == NULL)
		text = llrph_status_text(status);
	size = llr_utf8_cut(text, (uint32_t)strlen(text), size_max);
	/* 409 and 410 speak of a slot that has its answer: it stays as it is. */
	touches = request->session != NULL && status != LLRPH_STATUS_NOT_NEWER &&
		  status != LLRPH_STATUS_FORGOTTEN;
	if (touches && llr_settles(status))
		llr_slot_begin(request->session, request->frame.sequence, request->frame.route,
			       request->idempotent ? LLR_SLOT_IDEMPOTENT : 0U);
	if (touches && llr_on_datagrams(request))
		llr_slot_answer(request, (const uint8_t *)text, size, &route);
	llr_count_status(engine->counters, status);
	if (llr_payload_room(request, size) != NULL) {
		memcpy(request->room.bytes + LLR_HEAD_SIZE, text, size);
		llr_frame_commit(request, &request->room, size, &route, 0);
		request->room_open = false;
	} else {
		engine->counters->reply_lost++;
	}
	if (touches && !llr_on_datagrams(request))
		llr_slot_answer(request, NULL, 0, &route);
}

void llr_llrp_send(struct llr_listener *listener, struct llr_peer *peer,
		   const struct llr_header *header, const uint8_t *body)
{
	struct llr_transport *transport = listener->transport;
	struct llr_room room;

	if (transport->ops->tx_reserve(transport, peer, LLR_HEADER_SIZE + header->length, &room) !=
	    0) {
		listener->engine->counters->reply_lost++;
		return;
	}
	if (header->length > 0)
		memcpy(room.bytes + LLR_HEADER_SIZE, body, header->length);
	llr_header_encode(room.bytes, header);
	transport->ops->tx_commit(transport, &room, LLR_HEADER_SIZE + header->length);
}
