/* SPDX-License-Identifier: MIT */
/*
 * Sockets and lane hosts of a server: opened once, before the first fork.
 *
 * SO_REUSEPORT lets anybody of our user join a port, another server too, and the kernel would deal
 * out its requests between the two. So a port is first bound without it, which fails where anybody
 * is; then, on the same port, once for each worker.
 *
 * Thread: set-up's. Owns every descriptor in struct llr_endpoints.
 */
#include "engine/endpoints.h"

#include "base/assert.h"
#include "base/log.h"
#include "transport/tcp.h"
#include "transport/udp.h"

#include <string.h>
#include <unistd.h>

static int open_socket(const struct llr_uri *uri, bool reuse_port, int *fd,
		       struct llrph_error *error)
{
	LLR_ASSERT(uri->scheme != LLR_SCHEME_SHM);
	return uri->scheme == LLR_SCHEME_UDP ? llr_udp_socket(uri, reuse_port, fd, error)
					     : llr_tcp_socket(uri, reuse_port, fd, error);
}

static struct llr_endpoint *append(struct llr_endpoints *endpoints, const struct llr_uri *uri)
{
	struct llr_endpoint *endpoint = &endpoints->list[endpoints->count];

	LLR_ASSERT(endpoints->count < LLR_LISTENERS_MAX);
	endpoints->count++;
	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->uri = *uri;
	endpoint->handed_fd = -1;
	for (unsigned int i = 0; i < LLR_WORKERS_MAX; i++)
		endpoint->fds[i] = -1;
	return endpoint;
}

/* Binds for one worker, or finds out the port and binds for each. */
static int open_fresh(struct llr_endpoint *endpoint, unsigned int worker_count,
		      struct llrph_error *error)
{
	int code = open_socket(&endpoint->uri, false, &endpoint->fds[0], error);

	if (code != 0)
		return code;
	code = llr_uri_of_socket(&endpoint->uri, endpoint->uri.scheme, endpoint->fds[0]);
	if (code != 0)
		return llr_error_set(error, code, "%s: %s", endpoint->uri.text, strerror(-code));
	if (worker_count == 1)
		return 0;
	(void)close(endpoint->fds[0]);
	endpoint->fds[0] = -1;
	for (unsigned int i = 0; i < worker_count && code == 0; i++)
		code = open_socket(&endpoint->uri, true, &endpoint->fds[i], error);
	return code;
}

static int adopt(struct llr_endpoint *endpoint, struct llr_inherited *inherited,
		 unsigned int worker_count, struct llrph_error *error)
{
	if (endpoint->uri.scheme == LLR_SCHEME_UDP && worker_count > 1)
		return llr_error_set(error, -EINVAL,
				     "%s was handed down as one socket, which %u workers can't "
				     "share: give --workers 1, or take it out of the socket unit",
				     endpoint->uri.text, worker_count);
	if (endpoint->uri.scheme == LLR_SCHEME_SHM)
		endpoint->handed_fd = inherited->fd;
	else
		endpoint->fds[0] = inherited->fd;
	endpoint->shared = endpoint->uri.scheme == LLR_SCHEME_TCP;
	inherited->fd = -1;
	return 0;
}

static int open_one(struct llr_endpoints *endpoints, const struct llr_uri *uri,
		    struct llr_inheritance *inheritance, struct llrph_error *error)
{
	struct llr_inherited *inherited = llr_inherit_find(inheritance, uri);
	struct llr_endpoint *endpoint = append(endpoints, uri);

	if (inherited != NULL)
		return adopt(endpoint, inherited, endpoints->worker_count, error);
	if (uri->scheme == LLR_SCHEME_SHM)
		return 0; /* llr_endpoints_open_hosts does it */
	return open_fresh(endpoint, endpoints->worker_count, error);
}

int llr_endpoints_open_sockets(struct llr_endpoints *endpoints, const struct llr_config *config,
			       struct llr_inheritance *inheritance, struct llrph_error *error)
{
	int code = 0;

	memset(endpoints, 0, sizeof(*endpoints));
	endpoints->worker_count = config->workers;
	for (unsigned int i = 0; i < config->listen_count && code == 0; i++)
		code = open_one(endpoints, &config->listen[i], inheritance, error);

	for (unsigned int i = 0; i < inheritance->count && code == 0; i++) {
		if (inheritance->sockets[i].fd < 0)
			continue;
		if (endpoints->count == LLR_LISTENERS_MAX)
			code = llr_error_set(error, -EINVAL,
					     "more than %u endpoints, those handed down included: "
					     "leave some away",
					     LLR_LISTENERS_MAX);
		else
			code = open_one(endpoints, &inheritance->sockets[i].uri, inheritance,
					error);
	}
	if (code == 0 && endpoints->count == 0)
		code = llr_error_set(error, -EINVAL,
				     "no --listen: say where to serve, as in --listen shm:demo or "
				     "--listen udp:127.0.0.1:7000");
	if (code != 0)
		llr_endpoints_close(endpoints);
	return code;
}

int llr_endpoints_open_hosts(struct llr_endpoints *endpoints, const struct llr_config *config,
			     const struct llrph_engine_options *engine,
			     const struct llr_clock *clock, struct llrph_error *error)
{
	for (unsigned int i = 0; i < endpoints->count; i++) {
		struct llr_endpoint *endpoint = &endpoints->list[i];
		struct llr_lane_host_setup setup = {
			.name = endpoint->uri.name,
			.clock = clock,
			.uids = engine->shm_uids,
			.lanes_max = engine->lanes_max,
			.worker_count = endpoints->worker_count,
			.message_max = engine->max_message,
			.mode = engine->shm_mode,
			.inherited_fd = endpoint->handed_fd,
			.hugepages = engine->hugepages != 0,
			.spin = config->idle == LLR_IDLE_SPIN,
		};
		int code;

		if (endpoint->uri.scheme != LLR_SCHEME_SHM)
			continue;
		code = llr_lane_host_open(&endpoint->host, &setup, error);
		if (code != 0)
			return code;
		endpoint->handed_fd = -1;
	}
	return 0;
}

void llr_endpoints_forked(struct llr_endpoints *endpoints, unsigned int worker)
{
	LLR_ASSERT(worker < endpoints->worker_count);
	for (unsigned int i = 0; i < endpoints->count; i++) {
		struct llr_endpoint *endpoint = &endpoints->list[i];

		if (endpoint->host != NULL)
			llr_lane_host_worker_forked(endpoint->host, worker);
		for (unsigned int j = 0; j < endpoints->worker_count && !endpoint->shared; j++) {
			if (j == worker || endpoint->fds[j] < 0)
				continue;
			(void)close(endpoint->fds[j]);
			endpoint->fds[j] = -1;
		}
	}
}

void llr_endpoints_worker_died(struct llr_endpoints *endpoints, unsigned int worker)
{
	LLR_ASSERT(worker < endpoints->worker_count);
	for (unsigned int i = 0; i < endpoints->count; i++)
		if (endpoints->list[i].host != NULL)
			llr_lane_host_worker_died(endpoints->list[i].host, worker);
}

int llr_endpoint_fd(const struct llr_endpoint *endpoint, unsigned int worker)
{
	int fd = endpoint->fds[endpoint->shared ? 0 : worker];

	LLR_ASSERT(fd >= 0);
	return fd;
}

void llr_endpoints_close(struct llr_endpoints *endpoints)
{
	for (unsigned int i = 0; i < endpoints->count; i++) {
		struct llr_endpoint *endpoint = &endpoints->list[i];

		llr_lane_host_close(endpoint->host);
		if (endpoint->handed_fd >= 0)
			(void)close(endpoint->handed_fd);
		for (unsigned int j = 0; j < endpoints->worker_count; j++)
			if (endpoint->fds[j] >= 0)
				(void)close(endpoint->fds[j]);
	}
	endpoints->count = 0;
}
