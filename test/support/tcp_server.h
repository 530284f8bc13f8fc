/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the TCP transport share: a server on loopback and a little framing, of 4 bytes
 * of size, 4 of the frame's number, then bytes that follow from it; each frame padded to 16. The
 * server echoes every frame, by the rules that transport.h and tcp.h set for framings.
 *
 * Thread: the test's. The fixture owns the server.
 */
#ifndef TEST_SUPPORT_TCP_SERVER_H
#define TEST_SUPPORT_TCP_SERVER_H

#include "base/bytes.h"
#include "base/limits.h"
#include "transport/tcp.h"
#include "transport/tcp_inside.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MESSAGE_MAX 65536U
#define SECOND      UINT64_C(1000000000)

struct fixture {
	struct llr_clock clock;
	uint64_t virtual_ns; /* the server's time where a test says so */
	struct llr_transport_counters counters;
	struct llr_transport_counters client_counters;
	struct llr_transport *server;
	struct llr_uri uri;
	struct llr_allow allow;
	uint64_t frames;       /* echoed */
	uint64_t closed;       /* LLR_SPAN_CLOSED seen */
	uint32_t reply_factor; /* replies to each frame; 0: none */
	bool hold;             /* leave all frames unconsumed: back-pressure */
	struct llr_peer *last; /* sender of the last frame */
};

static inline void open_server(struct fixture *fixture, const char *text, uint32_t connections_max)
{
	struct llrph_error error = {.text = ""};
	struct llr_tcp_setup setup = {.allow = &fixture->allow,
				      .counters = &fixture->counters,
				      .clock = &fixture->clock,
				      .connections_max = connections_max,
				      .message_max = MESSAGE_MAX};

	assert_int_equal(llr_uri_parse(&fixture->uri, text, NULL), 0);
	assert_int_equal(llr_tcp_socket(&fixture->uri, false, &setup.fd, &error), 0);
	assert_int_equal(llr_tcp_listen(&fixture->server, &setup, &error), 0);
	assert_int_equal(llr_uri_parse(&fixture->uri, fixture->server->uri, NULL), 0);
	assert_int_not_equal(fixture->uri.address.port, 0);
}

static inline int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->reply_factor = 1;
	fixture->virtual_ns = 1000 * SECOND;
	llr_clock_init(&fixture->clock);
	*state = fixture;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->server != NULL)
		fixture->server->ops->close(fixture->server);
	free(fixture);
	return 0;
}

/*
 * A plain blocking socket to the server, with a receive buffer of that size: set before it
 * connects, for shrinking a window that was promised makes the kernel drop and back off.
 */
static inline int sized_connect(struct fixture *fixture, int buffer_size)
{
	struct sockaddr_storage storage;
	socklen_t size = llr_address_to_sockaddr(&storage, &fixture->uri.address,
						 fixture->uri.address.family);
	int fd = socket(fixture->uri.address.family, SOCK_STREAM, 0);
	int on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (buffer_size > 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_size, sizeof(buffer_size));
	assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
	return fd;
}

static inline int plain_connect(struct fixture *fixture)
{
	return sized_connect(fixture, 0);
}

static inline uint8_t pattern(uint32_t number, uint32_t index)
{
	return (uint8_t)(number * 31 + index * 7 + (index >> 8));
}

/* Writes a frame of size bytes (at least 8) and its padding; returns the bytes of both. */
static inline uint32_t make_frame(uint8_t *bytes, uint32_t size, uint32_t number)
{
	uint32_t padded = (uint32_t)llr_round_up(size, LLR_ALIGN);

	llr_le32_store(bytes, size);
	llr_le32_store(bytes + 4, number);
	for (uint32_t i = 8; i < size; i++)
		bytes[i] = pattern(number, i);
	memset(bytes + size, 0, padded - size);
	return padded;
}

static inline void check_frame(const uint8_t *bytes, uint32_t size, uint32_t number)
{
	assert_int_equal(llr_le32_load(bytes), size);
	assert_int_equal(llr_le32_load(bytes + 4), number);
	for (uint32_t i = 8; i < size; i++) {
		if (bytes[i] != pattern(number, i))
			fail_msg("frame %u of %u bytes differs at %u", number, size, i);
	}
}

static inline void echo_frame(struct fixture *fixture, struct llr_peer *peer, const uint8_t *bytes,
			      uint32_t size)
{
	struct llr_transport *server = fixture->server;
	struct llr_room room;

	fixture->frames++;
	fixture->last = peer;
	for (uint32_t i = 0; i < fixture->reply_factor; i++) {
		int code = server->ops->tx_reserve(server, peer, size, &room);

		if (code == -ECONNRESET)
			return;
		assert_int_equal(code, 0);
		assert_int_equal((uintptr_t)room.bytes % LLR_ALIGN, 0);
		memcpy(room.bytes, bytes, size);
		server->ops->tx_commit(server, &room, size);
	}
}

/* The framing: consumes whole frames and padding, whatever has come of it. */
static inline void consume(struct fixture *fixture, struct llr_span *span)
{
	uint32_t offset = (uint32_t)(-(uintptr_t)span->bytes % LLR_ALIGN);

	if (offset > span->size)
		offset = span->size;
	while (span->size - offset >= 8) {
		uint32_t size = llr_le32_load(span->bytes + offset);

		assert_int_equal((uintptr_t)(span->bytes + offset) % LLR_ALIGN, 0);
		assert_in_range(size, 8, MESSAGE_MAX);
		if (size > span->size - offset || fixture->hold || span->peer->blocked) {
			span->wanted = size;
			break;
		}
		check_frame(span->bytes + offset, size, llr_le32_load(span->bytes + offset + 4));
		echo_frame(fixture, span->peer, span->bytes + offset, size);
		offset += (uint32_t)llr_round_up(size, LLR_ALIGN);
		if (offset > span->size)
			offset = span->size;
	}
	span->consumed = offset;
}

/* One turn at now_ns; returns the spans handled. */
static inline unsigned int turn_at(struct fixture *fixture, uint64_t now_ns)
{
	struct llr_transport *server = fixture->server;
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int count = server->ops->rx_burst(server, now_ns, spans, LLR_BURST_MAX);

	for (unsigned int i = 0; i < count; i++) {
		if ((spans[i].flags & LLR_SPAN_CLOSED) != 0) {
			assert_int_equal(spans[i].size, 0);
			fixture->closed++;
			continue;
		}
		assert_true(spans[i].size > 0);
		consume(fixture, &spans[i]);
	}
	if (count > 0)
		server->ops->rx_release(server, spans, count);
	server->ops->tx_flush(server);
	return count;
}

static inline unsigned int turn(struct fixture *fixture)
{
	return turn_at(fixture, llr_clock_now(&fixture->clock));
}

/* Sleeps as an owner would, at most milliseconds; false: nothing came. */
static inline bool park(struct llr_transport *transport, int milliseconds)
{
	struct pollfd descriptor = {.fd = transport->ops->wait_fd(transport), .events = POLLIN};

	if (transport->ops->wait_prepare(transport))
		return true;
	return poll(&descriptor, 1, milliseconds) == 1;
}

/* Turns, sleeping between, until the counter reaches value; fails after 5 s. */
static inline void turn_until(struct fixture *fixture, const uint64_t *counter, uint64_t value)
{
	uint64_t end_ns = llr_clock_gettime_ns() + 5 * SECOND;

	while (*counter < value) {
		if (llr_clock_gettime_ns() > end_ns)
			fail_msg("waited 5 s for %lu, got %lu", value, *counter);
		(void)turn(fixture);
		if (*counter < value)
			(void)park(fixture->server, 20);
	}
}

static inline void read_all(int fd, uint8_t *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = recv(fd, bytes + done, size - done, 0);

		if (got <= 0)
			fail_msg("read %zu of %zu, then %zd errno %d", done, size, got, errno);
		done += (size_t)got;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
