/* SPDX-License-Identifier: MIT */
/*
 * A run from its first event to its last: see world.h. Runs on the simulator's only thread; owns
 * the clock.
 */
#include "world.h"

#include "check.h"
#include "crash.h"
#include "service.h"
#include "tap.h"
#include "trace.h"

#include "base/bytes.h"

#include <inttypes.h>

#define SECOND UINT64_C(1000000000)
/* Longer than a session lives unheard, and than the oldest duplicate is under way. */
#define SILENCE_NS (75 * SECOND)
/* A run that lasts longer by its own clock does not end. */
#define RUN_NS_MAX (1000 * SECOND)
/* Nor does one in which so much happens; the usual run has a hundredth of it. */
#define EVENTS_MAX 5000000U

static void wake(void *context, unsigned int actor)
{
	struct sim_world *world = context;
	uint64_t delay = actor == SIM_ACTOR_SERVER ? world->plan->worker_delay_ns_max : 2000;

	sim_world_wake_at(world, actor, world->now_ns + 1 + sim_below(&world->random, delay));
}

static void tap(void *context, unsigned int actor, struct sim_node *to, const uint8_t *bytes,
		uint32_t size)
{
	if (actor == SIM_ACTOR_SERVER)
		sim_tap_server(context, to, bytes, size);
	else
		sim_tap_caller(context, bytes, size);
}

void sim_world_wake_at(struct sim_world *world, unsigned int actor, uint64_t at_ns)
{
	LLR_ASSERT(actor < SIM_ACTOR_COUNT);
	if (at_ns == UINT64_MAX)
		return;
	at_ns = llr_max_u64(llr_max_u64(at_ns, world->asleep_ns[actor]), world->now_ns + 1);
	if (at_ns >= world->due_ns[actor])
		return;
	world->due_ns[actor] = at_ns;
	sim_events_push(
		&world->events,
		&(struct sim_event){.at_ns = at_ns, .kind = SIM_EVENT_ACTOR, .actor = actor});
}

struct sim_request *sim_world_request(struct sim_world *world, uint32_t id)
{
	uint32_t caller = (id >> 16) - 1;
	uint32_t index = id & 0xFFFF;

	if (caller >= world->plan->caller_count ||
	    index >= world->plan->callers[caller].request_count)
		return NULL;
	return &world->plan->callers[caller].requests[index];
}

/* Events that were entered before an actor was woken earlier are not its turn any more. */
static void act(struct sim_world *world, const struct sim_event *event)
{
	if (world->due_ns[event->actor] != event->at_ns)
		return;
	world->due_ns[event->actor] = UINT64_MAX;
	if (world->asleep_ns[event->actor] > world->now_ns) {
		sim_world_wake_at(world, event->actor, world->asleep_ns[event->actor]);
		return;
	}
	if (event->actor == SIM_ACTOR_SERVER)
		sim_server_act(world);
	else
		sim_caller_act(world, event->actor - 1);
}

static void sleep_actor(struct sim_world *world, unsigned int actor, uint64_t duration_ns)
{
	SIM_TRACE("script   actor %u sleeps for %" PRIu64 " ns", actor, duration_ns);
	world->asleep_ns[actor] = world->now_ns + duration_ns;
	sim_world_wake_at(world, actor, world->asleep_ns[actor]);
}

/* A node is cut; a step of its own, at the end of the time, heals it. */
static void cut(struct sim_world *world, struct sim_node *node, uint64_t duration_ns)
{
	if (node == NULL)
		return;
	SIM_TRACE("script   %s is cut off for %" PRIu64 " ns", node->name, duration_ns);
	node->cut = true;
	sim_events_push(&world->events, &(struct sim_event){.at_ns = world->now_ns + duration_ns,
							    .kind = SIM_EVENT_HEAL,
							    .item = node});
}

static void do_step(struct sim_world *world, const struct sim_step *step)
{
	switch (step->action) {
	case SIM_DO_CRASH:
		sim_server_crash_after(world, step->amount);
		break;
	case SIM_DO_RESTART:
		if (world->server.engine != NULL)
			sim_server_restart(world, step->amount);
		break;
	case SIM_DO_DRAIN:
		sim_server_drain(world, step->amount);
		break;
	case SIM_DO_PARTITION:
		cut(world, world->callers[step->caller].node, step->amount);
		break;
	case SIM_DO_BLACKOUT:
		cut(world, world->server.node, step->amount);
		break;
	case SIM_DO_STALL:
		sleep_actor(world, 1 + step->caller, step->amount);
		break;
	case SIM_DO_SLOW:
		sleep_actor(world, SIM_ACTOR_SERVER, step->amount);
		break;
	case SIM_DO_REBIND:
		sim_caller_rebind(world, step->caller);
		break;
	case SIM_DO_CUT:
		SIM_TRACE("script   resets caller%u's connection", step->caller);
		sim_wire_cut(&world->wire, 1 + step->caller);
		break;
	case SIM_ACTION_COUNT:
	default:
		LLR_ASSERT(false);
	}
}

static void happen(struct sim_world *world, const struct sim_event *event)
{
	world->tally.events++;
	world->now_ns = llr_max_u64(world->now_ns, event->at_ns);
	switch (event->kind) {
	case SIM_EVENT_DATAGRAM:
		sim_network_arrive(&world->network, event->item);
		break;
	case SIM_EVENT_STREAM:
		sim_wire_arrive(&world->wire, event->item);
		break;
	case SIM_EVENT_ACTOR:
		act(world, event);
		break;
	case SIM_EVENT_SCRIPT:
		do_step(world, &world->plan->steps[world->step++]);
		break;
	case SIM_EVENT_HEAL:
		((struct sim_node *)event->item)->cut = false;
		break;
	default:
		LLR_ASSERT(false);
	}
}

static void open_world(struct sim_world *world, struct sim_plan *plan)
{
	*world = (struct sim_world){.now_ns = SIM_START_NS, .plan = plan};
	llr_clock_init_virtual(&world->clock, &world->now_ns);
	sim_random_init(&world->random, plan->seed, 4);
	for (unsigned int i = 0; i < SIM_ACTOR_COUNT; i++)
		world->due_ns[i] = UINT64_MAX;
	sim_events_init(&world->events);
	sim_network_init(&world->network, &world->events, &world->now_ns, plan->seed);
	world->network.weather = plan->weather;
	world->network.wake = wake;
	world->network.tap = tap;
	world->network.context = world;
	sim_wire_init(&world->wire, &world->events, &world->now_ns, plan->seed);
	world->wire.delay_min_ns = plan->weather.delay_min_ns;
	world->wire.delay_max_ns = plan->weather.delay_max_ns;
	world->wire.full = plan->weather.full;
	world->wire.wake = wake;
	world->wire.context = world;
	world->wire.listener_actor = SIM_ACTOR_SERVER;
	world->stranger = sim_network_node(&world->network, "stranger", SIM_ACTOR_SERVER);
	world->stranger->open = false;
	sim_service_bind(world);
	sim_crash_disarm();
	sim_server_init(world);
	for (unsigned int i = 0; i < plan->caller_count; i++)
		sim_caller_init(world, i);
	for (unsigned int i = 0; i < plan->step_count; i++)
		sim_events_push(&world->events, &(struct sim_event){.at_ns = plan->steps[i].at_ns,
								    .kind = SIM_EVENT_SCRIPT});
}

static void close_world(struct sim_world *world)
{
	struct sim_event event;

	for (unsigned int i = 0; i < world->plan->caller_count; i++)
		sim_caller_fini(world, i);
	sim_server_fini(world);
	while (sim_events_pop(&world->events, &event)) {
		if (event.kind == SIM_EVENT_DATAGRAM)
			sim_datagram_free(event.item);
		else if (event.kind == SIM_EVENT_STREAM)
			sim_stream_run_free(event.item);
	}
	sim_network_fini(&world->network);
	sim_wire_fini(&world->wire);
	sim_events_fini(&world->events);
}

static bool callers_are_through(const struct sim_world *world)
{
	for (unsigned int i = 0; i < world->plan->caller_count; i++) {
		const struct sim_caller *caller = &world->callers[i];

		if (!sim_caller_is_through(caller) ||
		    (world->is_healed && caller->probe != SIM_PROBE_DONE))
			return false;
	}
	return world->step == world->plan->step_count;
}

/* Lets things happen until what was planned has, or a property fails. */
static void run_until_through(struct sim_world *world)
{
	struct sim_event event;

	while (!world->has_failed && !callers_are_through(world)) {
		LLR_ASSERT(sim_events_pop(&world->events, &event));
		happen(world, &event);
		if (world->now_ns > SIM_START_NS + RUN_NS_MAX || world->tally.events > EVENTS_MAX)
			sim_violation(world, "the run does not end");
	}
}

static void heal(struct sim_world *world)
{
	SIM_TRACE("world    heals");
	world->is_healed = true;
	sim_crash_disarm();
	world->network.weather = (struct sim_weather){
		.delay_min_ns = world->plan->weather.delay_min_ns,
		.delay_max_ns = world->plan->weather.delay_max_ns,
	};
	world->network.burst_until_ns = 0;
	for (unsigned int i = 0; i < world->network.node_count; i++)
		world->network.nodes[i].cut = false;
	world->wire.calm = true;
	world->wire.full = 0;
	for (unsigned int i = 0; i < SIM_ACTOR_COUNT; i++)
		world->asleep_ns[i] = 0;
	for (unsigned int i = 0; i <= world->plan->caller_count; i++)
		sim_world_wake_at(world, i, world->now_ns + 1);
}

static void fall_silent(struct sim_world *world)
{
	uint64_t until_ns = world->now_ns + SILENCE_NS;
	struct sim_event event;

	SIM_TRACE("world    falls silent");
	for (unsigned int i = 0; i < world->plan->caller_count; i++)
		if (world->plan->callers[i].close_ns != 0)
			sim_caller_close(world, i);
	world->is_silent = true;
	while (!world->has_failed && world->now_ns < until_ns) {
		LLR_ASSERT(sim_events_pop(&world->events, &event));
		happen(world, &event);
	}
}

bool sim_world_run(struct sim_world *world, struct sim_plan *plan)
{
	open_world(world, plan);
	run_until_through(world);
	if (!world->has_failed) {
		heal(world);
		run_until_through(world);
	}
	if (!world->has_failed)
		fall_silent(world);
	if (!world->has_failed)
		sim_check_end(world);
	if (!world->has_failed)
		close_world(world);
	return !world->has_failed;
}
