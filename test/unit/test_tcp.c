/* SPDX-License-Identifier: MIT */
/*
 * TCP over loopback, listening: streams in any pieces, ends, many connections.
 */
#include "test/support/tcp_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_echo_ipv4),   TEST(test_echo_ipv6),   TEST(test_byte_at_a_time),
		TEST(test_every_split), TEST(test_odd_clients), TEST(test_ends),
		TEST(test_drop),        TEST(test_allow),       TEST(test_ten_thousand),
		TEST(test_fairness),    TEST(test_buffer_pool),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
