/* SPDX-License-Identifier: MIT */
/*
 * What a seed wants: sizes of server and callers, every request, the weather, and a script of what
 * goes wrong when. All of it follows from the seed and is fixed before the run begins.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "network.h"
#include "request.h"

#include <llrph/client.h>
#include <llrph/engine.h>

#define SIM_CALLER_COUNT_MAX  6U
#define SIM_REQUEST_COUNT_MAX 512U /* of one caller, probes included */
#define SIM_STEP_COUNT_MAX    48U
#define SIM_START_NS          UINT64_C(1000000000) /* 0 is nobody's time */

/* How rough a seed is; each level adds to the one before. */
enum sim_level {
	SIM_CALM,    /* nothing goes wrong */
	SIM_LOSSY,   /* the network is bad, for all of the time */
	SIM_CRASHY,  /* workers die and are replaced */
	SIM_HOSTILE, /* partitions, whole restarts, drains, cut connections, callers that stall */
	SIM_LEVEL_COUNT
};

enum sim_action {
	SIM_DO_CRASH,     /* the worker dies after `amount` steps */
	SIM_DO_RESTART,   /* the server goes away and loses its sessions; comes back later */
	SIM_DO_DRAIN,     /* it stops in good order, then as RESTART */
	SIM_DO_PARTITION, /* of one caller's node, for amount ns */
	SIM_DO_BLACKOUT,  /* of the server, for amount ns */
	SIM_DO_STALL,     /* one caller is not scheduled for amount ns */
	SIM_DO_SLOW,      /* the worker is not scheduled for amount ns */
	SIM_DO_REBIND,    /* one caller's address changes under way, as a NAT does */
	SIM_DO_CUT,       /* one caller's connection is reset */
	SIM_ACTION_COUNT
};

struct sim_step {
	uint64_t at_ns;
	uint64_t amount;
	enum sim_action action;
	unsigned int caller;
};

struct sim_caller_plan {
	struct llrph_client_options options;
	uint32_t concurrency; /* requests outstanding at most; window permitting */
	uint32_t request_count;
	uint64_t close_ns; /* after its last request: closes, or is silent (0) */
	bool is_stream;    /* connected; else datagrams */
	bool has_both;     /* two endpoints: first the one, then the other */
	struct sim_request requests[SIM_REQUEST_COUNT_MAX];
};

struct sim_plan {
	uint64_t seed;
	enum sim_level level;
	struct sim_weather weather;
	struct llrph_engine_options engine;
	bool is_roomy;       /* session memory for all that is asked for: 503 is no excuse */
	uint64_t horizon_ns; /* requests begin and things go wrong before this time */
	uint32_t worker_delay_ns_max; /* between arrival and turn */
	unsigned int caller_count;
	struct sim_caller_plan callers[SIM_CALLER_COUNT_MAX];
	unsigned int step_count;
	struct sim_step steps[SIM_STEP_COUNT_MAX]; /* by time */
};

/* Never 0; the caller's index and the request's place in it. */
static inline uint32_t sim_plan_id(unsigned int caller, uint32_t request)
{
	return (caller + 1) << 16 | request;
}

void sim_plan_make(struct sim_plan *plan, uint64_t seed);
/* One line for people. */
void sim_plan_describe(const struct sim_plan *plan, char *text, size_t size);

#endif
