/* SPDX-License-Identifier: MIT */
/*
 * What a slot decides about a request: new, repeated, running, too old; and what it remembers. See
 * session.h. Pure; the worker's thread; owns nothing.
 *
 * Invariants: a slot's sequence never goes back, so nothing that was answered runs again under the
 * same sequence but what is idempotent. While any word of a slot changes, its state is RUNNING: so
 * whatever instant its worker dies at, a successor never takes one sequence's state or reply for
 * another's; at worst it answers 500 for what is about to run, or was answered long before.
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "request/session.h"

/* The worker may die in the very next instruction: what a successor reads is stored by now. */
static inline void stored(void)
{
	__asm__ __volatile__("" ::: "memory");
}

/* Streams keep, for each slot, the least sequence that it still takes. */
static uint64_t *floor_of(const struct llr_session *session, uint64_t sequence)
{
	return &session->floors[sequence & (session->window - 1)];
}

static enum llr_slot_verdict judge_repeat(const struct llr_session *session,
					  const struct llr_slot *slot, bool idempotent)
{
	if (slot->state == LLR_SLOT_OPEN)
		return LLR_RUN;
	if (slot->state == LLR_SLOT_RUNNING)
		return LLR_IN_PROGRESS;
	if (session->datagram == NULL)
		return LLR_STALE; /* connected transports lose nothing: nothing is remembered */
	if ((slot->flags & LLR_SLOT_KEPT) != 0 &&
	    llr_replies_find(&session->datagram->replies, session->datagram->replies_bytes,
			     slot->reply_at, slot->reply_size) != NULL)
		return LLR_REMEMBERED;
	if ((slot->flags & (LLR_SLOT_KEPT | LLR_SLOT_IDEMPOTENT)) == LLR_SLOT_IDEMPOTENT &&
	    idempotent)
		return LLR_RERUN;
	return LLR_FORGOTTEN;
}

enum llr_slot_verdict llr_slot_judge(const struct llr_session *session, uint64_t sequence,
				     bool idempotent)
{
	const struct llr_slot *slot;

	if (session->floors != NULL)
		return sequence >= *floor_of(session, sequence) ? LLR_RUN : LLR_STALE;
	slot = llr_session_slot(session, sequence);
	if (slot->state == LLR_SLOT_EMPTY || sequence > slot->sequence)
		return LLR_RUN;
	if (sequence < slot->sequence)
		return LLR_STALE;
	return judge_repeat(session, slot, idempotent);
}

void llr_slot_begin(const struct llr_session *session, uint64_t sequence, uint32_t route,
		    unsigned int flags)
{
	struct llr_slot *slot;

	if (session->floors != NULL) {
		*floor_of(session, sequence) = sequence == UINT64_MAX ? sequence : sequence + 1;
		return;
	}
	slot = llr_session_slot(session, sequence);
	LLR_ASSERT_HOT(slot->state == LLR_SLOT_EMPTY || sequence >= slot->sequence);
	slot->state = LLR_SLOT_RUNNING;
	stored();
	slot->sequence = sequence;
	slot->route = route;
	slot->flags = (uint8_t)flags;
	stored();
}

void llr_slot_reopen(const struct llr_session *session, uint64_t sequence)
{
	llr_slot_begin(session, sequence, 0, 0);
	if (session->floors != NULL)
		*floor_of(session, sequence) = sequence;
	else
		llr_session_slot(session, sequence)->state = LLR_SLOT_OPEN;
}

void llr_slot_settle(const struct llr_session *session, uint64_t sequence,
		     const struct llr_slot_answer *answer)
{
	struct llr_slot *slot;

	if (session->floors != NULL)
		return;
	slot = llr_session_slot(session, sequence);
	LLR_ASSERT_HOT(slot->sequence == sequence);
	/* It may be DONE: an answer that found no room comes again. */
	slot->state = LLR_SLOT_RUNNING;
	stored();
	slot->status = answer->status;
	slot->service_ns = answer->service_ns;
	slot->queue_ns = answer->queue_ns;
	slot->reply_size = answer->size;
	if (answer->keep) {
		LLR_ASSERT(session->datagram != NULL);
		slot->flags |= LLR_SLOT_KEPT;
		/* Too large for the budget: a place that is never there says "forgotten". */
		if (!llr_replies_keep(&session->datagram->replies, session->datagram->replies_bytes,
				      answer->payload, answer->size, &slot->reply_at))
			slot->reply_at = UINT64_MAX;
	}
	stored();
	slot->state = LLR_SLOT_DONE;
}
