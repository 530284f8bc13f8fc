/* SPDX-License-Identifier: MIT */
/*
 * What epoll says, and accepting. Owner's thread.
 *
 * Connections are registered once, edge-triggered, for everything; what an edge says is remembered
 * in the connection's flags until a read or write has met its end. The listener is
 * level-triggered, and disarmed while accept is paused: so a connection that can't be accepted
 * wakes nobody. It is paused for 100 ms where descriptors or memory are short, and until a
 * connection ends where all places are taken.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "base/log.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX  64
#define ACCEPTS_MAX 16U /* of one turn: the others' requests come between */

void llr_tcp_listen_arm(struct llr_tcp *tcp, bool armed)
{
	struct epoll_event event = {.events = armed ? EPOLLIN : 0, .data.ptr = &tcp->listen_fd};

	LLR_ASSERT(llr_tcp_is_listener(tcp));
	LLR_MUST(epoll_ctl(tcp->epoll_fd, EPOLL_CTL_MOD, tcp->listen_fd, &event) == 0);
	tcp->listening = armed;
}

static void pause_accept(struct llr_tcp *tcp, const char *why)
{
	tcp->transport.counters->accept_paused++;
	llr_tcp_listen_arm(tcp, false);
	if (!tcp->pause_logged)
		llr_log("%s: accept paused: %s", tcp->uri.text, why);
	tcp->pause_logged = true;
}

/* What accept4 said when it gave no connection; true: try the next one at once. */
static bool accept_failed(struct llr_tcp *tcp, int code)
{
	switch (code) {
	case EMFILE:
	case ENFILE:
		tcp->accept_ns = tcp->now_ns + LLR_TCP_PAUSE_NS;
		pause_accept(tcp, "out of descriptors: raise the limit (ulimit -n)");
		return false;
	case ENOMEM:
	case ENOBUFS:
		tcp->accept_ns = tcp->now_ns + LLR_TCP_PAUSE_NS;
		pause_accept(tcp, "the kernel is out of memory for sockets");
		return false;
	case EAGAIN: /* nobody waits any more: a pause from now on is news */
		tcp->pause_logged = false;
		return false;
	default: /* this connection died before it was taken, or a signal came */
		return true;
	}
}

static void welcome(struct llr_tcp *tcp, int fd, const struct sockaddr_storage *storage)
{
	struct llr_tcp_connection *connection;
	struct llr_address address;

	llr_address_from_sockaddr(&address, storage);
	if (!llr_allow_match(tcp->allow, &address)) {
		tcp->transport.counters->rx_denied++;
		(void)close(fd);
		return;
	}
	connection = llr_tcp_take_free(tcp);
	LLR_ASSERT(connection != NULL);
	connection->peer.address = address;
	if (llr_tcp_adopt(tcp, connection, fd, LLR_TCP_OPEN) != 0) {
		(void)close(fd);
		llr_tcp_list_prepend(&tcp->free, connection);
		tcp->accept_ns = tcp->now_ns + LLR_TCP_PAUSE_NS;
		pause_accept(tcp, "epoll takes no more descriptors: raise "
				  "fs.epoll.max_user_watches");
		return;
	}
	tcp->transport.counters->accepted++;
}

static void accept_some(struct llr_tcp *tcp)
{
	for (unsigned int i = 0; i < ACCEPTS_MAX && tcp->listening; i++) {
		struct sockaddr_storage storage = {0};
		socklen_t size = sizeof(storage);
		int fd;

		/* Only who found no place at first is known to wait: the event comes again. */
		if (tcp->free.first == NULL && i == 0)
			pause_accept(tcp, "all connections are in use: raise the limit, or wait "
					  "for one to end");
		if (tcp->free.first == NULL)
			return;
		fd = accept4(tcp->listen_fd, (struct sockaddr *)&storage, &size,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			welcome(tcp, fd, &storage);
		else if (!accept_failed(tcp, errno))
			return;
	}
}

static void finish_connect(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	int code = 0;
	socklen_t size = sizeof(code);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
		code = errno;
	if (code != 0)
		llr_tcp_end(tcp, connection, -code);
	else
		connection->state = LLR_TCP_OPEN;
}

static void handle_event(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			 uint32_t events)
{
	bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;

	if (connection->state == LLR_TCP_CONNECTING) {
		if ((events & EPOLLOUT) == 0 && !broken)
			return;
		finish_connect(tcp, connection);
	}
	if (connection->state != LLR_TCP_OPEN && connection->state != LLR_TCP_LINGERING)
		return;

	if ((events & EPOLLOUT) != 0 && connection->output_size > 0)
		llr_tcp_output_drain(tcp, connection);
	if (connection->state == LLR_TCP_ENDED || connection->state == LLR_TCP_FREE)
		return;
	/* Nobody will read it, and its next send would fail: don't wait for either. */
	if (broken && connection->output_size > 0) {
		llr_tcp_end(tcp, connection, -ECONNRESET);
		return;
	}
	if (broken || (events & EPOLLRDHUP) != 0)
		connection->flags |= LLR_TCP_FINISHED;
	if (broken || (events & (EPOLLIN | EPOLLRDHUP)) != 0)
		connection->flags |= LLR_TCP_READABLE;
	llr_tcp_make_ready(tcp, connection);
}

void llr_tcp_poll(struct llr_tcp *tcp)
{
	struct epoll_event events[EVENTS_MAX];
	bool accepting = false;
	int count;

	LLR_ASSERT_HOT(tcp->lent_count == 0);
	tcp->polled_ns = tcp->now_ns;
	tcp->poll_skipped = 0;
	count = epoll_wait(tcp->epoll_fd, events, EVENTS_MAX, 0);
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == &tcp->listen_fd)
			accepting = true;
		else if (events[i].data.ptr != &tcp->timer_fd)
			handle_event(tcp, events[i].data.ptr, events[i].events);
	}
	/* Last: it takes places that an event of this very list might have been about. */
	if (accepting)
		accept_some(tcp);
}
