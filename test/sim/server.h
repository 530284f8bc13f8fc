/* SPDX-License-Identifier: MIT */
/*
 * The server in its lives: workers that die at any instant and are replaced over the same session
 * table, and whole servers that go and come back without it. It stands where the supervisor stands
 * in earnest: it keeps table, secret, stats page and the bound address.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "network.h"

#include "engine/engine.h"

struct sim_world;

enum sim_server_state {
	SIM_SERVER_UP,
	SIM_SERVER_DRAINING, /* up, told to stop */
	SIM_SERVER_DEAD,     /* the worker died: a successor comes at back_ns */
	SIM_SERVER_AWAY,     /* the server is gone: another comes at back_ns */
};

struct sim_server {
	enum sim_server_state state;
	struct llrph_engine *engine;    /* owns; NULL while dead or away */
	struct sim_node *node;          /* borrows: the bound address */
	struct llr_transport *datagram; /* the engine's, once attached */
	struct llr_transport *stream;   /* likewise */
	struct llr_stats *stats;        /* owns */
	struct llr_secret secret;
	struct llr_engine_setup setup;
	void *sessions; /* owns */
	size_t sessions_size;
	uint64_t back_ns;
	uint64_t away_ns;    /* how long it stays away after a drain */
	bool is_undisturbed; /* no worker has died since the counters began */
};

void sim_server_init(struct sim_world *world);
void sim_server_fini(struct sim_world *world);
/* The actor's turn: runs the engine, or brings it back. */
void sim_server_act(struct sim_world *world);
/* The server goes away now, and comes back without its sessions. */
void sim_server_restart(struct sim_world *world, uint64_t away_ns);
void sim_server_drain(struct sim_world *world, uint64_t away_ns);
/* The worker that runs now, or the next one, dies after so many steps. */
void sim_server_crash_after(struct sim_world *world, uint64_t steps);

#endif
