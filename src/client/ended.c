/* SPDX-License-Identifier: MIT */
/*
 * Calls that end otherwise than by the reply that the caller is about to get: aborted, cancelled,
 * failed, or answered while somebody waits for another.
 *
 * Thread: the client's owner's. Owns: nothing that client.c did not take.
 */
#include "client/state.h"

#include "base/assert.h"

#include <string.h>

void llr_calls_restack(struct llrph_client *client)
{
	uint32_t i = client->primary->window;

	LLR_ASSERT(i <= client->window);
	client->free_count = 0;
	while (i-- > 0)
		if (client->calls[i].state == LLR_CALL_FREE)
			client->free[client->free_count++] = (uint16_t)i;
}

static void list_ended(struct llrph_client *client, struct llr_call *call)
{
	LLR_ASSERT_HOT(call->state == LLR_CALL_OUT);
	LLR_ASSERT_HOT(client->outstanding > 0);
	client->outstanding--;
	call->state = LLR_CALL_ENDED;
	if (call == client->waiting)
		return;
	call->next = NULL;
	if (client->ended_head == NULL)
		client->ended_head = call;
	else
		client->ended_tail->next = call;
	client->ended_tail = call;
}

void llr_call_end(struct llrph_client *client, struct llr_call *call, int error)
{
	uint64_t now_ns = llr_clock_now(client->clock);

	LLR_ASSERT(error < 0);
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++)
		if (call->legs[i].link != NULL)
			llr_leg_stop(&call->legs[i]);
	call->is_kept = false;
	call->completion = (struct llrph_completion){
		.tag = call->tag,
		.error = error,
		.attempts = call->attempts,
		.latency_ns = now_ns - call->commit_ns,
	};
	list_ended(client, call);
}

void llr_call_keep(struct llrph_client *client, struct llr_call *call,
		   const struct llrph_completion *completion)
{
	uint8_t *buffer = llr_call_buffer(client, call);

	LLR_ASSERT(completion->size <= client->setup.options.max_message);
	memcpy(buffer, completion->payload, completion->size);
	call->completion = *completion;
	call->completion.payload = buffer;
	call->is_kept = true;
	list_ended(client, call);
}

void llr_calls_deliver(struct llrph_client *client, struct llr_harvest *harvest)
{
	while (client->ended_head != NULL && harvest->count < harvest->count_max) {
		struct llr_call *call = client->ended_head;

		LLR_ASSERT(call->state == LLR_CALL_ENDED);
		client->ended_head = call->next;
		harvest->completions[harvest->count++] = call->completion;
		if (!call->is_kept) {
			llr_call_free(client, call);
			continue;
		}
		call->state = LLR_CALL_LENT;
		call->next = client->lent;
		client->lent = call;
	}
}

/* Takes the begun call off its link's room, which is sent or given back by the caller. */
bool llr_begun_release(struct llrph_client *client)
{
	struct llr_link *link = client->begun_link;
	bool has_room = link->room_is_open;

	link->room_is_open = false;
	client->begun = NULL;
	client->begun_link = NULL;
	return has_room;
}

void llrph_call_abort(struct llrph_client *client)
{
	struct llr_call *call = client->begun;
	struct llr_link *link = client->begun_link;

	if (call == NULL)
		return;
	if (llr_begun_release(client))
		link->transport->ops->tx_abort(link->transport, &client->room);
	llr_call_free(client, call);
}

/*
 * The session in which the call was begun is gone, and nothing of the call was sent. Where its
 * payload is at hand it waits for the next session.
 */
void llr_commit_orphan(struct llrph_client *client, struct llr_call *call)
{
	struct llr_link *link = client->begun_link;
	bool has_payload = link->is_datagram || call->is_idempotent;

	if (!link->is_datagram && call->is_idempotent)
		memcpy(llr_call_buffer(client, call), client->room.bytes + LLR_HEAD_SIZE,
		       call->size);
	if (llr_begun_release(client))
		link->transport->ops->tx_abort(link->transport, &client->room);
	if (!has_payload)
		llr_call_end(client, call, LLRPH_E_PEER_DEAD);
	llr_client_wants(client, call->commit_ns);
}

int llrph_call_cancel(struct llrph_client *client, int64_t sequence)
{
	struct llr_call *call = &client->calls[(uint64_t)sequence & (client->window - 1)];

	if (sequence < 1 || call->state != LLR_CALL_OUT || call->id != (uint64_t)sequence)
		return LLRPH_E_NOT_FOUND;
	llr_call_cancel_legs(client, call, llr_clock_now(client->clock));
	llr_call_end(client, call, LLRPH_E_CANCELLED);
	llr_client_wants(client, client->turn_ns); /* a lost leg may go now */
	return 0;
}
