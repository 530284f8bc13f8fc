/* SPDX-License-Identifier: MIT */
/*
 * The properties of every run: see check.h. Runs on the simulator's only thread; owns nothing.
 *
 * What an ended request says about executions (of a request that must not run twice):
 *
 *   200, a declared status                        it ran: exactly once
 *   404, 413, 429, 503, 504, "did not run"        never
 *   500, 410, deadline, cancelled, "may have run" once or not at all
 *
 * (410 comes where any answer has been forgotten, a successor's 500 for what had not run among
 * them.)
 */
#include "check.h"

#include "port.h"
#include "trace.h"
#include "world.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define RTO_CEILING_NS UINT64_C(1000000000)
#define SLACK_NS       UINT64_C(5000000) /* between two polls */

void sim_violation(struct sim_world *world, const char *format, ...)
{
	va_list arguments;
	char text[200];

	if (world->has_failed)
		return;
	world->has_failed = true;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	SIM_TRACE("VIOLATED %s", text);
	(void)fflush(stdout);
	(void)fprintf(stderr, "seed %" PRIu64 " at %.6f ms: %s\n", world->plan->seed,
		      (double)world->now_ns / 1e6, text);
}

struct bounds {
	uint32_t least;
	uint32_t most;
};

/* How often it may have been executed, by how it ended. */
static struct bounds bounds_of_status(const struct sim_request *request)
{
	switch (request->status) {
	case LLRPH_STATUS_OK:
	case LLRPH_STATUS_UNPROCESSABLE:
		return (struct bounds){1, 1};
	case LLRPH_STATUS_FORGOTTEN:
	case LLRPH_STATUS_HANDLER_FAILED:
		return (struct bounds){0, 1};
	default:
		return (struct bounds){0, 0};
	}
}

static struct bounds bounds_of(const struct sim_request *request)
{
	struct bounds bounds = {0, 1};

	if (request->state == SIM_REQUEST_WAITING || request->state == SIM_REQUEST_DROPPED)
		return (struct bounds){0, 0};
	if (request->state == SIM_REQUEST_ENDED && request->error == 0)
		bounds = bounds_of_status(request);
	else if (request->state == SIM_REQUEST_ENDED && request->error == LLRPH_E_PEER_DEAD)
		bounds.most = 0;
	if (sim_request_may_repeat(request))
		bounds.most = UINT32_MAX;
	return bounds;
}

/*
 * 429 and 503 settle nothing. A client that has sent one copy takes them for the answer; should the
 * network have made a second one, which comes later, that one runs.
 */
static bool has_double(const struct sim_world *world, const struct sim_request *request)
{
	const struct sim_weather *weather = &world->plan->weather;

	return (weather->duplicate > 0 || weather->ancient > 0) && request->error == 0 &&
	       (request->status == LLRPH_STATUS_REFUSED ||
		request->status == LLRPH_STATUS_UNAVAILABLE);
}

static void check_bounds(struct sim_world *world, const struct sim_request *request)
{
	struct bounds bounds = bounds_of(request);

	if (has_double(world, request))
		bounds.most = bounds.most > 1 ? bounds.most : 1;

	if (request->size < SIM_ID_SIZE)
		return; /* not counted one by one */
	if (request->executed < bounds.least || request->executed > bounds.most)
		sim_violation(world,
			      "request %" PRIx32
			      " (status %u, error %d, state %d) was executed %" PRIu32 " times",
			      request->id, request->status, request->error, request->state,
			      request->executed);
}

void sim_check_execution(struct sim_world *world, struct sim_request *request)
{
	request->executed++;
	check_bounds(world, request);
}

/*
 * A session remembers at least 256 bytes for each of its window: 410 is wrong while all replies of
 * the caller up to now would fit in that.
 */
static bool may_be_forgotten(const struct sim_world *world, const struct sim_request *request)
{
	const struct sim_caller_plan *plan = &world->plan->callers[(request->id >> 16) - 1];
	uint64_t window = 1;
	uint64_t size = 0;

	while (world->plan->is_roomy && window * 2 <= plan->options.window &&
	       window * 2 <= world->plan->engine.window_max)
		window *= 2;
	for (uint32_t i = 0; i < plan->request_count; i++)
		if (plan->requests[i].state != SIM_REQUEST_WAITING)
			size += llr_max_u64(plan->requests[i].reply_size, LLRPH_REASON_SIZE_MAX);
	return size > window * 256;
}

static bool status_is_possible(const struct sim_world *world, const struct sim_request *request)
{
	switch (request->status) {
	case LLRPH_STATUS_OK:
		return request->method != SIM_METHOD_MISSING &&
		       request->behaviour != SIM_DECLARED && request->behaviour != SIM_FAIL &&
		       request->behaviour != SIM_UNKNOWN;
	case LLRPH_STATUS_UNPROCESSABLE:
		return request->behaviour == SIM_DECLARED;
	case LLRPH_STATUS_HANDLER_FAILED:
		return request->behaviour == SIM_FAIL || request->behaviour == SIM_UNKNOWN ||
		       world->tally.crashes > 0;
	case LLRPH_STATUS_NO_METHOD:
		return request->method == SIM_METHOD_MISSING;
	case LLRPH_STATUS_FORGOTTEN:
		return may_be_forgotten(world, request);
	case LLRPH_STATUS_REFUSED:
	case LLRPH_STATUS_UNAVAILABLE:
	case LLRPH_STATUS_BUDGET_SPENT:
		return true;
	default:
		return false;
	}
}

static void check_payload(struct sim_world *world, const struct sim_request *request,
			  const struct llrph_completion *completion)
{
	bool is_answer = completion->status == LLRPH_STATUS_OK ||
			 completion->status == LLRPH_STATUS_UNPROCESSABLE;
	uint32_t id = request->size < SIM_ID_SIZE ? 0 : request->id;

	if ((uintptr_t)completion->payload % LLR_ALIGN != 0)
		sim_violation(world, "the payload of a reply is not aligned");
	if (!is_answer && completion->size > LLRPH_REASON_SIZE_MAX)
		sim_violation(world, "a reason of %" PRIu32 " bytes", completion->size);
	if (is_answer && (completion->size != request->reply_size ||
			  !sim_reply_check(completion->payload, completion->size, id)))
		sim_violation(world, "request %" PRIx32 " got a reply that is not its own",
			      request->id);
}

static void count(struct sim_tally *tally, const struct sim_request *request)
{
	tally->requests++;
	tally->retried += request->attempts > 1;
	tally->late += request->error == LLRPH_E_DEADLINE;
	tally->maybe_ran += request->error == LLRPH_E_MAYBE_RAN;
	tally->not_run += request->error == LLRPH_E_PEER_DEAD;
	tally->cancelled += request->error == LLRPH_E_CANCELLED;
	if (request->error != 0)
		return;
	if (request->status == LLRPH_STATUS_OK || request->status == LLRPH_STATUS_UNPROCESSABLE)
		tally->answered++;
	else if (request->status == LLRPH_STATUS_HANDLER_FAILED)
		tally->failed++;
	else if (request->status == LLRPH_STATUS_FORGOTTEN)
		tally->forgotten++;
	else
		tally->refused++;
}

/* Loss is not so heavy that a client takes a living server for dead. */
static bool is_heard(const struct sim_weather *weather)
{
	return weather->loss + weather->damage + weather->truncate < 100000 && weather->burst == 0;
}

void sim_check_completion(struct sim_world *world, struct sim_caller *caller,
			  const struct llrph_completion *completion)
{
	struct sim_request *request = sim_world_request(world, (uint32_t)completion->tag);

	if (request == NULL || request->state != SIM_REQUEST_SENT) {
		sim_violation(world, "a completion (tag %" PRIx64 ") for what is not outstanding",
			      completion->tag);
		return;
	}
	request->state = SIM_REQUEST_ENDED;
	request->error = completion->error;
	request->status = completion->status;
	request->attempts = completion->attempts;
	caller->outstanding--;
	caller->ended++;
	count(&world->tally, request);
	SIM_TRACE("caller%u  request %" PRIx32 " ended: error %d status %u, %" PRIu32
		  " bytes, %" PRIu32 " attempts, executed %" PRIu32,
		  caller->index, request->id, request->error, request->status, completion->size,
		  request->attempts, request->executed);
	check_bounds(world, request);
	if (completion->more != 0)
		sim_violation(world, "a completion says that another follows");
	if (request->error == 0)
		check_payload(world, request, completion);
	if (request->error == 0 && !status_is_possible(world, request))
		sim_violation(world, "request %" PRIx32 " ended with status %u", request->id,
			      request->status);
	/* Its session outlives the worker: the successor knows what ran, and says so. */
	if (request->error == LLRPH_E_MAYBE_RAN && world->plan->level == SIM_CRASHY &&
	    !caller->plan->is_stream && is_heard(&world->plan->weather))
		sim_violation(world, "request %" PRIx32 " may have run: its session was lost",
			      request->id);
	if (request->error != 0 && request->status != 0)
		sim_violation(world, "a completion with an error and a status");
	if (request->must_succeed && request->status != LLRPH_STATUS_OK &&
	    request->status != LLRPH_STATUS_UNPROCESSABLE &&
	    request->status != LLRPH_STATUS_FORGOTTEN)
		sim_violation(world, "request %" PRIx32 " had to succeed: error %d, status %u",
			      request->id, request->error, request->status);
	if (world->now_ns > request->deadline_ns + RTO_CEILING_NS + SLACK_NS &&
	    world->now_ns > world->asleep_ns[1 + caller->index] + SLACK_NS)
		sim_violation(world, "request %" PRIx32 " ended %" PRIu64 " us after its deadline",
			      request->id, (world->now_ns - request->deadline_ns) / 1000);
}

void sim_check_lateness(struct sim_world *world, const struct sim_caller *caller)
{
	struct llrph_client_info info = {.size = sizeof(info)};

	for (uint32_t i = 0; i < caller->next; i++) {
		const struct sim_request *request = &caller->plan->requests[i];

		if (request->state == SIM_REQUEST_SENT &&
		    world->now_ns > request->deadline_ns + RTO_CEILING_NS)
			sim_violation(world,
				      "request %" PRIx32 " is outstanding after its deadline",
				      request->id);
	}
	llrph_client_info(caller->client, &info);
	if (info.outstanding != caller->outstanding)
		sim_violation(world, "caller%u: %" PRIu32 " outstanding, the client says %" PRIu32,
			      caller->index, caller->outstanding, info.outstanding);
}

static void check_requests(struct sim_world *world, const struct sim_caller *caller)
{
	for (uint32_t i = 0; i < caller->plan->request_count; i++) {
		const struct sim_request *request = &caller->plan->requests[i];

		if (request->state == SIM_REQUEST_SENT)
			sim_violation(world, "request %" PRIx32 " never ended", request->id);
		if (request->state == SIM_REQUEST_WAITING ||
		    (request->state == SIM_REQUEST_DROPPED && request->must_succeed))
			sim_violation(world, "request %" PRIx32 " was never sent", request->id);
		check_bounds(world, request);
		world->tally.dropped += request->state == SIM_REQUEST_DROPPED;
		world->tally.rerun += request->executed > 1;
	}
}

void sim_check_end(struct sim_world *world)
{
	const struct llr_counters *counters = llr_stats_counters(world->server.stats, 0);

	for (unsigned int i = 0; i < world->plan->caller_count; i++)
		check_requests(world, &world->callers[i]);
	if (llr_engine_deferred_count(world->server.engine) != 0)
		sim_violation(world, "%u requests are still deferred",
			      llr_engine_deferred_count(world->server.engine));
	if (!sim_port_is_idle(world->server.node->port) ||
	    !sim_stream_is_idle(world->server.stream))
		sim_violation(world, "the server holds a room, a burst or something unsent");
	if (counters->sessions_open != 0)
		sim_violation(world, "%" PRIu64 " sessions are open after the silence",
			      counters->sessions_open);
	sim_check_counters(world);
	world->tally.remembered = counters->repeat_remembered;
	world->tally.recovered = counters->sessions_recovered;
}

void sim_check_counters(struct sim_world *world)
{
	const struct llr_counters *c = llr_stats_counters(world->server.stats, 0);
	uint64_t statuses = c->status_200 + c->status_400 + c->status_401 + c->status_404 +
			    c->status_409 + c->status_410 + c->status_413 + c->status_429 +
			    c->status_499 + c->status_500 + c->status_503 + c->status_504 +
			    c->status_declared;
	uint64_t known = c->requests + c->hello + c->heartbeats + c->cancels + c->skipped;

	if (!world->server.is_undisturbed)
		return;
	if (c->sessions_opened != c->sessions_ended + c->sessions_open)
		sim_violation(world,
			      "sessions: %" PRIu64 " opened, %" PRIu64 " ended, %" PRIu64 " open",
			      c->sessions_opened, c->sessions_ended, c->sessions_open);
	if (c->executed != world->handler_calls)
		sim_violation(world, "%" PRIu64 " handlers started, counted %" PRIu64,
			      world->handler_calls, c->executed);
	if (c->replies != statuses + c->repeat_remembered)
		sim_violation(world, "%" PRIu64 " replies, %" PRIu64 " of some status", c->replies,
			      statuses + c->repeat_remembered);
	/* What is left are BYEs, at most one for each session that ended otherwise than by age. */
	if (c->frames < known ||
	    c->frames - known > c->sessions_ended - c->sessions_expired + c->stale)
		sim_violation(world, "%" PRIu64 " frames, %" PRIu64 " of a known kind", c->frames,
			      known);
}
