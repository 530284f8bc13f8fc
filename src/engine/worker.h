/* SPDX-License-Identifier: MIT */
/*
 * A worker: one process with one thread on one cpu, which turns one engine until its supervisor
 * says stop, or dies.
 *
 * It is forked with everything that must outlive it already there: sockets, lanes, session table,
 * stats page, secret. What it makes itself (services' state, buffers) dies with it.
 */
#ifndef LLR_ENGINE_WORKER_H
#define LLR_ENGINE_WORKER_H

#include "engine/kept.h"

#include <sys/types.h>

#define LLR_WORKER_EXIT_SETUP 3 /* exit status after a report that is not 0 */

/* A worker's one message to its supervisor: whether it is ready. At most PIPE_BUF: never torn. */
struct llr_worker_report {
	pid_t pid;
	unsigned int worker;
	int code; /* 0: ready; else why not, negative */
	struct llrph_error error;
};

struct llr_worker_setup {
	struct llr_kept *kept; /* borrows: this process's copy */
	unsigned int index;
	pid_t supervisor;
	int report_fd;  /* borrows; a pipe */
	bool successor; /* somebody was worker index before */
};

/* In the child after fork, with the supervisor's signals blocked; ends the process. */
_Noreturn void llr_worker_run(const struct llr_worker_setup *setup);

#endif
