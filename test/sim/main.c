/* SPDX-License-Identifier: MIT */
/*
 * The simulator's program: runs seeds, says which failed, and shows how.
 *
 *   sim [--seeds FROM..TO] [--jobs N]    each seed once; TO included; default 1..1000
 *       [--brief]                        no trace of a seed that failed
 *   sim --forever [--seeds FROM..]       until a seed fails or a signal comes
 *   sim --seed N [--trace]               one run, in this process: for a debugger
 *
 * Seeds run in child processes, a few in each, so that what an abandoned worker leaves behind goes
 * with its process, and a run that dies is a failing seed and no more. A seed that failed is run
 * again with its trace kept, and the end of it printed.
 */
#include "plan.h"
#include "trace.h"
#include "world.h"

#include "base/memory.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX           16U
#define SEEDS_A_CHILD      10U
#define SEED_SECONDS_MAX   30U /* of wall clock: a seed takes a hundredth of one */
#define PROGRESS_SEEDS     1000U
#define DEFAULT_SEED_FIRST 1U
#define DEFAULT_SEED_LAST  1000U

struct options {
	uint64_t first;
	uint64_t last; /* included */
	unsigned int jobs;
	bool single;
	bool trace;
	bool brief;
};

/* What children report; shared pages, one writer each at a time. */
struct job {
	pid_t pid;     /* 0: none */
	uint64_t seed; /* the one that runs */
	uint64_t seeds;
	struct sim_tally tally;
};

static struct sim_world world;
static struct sim_plan plan;

static void add_tally(struct sim_tally *into, const struct sim_tally *from)
{
#define ADD(name, text) into->name += from->name;
	SIM_TALLY_TABLE(ADD)
#undef ADD
}

static void print_tally(const struct sim_tally *tally)
{
#define PRINT(name, text) printf("%12" PRIu64 " %s\n", tally->name, text);
	SIM_TALLY_TABLE(PRINT)
#undef PRINT
}

static bool run_seed(uint64_t seed, struct job *job)
{
	bool is_right;

	(void)alarm(SEED_SECONDS_MAX);
	sim_plan_make(&plan, seed);
	is_right = sim_world_run(&world, &plan);
	(void)alarm(0);
	job->seeds++;
	add_tally(&job->tally, &world.tally);
	return is_right;
}

static void show_trace_and_die(int number)
{
	/* The process is lost: what is printed may as well be tried. */
	(void)signal(number, SIG_DFL);
	sim_trace_print_kept();
	(void)fflush(stdout);
	(void)raise(number);
}

static int run_single(const struct options *options)
{
	static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
	struct job job = {0};
	char text[160];
	bool is_right;

	for (size_t i = 0; !options->trace && i < sizeof(deadly) / sizeof(deadly[0]); i++)
		(void)signal(deadly[i], show_trace_and_die);
	sim_trace_init(options->trace ? SIM_TRACE_PRINT : SIM_TRACE_KEEP, &world.now_ns);
	is_right = run_seed(options->first, &job);
	sim_plan_describe(&plan, text, sizeof(text));
	if (!is_right && !options->trace)
		sim_trace_print_kept();
	printf("seed %" PRIu64 " (%s): %s\n", options->first, text, is_right ? "ok" : "FAILED");
	print_tally(&job.tally);
	return is_right ? 0 : 1;
}

static void child(struct job *job, uint64_t first, uint64_t last)
{
	sim_trace_init(SIM_TRACE_OFF, &world.now_ns);
	for (uint64_t seed = first; seed <= last; seed++) {
		job->seed = seed;
		if (!run_seed(seed, job))
			_exit(1);
	}
	_exit(0);
}

static void start_job(struct job *job, uint64_t first, uint64_t last)
{
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	LLR_MUST(pid >= 0);
	if (pid == 0)
		child(job, first, last);
	job->pid = pid;
}

/* Runs it again with the trace, in a child, for it may die of it. */
static void explain(uint64_t seed)
{
	struct options again = {.first = seed, .single = true};
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	LLR_MUST(pid >= 0);
	if (pid == 0)
		exit(run_single(&again));
	(void)waitpid(pid, NULL, 0);
	printf("to see all of it: sim --seed %" PRIu64 " --trace\n", seed);
}

static uint64_t sum_seeds(const struct job *jobs, unsigned int count)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < count; i++)
		sum += jobs[i].seeds;
	return sum;
}

/* Waits for a child. True if all of its seeds were right. */
static bool reap(struct job *jobs, unsigned int count, bool brief)
{
	int status = 0;
	pid_t pid = waitpid(-1, &status, 0);

	LLR_MUST(pid > 0);
	for (unsigned int i = 0; i < count; i++) {
		if (jobs[i].pid != pid)
			continue;
		jobs[i].pid = 0;
		if (status == 0)
			return true;
		if (WIFSIGNALED(status))
			fprintf(stderr, "seed %" PRIu64 " died of signal %d\n", jobs[i].seed,
				WTERMSIG(status));
		if (!brief)
			explain(jobs[i].seed);
		return false;
	}
	return true;
}

static int run_many(const struct options *options)
{
	struct job *jobs = mmap(NULL, sizeof(*jobs) * JOBS_MAX, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t next = options->first;
	struct sim_tally tally = {0};
	uint64_t told = 0;
	unsigned int running = 0;
	bool is_right = true;

	LLR_MUST(jobs != MAP_FAILED);
	while (running > 0 || (is_right && next <= options->last)) {
		for (unsigned int i = 0; i < options->jobs; i++) {
			uint64_t last = next + SEEDS_A_CHILD - 1;

			if (jobs[i].pid != 0 || !is_right || next > options->last)
				continue;
			last = last < options->last ? last : options->last;
			start_job(&jobs[i], next, last);
			running++;
			next = last + 1;
		}
		is_right = reap(jobs, options->jobs, options->brief) && is_right;
		running--;
		if (sum_seeds(jobs, options->jobs) >= told + PROGRESS_SEEDS) {
			told = sum_seeds(jobs, options->jobs);
			printf("%" PRIu64 " seeds, the next is %" PRIu64 "\n", told, next);
			(void)fflush(stdout);
		}
	}
	for (unsigned int i = 0; i < options->jobs; i++)
		add_tally(&tally, &jobs[i].tally);
	print_tally(&tally);
	printf("%s: %" PRIu64 " seeds\n", is_right ? "ok" : "FAILED",
	       sum_seeds(jobs, options->jobs));
	return is_right ? 0 : 1;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: sim [--seeds FROM..TO] [--jobs N] [--brief] | --forever [--seeds FROM..] | "
		"--seed N [--trace]\n");
	return 2;
}

static bool parse_range(const char *text, struct options *options)
{
	char *end;

	options->first = strtoull(text, &end, 10);
	if (end == text || strncmp(end, "..", 2) != 0)
		return false;
	if (end[2] != '\0')
		options->last = strtoull(end + 2, &end, 10);
	return end[0] == '\0' || end[2] == '\0';
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"seeds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'n'},
		{"jobs", required_argument, NULL, 'j'},
		{"forever", no_argument, NULL, 'f'},
		{"trace", no_argument, NULL, 't'},
		{"brief", no_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	struct options options = {
		.first = DEFAULT_SEED_FIRST, .last = DEFAULT_SEED_LAST, .jobs = 2};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 's' && parse_range(optarg, &options))
			continue;
		if (option == 'n') {
			options.first = strtoull(optarg, NULL, 10);
			options.single = true;
		} else if (option == 'j') {
			options.jobs = (unsigned int)strtoul(optarg, NULL, 10);
		} else if (option == 'f') {
			options.first = (uint64_t)time(NULL) * 1000;
			options.last = UINT64_MAX - SEEDS_A_CHILD;
		} else if (option == 'b') {
			options.brief = true;
		} else if (option == 't') {
			options.trace = true;
		} else {
			return usage();
		}
	}
	if (optind != argc || options.jobs == 0 || options.jobs > JOBS_MAX)
		return usage();
	/* An engine that succeeds another takes memory in a process that was frozen before. */
	llr_thaw_begin();
	return options.single ? run_single(&options) : run_many(&options);
}
