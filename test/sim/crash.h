/* SPDX-License-Identifier: MIT */
/*
 * The worker's death, at any instant: the simulator's stand-in for SIGKILL.
 *
 * The files of src/request and src/engine are compiled for the simulator with the compiler's thread
 * sanitizer pass, but without its run-time library: each store to memory, and each function's
 * entry, is preceded by a call of one of the functions at the end of crash.c. (Where another
 * sanitizer is on, -fsanitize-coverage=trace-pc calls at each basic block instead.) While a crash
 * is armed these calls count down, and at the last one the worker's stack is left by longjmp. What
 * was in the worker's own memory is abandoned as it is; what it shared stays as it was at that very
 * store: in the order that the compiler gave the stores, as a real SIGKILL would find it.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_CRASH_H
#define SIM_CRASH_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

/* Where a dead worker's stack is left to; set with setjmp by whoever runs the worker. */
extern jmp_buf sim_crash_exit;

/* From now on the worker runs; it dies at its steps-th step, counted while it runs; 0: never. */
void sim_crash_arm(uint64_t steps);
void sim_crash_disarm(void);
/* Brackets around the worker's code; nothing is counted outside of them. */
void sim_crash_begin(void);
void sim_crash_end(void);
/* A step that the simulator's own code adds: within the handler, between two datagrams sent. */
void sim_crash_point(void);
/* Steps counted since the last sim_crash_arm. */
uint64_t sim_crash_steps(void);

#endif
