/* SPDX-License-Identifier: MIT */
/*
 * What the error and status tables of <llrph/error.h> say about one code, and a method's route.
 * Any thread; constant data alone.
 */
#include <llrph/error.h>
#include <llrph/service.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct error_row {
	const char *text; /* constant */
	int code;         /* as functions return it: negative */
	int http;
	bool may_retry;
};

static const struct error_row error_rows[] = {
#define ROW(name, code, http, retry, text) {(text), -(code), (http), (retry)},
	LLRPH_ERROR_TABLE(ROW)
#undef ROW
};

struct status_row {
	const char *text; /* constant */
	unsigned int status;
	bool may_retry;
};

static const struct status_row status_rows[] = {
#define ROW(name, status, retry, text) {(text), (status), (retry)},
	LLRPH_STATUS_TABLE(ROW)
#undef ROW
};

static const struct error_row *find_error(int code)
{
	for (size_t i = 0; i < COUNT_OF(error_rows); i++) {
		if (error_rows[i].code == code)
			return &error_rows[i];
	}
	return NULL;
}

static const struct status_row *find_status(unsigned int status)
{
	for (size_t i = 0; i < COUNT_OF(status_rows); i++) {
		if (status_rows[i].status == status)
			return &status_rows[i];
	}
	return NULL;
}

const char *llrph_strerror(int code)
{
	const struct error_row *row = find_error(code);

	return row != NULL ? row->text : "unknown error";
}

bool llrph_error_may_retry(int code)
{
	const struct error_row *row = find_error(code);

	return row != NULL && row->may_retry;
}

int llrph_error_http(int code)
{
	const struct error_row *row = find_error(code);

	return row != NULL ? row->http : 500;
}

const char *llrph_status_text(unsigned int status)
{
	const struct status_row *row = find_status(status);

	return row != NULL ? row->text : "declared by the method";
}

bool llrph_status_may_retry(unsigned int status)
{
	const struct status_row *row = find_status(status);

	return row != NULL && row->may_retry;
}

uint32_t llrph_route(const char *method)
{
	uint32_t hash = 2166136261U;

	for (; *method != '\0'; method++) {
		hash ^= (unsigned char)*method;
		hash *= 16777619U;
	}
	return hash;
}
