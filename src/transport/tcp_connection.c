/* SPDX-License-Identifier: MIT */
/*
 * Connections: the lists that they wait in, how they begin and end, and their time-outs. Owner's
 * thread; owns each connection's socket.
 *
 * Invariants: a connection in state FREE is in the free list and has neither socket nor buffers;
 * one that is LENT is in no queue; LLR_SPAN_CLOSED is delivered once for each that was SEEN.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void llr_tcp_list_append(struct llr_tcp_list *list, struct llr_tcp_connection *connection)
{
	struct llr_tcp_link *link = &connection->links[list->kind];

	LLR_ASSERT_HOT(link->list == NULL);
	link->list = list;
	link->next = NULL;
	link->prev = list->last;
	if (list->last != NULL)
		list->last->links[list->kind].next = connection;
	else
		list->first = connection;
	list->last = connection;
}

void llr_tcp_list_prepend(struct llr_tcp_list *list, struct llr_tcp_connection *connection)
{
	struct llr_tcp_link *link = &connection->links[list->kind];

	LLR_ASSERT_HOT(link->list == NULL);
	link->list = list;
	link->prev = NULL;
	link->next = list->first;
	if (list->first != NULL)
		list->first->links[list->kind].prev = connection;
	else
		list->last = connection;
	list->first = connection;
}

void llr_tcp_unlink(struct llr_tcp_connection *connection, enum llr_tcp_link_kind kind)
{
	struct llr_tcp_link *link = &connection->links[kind];
	struct llr_tcp_list *list = link->list;

	if (list == NULL)
		return;
	LLR_ASSERT_HOT(list->kind == kind);
	if (link->prev != NULL)
		link->prev->links[kind].next = link->next;
	else
		list->first = link->next;
	if (link->next != NULL)
		link->next->links[kind].prev = link->prev;
	else
		list->last = link->prev;
	*link = (struct llr_tcp_link){.list = NULL};
}

struct llr_tcp_connection *llr_tcp_take_free(struct llr_tcp *tcp)
{
	struct llr_tcp_connection *connection = tcp->free.first;
	uint32_t index;

	if (connection == NULL)
		return NULL;
	LLR_ASSERT(connection->state == LLR_TCP_FREE);
	llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
	index = (uint32_t)(connection - tcp->connections);
	*connection = (struct llr_tcp_connection){
		.peer = {.link = connection, .uid = UINT32_MAX, .index = index},
		.output_first = LLR_BUFFER_NONE,
		.output_last = LLR_BUFFER_NONE,
		.fd = -1,
	};
	return connection;
}

int llr_tcp_adopt(struct llr_tcp *tcp, struct llr_tcp_connection *connection, int fd,
		  enum llr_tcp_state state)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				    .data.ptr = connection};
	int on = 1;

	LLR_ASSERT(connection->state == LLR_TCP_FREE);
	if (epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return -errno;
	/* Fails only on a socket that is broken already, which the first read will tell. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connection->fd = fd;
	connection->state = (uint8_t)state;
	return 0;
}

void llr_tcp_make_ready(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	struct llr_tcp_list *list = connection->links[LLR_TCP_LINK_QUEUE].list;
	bool blocked = llr_tcp_is_listener(tcp) && connection->output_size > 0;

	if ((connection->flags & LLR_TCP_LENT) != 0 || list != NULL)
		return;
	if ((connection->flags & (LLR_TCP_READABLE | LLR_TCP_AGAIN)) == 0)
		return;
	if (connection->state == LLR_TCP_LINGERING ||
	    (connection->state == LLR_TCP_OPEN && !blocked))
		llr_tcp_list_append(&tcp->ready, connection);
}

void llr_tcp_time_partial(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	bool held = connection->pool != NULL && (connection->flags & LLR_TCP_AGAIN) == 0;
	bool blocked = llr_tcp_is_listener(tcp) && connection->output_size > 0;

	llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
	if (!held || blocked || connection->state != LLR_TCP_OPEN)
		return;
	connection->partial_ns = tcp->now_ns;
	llr_tcp_list_append(&tcp->partial, connection);
}

static void cool_down(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	if ((connection->flags & LLR_TCP_HOT) == 0)
		return;
	connection->flags &= (uint8_t)~LLR_TCP_HOT;
	for (unsigned int i = 0; i < LLR_TCP_HOT_COUNT; i++) {
		if (tcp->hot[i].connection == connection)
			tcp->hot[i].connection = NULL;
	}
}

static void close_socket(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	if (connection->fd < 0)
		return;
	/* Said aloud, for a descriptor that a child of fork holds too would stay in the set. */
	(void)epoll_ctl(tcp->epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
	(void)close(connection->fd);
	connection->fd = -1;
	tcp->transport.counters->closed++;
}

static void make_free(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	LLR_ASSERT(connection->fd < 0);
	LLR_ASSERT(connection->pool == NULL);
	LLR_ASSERT(connection->output_size == 0);
	llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
	connection->state = LLR_TCP_FREE;
	connection->flags = 0;
	llr_tcp_list_prepend(&tcp->free, connection);
	if (llr_tcp_is_listener(tcp) && !tcp->listening && tcp->accept_ns == 0)
		llr_tcp_listen_arm(tcp, true);
}

void llr_tcp_end(struct llr_tcp *tcp, struct llr_tcp_connection *connection, int code)
{
	LLR_ASSERT(code <= 0);
	LLR_ASSERT(connection->state != LLR_TCP_FREE);
	if (connection->state == LLR_TCP_ENDED)
		return;
	tcp->error = code;
	if (tcp->staged_for == connection) {
		tcp->transport.counters->tx_failed += tcp->staged;
		tcp->staged = 0;
		tcp->staged_for = NULL;
	}
	tcp->transport.counters->tx_failed += connection->output_size;
	llr_tcp_output_free(tcp, connection);
	llr_tcp_unlink(connection, LLR_TCP_LINK_OUTPUT);
	llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
	cool_down(tcp, connection);
	close_socket(tcp, connection);
	connection->state = LLR_TCP_ENDED;

	/* What is lent stays where it is until its release. */
	if ((connection->flags & LLR_TCP_LENT) == 0)
		llr_tcp_input_free(connection);
	if ((connection->flags & LLR_TCP_SEEN) == 0) {
		make_free(tcp, connection);
	} else if (connection->links[LLR_TCP_LINK_QUEUE].list != &tcp->announce &&
		   (connection->flags & LLR_TCP_LENT) == 0) {
		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		llr_tcp_list_append(&tcp->announce, connection);
	}
}

void llr_tcp_evict(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	/* Else the kernel would keep what the peer does not read for minutes. */
	(void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	tcp->transport.counters->evicted++;
	llr_tcp_end(tcp, connection, -ECONNABORTED);
}

void llr_tcp_announced(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	LLR_ASSERT((connection->flags & LLR_TCP_SEEN) != 0);
	connection->flags &= (uint8_t)~LLR_TCP_SEEN;
	connection->peer.session = NULL;
	if (connection->state == LLR_TCP_ENDED)
		make_free(tcp, connection);
	else
		llr_tcp_make_ready(tcp, connection);
}

void llr_tcp_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);
	struct llr_tcp_connection *connection = peer->link;

	LLR_ASSERT(!tcp->room_open);
	if (tcp->staged_for == connection)
		llr_tcp_tx_flush(transport);
	if (connection->state == LLR_TCP_CONNECTING)
		llr_tcp_end(tcp, connection, -ECONNABORTED);
	if (connection->state != LLR_TCP_OPEN)
		return;

	connection->state = LLR_TCP_LINGERING;
	connection->flags |= LLR_TCP_READABLE;
	cool_down(tcp, connection);
	llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
	if (connection->output_size == 0) {
		connection->output_ns = tcp->now_ns;
		llr_tcp_list_append(&tcp->output, connection);
		(void)shutdown(connection->fd, SHUT_WR);
	}
	if ((connection->flags & LLR_TCP_LENT) == 0) {
		llr_tcp_input_free(connection);
		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		llr_tcp_list_append(&tcp->announce, connection);
	}
}

/* The first of a list that has held a buffer (of that pool; NULL: any) for a second; or NULL. */
static struct llr_tcp_connection *find_holder(struct llr_tcp *tcp, const struct llr_tcp_list *list,
					      const struct llr_buffer_pool *pool)
{
	struct llr_tcp_connection *connection = list->first;

	/* Bound: as many as there are buffers or chunks of output, and those that linger. */
	for (; connection != NULL; connection = connection->links[list->kind].next) {
		if (connection->pool != NULL && (pool == NULL || connection->pool == pool) &&
		    tcp->now_ns - connection->partial_ns >= LLR_TCP_STARVED_NS)
			break;
	}
	return connection;
}

/* Of those whose message is partial the one that holds longest; else one that does not read. */
static void evict_holder(struct llr_tcp *tcp, const struct llr_buffer_pool *pool)
{
	struct llr_tcp_connection *connection = find_holder(tcp, &tcp->partial, pool);

	if (connection == NULL)
		connection = find_holder(tcp, &tcp->output, pool);
	if (connection != NULL)
		llr_tcp_evict(tcp, connection);
}

/* Bound: each round ends a connection. */
static void evict_late(struct llr_tcp *tcp)
{
	while (tcp->partial.first != NULL &&
	       tcp->now_ns - tcp->partial.first->partial_ns >= LLR_TCP_PATIENCE_NS)
		llr_tcp_evict(tcp, tcp->partial.first);
	while (tcp->output.first != NULL &&
	       tcp->now_ns - tcp->output.first->output_ns >= LLR_TCP_PATIENCE_NS) {
		if (tcp->output.first->output_size > 0)
			llr_tcp_evict(tcp, tcp->output.first);
		else /* lingering: it has our FIN and keeps its own */
			llr_tcp_end(tcp, tcp->output.first, 0);
	}
}

void llr_tcp_tick(struct llr_tcp *tcp)
{
	if (tcp->now_ns < tcp->tick_ns)
		return;
	tcp->tick_ns = tcp->now_ns + LLR_TCP_TICK_NS;
	evict_late(tcp);
	if (tcp->starved_large.first != NULL &&
	    tcp->now_ns - tcp->starved_large_ns >= LLR_TCP_STARVED_NS)
		evict_holder(tcp, &tcp->large);
	if (tcp->starved_any.first != NULL &&
	    tcp->now_ns - tcp->starved_any_ns >= LLR_TCP_STARVED_NS)
		evict_holder(tcp, NULL);
	if (tcp->accept_ns != 0 && tcp->now_ns >= tcp->accept_ns) {
		tcp->accept_ns = 0;
		llr_tcp_listen_arm(tcp, true);
	}
}

uint64_t llr_tcp_deadline(const struct llr_tcp *tcp)
{
	uint64_t deadline = UINT64_MAX;

	if (tcp->partial.first != NULL)
		deadline = tcp->partial.first->partial_ns + LLR_TCP_PATIENCE_NS;
	if (tcp->output.first != NULL)
		deadline =
			llr_min_u64(deadline, tcp->output.first->output_ns + LLR_TCP_PATIENCE_NS);
	/* Whom nobody may leave yet is looked at again after another second. */
	if (tcp->starved_any.first != NULL || tcp->starved_large.first != NULL)
		deadline = llr_min_u64(deadline, tcp->now_ns + LLR_TCP_STARVED_NS);
	if (tcp->accept_ns != 0)
		deadline = llr_min_u64(deadline, tcp->accept_ns);
	return deadline;
}
