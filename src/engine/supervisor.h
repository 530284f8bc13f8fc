/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: makes what must survive a worker, forks the workers, replaces those that die,
 * and ends them all when it is told to.
 */
#ifndef LLR_ENGINE_SUPERVISOR_H
#define LLR_ENGINE_SUPERVISOR_H

#include "engine/config.h"
#include "engine/plugin.h"

/*
 * Serves until SIGTERM or SIGINT, then drains; a second one ends at once. config is checked,
 * plugins are one for each of its services. The calling process must have one thread: it becomes
 * the supervisor, and its signals are handled here until the return.
 *
 * Prints memory and fallbacks on standard error, and "llrph: ready URI" for each endpoint on
 * standard output when all workers are ready.
 *
 * 0: stopped as told. -EINVAL: what was asked for makes no sense; other negative errno codes: it
 * failed; error has the line that says why.
 */
int llr_supervise(const struct llr_config *config, const struct llr_plugin *plugins,
		  struct llrph_error *error);

#endif
