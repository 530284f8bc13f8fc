/* SPDX-License-Identifier: MIT */
/*
 * A caller: the real client, driven as an application would, from a plan.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_CALLER_H
#define SIM_CALLER_H

#include "network.h"
#include "plan.h"

struct sim_world;

enum sim_probe {
	SIM_PROBE_NONE,
	SIM_PROBE_ONE, /* healed: one request after another until one gets through */
	SIM_PROBE_ALL, /* then a window full of them, each of which must */
	SIM_PROBE_DONE,
};

struct sim_caller {
	unsigned int index;
	struct sim_caller_plan *plan;    /* borrows */
	struct llrph_client *client;     /* owns; NULL: closed */
	struct sim_node *node;           /* borrows; the newest */
	struct llr_transport *transport; /* the client's newest; it closes it; may be closed */
	struct llr_address node_of;      /* of the server */
	uint32_t next;                   /* requests before it are sent or dropped */
	uint32_t ended;                  /* requests that are completed or dropped */
	uint32_t outstanding;
	uint32_t probe_first; /* of the probes that must succeed */
	uint32_t probe_tries;
	enum sim_probe probe;
	bool has_begun; /* the order of requests is by time: they were sorted */
};

void sim_caller_init(struct sim_world *world, unsigned int index);
void sim_caller_fini(struct sim_world *world, unsigned int index);
/* The actor's turn: polls, checks what ended, sends what is due. */
void sim_caller_act(struct sim_world *world, unsigned int index);
/* All of the plan's requests have ended. */
bool sim_caller_is_through(const struct sim_caller *caller);
void sim_caller_close(struct sim_world *world, unsigned int index);
/* From now on every datagram of its current connection comes from another address. */
void sim_caller_rebind(struct sim_world *world, unsigned int index);

#endif
