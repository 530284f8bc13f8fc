/* SPDX-License-Identifier: MIT */
/*
 * One request, one reply: a call whose owner waits for it.
 *
 * Thread: the client's owner's. Owns: nothing.
 */
#include "client/state.h"

#include "base/assert.h"

#include <string.h>

/* What llrph_call_sync was given. */
struct sync_wish {
	const void *payload; /* borrows */
	uint64_t deadline_ns;
	uint32_t route;
	uint32_t size;
	unsigned int flags;
};

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
	llr_call_commit_hot(client, call, now_ns);
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
	if ((payload != NULL || size == 0) && llr_call_is_sendable(flags, timeout_ns))
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
