/* SPDX-License-Identifier: MIT */
/*
 * The agenda: what will happen, by virtual time, and for equal times in the order entered. The
 * simulator takes the next event, sets the clock to its time and lets it happen; nothing else
 * moves time.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_EVENTS_H
#define SIM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

enum sim_event_kind {
	SIM_EVENT_DATAGRAM, /* item: struct sim_datagram that arrives */
	SIM_EVENT_STREAM,   /* item: struct sim_stream_run that arrives */
	SIM_EVENT_ACTOR,    /* the actor's turn */
	SIM_EVENT_SCRIPT,   /* the next step of the seed's script */
	SIM_EVENT_HEAL,     /* item: struct sim_node (borrows) that is not cut off any more */
};

struct sim_event {
	uint64_t at_ns;
	uint64_t order; /* ties are broken by it; set by sim_events_push */
	void *item;     /* owns, until the event happens, but for HEAL */
	enum sim_event_kind kind;
	unsigned int actor;
};

struct sim_events {
	struct sim_event *heap; /* owns */
	uint32_t count;
	uint32_t count_max;
	uint64_t order;
};

void sim_events_init(struct sim_events *events);
/* Items are the caller's to free, by popping them. */
void sim_events_fini(struct sim_events *events);
void sim_events_push(struct sim_events *events, const struct sim_event *event);
/* False if there is none. */
bool sim_events_pop(struct sim_events *events, struct sim_event *event);

#endif
