/* SPDX-License-Identifier: MIT */
/*
 * Shared memory as a transport: both roles in processes of their own, over a host that is embedded
 * or supervised. What happens around lanes (who gets in, who dies) is in test_host.c.
 */
#include "test/support/shm_server.h"

#include "transport/handover.h"

#include <pthread.h>

/* gcc says so when it builds for ThreadSanitizer. */
#ifdef __SANITIZE_THREAD__
#define SANITIZES_THREADS true
#else
#define SANITIZES_THREADS false
#endif

static const struct llr_shm_wish spinning = {.spin = true};
static const struct llr_shm_wish parking = {.spin = false};

static void echo_all_sizes(const char *trust, bool is_supervised)
{
	struct server server = {.trust = trust, .is_supervised = is_supervised};
	struct test_client client;
	struct llr_room room = {0};

	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	for (uint32_t size = 32; size < 1500; size++)
		client_echo(&client, size);
	for (uint32_t size = 1500; size <= 65536 + 4096 + 32; size += 977)
		client_echo(&client, size);
	client_echo(&client, 65536 + 4096 + 32);
	assert_int_equal(client.transport->ops->tx_reserve(client.transport, client.peer,
							   65536 + 4096 + 33, &room),
			 -EMSGSIZE);
	assert_int_equal(client.counters.tx_spans, client.sent);
	assert_int_equal(server.page->counters.rx_spans, client.sent);
	client_close(&client);
	wait_for_lanes(&server, 0);
	assert_int_equal(server.page->counters.accepted, 1);
	assert_int_equal(server.page->counters.closed, 1);
	assert_int_equal(server.page->counters.rx_broken, 0);
	stop_server(&server);
}

static void test_all_sizes(void **state)
{
	(void)state;
	echo_all_sizes("own", false);
	echo_all_sizes("none", false);
	echo_all_sizes("all", true);
}

static void test_large_messages(void **state)
{
	struct server server = {.setup = {.message_max = 16 << 20}};
	struct llr_shm_wish wish = {.message_max = 16 << 20, .spin = true};
	struct test_client client;

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &wish), 0);
	for (int i = 0; i < 6; i++)
		client_echo(&client, (16 << 20) + 48);
	client_close(&client);
	wish.message_max = UINT32_MAX; /* granted is what the server has */
	assert_int_equal(client_open(&client, "test", &wish), 0);
	client_echo(&client, (16 << 20) + 48);
	client_close(&client);
	stop_server(&server);
}

/* A client that does not read its replies: its requests wait, nothing is lost, nobody fails. */
static void test_back_pressure(void **state)
{
	struct server server = {.trust = "own"};
	struct test_client client;
	struct test_client other;
	uint64_t start_ns = now();

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	assert_int_equal(client_open(&other, "test", &spinning), 0);
	for (int round = 0; round < 3; round++) {
		int full = 0;

		/* Full for good: the server takes no more, for their replies have no room. */
		while (full < 50) {
			if (client_send(&client, 1000))
				full = 0;
			else
				full++, pause_ms(1);
			assert_true(now() - start_ns < PATIENCE);
		}
		assert_true(client.sent - client.received > 2 * 200);
		client_echo(&other, 1000);
		while (client.received < client.sent) {
			client_receive(&client, 1000);
			assert_true(now() - start_ns < PATIENCE);
		}
	}
	assert_true(client.counters.tx_deferred > 0);
	client_close(&client);
	client_close(&other);
	stop_server(&server);
}

static void test_windows(void **state)
{
	struct server server = {.is_supervised = true};
	struct test_client client;
	uint64_t start_ns = now();

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	while (client.received < 200000) {
		while (client.sent < 200000 && client.sent - client.received < 64 &&
		       client_send(&client, 112))
			;
		client.transport->ops->tx_flush(client.transport);
		client_receive(&client, 112);
		assert_true(now() - start_ns < 3 * PATIENCE);
	}
	client_close(&client);
	stop_server(&server);
}

static void test_thousand_lanes(void **state)
{
	struct server server = {.setup = {.lanes_max = 1000}};
	struct test_client *clients = calloc(1000, sizeof(*clients));
	struct test_client surplus;
	uint32_t fds;

	(void)state;
	assert_non_null(clients);
	start_server(&server);
	fds = server.page->fds;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(client_open(&clients[i], "test", &spinning), 0);
	assert_int_equal(client_open(&surplus, "test", &spinning), -EBUSY);
	assert_non_null(strstr(surplus.error.text, "1000"));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++)
			assert_true(client_send(&clients[i], 112));
		for (int i = 0; i < 1000; i++) {
			uint64_t start_ns = now();

			while (clients[i].received < clients[i].sent) {
				client_receive(&clients[i], 112);
				assert_true(now() - start_ns < PATIENCE);
			}
		}
	}
	for (int i = 0; i < 1000; i++)
		client_close(&clients[i]);
	wait_for_lanes(&server, 0);
	assert_int_equal(server.page->fds, fds);
	assert_int_equal(server.page->mappings, 0);
	stop_server(&server);
	free(clients);
}

/* Both sides sleep at random; each lost wake-up would last until the time-out. */
static void sleep_at_random(bool is_supervised, uint32_t count)
{
	struct server server = {.parks = true, .is_supervised = is_supervised};
	struct test_client client;
	uint32_t random = 1;
	uint32_t sleeps = 0;

	start_server(&server);
	assert_int_equal(client_open(&client, "test", &parking), 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t spins = (random >> 20) % 512;
		const struct llr_transport_ops *ops = client.transport->ops;
		struct pollfd waiting = {.fd = ops->wait_fd(client.transport), .events = POLLIN};

		random = random * 1664525 + 1013904223;
		assert_true(client_send(&client, 112));
		ops->tx_flush(client.transport);
		while (client.received < client.sent) {
			client_receive(&client, 112);
			if (client.received == client.sent || spins-- > 0)
				continue;
			if (!ops->wait_prepare(client.transport)) {
				assert_int_equal(poll(&waiting, 1, 20000), 1);
				sleeps++;
			}
			ops->wait_done(client.transport);
			assert_false(client.is_closed);
		}
	}
	assert_true(sleeps > 0);
	client_close(&client);
	stop_server(&server);
}

static void test_sleep(void **state)
{
	(void)state;
	sleep_at_random(false, 15000);
	sleep_at_random(true, 15000);
}

/* ---- a hostile client ---- */

struct scribbler {
	struct llr_lane_memory memory;
	_Atomic bool stop;
	uint32_t random;
};

static void *scribble(void *argument)
{
	struct scribbler *scribbler = argument;

	while (!atomic_load_explicit(&scribbler->stop, memory_order_relaxed)) {
		uint32_t random = scribbler->random * 1664525 + 1013904223;
		/* Mostly where it hurts: the page's words and the records that are read next. */
		size_t at = (random >> 8) % (random % 4 == 0 ? scribbler->memory.size : 8192);

		scribbler->random = random;
		if (random % 16 == 0)
			scribbler->memory.page[at] ^= (uint8_t)(1U << (random >> 29));
		else
			scribbler->memory.page[(at & ~63U) + random / 16 % 4] =
				(uint8_t)(random >> 24);
	}
	return NULL;
}

/* A lane in the hands of somebody who knows how it works. */
struct hostile {
	struct llr_handover handover;
	struct llr_lane_memory memory;
	struct llr_lane_client_page *page;
	struct llr_ring_writer writer;
};

static void hostile_open(struct hostile *hostile)
{
	struct llr_handover_hello hello = {
		.magic = LLR_HANDOVER_MAGIC,
		.version = LLR_HANDOVER_VERSION,
		.flags = LLR_HANDOVER_SPIN,
	};
	const struct llr_handover_answer *answer = &hostile->handover.answer;
	struct llrph_error error;

	assert_int_equal(llr_handover_connect(&hostile->handover, "test", &hello,
					      llr_clock_gettime_ns() + PATIENCE, &error),
			 0);
	assert_int_equal(llr_lane_map(&hostile->memory, hostile->handover.fds[LLR_HANDOVER_REQUEST],
				      &answer->shape, LLR_LANE_WRITE),
			 0);
	hostile->page = (void *)hostile->memory.page;
	hostile->writer = (struct llr_ring_writer){
		.bytes = hostile->memory.ring,
		.key = answer->request_key,
		.position = answer->start,
		.read_seen = answer->start,
		.capacity = answer->shape.capacity,
		.frame_max = answer->shape.frame_max,
	};
}

static void hostile_close(struct hostile *hostile)
{
	llr_lane_unmap(&hostile->memory);
	llr_handover_close_fds(hostile->handover.fds, LLR_HANDOVER_FDS);
	llr_handover_close_fds(&hostile->handover.connection, 1);
}

/* Writes on, whatever the server has read. */
static void hostile_send(struct hostile *hostile, uint32_t size)
{
	uint8_t *frame = NULL;

	hostile->writer.read_seen = hostile->writer.position;
	if (llr_ring_reserve(&hostile->writer, size, &frame) == 0)
		llr_ring_commit(&hostile->writer, size);
}

/* Waits until the server has ended the lane, and said so. */
static void hostile_await_end(struct hostile *hostile, const struct server *server, uint64_t broken)
{
	struct pollfd waiting = {.fd = hostile->handover.connection, .events = POLLRDHUP};

	assert_int_equal(poll(&waiting, 1, 20000), 1);
	assert_int_equal(server->page->counters.rx_broken, broken);
	hostile_close(hostile);
}

/* Each lie ends its lane, whoever else is served goes on. */
static void test_lies(void **state)
{
	static const uint32_t sizes[] = {0, 31, 65536 + 4096 + 33, 262144, UINT32_MAX};
	static const uint64_t positions[] = {UINT64_MAX, 0, 1ULL << 63};
	struct server server = {.trust = "own"};
	struct test_client client;
	struct hostile hostile;
	uint64_t broken = 0;

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t seal;
		uint64_t word;

		hostile_open(&hostile);
		seal = hostile.writer.key + hostile.writer.position;
		word = sizes[i] | (uint64_t)llr_ring_mark(hostile.writer.position) << 32;
		memcpy(hostile.writer.bytes + hostile.writer.position + 8, &seal, sizeof(seal));
		atomic_store((_Atomic uint64_t *)(void *)(hostile.writer.bytes +
							  hostile.writer.position),
			     word);
		hostile_await_end(&hostile, &server, ++broken);
		client_echo(&client, 112);
	}
	for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
		hostile_open(&hostile);
		atomic_store(&hostile.page->reply_read, positions[i]);
		for (int sent = 0; sent < 100; sent++)
			hostile_send(&hostile, 1000); /* until the server looks */
		hostile_await_end(&hostile, &server, ++broken);
		client_echo(&client, 112);
	}
	client_close(&client);
	wait_for_lanes(&server, 0);
	stop_server(&server);
}

/* Sends as a client does while another thread of it changes everything under the server. */
static void scribble_once(uint32_t seed)
{
	struct scribbler scribbler = {.random = seed};
	struct hostile hostile;
	pthread_t thread;

	hostile_open(&hostile);
	scribbler.memory = hostile.memory;
	assert_int_equal(pthread_create(&thread, NULL, scribble, &scribbler), 0);
	for (uint32_t i = 0; i < 2000; i++)
		hostile_send(&hostile, 32 + (i * 7919 + seed) % (i % 8 == 0 ? 60000 : 600));
	atomic_store(&scribbler.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	hostile_close(&hostile);
}

static void test_scribbling(void **state)
{
	static const char *const trusts[] = {"own", "none"};

	(void)state;
	if (SANITIZES_THREADS)
		skip(); /* a race is what this client makes on purpose */
	for (int t = 0; t < 2; t++) {
		struct server server = {.trust = trusts[t]};
		struct test_client client;

		start_server(&server);
		assert_int_equal(client_open(&client, "test", &spinning), 0);
		for (uint32_t seed = 1; seed <= 40; seed++) {
			scribble_once(seed);
			client_echo(&client, 1000 + seed);
		}
		client_close(&client);
		wait_for_lanes(&server, 0);
		stop_server(&server);
	}
}

/* What the client gets can neither be written to nor made smaller. */
static void test_client_cannot_write(void **state)
{
	static const enum llr_handover_fd fds[] = {LLR_HANDOVER_REPLY, LLR_HANDOVER_LAST};
	struct llr_handover_hello hello = {.magic = LLR_HANDOVER_MAGIC,
					   .version = LLR_HANDOVER_VERSION};
	struct server server = {.is_supervised = true};
	struct llr_handover handover;
	struct llrph_error error;

	(void)state;
	start_server(&server);
	assert_int_equal(llr_handover_connect(&handover, "test", &hello,
					      llr_clock_gettime_ns() + PATIENCE, &error),
			 0);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		int fd = handover.fds[fds[i]];
		void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		assert_true(page != MAP_FAILED);
		assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
			    MAP_FAILED);
		assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), -1);
		assert_int_equal(ftruncate(fd, 0), -1);
		assert_int_equal(pwrite(fd, "x", 1, 0), -1);
		(void)munmap(page, 4096);
	}
	assert_int_equal(ftruncate(handover.fds[LLR_HANDOVER_REQUEST], 0), -1);
	llr_handover_close_fds(handover.fds, LLR_HANDOVER_FDS);
	llr_handover_close_fds(&handover.connection, 1);
	stop_server(&server);
}

/* The server ends a lane: replies that were committed come first, then the end. */
static void test_drop(void **state)
{
	struct llr_lane_host_setup setup = {
		.name = "test", .clock = &test_clock, .worker_count = 1, .inherited_fd = -1};
	struct llr_transport_counters counters = {0};
	struct llr_transport *transport = NULL;
	struct llr_lane_host *host = NULL;
	struct llr_span spans[LLR_BURST_MAX];
	struct llr_room room = {0};
	unsigned int count = 0;
	bool was_closed = false;
	int status = 0;
	pid_t child;

	(void)state;
	assert_int_equal(llr_lane_host_open(&host, &setup, NULL), 0);
	assert_int_equal(llr_shm_listen(&transport, host, 0, "own", &counters, &test_clock, NULL),
			 0);
	assert_string_equal(transport->uri, "shm:test");
	child = fork();
	if (child == 0) {
		struct test_client client;

		if (client_open(&client, "test", &spinning) != 0 || !client_send(&client, 112))
			_exit(1);
		while (!client.is_closed)
			client_receive(&client, 112);
		_exit(client.received == 1 ? 0 : 2);
	}
	while ((count = transport->ops->rx_burst(transport, now(), spans, LLR_BURST_MAX)) == 0)
		;
	assert_int_equal(count, 1);
	assert_ptr_equal(llr_shm_peer(transport, spans[0].peer->index), spans[0].peer);
	assert_int_equal(transport->ops->tx_reserve(transport, spans[0].peer, 112, &room), 0);
	memcpy(room.bytes, spans[0].bytes, 112);
	transport->ops->tx_commit(transport, &room, 112);
	transport->ops->drop(transport, spans[0].peer);
	assert_int_equal(transport->ops->tx_reserve(transport, spans[0].peer, 112, &room),
			 -ECONNRESET);
	transport->ops->rx_release(transport, spans, count);
	for (uint64_t start_ns = now(); llr_lane_host_lanes(host) > 0;) {
		count = transport->ops->rx_burst(transport, now(), spans, LLR_BURST_MAX);
		if (count > 0) {
			assert_int_equal(spans[0].flags, LLR_SPAN_CLOSED);
			was_closed = true;
			transport->ops->rx_release(transport, spans, count);
		}
		assert_true(now() - start_ns < PATIENCE);
	}
	assert_true(was_closed);
	assert_null(llr_shm_peer(transport, 0));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	transport->ops->close(transport);
	llr_lane_host_close(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_sizes, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_large_messages, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_back_pressure, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_windows, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_thousand_lanes, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_sleep, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_lies, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_scribbling, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_client_cannot_write, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(test_drop, make_folder, remove_folder),
	};

	llr_clock_init(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
