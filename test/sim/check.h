/* SPDX-License-Identifier: MIT */
/*
 * The properties. Each is checked where it can first be seen to fail, so that the trace ends
 * there; what can only be seen at the end is checked by sim_check_end.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "request.h"

#include <llrph/client.h>

#include <stddef.h>

struct sim_world;
struct sim_caller;

/* Records the first violation of a run, and prints it. */
void sim_violation(struct sim_world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The handler is about to do its work: counts it. */
void sim_check_execution(struct sim_world *world, struct sim_request *request);
void sim_check_completion(struct sim_world *world, struct sim_caller *caller,
			  const struct llrph_completion *completion);
/* After a poll: what should have ended has. */
void sim_check_lateness(struct sim_world *world, const struct sim_caller *caller);
/* The worker's counters add up, whenever a worker has lived undisturbed up to now. */
void sim_check_counters(struct sim_world *world);
/* All is quiet: nothing outstanding, nothing leaked, every count within its bounds. */
void sim_check_end(struct sim_world *world);

#endif
