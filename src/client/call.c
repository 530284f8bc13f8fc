/* SPDX-License-Identifier: MIT */
/*
 * A call from begin to its end: begin, commit, abort, cancel, sync, and what becomes of a call that
 * has ended.
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

/* Takes the begun call off its link's room, which is sent or given back by the caller. */
static bool begun_release(struct llrph_client *client)
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
	if (begun_release(client))
		link->transport->ops->tx_abort(link->transport, &client->room);
	llr_call_free(client, call);
}

/*
 * The session in which the call was begun is gone, and nothing of the call was sent. Where its
 * payload is at hand it waits for the next session.
 */
static void commit_orphan(struct llrph_client *client, struct llr_call *call)
{
	struct llr_link *link = client->begun_link;
	bool has_payload = link->is_datagram || call->is_idempotent;

	if (!link->is_datagram && call->is_idempotent)
		memcpy(llr_call_buffer(client, call), client->room.bytes + LLR_HEAD_SIZE,
		       call->size);
	if (begun_release(client))
		link->transport->ops->tx_abort(link->transport, &client->room);
	if (!has_payload)
		llr_call_end(client, call, LLRPH_E_PEER_DEAD);
	llr_client_wants(client, call->commit_ns);
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

static bool is_sendable(unsigned int flags, uint64_t timeout_ns)
{
	return (flags & ~(unsigned int)LLRPH_REQUEST_IDEMPOTENT) == 0 &&
	       timeout_ns >= TIMEOUT_MIN_NS && timeout_ns <= TIMEOUT_MAX_NS;
}

/* The rest of commit, for a begun call whose route, size, tag, deadline and flags are set. */
static void commit_hot(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
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
		commit_orphan(client, call);
		return;
	}
	call->hedge_ns = llr_hedge_time(client, call, now_ns);
	llr_client_wants(client, call->hedge_ns);
	llr_leg_start(client, call, &call->legs[0], link, now_ns);
	if (begun_release(client))
		commit_in_room(client, call, now_ns);
	else
		llr_leg_send(client, call, &call->legs[0], now_ns);
}

int64_t llrph_call_commit(struct llrph_client *client, uint32_t route, uint32_t size,
			  unsigned int flags, uint64_t timeout_ns, uint64_t tag)
{
	struct llr_call *call = client->begun;
	uint64_t now_ns = llr_clock_now(client->clock);

	if (call == NULL || size > client->begun_size || !is_sendable(flags, timeout_ns))
		return LLRPH_E_BAD_ARGUMENT;
	call->tag = tag;
	call->route = route;
	call->size = size;
	call->deadline_ns = now_ns + timeout_ns;
	call->is_idempotent = (flags & LLRPH_REQUEST_IDEMPOTENT) != 0;
	commit_hot(client, call, now_ns);
	return (int64_t)call->id;
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

/*
 * Turns until the call has ended. Its own reply is harvested where it lies; what else ends
 * meanwhile is kept for poll.
 */
static void sync_wait(struct llrph_client *client, struct llr_call *call,
		      struct llrph_completion *completion)
{
	struct llr_harvest harvest = {.completions = completion, .count_max = 1};

	client->waiting = call;
	for (;;) { /* ends at the latest with the call's deadline */
		llr_client_turn(client, &harvest);
		if (harvest.count > 0 && !completion->more)
			break;
		harvest.count = 0; /* a part: only the last one is the caller's */
		if (call->state == LLR_CALL_ENDED) {
			*completion = call->completion;
			llr_call_free(client, call);
			break;
		}
		(void)llrph_client_wait(client, LLR_NEVER);
	}
	client->waiting = NULL;
}

/* What llrph_call_sync was given. */
struct sync_wish {
	const void *payload; /* borrows */
	uint64_t deadline_ns;
	uint32_t route;
	uint32_t size;
	unsigned int flags;
};

static int sync_try(struct llrph_client *client, const struct sync_wish *wish, uint64_t now_ns,
		    struct llrph_completion *completion)
{
	struct llr_call *call;
	void *room;
	int error = llrph_call_begin(client, wish->size, &room);

	if (error != 0)
		return error;
	if (wish->size > 0)
		memcpy(room, wish->payload, wish->size);
	call = client->begun;
	call->tag = 0;
	call->route = wish->route;
	call->size = wish->size;
	call->deadline_ns = wish->deadline_ns;
	call->is_idempotent = (wish->flags & LLRPH_REQUEST_IDEMPOTENT) != 0;
	commit_hot(client, call, now_ns);
	sync_wait(client, call, completion);
	return completion->error;
}

/* What passes by itself, and leaves no doubt that the request did not run. */
static bool sync_may_pass(int error)
{
	return error == LLRPH_E_PEER_DEAD || error == LLRPH_E_NO_SESSION ||
	       error == LLRPH_E_WINDOW_FULL || error == LLRPH_E_RING_FULL;
}

/* One parameter more than the house allows: the public header's. NOLINTNEXTLINE(*-function-size) */
int llrph_call_sync(struct llrph_client *client, uint32_t route, const void *payload, uint32_t size,
		    unsigned int flags, uint64_t timeout_ns, struct llrph_completion *completion)
{
	uint64_t now_ns = llr_clock_now(client->clock);
	const struct sync_wish wish = {payload, now_ns + timeout_ns, route, size, flags};
	struct llr_harvest none = {0};
	int error = LLRPH_E_BAD_ARGUMENT;

	completion->error = 0;
	client->is_sync = true;
	if ((payload != NULL || size == 0) && is_sendable(flags, timeout_ns))
		error = sync_try(client, &wish, now_ns, completion);
	while (sync_may_pass(error)) {
		now_ns = llr_clock_now(client->clock);
		if (now_ns >= wish.deadline_ns)
			break; /* the last reason is the one to tell */
		(void)llrph_client_wait(client, wish.deadline_ns - now_ns);
		llr_client_turn(client, &none);
		error = sync_try(client, &wish, llr_clock_now(client->clock), completion);
	}
	client->is_sync = false;
	if (error != 0 && completion->error != error)
		*completion = (struct llrph_completion){.error = error};
	return error;
}
