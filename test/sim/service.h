/* SPDX-License-Identifier: MIT */
/*
 * The service under test: it does with each request what the request's plan says, counts
 * executions, and answers some of them later. What it counts lies outside of the worker, as the
 * world does; what is deferred is the worker's and dies with it.
 *
 * Thread: the simulator's only one, within the worker's turn.
 */
#ifndef SIM_SERVICE_H
#define SIM_SERVICE_H

#include <llrph/service.h>

#include <stdint.h>

struct sim_world;

extern const struct llrph_service sim_service;

/* Which world it serves; before the first engine. */
void sim_service_bind(struct sim_world *world);
/* A worker died: its deferred requests are nobody's any more. */
void sim_service_forget(void);
/* When the next deferred request is due; UINT64_MAX: none. */
uint64_t sim_service_due_ns(void);

#endif
