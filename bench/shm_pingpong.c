/* SPDX-License-Identifier: MIT */
/*
 * A ping-pong of 64 bytes over a lane, beside the bare exchange of as many cache lines: two
 * processes, pinned to two cores, both spinning. Prints medians of alternating rounds and their
 * ratio, so that what the machine does to one it does to the other.
 *
 *   shm_pingpong [ROUNDS [SILENT [CORE CORE]]]
 *
 * The frame is 112 bytes: header, route, 64 of payload, as an echo has. "bare" moves two lines each
 * way with one flag in the first. "lane" is the transport's whole path: reserve, build, commit,
 * flush, rx_burst, read, release, on both sides. "among" is the same beside SILENT other lanes
 * (default 1,000) on which nothing happens. "window" keeps 64 outstanding.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "transport/shm.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXCHANGES  100000U
#define WINDOW     64U
#define FRAME_SIZE 112U
#define LINES      2U
#define CHUNKS     2000U /* of the window's requests */
#define CHUNK      500U

struct bare {
	struct {
		_Alignas(4096) _Atomic uint64_t flag;
		uint8_t bytes[LINES * 64U - 8U];
	} way[2];
};

static struct llr_clock bench_clock;
static uint32_t samples[EXCHANGES];
static int cores[2] = {0, 1};

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		perror("sched_setaffinity");
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t percentile(double part)
{
	qsort(samples, EXCHANGES, sizeof(samples[0]), compare);
	return samples[(size_t)((double)(EXCHANGES - 1) * part)];
}

static void bare_send(struct bare *bare, int way, uint64_t turn, const uint8_t *bytes)
{
	memcpy(bare->way[way].bytes, bytes, FRAME_SIZE);
	atomic_store_explicit(&bare->way[way].flag, turn, memory_order_release);
}

static void bare_receive(struct bare *bare, int way, uint64_t turn, uint8_t *bytes)
{
	while (atomic_load_explicit(&bare->way[way].flag, memory_order_acquire) != turn)
		;
	memcpy(bytes, bare->way[way].bytes, FRAME_SIZE);
}

static uint32_t run_bare(uint32_t *p99)
{
	struct bare *bare = mmap(NULL, sizeof(*bare), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t bytes[FRAME_SIZE] = {0};
	pid_t child = fork();

	if (child == 0) {
		pin(cores[1]);
		for (uint64_t turn = 1; turn <= EXCHANGES; turn++) {
			bare_receive(bare, 0, turn, bytes);
			bare_send(bare, 1, turn, bytes);
		}
		_exit(0);
	}
	pin(cores[0]);
	for (uint64_t turn = 1; turn <= EXCHANGES; turn++) {
		uint64_t start_ns = llr_clock_now(&bench_clock);

		bare_send(bare, 0, turn, bytes);
		bare_receive(bare, 1, turn, bytes);
		samples[turn - 1] = (uint32_t)(llr_clock_now(&bench_clock) - start_ns);
	}
	(void)waitpid(child, NULL, 0);
	(void)munmap(bare, sizeof(*bare));
	*p99 = percentile(0.99);
	return percentile(0.5);
}

/* The worker: answers each request with its own bytes. */
static void serve(struct llr_transport *transport)
{
	struct llr_span spans[LLR_BURST_MAX];

	for (;;) { /* until it is killed */
		uint64_t now_ns = llr_clock_now(&bench_clock);
		unsigned int count =
			transport->ops->rx_burst(transport, now_ns, spans, LLR_BURST_MAX);

		for (unsigned int i = 0; i < count; i++) {
			struct llr_room room;

			if ((spans[i].flags & LLR_SPAN_CLOSED) != 0 ||
			    transport->ops->tx_reserve(transport, spans[i].peer, spans[i].size,
						       &room) != 0)
				continue;
			memcpy(room.bytes, spans[i].bytes, spans[i].size);
			transport->ops->tx_commit(transport, &room, spans[i].size);
		}
		if (count > 0) {
			transport->ops->rx_release(transport, spans, count);
			transport->ops->tx_flush(transport);
		}
	}
}

static void send_one(struct llr_transport *transport, struct llr_peer *peer, const uint8_t *bytes)
{
	struct llr_room room;

	if (transport->ops->tx_reserve(transport, peer, FRAME_SIZE, &room) != 0)
		abort();
	memcpy(room.bytes, bytes, FRAME_SIZE);
	transport->ops->tx_commit(transport, &room, FRAME_SIZE);
}

static unsigned int receive(struct llr_transport *transport, uint8_t *bytes)
{
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int count = transport->ops->rx_burst(transport, llr_clock_now(&bench_clock), spans,
						      LLR_BURST_MAX);

	for (unsigned int i = 0; i < count; i++)
		memcpy(bytes, spans[i].bytes, FRAME_SIZE);
	if (count > 0)
		transport->ops->rx_release(transport, spans, count);
	return count;
}

static void run_lane(struct llr_transport *transport, struct llr_peer *peer)
{
	uint8_t bytes[FRAME_SIZE] = {0};

	for (uint32_t i = 0; i < EXCHANGES; i++) {
		uint64_t start_ns = llr_clock_now(&bench_clock);

		send_one(transport, peer, bytes);
		transport->ops->tx_flush(transport);
		while (receive(transport, bytes) == 0)
			;
		samples[i] = (uint32_t)(llr_clock_now(&bench_clock) - start_ns);
	}
}

/* Millions in a second, the median of chunks: what disturbs some of them does not count. */
static double run_window(struct llr_transport *transport, struct llr_peer *peer)
{
	uint8_t bytes[FRAME_SIZE] = {0};
	uint32_t sent = 0;
	uint32_t received = 0;

	for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
		uint64_t start_ns = llr_clock_now(&bench_clock);
		uint32_t before = received;

		while (received - before < CHUNK) {
			while (sent - received < WINDOW) {
				send_one(transport, peer, bytes);
				sent++;
			}
			transport->ops->tx_flush(transport);
			received += receive(transport, bytes);
		}
		samples[chunk] = (uint32_t)((llr_clock_now(&bench_clock) - start_ns) * 1000 /
					    (received - before));
	}
	while (received < sent)
		received += receive(transport, bytes);
	qsort(samples, CHUNKS, sizeof(samples[0]), compare);
	return 1e6 / samples[CHUNKS / 2];
}

static pid_t start_server(struct llr_lane_host *host)
{
	static struct llr_transport_counters counters;
	struct llr_transport *transport;
	struct llrph_error error = {{0}};
	pid_t child = fork();

	if (child != 0)
		return child;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cores[1]);
	llr_lane_host_worker_forked(host, 0);
	if (llr_shm_listen(&transport, host, 0, "own", &counters, &bench_clock, &error) != 0) {
		(void)fprintf(stderr, "%s\n", error.text);
		_exit(1);
	}
	serve(transport);
	return 0;
}

static pid_t start_host(int ready)
{
	struct llr_lane_host_setup setup = {
		.name = "pingpong",
		.worker_count = 1,
		.inherited_fd = -1,
		.clock = &bench_clock,
		.spin = true,
	};
	struct llr_lane_host *host;
	struct llrph_error error = {{0}};
	pid_t child = fork();

	if (child != 0)
		return child;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (llr_lane_host_open(&host, &setup, &error) != 0) {
		(void)fprintf(stderr, "%s\n", error.text);
		_exit(1);
	}
	(void)start_server(host);
	(void)write(ready, "", 1);
	for (;;) { /* until it is killed */
		llr_lane_host_turn(host);
		(void)usleep(10000);
	}
}

static void connect_or_exit(struct llr_transport **transport, struct llr_peer **peer)
{
	static struct llr_transport_counters counters;
	struct llr_shm_wish wish = {
		.name = "pingpong",
		.counters = &counters,
		.clock = &bench_clock,
		.timeout_ns = 5000000000U,
		.spin = true,
	};
	struct llrph_error error = {{0}};

	if (llr_shm_connect(transport, peer, &wish, &error) == 0)
		return;
	(void)fprintf(stderr, "%s\n", error.text);
	exit(1);
}

static void run_round(struct llr_transport **silent, int silent_count)
{
	struct llr_transport *transport;
	struct llr_peer *peer;
	uint32_t bare_p99;
	uint32_t bare = run_bare(&bare_p99);
	uint32_t lane;
	uint32_t lane_p99;
	uint32_t among;
	double window;

	connect_or_exit(&transport, &peer);
	run_lane(transport, peer);
	lane = percentile(0.5);
	lane_p99 = percentile(0.99);
	window = run_window(transport, peer);
	for (int i = 0; i < silent_count; i++) {
		struct llr_peer *ignored;

		connect_or_exit(&silent[i], &ignored);
	}
	run_lane(transport, peer);
	among = percentile(0.5);
	(void)printf("bare p50 %u p99 %u   lane p50 %u p99 %u ratio %.2f   among %u ratio %.2f   "
		     "window %.1f M/s\n",
		     bare, bare_p99, lane, lane_p99, (double)lane / bare, among,
		     (double)among / lane, window);
	for (int i = 0; i < silent_count; i++)
		silent[i]->ops->close(silent[i]);
	transport->ops->close(transport);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	int silent_count = argc > 2 ? atoi(argv[2]) : 1000;
	struct llr_transport **silent = calloc((size_t)silent_count + 1, sizeof(*silent));
	char folder[] = "/tmp/llrph-bench-XXXXXX";
	char file[64];
	int ready[2];
	char byte;
	pid_t host;

	if (argc > 4) {
		cores[0] = atoi(argv[3]);
		cores[1] = atoi(argv[4]);
	}
	if (silent == NULL || mkdtemp(folder) == NULL ||
	    setenv("LLRPH_RUNTIME_DIR", folder, 1) != 0 || pipe(ready) != 0)
		return 1;
	llr_clock_init(&bench_clock);
	for (int round = 0; round < rounds; round++) {
		host = start_host(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			return 1;
		run_round(silent, silent_count);
		(void)kill(host, SIGKILL);
		(void)waitpid(host, NULL, 0);
	}
	(void)snprintf(file, sizeof(file), "%s/pingpong.sock", folder);
	(void)unlink(file);
	(void)rmdir(folder);
	free(silent);
	return 0;
}
