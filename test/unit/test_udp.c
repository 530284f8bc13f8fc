/* SPDX-License-Identifier: MIT */
/*
 * UDP over loopback: packing, sizes, times, refusals. The kernel's refusals that loopback does not
 * give are made by standing in for sendto and sendmmsg.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "transport/udp.h"

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* The next refuse_count calls that send fail with refuse_code. */
static int refuse_code;
static unsigned int refuse_count;

static bool is_refused(void)
{
	if (refuse_count == 0)
		return false;
	refuse_count--;
	errno = refuse_code;
	return true;
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *name,
	       socklen_t name_size)
{
	return is_refused() ? -1 : syscall(SYS_sendto, fd, bytes, size, flags, name, name_size);
}

int sendmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags)
{
	return is_refused() ? -1 : (int)syscall(SYS_sendmmsg, fd, headers, count, flags);
}

struct fixture {
	struct llr_clock clock;
	struct llr_transport_counters server_counters;
	struct llr_transport_counters client_counters;
	struct llr_transport *server;
	struct llr_transport *client;
	struct llr_peer *peer; /* the server, as the client sees it */
	struct llr_uri uri;
	struct llr_allow allow;
};

static void open_server(struct fixture *fixture, const char *text)
{
	struct llrph_error error = {.text = ""};
	struct llr_udp_setup setup = {.allow = &fixture->allow,
				      .counters = &fixture->server_counters,
				      .clock = &fixture->clock,
				      .uri = text};

	assert_int_equal(llr_uri_parse(&fixture->uri, text, NULL), 0);
	assert_int_equal(llr_udp_socket(&fixture->uri, false, &setup.fd, &error), 0);
	assert_int_equal(llr_udp_listen(&fixture->server, &setup, &error), 0);
	assert_int_equal(llr_uri_parse(&fixture->uri, fixture->server->uri, NULL), 0);
	assert_int_not_equal(fixture->uri.address.port, 0);
}

static void open_client(struct fixture *fixture)
{
	struct llrph_error error = {.text = ""};

	assert_int_equal(llr_udp_connect(&fixture->client, &fixture->peer, &fixture->uri,
					 &fixture->client_counters, &fixture->clock, &error),
			 0);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	llr_clock_init(&fixture->clock);
	refuse_count = 0;
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->client != NULL)
		fixture->client->ops->close(fixture->client);
	if (fixture->server != NULL)
		fixture->server->ops->close(fixture->server);
	free(fixture);
	return 0;
}

static void commit(struct llr_transport *transport, struct llr_peer *peer, const void *bytes,
		   uint32_t size)
{
	struct llr_room room;

	assert_int_equal(transport->ops->tx_reserve(transport, peer, size, &room), 0);
	assert_true(room.size >= size);
	assert_int_equal((uintptr_t)room.bytes % LLR_ALIGN, 0);
	memcpy(room.bytes, bytes, size);
	transport->ops->tx_commit(transport, &room, size);
}

/* Waits for at least one datagram, at most 5 s. */
static unsigned int receive(struct fixture *fixture, struct llr_transport *transport,
			    struct llr_span *spans, unsigned int count_max)
{
	struct pollfd descriptor = {.fd = transport->ops->wait_fd(transport), .events = POLLIN};

	assert_int_equal(poll(&descriptor, 1, 5000), 1);
	return transport->ops->rx_burst(transport, llr_clock_now(&fixture->clock), spans,
					count_max);
}

static void echo_on(struct fixture *fixture)
{
	struct llr_span spans[LLR_BURST_MAX];
	struct llr_span span;

	commit(fixture->client, fixture->peer, "hello", 5);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, spans, LLR_BURST_MAX), 1);
	assert_int_equal(spans[0].size, 5);
	assert_memory_equal(spans[0].bytes, "hello", 5);
	assert_int_equal((uintptr_t)spans[0].bytes % LLR_ALIGN, 0);
	commit(fixture->server, spans[0].peer, "world!", 6);
	fixture->server->ops->rx_release(fixture->server, spans, 1);
	fixture->server->ops->tx_flush(fixture->server);
	assert_int_equal(receive(fixture, fixture->client, &span, 1), 1);
	assert_ptr_equal(span.peer, fixture->peer);
	assert_int_equal(span.size, 6);
	assert_memory_equal(span.bytes, "world!", 6);
	fixture->client->ops->rx_release(fixture->client, &span, 1);
	assert_int_equal(fixture->server_counters.rx_spans, 1);
	assert_int_equal(fixture->server_counters.tx_bytes, 6);
}

static void test_echo_ipv4(void **state)
{
	struct fixture *fixture = *state;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	echo_on(fixture);
	assert_int_equal(fixture->server->ops->traits, 0);
	assert_true(llr_udp_queue_capacity(fixture->server) > 8);
}

static void test_echo_ipv6(void **state)
{
	struct fixture *fixture = *state;

	open_server(fixture, "udp:[::1]:0");
	open_client(fixture);
	echo_on(fixture);
}

/* Two frames share a datagram, the second at the next multiple of 16, zeros between. */
static void test_packing(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;
	struct llr_room room;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	/* Leave bytes in the arena that padding must cover. */
	commit(fixture->client, fixture->peer, "################################", 32);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	fixture->server->ops->rx_release(fixture->server, &span, 1);

	commit(fixture->client, fixture->peer, "abc", 3);
	assert_int_equal(
		fixture->client->ops->tx_reserve(fixture->client, fixture->peer, 99, &room), 0);
	fixture->client->ops->tx_abort(fixture->client, &room);
	commit(fixture->client, fixture->peer, "defgh", 5);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	assert_int_equal(span.size, 21);
	assert_memory_equal(span.bytes, "abc\0\0\0\0\0\0\0\0\0\0\0\0\0defgh", 21);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
	assert_int_equal(fixture->client_counters.tx_spans, 2);
}

/* A frame that does not fit what is open begins a datagram of its own; order is kept. */
static void test_packing_full(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span spans[4];
	uint8_t bytes[1000] = {0};

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	fixture->peer->mtu = LLR_DATAGRAM_IPV4;
	for (uint8_t i = 0; i < 3; i++) {
		bytes[0] = i;
		commit(fixture->client, fixture->peer, bytes, i == 1 ? 480 : 992);
	}
	fixture->client->ops->tx_flush(fixture->client);
	for (unsigned int count = 0, i = 0; count < 2; i++) {
		unsigned int got = receive(fixture, fixture->server, spans, 4);

		for (unsigned int j = 0; j < got; j++) {
			assert_int_equal(spans[j].size, count + j == 0 ? 1472 : 992);
			assert_int_equal(spans[j].bytes[0], count + j == 0 ? 0 : 2);
		}
		fixture->server->ops->rx_release(fixture->server, spans, got);
		count += got;
	}
}

/* Two clients' replies interleave, and each gets one datagram. */
static void test_interleaved(void **state)
{
	struct fixture *fixture = *state;
	struct llr_peer peers[2];
	struct llr_transport *clients[2];
	struct llr_peer *server;
	struct llr_span span;

	open_server(fixture, "udp:127.0.0.1:0");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(llr_udp_connect(&clients[i], &server, &fixture->uri,
						 &fixture->client_counters, &fixture->clock, NULL),
				 0);
		commit(clients[i], server, "x", 1);
		clients[i]->ops->tx_flush(clients[i]);
		assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
		peers[i] = *span.peer;
		fixture->server->ops->rx_release(fixture->server, &span, 1);
	}
	assert_false(llr_address_equal(&peers[0].address, &peers[1].address));
	for (int i = 0; i < 6; i++)
		commit(fixture->server, &peers[i % 2], i % 2 ? "b" : "a", 1);
	fixture->server->ops->tx_flush(fixture->server);
	assert_int_equal(fixture->server_counters.tx_spans, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(receive(fixture, clients[i], &span, 1), 1);
		assert_int_equal(span.size, 33);
		for (int j = 0; j < 3; j++)
			assert_int_equal(span.bytes[16 * j], i ? 'b' : 'a');
		clients[i]->ops->rx_release(clients[i], &span, 1);
		clients[i]->ops->close(clients[i]);
	}
}

static void test_burst(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int total = 0;
	unsigned int largest = 0;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	for (uint8_t i = 0; i < 50; i++) {
		commit(fixture->client, fixture->peer, &i, 1);
		fixture->client->ops->tx_flush(fixture->client);
	}
	while (total < 50) {
		unsigned int count = receive(fixture, fixture->server, spans, LLR_BURST_MAX);

		for (unsigned int i = 0; i < count; i++)
			assert_int_equal(spans[i].bytes[0], total + i);
		fixture->server->ops->rx_release(fixture->server, spans, count);
		total += count;
		largest = count > largest ? count : largest;
	}
	assert_true(largest > 10);
	/* Replies in one flush: company goes by sendmmsg, beyond what waits at most it flushes. */
	for (uint32_t i = 0; i < 200; i++) {
		uint8_t bytes[1472] = {(uint8_t)i};

		fixture->peer->mtu = LLR_DATAGRAM_IPV4;
		commit(fixture->client, fixture->peer, bytes, sizeof(bytes));
	}
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(fixture->client_counters.tx_spans, 250);
}

/*
 * Time in the socket's queue counts. The kernel begins to stamp some time after it was asked to,
 * and gives what it did not stamp the time at which it is fetched.
 */
static void test_timestamp(void **state)
{
	struct fixture *fixture = *state;
	struct timespec pause = {.tv_nsec = 50000000};
	struct llr_span span;
	uint64_t now_ns;
	bool aged = false;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	for (int i = 0; i < 50 && !aged; i++) {
		commit(fixture->client, fixture->peer, "x", 1);
		fixture->client->ops->tx_flush(fixture->client);
		nanosleep(&pause, NULL);
		now_ns = llr_clock_now(&fixture->clock);
		assert_int_equal(fixture->server->ops->rx_burst(fixture->server, now_ns, &span, 1),
				 1);
		aged = span.received_ns <= now_ns - 45000000;
		assert_true(span.received_ns >= now_ns - 1000000000);
		fixture->server->ops->rx_release(fixture->server, &span, 1);
	}
	assert_true(aged);

	/* A turn's clock that lags is never overtaken. */
	commit(fixture->client, fixture->peer, "x", 1);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(fixture->server->ops->rx_burst(fixture->server, now_ns, &span, 1), 1);
	assert_true(span.received_ns <= now_ns);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
}

static void test_allow(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;

	assert_int_equal(llr_allow_parse(&fixture->allow, "10.0.0.0/8", NULL), 0);
	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	commit(fixture->client, fixture->peer, "x", 1);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 0);
	assert_int_equal(fixture->server_counters.rx_denied, 1);
	assert_int_equal(fixture->server_counters.rx_spans, 0);
	assert_int_equal(llr_allow_parse(&fixture->allow, "10.0.0.0/8,127.0.0.1", NULL), 0);
	commit(fixture->client, fixture->peer, "x", 1);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
}

/* Loopback carries 64 KiB: the client knows, and its datagram proves it to the server. */
static void test_jumbo(void **state)
{
	struct fixture *fixture = *state;
	uint8_t *bytes = calloc(1, LLR_DATAGRAM_MAX);
	struct llr_room room;
	struct llr_span span;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	assert_true(fixture->peer->mtu > 9000);
	bytes[0] = 1;
	bytes[fixture->peer->mtu - 1] = 2;
	commit(fixture->client, fixture->peer, bytes, fixture->peer->mtu);
	commit(fixture->client, fixture->peer, bytes, 16);
	assert_int_equal(fixture->client->ops->tx_reserve(fixture->client, fixture->peer,
							  fixture->peer->mtu + 1, &room),
			 -EMSGSIZE);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	assert_int_equal(span.size, fixture->peer->mtu);
	assert_int_equal(span.peer->mtu, fixture->peer->mtu);
	assert_memory_equal(span.bytes, bytes, span.size);
	commit(fixture->server, span.peer, bytes, span.size);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	assert_int_equal(span.size, 16);
	assert_int_equal(span.peer->mtu, LLR_DATAGRAM_IPV4);
	assert_int_equal(fixture->server->ops->tx_reserve(fixture->server, span.peer, 1473, &room),
			 -EMSGSIZE);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
	fixture->server->ops->tx_flush(fixture->server);
	assert_int_equal(receive(fixture, fixture->client, &span, 1), 1);
	assert_memory_equal(span.bytes, bytes, span.size);
	fixture->client->ops->rx_release(fixture->client, &span, 1);
	free(bytes);
}

/* IPv6 without our ban on fragments can carry more than the buffers hold. */
static void test_truncated(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t bytes[65527];
	struct sockaddr_storage storage;
	struct llr_span span;
	int size = 1 << 20;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	open_server(fixture, "udp:[::1]:0");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	socklen_t name_size = llr_address_to_sockaddr(&storage, &fixture->uri.address, AF_INET6);
	assert_int_equal(
		sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&storage, name_size),
		sizeof(bytes));
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 0);
	assert_int_equal(fixture->server_counters.rx_truncated, 1);
	close(fd);
}

static void test_refusals(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span spans[8];
	struct llr_room room;
	uint8_t bytes[1472] = {0};
	unsigned int total = 0;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);

	/* Final: dropped and counted, and what is known of the path is asked for again. */
	fixture->peer->mtu = LLR_DATAGRAM_IPV4;
	refuse_code = EMSGSIZE;
	refuse_count = 1;
	commit(fixture->client, fixture->peer, bytes, 16);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(fixture->client_counters.tx_failed, 1);
	assert_true(fixture->peer->mtu > LLR_DATAGRAM_IPV4);

	/* The first of two is refused for good, the other goes. */
	fixture->peer->mtu = LLR_DATAGRAM_IPV4;
	refuse_code = EPERM;
	refuse_count = 1;
	commit(fixture->client, fixture->peer, bytes, 1472);
	bytes[0] = 7;
	commit(fixture->client, fixture->peer, bytes, 1472);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(fixture->client_counters.tx_failed, 2);
	assert_int_equal(receive(fixture, fixture->server, spans, 8), 1);
	assert_int_equal(spans[0].bytes[0], 7);
	fixture->server->ops->rx_release(fixture->server, spans, 1);

	/* No room now: kept, and the bound is met. An old refusal and a signal are gone over. */
	refuse_code = EAGAIN;
	refuse_count = UINT32_MAX;
	for (unsigned int i = 0; i < 64; i++)
		commit(fixture->client, fixture->peer, bytes, 1472);
	assert_int_equal(
		fixture->client->ops->tx_reserve(fixture->client, fixture->peer, 16, &room),
		-EAGAIN);
	assert_true(fixture->client_counters.tx_deferred > 0);
	assert_true(fixture->client->ops->wait_prepare(fixture->client));
	refuse_code = EINTR;
	refuse_count = 3;
	fixture->client->ops->tx_flush(fixture->client);
	assert_false(fixture->client->ops->wait_prepare(fixture->client));
	assert_int_equal(fixture->client_counters.tx_failed, 2);
	while (total < 64) {
		unsigned int count = receive(fixture, fixture->server, spans, 8);

		fixture->server->ops->rx_release(fixture->server, spans, count);
		total += count;
	}
	assert_int_equal(total, 64);
	/* Everlasting signals end the flush, not the datagram. */
	refuse_count = UINT32_MAX;
	commit(fixture->client, fixture->peer, bytes, 16);
	fixture->client->ops->tx_flush(fixture->client);
	refuse_count = 0;
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, spans, 8), 1);
	fixture->server->ops->rx_release(fixture->server, spans, 1);
}

/* Nobody listens: noticed, no error, and cleared by asking. */
static void test_unreachable(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;
	bool refused = false;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	fixture->server->ops->close(fixture->server);
	fixture->server = NULL;
	for (int i = 0; i < 1000 && !refused; i++) {
		commit(fixture->client, fixture->peer, "x", 1);
		fixture->client->ops->tx_flush(fixture->client);
		assert_int_equal(fixture->client->ops->rx_burst(
					 fixture->client, llr_clock_now(&fixture->clock), &span, 1),
				 0);
		refused = llr_udp_refused(fixture->client);
	}
	assert_true(refused);
}

static void test_set_up_errors(void **state)
{
	struct fixture *fixture = *state;
	struct llrph_error error = {.text = ""};
	struct llr_udp_setup setup = {.counters = &fixture->server_counters,
				      .clock = &fixture->clock};
	struct llr_transport *transport = NULL;
	struct llr_peer *peer;
	struct llr_uri uri;
	int fd = -1;

	open_server(fixture, "udp:127.0.0.1:0");
	assert_int_equal(llr_udp_socket(&fixture->uri, false, &fd, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "address in use"));
	assert_non_null(strstr(error.text, fixture->uri.text));
	assert_int_equal(fd, -1);
	assert_int_equal(llr_uri_parse(&uri, "udp:192.0.2.1:9000", NULL), 0);
	assert_int_equal(llr_udp_socket(&uri, false, &fd, &error), -EADDRNOTAVAIL);
	assert_int_equal(llr_uri_parse(&uri, "udp:127.0.0.1:0", NULL), 0);
	assert_int_equal(llr_udp_connect(&transport, &peer, &uri, &fixture->client_counters,
					 &fixture->clock, &error),
			 -EINVAL);
	setup.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(llr_udp_listen(&transport, &setup, &error), -EINVAL);
	assert_int_equal(close(setup.fd), 0);
	assert_null(transport);
}

static void test_reuse_port(void **state)
{
	struct fixture *fixture = *state;
	struct llr_uri uri;
	int fds[2];

	(void)fixture;
	assert_int_equal(llr_uri_parse(&uri, "udp:127.0.0.1:0", NULL), 0);
	assert_int_equal(llr_udp_socket(&uri, true, &fds[0], NULL), 0);
	assert_int_equal(llr_uri_of_socket(&uri, LLR_SCHEME_UDP, fds[0]), 0);
	assert_int_equal(llr_udp_socket(&uri, true, &fds[1], NULL), 0);
	close(fds[0]);
	close(fds[1]);
}

/* A plain socket connected to one of the server's addresses. */
static int plain_socket(struct fixture *fixture, const char *to)
{
	char text[LLR_URI_TEXT_SIZE];
	struct sockaddr_storage storage;
	struct llr_uri uri;
	socklen_t size;
	int fd;

	(void)snprintf(text, sizeof(text), "udp:%s:%u", to, fixture->uri.address.port);
	assert_int_equal(llr_uri_parse(&uri, text, NULL), 0);
	fd = socket(uri.address.family, SOCK_DGRAM, 0);
	size = llr_address_to_sockaddr(&storage, &uri.address, uri.address.family);
	assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
	return fd;
}

/* Its socket is connected: the kernel drops what does not come from the address it sent to. */
static void expect_answer(int fd, const char *bytes, ssize_t size)
{
	struct pollfd descriptor = {.fd = fd, .events = POLLIN};
	char reply[64];

	assert_int_equal(poll(&descriptor, 1, 5000), 1);
	assert_int_equal(recv(fd, reply, sizeof(reply), 0), size);
	assert_memory_equal(reply, bytes, (size_t)size);
}

/* Bound to all addresses: answers leave from the one that was asked, each in its own datagram. */
static void test_wildcard_ipv4(void **state)
{
	static const char *const names[] = {"127.0.0.1", "127.0.0.2", "127.1.2.3"};
	struct fixture *fixture = *state;
	struct llr_peer peers[3];
	struct llr_span span;
	int fds[3];

	open_server(fixture, "udp:0.0.0.0:0");
	for (unsigned int i = 0; i < 3; i++) {
		fds[i] = plain_socket(fixture, names[i]);
		assert_int_equal(send(fds[i], "?", 1, 0), 1);
		assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
		assert_int_equal(span.peer->local.family, AF_INET);
		peers[i] = *span.peer;
		fixture->server->ops->rx_release(fixture->server, &span, 1);
		/* Alone, then in company. */
		commit(fixture->server, &peers[i], "alone", 5);
		fixture->server->ops->tx_flush(fixture->server);
		expect_answer(fds[i], "alone", 5);
	}
	for (unsigned int i = 0; i < 6; i++)
		commit(fixture->server, &peers[i % 3], &"012"[i % 3], 1);
	fixture->server->ops->tx_flush(fixture->server);
	for (unsigned int i = 0; i < 3; i++) {
		char expected[17] = {0};

		expected[0] = expected[16] = (char)('0' + i);
		expect_answer(fds[i], expected, 17);
		close(fds[i]);
	}
}

/* One client that talks to two of our addresses: what it is sent from one never joins the other. */
static void test_wildcard_ways(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;
	struct llr_peer one;
	struct llr_peer other;
	int fd;

	open_server(fixture, "udp:0.0.0.0:0");
	fd = plain_socket(fixture, "127.0.0.1");
	assert_int_equal(send(fd, "?", 1, 0), 1);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	one = *span.peer;
	fixture->server->ops->rx_release(fixture->server, &span, 1);
	other = one;
	other.local.ip[15] = 2;
	assert_memory_equal(&one.address, &other.address, sizeof(one.address));
	commit(fixture->server, &other, "lost", 4);
	commit(fixture->server, &one, "found", 5);
	fixture->server->ops->tx_flush(fixture->server);
	assert_int_equal(fixture->server_counters.tx_spans, 2);
	expect_answer(fd, "found", 5);
	/* A local address that is nobody's, as a dead worker may leave one: refused, the rest goes.
	 */
	other.local.ip[12] = 192;
	commit(fixture->server, &other, "lost", 4);
	commit(fixture->server, &one, "again", 5);
	fixture->server->ops->tx_flush(fixture->server);
	assert_int_equal(fixture->server_counters.tx_failed, 1);
	expect_answer(fd, "again", 5);
	close(fd);
}

static void test_wildcard_ipv6(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;
	int fd;

	open_server(fixture, "udp:[::]:0");
	fd = plain_socket(fixture, "[::1]");
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(send(fd, "?", 1, 0), 1);
		assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
		assert_int_equal(span.peer->local.family, AF_INET6);
		assert_int_equal(span.peer->local.ip[15], 1);
		assert_int_equal(span.peer->local.scope, 0);
		assert_int_equal(span.peer->local.port, 0);
		commit(fixture->server, span.peer, "yes", 3);
		fixture->server->ops->rx_release(fixture->server, &span, 1);
		fixture->server->ops->tx_flush(fixture->server);
		expect_answer(fd, "yes", 3);
	}
	close(fd);
}

/* A socket of both families, as a service manager may hand one down. */
static void test_wildcard_both(void **state)
{
	struct fixture *fixture = *state;
	struct llr_udp_setup setup = {.counters = &fixture->server_counters,
				      .clock = &fixture->clock};
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	struct llr_span span;
	int off = 0;
	int fd;

	setup.fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(setsockopt(setup.fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	assert_int_equal(bind(setup.fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(llr_udp_listen(&fixture->server, &setup, NULL), 0);
	assert_int_equal(llr_uri_parse(&fixture->uri, fixture->server->uri, NULL), 0);
	fd = plain_socket(fixture, "127.0.0.2");
	assert_int_equal(send(fd, "?", 1, 0), 1);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	commit(fixture->server, span.peer, "yes", 3);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
	fixture->server->ops->tx_flush(fixture->server);
	expect_answer(fd, "yes", 3);
	close(fd);
}

/* Bound to one address, nothing of it is asked for or said. */
static void test_no_wildcard(void **state)
{
	struct fixture *fixture = *state;
	struct llr_span span;

	open_server(fixture, "udp:127.0.0.1:0");
	open_client(fixture);
	commit(fixture->client, fixture->peer, "x", 1);
	fixture->client->ops->tx_flush(fixture->client);
	assert_int_equal(receive(fixture, fixture->server, &span, 1), 1);
	assert_int_equal(span.peer->local.family, 0);
	fixture->server->ops->rx_release(fixture->server, &span, 1);
}

/* What a session table of a dead worker may hold instead of an address. */
static void test_strange_peer(void **state)
{
	struct fixture *fixture = *state;
	struct llr_peer peer = {.mtu = 1472};
	struct llr_room room;

	open_server(fixture, "udp:127.0.0.1:0");
	assert_int_equal(fixture->server->ops->tx_reserve(fixture->server, &peer, 16, &room),
			 -ECONNRESET);
	peer.address.family = AF_INET6;
	assert_int_equal(fixture->server->ops->tx_reserve(fixture->server, &peer, 16, &room),
			 -ECONNRESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_echo_ipv4),     TEST(test_echo_ipv6),     TEST(test_packing),
		TEST(test_packing_full),  TEST(test_interleaved),   TEST(test_burst),
		TEST(test_timestamp),     TEST(test_allow),         TEST(test_jumbo),
		TEST(test_truncated),     TEST(test_refusals),      TEST(test_unreachable),
		TEST(test_set_up_errors), TEST(test_reuse_port),    TEST(test_strange_peer),
		TEST(test_wildcard_ipv4), TEST(test_wildcard_ways), TEST(test_wildcard_ipv6),
		TEST(test_wildcard_both), TEST(test_no_wildcard),
	};

	return cmocka_run_group_tests_name("udp", tests, NULL, NULL);
}
