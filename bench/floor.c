/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at best: 64 bytes there and back between two pinned, spinning processes,
 * with nothing around them. Prints one JSON object with percentiles.
 *
 *   floor shm|udp|tcp [COUNT [CORE CORE]]
 *
 * shm: two cache lines each way, a sequence in one, the payload, copied in and out, in the other.
 * udp, tcp: non-blocking send and recv on connected loopback sockets.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/histogram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BITS   11U
#define SIZE   64U
#define WARMUP 20000U

struct way {
	_Alignas(
		64) _Atomic uint64_t sequence; /* published after payload; read by the other side */
	_Alignas(64) uint8_t payload[SIZE];
};

/* One end of an exchange. */
struct end {
	struct way *out, *in; /* shm */
	int fd;               /* udp, tcp */
};

static struct llr_clock bench_clock;
static uint64_t counts[LLR_HISTOGRAM_COUNT(BITS)];

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static void pin(const char *core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(strtoul(core, NULL, 10), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("can't run on that core");
}

static void put(const struct end *end, uint64_t sequence, const uint8_t *bytes)
{
	if (end->out != NULL) {
		memcpy(end->out->payload, bytes, SIZE);
		atomic_store_explicit(&end->out->sequence, sequence, memory_order_release);
		return;
	}
	while (send(end->fd, bytes, SIZE, MSG_DONTWAIT) != (ssize_t)SIZE)
		if (errno != EAGAIN)
			fail("send");
}

/* Spins until the other side sends; if that one dies, a signal ends this one. */
static void get(const struct end *end, uint64_t sequence, uint8_t *bytes)
{
	size_t done = 0;

	if (end->in != NULL) {
		while (atomic_load_explicit(&end->in->sequence, memory_order_acquire) != sequence)
			continue;
		memcpy(bytes, end->in->payload, SIZE);
		return;
	}
	while (done < SIZE) {
		ssize_t got = recv(end->fd, bytes + done, SIZE - done, MSG_DONTWAIT);

		if (got > 0)
			done += (size_t)got;
		else if (got == 0 || errno != EAGAIN)
			fail("recv");
	}
}

static void echo(const struct end *end)
{
	uint8_t bytes[SIZE];

	for (uint64_t sequence = 1;; sequence++) { /* until it is killed */
		get(end, sequence, bytes);
		put(end, sequence, bytes);
	}
}

static void ask(const struct end *end, uint64_t count)
{
	uint8_t bytes[SIZE] = {1};

	for (uint64_t sequence = 1; sequence <= WARMUP + count; sequence++) {
		uint64_t start_ns = llr_clock_now(&bench_clock);

		put(end, sequence, bytes);
		get(end, sequence, bytes);
		if (sequence > WARMUP)
			llr_histogram_record(counts, BITS, llr_clock_now(&bench_clock) - start_ns);
	}
}

static void open_shm(struct end ends[2])
{
	struct way *ways =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (ways == MAP_FAILED)
		fail("mmap");
	ends[0] = (struct end){.out = &ways[0], .in = &ways[8]};
	ends[1] = (struct end){.out = &ways[8], .in = &ways[0]};
}

static int open_socket(int type, struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET};
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)address, size) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, &size) != 0)
		fail("socket");
	return fd;
}

static void open_sockets(struct end ends[2], int type)
{
	struct sockaddr_in here;
	struct sockaddr_in there;
	int on = 1;

	ends[0] = (struct end){.fd = open_socket(type, &here)};
	ends[1] = (struct end){.fd = open_socket(type, &there)};
	if (type == SOCK_STREAM && listen(ends[1].fd, 1) != 0)
		fail("listen");
	if (connect(ends[0].fd, (struct sockaddr *)&there, sizeof(there)) != 0)
		fail("connect");
	if (type == SOCK_STREAM)
		ends[1].fd = accept(ends[1].fd, NULL, NULL);
	else if (connect(ends[1].fd, (struct sockaddr *)&here, sizeof(here)) != 0)
		fail("connect");
	for (unsigned int i = 0; i < 2 && type == SOCK_STREAM; i++)
		if (setsockopt(ends[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
			fail("TCP_NODELAY");
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"p50", "p99", "p99.9"};
	static const double parts[] = {50, 99, 99.9};
	const char *kind = argc > 1 ? argv[1] : "";
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 500000;
	struct end ends[2];
	pid_t child;

	if (strcmp(kind, "shm") == 0) {
		open_shm(ends);
	} else if (strcmp(kind, "udp") == 0 || strcmp(kind, "tcp") == 0) {
		open_sockets(ends, kind[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM);
	} else {
		(void)fputs("usage: floor shm|udp|tcp [COUNT [CORE CORE]]\n", stderr);
		return 2;
	}
	llr_clock_init(&bench_clock);
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(argc > 4 ? argv[3] : "0");
		echo(&ends[1]);
	}
	LLR_MUST(child > 0);
	pin(argc > 4 ? argv[4] : "1");
	ask(&ends[0], count);
	(void)kill(child, SIGKILL);
	(void)printf("{\"floor\": \"%s\", \"latency_ns\": {", kind);
	for (unsigned int i = 0; i < 3; i++)
		(void)printf("\"%s\": %llu%s", names[i],
			     (unsigned long long)llr_histogram_percentile(counts, BITS, parts[i]),
			     i < 2 ? ", " : "}}\n");
	return EXIT_SUCCESS;
}
