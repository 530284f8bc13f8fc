/* SPDX-License-Identifier: MIT */
/*
 * What a server keeps across its workers' deaths: sockets, lane hosts, stats page, each worker's
 * session table, the secret. Made by the supervisor before its first fork; a worker has all of it
 * by fork, and makes its engine over it.
 *
 * Thread: set-up's. Owned by the supervisor.
 */
#ifndef LLR_ENGINE_KEPT_H
#define LLR_ENGINE_KEPT_H

#include "engine/config.h"
#include "engine/endpoints.h"
#include "engine/engine.h"
#include "engine/plugin.h"

#define LLR_KEPT_MEMORY_LINES 32U
#define LLR_KEPT_WHAT_SIZE    56U

/* What one worker took for itself, for the arithmetic that serve prints. */
struct llr_kept_memory {
	char what[LLR_KEPT_WHAT_SIZE];
	uint64_t size;
};

/* One for the server, in memory that supervisor and workers share. */
struct llr_kept_shared {
	struct llr_secret secret;
	/* Set by the supervisor, once; a worker that reads 1 drains. It publishes nothing else. */
	_Atomic uint32_t stopping;
	/* Written by worker 0 before its report, which orders them for the supervisor. */
	uint32_t memory_count;
	struct llr_kept_memory memory[LLR_KEPT_MEMORY_LINES];
};

struct llr_kept {
	const struct llr_config *config;    /* borrows */
	const struct llr_plugin *plugins;   /* borrows; one for each of config's services */
	struct llrph_engine_options engine; /* resolved; its texts are config's */
	struct llr_clock clock;
	struct llr_endpoints endpoints;
	struct llr_stats *stats;         /* owns */
	struct llr_kept_shared *shared;  /* owns */
	void *sessions[LLR_WORKERS_MAX]; /* owns; shared with that worker and its successors */
	size_t sessions_size;            /* bytes of each */
};

/*
 * 0; -EINVAL what was asked for makes no sense; -EADDRINUSE, -EEXIST (the name), -EACCES, -ENOMEM,
 * ... with error filled. After a failure nothing is left but, perhaps, a stats page.
 */
int llr_kept_open(struct llr_kept *kept, const struct llr_config *config,
		  const struct llr_plugin *plugins, struct llrph_error *error);
/* Ends lanes and endpoints, removes the sockets; the stats page stays for who wants to read it. */
void llr_kept_close(struct llr_kept *kept);

/* A new epoch: sessions were lost. */
void llr_kept_new_epoch(struct llr_kept *kept);

/* "memory: 40.0 MiB for ..." for each purpose, on standard error. */
void llr_kept_print_memory(const struct llr_kept *kept);

#endif
