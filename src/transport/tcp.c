/* SPDX-License-Identifier: MIT */
/*
 * The TCP transport: its table, its memory, listening, waiting and closing. See tcp.h for what it
 * promises and tcp_inside.h for how the work is divided. Owner's thread.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "transport/socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BACKLOG 4096 /* the system's own limit (net.core.somaxconn) still applies */

static int tcp_wait_fd(struct llr_transport *transport)
{
	return llr_tcp_of(transport)->epoll_fd;
}

/* The timer wakes a sleeping owner through epoll; its edge is all that is wanted of it. */
static void arm_timer(struct llr_tcp *tcp)
{
	uint64_t deadline = llr_tcp_deadline(tcp);
	struct itimerspec when = {.it_value = {0}};

	if (deadline == tcp->armed_ns || tcp->clock->virtual_ns != NULL)
		return;
	tcp->armed_ns = deadline;
	if (deadline != UINT64_MAX) {
		when.it_value.tv_sec = (time_t)(deadline / 1000000000U);
		when.it_value.tv_nsec = (long)(deadline % 1000000000U);
	}
	LLR_MUST(timerfd_settime(tcp->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

static bool tcp_wait_prepare(struct llr_transport *transport)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);

	LLR_ASSERT(tcp->lent_count == 0);
	if (tcp->ready.first != NULL || tcp->announce.first != NULL || tcp->staged > 0 ||
	    llr_tcp_can_feed(tcp))
		return true;
	arm_timer(tcp);
	return false;
}

static void tcp_close(struct llr_transport *transport)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);

	for (uint32_t i = 0; i < tcp->connections_max; i++) {
		if (tcp->connections[i].fd >= 0)
			(void)close(tcp->connections[i].fd);
	}
	if (tcp->listen_fd >= 0)
		(void)close(tcp->listen_fd);
	llr_tcp_destroy(tcp);
}

static const struct llr_transport_ops tcp_ops = {
	.scheme = "tcp",
	.traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_STREAM,
	.rx_burst = llr_tcp_rx_burst,
	.rx_release = llr_tcp_rx_release,
	.tx_reserve = llr_tcp_tx_reserve,
	.tx_commit = llr_tcp_tx_commit,
	.tx_abort = llr_tcp_tx_abort,
	.tx_flush = llr_tcp_tx_flush,
	.wait_fd = tcp_wait_fd,
	.wait_prepare = tcp_wait_prepare,
	.drop = llr_tcp_drop,
	.close = tcp_close,
};

/* Bytes of the mapping's parts, each a multiple of 64. */
struct layout {
	size_t head;
	size_t connections;
	size_t staging;
	uint32_t large_size;
	uint32_t large_count;
	uint32_t small_count;
	uint32_t chunk_count;
	uint32_t output_max;
	size_t total;
};

static struct layout plan(const struct llr_tcp_sizes *sizes)
{
	uint32_t message = (uint32_t)llr_round_up(sizes->message_max, LLR_ALIGN);
	uint32_t most = message > LLR_TCP_READ_MAX ? message : LLR_TCP_READ_MAX;
	uint32_t affordable;
	struct layout layout = {
		.head = llr_round_up(sizeof(struct llr_tcp), 64),
		.connections = llr_round_up(
			sizes->connections_max * sizeof(struct llr_tcp_connection), 64),
		.staging = llr_round_up((size_t)most * 2, LLR_TCP_CHUNK_SIZE),
		.large_size = (uint32_t)llr_round_up(most + 2 * LLR_ALIGN, 64),
		.large_count = sizes->large_count,
		.small_count = sizes->small_count,
	};

	affordable = LLR_TCP_LARGE_BUDGET / layout.large_size;
	if (layout.large_count > affordable)
		layout.large_count = affordable > 4 ? affordable : 4;
	/* A caller's one connection never keeps more than what was staged. */
	layout.output_max = (uint32_t)layout.staging;
	if (sizes->listener && layout.output_max < LLR_TCP_OUTPUT_MIN)
		layout.output_max = LLR_TCP_OUTPUT_MIN;
	layout.chunk_count = layout.output_max / LLR_TCP_CHUNK_SIZE + 1;
	if (sizes->listener)
		layout.chunk_count *= 2;
	layout.total = layout.head + layout.connections + LLR_TCP_AREA_SIZE + layout.staging +
		       llr_buffer_pool_size(LLR_TCP_SMALL_SIZE, layout.small_count) +
		       llr_buffer_pool_size(layout.large_size, layout.large_count) +
		       llr_buffer_pool_size(LLR_TCP_CHUNK_SIZE, layout.chunk_count);
	return layout;
}

static void lay_out(struct llr_tcp *tcp, const struct llr_tcp_sizes *sizes,
		    const struct layout *layout)
{
	uint8_t *memory = (uint8_t *)tcp + layout->head;

	tcp->mapping_size = layout->total;
	tcp->connections = (struct llr_tcp_connection *)(void *)memory;
	tcp->connections_max = sizes->connections_max;
	tcp->message_max = (uint32_t)llr_round_up(sizes->message_max, LLR_ALIGN);
	memory += layout->connections;
	tcp->area = memory;
	memory += LLR_TCP_AREA_SIZE;
	tcp->staging = memory;
	tcp->staging_size = (uint32_t)layout->staging;
	memory += layout->staging;
	llr_buffer_pool_init(&tcp->small, memory, LLR_TCP_SMALL_SIZE, layout->small_count);
	memory += llr_buffer_pool_size(LLR_TCP_SMALL_SIZE, layout->small_count);
	llr_buffer_pool_init(&tcp->large, memory, layout->large_size, layout->large_count);
	memory += llr_buffer_pool_size(layout->large_size, layout->large_count);
	llr_buffer_pool_init(&tcp->chunks, memory, LLR_TCP_CHUNK_SIZE, layout->chunk_count);
	tcp->output_max = layout->output_max;

	tcp->free.kind = LLR_TCP_LINK_QUEUE;
	tcp->ready.kind = LLR_TCP_LINK_QUEUE;
	tcp->announce.kind = LLR_TCP_LINK_QUEUE;
	tcp->starved_any.kind = LLR_TCP_LINK_QUEUE;
	tcp->starved_large.kind = LLR_TCP_LINK_QUEUE;
	tcp->partial.kind = LLR_TCP_LINK_PARTIAL;
	tcp->output.kind = LLR_TCP_LINK_OUTPUT;
	for (uint32_t i = 0; i < tcp->connections_max; i++) {
		tcp->connections[i].fd = -1;
		llr_tcp_list_append(&tcp->free, &tcp->connections[i]);
	}
}

int llr_tcp_create(struct llr_tcp **created, const struct llr_tcp_sizes *sizes)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	struct layout layout = plan(sizes);
	struct llr_tcp *tcp;
	int code;

	LLR_ASSERT(sizes->connections_max >= 1);
	LLR_ASSERT(sizes->message_max >= 1 && sizes->message_max <= LLR_BODY_SIZE_MAX + 64U);
	tcp = llr_memory_map(layout.total, "tcp: connections and their buffers");
	if (tcp == NULL)
		return -ENOMEM;
	lay_out(tcp, sizes, &layout);
	tcp->transport.ops = &tcp_ops;
	tcp->transport.uri = tcp->uri.text;
	tcp->listen_fd = -1;
	tcp->armed_ns = UINT64_MAX;

	tcp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (tcp->epoll_fd < 0)
		goto fail_epoll;
	tcp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (tcp->timer_fd < 0)
		goto fail_timer;
	event.data.ptr = &tcp->timer_fd;
	if (epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, tcp->timer_fd, &event) != 0)
		goto fail_add;
	*created = tcp;
	return 0;

fail_add:
	code = -errno;
	(void)close(tcp->timer_fd);
	errno = -code;
fail_timer:
	code = -errno;
	(void)close(tcp->epoll_fd);
	errno = -code;
fail_epoll:
	code = -errno;
	llr_memory_unmap(tcp, layout.total);
	return code;
}

void llr_tcp_destroy(struct llr_tcp *tcp)
{
	(void)close(tcp->timer_fd);
	(void)close(tcp->epoll_fd);
	llr_memory_unmap(tcp, tcp->mapping_size);
}

int llr_tcp_socket(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error)
{
	int code;

	LLR_ASSERT(uri->scheme == LLR_SCHEME_TCP);
	code = llr_socket_bind(uri, reuse_port, fd, error);
	if (code == 0 && listen(*fd, BACKLOG) != 0) {
		code = llr_socket_explain(error, uri->text, -errno);
		(void)close(*fd);
	}
	return code;
}

/* 0, or -EINVAL if fd is not a TCP socket that listens. */
static int check_listener(int fd)
{
	int family = llr_socket_family(fd, SOCK_STREAM);
	socklen_t size = sizeof(int);
	int listening = 0;

	if (family < 0)
		return family;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0)
		return -errno;
	return listening ? 0 : -EINVAL;
}

int llr_tcp_listen(struct llr_transport **transport, const struct llr_tcp_setup *setup,
		   struct llrph_error *error)
{
	struct llr_tcp_sizes sizes = {
		.connections_max = setup->connections_max,
		.message_max = setup->message_max,
		.small_count = LLR_TCP_SMALL_COUNT,
		.large_count = LLR_TCP_LARGE_COUNT,
		.listener = true,
	};
	const char *name = setup->uri != NULL ? setup->uri : "tcp";
	struct epoll_event event = {.events = EPOLLIN};
	struct llr_tcp *tcp = NULL;
	struct llr_uri uri;
	int code;

	LLR_ASSERT(setup->counters != NULL);
	LLR_ASSERT(setup->clock != NULL);
	code = check_listener(setup->fd);
	if (code == 0)
		code = llr_uri_of_socket(&uri, LLR_SCHEME_TCP, setup->fd);
	if (code == 0)
		code = llr_tcp_create(&tcp, &sizes);
	if (code != 0)
		return llr_socket_explain(error, name, code);

	LLR_ASSERT(tcp != NULL);
	event.data.ptr = &tcp->listen_fd;
	if (epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, setup->fd, &event) != 0) {
		code = -errno;
		llr_tcp_destroy(tcp);
		return llr_socket_explain(error, name, code);
	}
	tcp->uri = uri;
	tcp->transport.counters = setup->counters;
	tcp->clock = setup->clock;
	tcp->allow = setup->allow;
	tcp->listen_fd = setup->fd;
	tcp->listening = true;
	*transport = &tcp->transport;
	return 0;
}
