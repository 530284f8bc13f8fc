/* SPDX-License-Identifier: MIT */
/*
 * TCP over loopback where something is short: room at the peer or in the kernel, buffers, patience,
 * places, descriptors.
 */
#include "test/support/tcp_server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Stands in for the kernel on one descriptor: the next call takes take_first bytes at most, the
 * others take_next (0: EAGAIN). Every other descriptor's calls go through.
 */
static int cut_fd = -1;
static size_t take_first;
static size_t take_next;

static size_t take(size_t size)
{
	size_t most = take_first;

	take_first = take_next;
	return size < most ? size : most;
}

ssize_t sendmsg(int fd, const struct msghdr *header, int flags)
{
	struct iovec vectors[16];
	struct msghdr cut = *header;
	size_t left = 0;

	if (fd != cut_fd)
		return syscall(SYS_sendmsg, fd, header, flags);
	assert_in_range(header->msg_iovlen, 1, 16);
	for (size_t i = 0; i < header->msg_iovlen; i++)
		left += header->msg_iov[i].iov_len;
	left = take(left);
	if (left == 0) {
		errno = EAGAIN;
		return -1;
	}
	cut.msg_iov = vectors;
	cut.msg_iovlen = 0;
	for (size_t i = 0; left > 0; i++) {
		vectors[i] = header->msg_iov[i];
		if (vectors[i].iov_len > left)
			vectors[i].iov_len = left;
		left -= vectors[i].iov_len;
		cut.msg_iovlen++;
	}
	return syscall(SYS_sendmsg, fd, &cut, flags);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
	struct iovec vector = {.iov_len = size};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

	memcpy(&vector.iov_base, &bytes, sizeof(bytes));
	return sendmsg(fd, &header, flags);
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

/* Replies outgrow their requests: the span is left where it is while they wait, and none is lost.
 */
static void test_slow_reader(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[MESSAGE_MAX];
	static uint8_t reply[4000];
	uint32_t size = 0;
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fixture->reply_factor = 100;
	fd = sized_connect(fixture, 16384);
	/* 16 frames make 6.4 MB of replies, three times the bound. */
	for (uint32_t number = 0; number < 16; number++)
		size += make_frame(bytes + size, sizeof(reply), number);
	assert_int_equal(send(fd, bytes, size, 0), size);
	while (fixture->counters.tx_deferred == 0)
		(void)turn(fixture);
	assert_true(fixture->last->blocked);
	assert_true(fixture->frames < 16);
	for (uint32_t i = 0; i < 16 * 100; i++) {
		for (size_t got = 0; got < sizeof(reply);) {
			ssize_t part = recv(fd, reply + got, sizeof(reply) - got, MSG_DONTWAIT);

			assert_int_not_equal(part, 0);
			got += part > 0 ? (size_t)part : 0;
			if (part < 0)
				(void)turn(fixture);
		}
		check_frame(reply, sizeof(reply), i / 100);
	}
	assert_int_equal(fixture->frames, 16);
	assert_int_equal(fixture->counters.evicted, 0);
	assert_false(fixture->last->blocked);
	close(fd);
}

/* All large buffers are held by those who don't read: after a second one of them goes. */
static void test_starved_by_blocked(void **state)
{
	static uint8_t bytes[MESSAGE_MAX];
	struct fixture *fixture = *state;
	uint32_t size = make_frame(bytes, 60000, 1);
	struct llr_room room;
	const struct llr_tcp *tcp;
	int holders[LLR_TCP_LARGE_COUNT];
	int buffer = 4096;
	int fd;

	llr_clock_init_virtual(&fixture->clock, &fixture->virtual_ns);
	open_server(fixture, "tcp:127.0.0.1:0", 64);
	tcp = (const struct llr_tcp *)fixture->server;
	setsockopt(tcp->listen_fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	fixture->hold = true;
	for (uint32_t i = 0; i < LLR_TCP_LARGE_COUNT; i++) {
		struct llr_transport *server = fixture->server;
		struct llr_tcp_connection *connection;

		holders[i] = sized_connect(fixture, 4096);
		assert_int_equal(send(holders[i], bytes, size, 0), size);
		turn_until(fixture, &fixture->counters.rx_bytes, (uint64_t)(i + 1) * size);
		connection = tcp->ready.first;
		assert_non_null(connection);
		while (!connection->peer.blocked) {
			assert_int_equal(
				server->ops->tx_reserve(server, &connection->peer, 60000, &room),
				0);
			server->ops->tx_commit(server, &room, 60000);
			server->ops->tx_flush(server);
		}
	}
	assert_int_equal(tcp->large.free_count, 0);
	fixture->hold = false;
	fd = plain_connect(fixture);
	assert_int_equal(send(fd, bytes, size, 0), size);
	for (int i = 0; i < 50; i++)
		(void)turn(fixture);
	assert_int_equal(fixture->frames, 0);
	assert_int_equal(fixture->counters.evicted, 0);
	fixture->virtual_ns += SECOND + SECOND / 10;
	turn_until(fixture, &fixture->frames, 1);
	assert_int_equal(fixture->counters.evicted, 1);
	for (uint32_t i = 0; i < LLR_TCP_LARGE_COUNT; i++)
		close(holders[i]);
	close(fd);
}

/* The edge that the kernel gives when it has room again: a cut leaves none behind. */
static void make_edge(struct fixture *fixture, struct llr_tcp_connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				    .data.ptr = connection};

	assert_int_equal(epoll_ctl(((struct llr_tcp *)fixture->server)->epoll_fd, EPOLL_CTL_MOD,
				   connection->fd, &event),
			 0);
}

/* A stream of frames goes out in cuts; every byte of it arrives, in order, and nothing else. */
static void send_in_cuts(struct fixture *fixture, int fd, const uint8_t *stream, size_t size)
{
	static uint8_t reply[6 * MESSAGE_MAX];
	struct llr_tcp_connection *connection = fixture->last->link;
	struct llr_transport *server = fixture->server;
	uint64_t end_ns = llr_clock_gettime_ns() + 20 * SECOND;
	size_t got = 0;
	size_t frame_size;

	cut_fd = connection->fd;
	for (size_t at = 0; at < size; at += llr_round_up(frame_size, LLR_ALIGN)) {
		struct llr_room room;

		frame_size = llr_le32_load(stream + at);
		assert_int_equal(
			server->ops->tx_reserve(server, fixture->last, (uint32_t)frame_size, &room),
			0);
		memcpy(room.bytes, stream + at, frame_size);
		server->ops->tx_commit(server, &room, (uint32_t)frame_size);
	}
	server->ops->tx_flush(server);
	while (got < size) {
		ssize_t part = recv(fd, reply + got, sizeof(reply) - got, MSG_DONTWAIT);

		got += part > 0 ? (size_t)part : 0;
		if (llr_clock_gettime_ns() > end_ns)
			fail_msg("got %zu bytes of %zu in 20 s", got, size);
		if (connection->output_size > 0)
			make_edge(fixture, connection);
		(void)turn(fixture);
	}
	assert_int_equal(got, size);
	assert_memory_equal(reply, stream, size);
	assert_int_equal(connection->output_size, 0);
	cut_fd = -1;
}

/* A server, and a client whose connection it knows: a frame was echoed. */
static int open_known(struct fixture *fixture)
{
	uint8_t bytes[16];
	int fd;

	open_server(fixture, "tcp:127.0.0.1:0", 4);
	fd = plain_connect(fixture);
	(void)make_frame(bytes, 16, 1);
	assert_int_equal(send(fd, bytes, 16, 0), 16);
	turn_until(fixture, &fixture->frames, 1);
	read_all(fd, bytes, 16);
	return fd;
}

/* The kernel takes a stream up to every one of its bytes, then the rest; and in steps of any size.
 */
static void test_partial_writes(void **state)
{
	struct fixture *fixture = *state;
	uint8_t stream[700];
	size_t size = 0;
	int fd = open_known(fixture);

	for (uint32_t number = 0; size < 600; number++)
		size += make_frame(stream + size, 8 + number * 9, number);
	for (size_t cut = 0; cut <= size; cut++) {
		take_first = cut;
		take_next = SIZE_MAX;
		send_in_cuts(fixture, fd, stream, size);
	}
	for (size_t step = 1; step <= size; step++) {
		take_first = take_next = step;
		send_in_cuts(fixture, fd, stream, size);
	}
	assert_true(fixture->counters.tx_deferred > 2 * size - 2);
	assert_int_equal(fixture->counters.tx_failed, 0);
	close(fd);
}

/* The same around the ends of the chunks that output waits in, several to a call. */
static void test_partial_writes_large(void **state)
{
	static uint8_t stream[6 * MESSAGE_MAX];
	struct fixture *fixture = *state;
	const struct llr_tcp *tcp;
	size_t size = 0;
	int fd = open_known(fixture);

	tcp = (const struct llr_tcp *)fixture->server;
	for (uint32_t number = 0; number < 5; number++)
		size += make_frame(stream + size, 60001 + number * 999, number);
	for (size_t chunk = 0; chunk < size; chunk += LLR_TCP_CHUNK_SIZE) {
		for (size_t cut = chunk > 0 ? chunk - 2 : 0; cut <= chunk + 2; cut++) {
			take_first = cut;
			take_next = SIZE_MAX;
			send_in_cuts(fixture, fd, stream, size);
			take_first = 0;
			take_next = cut > 2 ? cut : 4093;
			send_in_cuts(fixture, fd, stream, size);
		}
	}
	assert_int_equal(tcp->chunks.free_count, tcp->chunks.count);
	assert_int_equal(fixture->counters.evicted, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stops_reading),        TEST(test_output_bound),
		TEST(test_slow_sender),          TEST(test_starved),
		TEST(test_back_pressure),        TEST(test_slow_reader),
		TEST(test_starved_by_blocked),   TEST(test_partial_writes),
		TEST(test_partial_writes_large), TEST(test_connections_max),
		TEST(test_out_of_descriptors),
	};

	return cmocka_run_group_tests_name("tcp_faults", tests, NULL, NULL);
}
