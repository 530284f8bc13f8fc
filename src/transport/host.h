/* SPDX-License-Identifier: MIT */
/*
 * The host of the lanes: makes them, hands them to clients on a UNIX socket in the runtime folder,
 * gives each to a worker, and takes everything back when a client or a worker dies. It lives in
 * the process that outlives the workers (the supervisor), or in the embedding process itself,
 * where llr_shm_listen() turns it along and nobody else has to.
 *
 * Thread: its process's one that calls it. Nothing here blocks, but llr_lane_host_open (files).
 *
 * Order of a supervisor's life:
 *   open; for each worker: fork; child: worker_forked, llr_shm_listen; parent: epoll on fd, turn;
 *   a worker died: worker_died, then fork its successor under the same number.
 */
#ifndef LLR_TRANSPORT_HOST_H
#define LLR_TRANSPORT_HOST_H

#include "base/clock.h"

#include <llrph/error.h>

#include <stdbool.h>
#include <stdint.h>

struct llr_lane_host;

/* Read during llr_lane_host_open() alone, but for clock. */
struct llr_lane_host_setup {
	const char *name;              /* of the socket: NAME.sock in the runtime folder */
	const struct llr_clock *clock; /* borrows, for the host's life */
	const char *uids;      /* "0,1000": who may attach besides the own uid; NULL: mode alone */
	uint32_t lanes_max;    /* clients at once; 0: LLR_LANES_DEFAULT */
	uint32_t worker_count; /* 1..LLR_WORKERS_MAX */
	uint32_t message_max;  /* bytes of payload; 0: LLR_PAYLOAD_SIZE_DEFAULT */
	uint32_t mode;         /* permission bits of the socket; 0: 0600 */
	int inherited_fd;      /* a listening SOCK_SEQPACKET socket (systemd); -1: make one */
	bool hugepages;        /* demanded for lanes: without any, open fails */
	bool spin;             /* workers never park: clients need not wake them */
};

/*
 * 0; -EEXIST a living server has the name; -EINVAL name, uids or sizes make no sense; -EACCES,
 * -ENOENT the runtime folder; -ENOMEM, -EMFILE; error names the remedy. What a dead server left
 * under the name is cleaned.
 */
int llr_lane_host_open(struct llr_lane_host **host, const struct llr_lane_host_setup *setup,
		       struct llrph_error *error);

/* An epoll descriptor, readable when turn has work. Timers need turn every 100 ms as well. */
int llr_lane_host_fd(const struct llr_lane_host *host);

/* Accepts, hands over, notices clients that died, listens to workers. Never blocks. */
void llr_lane_host_turn(struct llr_lane_host *host);

/* In the child after fork, before llr_shm_listen: closes every end that is not this worker's. */
void llr_lane_host_worker_forked(struct llr_lane_host *host, unsigned int worker);

/* In the parent, before the successor is forked: a fresh channel; lanes stay as they are. */
void llr_lane_host_worker_died(struct llr_lane_host *host, unsigned int worker);

/* Lanes that are in use or being set up or taken down. */
uint32_t llr_lane_host_lanes(const struct llr_lane_host *host);

/* The socket's path, for unlink in a signal handler; "" with an inherited socket. */
const char *llr_lane_host_path(const struct llr_lane_host *host);

/*
 * In the process that opened it: removes the socket, ends all lanes, frees all. In a worker: drops
 * what the worker has of it. NULL is allowed. Close the listen transport first.
 */
void llr_lane_host_close(struct llr_lane_host *host);

#endif
