/* SPDX-License-Identifier: MIT */
/*
 * One line each on standard error, "llrph: " or "llrph[worker 0]: " before it. Never on the
 * request path. Blocks as write(2) on standard error does.
 */
#ifndef LLR_BASE_LOG_H
#define LLR_BASE_LOG_H

#include <llrph/error.h>

void llr_log_tag(const char *tag); /* borrowed constant or static text; NULL: none */
void llr_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fills error (which may be NULL) and returns code, so that a failing step is one line. */
int llr_error_set(struct llrph_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
