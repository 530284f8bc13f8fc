/* SPDX-License-Identifier: MIT */
/*
 * Where failed assertions end. Any thread; owns nothing. Does not return: what an assertion guards
 * is a programmer's error, and going on would only move the place where it shows.
 */
#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void llr_assert_fail(const char *kind, const char *expression, const char *file, int line)
{
	int code = errno;

	llr_log("%s failed: %s (%s:%d; errno %d: %s)", kind, expression, file, line, code,
		strerror(code));
	abort();
}
