/* SPDX-License-Identifier: MIT */
/*
 * The server's lives. Runs on the simulator's only thread; owns what survives a worker, and the
 * engine while it lives. A dead worker's engine is not closed: closing it would run code that
 * SIGKILL does not run. Its memory is given back when the run's process ends.
 */
#include "server.h"

#include "crash.h"
#include "port.h"
#include "service.h"
#include "stream.h"
#include "tap.h"
#include "trace.h"
#include "world.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>

#define HOUSEKEEPING_NS UINT64_C(20000000)
/*
 * A server does not come back at once: the client counts on that (LLR_RESTART_NS, 5 ms, in
 * src/client/state.h), and calibrating the clock alone takes 10 ms.
 */
#define RESTART_NS_MIN  UINT64_C(5000001)
#define REPLACED_NS_MAX UINT64_C(50000000) /* from a worker's death to its successor's start */

static const char *const listeners[] = {"sim:datagrams", "sim:streams"};

static void make_secret(struct sim_world *world)
{
	struct llr_secret *secret = &world->server.secret;

	secret->epoch = sim_random_next(&world->random);
	for (size_t i = 0; i < sizeof(secret->cookie_keys); i++)
		secret->cookie_keys[i] = (uint8_t)sim_random_next(&world->random);
}

void sim_server_init(struct sim_world *world)
{
	struct sim_server *server = &world->server;
	const char *methods[] = {sim_method_name(SIM_METHOD_ONCE),
				 sim_method_name(SIM_METHOD_AGAIN)};
	const struct llr_stats_shape shape = {
		.name = "sim",
		.worker_count = 1,
		.listener_count = 2,
		.listeners = listeners,
		.method_count = 2,
		.methods = methods,
	};

	*server = (struct sim_server){.state = SIM_SERVER_AWAY, .is_undisturbed = true};
	server->node = sim_network_node(&world->network, "server", SIM_ACTOR_SERVER);
	server->node->open = false;
	LLR_MUST(llr_stats_create_private(&server->stats, &shape, NULL) == 0);
	server->setup = (struct llr_engine_setup){
		.clock = &world->clock,
		.stats = server->stats,
		.secret = &server->secret,
	};
	LLR_MUST(llr_engine_options_resolve(&server->setup.options, &world->plan->engine, NULL) ==
		 0);
	server->sessions_size = llr_sessions_size(&server->setup.options);
	server->sessions = aligned_alloc(4096, llr_round_up(server->sessions_size, 4096));
	LLR_MUST(server->sessions != NULL);
	server->setup.sessions = server->sessions;
	server->back_ns = world->now_ns;
	sim_world_wake_at(world, SIM_ACTOR_SERVER, world->now_ns);
}

/* Takes the dead worker's hands off what it shared. */
static void bury(struct sim_world *world)
{
	struct sim_server *server = &world->server;

	server->engine = NULL;
	if (server->node->port != NULL)
		sim_port_abandon(server->node->port);
	if (world->wire.listener != NULL)
		sim_stream_abandon(server->stream);
	sim_service_forget();
}

/* Opens the next engine; a crash may be armed already, and strike within recovery. */
static void start(struct sim_world *world)
{
	struct sim_server *server = &world->server;
	struct llrph_error error = {""};

	SIM_TRACE("server   starts%s", server->setup.successor ? " a successor" : "");
	LLR_MUST(llr_engine_create(&server->engine, &server->setup, &error) == 0);
	LLR_MUST(llrph_engine_register(server->engine, &sim_service, NULL, &error) == 0);
	server->datagram = sim_port_transport(sim_port_open(
		&world->network, server->node, NULL, llr_stats_transport(server->stats, 0, 0)));
	server->stream = sim_stream_listen(&world->wire, llr_stats_transport(server->stats, 0, 1));
	LLR_MUST(llr_engine_attach(server->engine, server->datagram) == 0);
	LLR_MUST(llr_engine_attach(server->engine, server->stream) == 0);
	LLR_MUST(llr_engine_start(server->engine, &error) == 0);
}

static void come_back(struct sim_world *world)
{
	struct sim_server *server = &world->server;
	bool is_successor = server->state == SIM_SERVER_DEAD;

	if (!is_successor) {
		memset(server->sessions, 0, server->sessions_size);
		make_secret(world);
		sim_tap_restart(world);
		llr_stats_counters(server->stats, 0)->sessions_open = 0;
	}
	server->setup.successor = is_successor;
	start(world);
	server->state = SIM_SERVER_UP;
}

static void go_away(struct sim_world *world, uint64_t away_ns)
{
	struct sim_server *server = &world->server;

	world->tally.restarts++;
	server->state = SIM_SERVER_AWAY;
	server->back_ns = world->now_ns + llr_max_u64(away_ns, RESTART_NS_MIN);
	server->is_undisturbed = false;
	sim_node_close(server->node);
	sim_world_wake_at(world, SIM_ACTOR_SERVER, server->back_ns);
}

static void die(struct sim_world *world)
{
	struct sim_server *server = &world->server;

	SIM_TRACE("server   worker dies");
	world->tally.crashes++;
	bury(world);
	server->is_undisturbed = false;
	/* A worker that dies while it drains is not replaced. */
	if (server->state == SIM_SERVER_DRAINING) {
		go_away(world, server->away_ns);
		return;
	}
	server->state = SIM_SERVER_DEAD;
	server->back_ns = world->now_ns + sim_below(&world->random, REPLACED_NS_MAX);
}

void sim_server_restart(struct sim_world *world, uint64_t away_ns)
{
	SIM_TRACE("server   is killed for %" PRIu64 " ns", away_ns);
	bury(world);
	go_away(world, away_ns);
}

void sim_server_drain(struct sim_world *world, uint64_t away_ns)
{
	struct sim_server *server = &world->server;

	if (server->state != SIM_SERVER_UP)
		return;
	SIM_TRACE("server   drains, then is away for %" PRIu64 " ns", away_ns);
	server->state = SIM_SERVER_DRAINING;
	server->away_ns = away_ns;
	(void)llrph_engine_stop(server->engine);
	sim_world_wake_at(world, SIM_ACTOR_SERVER, world->now_ns);
}

void sim_server_crash_after(struct sim_world *world, uint64_t steps)
{
	SIM_TRACE("server   will die after %" PRIu64 " steps of state %d", steps,
		  world->server.state);
	sim_crash_arm(steps);
}

/* Nothing came, nothing is deferred: what was inside has been answered. */
static void end_drain(struct sim_world *world)
{
	struct sim_server *server = &world->server;

	if (llrph_engine_stop(server->engine) > 0)
		return;
	SIM_TRACE("server   has drained");
	llrph_engine_close(server->engine);
	server->engine = NULL;
	sim_service_forget();
	go_away(world, server->away_ns);
}

static void take_turn(struct sim_world *world)
{
	struct sim_server *server = &world->server;
	unsigned int handled = llrph_engine_turn(server->engine);

	sim_crash_end();
	/* Silent endpoints are not looked at in every turn. */
	if (handled > 0 || server->node->head != NULL || sim_stream_has_news(server->stream))
		sim_world_wake_at(world, SIM_ACTOR_SERVER, world->now_ns + 1000);
	if (handled == 0 && server->state == SIM_SERVER_DRAINING)
		end_drain(world);
}

void sim_server_act(struct sim_world *world)
{
	struct sim_server *server = &world->server;

	if (server->state == SIM_SERVER_DEAD || server->state == SIM_SERVER_AWAY) {
		if (world->now_ns < server->back_ns) {
			sim_world_wake_at(world, SIM_ACTOR_SERVER, server->back_ns);
			return;
		}
	}
	if (setjmp(sim_crash_exit) == 0) {
		sim_crash_begin();
		if (server->engine == NULL)
			come_back(world);
		take_turn(world);
	} else {
		die(world);
		sim_world_wake_at(world, SIM_ACTOR_SERVER, world->server.back_ns);
		return;
	}
	sim_world_wake_at(world, SIM_ACTOR_SERVER, world->now_ns + HOUSEKEEPING_NS);
	sim_world_wake_at(world, SIM_ACTOR_SERVER, sim_service_due_ns());
}

void sim_server_fini(struct sim_world *world)
{
	struct sim_server *server = &world->server;

	if (server->engine != NULL)
		llrph_engine_close(server->engine);
	llr_stats_close(server->stats);
	free(server->sessions);
}
