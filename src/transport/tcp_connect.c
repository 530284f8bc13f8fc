/* SPDX-License-Identifier: MIT */
/*
 * The connect role of the TCP transport: one connection, which can be made again in the same
 * memory. Owner's thread.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "transport/socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A caller's one connection has at most one partial message, small or large. */
#define SMALL_COUNT 2U
#define LARGE_COUNT 2U

/* Opens a socket and begins to connect it; what became of it is in *code: 0, -EINPROGRESS, ... */
static int begin(struct llr_tcp *tcp, int *connecting, struct llrph_error *error)
{
	struct sockaddr_storage storage;
	socklen_t size;
	int fd = -1;
	int code = llr_socket_open(&tcp->uri, &fd, error);

	if (code != 0)
		return code;
	size = llr_address_to_sockaddr(&storage, &tcp->uri.address, tcp->uri.address.family);
	*connecting = connect(fd, (const struct sockaddr *)&storage, size) == 0 ? 0 : -errno;
	if (*connecting == -EINTR) /* goes on by itself, as if it were in progress */
		*connecting = -EINPROGRESS;
	return fd;
}

/* Waits for the outcome until the clock says deadline_ns; 0 or -errno. */
static int await(int fd, uint64_t timeout_ns)
{
	uint64_t deadline_ns = llr_clock_gettime_ns() + timeout_ns;
	struct pollfd descriptor = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int code = 0;
	int ready = 0;

	/* Bound: the deadline; a signal shortens one wait, not the whole. */
	while (ready <= 0) {
		uint64_t now_ns = llr_clock_gettime_ns();
		uint64_t rest_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000U + 1 : 0;

		ready = poll(&descriptor, 1, rest_ms > INT32_MAX ? INT32_MAX : (int)rest_ms);
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready <= 0 && rest_ms == 0)
			return -ETIMEDOUT;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
		return -errno;
	return -code;
}

static int connect_again(struct llr_tcp *tcp, struct llr_peer **peer, uint64_t timeout_ns,
			 struct llrph_error *error)
{
	struct llr_tcp_connection *connection;
	enum llr_tcp_state state;
	int outcome = 0;
	int code;
	int fd = begin(tcp, &outcome, error);

	if (fd < 0)
		return fd;
	if (outcome == -EINPROGRESS && timeout_ns > 0)
		outcome = await(fd, timeout_ns);
	if (outcome != 0 && timeout_ns > 0) {
		(void)close(fd);
		return llr_socket_explain(error, tcp->uri.text, outcome);
	}

	connection = llr_tcp_take_free(tcp);
	LLR_ASSERT(connection != NULL);
	state = outcome == 0 ? LLR_TCP_OPEN : LLR_TCP_CONNECTING;
	code = llr_tcp_adopt(tcp, connection, fd, state);
	if (code != 0) {
		(void)close(fd);
		llr_tcp_list_prepend(&tcp->free, connection);
		return llr_socket_explain(error, tcp->uri.text, code);
	}
	tcp->error = 0;
	connection->peer.address = tcp->uri.address;
	connection->flags |= LLR_TCP_SEEN;
	if (outcome != 0 && outcome != -EINPROGRESS)
		llr_tcp_end(tcp, connection, outcome);
	*peer = &connection->peer;
	return 0;
}

int llr_tcp_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_tcp_connect_setup *setup, struct llrph_error *error)
{
	struct llr_tcp_sizes sizes = {
		.connections_max = 1,
		.message_max = setup->message_max,
		.small_count = SMALL_COUNT,
		.large_count = LARGE_COUNT,
	};
	struct llr_tcp *tcp = NULL;
	int code;

	LLR_ASSERT(setup->uri->scheme == LLR_SCHEME_TCP);
	LLR_ASSERT(setup->counters != NULL);
	LLR_ASSERT(setup->clock != NULL);
	code = llr_tcp_create(&tcp, &sizes);
	if (code != 0)
		return llr_socket_explain(error, setup->uri->text, code);
	tcp->uri = *setup->uri;
	tcp->transport.counters = setup->counters;
	tcp->clock = setup->clock;
	tcp->now_ns = llr_clock_now(setup->clock);
	code = connect_again(tcp, peer, setup->timeout_ns, error);
	if (code != 0) {
		llr_tcp_destroy(tcp);
		return code;
	}
	*transport = &tcp->transport;
	return 0;
}

int llr_tcp_reconnect(struct llr_transport *transport, struct llr_peer **peer, uint64_t timeout_ns,
		      struct llrph_error *error)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);
	struct llr_tcp_connection *connection = &tcp->connections[0];

	LLR_ASSERT(!llr_tcp_is_listener(tcp));
	if ((connection->flags & LLR_TCP_SEEN) != 0)
		return llr_socket_explain(error, tcp->uri.text, -EBUSY);
	tcp->now_ns = llr_clock_now(tcp->clock);
	/* Dropped and announced, it may still linger: that was for the peer's sake alone. */
	if (connection->state == LLR_TCP_LINGERING)
		llr_tcp_end(tcp, connection, 0);
	return connect_again(tcp, peer, timeout_ns, error);
}

int llr_tcp_error(const struct llr_transport *transport)
{
	const struct llr_tcp *tcp = (const struct llr_tcp *)transport;

	LLR_ASSERT(!llr_tcp_is_listener(tcp));
	return tcp->error;
}

bool llr_tcp_is_connected(const struct llr_transport *transport)
{
	const struct llr_tcp *tcp = (const struct llr_tcp *)transport;

	LLR_ASSERT(!llr_tcp_is_listener(tcp));
	return tcp->connections[0].state == LLR_TCP_OPEN;
}
