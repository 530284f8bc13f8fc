/* SPDX-License-Identifier: MIT */
/*
 * What a client hears: bursts of spans, the frames in them, and replies that end calls.
 *
 * Thread: the client's owner's. Owns nothing: spans are the transport's, borrowed from one poll to
 * the next, for completions point into them.
 *
 * A reply is taken if a leg of an outstanding call has its link, sequence and route. All else is
 * dropped and counted: late, repeated and foreign replies, and frames that make no sense. Where a
 * reply finds no room with the caller, the burst is held as it is and the next poll goes on there.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"

#define BURSTS_MAX 16U /* in one turn: timers and the caller must come to their right */

void llr_link_release(struct llr_link *link)
{
	if (link->span_count == 0 || link->span_index < link->span_count)
		return;
	link->transport->ops->rx_release(link->transport, link->spans, link->span_count);
	link->span_count = 0;
	link->span_index = 0;
	link->span_offset = 0;
	link->burst_is_lent = false;
}

/* The leg that a reply answers; NULL: none. */
static struct llr_leg *leg_find(struct llrph_client *client, const struct llr_link *link,
				const struct llr_frame *frame, struct llr_call **found)
{
	struct llr_call *call;

	if (link->window == 0)
		return NULL;
	call = &client->calls[frame->sequence & (link->window - 1)];
	if (call->state != LLR_CALL_OUT || call->route != frame->route)
		return NULL;
	*found = call;
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++) {
		struct llr_leg *leg = &call->legs[i];

		if (leg->link == link && leg->sequence == frame->sequence)
			return leg->has_left ? leg : NULL;
	}
	return NULL;
}

static bool has_room(const struct llrph_client *client, const struct llr_harvest *harvest,
		     const struct llr_call *call, bool more)
{
	if (client->is_sync && call != client->waiting)
		return !more; /* one reply can be kept for a call */
	return harvest->count < harvest->count_max;
}

static void complete(struct llrph_client *client, struct llr_harvest *harvest,
		     struct llr_call *call, const struct llrph_completion *completion)
{
	if (client->is_sync && call != client->waiting) {
		llr_call_keep(client, call, completion);
		return;
	}
	LLR_ASSERT_HOT(harvest->count < harvest->count_max);
	harvest->completions[harvest->count++] = *completion;
	if (completion->more)
		return;
	LLR_ASSERT_HOT(client->outstanding > 0);
	client->outstanding--;
	llr_call_free(client, call);
}

static void measure(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		    uint64_t received_ns, uint64_t now_ns)
{
	struct llr_link *link = leg->link;

	if (link->is_datagram) {
		/* Karn: which of several copies is answered, nobody knows. */
		if (leg->copies == 1 && !leg->is_sending && received_ns >= leg->sent_ns)
			llr_rtt_sample(link, received_ns - leg->sent_ns);
		llr_congestion_reply(link);
	}
	if (client->setup.options.hedge_p95 != 0)
		llr_hedge_record(client, now_ns - call->commit_ns);
	link->is_stale = false;
	if (link->flying < link->outstanding)
		llr_client_wants(client, now_ns); /* a lost leg may go now */
}

static void take_reply(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		       struct llr_frame *frame, struct llr_harvest *harvest, uint64_t now_ns)
{
	struct llrph_completion completion = {
		.tag = call->tag,
		.payload = frame->payload,
		.size = frame->payload_size,
		.status = frame->status,
		.more = (frame->flags & LLR_FLAG_MORE) != 0,
		.attempts = call->attempts,
		.service_ns = frame->service_ns,
		.queue_ns = frame->queue_ns,
		.latency_ns = now_ns - call->commit_ns,
	};

	if (!completion.more) {
		llr_leg_stop(leg);
		if (call->legs[0].link != NULL || call->legs[1].link != NULL)
			llr_call_cancel_legs(client, call, now_ns);
	}
	complete(client, harvest, call, &completion);
}

/* False: the caller has no room for it; it is not taken yet. */
static bool hear_reply(struct llrph_client *client, struct llr_link *link, struct llr_frame *frame,
		       const struct llr_span *span, struct llr_harvest *harvest, uint64_t now_ns)
{
	bool more = (frame->flags & LLR_FLAG_MORE) != 0;
	bool ext_broken = false;
	struct llr_call *call = NULL;
	struct llr_leg *leg = leg_find(client, link, frame, &call);

	if (leg == NULL || llr_frame_split(frame, false, &ext_broken) != LLR_FRAME_OK ||
	    ext_broken || frame->payload_size > client->setup.options.max_message) {
		client->rejected++;
		return true;
	}
	if (frame->status == LLRPH_STATUS_NO_SESSION) {
		llr_reply_refused(client, link, leg, now_ns);
		return true;
	}
	if (!has_room(client, harvest, call, more))
		return false;
	if (frame->credits > 0)
		link->credits = frame->credits;
	if ((frame->flags & LLR_FLAG_FRAGMENT) != 0) {
		if (!llr_reply_part(client, call, leg, frame, now_ns))
			return true;
	} else {
		llr_reply_align(frame);
		link->burst_is_lent = true;
	}
	if (llr_reply_is_put_off(client, call, leg, frame, now_ns))
		return true;
	if (!more)
		measure(client, call, leg, span->received_ns, now_ns);
	take_reply(client, call, leg, frame, harvest, now_ns);
	return true;
}

static bool hear(struct llrph_client *client, struct llr_link *link, struct llr_frame *frame,
		 const struct llr_span *span, struct llr_harvest *harvest, uint64_t now_ns)
{
	link->asked_ns = 0;
	link->probes = 0;
	client->busy_ns = now_ns;
	if (frame->type == LLR_REPLY)
		return hear_reply(client, link, frame, span, harvest, now_ns);
	if (frame->type == LLR_WELCOME)
		llr_link_welcome(client, link, frame, now_ns);
	else if (frame->type == LLR_BYE && !link->is_datagram)
		llr_link_lose(client, link, LLRPH_E_PEER_DEAD, now_ns);
	else if (frame->type != LLR_ACK)
		client->rejected++;
	return true;
}

/*
 * The zeros before the next frame: after a frame, and where the padding of the last one came late.
 * False: they are none.
 */
static bool skip_padding(struct llr_link *link, const struct llr_span *span)
{
	uint32_t padding = (uint32_t)(-(uintptr_t)(span->bytes + link->span_offset)) & 15U;
	uint32_t left = span->size - link->span_offset;
	uint32_t size = padding < left ? padding : left;
	bool right = llr_all_zero(span->bytes + link->span_offset, size);

	/* In a datagram nothing stands behind the last frame. */
	if (link->is_datagram && size > 0 && size == left)
		right = false;
	link->span_offset += size;
	return right;
}

enum span_verdict { SPAN_DONE, SPAN_HELD, SPAN_BROKEN };

static enum span_verdict take_span(struct llrph_client *client, struct llr_link *link,
				   struct llr_span *span, struct llr_harvest *harvest,
				   uint64_t now_ns)
{
	while (skip_padding(link, span)) {
		uint32_t left = span->size - link->span_offset;
		enum llr_frame_verdict verdict;
		struct llr_frame frame;

		span->consumed = link->span_offset;
		if (left == 0)
			return SPAN_DONE;
		verdict = llr_frame_decode(span->bytes + link->span_offset, left, link->place,
					   &frame);
		if (verdict == LLR_FRAME_PARTIAL) {
			span->wanted = frame.frame_size;
			return SPAN_DONE;
		}
		if (verdict != LLR_FRAME_OK)
			return SPAN_BROKEN;
		if (!hear(client, link, &frame, span, harvest, now_ns))
			return SPAN_HELD;
		link->span_offset += frame.frame_size;
	}
	return SPAN_BROKEN;
}

static bool is_foreign(const struct llr_link *link, const struct llr_span *span)
{
	return link->is_datagram &&
	       memcmp(&span->peer->address, &link->peer->address, sizeof(link->peer->address)) != 0;
}

/* False: the burst is held, for a reply found no room. */
static bool take_burst(struct llrph_client *client, struct llr_link *link,
		       struct llr_harvest *harvest, uint64_t now_ns)
{
	while (link->span_index < link->span_count) {
		struct llr_span *span = &link->spans[link->span_index];
		enum span_verdict verdict = SPAN_DONE;

		if ((span->flags & LLR_SPAN_CLOSED) != 0)
			llr_link_lose(client, link, LLRPH_E_PEER_DEAD, now_ns);
		else if (link->state == LLR_LINK_LOST)
			span->consumed = span->size;
		else if (is_foreign(link, span))
			client->rejected++;
		else
			verdict = take_span(client, link, span, harvest, now_ns);
		if (verdict == SPAN_HELD)
			return false;
		if (verdict == SPAN_BROKEN) {
			client->rejected++;
			span->consumed = span->size;
			if (!link->is_datagram)
				llr_link_lose(client, link, LLRPH_E_BAD_PEER, now_ns);
		}
		link->span_index++;
		link->span_offset = 0;
	}
	return true;
}

void llr_link_receive(struct llrph_client *client, struct llr_link *link,
		      struct llr_harvest *harvest, uint64_t now_ns)
{
	for (unsigned int i = 0; i < BURSTS_MAX; i++) {
		if (link->state != LLR_LINK_OPEN && link->state != LLR_LINK_HELLO)
			return;
		if (link->span_index == link->span_count) {
			if (link->burst_is_lent)
				return; /* the caller looks into it until the next poll */
			llr_link_release(link);
			link->span_count = link->transport->ops->rx_burst(
				link->transport, now_ns, link->spans, LLR_BURST_MAX);
			if (link->span_count == 0)
				return;
			/* A system call took its time: latencies count to now. */
			if ((link->place & LLR_PLACE_NO_CRC) == 0)
				now_ns = llr_clock_now(client->clock);
		}
		if (!take_burst(client, link, harvest, now_ns))
			return;
	}
}
