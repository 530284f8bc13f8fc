/* SPDX-License-Identifier: MIT */
/*
 * One run: the plan, the network, the server in its lives, the callers, and time, which moves from
 * event to event of the agenda.
 *
 * A run has three parts. The plan's requests are sent while the plan's misfortunes happen. Then
 * the world heals, and each caller must get through again: whatever slot, room or credit leaked
 * shows. Then all is silent until every session has ended, and the books are checked.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "caller.h"
#include "network.h"
#include "plan.h"
#include "server.h"
#include "stream.h"

#include "base/clock.h"

#define SIM_ACTOR_SERVER 0U
#define SIM_ACTOR_COUNT  (1U + SIM_CALLER_COUNT_MAX)

/* What is of interest at the end of many runs: a property that nothing tried held for nothing. */
#define SIM_TALLY_TABLE(X)                                                                         \
	X(events, "events")                                                                        \
	X(crashes, "workers killed")                                                               \
	X(restarts, "servers lost")                                                                \
	X(requests, "requests")                                                                    \
	X(answered, "answered as planned")                                                         \
	X(failed, "500")                                                                           \
	X(forgotten, "410")                                                                        \
	X(refused, "other statuses")                                                               \
	X(maybe_ran, "may have run")                                                               \
	X(not_run, "did not run")                                                                  \
	X(late, "deadline passed")                                                                 \
	X(cancelled, "cancelled")                                                                  \
	X(dropped, "never sent")                                                                   \
	X(retried, "sent more than once")                                                          \
	X(rerun, "executed more than once")                                                        \
	X(remembered, "repeats answered from memory")                                              \
	X(recovered, "sessions taken over")

struct sim_tally {
#define SIM_TALLY_FIELD(name, text) uint64_t name;
	SIM_TALLY_TABLE(SIM_TALLY_FIELD)
#undef SIM_TALLY_FIELD
};

struct sim_world {
	uint64_t now_ns; /* the virtual clock */
	struct llr_clock clock;
	struct sim_plan *plan; /* borrows */
	struct sim_random random;
	struct sim_events events;
	struct sim_network network;
	struct sim_wire wire;
	struct sim_node *stranger; /* borrows; listens to others, and has no cookie of its own */
	struct sim_server server;
	struct sim_caller callers[SIM_CALLER_COUNT_MAX];
	uint64_t due_ns[SIM_ACTOR_COUNT];    /* the actor's next turn; UINT64_MAX: none */
	uint64_t asleep_ns[SIM_ACTOR_COUNT]; /* it gets no turn before */
	unsigned int step;                   /* of the script, the next */
	bool is_healed;
	bool is_silent;
	uint64_t handler_calls;
	/* Requests without an id, all together. */
	uint64_t tiny_executed;
	uint64_t tiny_sent;
	struct sim_tally tally;
	bool has_failed;
};

/* True if every property held. */
bool sim_world_run(struct sim_world *world, struct sim_plan *plan);

/* The actor gets a turn at the latest then. */
void sim_world_wake_at(struct sim_world *world, unsigned int actor, uint64_t at_ns);
/* By id; NULL: there is none. */
struct sim_request *sim_world_request(struct sim_world *world, uint32_t id);

#endif
