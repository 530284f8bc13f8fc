/* SPDX-License-Identifier: MIT */
/*
 * Text of unknown origin, made fit for a terminal or for JSON. Pure but for the stream.
 */
#ifndef LLR_BASE_TEXT_H
#define LLR_BASE_TEXT_H

#include <stdio.h>

/* Prints UTF-8; control characters, and what is no UTF-8, become '?'. */
void llr_text_put(FILE *out, const char *text);
/* Prints a JSON string, quotes included; what is no UTF-8 becomes U+FFFD. */
void llr_text_put_json(FILE *out, const char *text);

#endif
