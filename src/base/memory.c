/* SPDX-License-Identifier: MIT */
/*
 * Taking pages, the arithmetic of what was taken for what, and the freeze. Any thread that sets
 * something up may call it: the table has a lock, which the request path never takes. Owns the
 * table; the pages are their taker's.
 *
 * Invariant: lines are only added, and their sizes only grow.
 *
 * The freeze checks nothing here: test builds put wrappers around malloc, mmap and their kin (see
 * test/support/frozen.c), which ask llr_is_frozen(). Thawing is the calling thread's alone, so that
 * one which attaches a client does not hide what another does on the request path.
 */
#include "base/memory.h"
#include "base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define LINES_MAX 32U /* purposes; whatever comes after the table is full joins the last line */

static pthread_mutex_t lines_lock = PTHREAD_MUTEX_INITIALIZER;
static struct llr_memory_line lines_table[LINES_MAX]; /* under lines_lock */
static unsigned int lines_count;                      /* under lines_lock */

/* Read by the wrappers of any thread; publishes nothing, so relaxed is enough. */
static atomic_bool frozen;
static _Thread_local unsigned int thaw_depth;

static struct llr_memory_line *find_line_nolock(const char *what)
{
	for (unsigned int i = 0; i < lines_count; i++) {
		if (strcmp(lines_table[i].what, what) == 0)
			return &lines_table[i];
	}
	if (lines_count == LINES_MAX) {
		lines_table[LINES_MAX - 1].what = "others";
		return &lines_table[LINES_MAX - 1];
	}
	lines_table[lines_count].what = what;
	return &lines_table[lines_count++];
}

static void *map_pages(size_t size, int flags, const char *what)
{
	void *memory;

	LLR_ASSERT(size > 0);
	LLR_ASSERT(what != NULL);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	LLR_MUST(pthread_mutex_lock(&lines_lock) == 0);
	find_line_nolock(what)->size += size;
	LLR_MUST(pthread_mutex_unlock(&lines_lock) == 0);
	return memory;
}

void *llr_memory_map(size_t size, const char *what)
{
	return map_pages(size, MAP_PRIVATE, what);
}

void *llr_memory_map_shared(size_t size, const char *what)
{
	return map_pages(size, MAP_SHARED, what);
}

void llr_memory_unmap(void *memory, size_t size)
{
	if (memory == NULL)
		return;
	LLR_ASSERT(size > 0);
	LLR_MUST(munmap(memory, size) == 0);
}

unsigned int llr_memory_lines(const struct llr_memory_line **lines)
{
	unsigned int count;

	LLR_MUST(pthread_mutex_lock(&lines_lock) == 0);
	count = lines_count;
	LLR_MUST(pthread_mutex_unlock(&lines_lock) == 0);
	*lines = lines_table;
	return count;
}

size_t llr_memory_total(void)
{
	size_t total = 0;

	LLR_MUST(pthread_mutex_lock(&lines_lock) == 0);
	for (unsigned int i = 0; i < lines_count; i++)
		total += lines_table[i].size;
	LLR_MUST(pthread_mutex_unlock(&lines_lock) == 0);
	return total;
}

void llr_freeze(void)
{
	atomic_store_explicit(&frozen, true, memory_order_relaxed);
}

void llr_thaw_begin(void)
{
	thaw_depth++;
	LLR_ASSERT(thaw_depth != 0);
}

void llr_thaw_end(void)
{
	LLR_ASSERT(thaw_depth > 0);
	thaw_depth--;
}

bool llr_is_frozen(void)
{
	return atomic_load_explicit(&frozen, memory_order_relaxed) && thaw_depth == 0;
}
