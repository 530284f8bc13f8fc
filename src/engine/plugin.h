/* SPDX-License-Identifier: MIT */
/*
 * Services by the name that a user typed: a built-in one, or a shared object that exports
 * `const struct llrph_service llrph_service`. Its table is checked here, once, before anybody
 * trusts it; its open function is the worker's to call.
 *
 * Thread: set-up's. A shared object stays loaded until the process ends.
 */
#ifndef LLR_ENGINE_PLUGIN_H
#define LLR_ENGINE_PLUGIN_H

#include <llrph/service.h>

#include <stdbool.h>

struct llr_plugin {
	const struct llrph_service *service; /* borrows: of the program or the shared object */
	const char *options;                 /* borrows: of what was typed; "" if none */
	bool loaded; /* a shared object: what it takes is not in base/memory.h's lines */
};

/* The nth built-in service, from 0; NULL: there are not so many. They live on the floor above. */
typedef const struct llrph_service *(*llr_plugin_builtin_fn)(unsigned int index);

/*
 * typed: "NAME[:OPTIONS]" or "PATH.so[:OPTIONS]"; a path has a slash or ends in ".so", and no
 * colon. 0; -ENOENT no such service or file; -EINVAL no table, another ABI, or a table that makes
 * no sense; error names the mend.
 */
int llr_plugin_load(struct llr_plugin *plugin, const char *typed, llr_plugin_builtin_fn builtin_at,
		    struct llrph_error *error);

/*
 * All of them together: no service twice, at most LLR_METHODS_MAX methods, and one worker alone
 * where one keeps a single state. 0; -EINVAL.
 */
int llr_plugins_check(const struct llr_plugin *plugins, unsigned int count, unsigned int workers,
		      struct llrph_error *error);

/* True if what a service remembers is lost with its worker: sessions end then. */
bool llr_plugins_lose_state(const struct llr_plugin *plugins, unsigned int count);

#endif
