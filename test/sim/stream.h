/* SPDX-License-Identifier: MIT */
/*
 * Connections that lose nothing until they are cut: the transport (ops table) of the simulator's
 * streams, in the roles "listen" and "connect". It keeps the contract of src/transport/transport.h
 * and tcp.h: spans are runs of bytes, chopped by the seed's dice; what is not consumed is shown
 * again with what comes; the end of a connection is shown exactly once, after its bytes.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include "events.h"
#include "random.h"

#include "transport/transport.h"

#define SIM_CONNECTION_COUNT_MAX  512U /* of one run, ended ones included */

#define SIM_STREAM_PEER_COUNT_MAX 64U /* living at one time: indices of peers */

struct sim_connection;
struct sim_stream_port;
struct sim_stream_run;

/* All connections of a run. */
struct sim_wire {
	struct sim_events *events; /* borrows */
	const uint64_t *now_ns;    /* borrows */
	struct sim_random random;
	uint64_t delay_min_ns;
	uint64_t delay_max_ns;
	uint32_t full; /* chance in a million that there is no room just now */
	bool calm;     /* nothing but whole, prompt runs from now on */
	void (*wake)(void *context, unsigned int actor);
	void *context;                    /* borrows */
	struct sim_stream_port *listener; /* borrows; NULL: nobody listens */
	unsigned int listener_actor;
	unsigned int connection_count;
	struct sim_connection *connections[SIM_CONNECTION_COUNT_MAX]; /* owns */
};

void sim_wire_init(struct sim_wire *wire, struct sim_events *events, const uint64_t *now_ns,
		   uint64_t seed);
void sim_wire_fini(struct sim_wire *wire);
/* The event: takes ownership of the run. */
void sim_wire_arrive(struct sim_wire *wire, struct sim_stream_run *run);
void sim_stream_run_free(struct sim_stream_run *run);

/* The listening end; from then on connections come in. */
struct llr_transport *sim_stream_listen(struct sim_wire *wire,
					struct llr_transport_counters *counters);
/* As the process leaves it when it dies: its connections end, what was not flushed is not sent. */
void sim_stream_abandon(struct llr_transport *transport);
/* -ECONNREFUSED: nobody listens. */
int sim_stream_connect(struct sim_wire *wire, unsigned int actor, struct llr_transport **transport,
		       struct llr_peer **peer);
/* Resets what the caller's actor has open, both ways, with all that is under way. */
void sim_wire_cut(struct sim_wire *wire, unsigned int actor);
/* The next burst will not be empty. */
bool sim_stream_has_news(const struct llr_transport *transport);
/* Called at quiet moments: no room is open, no burst unreleased, nothing unsent. */
bool sim_stream_is_idle(const struct llr_transport *transport);

#endif
