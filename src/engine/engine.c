/* SPDX-License-Identifier: MIT */
/*
 * The engine's set-up and its slow clockwork: options, memory, services, endpoints, and the look
 * at what has been silent for too long.
 *
 * Thread: the worker's. Owns: what create takes; see struct llrph_engine.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/memory.h"
#include "request/cookie.h"
#include "transport/udp.h"

#define SWEEP_NS    1000000U /* 1 ms */
#define SWEEP_COUNT 64U      /* sessions each time: 65,536 of them within a second */

/* With the 256 bytes that the transport has for it, an idle connection costs at most 1 KiB. */
_Static_assert(sizeof(struct llr_session) + LLR_WINDOW_DEFAULT * sizeof(uint64_t) +
			       sizeof(struct llr_stream_state) <=
		       768,
	       "session, slots and framing of a connection");

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value != 0 ? value : otherwise;
}

int llr_engine_options_resolve(struct llrph_engine_options *resolved,
			       const struct llrph_engine_options *given, struct llrph_error *error)
{
	struct llrph_engine_options all = {.size = sizeof(all)};

	if (given != NULL) {
		if (given->size < sizeof(given->size) || given->size > sizeof(all))
			return llr_error_set(error, -EINVAL, "options: size is not this library's");
		memcpy(&all, given, given->size);
	}
	all.window_max = or_default(all.window_max, LLR_WINDOW_MAX);
	all.max_message = or_default(all.max_message, LLR_PAYLOAD_SIZE_DEFAULT);
	all.sessions_max = or_default(all.sessions_max, LLR_SESSIONS_DEFAULT);
	all.connections_max = or_default(all.connections_max, LLR_CONNECTIONS_DEFAULT);
	all.lanes_max = or_default(all.lanes_max, LLR_LANES_DEFAULT);
	all.session_memory = or_default(all.session_memory, LLR_SESSION_MEMORY_DEFAULT);
	all.shm_mode = or_default(all.shm_mode, 0600);
	if (all.window_max > LLR_WINDOW_MAX)
		return llr_error_set(error, -EINVAL, "window %u: give 1 to %u", all.window_max,
				     LLR_WINDOW_MAX);
	if (all.max_message > LLR_PAYLOAD_SIZE_MAX)
		return llr_error_set(error, -EINVAL, "max-message %u: give 1 to %u bytes",
				     all.max_message, LLR_PAYLOAD_SIZE_MAX);
	if (all.sessions_max + all.lanes_max > LLR_SESSIONS_MAX ||
	    all.connections_max > LLR_SESSIONS_MAX)
		return llr_error_set(error, -EINVAL,
				     "sessions and lanes, or connections: at most %u",
				     LLR_SESSIONS_MAX);
	*resolved = all;
	return 0;
}

/* Datagram sessions and lanes share one table; a lane takes slots alone. */
static struct llr_sessions_shape shape_of(const struct llrph_engine_options *options)
{
	struct llr_sessions_shape shape = {
		.count = options->sessions_max + options->lanes_max,
		.page_size = LLR_SESSION_PAGE,
		.page_count = options->session_memory / LLR_SESSION_PAGE,
	};

	return shape;
}

/* Each connection's slots, and as much again for windows above the default. */
static struct llr_sessions_shape stream_shape_of(const struct llrph_engine_options *options)
{
	struct llr_sessions_shape shape = {
		.count = options->connections_max,
		.page_size = LLR_SESSION_PAGE_STREAM,
		.page_count = options->connections_max + 2 * LLR_WINDOW_MAX / LLR_WINDOW_DEFAULT,
	};

	return shape;
}

size_t llr_sessions_size(const struct llrph_engine_options *options)
{
	struct llr_sessions_shape shape = shape_of(options);

	return llr_sessions_memory_size(&shape);
}

static int sessions_take(struct llrph_engine *engine)
{
	struct llr_sessions_shape shape = shape_of(&engine->options);

	engine->sessions_private =
		llr_memory_map(llr_sessions_private_size(&shape), "session index");
	if (engine->sessions_private == NULL)
		return -ENOMEM;
	if (engine->successor)
		(void)llr_sessions_recover(&engine->sessions, &shape, engine->sessions_memory,
					   engine->sessions_private);
	else
		llr_sessions_init(&engine->sessions, &shape, engine->sessions_memory,
				  engine->sessions_private);
	return 0;
}

static int streams_take(struct llrph_engine *engine)
{
	struct llr_sessions_shape shape = stream_shape_of(&engine->options);

	if (engine->streams_memory != NULL)
		return 0;
	engine->streams_memory =
		llr_memory_map(llr_sessions_memory_size(&shape), "sessions of connections");
	engine->streams_private =
		llr_memory_map(llr_sessions_private_size(&shape), "session index");
	if (engine->streams_memory == NULL || engine->streams_private == NULL)
		return -ENOMEM;
	llr_sessions_init(&engine->streams, &shape, engine->streams_memory,
			  engine->streams_private);
	return 0;
}

static int memory_take(struct llrph_engine *engine)
{
	size_t deferred_size = LLR_DEFERRED_MAX * sizeof(struct llrph_deferred);

	engine->frame_max = LLR_FRAME_SIZE_MAX(engine->options.max_message);
	engine->stage_size = llr_round_up(engine->frame_max, LLR_SESSION_PAGE);
	engine->stage = llr_memory_map(engine->stage_size, "largest message");
	engine->deferred = llr_memory_map(deferred_size, "deferred requests");
	if (engine->stage == NULL || engine->deferred == NULL)
		return -ENOMEM;
	for (uint32_t i = LLR_DEFERRED_MAX; i > 0; i--) {
		engine->deferred[i - 1].next = engine->deferred_free;
		engine->deferred_free = &engine->deferred[i - 1];
	}
	return sessions_take(engine);
}

int llr_engine_create(struct llrph_engine **engine, const struct llr_engine_setup *setup,
		      struct llrph_error *error)
{
	struct llrph_engine *made = llr_memory_map(sizeof(*made), "engine");

	LLR_ASSERT(setup->stats != NULL && setup->secret != NULL && setup->sessions != NULL);
	if (made == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for the engine");
	made->clock = *setup->clock;
	made->options = setup->options;
	made->stats = setup->stats;
	made->counters = llr_stats_counters(setup->stats, setup->worker);
	made->secret = setup->secret;
	made->sessions_memory = setup->sessions;
	made->worker = setup->worker;
	made->successor = setup->successor;
	made->credits_share = UINT32_MAX;
	made->epoll_fd = -1;
	made->now_ns = llr_clock_now(&made->clock);
	if (made->clock.virtual_ns == NULL)
		made->wall_offset_ns = llr_clock_wall_ns() - llr_clock_now(&made->clock);
	if (memory_take(made) != 0) {
		llrph_engine_close(made);
		return llr_error_set(error, -ENOMEM,
				     "no memory for %u bytes of sessions: lower --session-memory",
				     setup->options.session_memory);
	}
	*engine = made;
	return 0;
}

static unsigned int place_of(unsigned int traits)
{
	unsigned int place = 0;

	place |= (traits & LLR_TRAIT_CONNECTED) != 0 ? LLR_PLACE_CONNECTED : 0U;
	place |= (traits & LLR_TRAIT_STREAM) != 0 ? LLR_PLACE_STREAM : 0U;
	place |= (traits & LLR_TRAIT_NO_CRC) != 0 ? LLR_PLACE_NO_CRC : 0U;
	return place;
}

int llr_engine_attach(struct llrph_engine *engine, struct llr_transport *transport)
{
	struct llr_listener *listener = &engine->listeners[engine->listener_count];

	LLR_ASSERT(!engine->started && transport != NULL);
	if (engine->listener_count == LLR_LISTENERS_MAX)
		return -ENOMEM;
	listener->engine = engine;
	listener->transport = transport;
	listener->framing = &llr_framing_llrp;
	listener->place = place_of(transport->ops->traits);
	listener->index = (uint16_t)engine->listener_count;
	listener->cheap = strcmp(transport->ops->scheme, "shm") == 0;
	if ((transport->ops->traits & LLR_TRAIT_STREAM) != 0) {
		listener->streams = llr_memory_map(engine->options.connections_max *
							   sizeof(struct llr_stream_state),
						   "framing of connections");
		if (listener->streams == NULL || streams_take(engine) != 0)
			return -ENOMEM;
	}
	if (strcmp(transport->ops->scheme, "udp") == 0)
		listener->queue_capacity = llr_udp_queue_capacity(transport);
	engine->listener_count++;
	llr_credits_share(engine);
	return 0;
}

int llr_engine_start(struct llrph_engine *engine, struct llrph_error *error)
{
	LLR_ASSERT(!engine->started);
	if (engine->listener_count == 0)
		return llr_error_set(error, -EINVAL, "no endpoint: listen on one first");
	if (engine->method_count == 0)
		return llr_error_set(error, -EINVAL, "no service: register one first");
	for (unsigned int i = 0; i < engine->method_count; i++)
		engine->methods[i].stats = llr_stats_method(engine->stats, engine->worker, i);
	engine->now_ns = llr_clock_now(&engine->clock);
	engine->sweep_ns = engine->now_ns + SWEEP_NS;
	if (llr_wait_open(engine) < 0)
		return llr_error_set(error, -errno,
				     "no epoll descriptor: raise the limit (ulimit -n)");
	engine->started = true;
	if (engine->successor)
		llr_engine_recover(engine);
	llr_freeze();
	return 0;
}

uint64_t llr_engine_random(struct llrph_engine *engine)
{
	return llr_cookie_random(engine->secret->cookie_keys,
				 engine->now_ns ^ ((uint64_t)engine->worker << 56),
				 engine->random_count++);
}

static void sweep_session(struct llrph_engine *engine, struct llr_session *session)
{
	if (session->id == 0)
		return;
	if (session->datagram != NULL &&
	    llr_reassembly_expire(&session->datagram->reassembly, engine->now_ns))
		engine->counters->fragments_expired++;
	if (engine->now_ns < session->last_ns ||
	    engine->now_ns - session->last_ns < LLR_SESSION_IDLE_NS)
		return;
	engine->counters->sessions_expired++;
	llr_session_end(engine, session);
}

void llr_engine_sweep(struct llrph_engine *engine)
{
	uint32_t count = engine->sessions.shape.count;
	uint32_t all = count + engine->streams.shape.count;

	engine->sweep_ns = engine->now_ns + SWEEP_NS;
	for (uint32_t i = 0; i < SWEEP_COUNT && i < all; i++) {
		uint32_t at = engine->sweep_at < all ? engine->sweep_at : 0;

		sweep_session(engine, at < count ? &engine->sessions.items[at]
						 : &engine->streams.items[at - count]);
		engine->sweep_at = at + 1;
	}
	if (engine->recover_ns != 0 && engine->now_ns >= engine->recover_ns)
		llr_engine_recover_end(engine);
}

unsigned int llr_engine_deferred_count(const struct llrph_engine *engine)
{
	return engine->deferred_count;
}

unsigned int llrph_engine_stop(struct llrph_engine *engine)
{
	engine->stopping = true;
	return engine->deferred_count;
}

const char *llrph_engine_endpoint(const struct llrph_engine *engine, unsigned int index)
{
	return index < engine->listener_count ? engine->listeners[index].transport->uri : NULL;
}
