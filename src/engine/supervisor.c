/* SPDX-License-Identifier: MIT */
/*
 * One loop over signals (by signalfd), the workers' reports (a pipe), lane hosts and two timers.
 *
 *   STARTING   worker 0 is forked; once it is ready the others; whoever fails ends everything
 *   SERVING    all have been ready; a worker that dies is replaced
 *   STOPPING   none is replaced; ends with the last worker
 *
 * Thread: the supervisor process's only one. It runs no handler and opens no service, so that
 * nothing a request does can reach it; it blocks in poll alone.
 *
 * Owns: sockets, lane hosts, stats page, session tables, secret. Workers are forked from here and
 * from nowhere else, so what a successor inherits is what its predecessor did.
 */
#include "engine/supervisor.h"

#include "base/assert.h"
#include "base/log.h"
#include "engine/restart.h"
#include "engine/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS       100         /* lane hosts want a turn so often; timers are seen so late */
#define STOP_LIMIT_NS 6000000000U /* workers end by themselves after 5 s */
#define FORK_PAUSE_NS 1000000000U /* after a fork that failed */

enum phase { STARTING, SERVING, STOPPING };

struct slot {
	uint64_t born_ns;
	uint64_t due_ns; /* when a worker is to be forked; while pid is 0 */
	struct llr_restart restart;
	pid_t pid;   /* 0: nobody */
	bool forked; /* somebody was here: who comes next is a successor */
	bool ready;  /* who is here has said so */
};

struct supervisor {
	struct llr_kept kept;
	struct slot slots[LLR_WORKERS_MAX];
	unsigned int worker_count;
	enum phase phase;
	uint64_t stop_ns;          /* when STOPPING began */
	int code;                  /* why it failed; 0: it did not */
	struct llrph_error *error; /* borrows */
	sigset_t signals_before;
	int signal_fd;
	int report_fds[2]; /* read, write */
};

static uint64_t now(const struct supervisor *supervisor)
{
	return llr_clock_now(&supervisor->kept.clock);
}

static unsigned int count_living(const struct supervisor *supervisor)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < supervisor->worker_count; i++)
		count += supervisor->slots[i].pid != 0;
	return count;
}

static void signal_workers(const struct supervisor *supervisor, int signal_number)
{
	for (unsigned int i = 0; i < supervisor->worker_count; i++)
		if (supervisor->slots[i].pid != 0)
			(void)kill(supervisor->slots[i].pid, signal_number);
}

/* The first failure is the one that is told; the workers end without ceremony. */
static void fail(struct supervisor *supervisor, int code, const char *text)
{
	LLR_ASSERT(code < 0);
	if (supervisor->phase == STARTING)
		supervisor->code = llr_error_set(supervisor->error, code, "%s", text);
	supervisor->phase = STOPPING;
	supervisor->stop_ns = now(supervisor);
	signal_workers(supervisor, SIGKILL);
}

/* In the child: nothing of the supervisor's own is left open. */
static void run_worker(struct supervisor *supervisor, unsigned int index, pid_t parent)
{
	struct llr_worker_setup setup = {.kept = &supervisor->kept,
					 .index = index,
					 .supervisor = parent,
					 .report_fd = supervisor->report_fds[1],
					 .successor = supervisor->slots[index].forked};

	(void)close(supervisor->signal_fd);
	(void)close(supervisor->report_fds[0]);
	llr_worker_run(&setup);
}

static void fork_worker(struct supervisor *supervisor, unsigned int index)
{
	struct slot *slot = &supervisor->slots[index];
	pid_t parent = getpid();
	pid_t pid;

	LLR_ASSERT(slot->pid == 0);
	pid = fork();
	if (pid == 0)
		run_worker(supervisor, index, parent);
	if (pid < 0 && supervisor->phase == STARTING) {
		fail(supervisor, -errno,
		     "no worker can be forked: raise ulimit -u, or free memory");
		return;
	}
	if (pid < 0) {
		llr_log("worker %u can't be forked (%s): trying again in 1 s", index,
			strerror(errno));
		slot->due_ns = now(supervisor) + FORK_PAUSE_NS;
		return;
	}
	slot->pid = pid;
	slot->born_ns = now(supervisor);
	slot->forked = true;
	slot->ready = false;
}

static void fork_due(struct supervisor *supervisor)
{
	for (unsigned int i = 0; i < supervisor->worker_count; i++) {
		struct slot *slot = &supervisor->slots[i];

		/* While starting, the first one shows whether all is well: one error, not N. */
		if (supervisor->phase == STARTING && i > 0 && !supervisor->slots[0].ready)
			return;
		if (supervisor->phase != STOPPING && slot->pid == 0 &&
		    now(supervisor) >= slot->due_ns)
			fork_worker(supervisor, i);
	}
}

static void announce(struct supervisor *supervisor)
{
	const struct llr_endpoints *endpoints = &supervisor->kept.endpoints;

	llr_kept_print_memory(&supervisor->kept);
	for (unsigned int i = 0; i < endpoints->count; i++)
		(void)printf("llrph: ready %s\n", endpoints->list[i].uri.text);
	(void)fflush(stdout); /* also lest a child of fork has it in its buffer */
}

static void handle_report(struct supervisor *supervisor, const struct llr_worker_report *report)
{
	struct slot *slot;
	unsigned int ready = 0;

	LLR_ASSERT(report->worker < supervisor->worker_count);
	slot = &supervisor->slots[report->worker];
	if (report->pid != slot->pid)
		return;
	if (report->code != 0 && supervisor->phase == STARTING) {
		fail(supervisor, report->code, report->error.text);
		return;
	}
	if (report->code != 0) {
		llr_log("worker %u can't start: %s", report->worker, report->error.text);
		return;
	}
	slot->ready = true;
	for (unsigned int i = 0; i < supervisor->worker_count; i++)
		ready += supervisor->slots[i].ready;
	if (supervisor->phase == STARTING && ready == supervisor->worker_count) {
		supervisor->phase = SERVING;
		announce(supervisor);
	}
}

static void read_reports(struct supervisor *supervisor)
{
	struct llr_worker_report report;
	ssize_t size;

	/* Bounded: a worker writes one in its life. */
	for (;;) {
		size = read(supervisor->report_fds[0], &report, sizeof(report));
		if (size < 0 && errno == EINTR)
			continue;
		if (size != (ssize_t)sizeof(report))
			return;
		handle_report(supervisor, &report);
	}
}

/* "worker 1 (pid 123) died of signal 11 (Segmentation fault) after 3.021 s" */
static void describe_death(char *text, size_t size, const struct supervisor *supervisor,
			   unsigned int index, int status)
{
	const struct slot *slot = &supervisor->slots[index];
	double seconds = (double)(now(supervisor) - slot->born_ns) / 1e9;

	if (WIFSIGNALED(status))
		(void)snprintf(text, size, "worker %u (pid %d) died of signal %d (%s) after %.3f s",
			       index, (int)slot->pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
			       seconds);
	else
		(void)snprintf(text, size, "worker %u (pid %d) ended with status %d after %.3f s",
			       index, (int)slot->pid, WEXITSTATUS(status), seconds);
}

/* Makes ready for the successor, which is forked when it is due. */
static void replace(struct supervisor *supervisor, unsigned int index)
{
	struct slot *slot = &supervisor->slots[index];
	bool was_paused = slot->restart.paused;

	llr_endpoints_worker_died(&supervisor->kept.endpoints, index);
	if (llr_plugins_lose_state(supervisor->kept.plugins,
				   supervisor->kept.config->service_count))
		llr_kept_new_epoch(&supervisor->kept);
	slot->due_ns =
		now(supervisor) + llr_restart_delay(&slot->restart, slot->born_ns, now(supervisor));
	if (slot->restart.paused && !was_paused)
		llr_log("worker %u keeps dying: its successors wait 1 s each until one lives on",
			index);
}

static void handle_death(struct supervisor *supervisor, pid_t pid, int status)
{
	char text[160];
	unsigned int index = 0;
	bool drained =
		supervisor->phase == STOPPING && WIFEXITED(status) && WEXITSTATUS(status) == 0;

	while (index < supervisor->worker_count && supervisor->slots[index].pid != pid)
		index++;
	if (index == supervisor->worker_count)
		return; /* a child that was ours before we became the supervisor */
	describe_death(text, sizeof(text), supervisor, index, status);
	supervisor->slots[index].pid = 0;
	supervisor->slots[index].ready = false;
	if (supervisor->phase == STARTING) {
		fail(supervisor, -ECHILD, text);
		return;
	}
	if (!drained && supervisor->code == 0)
		llr_log("%s", text);
	if (supervisor->phase == SERVING)
		replace(supervisor, index);
}

static void reap(struct supervisor *supervisor)
{
	int status;
	pid_t pid;

	/* Bounded: each turn ends a child, and none is forked meanwhile. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		read_reports(supervisor); /* it may have said why */
		handle_death(supervisor, pid, status);
	}
}

/* The first one drains, the second one ends at once. */
static void handle_stop(struct supervisor *supervisor)
{
	if (supervisor->phase == STOPPING) {
		llr_log("told to stop again: ending at once");
		signal_workers(supervisor, SIGKILL);
		return;
	}
	llr_log("stopping: new requests are answered 503, those inside finish");
	supervisor->phase = STOPPING;
	supervisor->stop_ns = now(supervisor);
	atomic_store_explicit(&supervisor->kept.shared->stopping, 1, memory_order_relaxed);
	signal_workers(supervisor, SIGTERM); /* ends their sleep */
}

static void read_signals(struct supervisor *supervisor)
{
	struct signalfd_siginfo info;

	/* Bounded: the kernel queues each of these signals once. SIGHUP means nothing to us. */
	while (read(supervisor->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			handle_stop(supervisor);
	}
	reap(supervisor); /* one SIGCHLD may stand for many */
}

static void check_stop_limit(struct supervisor *supervisor)
{
	if (supervisor->phase != STOPPING || count_living(supervisor) == 0 ||
	    now(supervisor) - supervisor->stop_ns < STOP_LIMIT_NS)
		return;
	llr_log("%u workers did not end in time: ending them", count_living(supervisor));
	signal_workers(supervisor, SIGKILL);
	supervisor->stop_ns = now(supervisor);
}

static void sleep_until_something(struct supervisor *supervisor)
{
	const struct llr_endpoints *endpoints = &supervisor->kept.endpoints;
	struct pollfd polled[LLR_LISTENERS_MAX + 2];
	nfds_t count = 0;

	polled[count++] = (struct pollfd){.fd = supervisor->signal_fd, .events = POLLIN};
	polled[count++] = (struct pollfd){.fd = supervisor->report_fds[0], .events = POLLIN};
	for (unsigned int i = 0; i < endpoints->count; i++)
		if (endpoints->list[i].host != NULL)
			polled[count++] = (struct pollfd){
				.fd = llr_lane_host_fd(endpoints->list[i].host), .events = POLLIN};
	(void)poll(polled, count, TICK_MS);
}

static void loop(struct supervisor *supervisor)
{
	const struct llr_endpoints *endpoints = &supervisor->kept.endpoints;

	for (;;) { /* the event loop; ends with the last worker, once it is STOPPING */
		fork_due(supervisor);
		sleep_until_something(supervisor);
		read_reports(supervisor);
		read_signals(supervisor);
		for (unsigned int i = 0; i < endpoints->count; i++)
			if (endpoints->list[i].host != NULL)
				llr_lane_host_turn(endpoints->list[i].host);
		check_stop_limit(supervisor);
		if (supervisor->phase == STOPPING && count_living(supervisor) == 0)
			return;
	}
}

/* Signals are for signalfd alone from here on, so that none is lost between set-up and loop. */
static int open_events(struct supervisor *supervisor, struct llrph_error *error)
{
	sigset_t signals;

	LLR_MUST(sigemptyset(&signals) == 0);
	LLR_MUST(sigaddset(&signals, SIGTERM) == 0);
	LLR_MUST(sigaddset(&signals, SIGINT) == 0);
	LLR_MUST(sigaddset(&signals, SIGHUP) == 0);
	LLR_MUST(sigaddset(&signals, SIGCHLD) == 0);
	LLR_MUST(sigaddset(&signals, SIGPIPE) == 0);
	LLR_MUST(sigprocmask(SIG_BLOCK, &signals, &supervisor->signals_before) == 0);
	supervisor->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (supervisor->signal_fd < 0)
		goto fail_signals;
	if (pipe2(supervisor->report_fds, O_NONBLOCK | O_CLOEXEC) != 0)
		goto fail_pipe;
	return 0;

fail_pipe:
	(void)close(supervisor->signal_fd);
fail_signals:
	(void)sigprocmask(SIG_SETMASK, &supervisor->signals_before, NULL);
	return llr_error_set(error, -EMFILE,
			     "out of descriptors at set-up: raise ulimit -n, 32 are enough for "
			     "few clients");
}

static void close_events(struct supervisor *supervisor)
{
	(void)close(supervisor->report_fds[0]);
	(void)close(supervisor->report_fds[1]);
	(void)close(supervisor->signal_fd);
	(void)sigprocmask(SIG_SETMASK, &supervisor->signals_before, NULL);
}

int llr_supervise(const struct llr_config *config, const struct llr_plugin *plugins,
		  struct llrph_error *error)
{
	struct supervisor supervisor;
	int code;

	code = llr_plugins_check(plugins, config->service_count, config->workers, error);
	if (code != 0)
		return code;
	memset(&supervisor, 0, sizeof(supervisor));
	supervisor.worker_count = config->workers;
	supervisor.error = error;
	code = open_events(&supervisor, error);
	if (code != 0)
		return code;
	code = llr_kept_open(&supervisor.kept, config, plugins, error);
	if (code != 0)
		goto fail_kept;

	loop(&supervisor);
	code = supervisor.code;
	llr_kept_close(&supervisor.kept);
fail_kept:
	close_events(&supervisor);
	return code;
}
