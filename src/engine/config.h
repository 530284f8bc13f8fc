/* SPDX-License-Identifier: MIT */
/*
 * What `llrph serve` was asked to do: one table of options, which the command line, the file of
 * --config and --help are read and made from.
 *
 *   llr_config_init → llr_config_read_file → llr_config_set for each option typed
 *   → llr_config_check
 *
 * The command line wins, for it is read last: what it says replaces what the file said, all
 * endpoints or all services too. Within one source an option is given once, but for those that
 * repeat.
 *
 * Thread: set-up's. Everything lies in the struct; nothing is allocated.
 */
#ifndef LLR_ENGINE_CONFIG_H
#define LLR_ENGINE_CONFIG_H

#include "base/limits.h"
#include "transport/address.h"

#include <llrph/engine.h>

#define LLR_CONFIG_SERVICE_SIZE 1024U /* "PATH.so:OPTIONS", NUL included */
#define LLR_CONFIG_LIST_SIZE    2048U /* --allow and --shm-uid, NUL included */
#define LLR_CONFIG_OPTIONS_MAX  32U

enum llr_config_source {
	LLR_CONFIG_UNSET,
	LLR_CONFIG_FILE,
	LLR_CONFIG_TYPED, /* on the command line: stronger */
};

enum llr_config_idle { LLR_IDLE_DEFAULT, LLR_IDLE_SPIN, LLR_IDLE_PARK };

/* Zeros in numbers mean the default, as in struct llrph_engine_options. */
struct llr_config {
	struct llr_uri listen[LLR_LISTENERS_MAX];
	char services[LLR_SERVICES_MAX][LLR_CONFIG_SERVICE_SIZE]; /* as typed */
	unsigned int listen_count;
	unsigned int service_count;
	unsigned int cpu_count;
	uint16_t cpus[LLR_WORKERS_MAX];
	uint32_t workers;
	uint32_t idle; /* enum llr_config_idle; never DEFAULT after llr_config_check */
	uint32_t window;
	uint32_t max_message;
	uint32_t sessions;
	uint32_t session_memory;
	uint32_t connections;
	uint32_t lanes;
	uint32_t shm_mode;
	uint32_t hugepages;
	uint32_t sessionless;
	char name[LLR_SHM_NAME_MAX + 1];
	char trust[8]; /* "own", "all" or "none"; filled by llr_config_check */
	char allow_text[LLR_CONFIG_LIST_SIZE];   /* "": all */
	struct llr_allow allow;                  /* the same, parsed */
	char shm_uids[LLR_CONFIG_LIST_SIZE];     /* "": mode bits alone decide */
	uint8_t sources[LLR_CONFIG_OPTIONS_MAX]; /* enum llr_config_source, for each of the table */
};

struct llr_config_option {
	const char *name;     /* without dashes; also the key in a file */
	const char *argument; /* as --help shows it; NULL: a flag */
	const char *help;
};

/* The table, for --help and getopt; returns the count. */
unsigned int llr_config_options(const struct llr_config_option **table);

void llr_config_init(struct llr_config *config);

/* Where a value came from, for config_file.c. */
struct llr_config_origin {
	enum llr_config_source source;
	const char *where;         /* borrows; stands before each complaint */
	struct llrph_error *error; /* borrows */
};
/* index: in the table. 0; -EINVAL. */
int llr_config_set_from(struct llr_config *config, unsigned int index, const char *text,
			const struct llr_config_origin *origin);

/*
 * One option from the command line; value NULL for a flag. 0; -EINVAL with one line that names
 * what was typed and the mend.
 */
int llr_config_set(struct llr_config *config, const char *name, const char *value,
		   struct llrph_error *error);
/* The file's [server] section. 0; -EINVAL "FILE:LINE: ..."; -ENOENT, -EACCES, ... as fopen. */
int llr_config_read_file(struct llr_config *config, const char *path, struct llrph_error *error);
/* The whole: what is missing, what contradicts; fills defaults of name, workers and idle. No
 * --listen is no error yet: a service manager may hand endpoints down. */
int llr_config_check(struct llr_config *config, struct llrph_error *error);

/* The engine's part; the texts are borrowed from config. */
void llr_config_engine_options(const struct llr_config *config,
			       struct llrph_engine_options *engine);

#endif
