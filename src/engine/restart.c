/* SPDX-License-Identifier: MIT */
/*
 * The brake on a worker that keeps dying. A successor is cheap (a fork), so the first deaths cost
 * nobody anything; but one that dies on its first turn would fork hundreds of times a second.
 *
 * Thread: the supervisor's. Owns nothing.
 */
#include "engine/restart.h"

#include "base/assert.h"

uint64_t llr_restart_delay(struct llr_restart *restart, uint64_t born_ns, uint64_t now_ns)
{
	uint64_t *oldest = &restart->deaths_ns[restart->count % LLR_RESTART_DEATHS];
	bool full = restart->count >= LLR_RESTART_DEATHS;

	LLR_ASSERT(born_ns <= now_ns);
	if (restart->paused)
		restart->paused = now_ns - born_ns <= LLR_RESTART_WITHIN_NS;
	else
		restart->paused = full && now_ns - *oldest <= LLR_RESTART_WITHIN_NS;
	*oldest = now_ns;
	restart->count++;
	return restart->paused ? LLR_RESTART_PAUSE_NS : 0;
}
