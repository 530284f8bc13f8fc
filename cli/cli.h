/* SPDX-License-Identifier: MIT */
/*
 * What the subcommands share: their entry points, how they read options and how they fail.
 *
 * A subcommand is `int llr_cli_NAME(int argc, char **argv)`: argv[0] is its own name, and what it
 * returns is the exit status (enum llr_cli_exit). It prints its own help on --help, to standard
 * output. What is wrong with the user's words is one line on standard error that names the mend:
 * "llrph bench: --requests 'x' is not a count: give a whole number, as in --requests 1000".
 *
 * Thread: the process's only one. Nothing here runs on a request's path.
 */
#ifndef LLR_CLI_CLI_H
#define LLR_CLI_CLI_H

#include <getopt.h>
#include <stdint.h>

enum llr_cli_exit {
	LLR_CLI_DONE = 0,
	LLR_CLI_FAILED = 1, /* it was tried and did not work */
	LLR_CLI_USAGE = 2,  /* it was not tried: the words make no sense */
};

int llr_cli_serve(int argc, char **argv);
int llr_cli_call(int argc, char **argv);
int llr_cli_bench(int argc, char **argv);
int llr_cli_stats(int argc, char **argv);

/* Names the subcommand in every message from now on; main calls it. Borrows constant text. */
void llr_cli_begin(const char *command);

/* Prints "llrph COMMAND: ..." on standard error; returns LLR_CLI_FAILED. */
int llr_cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, with "(see llrph COMMAND --help)" behind it; returns LLR_CLI_USAGE. */
int llr_cli_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * getopt_long without short options but -h: returns the val of the next option, 'h' for --help
 * (which need not be listed), -1 behind the last one (words follow from optind on), '?' after a
 * complaint that names the nearest option: then return LLR_CLI_USAGE. Restarts with argc and argv
 * when optind is 0, which main sees to.
 */
int llr_cli_option(int argc, char **argv, const struct option *options);

/*
 * Each reads one option's argument. 0; or LLR_CLI_USAGE after a complaint, value untouched.
 * option: as typed, "--size". Bounds are included.
 */
int llr_cli_parse_count(const char *option, const char *text, uint64_t min, uint64_t max,
			uint64_t *value);
/* Bytes: a whole number and, if wanted, K, M or G (1024 each). */
int llr_cli_parse_size(const char *option, const char *text, uint64_t min, uint64_t max,
		       uint64_t *value);
struct llr_cli_span {
	uint64_t unit_ns; /* of a bare number */
	uint64_t min_ns;
	uint64_t max_ns;
};
/* A number, fractions too, and if wanted ns, us, ms, s, m or h. */
int llr_cli_parse_duration(const char *option, const char *text, const struct llr_cli_span *span,
			   uint64_t *value_ns);
/* One of words, which a NULL ends; sets the index. */
int llr_cli_parse_word(const char *option, const char *text, const char *const *words,
		       unsigned int *index);

/* The word that is nearest to text, if it is near enough to be meant; else NULL. NULL ends words.
 */
const char *llr_cli_nearest(const char *text, const char *const *words);

#endif
