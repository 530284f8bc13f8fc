/* SPDX-License-Identifier: MIT */
/*
 * Timers: deadlines, retransmission, congestion, and calls that wait for a session.
 *
 * Thread: the client's owner's. Owns nothing. Reads no clock: the turn's is passed in.
 *
 * The timeout follows RFC 6298: srtt and rttvar from requests sent once (Karn), first 50 ms,
 * floor 200 µs, ceiling 1 s; it doubles for the request with each repeat, and for the link until
 * it is measured anew (5.5 to 5.7), so that a path slower than the timeout is learnt at all.
 *
 * Congestion: a timeout halves cwnd, once for all that was sent before the last halving; a window
 * of replies adds one. A leg that timed out no longer flies; it is sent again while fewer than
 * cwnd fly.
 *
 * Nothing is scanned before client->due_ns, the earliest of all timers (or earlier, where a call
 * has ended since: that costs one scan in vain).
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"

uint32_t llr_link_limit(const struct llr_link *link)
{
	uint32_t limit = link->credits < link->window ? link->credits : link->window;

	return link->cwnd < limit ? link->cwnd : limit;
}

void llr_rtt_reset(struct llr_link *link)
{
	link->srtt_ns = 0;
	link->rttvar_ns = 0;
	link->rto_ns = LLR_RTO_FIRST_NS;
}

/* RFC 6298, 2.2 and 2.3: alpha 1/8, beta 1/4, K 4. The clock's granularity is below the floor. */
void llr_rtt_sample(struct llr_link *link, uint64_t rtt_ns)
{
	uint64_t rto_ns;

	rtt_ns = llr_max_u64(llr_min_u64(rtt_ns, LLR_RTO_MAX_NS), 1);
	if (link->srtt_ns == 0) {
		link->srtt_ns = rtt_ns;
		link->rttvar_ns = rtt_ns / 2;
	} else {
		uint64_t error_ns =
			link->srtt_ns > rtt_ns ? link->srtt_ns - rtt_ns : rtt_ns - link->srtt_ns;

		link->rttvar_ns = (3 * link->rttvar_ns + error_ns) / 4;
		link->srtt_ns = llr_max_u64((7 * link->srtt_ns + rtt_ns) / 8, 1);
	}
	rto_ns = link->srtt_ns + 4 * link->rttvar_ns;
	link->rto_ns = llr_max_u64(llr_min_u64(rto_ns, LLR_RTO_MAX_NS), LLR_RTO_MIN_NS);
}

void llr_congestion_reply(struct llr_link *link)
{
	if (link->cwnd >= link->window)
		return;
	if (++link->cwnd_replies < link->cwnd)
		return;
	link->cwnd_replies = 0;
	link->cwnd++;
}

static void congestion_timeout(struct llr_link *link, const struct llr_leg *leg, uint64_t now_ns)
{
	if (leg->sent_ns < link->cut_ns)
		return;
	link->cut_ns = now_ns;
	link->cwnd_replies = 0;
	link->cwnd = link->cwnd > 1 ? link->cwnd / 2 : 1;
}

static void leg_step(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		     uint64_t now_ns)
{
	struct llr_link *link = leg->link;

	if (link == NULL || link->state != LLR_LINK_OPEN || now_ns < leg->due_ns)
		return;
	if (leg->copies > 0 && !leg->is_sending && !leg->is_lost) {
		leg->rto_ns = llr_min_u64(2 * leg->rto_ns, LLR_RTO_MAX_NS);
		link->rto_ns = llr_max_u64(link->rto_ns, leg->rto_ns);
		congestion_timeout(link, leg, now_ns);
		llr_leg_ground(leg, now_ns);
	}
	if (leg->is_lost) {
		if (link->flying >= link->cwnd) {
			client->scan_start = call->index; /* the first to go next time */
			return;
		}
		leg->is_lost = false;
		link->flying++;
	}
	llr_leg_send(client, call, leg, now_ns);
}

static bool is_waiting(const struct llr_call *call)
{
	return call->legs[0].link == NULL && call->legs[1].link == NULL;
}

/* A call without a leg, once there is a session. */
static void waiting_step(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	struct llr_link *link = client->primary;

	if (link->state != LLR_LINK_OPEN)
		return;
	if (call->index >= link->window || call->size > link->max_message) {
		/* The new session is smaller than the one before it. */
		llr_call_end(client, call,
			     call->may_have_run ? LLRPH_E_MAYBE_RAN : LLRPH_E_PEER_DEAD);
		return;
	}
	if (link->outstanding >= llr_link_limit(link))
		return;
	llr_leg_start(client, call, &call->legs[0], link, now_ns);
	llr_leg_send(client, call, &call->legs[0], now_ns);
}

/* Nobody waits any longer. What certainly never left is told apart, if there is no session. */
static void expire(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	bool never_left =
		!call->may_have_run && is_waiting(call) && client->primary->state != LLR_LINK_OPEN;

	llr_call_cancel_legs(client, call, now_ns);
	llr_call_end(client, call, never_left ? LLRPH_E_PEER_DEAD : LLRPH_E_DEADLINE);
}

static void call_step(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	if (now_ns >= call->deadline_ns) {
		expire(client, call, now_ns);
		return;
	}
	if (is_waiting(call)) {
		waiting_step(client, call, now_ns);
		return;
	}
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++)
		leg_step(client, call, &call->legs[i], now_ns);
	if (now_ns >= call->hedge_ns)
		llr_hedge_start(client, call, now_ns);
}

/* A leg whose session is being opened, or that waits for the window, is woken by what comes. */
static uint64_t leg_due(const struct llr_leg *leg)
{
	const struct llr_link *link = leg->link;

	if (link == NULL || link->state != LLR_LINK_OPEN)
		return LLR_NEVER;
	if (leg->is_lost && link->flying >= link->cwnd)
		return LLR_NEVER;
	return leg->due_ns;
}

static uint64_t call_due(const struct llrph_client *client, const struct llr_call *call,
			 uint64_t now_ns)
{
	uint64_t due_ns = llr_min_u64(call->deadline_ns, call->hedge_ns);

	if (is_waiting(call) && client->primary->state == LLR_LINK_OPEN)
		return llr_min_u64(due_ns, now_ns + LLR_RTO_MIN_NS);
	due_ns = llr_min_u64(due_ns, leg_due(&call->legs[0]));
	return llr_min_u64(due_ns, leg_due(&call->legs[1]));
}

void llr_timers_run(struct llrph_client *client, uint64_t now_ns)
{
	uint32_t start = client->scan_start;
	uint64_t due_ns = LLR_NEVER;

	client->due_ns = LLR_NEVER;
	for (unsigned int i = 0; i < client->setup.endpoint_count; i++)
		due_ns = llr_min_u64(due_ns, llr_link_step(client, &client->links[i], now_ns));
	/* Steps first, then times: a step of one call may make way for another. */
	for (uint32_t i = 0; i < client->window; i++) {
		struct llr_call *call = &client->calls[(start + i) & (client->window - 1)];

		if (call->state == LLR_CALL_OUT)
			call_step(client, call, now_ns);
	}
	for (uint32_t i = 0; i < client->window; i++) {
		const struct llr_call *call = &client->calls[i];

		if (call->state == LLR_CALL_OUT)
			due_ns = llr_min_u64(due_ns, call_due(client, call, now_ns));
	}
	llr_client_wants(client, due_ns);
}
