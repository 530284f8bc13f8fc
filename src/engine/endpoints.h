/* SPDX-License-Identifier: MIT */
/*
 * What a server listens on, as the supervisor keeps it across its workers' deaths: bound sockets
 * and the hosts of shared-memory lanes. A worker makes its transports over them.
 *
 * Sockets come first, for their real ports go onto the stats page; hosts come after the page, for
 * its lock says that whatever lies under our name is a dead server's.
 *
 * Thread: set-up's. Owned by the supervisor; a worker has a copy of all of it, by fork.
 */
#ifndef LLR_ENGINE_ENDPOINTS_H
#define LLR_ENGINE_ENDPOINTS_H

#include "engine/config.h"
#include "engine/inherit.h"
#include "transport/host.h"

struct llr_endpoint {
	struct llr_uri uri;       /* with the real port */
	int fds[LLR_WORKERS_MAX]; /* udp, tcp: owns one for each worker; shm: -1 */
	bool shared;              /* all workers use fds[0]: a tcp socket that was handed down */
	int handed_fd;            /* shm: owns a socket that was handed down; -1: none, or given */
	struct llr_lane_host *host; /* shm: owns, from llr_endpoints_open_hosts on; else NULL */
};

struct llr_endpoints {
	struct llr_endpoint list[LLR_LISTENERS_MAX];
	unsigned int count;
	unsigned int worker_count;
};

/*
 * Opens or adopts what config names, then what was handed down and nobody named. What was adopted
 * is taken from inheritance. 0; -EINVAL nothing to listen on, or more than it can be; else as
 * llr_udp_socket and llr_tcp_socket. After a failure nothing is open.
 */
int llr_endpoints_open_sockets(struct llr_endpoints *endpoints, const struct llr_config *config,
			       struct llr_inheritance *inheritance, struct llrph_error *error);
/* engine: resolved. 0, or as llr_lane_host_open; what was opened stays for llr_endpoints_close. */
int llr_endpoints_open_hosts(struct llr_endpoints *endpoints, const struct llr_config *config,
			     const struct llrph_engine_options *engine,
			     const struct llr_clock *clock, struct llrph_error *error);

/* In the child: closes what is other workers'. */
void llr_endpoints_forked(struct llr_endpoints *endpoints, unsigned int worker);
/* In the parent, before the successor is forked. */
void llr_endpoints_worker_died(struct llr_endpoints *endpoints, unsigned int worker);

/* The socket that a worker serves an endpoint on; udp and tcp. */
int llr_endpoint_fd(const struct llr_endpoint *endpoint, unsigned int worker);

/* Ends everything; sockets of shm are removed from the runtime folder. */
void llr_endpoints_close(struct llr_endpoints *endpoints);

#endif
