/* SPDX-License-Identifier: MIT */
/*
 * A request's frame on its way out. What is sent again, in parts or without a payload is in
 * resend.c.
 *
 * Thread: the client's owner's. Owns nothing: rooms are the transport's, payloads the calls'.
 *
 * A request on a datagram transport, and any that is idempotent, has its payload in its call's
 * buffer, so that it can be sent again. On connected transports the others are built in the
 * transport's own room by begin and commit (call.c) and leave from there.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

/* Something left: the peer is expected to be heard. */
void llr_link_said(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	if (now_ns - link->said_ns >= LLR_SESSION_IDLE_NS)
		link->is_stale = true;
	link->said_ns = now_ns;
	link->must_flush = true;
	if (link->asked_ns == 0 && link->silence_ns != LLR_NEVER) {
		link->asked_ns = now_ns;
		llr_client_wants(client, now_ns + link->silence_ns / LLR_PROBES);
	}
}

uint64_t llr_client_timestamp(const struct llrph_client *client, uint64_t now_ns)
{
	return client->setup.wall_ns + now_ns;
}

/* Microseconds until the deadline, rounded up: 0 would mean no limit. */
uint32_t llr_call_budget_us(const struct llr_call *call, uint64_t now_ns)
{
	uint64_t left_ns = call->deadline_ns > now_ns ? call->deadline_ns - now_ns : 0;

	return (uint32_t)llr_max_u64(llr_min_u64((left_ns + 999U) / 1000U, UINT32_MAX), 1);
}

uint16_t llr_leg_flags(const struct llr_call *call, const struct llr_leg *leg)
{
	unsigned int flags = leg->link->frame_flags;

	if (call->is_idempotent)
		flags |= LLR_FLAG_IDEMPOTENT;
	if (leg->copies > 1)
		flags |= LLR_FLAG_RETRY;
	return (uint16_t)flags;
}

void llr_leg_encode(struct llrph_client *client, const struct llr_call *call,
		    const struct llr_leg *leg, uint8_t *frame, uint64_t now_ns)
{
	struct llr_header header = {
		.sequence = leg->sequence,
		.timestamp = llr_client_timestamp(client, now_ns),
		.length = LLR_ROUTE_SIZE + call->size,
		.flags = llr_leg_flags(call, leg),
		.type = LLR_REQUEST,
	};

	llr_request_route_encode(frame, call->route, llr_call_budget_us(call, now_ns),
				 leg->link->session);
	llr_header_encode(frame, &header);
}

/* Something of the leg is on its way. */
void llr_leg_note_left(struct llrph_client *client, struct llr_leg *leg, uint64_t now_ns)
{
	llr_link_said(client, leg->link, now_ns);
	client->busy_ns = now_ns;
	if (leg->has_left)
		return;
	leg->has_left = true;
	leg->first_ns = now_ns;
	leg->was_stale = leg->link->is_stale;
}

void llr_leg_sent(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		  uint64_t now_ns)
{
	struct llr_link *link = leg->link;

	LLR_ASSERT_HOT(leg->copies > 0);
	LLR_ASSERT_HOT(call->attempts >= leg->copies);
	llr_leg_note_left(client, leg, now_ns);
	leg->sent_ns = now_ns;
	leg->is_sending = false;
	leg->due_ns = LLR_NEVER;
	if (link->is_datagram) {
		leg->due_ns = now_ns + leg->rto_ns;
		llr_client_wants(client, leg->due_ns);
	}
}

void llr_leg_start(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		   struct llr_link *link, uint64_t now_ns)
{
	uint64_t *sequence = &link->slot_sequences[call->index];

	LLR_ASSERT_HOT(leg->link == NULL);
	LLR_ASSERT_HOT(link->state == LLR_LINK_OPEN);
	LLR_ASSERT_HOT(call->index < link->window);
	*sequence += link->window;
	if (*sequence > client->sequence_max)
		client->sequence_max = *sequence;
	*leg = (struct llr_leg){
		.link = link,
		.sequence = *sequence,
		.due_ns = now_ns,
		.rto_ns = link->rto_ns,
	};
	link->outstanding++;
	link->flying++;
}

void llr_leg_stop(struct llr_leg *leg)
{
	struct llr_link *link = leg->link;

	LLR_ASSERT_HOT(link != NULL);
	LLR_ASSERT_HOT(link->outstanding > 0);
	link->outstanding--;
	if (!leg->is_lost) {
		LLR_ASSERT_HOT(link->flying > 0);
		link->flying--;
	}
	leg->link = NULL;
}

void llr_link_flush(struct llr_link *link)
{
	if (!link->must_flush && !link->is_blocked)
		return;
	if (link->transport == NULL || link->state == LLR_LINK_LOST)
		return;
	link->transport->ops->tx_flush(link->transport);
	link->must_flush = false;
	link->is_blocked = false;
}
