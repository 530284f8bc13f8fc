/* SPDX-License-Identifier: MIT */
/*
 * Hedging: a second leg of an idempotent call on another endpoint's link, after a delay given or
 * after the 95th percentile of the latencies seen. The first answer ends the call; the other leg is
 * cancelled where the answer is taken (receive.c).
 *
 * Thread: the client's owner's. Owns nothing.
 */
#include "client/state.h"

#include "base/assert.h"

uint64_t llr_hedge_time(const struct llrph_client *client, const struct llr_call *call,
			uint64_t now_ns)
{
	const struct llrph_client_options *options = &client->setup.options;
	uint64_t delay_ns = options->hedge_p95 != 0 ? client->p95_ns : options->hedge_ns;

	if (client->hedge == NULL || !call->is_idempotent || delay_ns == 0)
		return LLR_NEVER;
	return delay_ns < LLR_NEVER - now_ns ? now_ns + delay_ns : LLR_NEVER;
}

void llr_hedge_start(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	struct llr_link *link = client->hedge;

	LLR_ASSERT(link != NULL);
	LLR_ASSERT(call->is_idempotent);
	call->hedge_ns = LLR_NEVER; /* once a call, whether it works or not */
	if (link->state != LLR_LINK_OPEN || call->index >= link->window ||
	    call->size > link->max_message || link->outstanding >= llr_link_limit(link))
		return;
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++) {
		if (call->legs[i].link == link)
			return; /* the links have changed their roles since the call was sent */
	}
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++) {
		if (call->legs[i].link != NULL)
			continue;
		client->hedges++;
		llr_leg_start(client, call, &call->legs[i], link, now_ns);
		llr_leg_send(client, call, &call->legs[i], now_ns);
		return;
	}
}

void llr_hedge_record(struct llrph_client *client, uint64_t latency_ns)
{
	llr_histogram_record(client->latencies, LLR_P95_BITS, latency_ns);
	client->p95_samples++;
	if (client->p95_samples % LLR_P95_SAMPLES_MIN == 0)
		client->p95_ns = llr_histogram_percentile(client->latencies, LLR_P95_BITS, 95.0);
	if (client->p95_samples < LLR_P95_SAMPLES_MAX)
		return;
	client->p95_samples /= 2;
	for (size_t i = 0; i < LLR_HISTOGRAM_COUNT(LLR_P95_BITS); i++)
		client->latencies[i] /= 2;
}
