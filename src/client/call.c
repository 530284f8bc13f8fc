/* SPDX-License-Identifier: MIT */
/*
 * A call on its way out: begin, commit. What becomes of it is in ended.c; the synchronous call is
 * in sync.c.
 *
 * Thread: the client's owner's. Owns nothing that client.c did not take.
 *
 * Invariants: a call is FREE exactly if it is on the free stack or above the primary's window; it
 * is in the list of the ended exactly if it is ENDED and nobody waits for it inside
 * llrph_call_sync.
 */
#include "client/state.h"

#include "base/assert.h"
#include <string.h>

#define TIMEOUT_MIN_NS UINT64_C(1000)
#define TIMEOUT_MAX_NS UINT64_C(3600000000000)

void llr_call_free(struct llrph_client *client, struct llr_call *call)
{
	LLR_ASSERT_HOT(call->state != LLR_CALL_FREE);
	call->state = LLR_CALL_FREE;
	if (call->index < client->primary->window)
		client->free[client->free_count++] = (uint16_t)call->index;
	LLR_ASSERT_HOT(client->free_count <= client->window);
}

void llr_calls_return_lent(struct llrph_client *client)
{
	while (client->lent != NULL) {
		struct llr_call *call = client->lent;

		LLR_ASSERT(call->state == LLR_CALL_LENT);
		client->lent = call->next;
		llr_call_free(client, call);
	}
}

int llrph_call_begin(struct llrph_client *client, uint32_t size, void **payload)
{
	struct llr_link *link = client->primary;
	struct llr_call *call;
	int error;

	if (client->begun != NULL)
		return LLRPH_E_BUSY;
	if (link->state != LLR_LINK_OPEN)
		return size > client->setup.options.max_message ? LLRPH_E_TOO_LARGE
								: LLRPH_E_PEER_DEAD;
	if (size > link->max_message)
		return LLRPH_E_TOO_LARGE;
	if (client->free_count == 0 || link->outstanding >= llr_link_limit(link))
		return LLRPH_E_WINDOW_FULL;
	call = &client->calls[client->free[client->free_count - 1]];
	LLR_ASSERT_HOT(call->state == LLR_CALL_FREE);
	if (link->is_datagram) {
		if (link->is_blocked)
			return LLRPH_E_RING_FULL;
		*payload = llr_call_buffer(client, call);
	} else {
		error = link->transport->ops->tx_reserve(link->transport, link->peer,
							 LLR_HEAD_SIZE + size, &client->room);
		if (error != 0)
			return error;
		link->room_is_open = true;
		*payload = client->room.bytes + LLR_HEAD_SIZE;
	}
	client->free_count--;
	call->state = LLR_CALL_BEGUN;
	client->begun = call;
	client->begun_link = link;
	client->begun_session = link->session;
	client->begun_size = size;
	return 0;
}

static void commit_in_room(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	struct llr_leg *leg = &call->legs[0];
	struct llr_link *link = leg->link;

	leg->copies = 1;
	call->attempts = 1;
	if (call->is_idempotent)
		memcpy(llr_call_buffer(client, call), client->room.bytes + LLR_HEAD_SIZE,
		       call->size);
	llr_leg_encode(client, call, leg, client->room.bytes, now_ns);
	link->transport->ops->tx_commit(link->transport, &client->room, LLR_HEAD_SIZE + call->size);
	llr_leg_sent(client, call, leg, now_ns);
}

bool llr_call_is_sendable(unsigned int flags, uint64_t timeout_ns)
{
	return (flags & ~(unsigned int)LLRPH_REQUEST_IDEMPOTENT) == 0 &&
	       timeout_ns >= TIMEOUT_MIN_NS && timeout_ns <= TIMEOUT_MAX_NS;
}

/* The rest of commit, for a begun call whose route, size, tag, deadline and flags are set. */
void llr_call_commit_hot(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	struct llr_link *link = client->begun_link;

	LLR_ASSERT_HOT(call->state == LLR_CALL_BEGUN);
	call->state = LLR_CALL_OUT;
	call->id += client->window;
	call->commit_ns = now_ns;
	call->attempts = 0;
	call->may_have_run = false;
	client->outstanding++;
	llr_client_wants(client, call->deadline_ns);
	if (link->state != LLR_LINK_OPEN || link->session != client->begun_session) {
		call->hedge_ns = LLR_NEVER;
		llr_commit_orphan(client, call);
		return;
	}
	call->hedge_ns = llr_hedge_time(client, call, now_ns);
	llr_client_wants(client, call->hedge_ns);
	llr_leg_start(client, call, &call->legs[0], link, now_ns);
	if (llr_begun_release(client))
		commit_in_room(client, call, now_ns);
	else
		llr_leg_send(client, call, &call->legs[0], now_ns);
}

int64_t llrph_call_commit(struct llrph_client *client, uint32_t route, uint32_t size,
			  unsigned int flags, uint64_t timeout_ns, uint64_t tag)
{
	struct llr_call *call = client->begun;
	uint64_t now_ns = llr_clock_now(client->clock);

	if (call == NULL || size > client->begun_size || !llr_call_is_sendable(flags, timeout_ns))
		return LLRPH_E_BAD_ARGUMENT;
	call->tag = tag;
	call->route = route;
	call->size = size;
	call->deadline_ns = now_ns + timeout_ns;
	call->is_idempotent = (flags & LLRPH_REQUEST_IDEMPOTENT) != 0;
	llr_call_commit_hot(client, call, now_ns);
	return (int64_t)call->id;
}
