/* SPDX-License-Identifier: MIT */
/*
 * TCP over loopback, the connect role, and what setting up either role may meet.
 */
#include "test/support/tcp_server.h"

#include <unistd.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_connect),
		TEST(test_connect_refused),
		TEST(test_connect_blocked),
		TEST(test_set_up_errors),
	};

	return cmocka_run_group_tests_name("tcp_connect", tests, NULL, NULL);
}
