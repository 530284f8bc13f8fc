/* SPDX-License-Identifier: MIT */
/*
 * Memory: pages and their arithmetic; and that the freeze really ends a test program that allocates
 * after it, for each function, from each way in. Freezing happens in children: it has no way back.
 */
#include "base/memory.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static size_t line_size(const char *what)
{
	const struct llr_memory_line *lines;
	unsigned int count = llr_memory_lines(&lines);

	for (unsigned int i = 0; i < count; i++) {
		if (strcmp(lines[i].what, what) == 0)
			return lines[i].size;
	}
	return 0;
}

static void test_map(void **state)
{
	size_t total = llr_memory_total();
	uint8_t *first = llr_memory_map(8192, "test pages");
	uint8_t *second = llr_memory_map(4096, "test pages");

	(void)state;
	assert_non_null(first);
	assert_non_null(second);
	for (size_t i = 0; i < 8192; i++)
		assert_int_equal(first[i], 0);
	first[8191] = 1;
	assert_int_equal(line_size("test pages"), 12288);
	assert_int_equal(llr_memory_total(), total + 12288);
	llr_memory_unmap(first, 8192);
	llr_memory_unmap(second, 4096);
	llr_memory_unmap(NULL, 0);
}

static void test_map_shared(void **state)
{
	int status;
	uint8_t *page = llr_memory_map_shared(4096, "test shared");
	pid_t child;

	(void)state;
	assert_non_null(page);
	assert_int_equal(page[0], 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		page[0] = 42;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(page[0], 42);
	llr_memory_unmap(page, 4096);
}

static void test_map_too_much(void **state)
{
	size_t total = llr_memory_total();

	(void)state;
	errno = 0;
	assert_null(llr_memory_map(SIZE_MAX / 2, "test too much"));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(line_size("test too much"), 0);
	assert_int_equal(llr_memory_total(), total);
}

/* Volatile, so that no compiler drops an allocation that is not used. */
static void *volatile kept;

static void call_malloc(void)
{
	kept = malloc(1);
}

static void call_calloc(void)
{
	kept = calloc(1, 1);
}

static void call_realloc(void)
{
	kept = realloc(NULL, 1);
}

static void call_aligned_alloc(void)
{
	kept = aligned_alloc(64, 64);
}

static void call_posix_memalign(void)
{
	void *memory = NULL;

	if (posix_memalign(&memory, 64, 64) == 0)
		kept = memory;
}

static void call_strdup(void)
{
	const char *volatile text = "text"; /* volatile: or the compiler makes a malloc of it */

	kept = strdup(text);
}

static void call_strndup(void)
{
	const char *volatile text = "text";

	kept = strndup(text, 2);
}

static void call_asprintf(void)
{
	char *text;

	if (asprintf(&text, "%d", getpid()) > 0)
		kept = text;
}

static void call_mmap(void)
{
	kept = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void call_memory_map(void)
{
	kept = llr_memory_map(4096, "test frozen");
}

static void call_sbrk(void)
{
	kept = sbrk(0);
}

typedef void (*call_fn)(void);

static const call_fn calls[] = {
	call_malloc,         call_calloc, call_realloc,    call_aligned_alloc,
	call_posix_memalign, call_strdup, call_strndup,    call_asprintf,
	call_mmap,           call_sbrk,   call_memory_map,
};

/* Runs body in a child without core dump or noise; returns its wait status. */
static int in_child(void (*body)(call_fn), call_fn call)
{
	const struct rlimit none = {0, 0};
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGABRT, SIG_DFL); /* cmocka's handler would go on in the child */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(3);
		body(call);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void body_frozen(call_fn call)
{
	llr_freeze();
	call();
}

static void body_thawed(call_fn call)
{
	llr_freeze();
	llr_thaw_begin();
	llr_thaw_begin();
	llr_thaw_end();
	call(); /* still thawed: it nests */
	llr_thaw_end();
}

static void body_frozen_again(call_fn call)
{
	llr_freeze();
	llr_thaw_begin();
	llr_thaw_end();
	call();
}

static void *other_thread(void *argument)
{
	const call_fn *call = argument;

	(*call)();
	return NULL;
}

/* One thread's thaw does not cover another. */
static void body_other_thread(call_fn call)
{
	pthread_t thread;

	llr_freeze();
	llr_thaw_begin();
	if (pthread_create(&thread, NULL, other_thread, &call) == 0)
		(void)pthread_join(thread, NULL);
}

static void test_freeze(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int status = in_child(body_frozen, calls[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
	}
}

static void test_thaw(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int status = in_child(body_thawed, calls[i]);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void test_freeze_again(void **state)
{
	int status = in_child(body_frozen_again, call_malloc);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_thaw_is_the_threads(void **state)
{
	int status = in_child(body_other_thread, call_malloc);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_not_frozen_here(void **state)
{
	(void)state;
	assert_false(llr_is_frozen());
}

/* Last, for it fills the table: what does not fit is still counted. */
static void test_many_lines(void **state)
{
	static char names[100][16];
	size_t total = llr_memory_total();
	const struct llr_memory_line *lines;
	size_t sum = 0;
	unsigned int count;

	(void)state;
	for (int i = 0; i < 100; i++) {
		void *page;

		(void)snprintf(names[i], sizeof(names[i]), "test %d", i);
		page = llr_memory_map(4096, names[i]);
		assert_non_null(page);
		llr_memory_unmap(page, 4096);
	}
	count = llr_memory_lines(&lines);
	assert_string_equal(lines[count - 1].what, "others");
	for (unsigned int i = 0; i < count; i++)
		sum += lines[i].size;
	assert_int_equal(sum, total + (size_t)100 * 4096);
	assert_int_equal(llr_memory_total(), sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_map_shared),
		cmocka_unit_test(test_map_too_much),
		cmocka_unit_test(test_freeze),
		cmocka_unit_test(test_thaw),
		cmocka_unit_test(test_freeze_again),
		cmocka_unit_test(test_thaw_is_the_threads),
		cmocka_unit_test(test_not_frozen_here),
		cmocka_unit_test(test_many_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
