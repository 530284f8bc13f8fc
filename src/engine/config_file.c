/* SPDX-License-Identifier: MIT */
/*
 * The file of --config: [server], then `option = value` lines, read by inih. A key is an option's
 * name; what is unknown is refused with its line and the name that was probably meant.
 *
 * inih neither tells its handler the line nor stops at an error, cuts long lines, and overlooks
 * sections without keys. So the reader that it calls counts lines and looks at them first.
 *
 * Thread: set-up's. Owns the open file during the call.
 */
#include "engine/config.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#define SECTION      "server"
#define WORD_MAX     32U /* longer words are near to none of ours */
#define DISTANCE_MAX 2U  /* that many typing errors are forgiven */

struct reading {
	struct llr_config *config;
	const char *path;
	FILE *file; /* owns */
	struct llrph_error *error;
	unsigned int line; /* the one being looked at, from 1 */
	int code;          /* of the first complaint; 0: none yet */
};

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance: insertions, deletions and replacements that make a into b. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX + 1];
	size_t b_size = strlen(b);

	LLR_ASSERT(b_size <= WORD_MAX);
	for (unsigned int j = 0; j <= b_size; j++)
		row[j] = j;
	for (unsigned int i = 0; a[i] != '\0'; i++) {
		unsigned int diagonal = row[0];

		row[0] = i + 1;
		for (unsigned int j = 1; j <= b_size; j++) {
			unsigned int replaced = diagonal + (a[i] != b[j - 1]);

			diagonal = row[j];
			row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_size];
}

/* The option whose name is so near to word that it was probably meant; NULL: none. */
static const char *nearest(const char *word)
{
	const struct llr_config_option *options;
	unsigned int count = llr_config_options(&options);
	unsigned int best = DISTANCE_MAX + 1;
	const char *name = NULL;

	if (strlen(word) > WORD_MAX)
		return NULL;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int far = distance(word, options[i].name);

		if (far < best) {
			best = far;
			name = options[i].name;
		}
	}
	return name;
}

static int complain(struct reading *reading, const char *what, const char *word, const char *mend)
{
	if (reading->code == 0)
		reading->code = llr_error_set(reading->error, -EINVAL, "%.100s:%u: %s '%.40s'%s",
					      reading->path, reading->line, what, word, mend);
	return 0;
}

static int complain_unknown(struct reading *reading, const char *name)
{
	const char *meant = nearest(name);
	char mend[80];

	if (meant == NULL)
		(void)snprintf(mend, sizeof(mend), ": see llrph serve --help for the options");
	else
		(void)snprintf(mend, sizeof(mend), ": did you mean %.40s?", meant);
	return complain(reading, "no option", name, mend);
}

/* inih's handler: 0 says that this was an error, and it goes on all the same. */
static int handle(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;
	const struct llr_config_option *options;
	unsigned int count = llr_config_options(&options);
	char where[160];
	struct llr_config_origin origin = {LLR_CONFIG_FILE, where, reading->error};

	if (reading->code != 0)
		return 0;
	if (strcmp(section, SECTION) != 0)
		return complain(reading, "option outside of [" SECTION "]:", name,
				": write [" SECTION "] above it");
	(void)snprintf(where, sizeof(where), "%.100s:%u: %.32s", reading->path, reading->line,
		       name);
	for (unsigned int i = 0; i < count; i++) {
		if (strcmp(options[i].name, name) != 0)
			continue;
		if (strcmp(name, "config") == 0)
			return complain(reading, "a file can't name another:", value,
					": give it on the command line");
		reading->code = llr_config_set_from(reading->config, i, value, &origin);
		return reading->code == 0;
	}
	return complain_unknown(reading, name);
}

/* Looks at a line before inih does. */
static void inspect(struct reading *reading, char *line)
{
	size_t blank = strspn(line, " \t");
	char *name = line + blank;

	if (*name == '[' && (strncmp(name, "[" SECTION "]", sizeof(SECTION) + 1) != 0)) {
		name[strcspn(name, "\r\n")] = '\0';
		(void)complain(reading, "no section", name,
			       ": "
			       "[" SECTION "] is the only one");
	}
	/* A value that begins a line would silently continue the one above. */
	if (blank != 0)
		memmove(line, name, strlen(name) + 1);
}

/* inih's reader; as fgets. */
static char *read_line(char *line, int size, void *stream)
{
	struct reading *reading = stream;

	if (reading->code != 0 || fgets(line, size, reading->file) == NULL)
		return NULL;
	reading->line++;
	if (strchr(line, '\n') == NULL && !feof(reading->file)) {
		(void)complain(reading, "a line longer than inih reads:", line,
			       ": break lists up, one endpoint or service a line");
		return NULL;
	}
	inspect(reading, line);
	return reading->code == 0 ? line : NULL;
}

int llr_config_read_file(struct llr_config *config, const char *path, struct llrph_error *error)
{
	struct reading reading = {.config = config, .path = path, .error = error};
	int line;

	reading.file = fopen(path, "re");
	if (reading.file == NULL)
		return llr_error_set(error, -errno, "--config %.160s: %s", path, strerror(errno));
	line = ini_parse_stream(read_line, &reading, handle, &reading);
	if (reading.code == 0 && ferror(reading.file) != 0)
		reading.code = llr_error_set(error, -EIO,
					     "--config %.160s: can't be read: is it "
					     "a file?",
					     path);
	if (reading.code == 0 && line != 0) {
		reading.line = line > 0 ? (unsigned int)line : 0;
		(void)complain(&reading, "neither section nor option = value:", "",
			       ": mend that line");
	}
	(void)fclose(reading.file);
	return reading.code;
}
