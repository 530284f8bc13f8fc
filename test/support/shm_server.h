/* SPDX-License-Identifier: MIT */
/*
 * Servers in processes of their own, for the tests of shared memory: an embedded one (host and
 * worker are one process) or a supervised one (host in one, worker in another). Each answers every
 * request with its own bytes and says how it is on a page that it shares with the test.
 *
 * A test fails by an assertion in its own process; a server that meets a sanitizer's finding or an
 * assertion ends with a status that stop_server() sees.
 */
#ifndef TEST_SUPPORT_SHM_SERVER_H
#define TEST_SUPPORT_SHM_SERVER_H

#include "base/limits.h"
#include "base/memory.h"
#include "transport/shm.h"

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define HEADER    48U /* of a frame before its payload */
#define PATIENCE  20000000000U
#define DIE_AFTER 0xdeadU /* first bytes of a request that kills its worker after the commit */

/* What a server says of itself. */
struct server_page {
	_Atomic uint32_t ready;
	_Atomic uint32_t stop;     /* the test's word to the server */
	_Atomic uint32_t turns;    /* of the host, since it was ready */
	_Atomic uint32_t lanes;    /* of the host */
	_Atomic uint32_t fds;      /* open in the host's process */
	_Atomic uint32_t mappings; /* of lanes, in the host's process */
	_Atomic uint32_t worker;   /* its process */
	_Atomic uint32_t repeats;  /* requests that a successor found answered */
	struct llr_transport_counters counters;
};

struct server {
	struct server_page *page;
	struct llr_lane_host_setup setup;
	const char *trust;
	bool parks;
	bool is_supervised;
	pid_t pid;
};

static struct llr_clock test_clock;

static inline uint64_t now(void)
{
	return llr_clock_now(&test_clock);
}

static inline void pause_ms(long ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&time, NULL);
}

static inline uint32_t count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	if (folder == NULL)
		return UINT32_MAX;
	while (readdir(folder) != NULL)
		count++;
	(void)closedir(folder);
	return count - 3; /* itself, . and .. */
}

static inline uint32_t count_lane_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	uint32_t count = 0;

	if (maps == NULL)
		return UINT32_MAX;
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (strstr(line, "llrph-request") != NULL || strstr(line, "llrph-reply") != NULL)
			count++;
	}
	(void)fclose(maps);
	return count;
}

static inline void echo(struct llr_transport *transport, struct server_page *page,
			struct llr_span *span)
{
	struct llr_room room = {0};
	const uint8_t *last = NULL;
	uint32_t last_size = 0;
	uint32_t word = 0;

	if ((span->flags & LLR_SPAN_CLOSED) != 0)
		return;
	if (span->size >= HEADER + sizeof(word))
		memcpy(&word, span->bytes + HEADER, sizeof(word));
	if (word == DIE_AFTER && llr_shm_last_reply(transport, span->peer, &last, &last_size) &&
	    last_size == span->size && memcmp(last, span->bytes, last_size) == 0) {
		atomic_fetch_add(&page->repeats, 1);
		return;
	}
	switch (transport->ops->tx_reserve(transport, span->peer, span->size, &room)) {
	case 0:
		break;
	case -ECONNRESET: /* a hostile client's */
		return;
	default:
		abort(); /* a burst's requests always have room for their replies */
	}
	memcpy(room.bytes, span->bytes, span->size);
	transport->ops->tx_commit(transport, &room, span->size);
	if (word == DIE_AFTER)
		(void)raise(SIGKILL);
}

static inline void wait_for_work(struct llr_transport *transport, int timeout_ms)
{
	struct pollfd waiting = {.fd = transport->ops->wait_fd(transport), .events = POLLIN};

	if (!transport->ops->wait_prepare(transport))
		(void)poll(&waiting, 1, timeout_ms);
	transport->ops->wait_done(transport);
}

static inline unsigned int worker_turn(struct llr_transport *transport, struct server_page *page)
{
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int count = transport->ops->rx_burst(transport, now(), spans, LLR_BURST_MAX);

	for (unsigned int i = 0; i < count; i++)
		echo(transport, page, &spans[i]);
	if (count > 0) {
		transport->ops->rx_release(transport, spans, count);
		transport->ops->tx_flush(transport);
	}
	return count;
}

static inline void work(struct server *server, struct llr_lane_host *host, bool embedded)
{
	struct llr_transport *transport = NULL;
	struct llrph_error error = {{0}};
	uint64_t reported_ns = 0;
	unsigned int idle = 0;

	if (llr_shm_listen(&transport, host, 0, server->trust, &server->page->counters, &test_clock,
			   &error) != 0) {
		(void)fprintf(stderr, "listen: %s\n", error.text);
		_exit(3);
	}
	llr_freeze();
	atomic_store(&server->page->worker, (uint32_t)getpid());
	while (atomic_load(&server->page->stop) == 0) {
		idle = worker_turn(transport, server->page) > 0 ? 0 : idle + 1;
		if (idle > 100 && server->parks)
			wait_for_work(transport, 50);
		else if (idle > 1000) /* two cores are shared with everybody */
			pause_ms(0);
		if (embedded && idle > 100 && now() - reported_ns > 5000000) {
			reported_ns = now();
			llr_thaw_begin();
			atomic_store(&server->page->fds, count_fds());
			atomic_store(&server->page->mappings, count_lane_mappings());
			llr_thaw_end();
			atomic_store(&server->page->lanes, llr_lane_host_lanes(host));
			atomic_fetch_add(&server->page->turns, 1);
			atomic_store(&server->page->ready, 1);
		}
	}
	transport->ops->close(transport);
}

static inline pid_t fork_worker(struct server *server, struct llr_lane_host *host)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	llr_lane_host_worker_forked(host, 0);
	work(server, host, false);
	llr_lane_host_close(host);
	exit(0);
}

static inline void supervise(struct server *server, struct llr_lane_host *host)
{
	pid_t worker = fork_worker(server, host);
	int status = 0;

	while (atomic_load(&server->page->stop) == 0) {
		struct pollfd waiting = {.fd = llr_lane_host_fd(host), .events = POLLIN};

		(void)poll(&waiting, 1, 1);
		llr_lane_host_turn(host);
		if (atomic_load(&server->page->stop) != 0)
			break; /* the worker sees it as well, and ends */
		if (waitpid(worker, &status, WNOHANG) == worker) {
			if (atomic_load(&server->page->stop) != 0)
				_exit(status);
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
				_exit(4);
			llr_lane_host_worker_died(host, 0);
			worker = fork_worker(server, host);
		}
		atomic_store(&server->page->fds, count_fds());
		atomic_store(&server->page->mappings, count_lane_mappings());
		atomic_store(&server->page->lanes, llr_lane_host_lanes(host));
		atomic_fetch_add(&server->page->turns, 1);
		atomic_store(&server->page->ready, 1);
	}
	if (waitpid(worker, &status, 0) != worker || status != 0)
		_exit(5);
}

static inline void start_server(struct server *server)
{
	struct llr_lane_host *host = NULL;
	struct llrph_error error = {{0}};
	uint64_t start_ns = now();

	server->page = mmap(NULL, sizeof(*server->page), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(server->page != MAP_FAILED);
	if (server->setup.worker_count == 0) {
		server->setup.worker_count = 1;
		server->setup.inherited_fd = -1;
	}
	server->setup.clock = &test_clock;
	server->setup.spin = !server->parks;
	if (server->setup.name == NULL)
		server->setup.name = "test";
	if (server->trust == NULL)
		server->trust = "own";
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (llr_lane_host_open(&host, &server->setup, &error) != 0) {
			(void)fprintf(stderr, "host: %s\n", error.text);
			_exit(2);
		}
		if (server->is_supervised)
			supervise(server, host);
		else
			work(server, host, true);
		llr_lane_host_close(host);
		exit(0);
	}
	while (atomic_load(&server->page->ready) == 0) {
		assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0);
		assert_true(now() - start_ns < PATIENCE);
		pause_ms(1);
	}
}

/* Ends it in order; fails if it ended otherwise. */
static inline void stop_server(struct server *server)
{
	int status = 0;

	atomic_store(&server->page->stop, 1);
	assert_int_equal(waitpid(server->pid, &status, 0), server->pid);
	assert_int_equal(status, 0);
	(void)munmap(server->page, sizeof(*server->page));
}

static inline void kill_server(struct server *server)
{
	(void)kill(server->pid, SIGKILL);
	assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
	(void)munmap(server->page, sizeof(*server->page));
}

/* Waits until the server has counted itself anew and holds that many lanes. */
static inline void wait_for_lanes(const struct server *server, uint32_t lanes)
{
	uint64_t start_ns = now();
	uint32_t turns = atomic_load(&server->page->turns);

	while (atomic_load(&server->page->turns) - turns < 3 ||
	       atomic_load(&server->page->lanes) != lanes) {
		assert_true(now() - start_ns < PATIENCE);
		pause_ms(1);
	}
}

/* ---- a client ---- */

struct test_client {
	struct llr_transport *transport;
	struct llr_peer *peer;
	struct llr_transport_counters counters;
	struct llrph_error error;
	uint64_t sent;
	uint64_t received;
	bool is_closed;
};

static inline int client_open(struct test_client *client, const char *name,
			      const struct llr_shm_wish *wish)
{
	struct llr_shm_wish whole = *wish;

	*client = (struct test_client){0};
	whole.name = name;
	whole.counters = &client->counters;
	whole.clock = &test_clock;
	whole.timeout_ns = PATIENCE;
	return llr_shm_connect(&client->transport, &client->peer, &whole, &client->error);
}

static inline void client_close(struct test_client *client)
{
	client->transport->ops->close(client->transport);
}

static inline uint8_t payload_byte(uint64_t seed, uint32_t at)
{
	return (uint8_t)(seed * 131 + at * 7 + (at >> 9));
}

/* Sends one frame; false: the ring is full. */
static inline bool client_send(struct test_client *client, uint32_t size)
{
	struct llr_room room = {0};
	int code = client->transport->ops->tx_reserve(client->transport, client->peer, size, &room);

	if (code == -EAGAIN)
		return false;
	assert_int_equal(code, 0);
	assert_int_equal((uintptr_t)room.bytes % LLR_ALIGN, 0);
	for (uint32_t i = 0; i < size; i++)
		room.bytes[i] = payload_byte(client->sent, i);
	client->transport->ops->tx_commit(client->transport, &room, size);
	client->sent++;
	return true;
}

/* Takes what has come; size 0: of any size, not compared. */
static inline void client_receive(struct test_client *client, uint32_t size)
{
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int count =
		client->transport->ops->rx_burst(client->transport, now(), spans, LLR_BURST_MAX);

	for (unsigned int i = 0; i < count; i++) {
		if ((spans[i].flags & LLR_SPAN_CLOSED) != 0) {
			client->is_closed = true;
			continue;
		}
		if (size != 0) {
			assert_int_equal(spans[i].size, size);
			for (uint32_t at = 0; at < size; at++) {
				if (spans[i].bytes[at] != payload_byte(client->received, at))
					fail_msg("byte %u of reply %lu", at,
						 (unsigned long)client->received);
			}
		}
		client->received++;
	}
	if (count > 0)
		client->transport->ops->rx_release(client->transport, spans, count);
}

/* One request, one reply. */
static inline void client_echo(struct test_client *client, uint32_t size)
{
	uint64_t start_ns = now();

	assert_true(client_send(client, size));
	client->transport->ops->tx_flush(client->transport);
	for (uint32_t i = 0; client->received < client->sent; i++) {
		client_receive(client, size);
		assert_false(client->is_closed);
		assert_true(now() - start_ns < PATIENCE);
		if (i % 1000 == 999)
			pause_ms(0);
	}
}

/* ---- a runtime folder for each test ---- */

static char runtime_folder[64];

static inline int make_folder(void **state)
{
	(void)state;
	(void)snprintf(runtime_folder, sizeof(runtime_folder), "/tmp/llrph-test-XXXXXX");
	if (mkdtemp(runtime_folder) == NULL || chmod(runtime_folder, 0755) != 0)
		return -1;
	return setenv("LLRPH_RUNTIME_DIR", runtime_folder, 1);
}

/* Fails where anything was left in it. */
static inline int remove_folder(void **state)
{
	(void)state;
	return rmdir(runtime_folder);
}

#endif
