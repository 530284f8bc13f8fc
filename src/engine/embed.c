/* SPDX-License-Identifier: MIT */
/*
 * The engine inside somebody's own program: it takes for itself what a supervisor would keep.
 *
 * Until the first turn the counters are private words, for the stats page is laid out when all
 * endpoints and services are known. A service's own counters stay private.
 *
 * Thread: the program's that calls the turn. Owns: struct embedded.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/memory.h"
#include "transport/host.h"
#include "transport/shm.h"
#include "transport/tcp.h"
#include "transport/udp.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

struct embedded {
	struct llr_clock clock;
	struct llr_secret secret;
	struct llr_stats *stats;    /* owns; a private page, until start lays out the real one */
	struct llr_stats *page;     /* owns; NULL before start */
	struct llr_lane_host *host; /* owns; NULL: no shm endpoint */
	void *sessions;             /* owns */
	size_t sessions_size;
	struct llr_allow allow;
	struct llr_transport_counters counters[LLR_LISTENERS_MAX]; /* until the first turn */
	char name[LLR_NAME_SIZE_MAX + 1];
	char uids[256];
};

void llr_embedded_close(void *memory)
{
	struct embedded *embedded = memory;

	if (embedded->host != NULL)
		llr_lane_host_close(embedded->host);
	if (embedded->page != NULL)
		llr_stats_close(embedded->page);
	if (embedded->stats != NULL)
		llr_stats_close(embedded->stats);
	if (embedded->sessions != NULL)
		llr_memory_unmap(embedded->sessions, embedded->sessions_size);
	llr_memory_unmap(embedded, sizeof(*embedded));
}

/* Texts of the options are borrowed during open alone: what is needed later is copied. */
static int texts_copy(struct embedded *embedded, struct llrph_engine_options *options,
		      struct llrph_error *error)
{
	int named = options->name == NULL
			    ? snprintf(embedded->name, sizeof(embedded->name), "llrph-%d",
				       (int)getpid())
			    : snprintf(embedded->name, sizeof(embedded->name), "%s", options->name);

	if (named < 0 || (size_t)named >= sizeof(embedded->name))
		return llr_error_set(error, -EINVAL, "name is longer than %u bytes",
				     LLR_NAME_SIZE_MAX);
	options->name = embedded->name;
	if (options->shm_uids != NULL) {
		if (strlen(options->shm_uids) >= sizeof(embedded->uids))
			return llr_error_set(error, -EINVAL, "shm_uids: the list is too long");
		(void)snprintf(embedded->uids, sizeof(embedded->uids), "%s", options->shm_uids);
		options->shm_uids = embedded->uids;
	}
	return options->allow == NULL ? 0
				      : llr_allow_parse(&embedded->allow, options->allow, error);
}

static int embedded_fill(struct embedded *embedded, struct llrph_engine_options *options,
			 struct llrph_error *error)
{
	static const char *const none[1] = {""};
	struct llr_stats_shape shape = {
		.name = embedded->name,
		.worker_count = 1,
		.listener_count = 1,
		.listeners = none,
		.method_count = 1,
		.methods = none,
	};
	int code = texts_copy(embedded, options, error);

	if (code < 0)
		return code;
	llr_clock_init(&embedded->clock);
	randombytes_buf(&embedded->secret, sizeof(embedded->secret));
	embedded->sessions_size = llr_sessions_size(options);
	embedded->sessions = llr_memory_map_shared(embedded->sessions_size, "sessions");
	if (embedded->sessions == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for %zu bytes of sessions",
				     embedded->sessions_size);
	return llr_stats_create_private(&embedded->stats, &shape, error);
}

int llrph_engine_open(struct llrph_engine **engine, const struct llrph_engine_options *options,
		      struct llrph_error *error)
{
	struct llr_engine_setup setup = {0};
	struct embedded *embedded;
	int code = llr_engine_options_resolve(&setup.options, options, error);

	LLR_ASSERT(engine != NULL);
	if (code < 0)
		return code;
	if (sodium_init() < 0)
		return llr_error_set(error, -ENOTSUP, "libsodium can't start: no random numbers");
	embedded = llr_memory_map(sizeof(*embedded), "engine");
	if (embedded == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for the engine");
	code = embedded_fill(embedded, &setup.options, error);
	if (code == 0) {
		setup.clock = &embedded->clock;
		setup.stats = embedded->stats;
		setup.secret = &embedded->secret;
		setup.sessions = embedded->sessions;
		code = llr_engine_create(engine, &setup, error);
	}
	if (code < 0) {
		llr_embedded_close(embedded);
		return code;
	}
	(*engine)->embedded = embedded;
	return 0;
}

static int shm_open(struct llrph_engine *engine, struct embedded *embedded,
		    const struct llr_uri *uri, struct llr_transport **transport,
		    struct llrph_error *error)
{
	struct llr_lane_host_setup setup = {
		.name = uri->name,
		.clock = &embedded->clock,
		.uids = engine->options.shm_uids,
		.lanes_max = engine->options.lanes_max,
		.worker_count = 1,
		.message_max = engine->options.max_message,
		.mode = engine->options.shm_mode,
		.inherited_fd = -1,
		.hugepages = engine->options.hugepages != 0,
	};
	int code;

	if (embedded->host != NULL)
		return llr_error_set(error, -EEXIST, "%s: an engine has one shm endpoint",
				     uri->text);
	code = llr_lane_host_open(&embedded->host, &setup, error);
	if (code < 0)
		return code;
	return llr_shm_listen(transport, embedded->host, 0, "own",
			      &embedded->counters[engine->listener_count], &embedded->clock, error);
}

static int udp_open(struct llrph_engine *engine, struct embedded *embedded,
		    const struct llr_uri *uri, struct llr_transport **transport,
		    struct llrph_error *error)
{
	struct llr_udp_setup setup = {
		.allow = &embedded->allow,
		.counters = &embedded->counters[engine->listener_count],
		.clock = &embedded->clock,
	};
	int code = llr_udp_socket(uri, false, &setup.fd, error);

	if (code < 0)
		return code;
	code = llr_udp_listen(transport, &setup, error);
	if (code < 0)
		(void)close(setup.fd);
	return code;
}

static int tcp_open(struct llrph_engine *engine, struct embedded *embedded,
		    const struct llr_uri *uri, struct llr_transport **transport,
		    struct llrph_error *error)
{
	struct llr_tcp_setup setup = {
		.allow = &embedded->allow,
		.counters = &embedded->counters[engine->listener_count],
		.clock = &embedded->clock,
		.connections_max = engine->options.connections_max,
		.message_max = engine->frame_max,
	};
	int code = llr_tcp_socket(uri, false, &setup.fd, error);

	if (code < 0)
		return code;
	code = llr_tcp_listen(transport, &setup, error);
	if (code < 0)
		(void)close(setup.fd);
	return code;
}

int llrph_engine_listen(struct llrph_engine *engine, const char *uri_text,
			struct llrph_error *error)
{
	struct embedded *embedded = engine->embedded;
	struct llr_transport *transport = NULL;
	struct llr_uri uri;
	int code = llr_uri_parse(&uri, uri_text, error);

	LLR_ASSERT(embedded != NULL && !engine->started);
	if (code < 0)
		return code;
	if (engine->listener_count == LLR_LISTENERS_MAX)
		return llr_error_set(error, -ENOMEM, "more than %u endpoints", LLR_LISTENERS_MAX);
	if (uri.scheme == LLR_SCHEME_SHM)
		code = shm_open(engine, embedded, &uri, &transport, error);
	else if (uri.scheme == LLR_SCHEME_UDP)
		code = udp_open(engine, embedded, &uri, &transport, error);
	else
		code = tcp_open(engine, embedded, &uri, &transport, error);
	if (code < 0)
		return code;
	LLR_ASSERT(transport != NULL);
	code = llr_engine_attach(engine, transport);
	if (code < 0) {
		transport->ops->close(transport);
		return llr_error_set(error, code, "%s: no memory for its sessions", uri.text);
	}
	return 0;
}

/* Lays the stats page out, now that all is known, and takes the first counts along. */
static int page_open(struct llrph_engine *engine, struct embedded *embedded,
		     struct llrph_error *error)
{
	const char *listeners[LLR_LISTENERS_MAX];
	const char *methods[LLR_METHODS_MAX];
	struct llr_stats_shape shape = {
		.name = embedded->name,
		.worker_count = 1,
		.listener_count = engine->listener_count,
		.listeners = listeners,
		.method_count = engine->method_count,
		.methods = methods,
	};
	struct llr_stats *page;
	int code;

	for (unsigned int i = 0; i < engine->listener_count; i++)
		listeners[i] = engine->listeners[i].transport->uri;
	for (unsigned int i = 0; i < engine->method_count; i++)
		methods[i] = engine->methods[i].spec->name;
	code = llr_stats_create(&page, &shape, error);
	if (code < 0)
		return code;
	*llr_stats_counters(page, 0) = *engine->counters;
	engine->counters = llr_stats_counters(page, 0);
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_transport *transport = engine->listeners[i].transport;

		*llr_stats_transport(page, 0, i) = *transport->counters;
		transport->counters = llr_stats_transport(page, 0, i);
	}
	/* The first page stays: services may count in its words. It goes with the engine. */
	embedded->page = page;
	engine->stats = page;
	return 0;
}

int llrph_engine_start(struct llrph_engine *engine, struct llrph_error *error)
{
	struct embedded *embedded = engine->embedded;
	int code;

	LLR_ASSERT(embedded != NULL && !engine->started);
	if (engine->listener_count == 0 || engine->method_count == 0)
		return llr_engine_start(engine, error);
	code = page_open(engine, embedded, error);
	return code < 0 ? code : llr_engine_start(engine, error);
}
