/* SPDX-License-Identifier: MIT */
/*
 * The service under test. Runs within the worker's turn on the simulator's only thread; owns the
 * list of deferred requests, which sim_service_forget clears when their worker dies.
 */
#include "service.h"

#include "check.h"
#include "crash.h"
#include "trace.h"
#include "world.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <inttypes.h>

#define STATUS_UNDECLARED 599

struct deferred {
	struct llrph_deferred *handle;     /* shares: the engine's */
	const struct sim_request *request; /* borrows from the plan */
	uint64_t due_ns;
};

static struct {
	struct sim_world *world; /* borrows */
	uint32_t count;
	struct deferred deferred[LLR_DEFERRED_MAX];
} service;

void sim_service_bind(struct sim_world *world)
{
	service.world = world;
	service.count = 0;
}

void sim_service_forget(void)
{
	service.count = 0;
}

uint64_t sim_service_due_ns(void)
{
	uint64_t due_ns = UINT64_MAX;

	for (uint32_t i = 0; i < service.count; i++)
		due_ns = llr_min_u64(due_ns, service.deferred[i].due_ns);
	return due_ns;
}

/* Payloads too small for an id: echoed, and counted all together. */
static int answer_tiny(struct llrph_call *call)
{
	struct sim_world *world = service.world;

	call->reply = llrph_call_room(call, call->payload_size);
	if (call->reply == NULL)
		return LLRPH_STATUS_UNAVAILABLE;
	world->tiny_executed++;
	if (!sim_payload_check(call->payload, call->payload_size, 0))
		sim_violation(world, "a handler got a payload that nobody sent");
	sim_reply_fill(call->reply, call->payload_size, 0);
	call->reply_size = call->payload_size;
	return LLRPH_STATUS_OK;
}

static int defer(struct llrph_call *call, struct sim_request *request)
{
	struct deferred *deferred = &service.deferred[service.count];

	if (service.count == LLR_DEFERRED_MAX)
		return LLRPH_STATUS_UNAVAILABLE;
	deferred->handle = llrph_call_defer(call);
	if (deferred->handle == NULL)
		return LLRPH_STATUS_UNAVAILABLE;
	deferred->request = request;
	deferred->due_ns = service.world->now_ns + request->defer_ns;
	service.count++;
	sim_check_execution(service.world, request);
	sim_crash_point();
	return LLRPH_DEFERRED;
}

static int answer(struct llrph_call *call, struct sim_request *request)
{
	uint8_t *room = llrph_call_room(call, request->reply_size);

	if (room == NULL)
		return LLRPH_STATUS_UNAVAILABLE;
	/* From here on it ran, whether its worker survives it or not. */
	sim_check_execution(service.world, request);
	sim_crash_point();
	sim_reply_fill(room, request->reply_size, request->id);
	call->reply_size = request->reply_size;
	return request->behaviour == SIM_DECLARED ? LLRPH_STATUS_UNPROCESSABLE : LLRPH_STATUS_OK;
}

static int refusal(const struct sim_request *request)
{
	return request->id % 2 == 0 ? LLRPH_STATUS_UNAVAILABLE : LLRPH_STATUS_REFUSED;
}

static int handle(struct llrph_call *call, enum sim_method method)
{
	struct sim_world *world = service.world;
	struct sim_request *request;

	world->handler_calls++;
	sim_crash_point();
	if (call->deadline_ns != 0 && call->deadline_ns <= world->now_ns)
		sim_violation(world, "a handler started after its request's budget was spent");
	if (call->payload_size < SIM_ID_SIZE)
		return answer_tiny(call);
	request = sim_world_request(world, llr_le32_load(call->payload));
	if (request == NULL || request->size != call->payload_size || request->method != method ||
	    !sim_payload_check(call->payload, call->payload_size, request->id)) {
		sim_violation(world, "a handler got a payload that nobody sent");
		return LLRPH_STATUS_BAD_PAYLOAD;
	}
	SIM_TRACE("handler  runs request %" PRIx32 " (sequence %" PRIu64 " of session %" PRIx64
		  "), executed %" PRIu32 " times before",
		  request->id, call->sequence, call->session, request->executed);
	/* Time that passes in here is time that those who wait lose. */
	world->now_ns += request->work_ns;
	if (request->deadly != 0) {
		sim_server_crash_after(world, request->deadly);
		request->deadly = 0;
	}
	switch (request->behaviour) {
	case SIM_FAIL:
		sim_check_execution(world, request);
		return llrph_call_reason(call, LLRPH_STATUS_HANDLER_FAILED, "as planned");
	case SIM_UNKNOWN:
		sim_check_execution(world, request);
		return STATUS_UNDECLARED;
	case SIM_DEFER:
		return defer(call, request);
	case SIM_BUSY:
		if (request->busy-- > 0)
			return llrph_call_reason(call, refusal(request), "busy, as planned");
		request->busy = 0;
		return answer(call, request);
	case SIM_ANSWER:
	case SIM_DECLARED:
	case SIM_BEHAVIOUR_COUNT:
	default:
		return answer(call, request);
	}
}

static int handle_once(struct llrph_call *call, void *state)
{
	(void)state;
	return handle(call, SIM_METHOD_ONCE);
}

static int handle_again(struct llrph_call *call, void *state)
{
	(void)state;
	return handle(call, SIM_METHOD_AGAIN);
}

/* Answers what is due. An answer that finds no room is tried again with the next turn. */
static void poll_deferred(void *state, uint64_t now_ns)
{
	static uint8_t reply[SIM_PAYLOAD_SIZE_MAX];
	uint32_t kept = 0;

	(void)state;
	for (uint32_t i = 0; i < service.count; i++) {
		struct deferred deferred = service.deferred[i];
		const struct sim_request *request = deferred.request;
		int code = -EAGAIN;

		if (deferred.due_ns <= now_ns) {
			sim_reply_fill(reply, request->reply_size, request->id);
			code = llrph_deferred_reply(deferred.handle, LLRPH_STATUS_OK, reply,
						    request->reply_size, 0);
			if (code != 0 && code != -EAGAIN)
				sim_violation(service.world, "a deferred reply was refused: %d",
					      code);
		}
		if (code == -EAGAIN)
			service.deferred[kept++] = deferred;
	}
	service.count = kept;
}

static const uint16_t declared[] = {LLRPH_STATUS_UNPROCESSABLE, 0};

static const struct llrph_method methods[] = {
	{
		.name = "sim.Test/Once",
		.handler = handle_once,
		.reply_size_max = SIM_PAYLOAD_SIZE_MAX,
		.statuses = declared,
	},
	{
		.name = "sim.Test/Again",
		.handler = handle_again,
		.flags = LLRPH_METHOD_IDEMPOTENT,
		.reply_size_max = SIM_PAYLOAD_SIZE_MAX,
		.statuses = declared,
	},
};

const struct llrph_service sim_service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "sim",
	.state_kind = LLRPH_STATE_NONE,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.poll = poll_deferred,
};
