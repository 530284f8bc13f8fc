/* SPDX-License-Identifier: MIT */
/*
 * llrph bench inside: what was asked for (bench.c), what is sent (bench_load.c), the closed loop
 * (bench_run.c), replies kept on disk (bench_save.c) and the report (bench_report.c).
 *
 * Thread: the process's only one. All memory is taken before the first request.
 */
#ifndef LLR_CLI_BENCH_H
#define LLR_CLI_BENCH_H

#include "base/clock.h"
#include "base/histogram.h"

#include <llrph/client.h>
#include <stdbool.h>
#include <stdio.h>

#define LLR_BENCH_BITS       11U /* three significant digits */
#define LLR_BENCH_STATUS_MAX 600U

enum llr_bench_framing {
	LLR_BENCH_ITCH,     /* u16 big-endian size, message; a size of 0 ends the file */
	LLR_BENCH_LINES,    /* up to a newline, which is not sent */
	LLR_BENCH_LENGTH32, /* u32 little-endian size, message */
};

/* What was asked for; the texts are borrowed from argv. */
struct llr_bench_plan {
	const char *uri;
	const char *method;
	const char *data;       /* NULL: payloads of size bytes */
	const char *save;       /* NULL: replies are not kept */
	uint64_t framing;       /* enum llr_bench_framing; of data */
	uint64_t size;          /* without data */
	uint64_t request_count; /* 0: until the time is over */
	uint64_t duration_ns;   /* 0: until the requests are done */
	uint64_t warmup_count;
	uint64_t outstanding; /* 1..1024 */
	uint64_t timeout_ns;
	uint64_t cpu;       /* UINT64_MAX: wherever it runs */
	unsigned int idle;  /* enum llrph_idle */
	unsigned int flags; /* enum llrph_request_flag */
	bool echo;          /* replies must be what was sent */
	bool json;
};

struct llr_bench_message {
	const uint8_t *bytes; /* borrows from the load */
	uint32_t size;
};

/* The payloads, in order; request n sends message n mod count. */
struct llr_bench_load {
	uint8_t *bytes;                     /* owns; the file, or the pattern */
	size_t bytes_size;                  /* as mapped */
	struct llr_bench_message *messages; /* owns */
	size_t messages_size;               /* as mapped */
	uint64_t count;
	uint64_t total_size; /* of all messages */
	uint32_t size_max;
	bool stamped; /* a pattern: its first 8 bytes are the request's number, where they fit */
};

/* 0, or an exit status after a complaint. */
int llr_bench_load_open(struct llr_bench_load *load, const struct llr_bench_plan *plan);
void llr_bench_load_close(struct llr_bench_load *load);

#define LLR_BENCH_ERROR_ITEM(name, code, http, retry, text) LLR_BENCH_ERROR_##name,
enum llr_bench_error {
	LLRPH_ERROR_TABLE(LLR_BENCH_ERROR_ITEM) LLR_BENCH_WRONG_PAYLOAD, /* an echo that is none */
	LLR_BENCH_UNKNOWN, /* a code that is not in the table */
	LLR_BENCH_ERROR_COUNT,
};
#undef LLR_BENCH_ERROR_ITEM

struct llr_bench_result {
	uint64_t *histogram; /* owns; of good replies, bits LLR_BENCH_BITS */
	uint64_t good;       /* answered 2xx with the right payload */
	uint64_t failed;
	uint64_t errors[LLR_BENCH_ERROR_COUNT];
	uint64_t statuses[LLR_BENCH_STATUS_MAX]; /* not 2xx */
	uint64_t min_ns;
	uint64_t max_ns;
	uint64_t elapsed_ns;
	bool interrupted;
};

/*
 * Replies in request order, as length32 records: u32 little-endian size, payload; for what did not
 * end with a 2xx, size 0xFFFFFFFF and u16 status (0: no reply came).
 */
struct llr_bench_save;
int llr_bench_save_open(struct llr_bench_save **save, const struct llr_bench_plan *plan,
			uint32_t reply_size_max);
/* How many requests may have been begun by now: what is not written yet must fit. */
uint64_t llr_bench_save_limit(const struct llr_bench_save *save);
/* A reply, or a part of one (completion->more), to request number. */
void llr_bench_save_reply(struct llr_bench_save *save, uint64_t number,
			  const struct llrph_completion *completion);
/* 0, or an exit status after a complaint. NULL is allowed. */
int llr_bench_save_close(struct llr_bench_save *save);

/* What the loop needs; all borrowed. */
struct llr_bench {
	const struct llr_bench_plan *plan;
	const struct llr_bench_load *load;
	const struct llr_clock *clock;
	struct llrph_client *client;
	struct llr_bench_save *save; /* NULL: none */
	uint32_t route;              /* of the method */
	struct llr_bench_result *result;
};

/* Warms up, then measures until requests, time or patience are over. */
void llr_bench_run(const struct llr_bench *bench);
/* SIGINT and SIGTERM end the run cleanly from now on; a second one at once. */
void llr_bench_catch_signals(void);

void llr_bench_print_progress(const struct llr_bench *bench, uint64_t elapsed_ns);
void llr_bench_report(FILE *out, const struct llr_bench *bench);

#endif
