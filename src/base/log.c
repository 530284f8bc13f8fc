/* SPDX-License-Identifier: MIT */
/*
 * Lines of text for people: the log, and what set-up failures say. Any thread may log; the tag is
 * set once a process, by the thread that starts it. Owns nothing but the tag's pointer.
 *
 * Invariant: one call is one line and one write(2), so that lines of several processes do not mix;
 * bytes that would break a line or a terminal (a name from outside may hold them) become '?'.
 */
#include "base/log.h"
#include "base/assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 1024U

static const char *log_tag; /* borrows; NULL: none */

void llr_log_tag(const char *tag)
{
	log_tag = tag;
}

/* UTF-8 passes; control characters do not. */
static void make_one_line(char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
	}
}

/* Bytes in a buffer of room bytes after snprintf returned result: it counts what it cut off too. */
static size_t text_size(int result, size_t room)
{
	LLR_ASSERT(room > 0);
	if (result < 0)
		return 0;
	return (size_t)result < room ? (size_t)result : room - 1;
}

void llr_log(const char *format, ...)
{
	int code = errno;
	char line[LINE_SIZE];
	size_t size;
	va_list arguments;

	if (log_tag != NULL)
		size = text_size(snprintf(line, sizeof(line), "llrph[%s]: ", log_tag),
				 sizeof(line));
	else
		size = text_size(snprintf(line, sizeof(line), "llrph: "), sizeof(line));

	va_start(arguments, format);
	size += text_size(vsnprintf(line + size, sizeof(line) - size, format, arguments),
			  sizeof(line) - size);
	va_end(arguments);

	make_one_line(line);
	line[size++] = '\n'; /* takes the place of the NUL */

	/* There is nobody left to tell if this fails. */
	while (write(STDERR_FILENO, line, size) < 0 && errno == EINTR)
		continue;
	errno = code;
}

int llr_error_set(struct llrph_error *error, int code, const char *format, ...)
{
	va_list arguments;

	LLR_ASSERT(code < 0);
	if (error == NULL)
		return code;
	va_start(arguments, format);
	if (vsnprintf(error->text, sizeof(error->text), format, arguments) < 0)
		error->text[0] = '\0';
	va_end(arguments);
	make_one_line(error->text);
	return code;
}
