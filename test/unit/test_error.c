/* SPDX-License-Identifier: MIT */
/*
 * Errors, statuses and routes: what the tables promise, and that one log call is one line.
 */
#include "base/assert.h"
#include "base/log.h"

#include <llrph/service.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_errors(void **state)
{
	(void)state;
	assert_string_equal(llrph_strerror(-EMSGSIZE), "message too large for this session");
	assert_string_equal(llrph_strerror(LLRPH_E_DEADLINE), llrph_strerror(-ETIMEDOUT));
	assert_string_equal(llrph_strerror(0), "unknown error");
	assert_string_equal(llrph_strerror(-EXDEV), "unknown error");
	assert_true(llrph_error_may_retry(-EAGAIN));
	assert_false(llrph_error_may_retry(-ECONNABORTED));
	assert_false(llrph_error_may_retry(-EXDEV));
	assert_int_equal(llrph_error_http(-ETIMEDOUT), 504);
	assert_int_equal(llrph_error_http(-EXDEV), 500);
}

/* No code stands for two errors, no status twice; texts are there and are one line. */
static void test_tables(void **state)
{
	static const int codes[] = {
#define CODE(name, code, http, retry, text) (code),
		LLRPH_ERROR_TABLE(CODE)
#undef CODE
	};
	static const unsigned int statuses[] = {
#define STATUS(name, status, retry, text) (status),
		LLRPH_STATUS_TABLE(STATUS)
#undef STATUS
	};
	size_t code_count = sizeof(codes) / sizeof(codes[0]);
	size_t status_count = sizeof(statuses) / sizeof(statuses[0]);

	(void)state;
	for (size_t i = 0; i < code_count; i++) {
		assert_true(codes[i] > 0);
		assert_true(strlen(llrph_strerror(-codes[i])) > 8);
		assert_null(strchr(llrph_strerror(-codes[i]), '\n'));
		for (size_t j = i + 1; j < code_count; j++)
			assert_int_not_equal(codes[i], codes[j]);
	}
	for (size_t i = 0; i < status_count; i++) {
		assert_string_not_equal(llrph_status_text(statuses[i]), "declared by the method");
		for (size_t j = i + 1; j < status_count; j++)
			assert_int_not_equal(statuses[i], statuses[j]);
	}
}

static void test_statuses(void **state)
{
	(void)state;
	assert_string_equal(llrph_status_text(404), "no such method");
	assert_string_equal(llrph_status_text(418), "declared by the method");
	for (unsigned int status = 0; status < 1000; status++)
		assert_int_equal(llrph_status_may_retry(status),
				 status == 401 || status == 429 || status == 503);
}

static void test_route(void **state)
{
	(void)state;
	/* Test vectors of FNV's authors. */
	assert_int_equal(llrph_route(""), 0x811c9dc5U);
	assert_int_equal(llrph_route("a"), 0xe40c292cU);
	assert_int_equal(llrph_route("foobar"), 0xbf9cf968U);
	assert_int_equal(llrph_route("\xff"), (0x811c9dc5U ^ 0xFFU) * 16777619U);
}

static void test_error_set(void **state)
{
	struct llrph_error error;
	char name[400];

	(void)state;
	assert_int_equal(llr_error_set(NULL, -EINVAL, "nobody reads this"), -EINVAL);
	assert_int_equal(llr_error_set(&error, -ENOENT, "%s: no such file", "x.conf"), -ENOENT);
	assert_string_equal(error.text, "x.conf: no such file");

	(void)llr_error_set(&error, -ENOENT, "bad name \"a\nb\033\"");
	assert_string_equal(error.text, "bad name \"a?b?\"");

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)llr_error_set(&error, -ENOENT, "%s", name);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

/* Runs body in a child and reads what it writes to standard error; returns its wait status. */
static int stderr_of(void (*body)(void), char *text, size_t size)
{
	const struct rlimit none = {0, 0};
	size_t have = 0;
	ssize_t got;
	int ends[2];
	int status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGABRT, SIG_DFL);
		if (dup2(ends[1], STDERR_FILENO) < 0)
			_exit(3);
		body();
		_exit(0);
	}
	(void)close(ends[1]);
	while (have < size - 1 && (got = read(ends[0], text + have, size - 1 - have)) > 0)
		have += (size_t)got;
	text[have] = '\0';
	(void)close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void body_log(void)
{
	llr_log("ready");
	llr_log_tag("worker 3");
	errno = EXDEV;
	llr_log("two\nlines, %d", 7);
	llr_log_tag(NULL);
	llr_log("errno %s", errno == EXDEV ? "kept" : "lost");
}

static void body_log_long(void)
{
	char name[5000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	llr_log("%s", name);
}

static void body_assert(void)
{
	LLR_ASSERT(1 + 1 == 3);
}

static void test_log(void **state)
{
	char text[4096];
	int status = stderr_of(body_log, text, sizeof(text));

	(void)state;
	assert_true(WIFEXITED(status));
	assert_string_equal(text, "llrph: ready\n"
				  "llrph[worker 3]: two?lines, 7\n"
				  "llrph: errno kept\n");
}

static void test_log_long(void **state)
{
	char text[8192];
	int status = stderr_of(body_log_long, text, sizeof(text));

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(strlen(text), 1024);
	assert_ptr_equal(strchr(text, '\n'), text + 1023);
}

static void test_assert(void **state)
{
	char text[4096];
	int status = stderr_of(body_assert, text, sizeof(text));

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, "llrph: assertion failed: 1 + 1 == 3 ("));
	assert_non_null(strstr(text, "test_error.c:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),    cmocka_unit_test(test_tables),
		cmocka_unit_test(test_statuses),  cmocka_unit_test(test_route),
		cmocka_unit_test(test_error_set), cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_long),  cmocka_unit_test(test_assert),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
