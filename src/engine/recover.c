/* SPDX-License-Identifier: MIT */
/*
 * What a successor makes of the sessions of a worker that died. The table has been checked record
 * by record (llr_sessions_recover); here its sessions meet their endpoints again, and what was
 * RUNNING is answered.
 *
 * A datagram's RUNNING request is answered 500, and that is remembered; an idempotent one is left
 * open: its client repeats it. On a lane requests that were read but not released come again: those
 * that were answered are dropped, an idempotent one that was RUNNING runs again. What has not come
 * again a moment later had been released before its worker died: it is answered 500.
 *
 * Thread: the worker's, before its first turn and once after it. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "transport/shm.h"

#define RECOVER_NS 2000000U /* a lane's requests come again with the first bursts */
#define DIED_TEXT  "the worker died"

/* Answers one slot 500 in the name of the dead worker. */
static void slot_fail(struct llrph_engine *engine, struct llr_session *session,
		      struct llr_slot *slot)
{
	struct llr_request request;

	memset(&request, 0, sizeof(request));
	request.engine = engine;
	request.listener = &engine->listeners[session->listener];
	request.session = session;
	request.peer = session->peer;
	request.call.received_ns = engine->now_ns;
	request.frame.sequence = slot->sequence;
	request.frame.route = slot->route;
	request.frame.flags = (slot->flags & LLR_SLOT_NO_CRC) != 0 ? LLR_FLAG_NO_CRC : 0;
	engine->counters->recovered_500++;
	llr_llrp_refuse(&request, LLRPH_STATUS_HANDLER_FAILED, DIED_TEXT);
}

static void slots_recover(struct llrph_engine *engine, struct llr_session *session)
{
	for (uint32_t i = 0; i < session->window; i++) {
		struct llr_slot *slot = &session->slots[i];

		if (slot->state != LLR_SLOT_RUNNING)
			continue;
		if ((slot->flags & LLR_SLOT_IDEMPOTENT) == 0) {
			slot_fail(engine, session, slot);
			continue;
		}
		slot->state = LLR_SLOT_OPEN;
		if (session->kind == LLR_SESSION_LANE)
			slot->flags |= LLR_SLOT_RERUN;
	}
}

/* Whether the reply that was committed last on a lane is one that its slot knows nothing of. */
static void lane_last_reply(struct llr_transport *transport, struct llr_session *session)
{
	const uint8_t *bytes;
	uint32_t size;
	struct llr_frame frame;
	struct llr_slot *slot;

	if (!llr_shm_last_reply(transport, session->peer, &bytes, &size))
		return;
	if (llr_frame_peek(bytes, size, LLR_PLACE_CONNECTED | LLR_PLACE_NO_CRC, &frame) !=
		    LLR_FRAME_OK ||
	    frame.type != LLR_REPLY || (frame.flags & LLR_FLAG_MORE) != 0)
		return;
	slot = llr_session_slot(session, frame.sequence);
	if (slot->sequence == frame.sequence && slot->state == LLR_SLOT_RUNNING)
		slot->state = LLR_SLOT_DONE;
}

/* Ties a recovered session to its endpoint. False: there is none any more. */
static bool session_bind(struct llrph_engine *engine, struct llr_session *session)
{
	struct llr_listener *listener;

	if (session->listener >= engine->listener_count)
		return false;
	listener = &engine->listeners[session->listener];
	if (session->kind == LLR_SESSION_DATAGRAM)
		return (listener->place & LLR_PLACE_CONNECTED) == 0;
	if (strcmp(listener->transport->ops->scheme, "shm") != 0)
		return false;
	session->peer = llr_shm_peer(listener->transport, session->peer_index);
	if (session->peer == NULL || session->peer->session != NULL)
		return false;
	session->peer->session = session;
	lane_last_reply(listener->transport, session);
	return true;
}

void llr_engine_recover(struct llrph_engine *engine)
{
	for (uint32_t i = 0; i < engine->sessions.shape.count; i++) {
		struct llr_session *session = &engine->sessions.items[i];

		if (session->id == 0)
			continue;
		if (!session_bind(engine, session)) {
			session->peer = session->datagram != NULL ? session->peer : NULL;
			llr_session_end(engine, session);
			continue;
		}
		slots_recover(engine, session);
		engine->counters->sessions_recovered++;
	}
	engine->counters->sessions_open = engine->sessions.open_count;
	llr_credits_share(engine);
	engine->recover_ns = engine->now_ns + RECOVER_NS;
}

void llr_engine_recover_end(struct llrph_engine *engine)
{
	engine->recover_ns = 0;
	for (uint32_t i = 0; i < engine->sessions.shape.count; i++) {
		struct llr_session *session = &engine->sessions.items[i];

		if (session->id == 0 || session->kind != LLR_SESSION_LANE)
			continue;
		session->recovering = 0;
		for (uint32_t k = 0; k < session->window; k++) {
			struct llr_slot *slot = &session->slots[k];

			if (slot->state == LLR_SLOT_OPEN && (slot->flags & LLR_SLOT_RERUN) != 0)
				slot_fail(engine, session, slot);
		}
	}
}
