/* SPDX-License-Identifier: MIT */
/*
 * Replies that are more than a payload to hand on: refusals, parts, and payloads to be aligned.
 *
 * Thread: the client's owner's. Owns: nothing.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

/* 401: it is settled when there is a new session; see session.c. */
void llr_reply_refused(struct llrph_client *client, struct llr_link *link, struct llr_leg *leg,
		       uint64_t now_ns)
{
	if (leg->refused_ns == 0)
		leg->refused_ns = now_ns;
	if (link->state == LLR_LINK_OPEN)
		llr_link_reopen(client, link, now_ns);
}

/*
 * 429 and 503 settle nothing, so that a second copy may still run. True if they are not for the
 * caller: the other leg may do better; or a copy of a request that must not run twice may still be
 * under way, and then only the same sequence, tried again, is safe.
 */
bool llr_reply_is_put_off(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
			  const struct llr_frame *frame, uint64_t now_ns)
{
	if (frame->status != LLRPH_STATUS_REFUSED && frame->status != LLRPH_STATUS_UNAVAILABLE)
		return false;
	if (call->legs[0].link != NULL && call->legs[1].link != NULL) {
		llr_leg_stop(leg);
		return true;
	}
	if (!leg->link->is_datagram || call->is_idempotent || leg->copies == 1)
		return false;
	if (!leg->is_lost)
		llr_leg_ground(leg, 0);
	leg->is_sending = false;
	leg->due_ns = now_ns + llr_max_u64((uint64_t)frame->queue_ns * 1000U, leg->rto_ns);
	llr_client_wants(client, leg->due_ns);
	return true;
}

/*
 * A part of a reply: true if the reply is whole, frame then holds all of it. While parts come the
 * request is not repeated.
 */
bool llr_reply_part(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		    struct llr_frame *frame, uint64_t now_ns)
{
	struct llr_link *link = leg->link;
	uint32_t capacity = client->setup.options.max_message;
	size_t stride = llr_client_parts_size(client);
	struct llr_reassembly *reassembly = &link->reassemblies[call->index];
	uint8_t *buffer = link->reassembly_memory + call->index * stride;
	uint32_t total = frame->fragment.total;

	(void)llr_reassembly_expire(reassembly, now_ns);
	switch (llr_reassembly_add(reassembly, buffer, capacity, buffer + client->buffer_size,
				   frame, now_ns)) {
	case LLR_PART_TAKEN:
		leg->is_answered = true;
		leg->due_ns = llr_max_u64(leg->due_ns, now_ns + leg->rto_ns);
		return false;
	case LLR_PART_COMPLETE:
		llr_reassembly_reset(reassembly);
		frame->payload = buffer;
		frame->payload_size = total;
		return true;
	case LLR_PART_REPEATED:
		return false;
	case LLR_PART_BAD_CRC:
	case LLR_PART_OFF_GRID:
	case LLR_PART_TOO_LARGE:
		break;
	}
	client->rejected++;
	return false;
}

/* The payload of a whole reply, where completions want it: aligned to 16. */
void llr_reply_align(struct llr_frame *frame)
{
	uint8_t *aligned = frame->payload - ((uintptr_t)frame->payload & (LLR_ALIGN - 1));

	if (aligned == frame->payload)
		return;
	memmove(aligned, frame->payload, frame->payload_size);
	frame->payload = aligned;
}
