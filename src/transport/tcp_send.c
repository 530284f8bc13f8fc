/* SPDX-License-Identifier: MIT */
/*
 * From rooms to the kernel. Owner's thread; owns staging area and output chunks.
 *
 * Rooms are lined up in the staging area, for one connection at a time, and leave in one write: at
 * tx_flush, or when another connection's turn comes. What the kernel does not take waits in chunks
 * chained to its connection, which keep their order, until epoll says that there is room.
 *
 * Invariants: staged is a multiple of 16, and so is what a stream has sent and keeps waiting, taken
 * together: frames start at multiples of 16 of it. A connection is in the output list while bytes
 * wait or it lingers.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define VECTORS_MAX 16U
/* A call that signals interrupt is made again so often, then left to epoll. */
#define REPEATS_MAX 16U

/* Waiting has begun, or got further: the patience with it starts anew. */
static void note_progress(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	llr_tcp_unlink(connection, LLR_TCP_LINK_OUTPUT);
	connection->output_ns = tcp->now_ns;
	llr_tcp_list_append(&tcp->output, connection);
}

void llr_tcp_output_free(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	/* Bound: the pool's size. */
	while (connection->output_first != LLR_BUFFER_NONE) {
		uint32_t chunk = connection->output_first;

		connection->output_first = tcp->chunks.next[chunk];
		llr_buffer_release(&tcp->chunks, chunk);
	}
	connection->output_last = LLR_BUFFER_NONE;
	connection->output_offset = 0;
	connection->output_size = 0;
	connection->peer.blocked = false;
}

/* Asks for an edge though the socket may be writable now: for refusals that leave none behind. */
static void ask_again(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				    .data.ptr = connection};

	LLR_MUST(epoll_ctl(tcp->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) == 0);
}

/* Bytes that the kernel took, maybe 0; -1: the connection has ended. */
static int64_t send_vectors(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			    struct iovec *vectors, size_t count)
{
	struct msghdr header = {.msg_iov = vectors, .msg_iovlen = count};
	ssize_t size = -1;

	for (unsigned int i = 0; i < REPEATS_MAX; i++) {
		if (count == 1)
			size = send(connection->fd, vectors[0].iov_base, vectors[0].iov_len,
				    MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			size = sendmsg(connection->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (size >= 0 || errno != EINTR)
			break;
	}
	if (size >= 0) {
		tcp->transport.counters->tx_spans++;
		tcp->transport.counters->tx_bytes += (uint64_t)size;
		return size;
	}
	if (errno == EAGAIN)
		return 0;
	if (errno == EINTR || errno == ENOBUFS || errno == ENOMEM) {
		ask_again(tcp, connection);
		return 0;
	}
	llr_tcp_end(tcp, connection, -errno);
	return -1;
}

/* Bytes of the last chunk that are filled. */
static uint32_t last_fill(const struct llr_tcp_connection *connection)
{
	uint32_t end = connection->output_offset + connection->output_size;

	return (end - 1) % LLR_TCP_CHUNK_SIZE + 1;
}

/* False: beyond the bound, or the pool is empty; what was appended then does not matter. */
static bool append_output(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			  const uint8_t *bytes, uint32_t size)
{
	if (connection->output_size + size > tcp->output_max)
		return false;
	/* Bound: each round fills a chunk. */
	while (size > 0) {
		uint32_t fill =
			connection->output_size == 0 ? LLR_TCP_CHUNK_SIZE : last_fill(connection);
		uint32_t part;

		if (fill == LLR_TCP_CHUNK_SIZE) {
			uint32_t chunk = llr_buffer_borrow(&tcp->chunks);

			if (chunk == LLR_BUFFER_NONE)
				return false;
			if (connection->output_first == LLR_BUFFER_NONE)
				connection->output_first = chunk;
			else
				tcp->chunks.next[connection->output_last] = chunk;
			connection->output_last = chunk;
			fill = 0;
		}
		part = (uint32_t)llr_min_u64(size, LLR_TCP_CHUNK_SIZE - fill);
		memcpy(llr_buffer_bytes(&tcp->chunks, connection->output_last) + fill, bytes, part);
		connection->output_size += part;
		bytes += part;
		size -= part;
	}
	return true;
}

static void wait_with(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		      const uint8_t *bytes, uint32_t size)
{
	bool first = connection->output_size == 0;

	tcp->transport.counters->tx_deferred++;
	connection->peer.blocked = true;
	if (!append_output(tcp, connection, bytes, size))
		llr_tcp_evict(tcp, connection);
	else if (first) {
		note_progress(tcp, connection);
		connection->partial_ns = tcp->now_ns;
	}
	/* Who is not read can't finish its message. */
	if (llr_tcp_is_listener(tcp))
		llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
}

static void send_staged(struct llr_tcp *tcp)
{
	struct llr_tcp_connection *connection = tcp->staged_for;
	struct iovec vector = {.iov_base = tcp->staging, .iov_len = tcp->staged};
	uint32_t staged = tcp->staged;
	int64_t sent = 0;

	if (staged == 0)
		return;
	LLR_ASSERT_HOT(connection != NULL);
	LLR_ASSERT_HOT(connection->state == LLR_TCP_OPEN);
	LLR_ASSERT_HOT(staged % LLR_ALIGN == 0);
	tcp->staged = 0;
	tcp->staged_for = NULL;
	if (connection->output_size == 0)
		sent = send_vectors(tcp, connection, &vector, 1);
	if (sent < 0)
		tcp->transport.counters->tx_failed += staged;
	else if (sent < staged)
		wait_with(tcp, connection, tcp->staging + sent, staged - (uint32_t)sent);
}

/* Takes what was sent off the chunks. */
static void advance_output(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			   uint32_t sent)
{
	LLR_ASSERT(sent <= connection->output_size);
	connection->output_size -= sent;
	connection->output_offset += sent;
	/* Bound: as many rounds as chunks were sent whole. */
	while (connection->output_offset >= LLR_TCP_CHUNK_SIZE) {
		uint32_t chunk = connection->output_first;

		connection->output_first = tcp->chunks.next[chunk];
		connection->output_offset -= LLR_TCP_CHUNK_SIZE;
		llr_buffer_release(&tcp->chunks, chunk);
	}
	if (connection->output_size == 0)
		llr_tcp_output_free(tcp, connection);
}

/* Fills vectors with what waits, from its start; returns their count. */
static size_t gather_output(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			    struct iovec *vectors, uint32_t *size)
{
	uint32_t offset = connection->output_offset;
	uint32_t rest = connection->output_size;
	uint32_t chunk = connection->output_first;
	size_t count = 0;

	for (; count < VECTORS_MAX && rest > 0; count++) {
		uint32_t part = (uint32_t)llr_min_u64(rest, LLR_TCP_CHUNK_SIZE - offset);

		LLR_ASSERT(chunk != LLR_BUFFER_NONE);
		vectors[count].iov_base = llr_buffer_bytes(&tcp->chunks, chunk) + offset;
		vectors[count].iov_len = part;
		chunk = tcp->chunks.next[chunk];
		rest -= part;
		offset = 0;
	}
	*size = connection->output_size - rest;
	return count;
}

void llr_tcp_output_drain(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	uint32_t asked = 0;
	int64_t sent = 0;

	/* Bound: each round but the last sends VECTORS_MAX chunks. */
	while (connection->output_size > 0 && sent == asked) {
		struct iovec vectors[VECTORS_MAX];
		size_t count = gather_output(tcp, connection, vectors, &asked);

		sent = send_vectors(tcp, connection, vectors, count);
		if (sent < 0)
			return;
		if (sent > 0)
			note_progress(tcp, connection);
		advance_output(tcp, connection, (uint32_t)sent);
	}
	if (connection->output_size > 0)
		return;
	if (connection->state == LLR_TCP_LINGERING) {
		(void)shutdown(connection->fd, SHUT_WR);
		return;
	}
	llr_tcp_unlink(connection, LLR_TCP_LINK_OUTPUT);
	if (llr_tcp_is_listener(tcp))
		llr_tcp_time_partial(tcp, connection);
	llr_tcp_make_ready(tcp, connection);
}

/* 0; or why nothing can be committed to that connection now. */
static int check_open(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	if (connection->state == LLR_TCP_CONNECTING)
		return -EAGAIN;
	if (connection->state != LLR_TCP_OPEN)
		return -ECONNRESET;
	if (llr_tcp_is_listener(tcp) || connection->output_size == 0)
		return 0;
	llr_tcp_output_drain(tcp, connection);
	if (connection->state != LLR_TCP_OPEN)
		return -ECONNRESET;
	return connection->output_size == 0 ? 0 : -EAGAIN;
}

int llr_tcp_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
		       struct llr_room *room)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);
	struct llr_tcp_connection *connection = peer->link;
	uint32_t padded;
	int code;

	LLR_ASSERT_HOT(size > 0);
	LLR_ASSERT_HOT(!tcp->room_open);
	if (size > tcp->message_max)
		return -EMSGSIZE;
	padded = (uint32_t)llr_round_up(size, LLR_ALIGN);
	if (tcp->staged_for != connection || tcp->staged + padded > tcp->staging_size)
		send_staged(tcp);
	code = check_open(tcp, connection);
	if (code != 0)
		return code;

	LLR_ASSERT_HOT(tcp->staged + padded <= tcp->staging_size);
	tcp->staged_for = connection;
	tcp->room_open = true;
	tcp->room_size = padded;
	room->bytes = tcp->staging + tcp->staged;
	room->size = size;
	room->handle = tcp->staged;
	room->peer = peer;
	return 0;
}

void llr_tcp_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);
	uint32_t padded = (uint32_t)llr_round_up(size, LLR_ALIGN);

	LLR_ASSERT_HOT(tcp->room_open);
	LLR_ASSERT_HOT(room->handle == tcp->staged);
	LLR_ASSERT_HOT(room->peer->link == tcp->staged_for);
	LLR_ASSERT_HOT(size >= 1 && padded <= tcp->room_size);
	memset(room->bytes + size, 0, padded - size);
	tcp->staged += padded;
	tcp->room_open = false;
}

void llr_tcp_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);

	LLR_ASSERT_HOT(tcp->room_open);
	LLR_ASSERT_HOT(room->handle == tcp->staged);
	tcp->room_open = false;
}

void llr_tcp_tx_flush(struct llr_transport *transport)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);

	LLR_ASSERT_HOT(!tcp->room_open);
	send_staged(tcp);
}
