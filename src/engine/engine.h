/* SPDX-License-Identifier: MIT */
/*
 * The engine inside: what a worker of a supervisor, an embedding program and the simulator set up.
 *
 * llrph_engine_open() (public) takes everything itself; llr_engine_create() takes what the
 * supervisor keeps across a worker's death: session table, stats page, secret.
 */
#ifndef LLR_ENGINE_ENGINE_H
#define LLR_ENGINE_ENGINE_H

#include "base/clock.h"
#include "observe/stats.h"
#include "transport/transport.h"

#include <llrph/engine.h>

/* Shared by all workers, written by the supervisor alone; 64 bytes of random at start. */
struct llr_secret {
	uint64_t epoch;          /* random, one for all workers */
	uint8_t cookie_keys[16]; /* SipHash key; the time period is hashed in: that is how it
				    changes */
};

struct llr_engine_setup {
	struct llrph_engine_options options; /* resolved: no zeros where a default exists */
	const struct llr_clock *clock;       /* borrows */
	struct llr_stats *stats;             /* borrows */
	struct llr_secret *secret;           /* borrows; shared memory */
	void *sessions;                      /* borrows; shared memory, llr_sessions_size() bytes */
	unsigned int worker;                 /* index on the stats page */
	bool successor;                      /* the session table is a dead worker's: recover */
};

/* Fills zeros with defaults and checks ranges. -EINVAL with error filled. */
int llr_engine_options_resolve(struct llrph_engine_options *resolved,
			       const struct llrph_engine_options *given, struct llrph_error *error);
/* Bytes of a session table for these options. */
size_t llr_sessions_size(const struct llrph_engine_options *options);

int llr_engine_create(struct llrph_engine **engine, const struct llr_engine_setup *setup,
		      struct llrph_error *error);
/* Adds an endpoint that speaks LLRP; the engine owns it from then on, and closes it. */
int llr_engine_attach(struct llrph_engine *engine, struct llr_transport *transport);
/*
 * After all services and endpoints are there, before the first turn: recovers the session table of
 * a dead worker (RUNNING slots are answered 500), then freezes memory.
 */
int llr_engine_start(struct llrph_engine *engine, struct llrph_error *error);
/* Bytes that the nth registered service says it took; 0: it does not say. */
size_t llr_engine_service_size(const struct llrph_engine *engine, unsigned int index);
/* Requests that are deferred, for draining. */
unsigned int llr_engine_deferred_count(const struct llrph_engine *engine);

#endif
