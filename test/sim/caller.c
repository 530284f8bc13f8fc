/* SPDX-License-Identifier: MIT */
/*
 * A caller's turn. Runs on the simulator's only thread; owns its client.
 */
#include "caller.h"

#include "check.h"
#include "port.h"
#include "trace.h"
#include "world.h"

#include "base/bytes.h"
#include "client/client.h"

#include <inttypes.h>

#define MS              UINT64_C(1000000)
#define SECOND          UINT64_C(1000000000)
#define COMPLETIONS_MAX 16U
#define RETRY_NS        (2 * MS)      /* a begin that found no room or no session */
#define PATIENCE_NS     (90 * SECOND) /* how long a request waits for a session */
#define PROBES_MAX      48U
#define PROBE_TRIES_MAX 8U
#define PROBE_NS        (20 * SECOND)
#define PROBE_PAUSE_NS  (500 * MS)

static const char *const endpoints[] = {"sim:first", "sim:second"};

struct connecting {
	struct sim_world *world;
	unsigned int index;
};
static struct connecting connecting[SIM_CALLER_COUNT_MAX];

/* A socket of its own: the one that it had, or a new one with another port. */
static struct sim_node *take_node(struct sim_world *world, struct sim_caller *caller)
{
	struct sim_node *node = caller->node;

	if (node != NULL && node->port == NULL && sim_below(&world->random, 3) != 0)
		return node;
	node = sim_network_node(&world->network, "caller", 1 + caller->index);
	return node != NULL ? node : caller->node;
}

static int connect_to(void *context, unsigned int endpoint, struct llr_transport **transport,
		      struct llr_peer **peer, struct llrph_error *error)
{
	const struct connecting *who = context;
	struct sim_world *world = who->world;
	struct sim_caller *caller = &world->callers[who->index];
	struct sim_port *port;

	(void)error;
	if (sim_below(&world->random, 8) == 0)
		return -EINPROGRESS;
	SIM_TRACE("caller%u  connects to %s", caller->index, endpoints[endpoint]);
	if (caller->plan->is_stream != (endpoint == 1))
		return sim_stream_connect(&world->wire, 1 + caller->index, transport, peer);
	caller->node = take_node(world, caller);
	if (caller->node->port != NULL)
		return -EADDRINUSE;
	port = sim_port_open(&world->network, caller->node, &world->server.node->address, NULL);
	*transport = sim_port_transport(port);
	*peer = sim_port_peer(port);
	return 0;
}

void sim_caller_init(struct sim_world *world, unsigned int index)
{
	struct sim_caller *caller = &world->callers[index];
	struct sim_caller_plan *plan = &world->plan->callers[index];
	const struct llr_client_setup setup = {
		.options = plan->options,
		.clock = &world->clock,
		.wall_ns = SIM_START_NS,
		.seed = sim_random_next(&world->random),
		.endpoint_count = plan->has_both ? 2 : 1,
		.endpoints = endpoints,
		.connect = connect_to,
		.context = &connecting[index],
	};

	connecting[index] = (struct connecting){world, index};
	*caller = (struct sim_caller){.index = index, .plan = plan};
	LLR_MUST(llr_client_create(&caller->client, &setup, NULL) == 0);
	sim_world_wake_at(world, 1 + index, world->now_ns);
}

void sim_caller_close(struct sim_world *world, unsigned int index)
{
	struct sim_caller *caller = &world->callers[index];

	SIM_TRACE("caller%u  closes", index);
	llrph_client_close(caller->client);
	caller->client = NULL;
}

void sim_caller_fini(struct sim_world *world, unsigned int index)
{
	if (world->callers[index].client != NULL)
		sim_caller_close(world, index);
}

void sim_caller_rebind(struct sim_world *world, unsigned int index)
{
	struct sim_caller *caller = &world->callers[index];
	struct sim_node *node;

	if (caller->node == NULL || caller->node->port == NULL)
		return;
	node = sim_network_node(&world->network, "caller", 1 + index);
	if (node == NULL)
		return;
	SIM_TRACE("network  moves caller%u from %s to %s", index, caller->node->name, node->name);
	sim_port_bind(caller->node->port, node);
	caller->node = node;
}

bool sim_caller_is_through(const struct sim_caller *caller)
{
	return caller->ended == caller->plan->request_count;
}

/* Until it returns fewer than asked for: then there is nothing more for now. */
static void poll_all(struct sim_world *world, struct sim_caller *caller)
{
	struct llrph_completion completions[COMPLETIONS_MAX];
	unsigned int count_max;
	unsigned int count;

	do {
		count_max = (unsigned int)sim_between(&world->random, 1, COMPLETIONS_MAX);
		count = llrph_client_poll(caller->client, completions, count_max);
		if (count > count_max) {
			sim_violation(world, "a poll returned more than it was asked for");
			return;
		}
		for (unsigned int i = 0; i < count; i++)
			sim_check_completion(world, caller, &completions[i]);
	} while (count == count_max && !world->has_failed);
}

/* True if it was sent, or never will be; false: not now. */
static bool send_one(struct sim_world *world, struct sim_caller *caller,
		     struct sim_request *request)
{
	uint32_t spare = (uint32_t)sim_below(&world->random, 4) * 16;
	uint32_t room = (uint32_t)llr_min_u64(request->size + spare, SIM_PAYLOAD_SIZE_MAX);
	void *payload;
	int code = llrph_call_begin(caller->client, room, &payload);

	if (code == -EMSGSIZE || (code != 0 && world->now_ns > request->at_ns + PATIENCE_NS)) {
		request->state = SIM_REQUEST_DROPPED;
		caller->ended++;
		return true;
	}
	if (code != 0) {
		if (code != -ENOBUFS && code != -EAGAIN && code != -ECONNRESET && code != -ENOTCONN)
			sim_violation(world, "begin returned %d", code);
		return false;
	}
	if (sim_below(&world->random, 16) == 0) {
		llrph_call_abort(caller->client);
		return false;
	}
	sim_payload_fill(payload, request->size, request->size < SIM_ID_SIZE ? 0 : request->id);
	request->committed_ns = world->now_ns;
	request->deadline_ns = world->now_ns + request->timeout_ns;
	request->state = SIM_REQUEST_SENT;
	if (request->size < SIM_ID_SIZE)
		world->tiny_sent++;
	request->sequence = llrph_call_commit(
		caller->client, sim_method_route(request->method), request->size,
		request->flagged ? LLRPH_REQUEST_IDEMPOTENT : 0, request->timeout_ns, request->id);
	if (request->sequence <= 0)
		sim_violation(world, "commit returned %" PRId64, request->sequence);
	caller->outstanding++;
	SIM_TRACE("caller%u  sends request %" PRIx32 " as sequence %" PRId64 ": %" PRIu32
		  " bytes, %" PRIu64 " us, %s%s",
		  caller->index, request->id, request->sequence, request->size,
		  request->timeout_ns / 1000, sim_method_name(request->method),
		  request->flagged ? ", idempotent" : "");
	return true;
}

/* Sends what is due; false if something due could not be sent yet. */
static bool send_due(struct sim_world *world, struct sim_caller *caller)
{
	const struct sim_caller_plan *plan = caller->plan;

	while (caller->next < plan->request_count && !world->has_failed) {
		struct sim_request *request = &caller->plan->requests[caller->next];

		if (request->at_ns > world->now_ns) {
			sim_world_wake_at(world, 1 + caller->index, request->at_ns);
			return true;
		}
		if (caller->outstanding >= plan->concurrency)
			return true; /* a completion wakes it */
		if (!send_one(world, caller, request))
			return false;
		caller->next++;
	}
	return true;
}

static void cancel_due(struct sim_world *world, struct sim_caller *caller)
{
	for (uint32_t i = 0; i < caller->next; i++) {
		struct sim_request *request = &caller->plan->requests[i];
		uint64_t due_ns = request->committed_ns + request->cancel_ns;

		if (request->state != SIM_REQUEST_SENT || request->cancel_ns == 0)
			continue;
		if (world->now_ns < due_ns) {
			sim_world_wake_at(world, 1 + caller->index, due_ns);
			continue;
		}
		SIM_TRACE("caller%u  cancels request %" PRIx32, caller->index, request->id);
		request->cancel_ns = 0;
		if (llrph_call_cancel(caller->client, request->sequence) != 0)
			sim_violation(world, "request %" PRIx32 " can't be cancelled", request->id);
	}
}

/* Probes that may fail wait a little between tries: the server may still be away, or draining. */
static void add_probe(struct sim_world *world, struct sim_caller *caller, bool must_succeed)
{
	struct sim_caller_plan *plan = caller->plan;
	struct sim_request *request = &plan->requests[plan->request_count];

	LLR_ASSERT(plan->request_count < SIM_REQUEST_COUNT_MAX);
	*request = (struct sim_request){
		.at_ns = world->now_ns + (must_succeed ? 0 : PROBE_PAUSE_NS),
		.timeout_ns = PROBE_NS,
		.id = sim_plan_id(caller->index, plan->request_count),
		.size = (uint32_t)sim_between(&world->random, SIM_ID_SIZE, 1000),
		.reply_size = (uint32_t)sim_between(&world->random, SIM_ID_SIZE, 1000),
		.method = must_succeed ? SIM_METHOD_ONCE : SIM_METHOD_AGAIN,
		.flagged = !must_succeed,
		.must_succeed = must_succeed,
	};
	plan->request_count++;
}

/*
 * The world has healed, the plan's requests have ended. One probe at a time until one is answered
 * 200: a client may learn only now that its session is gone. Then a window full of them.
 */
static void advance_probe(struct sim_world *world, struct sim_caller *caller)
{
	const struct sim_caller_plan *plan = caller->plan;
	const struct sim_request *last = &plan->requests[plan->request_count - 1];
	struct llrph_client_info info = {.size = sizeof(info)};

	if (caller->probe == SIM_PROBE_ONE && caller->probe_tries > 0 &&
	    last->status == LLRPH_STATUS_OK) {
		llrph_client_info(caller->client, &info);
		for (uint32_t i = 0; i < info.window && i < PROBES_MAX; i++)
			add_probe(world, caller, true);
		caller->probe = SIM_PROBE_ALL;
	} else if (caller->probe != SIM_PROBE_ALL) {
		caller->probe = SIM_PROBE_ONE;
		if (caller->probe_tries++ < PROBE_TRIES_MAX)
			add_probe(world, caller, false);
		else if (world->plan->is_roomy)
			sim_violation(world, "caller%u does not get through to a healed server",
				      caller->index);
		else
			caller->probe = SIM_PROBE_DONE;
	} else {
		caller->probe = SIM_PROBE_DONE;
	}
}

void sim_caller_act(struct sim_world *world, unsigned int index)
{
	struct sim_caller *caller = &world->callers[index];
	uint64_t timeout_ns = UINT64_MAX;
	bool is_sent = false;

	if (caller->client == NULL || world->is_silent)
		return;
	poll_all(world, caller);
	if (world->is_healed && sim_caller_is_through(caller) && caller->probe != SIM_PROBE_DONE)
		advance_probe(world, caller);
	is_sent = send_due(world, caller);
	cancel_due(world, caller);
	poll_all(world, caller);
	sim_check_lateness(world, caller);
	(void)llrph_client_fd(caller->client, &timeout_ns);
	if (timeout_ns < UINT64_MAX - world->now_ns)
		sim_world_wake_at(world, 1 + index, world->now_ns + timeout_ns + 1);
	if (!is_sent)
		sim_world_wake_at(world, 1 + index, world->now_ns + RETRY_NS);
	if (caller->next < caller->plan->request_count || !sim_caller_is_through(caller))
		sim_world_wake_at(world, 1 + index, world->now_ns + SECOND);
}
