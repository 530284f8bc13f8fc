/* SPDX-License-Identifier: MIT */
/*
 * From a seed to everything that a run does. Runs once before it; pure but for the plan it fills.
 *
 * The mix matters more than any one choice: small windows and large ones, payloads in one part and
 * in fourteen, deadlines that can't be met beside such as can't be missed.
 */
#include "plan.h"

#include "stream.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MS          UINT64_C(1000000)
#define SECOND      UINT64_C(1000000000)
#define PATIENCE_NS (60 * SECOND) /* of a request that must succeed */
/* Payload bytes of one part: 1472 less header, route and fragment block, down to 16. */
#define PART_SIZE 1408U

static void make_weather(struct sim_plan *plan, struct sim_random *random)
{
	struct sim_weather *weather = &plan->weather;

	weather->delay_min_ns = sim_log_between(random, 2000, 5 * MS);
	weather->delay_max_ns = weather->delay_min_ns + sim_log_between(random, 1000, 5 * MS);
	if (plan->level == SIM_CALM)
		return;
	if (sim_below(random, 4) != 0)
		weather->loss = (uint32_t)sim_log_between(random, 1000, 300000);
	if (sim_below(random, 2) == 0)
		weather->duplicate = (uint32_t)sim_log_between(random, 1000, 300000);
	if (sim_below(random, 2) == 0)
		weather->reorder = (uint32_t)sim_log_between(random, 1000, 300000);
	if (sim_below(random, 3) == 0)
		weather->damage = (uint32_t)sim_log_between(random, 1000, 50000);
	if (sim_below(random, 3) == 0)
		weather->truncate = (uint32_t)sim_log_between(random, 1000, 50000);
	if (sim_below(random, 3) == 0)
		weather->garbage = (uint32_t)sim_log_between(random, 1000, 50000);
	if (sim_below(random, 2) == 0)
		weather->ancient = (uint32_t)sim_log_between(random, 1000, 100000);
	if (sim_below(random, 4) == 0)
		weather->full = (uint32_t)sim_log_between(random, 1000, 100000);
	if (sim_below(random, 4) == 0)
		weather->burst = (uint32_t)sim_log_between(random, 100, 10000);
}

static void make_engine(struct sim_plan *plan, struct sim_random *random)
{
	struct llrph_engine_options *engine = &plan->engine;

	plan->is_roomy = plan->level < SIM_HOSTILE || sim_below(random, 2) == 0;
	engine->size = sizeof(*engine);
	engine->window_max = sim_below(random, 2) == 0
				     ? LLR_WINDOW_MAX
				     : (uint32_t)sim_log_between(random, 1, LLR_WINDOW_MAX);
	engine->max_message = 32768;
	engine->connections_max = SIM_STREAM_PEER_COUNT_MAX;
	engine->lanes_max = 1;
	engine->sessions_max = plan->is_roomy ? 32 : (uint32_t)sim_between(random, 1, 8);
	engine->session_memory =
		plan->is_roomy ? 8U << 20 : (uint32_t)sim_log_between(random, 128U << 10, 4U << 20);
	plan->worker_delay_ns_max = (uint32_t)sim_log_between(random, 500, 200000);
}

static enum sim_behaviour behaviour(struct sim_random *random)
{
	uint64_t roll = sim_below(random, 100);

	if (roll < 70)
		return SIM_ANSWER;
	if (roll < 85)
		return SIM_DEFER;
	if (roll < 90)
		return SIM_BUSY;
	if (roll < 95)
		return SIM_DECLARED;
	return roll < 98 ? SIM_FAIL : SIM_UNKNOWN;
}

static uint32_t payload_size(struct sim_random *random, bool is_small)
{
	uint64_t roll = sim_below(random, 100);

	if (roll < 5)
		return (uint32_t)sim_below(random, SIM_ID_SIZE);
	if (roll < 10) /* around the largest that goes in one datagram, and the second */
		return (uint32_t)sim_between(random, PART_SIZE - 32, PART_SIZE + 48);
	if (roll < 70 || is_small)
		return (uint32_t)sim_log_between(random, SIM_ID_SIZE, 1300);
	return (uint32_t)sim_log_between(random, 1300, SIM_PAYLOAD_SIZE_MAX);
}

static void make_request(struct sim_plan *plan, struct sim_random *random,
			 struct sim_request *request, bool is_small)
{
	uint64_t roll = sim_below(random, 100);

	request->size = payload_size(random, is_small);
	request->reply_size = payload_size(random, is_small);
	request->method = roll < 75 ? SIM_METHOD_ONCE : SIM_METHOD_AGAIN;
	if (roll == 99)
		request->method = SIM_METHOD_MISSING;
	request->flagged = sim_below(random, 4) == 0;
	request->behaviour = behaviour(random);
	request->busy = request->behaviour == SIM_BUSY ? (uint32_t)sim_between(random, 1, 3) : 0;
	request->defer_ns = sim_log_between(random, 1000, 300 * MS);
	if (sim_below(random, 10) == 0)
		request->work_ns = sim_log_between(random, 100, 5 * MS);
	request->timeout_ns = PATIENCE_NS;
	if (plan->level != SIM_CALM && sim_below(random, 5) == 0)
		request->timeout_ns = sim_log_between(random, 1000, 2 * SECOND);
	if (plan->level != SIM_CALM && sim_below(random, 20) == 0)
		request->cancel_ns = sim_log_between(random, 1000, 100 * MS);
	if (plan->level >= SIM_CRASHY && sim_below(random, 60) == 0)
		request->deadly = (uint32_t)sim_log_between(random, 1, 4000);
	/* Nothing says who it was: then nothing but the count of all of them can be checked. */
	if (request->size < SIM_ID_SIZE) {
		request->reply_size = request->size;
		request->behaviour = SIM_ANSWER;
		request->deadly = 0;
	}
}

static unsigned int part_count(uint32_t size)
{
	return (size + PART_SIZE - 1) / PART_SIZE + (size == 0 ? 1 : 0);
}

/*
 * A repeat sends all parts again, and what is incomplete after 100 ms is dropped by the protocol;
 * so once the time-out has doubled beyond that, each repeat must bring every part by itself. What
 * needs too many repeats for its deadline is not due, nor is what waits behind it for its turn.
 */
static bool gets_through(const struct sim_plan *plan, const struct sim_request *request)
{
	const struct sim_weather *weather = &plan->weather;
	unsigned int parts = part_count(request->size) + part_count(request->reply_size);
	double arrives = 1.0 - (weather->loss + weather->damage + weather->truncate) / 1e6;

	if (weather->burst > 0)
		return parts <= 2;
	return pow(arrives, parts) >= 0.35;
}

/* Marks what is due an answer whatever the network does within this plan. */
static void mark_due(const struct sim_plan *plan, struct sim_caller_plan *caller)
{
	bool all_get_through = true;

	/* A handler that finds no room for its reply answers 503. */
	if (plan->level > SIM_LOSSY || plan->weather.full > 0)
		return;
	for (uint32_t i = 0; i < caller->request_count && !caller->is_stream; i++)
		all_get_through = all_get_through && gets_through(plan, &caller->requests[i]);
	for (uint32_t i = 0; i < caller->request_count; i++) {
		struct sim_request *request = &caller->requests[i];

		request->must_succeed =
			all_get_through && request->timeout_ns == PATIENCE_NS &&
			request->cancel_ns == 0 && request->method != SIM_METHOD_MISSING &&
			request->behaviour != SIM_FAIL && request->behaviour != SIM_BUSY &&
			request->behaviour != SIM_UNKNOWN;
	}
}

/* Steps and requests alike begin with their time. */
static int by_time(const void *a, const void *b)
{
	const uint64_t *left = a;
	const uint64_t *right = b;

	return (*left > *right) - (*left < *right);
}
_Static_assert(offsetof(struct sim_step, at_ns) == 0, "sorted by it");
_Static_assert(offsetof(struct sim_request, at_ns) == 0, "sorted by it");

static void make_caller(struct sim_plan *plan, struct sim_random *random, unsigned int index)
{
	struct sim_caller_plan *caller = &plan->callers[index];
	bool is_small = sim_below(random, 2) == 0 || plan->weather.loss > 100000;
	bool is_burst = sim_below(random, 3) == 0;

	caller->is_stream = sim_below(random, 4) == 0;
	caller->has_both = plan->level == SIM_HOSTILE && sim_below(random, 4) == 0;
	caller->options.size = sizeof(caller->options);
	caller->options.window = (uint32_t)sim_log_between(random, 1, LLR_WINDOW_MAX);
	caller->options.max_message = (uint32_t)sim_between(random, SIM_PAYLOAD_SIZE_MAX, 32768);
	caller->options.idle = LLRPH_IDLE_SPIN;
	caller->concurrency = (uint32_t)sim_log_between(random, 1, LLR_WINDOW_MAX);
	caller->request_count = (uint32_t)sim_log_between(random, 1, 60);
	if (plan->level != SIM_LOSSY && sim_below(random, 8) == 0)
		caller->request_count = (uint32_t)sim_between(random, 60, 400);
	caller->close_ns = sim_below(random, 2) == 0 ? sim_between(random, 1, SECOND) : 0;
	for (uint32_t i = 0; i < caller->request_count; i++) {
		struct sim_request *request = &caller->requests[i];

		request->at_ns = SIM_START_NS;
		if (!is_burst)
			request->at_ns = sim_between(random, SIM_START_NS, plan->horizon_ns);
		make_request(plan, random, request, is_small);
	}
	mark_due(plan, caller);
	qsort(caller->requests, caller->request_count, sizeof(caller->requests[0]), by_time);
	for (uint32_t i = 0; i < caller->request_count; i++)
		caller->requests[i].id = sim_plan_id(index, i);
}

static void make_step(struct sim_plan *plan, struct sim_random *random, struct sim_step *step)
{
	step->at_ns = sim_between(random, SIM_START_NS, plan->horizon_ns);
	step->caller = (unsigned int)sim_below(random, plan->caller_count);
	step->action = SIM_DO_CRASH;
	if (plan->level == SIM_HOSTILE && sim_below(random, 2) == 0)
		step->action = (enum sim_action)sim_below(random, SIM_ACTION_COUNT);
	if (step->action == SIM_DO_CRASH)
		step->amount = sim_log_between(random, 1, 20000);
	else if (step->action == SIM_DO_STALL && sim_below(random, 3) == 0)
		step->amount = sim_between(random, SECOND, 35 * SECOND); /* its session ends */
	else
		step->amount = sim_log_between(random, 10000, 3 * SECOND);
}

void sim_plan_make(struct sim_plan *plan, uint64_t seed)
{
	struct sim_random random;

	*plan = (struct sim_plan){.seed = seed};
	sim_random_init(&random, seed, 2);
	plan->level = (enum sim_level)(sim_below(&random, 10) * SIM_LEVEL_COUNT / 10);
	plan->horizon_ns = SIM_START_NS + sim_log_between(&random, MS, 5 * SECOND);
	if (plan->level == SIM_HOSTILE)
		plan->horizon_ns += sim_log_between(&random, 100 * MS, 20 * SECOND);
	make_weather(plan, &random);
	make_engine(plan, &random);
	plan->caller_count = (unsigned int)sim_between(&random, 1, SIM_CALLER_COUNT_MAX);
	for (unsigned int i = 0; i < plan->caller_count; i++)
		make_caller(plan, &random, i);
	if (plan->level >= SIM_CRASHY)
		plan->step_count = (unsigned int)sim_between(&random, 1, SIM_STEP_COUNT_MAX);
	for (unsigned int i = 0; i < plan->step_count; i++)
		make_step(plan, &random, &plan->steps[i]);
	qsort(plan->steps, plan->step_count, sizeof(plan->steps[0]), by_time);
}

void sim_plan_describe(const struct sim_plan *plan, char *text, size_t size)
{
	static const char *const levels[SIM_LEVEL_COUNT] = {"calm", "lossy", "crashy", "hostile"};
	uint32_t requests = 0;

	for (unsigned int i = 0; i < plan->caller_count; i++)
		requests += plan->callers[i].request_count;
	(void)snprintf(text, size,
		       "%s: %u callers, %u requests, %u steps, loss %.1f %%, window up to %u%s",
		       levels[plan->level], plan->caller_count, requests, plan->step_count,
		       plan->weather.loss / 1e4, plan->engine.window_max,
		       plan->is_roomy ? "" : ", little memory");
}
