/* SPDX-License-Identifier: MIT */
/*
 * The client's turn, in order: give back what the caller borrowed, send what is committed, receive,
 * run the timers that are due, send what came of it.
 *
 * Thread: the owner's. Owns: nothing.
 */
#include "client/state.h"

#include "base/assert.h"

/* Before anything is looked at: what the caller borrowed is over, what is committed leaves. */
static void link_begin(struct llrph_client *client, struct llr_link *link)
{
	if (link->span_count > 0)
		llr_link_release(link);
	if (link->must_flush || link->is_blocked)
		llr_link_flush(link);
	if (link->state == LLR_LINK_LOST)
		llr_link_bury(client, link);
}

/* An idle turn is what a reply waits for while its caller spins: nothing is called in vain. */
void llr_client_turn(struct llrph_client *client, struct llr_harvest *harvest)
{
	unsigned int count = client->setup.endpoint_count;
	uint64_t now_ns;

	if (client->is_armed)
		llr_client_disarm(client);
	if (client->lent != NULL)
		llr_calls_return_lent(client);
	for (unsigned int i = 0; i < count; i++)
		link_begin(client, &client->links[i]);
	if (client->ended_head != NULL && !client->is_sync)
		llr_calls_deliver(client, harvest);
	now_ns = llr_clock_now(client->clock);
	client->turn_ns = now_ns;
	for (unsigned int i = 0; i < count; i++)
		llr_link_receive(client, &client->links[i], harvest, now_ns);
	if (now_ns >= client->due_ns)
		llr_timers_run(client, now_ns);
	if (client->ended_head != NULL && !client->is_sync)
		llr_calls_deliver(client, harvest);
	for (unsigned int i = 0; i < count; i++)
		if (client->links[i].must_flush)
			llr_link_flush(&client->links[i]);
}

unsigned int llrph_client_poll(struct llrph_client *client, struct llrph_completion *completions,
			       unsigned int count_max)
{
	struct llr_harvest harvest = {.completions = completions, .count_max = count_max};

	LLR_ASSERT(completions != NULL || count_max == 0);
	llr_client_turn(client, &harvest);
	return harvest.count;
}
