/* SPDX-License-Identifier: MIT */
/*
 * A network of datagrams that loses, repeats, delays, reorders, cuts and damages what it carries,
 * each by the seed's dice. It knows nothing of frames.
 *
 * Ports (port.h) send into it; what arrives lies in its node's queue until a port bound to the node
 * takes it. A node is a socket: it outlives the worker that reads it.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include "events.h"
#include "random.h"

#include "base/span.h"

#define SIM_DATAGRAM_SIZE_MAX 1472U
#define SIM_NODE_COUNT_MAX    256U

/* How often what goes wrong; chances in a million datagrams. */
struct sim_weather {
	uint32_t loss;
	uint32_t duplicate;
	uint32_t ancient;  /* a duplicate that comes seconds later */
	uint32_t damage;   /* one to three bits flipped */
	uint32_t truncate; /* cut short */
	uint32_t garbage;  /* arbitrary bytes come beside it, from the same sender */
	uint32_t reorder;  /* late by up to 20 usual delays */
	uint32_t burst;    /* a burst of loss begins */
	uint32_t full;     /* of sends: the socket has no room just now */
	uint64_t delay_min_ns;
	uint64_t delay_max_ns;
};

struct sim_datagram {
	struct sim_datagram *next; /* owns; in a node's queue */
	struct llr_address from;
	struct llr_address to;
	uint64_t arrived_ns;
	uint8_t *bytes; /* owns; exactly size of them, so that a sanitizer sees any step beyond */
	uint32_t size;
};

struct sim_node {
	struct llr_address address;
	char name[12];             /* for the trace */
	struct sim_datagram *head; /* owns; arrived, not yet taken */
	struct sim_datagram **tail;
	uint32_t queued;
	uint32_t queue_max; /* datagrams that its socket holds */
	unsigned int actor; /* who is woken */
	void *port;         /* borrows: the port bound to it; NULL: none */
	uint64_t cookie;    /* the newest that the server gave it; for the tap */
	bool open;          /* somebody reads it: else what arrives is lost */
	bool cut;           /* nothing gets through, either way */
};

struct sim_network {
	struct sim_events *events;  /* borrows */
	const uint64_t *now_ns;     /* borrows */
	struct sim_weather weather; /* changed by the script */
	struct sim_random random;
	uint64_t burst_until_ns; /* everything is lost until then */
	unsigned int node_count;
	struct sim_node nodes[SIM_NODE_COUNT_MAX];
	/* Somebody has something to read. */
	void (*wake)(void *context, unsigned int actor);
	/* Sees each datagram as it was sent, whatever becomes of it. */
	void (*tap)(void *context, unsigned int actor, struct sim_node *to, const uint8_t *bytes,
		    uint32_t size);
	void *context; /* borrows */
};

void sim_network_init(struct sim_network *network, struct sim_events *events,
		      const uint64_t *now_ns, uint64_t seed);
/* Frees what is queued; what is under way is in the agenda, and freed by sim_datagram_free. */
void sim_network_fini(struct sim_network *network);

/* A new address, never used before; NULL when there are SIM_NODE_COUNT_MAX. */
struct sim_node *sim_network_node(struct sim_network *network, const char *name,
				  unsigned int actor);
/* Empties the queue, as when a socket is closed. */
void sim_node_close(struct sim_node *node);

void sim_network_send(struct sim_network *network, const struct sim_node *from,
		      const struct llr_address *to, const uint8_t *bytes, uint32_t size);
/* The same, in fair weather, and unheard by the tap. */
void sim_network_inject(struct sim_network *network, const struct sim_node *from,
			const struct llr_address *to, const uint8_t *bytes, uint32_t size);
/* The event: takes ownership of the datagram. */
void sim_network_arrive(struct sim_network *network, struct sim_datagram *datagram);
struct sim_datagram *sim_node_take(struct sim_node *node);
void sim_datagram_free(struct sim_datagram *datagram);

#endif
