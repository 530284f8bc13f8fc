/* SPDX-License-Identifier: MIT */
/*
 * Bytes that end at a page nobody may touch, so that a parser which reads one too many dies.
 */
#ifndef TEST_SUPPORT_GUARD_H
#define TEST_SUPPORT_GUARD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_SIZE 65536U

/* A copy of size bytes whose last byte is the last before the guard; overwritten by the next. */
static inline uint8_t *guard_copy(const void *bytes, size_t size)
{
	static uint8_t *pages;

	if (pages == NULL) {
		pages = mmap(NULL, GUARD_SIZE + 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pages == MAP_FAILED || mprotect(pages + GUARD_SIZE, 4096, PROT_NONE) != 0 ||
		    size > GUARD_SIZE)
			abort();
	}
	if (size > 0)
		memcpy(pages + GUARD_SIZE - size, bytes, size);
	return pages + GUARD_SIZE - size;
}

#endif
