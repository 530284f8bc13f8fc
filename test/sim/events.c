/* SPDX-License-Identifier: MIT */
/*
 * The agenda as a binary heap that grows. Runs on the simulator's only thread; owns the heap.
 */
#include "events.h"

#include "base/assert.h"

#include <stdlib.h>

void sim_events_init(struct sim_events *events)
{
	*events = (struct sim_events){.count_max = 1024};
	events->heap = calloc(events->count_max, sizeof(events->heap[0]));
	LLR_MUST(events->heap != NULL);
}

void sim_events_fini(struct sim_events *events)
{
	free(events->heap);
	events->heap = NULL;
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

void sim_events_push(struct sim_events *events, const struct sim_event *event)
{
	struct sim_event entered = *event;
	uint32_t hole = events->count;

	if (events->count == events->count_max) {
		events->count_max *= 2;
		events->heap = realloc(events->heap, events->count_max * sizeof(events->heap[0]));
		LLR_MUST(events->heap != NULL);
	}
	entered.order = events->order++;
	events->count++;
	while (hole > 0 && is_before(&entered, &events->heap[(hole - 1) / 2])) {
		events->heap[hole] = events->heap[(hole - 1) / 2];
		hole = (hole - 1) / 2;
	}
	events->heap[hole] = entered;
}

bool sim_events_pop(struct sim_events *events, struct sim_event *event)
{
	struct sim_event last;
	uint32_t hole = 0;

	if (events->count == 0)
		return false;
	*event = events->heap[0];
	last = events->heap[--events->count];
	for (uint32_t child = 1; child < events->count; child = 2 * hole + 1) {
		if (child + 1 < events->count &&
		    is_before(&events->heap[child + 1], &events->heap[child]))
			child++;
		if (!is_before(&events->heap[child], &last))
			break;
		events->heap[hole] = events->heap[child];
		hole = child;
	}
	events->heap[hole] = last;
	return true;
}
