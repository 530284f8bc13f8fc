/* SPDX-License-Identifier: MIT */
/*
 * Reading what the user typed, and saying in one line what is wrong with it and how to mend it.
 *
 * Thread: the process's only one. Owns the name of the subcommand that messages begin with.
 */
#include "cli.h"

#include "base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WORD_SIZE_MAX 64U /* characters of a word that nearest() looks at */
#define OPTIONS_MAX   64U

static const char *command_name = ""; /* borrows constant text */

void llr_cli_begin(const char *command)
{
	command_name = command;
}

static void __attribute__((format(printf, 1, 0))) complain(const char *format, va_list arguments)
{
	(void)fprintf(stderr, "llrph%s%s: ", command_name[0] != '\0' ? " " : "", command_name);
	(void)vfprintf(stderr, format, arguments);
}

int llr_cli_fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
	(void)fputc('\n', stderr);
	return LLR_CLI_FAILED;
}

int llr_cli_wrong(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, " (see llrph%s%s --help)\n", command_name[0] != '\0' ? " " : "",
		      command_name);
	return LLR_CLI_USAGE;
}

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/*
 * Insertions, deletions, replacements and swaps of neighbours that lead from a to b (optimal string
 * alignment), by rows. Only the first WORD_SIZE_MAX characters count.
 */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int rows[3][WORD_SIZE_MAX + 1];
	size_t a_size = strnlen(a, WORD_SIZE_MAX);
	size_t b_size = strnlen(b, WORD_SIZE_MAX);

	for (unsigned int j = 0; j <= b_size; j++)
		rows[0][j] = j;
	for (unsigned int i = 1; i <= a_size; i++) {
		unsigned int *row = rows[i % 3];
		const unsigned int *above = rows[(i - 1) % 3];
		const unsigned int *two_above = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned int j = 1; j <= b_size; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = least(row[j], least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], two_above[j - 2] + 1);
		}
	}
	return rows[a_size % 3][b_size];
}

const char *llr_cli_nearest(const char *text, const char *const *words)
{
	const char *nearest = NULL;
	/* More than a third of it wrong is another word. */
	unsigned int best = (unsigned int)strnlen(text, WORD_SIZE_MAX) / 3 + 1;

	for (; *words != NULL; words++) {
		unsigned int off = distance(text, *words);

		if (off <= best && (nearest == NULL || off < best)) {
			nearest = *words;
			best = off;
		}
	}
	return nearest;
}

static int unknown_option(const char *word, const struct option *options)
{
	const char *names[OPTIONS_MAX + 1];
	unsigned int count = 0;
	const char *nearest;

	for (; options[count].name != NULL; count++)
		names[count] = options[count].name;
	names[count] = NULL;
	nearest = llr_cli_nearest(word + 2, names);
	if (nearest == NULL)
		return llr_cli_wrong("unknown option %s", word);
	return llr_cli_wrong("unknown option %s; did you mean --%s?", word, nearest);
}

int llr_cli_option(int argc, char **argv, const struct option *options)
{
	struct option all[OPTIONS_MAX + 1];
	unsigned int count = 0;
	const char *word;
	int found;

	for (; options[count].name != NULL; count++) {
		LLR_ASSERT(count < OPTIONS_MAX - 1);
		all[count] = options[count];
	}
	all[count] = (struct option){.name = "help", .has_arg = no_argument, .val = 'h'};
	all[count + 1] = (struct option){0};
	opterr = 0;
	found = getopt_long(argc, argv, ":h", all, NULL);
	if (found != '?' && found != ':')
		return found;
	/* getopt leaves the culprit before optind, and its letter, if it has one, in optopt. */
	word = argv[optind - 1];
	if (found == ':')
		(void)llr_cli_wrong("%s needs an argument", word);
	else if (optopt == 0)
		(void)unknown_option(word, all);
	else if (strncmp(word, "--", 2) == 0 && strchr(word, '=') != NULL)
		(void)llr_cli_wrong("%.*s takes no argument", (int)(strchr(word, '=') - word),
				    word);
	else
		(void)llr_cli_wrong("unknown option -%c", optopt);
	return '?';
}

/* Reads digits up to the first other character; false: none, or too many. */
static bool read_digits(const char **text, uint64_t *value)
{
	const char *from = *text;

	*value = 0;
	for (; **text >= '0' && **text <= '9'; (*text)++)
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(**text - '0'), value))
			return false;
	return *text != from;
}

static int out_of_range(const char *option, const char *text, const char *min, const char *max)
{
	return llr_cli_wrong("%s %s is out of range: give %s to %s", option, text, min, max);
}

int llr_cli_parse_count(const char *option, const char *text, uint64_t min, uint64_t max,
			uint64_t *value)
{
	const char *end = text;
	char bounds[2][24];
	uint64_t count;

	if (!read_digits(&end, &count) || *end != '\0')
		return llr_cli_wrong("%s '%s' is no count: give a whole number, as in %s %" PRIu64,
				     option, text, option, min);
	if (count < min || count > max) {
		(void)snprintf(bounds[0], sizeof(bounds[0]), "%" PRIu64, min);
		(void)snprintf(bounds[1], sizeof(bounds[1]), "%" PRIu64, max);
		return out_of_range(option, text, bounds[0], bounds[1]);
	}
	*value = count;
	return 0;
}

/* Writes bytes as they would be typed: 64K, 16M, 1500. */
static void write_size(char *text, size_t size, uint64_t bytes)
{
	unsigned int power = 0;

	while (power < 3 && bytes != 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		power++;
	}
	(void)snprintf(text, size, "%" PRIu64 "%.*s", bytes, power == 0 ? 0 : 1, &" KMG"[power]);
}

int llr_cli_parse_size(const char *option, const char *text, uint64_t min, uint64_t max,
		       uint64_t *value)
{
	static const char letters[] = "KMG";
	const char *end = text;
	const char *letter;
	char bounds[2][24];
	uint64_t size;
	bool fits = read_digits(&end, &size);

	if (fits && *end != '\0' && end[1] == '\0') {
		letter = strchr(letters, *end);
		if (letter != NULL) {
			fits = !__builtin_mul_overflow(
				size, UINT64_C(1024) << (10 * (letter - letters)), &size);
			end++;
		}
	}
	if (!fits || *end != '\0')
		return llr_cli_wrong("%s '%s' is no size: give bytes, as in %s 1500 or %s 64K",
				     option, text, option, option);
	if (size < min || size > max) {
		write_size(bounds[0], sizeof(bounds[0]), min);
		write_size(bounds[1], sizeof(bounds[1]), max);
		return out_of_range(option, text, bounds[0], bounds[1]);
	}
	*value = size;
	return 0;
}

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"ns", 1},         {"us", 1000},       {"ms", 1000000},
	{"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000},
};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

/* ns of a unit's name; bare: of none; 0: no such unit. */
static uint64_t unit_of(const char *name, uint64_t bare)
{
	if (*name == '\0')
		return bare;
	for (size_t i = 0; i < UNIT_COUNT; i++)
		if (strcmp(name, units[i].name) == 0)
			return units[i].ns;
	return 0;
}

/* The largest unit that divides it. */
static void write_duration(char *text, size_t size, uint64_t ns)
{
	size_t unit = UNIT_COUNT - 1;

	while (unit > 0 && ns % units[unit].ns != 0)
		unit--;
	(void)snprintf(text, size, "%" PRIu64 " %s", ns / units[unit].ns, units[unit].name);
}

/* A number with up to nine digits behind the point, as billionths of a unit. */
static bool read_decimal(const char **text, uint64_t *whole, uint64_t *billionths)
{
	uint64_t digit = 100000000;

	*billionths = 0;
	if (!read_digits(text, whole))
		return false;
	if (**text != '.')
		return true;
	(*text)++;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		if (digit == 0)
			return false;
		*billionths += digit * (uint64_t)(**text - '0');
		digit /= 10;
	}
	return true;
}

int llr_cli_parse_duration(const char *option, const char *text, const struct llr_cli_span *span,
			   uint64_t *value_ns)
{
	const char *end = text;
	uint64_t whole;
	uint64_t billionths;
	uint64_t unit_ns = 0;
	uint64_t ns = 0;
	char bounds[2][32];
	bool fits;

	if (read_decimal(&end, &whole, &billionths))
		unit_ns = unit_of(end, span->unit_ns);
	if (unit_ns == 0)
		return llr_cli_wrong("%s '%s' is no time: give a number and ns, us, ms, s, m or h, "
				     "as in %s 1.5s",
				     option, text, option);
	fits = !__builtin_mul_overflow(whole, unit_ns, &ns) &&
	       !__builtin_add_overflow(
		       ns, (uint64_t)((unsigned __int128)billionths * unit_ns / 1000000000), &ns);
	if (!fits || ns < span->min_ns || ns > span->max_ns) {
		write_duration(bounds[0], sizeof(bounds[0]), span->min_ns);
		write_duration(bounds[1], sizeof(bounds[1]), span->max_ns);
		return out_of_range(option, text, bounds[0], bounds[1]);
	}
	*value_ns = ns;
	return 0;
}

int llr_cli_parse_word(const char *option, const char *text, const char *const *words,
		       unsigned int *index)
{
	char list[256] = "";
	size_t used = 0;

	for (unsigned int i = 0; words[i] != NULL; i++) {
		int written;

		if (strcmp(text, words[i]) == 0) {
			*index = i;
			return 0;
		}
		written = snprintf(list + used, sizeof(list) - used, "%s%s",
				   i == 0 ? "" : (words[i + 1] == NULL ? " or " : ", "), words[i]);
		LLR_ASSERT(written > 0);
		used += (size_t)written;
		LLR_ASSERT(used < sizeof(list));
	}
	return llr_cli_wrong("%s '%s' is not known: give %s", option, text, list);
}
