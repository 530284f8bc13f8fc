/* SPDX-License-Identifier: MIT */
/*
 * Three classes of assertion, all of them on in every build.
 *
 * LLR_ASSERT      a programmer's error: arguments, results, invariants. Never bytes from outside.
 * LLR_ASSERT_HOT  the same on the request path; a build may switch it off after a measurement.
 * LLR_MUST        a set-up step whose failure is not yet met gracefully.
 */
#ifndef LLR_BASE_ASSERT_H
#define LLR_BASE_ASSERT_H

#include <stdbool.h>

_Noreturn void llr_assert_fail(const char *kind, const char *expression, const char *file,
			       int line);

#define LLR_CHECK_(kind, expression)                                                               \
	do {                                                                                       \
		if (__builtin_expect(!(expression), 0))                                            \
			llr_assert_fail(kind, #expression, __FILE__, __LINE__);                    \
	} while (false)

#define LLR_ASSERT(expression) LLR_CHECK_("assertion", expression)
#define LLR_MUST(expression)   LLR_CHECK_("set-up", expression)

#ifdef LLR_NO_ASSERT_HOT
#define LLR_ASSERT_HOT(expression) ((void)sizeof(!(expression)))
#else
#define LLR_ASSERT_HOT(expression) LLR_CHECK_("hot assertion", expression)
#endif

#endif
