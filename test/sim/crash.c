/* SPDX-License-Identifier: MIT */
/*
 * Counting the worker's steps down to its death. Runs on the simulator's only thread, within the
 * worker's code; this file alone must not be compiled with the coverage flag.
 */
#include "crash.h"

#include "base/assert.h"

jmp_buf sim_crash_exit;

static struct {
	uint64_t steps;
	uint64_t deadly; /* dies at this step; 0: never */
	bool running;
} crash;

void sim_crash_arm(uint64_t steps)
{
	crash.steps = 0;
	crash.deadly = steps;
}

void sim_crash_disarm(void)
{
	crash.deadly = 0;
}

void sim_crash_begin(void)
{
	LLR_ASSERT(!crash.running);
	crash.running = true;
}

void sim_crash_end(void)
{
	LLR_ASSERT(crash.running);
	crash.running = false;
}

uint64_t sim_crash_steps(void)
{
	return crash.steps;
}

void sim_crash_point(void)
{
	if (!crash.running || ++crash.steps != crash.deadly)
		return;
	crash.running = false;
	crash.deadly = 0;
	longjmp(sim_crash_exit, 1);
}

/* Called by the compiler's instrumentation; which of them depends on compiler and sanitizer. */
#define CRASH_POINT(name)                                                                          \
	void name(void *);                                                                         \
	void name(void *address)                                                                   \
	{                                                                                          \
		(void)address;                                                                     \
		sim_crash_point();                                                                 \
	}
#define NO_CRASH_POINT(name)                                                                       \
	void name(void *);                                                                         \
	void name(void *address)                                                                   \
	{                                                                                          \
		(void)address;                                                                     \
	}

/* Nothing that is shared changes by a load or a return. */
CRASH_POINT(__tsan_func_entry)
CRASH_POINT(__tsan_write1)
CRASH_POINT(__tsan_write2)
CRASH_POINT(__tsan_write4)
CRASH_POINT(__tsan_write8)
CRASH_POINT(__tsan_write16)
CRASH_POINT(__tsan_unaligned_write2)
CRASH_POINT(__tsan_unaligned_write4)
CRASH_POINT(__tsan_unaligned_write8)
CRASH_POINT(__tsan_unaligned_write16)
NO_CRASH_POINT(__tsan_func_exit)
NO_CRASH_POINT(__tsan_read1)
NO_CRASH_POINT(__tsan_read2)
NO_CRASH_POINT(__tsan_read4)
NO_CRASH_POINT(__tsan_read8)
NO_CRASH_POINT(__tsan_read16)
NO_CRASH_POINT(__tsan_unaligned_read2)
NO_CRASH_POINT(__tsan_unaligned_read4)
NO_CRASH_POINT(__tsan_unaligned_read8)
NO_CRASH_POINT(__tsan_unaligned_read16)

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_read_range(void *address, long size);
void __tsan_read_range(void *address, long size)
{
	(void)address;
	(void)size;
}

void __tsan_write_range(void *address, long size);
void __tsan_write_range(void *address, long size)
{
	(void)address;
	(void)size;
	sim_crash_point();
}

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	sim_crash_point();
}
