/* SPDX-License-Identifier: MIT */
/*
 * TCP over loopback, against a little framing: 4 bytes of size, then bytes that follow from the
 * frame's number; each frame padded to 16. The server side echoes every frame, by the rules that
 * transport.h and tcp.h set for framings.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "transport/tcp.h"
#include "transport/tcp_inside.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
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

static void open_server(struct fixture *fixture, const char *text, uint32_t connections_max)
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

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->reply_factor = 1;
	fixture->virtual_ns = 1000 * SECOND;
	llr_clock_init(&fixture->clock);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
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
static int sized_connect(struct fixture *fixture, int buffer_size)
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

static int plain_connect(struct fixture *fixture)
{
	return sized_connect(fixture, 0);
}

static uint8_t pattern(uint32_t number, uint32_t index)
{
	return (uint8_t)(number * 31 + index * 7 + (index >> 8));
}

/* Writes a frame of size bytes (at least 8) and its padding; returns the bytes of both. */
static uint32_t make_frame(uint8_t *bytes, uint32_t size, uint32_t number)
{
	uint32_t padded = (uint32_t)llr_round_up(size, LLR_ALIGN);

	llr_le32_store(bytes, size);
	llr_le32_store(bytes + 4, number);
	for (uint32_t i = 8; i < size; i++)
		bytes[i] = pattern(number, i);
	memset(bytes + size, 0, padded - size);
	return padded;
}

static void check_frame(const uint8_t *bytes, uint32_t size, uint32_t number)
{
	assert_int_equal(llr_le32_load(bytes), size);
	assert_int_equal(llr_le32_load(bytes + 4), number);
	for (uint32_t i = 8; i < size; i++) {
		if (bytes[i] != pattern(number, i))
			fail_msg("frame %u of %u bytes differs at %u", number, size, i);
	}
}

static void echo_frame(struct fixture *fixture, struct llr_peer *peer, const uint8_t *bytes,
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
static void consume(struct fixture *fixture, struct llr_span *span)
{
	uint32_t offset = (uint32_t)(-(uintptr_t)span->bytes % LLR_ALIGN);

	if (offset > span->size)
		offset = span->size;
	while (span->size - offset >= 8) {
		uint32_t size = llr_le32_load(span->bytes + offset);

		assert_int_equal((uintptr_t)(span->bytes + offset) % LLR_ALIGN, 0);
		assert_in_range(size, 8, MESSAGE_MAX);
		if (size > span->size - offset || fixture->hold) {
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
static unsigned int turn_at(struct fixture *fixture, uint64_t now_ns)
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

static unsigned int turn(struct fixture *fixture)
{
	return turn_at(fixture, llr_clock_now(&fixture->clock));
}

/* Sleeps as an owner would, at most milliseconds; false: nothing came. */
static bool park(struct llr_transport *transport, int milliseconds)
{
	struct pollfd descriptor = {.fd = transport->ops->wait_fd(transport), .events = POLLIN};

	if (transport->ops->wait_prepare(transport))
		return true;
	return poll(&descriptor, 1, milliseconds) == 1;
}

/* Turns, sleeping between, until the counter reaches value; fails after 5 s. */
static void turn_until(struct fixture *fixture, const uint64_t *counter, uint64_t value)
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

static void read_all(int fd, uint8_t *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = recv(fd, bytes + done, size - done, 0);

		if (got <= 0)
			fail_msg("read %zu of %zu, then %zd errno %d", done, size, got, errno);
		done += (size_t)got;
	}
}

static void echo_on(struct fixture *fixture)
{
	uint8_t bytes[128];
	uint8_t reply[128];
	uint32_t size = make_frame(bytes, 100, 1);
	int fd = plain_connect(fixture);

	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->frames, 1);
	read_all(fd, reply, size);
	assert_memory_equal(reply, bytes, size);
	close(fd);
	turn_until(fixture, &fixture->closed, 1);
	assert_int_equal(fixture->counters.accepted, 1);
	assert_int_equal(fixture->counters.closed, 1);
	assert_int_equal(fixture->counters.rx_bytes, size);
	assert_int_equal(fixture->counters.tx_bytes, size);
	assert_int_equal(turn(fixture), 0);
}

static void test_echo_ipv4(void **state)
{
	open_server(*state, "tcp:127.0.0.1:0", 4);
	echo_on(*state);
}

static void test_echo_ipv6(void **state)
{
	open_server(*state, "tcp:[::1]:0", 4);
	echo_on(*state);
}

/* Every frame size, byte after byte, answered with its last byte: before its padding. */
static void test_byte_at_a_time(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[256];
	uint8_t reply[256];
	uint32_t number = 0;
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	for (uint32_t size = 8; size < 90; size++) {
		uint32_t padded = make_frame(bytes, size, number++);

		for (uint32_t i = 0; i < padded; i++) {
			uint64_t before = fixture->counters.rx_bytes;

			assert_int_equal(send(fd, bytes + i, 1, 0), 1);
			turn_until(fixture, &fixture->counters.rx_bytes, before + 1);
			assert_int_equal(fixture->frames, number - (i + 1 < size));
		}
		read_all(fd, reply, padded);
		assert_memory_equal(reply, bytes, padded);
	}
	close(fd);
	turn_until(fixture, &fixture->closed, 1);
}

/* Two writes, split at every byte boundary of a stream of frames of many sizes. */
static void test_every_split(void **state)
{
	struct fixture *fixture = *state;
	uint8_t stream[700];
	uint8_t reply[700];
	uint32_t frame_count = 0;
	uint32_t size = 0;
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	for (; size < 600; frame_count++)
		size += make_frame(stream + size, 8 + frame_count * 9, frame_count);
	for (uint32_t split = 1; split < size; split++) {
		uint64_t bytes = fixture->counters.rx_bytes;
		uint64_t frames = fixture->frames;

		assert_int_equal(send(fd, stream, split, 0), split);
		turn_until(fixture, &fixture->counters.rx_bytes, bytes + split);
		assert_int_equal(send(fd, stream + split, size - split, 0), size - split);
		turn_until(fixture, &fixture->frames, frames + frame_count);
		read_all(fd, reply, size);
		assert_memory_equal(reply, stream, size);
		turn_until(fixture, &fixture->counters.rx_bytes, bytes + size);
	}
	close(fd);
}

/* In a child: writes a stream in pieces of odd sizes while reading its echo in others. */
static void run_odd_client(struct fixture *fixture, uint32_t seed, size_t size_max)
{
	size_t total = 2 << 20;
	uint8_t *stream = malloc(total + MESSAGE_MAX);
	uint8_t *reply = malloc(total + MESSAGE_MAX);
	size_t size = 0;
	size_t sent = 0;
	size_t got = 0;
	int fd = sized_connect(fixture, 16384);

	for (uint32_t number = 0; size < total; number++) {
		seed = seed * 1103515245 + 12345;
		size += make_frame(stream + size, 8 + (seed >> 8) % (uint32_t)size_max, number);
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (got < size) {
		struct pollfd descriptor = {.fd = fd, .events = POLLIN};
		ssize_t part;

		descriptor.events |= sent < size ? POLLOUT : 0;
		seed = seed * 1103515245 + 12345;
		if (poll(&descriptor, 1, 5000) != 1)
			_exit(2);
		part = (ssize_t)(1 + (seed >> 8) % 9000);
		if ((size_t)part > size - sent)
			part = (ssize_t)(size - sent);
		part = part > 0 ? send(fd, stream + sent, (size_t)part, MSG_NOSIGNAL) : 0;
		sent += part > 0 ? (size_t)part : 0;
		part = recv(fd, reply + got, 1 + (seed >> 16) % 9000, 0);
		if (part == 0 || (part < 0 && errno != EAGAIN))
			_exit(3);
		got += part > 0 ? (size_t)part : 0;
	}
	_exit(memcmp(stream, reply, size) == 0 ? 0 : 4);
}

/* Turns until all children have ended, each with 0. */
static void turn_for_children(struct fixture *fixture, unsigned int count)
{
	while (count > 0) {
		int status;
		pid_t child;

		(void)turn(fixture);
		(void)park(fixture->server, 20);
		child = waitpid(-1, &status, WNOHANG);
		assert_true(child >= 0);
		if (child == 0)
			continue;
		assert_int_equal(status, 0);
		count--;
	}
}

/* Partial reads and writes wherever they fall, several connections at once, all sizes. */
static void test_odd_clients(void **state)
{
	static const size_t sizes[] = {60, 3000, 65000, 20000, 600};
	struct fixture *fixture = *state;
	const struct llr_tcp *tcp;
	int buffer = 8192;

	open_server(fixture, "tcp:127.0.0.1:0", 16);
	tcp = (const struct llr_tcp *)fixture->server;
	/* Accepted sockets inherit it: so that writes are partial. */
	setsockopt(tcp->listen_fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	for (uint32_t i = 0; i < 5; i++) {
		if (fork() == 0)
			run_odd_client(fixture, i + 1, sizes[i]);
	}
	turn_for_children(fixture, 5);
	turn_until(fixture, &fixture->closed, 5);
	assert_true(fixture->counters.tx_deferred > 0);
	assert_int_equal(fixture->counters.evicted, 0);
	assert_int_equal(tcp->small.free_count, tcp->small.count);
	assert_int_equal(tcp->large.free_count, tcp->large.count);
	assert_int_equal(tcp->chunks.free_count, tcp->chunks.count);
}

/* A peer that stops reading: bounded, then not read, then the door after 10 s without progress. */
static void test_stops_reading(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[MESSAGE_MAX];
	uint32_t size = make_frame(bytes, 60000, 1);
	const struct llr_tcp *tcp;
	int fd;

	llr_clock_init_virtual(&fixture->clock, &fixture->virtual_ns);
	open_server(fixture, "tcp:127.0.0.1:0", 4);
	tcp = (const struct llr_tcp *)fixture->server;
	fd = plain_connect(fixture);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int silent = 0; silent < 50;) {
		ssize_t part = send(fd, bytes, size, MSG_NOSIGNAL);

		/* Only whole frames: a part would shift the stream, and that's another test's. */
		for (uint32_t done = part > 0 ? (uint32_t)part : size; done < size;) {
			(void)turn(fixture);
			part = send(fd, bytes + done, size - done, MSG_NOSIGNAL);
			done += part > 0 ? (uint32_t)part : 0;
			if (part < 0 && ++silent >= 50)
				break;
		}
		silent = turn(fixture) == 0 ? silent + 1 : 0;
	}
	assert_true(fixture->counters.tx_deferred > 0);
	assert_true(fixture->frames > 0);
	assert_in_range(tcp->connections[tcp->connections_max - 1].output_size +
				tcp->connections[0].output_size,
			1, tcp->output_max);
	fixture->virtual_ns += 9 * SECOND;
	(void)turn(fixture);
	assert_int_equal(fixture->counters.evicted, 0);
	fixture->virtual_ns += 2 * SECOND;
	(void)turn(fixture);
	(void)turn(fixture);
	assert_int_equal(fixture->counters.evicted, 1);
	assert_int_equal(fixture->closed, 1);
	assert_int_equal(tcp->chunks.free_count, tcp->chunks.count);
	close(fd);
}

/* More output than the bound in one turn: the door at once, the worker goes on. */
static void test_output_bound(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[MESSAGE_MAX];
	uint32_t size = make_frame(bytes, 65000, 1);
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	fixture->reply_factor = 200;
	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->closed, 1);
	assert_int_equal(fixture->counters.evicted, 1);
	close(fd);
	fixture->reply_factor = 1;
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->frames, 2);
	close(fd);
}

/* A message that dribbles in has 10 s in all, however busily it dribbles. */
static void test_slow_sender(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[128];
	int fd;
	int idle;

	llr_clock_init_virtual(&fixture->clock, &fixture->virtual_ns);
	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	idle = plain_connect(fixture);
	(void)make_frame(bytes, 100, 1);
	assert_int_equal(send(idle, bytes, 112, 0), 112);
	turn_until(fixture, &fixture->frames, 1);
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(send(fd, bytes + i, 1, 0), 1);
		turn_until(fixture, &fixture->counters.rx_bytes, 112 + i + 1);
		assert_int_equal(fixture->counters.evicted, 0);
		fixture->virtual_ns += SECOND;
	}
	turn_until(fixture, &fixture->closed, 1);
	assert_int_equal(fixture->counters.evicted, 1);
	/* One that says nothing holds nothing, and stays. */
	fixture->virtual_ns += 100 * SECOND;
	(void)turn(fixture);
	assert_int_equal(send(idle, bytes, 112, 0), 112);
	turn_until(fixture, &fixture->frames, 2);
	assert_int_equal(fixture->counters.evicted, 1);
	close(fd);
	close(idle);
}

/* All large buffers are held by partial messages: who needs one waits, and gets it in the end. */
static void test_starved(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[MESSAGE_MAX];
	uint32_t size = make_frame(bytes, 60000, 1);
	const struct llr_tcp *tcp;
	int holders[LLR_TCP_LARGE_COUNT];
	uint64_t expected;
	int small;
	int fd;

	llr_clock_init_virtual(&fixture->clock, &fixture->virtual_ns);
	open_server(fixture, "tcp:127.0.0.1:0", 64);
	tcp = (const struct llr_tcp *)fixture->server;
	assert_int_equal(tcp->large.count, LLR_TCP_LARGE_COUNT);
	for (uint32_t i = 0; i < LLR_TCP_LARGE_COUNT; i++) {
		holders[i] = plain_connect(fixture);
		assert_int_equal(send(holders[i], bytes, 3000, 0), 3000);
		turn_until(fixture, &fixture->counters.rx_bytes, (i + 1) * 3000);
	}
	assert_int_equal(tcp->large.free_count, 0);
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	for (int i = 0; i < 50; i++)
		(void)turn(fixture);
	assert_non_null(tcp->starved_large.first);
	assert_int_equal(fixture->frames, 0);

	/* Small messages go on meanwhile. */
	small = plain_connect(fixture);
	uint32_t small_size = make_frame(bytes, 1000, 2);
	assert_int_equal(send(small, bytes, small_size, 0), small_size);
	turn_until(fixture, &fixture->frames, 1);

	/* A holder that finishes gives its buffer on. */
	(void)make_frame(bytes, 60000, 1);
	assert_int_equal(send(holders[0], bytes + 3000, size - 3000, 0), size - 3000);
	turn_until(fixture, &fixture->frames, 3);
	assert_int_equal(fixture->counters.evicted, 0);

	/* None does: after a second the one that holds longest goes. */
	assert_int_equal(send(holders[0], bytes, 3000, 0), 3000);
	expected = fixture->counters.rx_bytes + 3000;
	turn_until(fixture, &fixture->counters.rx_bytes, expected);
	assert_int_equal(send(fd, bytes, size, 0), size);
	for (int i = 0; i < 50; i++)
		(void)turn(fixture);
	assert_int_equal(fixture->frames, 3);
	fixture->virtual_ns += SECOND + SECOND / 10;
	turn_until(fixture, &fixture->frames, 4);
	assert_int_equal(fixture->counters.evicted, 1);
	for (uint32_t i = 0; i < LLR_TCP_LARGE_COUNT; i++)
		close(holders[i]);
	close(fd);
	close(small);
	turn_until(fixture, &fixture->closed, LLR_TCP_LARGE_COUNT + 2);
	assert_int_equal(tcp->large.free_count, tcp->large.count);
	assert_int_equal(tcp->small.free_count, tcp->small.count);
}

/* The framing leaves whole frames: they come again, and are not timed as the sender's fault. */
static void test_back_pressure(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[128];
	uint32_t size = make_frame(bytes, 100, 1);
	int fd;

	llr_clock_init_virtual(&fixture->clock, &fixture->virtual_ns);
	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	fixture->hold = true;
	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->counters.rx_spans, 3);
	assert_int_equal(fixture->counters.rx_bytes, size);
	fixture->virtual_ns += 60 * SECOND;
	assert_int_equal(turn(fixture), 1);
	assert_true(fixture->server->ops->wait_prepare(fixture->server));
	fixture->hold = false;
	assert_int_equal(turn(fixture), 1);
	assert_int_equal(fixture->frames, 1);
	assert_int_equal(fixture->counters.evicted, 0);
	close(fd);
}

/* The last frames before FIN are answered; a reset ends it as well; each says CLOSED once. */
static void test_ends(void **state)
{
	struct fixture *fixture = *state;
	struct linger reset = {.l_onoff = 1};
	uint8_t bytes[128];
	uint8_t reply[128];
	uint32_t size = make_frame(bytes, 100, 1);
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	shutdown(fd, SHUT_WR);
	turn_until(fixture, &fixture->closed, 1);
	assert_int_equal(fixture->frames, 1);
	read_all(fd, reply, size);
	assert_int_equal(recv(fd, reply, 1, 0), 0);
	close(fd);

	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->frames, 2);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	turn_until(fixture, &fixture->closed, 2);

	/* Half a frame, then the end: nothing of it is left. */
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, 50, 0), 50);
	close(fd);
	turn_until(fixture, &fixture->closed, 3);
	/* Never a byte: nobody ever saw it, so nobody is told. */
	fd = plain_connect(fixture);
	turn_until(fixture, &fixture->counters.accepted, 4);
	close(fd);
	turn_until(fixture, &fixture->counters.closed, 4);
	for (int i = 0; i < 10; i++)
		(void)turn(fixture);
	assert_int_equal(fixture->closed, 3);
	assert_int_equal(((struct llr_tcp *)fixture->server)->small.free_count,
			 LLR_TCP_SMALL_COUNT);
}

/* drop sends what was committed though bytes that nobody will read lie in the kernel. */
static void test_drop(void **state)
{
	struct fixture *fixture = *state;
	struct llr_transport *server;
	static uint8_t bytes[60000];
	uint8_t reply[128];
	uint32_t size = make_frame(bytes, 100, 1);
	struct llr_span span;
	struct llr_room room;
	struct llr_peer *peer;
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 1);
	server = fixture->server;
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	while (server->ops->rx_burst(server, llr_clock_now(&fixture->clock), &span, 1) == 0)
		assert_true(park(server, 5000));
	peer = span.peer;
	echo_frame(fixture, peer, span.bytes, 100);
	span.consumed = span.size;
	server->ops->drop(server, peer);
	server->ops->drop(server, peer);
	assert_int_equal(server->ops->tx_reserve(server, peer, 16, &room), -ECONNRESET);
	server->ops->rx_release(server, &span, 1);
	server->ops->tx_flush(server);
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	turn_until(fixture, &fixture->closed, 1);
	assert_int_equal(fixture->counters.closed, 0);
	assert_int_equal(send(fd, bytes, 1000, MSG_NOSIGNAL), 1000);
	read_all(fd, reply, size);
	assert_memory_equal(reply, bytes, 100);
	assert_int_equal(recv(fd, reply, 1, 0), 0);
	close(fd);
	turn_until(fixture, &fixture->counters.closed, 1);
	assert_int_equal(fixture->closed, 1);
	/* Its place is free again. */
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	turn_until(fixture, &fixture->frames, 2);
	close(fd);
}

static void test_allow(void **state)
{
	struct fixture *fixture = *state;
	uint8_t byte;
	int fd;

	assert_int_equal(llr_allow_parse(&fixture->allow, "10.0.0.0/8", NULL), 0);
	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	turn_until(fixture, &fixture->counters.rx_denied, 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	assert_int_equal(fixture->counters.accepted, 0);
	close(fd);
}

/* More than fit wait in the backlog, without a busy loop, and come in when one leaves. */
static void test_connections_max(void **state)
{
	struct fixture *fixture = *state;
	int fds[3];

	open_server(fixture, "tcp:127.0.0.1:0", 2);
	for (int i = 0; i < 3; i++)
		fds[i] = plain_connect(fixture);
	turn_until(fixture, &fixture->counters.accept_paused, 1);
	assert_int_equal(fixture->counters.accepted, 2);
	for (int i = 0; i < 5; i++)
		(void)turn(fixture);
	assert_false(park(fixture->server, 50));
	assert_int_equal(fixture->counters.accept_paused, 1);
	close(fds[0]);
	turn_until(fixture, &fixture->counters.accepted, 3);
	close(fds[1]);
	close(fds[2]);
}

/* In a child: 32 descriptors in all. Exits with the line of the check that failed. */
static void run_out_of_descriptors(struct fixture *fixture, int ready_fd, int done_fd)
{
	struct rlimit limit = {.rlim_cur = 32, .rlim_max = 32};
	uint64_t before;
	uint64_t turns = 0;
	char byte;

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		_exit(1);
	open_server(fixture, "tcp:127.0.0.1:0", 100);
	if (write(ready_fd, &fixture->uri, sizeof(fixture->uri)) != sizeof(fixture->uri))
		_exit(2);
	turn_until(fixture, &fixture->counters.accept_paused, 1);
	before = llr_clock_gettime_ns();
	/* It sleeps through its pauses: some 100 ms each. */
	while (fixture->counters.accept_paused < 4) {
		(void)park(fixture->server, 1000);
		(void)turn(fixture);
		turns++;
	}
	if (llr_clock_gettime_ns() - before < 150000000 || turns > 40)
		_exit(3);
	if (write(ready_fd, "p", 1) != 1)
		_exit(4);
	turn_until(fixture, &fixture->counters.accepted, 40);
	(void)read(done_fd, &byte, 1);
	_exit(0);
}

static void test_out_of_descriptors(void **state)
{
	struct fixture *fixture = *state;
	int ready[2];
	int done[2];
	int log[2];
	int fds[40];
	char text[1024] = "";
	char byte;
	int status;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	assert_int_equal(pipe(log), 0);
	child = fork();
	if (child == 0) {
		dup2(log[1], STDERR_FILENO);
		run_out_of_descriptors(fixture, ready[1], done[0]);
	}
	assert_int_equal(read(ready[0], &fixture->uri, sizeof(fixture->uri)), sizeof(fixture->uri));
	for (int i = 0; i < 40; i++)
		fds[i] = plain_connect(fixture);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(log[1]);
	assert_true(read(log[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "out of descriptors"));
	/* Four pauses, one line. */
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	for (int i = 0; i < 2; i++)
		close(ready[i]), close(done[i]);
	close(log[0]);
}

/* In a child: opens count connections, sends a frame on the first, waits to be told to leave. */
static void run_many_clients(struct fixture *fixture, unsigned int count, int done_fd)
{
	uint8_t bytes[128];
	uint8_t reply[128];
	uint32_t size = make_frame(bytes, 100, 1);
	int first = plain_connect(fixture);
	char byte;

	for (unsigned int i = 1; i < count; i++)
		(void)plain_connect(fixture);
	for (int i = 0; i < 100; i++) {
		if (send(first, bytes, size, 0) != size)
			_exit(2);
		read_all(first, reply, size);
	}
	(void)read(done_fd, &byte, 1);
	_exit(0);
}

static void test_ten_thousand(void **state)
{
	struct fixture *fixture = *state;
	unsigned int count = 10000;
	struct rlimit limit;
	int done[2];
	int status;
	pid_t child;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < count + 100) {
		print_message("skipped: %lu descriptors, %u needed\n", limit.rlim_cur, count + 100);
		skip();
	}
	open_server(fixture, "tcp:127.0.0.1:0", count);
	assert_int_equal(pipe(done), 0);
	child = fork();
	if (child == 0)
		run_many_clients(fixture, count, done[0]);
	turn_until(fixture, &fixture->counters.accepted, count);
	turn_until(fixture, &fixture->frames, 100);
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	turn_until(fixture, &fixture->counters.closed, count);
	assert_int_equal(fixture->closed, 1);
	assert_int_equal(fixture->counters.evicted, 0);
	close(done[0]);
	close(done[1]);
}

/* Many busy connections: each gets its turn. */
static void test_fairness(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[MESSAGE_MAX];
	uint8_t reply[16];
	uint32_t size = make_frame(bytes, 16, 1);
	int fds[100];

	open_server(fixture, "tcp:127.0.0.1:0", 200);
	for (int i = 0; i < 100; i++)
		fds[i] = plain_connect(fixture);
	turn_until(fixture, &fixture->counters.accepted, 100);
	/* Four are hot and flooded; the others have one frame each. */
	for (int round = 0; round < 20; round++) {
		uint64_t frames = fixture->frames;

		for (int i = 0; i < 100; i++)
			assert_int_equal(send(fds[i], bytes, size, 0), size);
		turn_until(fixture, &fixture->frames, frames + 100);
		for (int i = 0; i < 100; i++)
			read_all(fds[i], reply, size);
	}
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	turn_until(fixture, &fixture->closed, 100);
}

static int client_open(struct fixture *fixture, struct llr_transport **client,
		       struct llr_peer **peer, uint64_t timeout_ns, struct llrph_error *error)
{
	struct llr_tcp_connect_setup setup = {.uri = &fixture->uri,
					      .counters = &fixture->client_counters,
					      .clock = &fixture->clock,
					      .message_max = MESSAGE_MAX,
					      .timeout_ns = timeout_ns};

	return llr_tcp_connect(client, peer, &setup, error);
}

/* Our own client: sends a frame and awaits its echo. */
static void client_echo(struct fixture *fixture, struct llr_transport *client,
			struct llr_peer *peer)
{
	uint64_t frames = fixture->frames;
	struct llr_room room;
	struct llr_span span;
	unsigned int count = 0;

	for (int i = 0; i < 500; i++) {
		int code = client->ops->tx_reserve(client, peer, 100, &room);

		if (code == 0)
			break;
		assert_int_equal(code, -EAGAIN);
		(void)park(client, 10);
		assert_int_equal(
			client->ops->rx_burst(client, llr_clock_now(&fixture->clock), &span, 1), 0);
	}
	(void)make_frame(room.bytes, 96, 5);
	client->ops->tx_commit(client, &room, 96);
	client->ops->tx_flush(client);
	turn_until(fixture, &fixture->frames, frames + 1);
	for (int i = 0; i < 500 && count == 0; i++) {
		(void)park(client, 10);
		count = client->ops->rx_burst(client, llr_clock_now(&fixture->clock), &span, 1);
	}
	assert_int_equal(count, 1);
	assert_ptr_equal(span.peer, peer);
	check_frame(span.bytes, 96, 5);
	span.consumed = span.size;
	client->ops->rx_release(client, &span, 1);
}

static void await_closed(struct fixture *fixture, struct llr_transport *client)
{
	struct llr_span span;
	unsigned int count = 0;

	for (int i = 0; i < 500 && count == 0; i++) {
		(void)park(client, 10);
		count = client->ops->rx_burst(client, llr_clock_now(&fixture->clock), &span, 1);
	}
	assert_int_equal(count, 1);
	assert_int_equal(span.flags, LLR_SPAN_CLOSED);
	client->ops->rx_release(client, &span, 1);
}

static void test_connect(void **state)
{
	struct fixture *fixture = *state;
	struct llrph_error error = {.text = ""};
	struct llr_transport *client = NULL;
	struct llr_peer *peer = NULL;
	struct llr_peer *again = NULL;
	struct llr_room room;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	for (uint64_t timeout_ns = 0; timeout_ns <= SECOND; timeout_ns += SECOND) {
		assert_int_equal(client_open(fixture, &client, &peer, timeout_ns, &error), 0);
		client_echo(fixture, client, peer);
		assert_true(llr_tcp_is_connected(client));
		assert_int_equal(client->ops->tx_reserve(client, peer, MESSAGE_MAX + 1, &room),
				 -EMSGSIZE);
		/* Drop and connect again, in the same memory. */
		assert_int_equal(llr_tcp_reconnect(client, &again, timeout_ns, NULL), -EBUSY);
		client->ops->drop(client, peer);
		await_closed(fixture, client);
		assert_int_equal(llr_tcp_reconnect(client, &again, timeout_ns, &error), 0);
		assert_ptr_equal(peer, again);
		client_echo(fixture, client, peer);
		client->ops->close(client);
	}
	turn_until(fixture, &fixture->closed, 4);
}

static void test_connect_refused(void **state)
{
	struct fixture *fixture = *state;
	struct llrph_error error = {.text = ""};
	struct llr_transport *client = NULL;
	struct llr_peer *peer = NULL;
	struct llr_room room;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	assert_int_equal(client_open(fixture, &client, &peer, SECOND, &error), 0);
	client_echo(fixture, client, peer);
	fixture->server->ops->close(fixture->server);
	fixture->server = NULL;
	await_closed(fixture, client);
	assert_false(llr_tcp_is_connected(client));
	assert_int_equal(client->ops->tx_reserve(client, peer, 16, &room), -ECONNRESET);
	assert_int_equal(llr_tcp_reconnect(client, &peer, SECOND, &error), -ECONNREFUSED);
	assert_non_null(strstr(error.text, "nobody listens there"));
	assert_int_equal(llr_tcp_reconnect(client, &peer, 0, &error), 0);
	await_closed(fixture, client);
	assert_int_equal(llr_tcp_error(client), -ECONNREFUSED);
	client->ops->close(client);
	client = NULL;
	assert_int_equal(client_open(fixture, &client, &peer, SECOND, &error), -ECONNREFUSED);
	assert_null(client);
}

/* The client's output is stuck: told so, and goes on once the server reads. */
static void test_connect_blocked(void **state)
{
	struct fixture *fixture = *state;
	struct llr_transport *client = NULL;
	struct llr_peer *peer = NULL;
	struct llr_room room;
	struct llr_span span;
	uint64_t committed = 0;
	int code = 0;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fixture->reply_factor = 0;
	assert_int_equal(client_open(fixture, &client, &peer, SECOND, NULL), 0);
	while (committed < 10000) {
		code = client->ops->tx_reserve(client, peer, 60000, &room);
		if (code != 0)
			break;
		(void)make_frame(room.bytes, 60000, (uint32_t)committed++);
		client->ops->tx_commit(client, &room, 60000);
		client->ops->tx_flush(client);
	}
	assert_int_equal(code, -EAGAIN);
	assert_true(fixture->client_counters.tx_deferred > 0);
	for (int i = 0; i < 10000 && fixture->frames < committed; i++) {
		(void)park(fixture->server, 1);
		(void)turn(fixture);
		(void)park(client, 1);
		assert_int_equal(
			client->ops->rx_burst(client, llr_clock_now(&fixture->clock), &span, 1), 0);
	}
	assert_int_equal(fixture->frames, committed);
	assert_int_equal(client->ops->tx_reserve(client, peer, 60000, &room), 0);
	client->ops->tx_abort(client, &room);
	client->ops->close(client);
}

static void test_set_up_errors(void **state)
{
	struct fixture *fixture = *state;
	struct llrph_error error = {.text = ""};
	struct llr_tcp_setup setup = {.counters = &fixture->counters,
				      .clock = &fixture->clock,
				      .connections_max = 1,
				      .message_max = 100};
	struct llr_transport *transport = NULL;
	int fd = -1;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	assert_int_equal(llr_tcp_socket(&fixture->uri, false, &fd, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "choose another port or stop it"));
	assert_int_equal(fd, -1);
	setup.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(llr_tcp_listen(&transport, &setup, &error), -EINVAL);
	close(setup.fd);
	setup.fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(llr_tcp_listen(&transport, &setup, &error), -EINVAL);
	close(setup.fd);
}

static void test_buffer_pool(void **state)
{
	struct llr_buffer_pool pool;
	uint8_t *memory = aligned_alloc(64, llr_buffer_pool_size(128, 3));
	uint32_t taken[3];

	(void)state;
	llr_buffer_pool_init(&pool, memory, 128, 3);
	for (int i = 0; i < 3; i++) {
		taken[i] = llr_buffer_borrow(&pool);
		assert_in_range(taken[i], 0, 2);
		memset(llr_buffer_bytes(&pool, taken[i]), i, 128);
	}
	assert_int_equal(llr_buffer_borrow(&pool), LLR_BUFFER_NONE);
	assert_true(taken[0] != taken[1] && taken[1] != taken[2] && taken[0] != taken[2]);
	llr_buffer_release(&pool, taken[1]);
	assert_int_equal(llr_buffer_bytes(&pool, taken[0])[127], 0);
	assert_int_equal(llr_buffer_bytes(&pool, taken[2])[0], 2);
	assert_int_equal(llr_buffer_borrow(&pool), taken[1]);
	assert_int_equal(pool.free_count, 0);
	free(memory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_echo_ipv4),
		TEST(test_echo_ipv6),
		TEST(test_byte_at_a_time),
		TEST(test_every_split),
		TEST(test_odd_clients),
		TEST(test_stops_reading),
		TEST(test_output_bound),
		TEST(test_slow_sender),
		TEST(test_starved),
		TEST(test_back_pressure),
		TEST(test_ends),
		TEST(test_drop),
		TEST(test_allow),
		TEST(test_connections_max),
		TEST(test_out_of_descriptors),
		TEST(test_ten_thousand),
		TEST(test_fairness),
		TEST(test_connect),
		TEST(test_connect_refused),
		TEST(test_connect_blocked),
		TEST(test_set_up_errors),
		TEST(test_buffer_pool),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
