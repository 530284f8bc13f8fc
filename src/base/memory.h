/* SPDX-License-Identifier: MIT */
/*
 * Memory is taken at start, for a named purpose, and then frozen.
 *
 * llr_memory_map and _shared are the only ways to take large memory; each adds a line to the
 * arithmetic that `serve` prints. After llr_freeze() in test builds any malloc, calloc, realloc,
 * mmap or brk aborts, but between llr_thaw_begin() and llr_thaw_end(): attaching a shared-memory
 * client maps the lane that it brings, which is the one thing that cannot be taken before.
 *
 * Thread: any that sets something up. Freezing is the process's, thawing the calling thread's.
 */
#ifndef LLR_BASE_MEMORY_H
#define LLR_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed private pages; NULL with errno set. what: a few words for the arithmetic, constant text.
 */
void *llr_memory_map(size_t size, const char *what);
/* Zeroed pages that children of fork share; NULL with errno set. */
void *llr_memory_map_shared(size_t size, const char *what);
void llr_memory_unmap(void *memory, size_t size);

struct llr_memory_line {
	const char *what;
	size_t size; /* bytes, all mappings of that purpose together */
};
/* What was taken so far, also if it was given back since; returns the count of lines and sets lines
 * to the library's own table. */
unsigned int llr_memory_lines(const struct llr_memory_line **lines);
size_t llr_memory_total(void);

void llr_freeze(void);
void llr_thaw_begin(void); /* nests */
void llr_thaw_end(void);
bool llr_is_frozen(void);

#endif
