/* SPDX-License-Identifier: MIT */
/*
 * llrph: finds the subcommand and runs it.
 *
 * Thread: the process's first. Exit status: 0 done, 1 failed, 2 wrong usage.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
};

static const struct command commands[] = {
	{"serve", llr_cli_serve, "run a server"},
	{"call", llr_cli_call, "send one request"},
	{"call", llr_cli_call, "send one request"},
	{"bench", llr_cli_bench, "measure a server: rate and latency percentiles"},
	{"stats", llr_cli_stats, "show what a server has counted"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

static void print_help(FILE *out)
{
	(void)fputs("usage: llrph COMMAND [OPTION...] [WORD...]\n"
		    "\n"
		    "Requests and replies over shared memory, UDP and TCP.\n"
		    "\n",
		    out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	(void)fputs("\n"
		    "  llrph COMMAND --help   or man llrph-COMMAND: more about each\n"
		    "  llrph --version        print the version\n"
		    "\n"
		    "Endpoints are shm:NAME, udp:HOST:PORT and tcp:HOST:PORT.\n",
		    out);
}

static int unknown_command(const char *name)
{
	const char *names[COMMAND_COUNT + 2];
	const char *nearest;

	for (size_t i = 0; i < COMMAND_COUNT; i++)
		names[i] = commands[i].name;
	names[COMMAND_COUNT] = "help";
	names[COMMAND_COUNT + 1] = NULL;
	nearest = llr_cli_nearest(name, names);
	if (nearest == NULL)
		return llr_cli_wrong("unknown command '%s'", name);
	return llr_cli_wrong("unknown command '%s'; did you mean '%s'?", name, nearest);
}

/* `llrph help` and `llrph help COMMAND`. */
static int help(const char *name)
{
	const struct command *command;
	char flag[] = "--help";
	char own_name[32];
	char *arguments[] = {own_name, flag, NULL};

	if (name == NULL) {
		print_help(stdout);
		return LLR_CLI_DONE;
	}
	command = find_command(name);
	if (command == NULL)
		return unknown_command(name);
	(void)snprintf(own_name, sizeof(own_name), "%s", name);
	llr_cli_begin(command->name);
	optind = 0;
	return command->run(2, arguments);
}

int main(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		print_help(stderr);
		return LLR_CLI_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)puts("llrph " LLRPH_VERSION);
		return LLR_CLI_DONE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(NULL);
	if (strcmp(argv[1], "help") == 0)
		return help(argv[2]);
	command = find_command(argv[1]);
	if (command == NULL)
		return unknown_command(argv[1]);
	llr_cli_begin(command->name);
	optind = 0; /* getopt begins afresh */
	return command->run(argc - 1, argv + 1);
}
