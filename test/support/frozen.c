/* SPDX-License-Identifier: MIT */
/*
 * Test programs are linked with --wrap for each function below, so that every call from our code
 * comes here first: after llr_freeze() it ends the process, with a line that names the function.
 * Calls inside libc (a printf's, say) do not come here. Any thread; owns nothing.
 */
#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check(const char *function)
{
	char line[128];
	int size;

	if (!llr_is_frozen())
		return;
	size = snprintf(line, sizeof(line), "llrph: %s called after the freeze\n", function);
	if (write(STDERR_FILENO, line, (size_t)size) < 0)
		abort();
	abort();
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	check("malloc");
	return __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	check("calloc");
	return __real_calloc(count, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
	check("realloc");
	return __real_realloc(memory, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	check("aligned_alloc");
	return __real_aligned_alloc(alignment, size);
}

int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
	check("posix_memalign");
	return __real_posix_memalign(memory, alignment, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	check("strdup");
	return __real_strdup(text);
}

char *__real_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size)
{
	check("strndup");
	return __real_strndup(text, size);
}

int __real_vasprintf(char **text, const char *format, va_list arguments);
int __wrap_vasprintf(char **text, const char *format, va_list arguments)
	__attribute__((format(printf, 2, 0)));
int __wrap_vasprintf(char **text, const char *format, va_list arguments)
{
	check("vasprintf");
	return __real_vasprintf(text, format, arguments);
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list arguments;
	int size;

	check("asprintf");
	va_start(arguments, format);
	size = __real_vasprintf(text, format, arguments);
	va_end(arguments);
	return size;
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	check("mmap");
	return __real_mmap(at, size, protection, flags, fd, offset);
}

/* What <sys/mman.h> makes of mmap where off_t has 64 bits. */
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	check("mmap");
	return __real_mmap64(at, size, protection, flags, fd, offset);
}

/* The fifth argument counts only with MREMAP_FIXED; passing it on always is harmless. */
void *__real_mremap(void *memory, size_t size, size_t new_size, int flags, ...);
void *__wrap_mremap(void *memory, size_t size, size_t new_size, int flags, void *at);
void *__wrap_mremap(void *memory, size_t size, size_t new_size, int flags, void *at)
{
	check("mremap");
	return __real_mremap(memory, size, new_size, flags, at);
}

int __real_brk(void *end);
int __wrap_brk(void *end);
int __wrap_brk(void *end)
{
	check("brk");
	return __real_brk(end);
}

void *__real_sbrk(intptr_t step);
void *__wrap_sbrk(intptr_t step);
void *__wrap_sbrk(intptr_t step)
{
	check("sbrk");
	return __real_sbrk(step);
}
