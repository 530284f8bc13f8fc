/* SPDX-License-Identifier: MIT */
/*
 * Makes a man page from its template: copies standard input to standard output, with a line
 * ".\" TABLE errors" (statuses, counters, transport) replaced by the list that its table gives. So
 * the pages say what the code does. Run by the build; thread: its only one.
 */
#include "request/counters.h"
#include "transport/transport.h"

#include <llrph/error.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK ".\\\" TABLE "

static void put_lower(const char *name)
{
	for (; *name != '\0'; name++)
		(void)putchar(tolower((unsigned char)*name));
}

static void put_error(const char *name, const char *code, int http, bool retry, const char *text)
{
	(void)printf(".It Dv LLRPH_E_%s Pq \\-%s\n%s.\n.br\nIn reports\n.Ql ", name, code, text);
	put_lower(name);
	(void)printf(" ;\nHTTP status %d; %s.\n", http,
		     retry ? "a retry makes sense" : "not to be retried");
}

static void put_errors(void)
{
#define PUT_ERROR(name, code, http, retry, text) put_error(#name, #code, http, retry, text);
	LLRPH_ERROR_TABLE(PUT_ERROR)
#undef PUT_ERROR
}

static void put_statuses(void)
{
#define PUT_STATUS(name, status, retry, text)                                                      \
	(void)printf(".It %d Dv LLRPH_STATUS_%s\n%s.\n%s.\n", status, #name, text,                 \
		     (retry) ? "A retry makes sense" : "Not to be retried");
	LLRPH_STATUS_TABLE(PUT_STATUS)
#undef PUT_STATUS
}

#define PUT_COUNTER(name, text) (void)printf(".It Va %s\n%s\n", #name, text);

static void put_counters(void)
{
	LLR_COUNTER_TABLE(PUT_COUNTER)
}

static void put_transport(void)
{
	LLR_TRANSPORT_COUNTER_TABLE(PUT_COUNTER)
}

static const struct {
	const char *name;
	void (*put)(void);
} tables[] = {
	{"errors\n", put_errors},
	{"statuses\n", put_statuses},
	{"counters\n", put_counters},
	{"transport\n", put_transport},
};

/* False: there is no such table. */
static bool put_table(const char *name)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(name, tables[i].name) == 0) {
			tables[i].put();
			return true;
		}
	}
	return false;
}

int main(void)
{
	char line[512];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (strncmp(line, MARK, strlen(MARK)) != 0) {
			(void)fputs(line, stdout);
		} else if (!put_table(line + strlen(MARK))) {
			(void)fprintf(stderr, "tables: no table %s", line + strlen(MARK));
			return EXIT_FAILURE;
		}
	}
	return ferror(stdin) || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
