/* SPDX-License-Identifier: MIT */
/*
 * What happened, in words: one line for each event, kept in a ring and printed when a property
 * fails (or at once with --trace). Off unless asked for: a run is a function of its seed, so that
 * a failing seed is simply run again with the trace on.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_trace_mode {
	SIM_TRACE_OFF,
	SIM_TRACE_KEEP, /* the last lines, for sim_trace_print_kept */
	SIM_TRACE_PRINT /* each line at once */
};

/* now_ns: borrowed, the virtual clock. */
void sim_trace_init(enum sim_trace_mode mode, const uint64_t *now_ns);
void sim_trace_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The frames of a datagram or of a run of a stream, as far as they can be read. */
void sim_trace_frames(const char *what, const char *from, const char *to, const uint8_t *bytes,
		      size_t size);
void sim_trace_print_kept(void);

extern enum sim_trace_mode sim_trace_mode;

/* Arguments are not even evaluated while it is off. */
#define SIM_TRACE(...)                                                                             \
	do {                                                                                       \
		if (__builtin_expect(sim_trace_mode != SIM_TRACE_OFF, 0))                          \
			sim_trace_line(__VA_ARGS__);                                               \
	} while (false)

#endif
