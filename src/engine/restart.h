/* SPDX-License-Identifier: MIT */
/*
 * How soon a worker that died is replaced: at once, unless it keeps dying. Pure.
 */
#ifndef LLR_ENGINE_RESTART_H
#define LLR_ENGINE_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define LLR_RESTART_DEATHS    5U          /* more than so many ... */
#define LLR_RESTART_WITHIN_NS 1000000000U /* ... within this long: it keeps dying */
#define LLR_RESTART_PAUSE_NS  1000000000U /* then its successors wait so long */

/* Of one worker; zeroed is valid. */
struct llr_restart {
	uint64_t deaths_ns[LLR_RESTART_DEATHS]; /* when the last ones were: a ring */
	unsigned int count;                     /* of all deaths */
	bool paused; /* successors wait, until one lives longer than LLR_RESTART_WITHIN_NS */
};

/* Notes a death and says how long to wait. paused changes where something is to be told. */
uint64_t llr_restart_delay(struct llr_restart *restart, uint64_t born_ns, uint64_t now_ns);

#endif
