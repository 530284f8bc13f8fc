/* SPDX-License-Identifier: MIT */
/*
 * llrph stats: prints what a server has counted, from its stats page, without asking it.
 *
 * Thread: the process's only one. Owns a copy of the page for each time that it prints.
 */
#include "cli.h"

#include "observe/stats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_EACH_S UINT64_C(1000000000)

struct plan {
	const char *name; /* borrows from argv */
	enum llr_stats_format format;
	uint64_t watch_ns; /* 0: once */
};

static const char help_text[] =
	"usage: llrph stats NAME [--json] [--all] [--watch SECONDS]\n"
	"\n"
	"Shows what the server called NAME has counted, running or not.\n"
	"\n"
	"  --json            everything, as one JSON object\n"
	"  --all             also what is zero\n"
	"  --watch SECONDS   print again and again, until interrupted\n"
	"\n"
	"Exit status: 0 printed, 1 there is no such page or it can't be read, 2 wrong usage.\n"
	"The page lies in $LLRPH_RUNTIME_DIR, else /run/llrph for root, else\n"
	"$XDG_RUNTIME_DIR/llrph. See llrph-stats(1), and llrph-counters(7) for the counters.\n";

/* 0: plan is filled; -1: nothing more to do; else an exit status. */
static int read_options(struct plan *plan, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"all", no_argument, NULL, 'a'},
		{"watch", required_argument, NULL, 'w'},
		{0},
	};
	static const struct llr_cli_span span = {
		.unit_ns = NS_EACH_S,
		.min_ns = NS_EACH_S / 10,
		.max_ns = 3600 * NS_EACH_S,
	};
	int option;

	while ((option = llr_cli_option(argc, argv, options)) != -1) {
		switch (option) {
		case 'j':
			plan->format = LLR_STATS_JSON;
			break;
		case 'a':
			if (plan->format == LLR_STATS_TEXT)
				plan->format = LLR_STATS_TEXT_ALL;
			break;
		case 'w':
			if (llr_cli_parse_duration("--watch", optarg, &span, &plan->watch_ns) != 0)
				return LLR_CLI_USAGE;
			break;
		case 'h':
			(void)fputs(help_text, stdout);
			return -1;
		default:
			return LLR_CLI_USAGE;
		}
	}
	if (optind == argc)
		return llr_cli_wrong("no server named: give its NAME, as in llrph stats demo");
	if (optind + 1 < argc)
		return llr_cli_wrong("one NAME is enough: '%s' is too much", argv[optind + 1]);
	plan->name = argv[optind];
	return 0;
}

static int print_once(const struct plan *plan)
{
	struct llrph_error error = {{0}};
	struct llr_stats *stats = NULL;

	if (llr_stats_open(&stats, plan->name, &error) != 0)
		return llr_cli_fail("%s", error.text);
	llr_stats_print(stats, stdout, plan->format);
	llr_stats_close(stats);
	/* A full disk or a reader that has gone shows here at the latest. */
	if (fflush(stdout) != 0 || ferror(stdout))
		return llr_cli_fail("can't write to standard output: %s", strerror(errno));
	return LLR_CLI_DONE;
}

int llr_cli_stats(int argc, char **argv)
{
	struct plan plan = {.format = LLR_STATS_TEXT};
	struct timespec pause;
	int code = read_options(&plan, argc, argv);

	if (code != 0)
		return code < 0 ? LLR_CLI_DONE : code;
	pause.tv_sec = (time_t)(plan.watch_ns / NS_EACH_S);
	pause.tv_nsec = (long)(plan.watch_ns % NS_EACH_S);
	for (;;) { /* until a signal ends the process */
		code = print_once(&plan);
		if (code != LLR_CLI_DONE || plan.watch_ns == 0)
			return code;
		(void)nanosleep(&pause, NULL);
		if (plan.format != LLR_STATS_JSON)
			(void)fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n", stdout);
	}
}
