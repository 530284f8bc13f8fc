/* SPDX-License-Identifier: MIT */
/*
 * Makes and ends what outlives a worker. The order matters: a port that is taken must fail before
 * anything is written; the page's lock must be ours before a dead server's sockets are cleaned.
 *
 * Thread: set-up's. Owns what struct llr_kept says.
 */
#include "engine/kept.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#define DESCRIPTORS      64U /* for everything but connections and lanes */
#define LANE_DESCRIPTORS 4U  /* two memfds, an eventfd, a connection */
#define MIB              (1024.0 * 1024.0)

static uint64_t random_u64(void)
{
	uint64_t value = 0;

	/* At most 256 bytes are never interrupted nor cut short once the kernel has entropy. */
	LLR_MUST(getrandom(&value, sizeof(value), 0) == (ssize_t)sizeof(value));
	return value;
}

void llr_kept_new_epoch(struct llr_kept *kept)
{
	/* Workers read it at each HELLO; any moment is as good as another for them to see it. */
	__atomic_store_n(&kept->shared->secret.epoch, random_u64(), __ATOMIC_RELAXED);
}

/*
 * Takes all the descriptors that we may. Where that is not enough for every connection and lane
 * that was asked for, serving begins all the same: accepting pauses when they are used up.
 */
static void raise_descriptors(struct llr_kept *kept)
{
	const struct llrph_engine_options *engine = &kept->engine;
	uint64_t wanted = DESCRIPTORS + engine->connections_max +
			  (uint64_t)LANE_DESCRIPTORS * engine->lanes_max;
	struct rlimit limit;
	char text[160];

	LLR_MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
		LLR_MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	}
	if (limit.rlim_cur >= wanted)
		return;
	(void)snprintf(text, sizeof(text),
		       "%llu descriptors allowed, up to %llu wanted: clients beyond wait; raise "
		       "ulimit -n or LimitNOFILE=",
		       (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
	llr_log("fallback: %s", text);
	llr_stats_fallback(kept->stats, text);
}

static int open_sockets(struct llr_kept *kept, struct llrph_error *error)
{
	struct llr_inheritance inheritance;
	int code = llr_inherit(&inheritance, error);

	if (code != 0)
		return code;
	code = llr_endpoints_open_sockets(&kept->endpoints, kept->config, &inheritance, error);
	llr_inherit_close(&inheritance);
	return code;
}

static int open_stats(struct llr_kept *kept, struct llrph_error *error)
{
	const char *listeners[LLR_LISTENERS_MAX];
	const char *methods[LLR_METHODS_MAX];
	struct llr_stats_shape shape = {.name = kept->config->name,
					.worker_count = kept->config->workers,
					.listener_count = kept->endpoints.count,
					.listeners = listeners,
					.methods = methods};

	for (unsigned int i = 0; i < kept->endpoints.count; i++)
		listeners[i] = kept->endpoints.list[i].uri.text;
	for (unsigned int i = 0; i < kept->config->service_count; i++) {
		const struct llrph_service *service = kept->plugins[i].service;

		for (unsigned int j = 0; j < service->method_count; j++) {
			LLR_ASSERT(shape.method_count < LLR_METHODS_MAX);
			methods[shape.method_count++] = service->methods[j].name;
		}
	}
	return llr_stats_create(&kept->stats, &shape, error);
}

static int open_memory(struct llr_kept *kept, struct llrph_error *error)
{
	kept->shared = llr_memory_map_shared(sizeof(*kept->shared), "secret and flags");
	if (kept->shared == NULL)
		return llr_error_set(error, -errno, "out of memory at set-up: free some");
	LLR_MUST(getrandom(&kept->shared->secret, sizeof(kept->shared->secret), 0) ==
		 (ssize_t)sizeof(kept->shared->secret));
	atomic_init(&kept->shared->stopping, 0);

	kept->sessions_size = llr_sessions_size(&kept->engine);
	for (unsigned int i = 0; i < kept->config->workers; i++) {
		kept->sessions[i] = llr_memory_map_shared(kept->sessions_size, "session tables");
		if (kept->sessions[i] == NULL)
			return llr_error_set(error, -ENOMEM,
					     "no memory for %u session tables of %.1f MiB: lower "
					     "--session-memory, --sessions or --workers",
					     kept->config->workers,
					     (double)kept->sessions_size / MIB);
	}
	return 0;
}

int llr_kept_open(struct llr_kept *kept, const struct llr_config *config,
		  const struct llr_plugin *plugins, struct llrph_error *error)
{
	struct llrph_engine_options wished;
	int code;

	LLR_ASSERT(config->workers >= 1);
	LLR_ASSERT(config->workers <= LLR_WORKERS_MAX);
	memset(kept, 0, sizeof(*kept));
	kept->config = config;
	kept->plugins = plugins;
	llr_config_engine_options(config, &wished);
	code = llr_engine_options_resolve(&kept->engine, &wished, error);
	if (code != 0)
		return code;
	llr_clock_init(&kept->clock);

	code = open_sockets(kept, error);
	if (code == 0)
		code = open_stats(kept, error);
	if (code == 0) {
		raise_descriptors(kept);
		code = llr_endpoints_open_hosts(&kept->endpoints, config, &kept->engine,
						&kept->clock, error);
	}
	if (code == 0)
		code = open_memory(kept, error);
	if (code != 0)
		llr_kept_close(kept);
	if (code == -EMFILE) /* whatever met it, the remedy is one */
		return llr_error_set(error, code,
				     "out of descriptors at set-up: raise ulimit -n or "
				     "LimitNOFILE=");
	return code;
}

void llr_kept_close(struct llr_kept *kept)
{
	llr_endpoints_close(&kept->endpoints);
	for (unsigned int i = 0; i < kept->config->workers; i++) {
		if (kept->sessions[i] != NULL)
			llr_memory_unmap(kept->sessions[i], kept->sessions_size);
		kept->sessions[i] = NULL;
	}
	if (kept->shared != NULL)
		llr_memory_unmap(kept->shared, sizeof(*kept->shared));
	kept->shared = NULL;
	/* Last: its lock is what keeps the name ours. */
	if (kept->stats != NULL)
		llr_stats_close(kept->stats);
	kept->stats = NULL;
}

void llr_kept_print_memory(const struct llr_kept *kept)
{
	const struct llr_memory_line *lines;
	unsigned int count = llr_memory_lines(&lines);
	unsigned int workers = kept->config->workers;
	double total = (double)llr_memory_total();

	for (unsigned int i = 0; i < count; i++)
		llr_log("memory: %8.2f MiB  %s", (double)lines[i].size / MIB, lines[i].what);
	LLR_ASSERT(kept->shared->memory_count <= LLR_KEPT_MEMORY_LINES);
	for (unsigned int i = 0; i < kept->shared->memory_count; i++) {
		const struct llr_kept_memory *memory = &kept->shared->memory[i];

		llr_log("memory: %8.2f MiB  %s%s", (double)memory->size * workers / MIB,
			memory->what, workers == 1 ? "" : " (all workers)");
		total += (double)memory->size * workers;
	}
	llr_log("memory: %8.2f MiB  in all", total / MIB);
}
