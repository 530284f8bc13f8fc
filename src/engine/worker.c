/* SPDX-License-Identifier: MIT */
/*
 * The process around an engine: signals, cpu, set-up over what was inherited, the loop, the drain.
 *
 * Thread: the worker process's only one. Signal handlers touch nothing but orphan_paths, which is
 * written before they are installed, and end the process or do nothing.
 *
 * Invariant: no worker outlives its supervisor. The kernel sends SIGUSR1 when it dies (whoever
 * sends it otherwise gets the same); the handler removes the sockets, for nobody else is left to.
 * The lock on the stats page is still ours at that moment, so the sockets are too: no new server
 * can have taken the name.
 */
#include "engine/worker.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "transport/shm.h"
#include "transport/tcp.h"
#include "transport/udp.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SIGNAL_ORPHANED SIGUSR1
#define WAIT_NS         100000000U  /* one sleep: how late a stop is seen at worst */
#define WAIT_BUSY_NS    1000000U    /* one sleep while a service answers later, or in a drain */
#define DRAIN_MIN_NS    100000000U  /* replies leave; who still asks learns it by 503 */
#define DRAIN_MAX_NS    5000000000U /* deferred requests have so long */

static const char *orphan_paths[LLR_LISTENERS_MAX]; /* borrows; sockets to remove */
static volatile sig_atomic_t orphan_path_count;

static void on_orphaned(int signal_number)
{
	(void)signal_number;
	for (sig_atomic_t i = 0; i < orphan_path_count; i++)
		(void)unlink(orphan_paths[i]);
	_exit(1);
}

/* SIGTERM only ends a sleep: what it means stands in shared memory. */
static void on_wake(int signal_number)
{
	(void)signal_number;
}

static void handle_signal(int signal_number, void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	LLR_MUST(sigaction(signal_number, &action, NULL) == 0);
}

/*
 * From here on the supervisor's death ends this process. It may have died before the kernel was
 * told to say so: then the parent is another already.
 */
static void bind_to_supervisor(const struct llr_worker_setup *setup)
{
	sigset_t none;

	for (unsigned int i = 0; i < setup->kept->endpoints.count; i++) {
		const struct llr_lane_host *host = setup->kept->endpoints.list[i].host;

		if (host != NULL && llr_lane_host_path(host)[0] != '\0')
			orphan_paths[orphan_path_count++] = llr_lane_host_path(host);
	}
	handle_signal(SIGNAL_ORPHANED, on_orphaned);
	handle_signal(SIGTERM, on_wake);
	handle_signal(SIGINT, SIG_IGN); /* a terminal sends it to all: the supervisor decides */
	handle_signal(SIGHUP, SIG_IGN);
	handle_signal(SIGPIPE, SIG_IGN);
	handle_signal(SIGCHLD, SIG_DFL);
	LLR_MUST(prctl(PR_SET_PDEATHSIG, SIGNAL_ORPHANED) == 0);
	if (getppid() != setup->supervisor)
		on_orphaned(SIGNAL_ORPHANED);
	LLR_MUST(sigemptyset(&none) == 0);
	LLR_MUST(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
}

static int pin(const struct llr_worker_setup *setup, struct llrph_error *error)
{
	const struct llr_config *config = setup->kept->config;
	cpu_set_t cpus;

	if (config->cpu_count == 0)
		return 0;
	LLR_ASSERT(setup->index < config->cpu_count);
	CPU_ZERO(&cpus);
	CPU_SET(config->cpus[setup->index], &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
		return llr_error_set(error, -errno,
				     "cpu %u can't be had (%s): choose another with --cpus",
				     config->cpus[setup->index], strerror(errno));
	return 0;
}

static int open_transport(const struct llr_worker_setup *setup, unsigned int listener,
			  struct llr_transport **transport, struct llrph_error *error)
{
	const struct llr_endpoint *endpoint = &setup->kept->endpoints.list[listener];
	struct llr_transport_counters *counters =
		llr_stats_transport(setup->kept->stats, setup->index, listener);

	if (endpoint->uri.scheme == LLR_SCHEME_UDP) {
		struct llr_udp_setup udp = {.fd = llr_endpoint_fd(endpoint, setup->index),
					    .uri = endpoint->uri.text,
					    .allow = &setup->kept->config->allow,
					    .counters = counters,
					    .clock = &setup->kept->clock};

		return llr_udp_listen(transport, &udp, error);
	}
	if (endpoint->uri.scheme == LLR_SCHEME_TCP) {
		struct llr_tcp_setup tcp = {
			.fd = llr_endpoint_fd(endpoint, setup->index),
			.uri = endpoint->uri.text,
			.allow = &setup->kept->config->allow,
			.counters = counters,
			.clock = &setup->kept->clock,
			.connections_max = setup->kept->engine.connections_max,

			.message_max = LLR_FRAME_SIZE_MAX(setup->kept->engine.max_message)};

		return llr_tcp_listen(transport, &tcp, error);
	}
	return llr_shm_listen(transport, endpoint->host, setup->index, setup->kept->config->trust,
			      counters, &setup->kept->clock, error);
}

/*
 * What a service remembered died with our predecessor, so its clients must not go on as if nothing
 * had been: datagram sessions are unknown from now on (401), lanes end, and their clients open new
 * ones. The supervisor has chosen a new epoch.
 */
static void forget_sessions(const struct llr_worker_setup *setup)
{
	/* Gives the pages back as well; what it can't do is left to memset. */
	if (madvise(setup->kept->sessions[setup->index], setup->kept->sessions_size, MADV_REMOVE) !=
	    0)
		memset(setup->kept->sessions[setup->index], 0, setup->kept->sessions_size);
}

static void drop_lanes(struct llr_transport *transport, const struct llrph_engine_options *engine)
{
	for (unsigned int i = 0; i < engine->lanes_max; i++) {
		struct llr_peer *peer = llr_shm_peer(transport, i);

		if (peer != NULL)
			transport->ops->drop(transport, peer);
	}
}

static int attach_endpoints(struct llrph_engine *engine, const struct llr_worker_setup *setup,
			    bool forget, struct llrph_error *error)
{
	for (unsigned int i = 0; i < setup->kept->endpoints.count; i++) {
		struct llr_transport *transport;
		int code = open_transport(setup, i, &transport, error);

		if (code != 0)
			return code;
		if (forget && setup->kept->endpoints.list[i].uri.scheme == LLR_SCHEME_SHM)
			drop_lanes(transport, &setup->kept->engine);
		code = llr_engine_attach(engine, transport);
		if (code != 0)
			return llr_error_set(error, code, "%s: %s",
					     setup->kept->endpoints.list[i].uri.text,
					     llrph_strerror(code));
	}
	return 0;
}

static int make_engine(struct llrph_engine **engine, const struct llr_worker_setup *setup,
		       struct llrph_error *error)
{
	struct llr_engine_setup inner = {.options = setup->kept->engine,
					 .clock = &setup->kept->clock,
					 .stats = setup->kept->stats,
					 .secret = &setup->kept->shared->secret,
					 .sessions = setup->kept->sessions[setup->index],
					 .worker = setup->index,
					 .successor = setup->successor};
	bool forget =
		setup->successor &&
		llr_plugins_lose_state(setup->kept->plugins, setup->kept->config->service_count);
	int code;

	if (forget)
		forget_sessions(setup);
	code = llr_engine_create(engine, &inner, error);
	for (unsigned int i = 0; i < setup->kept->config->service_count && code == 0; i++)
		code = llrph_engine_register(*engine, setup->kept->plugins[i].service,
					     setup->kept->plugins[i].options, error);
	if (code == 0)
		code = attach_endpoints(*engine, setup, forget, error);
	return code == 0 ? llr_engine_start(*engine, error) : code;
}

static void note_line(struct llr_kept_shared *shared, const char *prefix, const char *what,
		      size_t size)
{
	struct llr_kept_memory *memory = &shared->memory[shared->memory_count];

	if (size == 0 || shared->memory_count == LLR_KEPT_MEMORY_LINES)
		return;
	(void)snprintf(memory->what, sizeof(memory->what), "%s%s", prefix, what);
	memory->size = size;
	shared->memory_count++;
}

/*
 * What this worker took: the lines that came since the fork (the table only grows, at its end), and
 * what shared objects say of themselves.
 */
static void note_memory(const struct llr_worker_setup *setup, const struct llrph_engine *engine,
			const struct llr_memory_line *before, unsigned int before_count)
{
	struct llr_kept_shared *shared = setup->kept->shared;
	const struct llr_memory_line *lines;
	unsigned int count = llr_memory_lines(&lines);

	shared->memory_count = 0;
	for (unsigned int i = 0; i < count; i++)
		note_line(shared, "", lines[i].what,
			  lines[i].size - (i < before_count ? before[i].size : 0));
	for (unsigned int i = 0; i < setup->kept->config->service_count; i++)
		if (setup->kept->plugins[i].loaded)
			note_line(shared, "service ", setup->kept->plugins[i].service->name,
				  llr_engine_service_size(engine, i));
}

static void report(const struct llr_worker_setup *setup, int code, const struct llrph_error *error)
{
	struct llr_worker_report report = {
		.pid = getpid(), .worker = setup->index, .code = code, .error = *error};
	ssize_t size;

	_Static_assert(sizeof(report) <= PIPE_BUF, "written in one piece, or not at all");
	do {
		size = write(setup->report_fd, &report, sizeof(report));
	} while (size < 0 && errno == EINTR);
	if (size != (ssize_t)sizeof(report))
		on_orphaned(SIGNAL_ORPHANED); /* nobody reads any more */
}

static bool is_stopping(const struct llr_worker_setup *setup)
{
	return atomic_load_explicit(&setup->kept->shared->stopping, memory_order_relaxed) != 0;
}

/* A service that answers later is polled by the turn: it must not sleep long meanwhile. */
static uint64_t sleep_ns(const struct llrph_engine *engine)
{
	return llr_engine_deferred_count(engine) != 0 ? WAIT_BUSY_NS : WAIT_NS;
}

/*
 * Spin: turn after turn. Park: when nothing has come for as long as a wake-up costs, sleep; once
 * asleep, sleep again until something comes.
 */
static void serve(struct llrph_engine *engine, const struct llr_worker_setup *setup)
{
	bool park = setup->kept->config->idle == LLR_IDLE_PARK;
	uint64_t busy_ns = llr_clock_now(&setup->kept->clock);

	while (!is_stopping(setup)) { /* the event loop */
		if (llrph_engine_turn(engine) > 0) {
			busy_ns = llr_clock_now(&setup->kept->clock);
			continue;
		}
		if (park && llr_clock_now(&setup->kept->clock) - busy_ns >= LLR_SPIN_NS)
			(void)llrph_engine_wait(engine, sleep_ns(engine));
	}
}

static void drain(struct llrph_engine *engine, const struct llr_worker_setup *setup)
{
	uint64_t begin_ns = llr_clock_now(&setup->kept->clock);
	uint64_t spent_ns = 0;
	unsigned int deferred = llrph_engine_stop(engine);

	while (spent_ns < DRAIN_MIN_NS || (deferred > 0 && spent_ns < DRAIN_MAX_NS)) {
		if (llrph_engine_turn(engine) == 0)
			(void)llrph_engine_wait(engine, WAIT_BUSY_NS);
		deferred = llr_engine_deferred_count(engine);
		spent_ns = llr_clock_now(&setup->kept->clock) - begin_ns;
	}
	if (deferred > 0)
		llr_log("%u requests were not answered within 5 s: ending without them", deferred);
}

void llr_worker_run(const struct llr_worker_setup *setup)
{
	static char tag[24]; /* the log borrows it */
	const struct llr_memory_line *lines;
	struct llr_memory_line before[LLR_KEPT_MEMORY_LINES];
	unsigned int before_count;
	struct llrph_engine *engine = NULL;
	struct llrph_error error = {.text = ""};
	int code;

	(void)snprintf(tag, sizeof(tag), "worker %u", setup->index);
	llr_log_tag(tag);
	bind_to_supervisor(setup);
	llr_endpoints_forked(&setup->kept->endpoints, setup->index);
	before_count = llr_memory_lines(&lines);
	LLR_ASSERT(before_count <= LLR_KEPT_MEMORY_LINES);
	memcpy(before, lines, before_count * sizeof(*lines));

	code = pin(setup, &error);
	if (code == 0)
		code = make_engine(&engine, setup, &error);
	if (code == 0 && setup->index == 0)
		note_memory(setup, engine, before, before_count);
	report(setup, code, &error);
	if (code != 0)
		_exit(LLR_WORKER_EXIT_SETUP);

	serve(engine, setup);
	drain(engine, setup);
	llrph_engine_close(engine);
	_exit(0);
}
