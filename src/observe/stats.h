/* SPDX-License-Identifier: MIT */
/*
 * The stats page: a file in the runtime folder, NAME.stats, that the server maps shared and tools
 * read without asking it. It describes itself: a directory of named words and histograms, so that
 * a reader of another version finds what it knows. Single-writer words; readers never block a
 * writer. It outlives the process, and the lock on it says whether its server lives.
 *
 * Floors: above request (counters), beside transport (its counters are listed by address alone).
 */
#ifndef LLR_OBSERVE_STATS_H
#define LLR_OBSERVE_STATS_H

#include "base/histogram.h"
#include "base/runtime.h"
#include "request/counters.h"
#include "transport/transport.h"

#include <llrph/error.h>
#include <stdbool.h>
#include <stdio.h>

#define LLR_STATS_BITS 6U /* precision of histograms: 3 % */

/* Per method and worker; single writer: the worker. */
struct llr_method_stats {
	uint64_t requests; /* handlers started */
	uint64_t failed;   /* answered 4xx or 5xx */
	uint64_t latency[LLR_HISTOGRAM_COUNT(
		LLR_STATS_BITS)]; /* ns from receipt to the reply's commit */
	uint64_t service[LLR_HISTOGRAM_COUNT(LLR_STATS_BITS)]; /* ns in the handler */
};

struct llr_stats_shape {
	const char *name;             /* the server's */
	unsigned int worker_count;    /* 1..LLR_WORKERS_MAX */
	unsigned int listener_count;  /* for each worker */
	const char *const *listeners; /* URIs; borrowed during the call */
	unsigned int method_count;
	const char *const *methods; /* full names; borrowed during the call */
};

struct llr_stats; /* a page, mapped for writing (server) or copied for reading (tool) */

/*
 * Creates NAME.stats in the runtime folder, takes an exclusive lock that lasts as long as any
 * process of this server (children of fork hold it too, those that exec do not), and lays the page
 * out. The last server's page, if it is dead, is replaced; readers that have it open keep it.
 * -EEXIST: a living server has the name; -EACCES, -ENOENT, -ENOSPC: error names the remedy.
 */
int llr_stats_create(struct llr_stats **stats, const struct llr_stats_shape *shape,
		     struct llrph_error *error);
/* A page in memory alone, for tests and for engines without a name; children of fork share it. */
int llr_stats_create_private(struct llr_stats **stats, const struct llr_stats_shape *shape,
			     struct llrph_error *error);
/* Lets go of it; NULL is allowed. The page stays in the folder and tells of its dead server. */
void llr_stats_close(struct llr_stats *stats);

/* Where the writers write; valid until close, also in children of fork. */
struct llr_counters *llr_stats_counters(struct llr_stats *stats, unsigned int worker);
struct llr_transport_counters *llr_stats_transport(struct llr_stats *stats, unsigned int worker,
						   unsigned int listener);
struct llr_method_stats *llr_stats_method(struct llr_stats *stats, unsigned int worker,
					  unsigned int method);
/*
 * A service's own counter, e.g. "book.unknown_ref" (39 bytes at most): taken before the first
 * request. The same name is the same word, whoever asks and after a worker's death too.
 * NULL: all 64 are taken.
 */
uint64_t *llr_stats_word(struct llr_stats *stats, unsigned int worker, const char *name);
/*
 * One line of text that tools show: a step down that was taken. The same line is kept once; 16 are
 * kept in all, of further ones their number. Any process of the server.
 */
void llr_stats_fallback(struct llr_stats *stats, const char *text);

/*
 * Reading, for tools: a copy of the page as it is now, checked. What other processes count
 * meanwhile is in it word by word, not all of one instant. -ENOENT no such page; -EPROTO truncated,
 * damaged or another version's; -EACCES.
 */
int llr_stats_open(struct llr_stats **stats, const char *name, struct llrph_error *error);
/* Whether a process of its server lived when the page was opened. */
bool llr_stats_is_live(const struct llr_stats *stats);

enum llr_stats_format {
	LLR_STATS_TEXT,     /* for people; what is zero is left out */
	LLR_STATS_TEXT_ALL, /* the same with zeros */
	LLR_STATS_JSON,     /* one object with everything */
};
/* A page that llr_stats_open() gave. */
void llr_stats_print(const struct llr_stats *stats, FILE *out, enum llr_stats_format format);

#endif
