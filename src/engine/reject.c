/* SPDX-License-Identifier: MIT */
/*
 * Rejected frames: counted by reason; the datagram or connection ends there.
 *
 * Thread: the worker's. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"

/* The counter of a rejection. */
static void count_reject(struct llr_counters *counters, enum llr_frame_verdict verdict)
{
	switch (verdict) {
	case LLR_FRAME_BAD_MAGIC:
		counters->reject_magic++;
		break;
	case LLR_FRAME_BAD_VERSION:
		counters->reject_version++;
		break;
	case LLR_FRAME_BAD_LENGTH:
		counters->reject_length++;
		break;
	case LLR_FRAME_BAD_CRC:
		counters->reject_crc++;
		break;
	case LLR_FRAME_BAD_FLAGS:
		counters->reject_flags++;
		break;
	case LLR_FRAME_BAD_ROUTE:
		counters->reject_route++;
		break;
	case LLR_FRAME_BAD_FRAGMENT:
		counters->reject_fragment++;
		break;
	case LLR_FRAME_BAD_PADDING:
		counters->reject_padding++;
		break;
	case LLR_FRAME_OK:
	case LLR_FRAME_PARTIAL:
	default:
		LLR_ASSERT(verdict != verdict);
	}
}

/* A rejected frame ends its datagram or connection; what came before it counts. */
bool llr_llrp_reject(struct llr_request *request, struct llr_span *span,
		     enum llr_frame_verdict verdict)
{
	struct llr_listener *listener = request->listener;
	struct llr_stream_state *state = llr_stream_of(listener, span->peer);

	count_reject(request->engine->counters, verdict);
	span->consumed = span->size;
	if (state != NULL)
		state->dead = 1;
	if (listener->transport->ops->drop != NULL)
		listener->transport->ops->drop(listener->transport, span->peer);
	return false;
}
