/* SPDX-License-Identifier: MIT */
/*
 * The options of `llrph serve`: the table, a setter for each kind of value, and the checks that
 * need the whole. The file of --config is read in config_file.c.
 *
 * Thread: set-up's. Owns nothing beyond the caller's struct.
 */
#include "engine/config.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_DEFAULT  "llrph"
#define TRUST_DEFAULT "own"
#define SHOWN         "%.80s" /* a user's word inside a complaint: cut, for a line has 256 bytes */

/* One value on its way into one field. Everything is borrowed during the call. */
struct assignment {
	struct llr_config *config;
	const struct option_row *row;
	const char *where; /* "--workers", or "FILE:LINE: workers" */
	const char *text;
	struct llrph_error *error;
};

typedef int (*set_fn)(const struct assignment *set);

struct option_row {
	set_fn set;
	size_t offset; /* of the field in struct llr_config */
	uint64_t min;
	uint64_t max; /* of numbers; bytes of text, NUL included */
	bool repeats;
};

static int refuse(const struct assignment *set, const char *mend)
{
	return llr_error_set(set->error, -EINVAL, "%s '" SHOWN "': %s", set->where, set->text,
			     mend);
}

static uint32_t *number_field(const struct assignment *set)
{
	return (uint32_t *)(void *)((char *)set->config + set->row->offset);
}

static int set_within(const struct assignment *set, uint64_t value)
{
	if (value < set->row->min || value > set->row->max)
		return llr_error_set(set->error, -EINVAL,
				     "%s " SHOWN " is out of range: give %llu to %llu", set->where,
				     set->text, (unsigned long long)set->row->min,
				     (unsigned long long)set->row->max);
	*number_field(set) = (uint32_t)value;
	return 0;
}

/* Digits alone, without sign or spaces; *end is set behind them. False: none, or too many. */
static bool parse_digits(const char *text, int base, uint64_t *value, const char **end)
{
	char *stop;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &stop, base);
	*end = stop;
	return errno == 0;
}

static int set_count(const struct assignment *set)
{
	uint64_t value;
	const char *end;

	if (!parse_digits(set->text, 10, &value, &end) || *end != '\0')
		return refuse(set, "is not a whole number");
	return set_within(set, value);
}

static int set_size(const struct assignment *set)
{
	static const char units[] = "KMG";
	uint64_t value;
	const char *end;
	const char *unit;

	if (!parse_digits(set->text, 10, &value, &end) || value > UINT32_MAX)
		return refuse(set, "is not a size: give bytes, or a number with K, M or G");
	if (*end != '\0') {
		unit = strchr(units, *end);
		if (unit == NULL || end[1] != '\0')
			return refuse(set, "is not a size: give bytes, or a number with K, M or G");
		value <<= 10 * (unit - units + 1);
	}
	return set_within(set, value);
}

static int set_octal(const struct assignment *set)
{
	uint64_t value;
	const char *end;

	if (!parse_digits(set->text, 8, &value, &end) || *end != '\0')
		return refuse(set, "is not an octal mode: give permission bits, as in 0660");
	if (value < set->row->min || value > set->row->max)
		return refuse(set, "is out of range: give permission bits from 0001 to 0777");
	*number_field(set) = (uint32_t)value;
	return 0;
}

static int set_flag(const struct assignment *set)
{
	if (strcmp(set->text, "yes") != 0 && strcmp(set->text, "no") != 0)
		return refuse(set, "is neither yes nor no");
	*number_field(set) = strcmp(set->text, "yes") == 0;
	return 0;
}

static int set_idle(const struct assignment *set)
{
	if (strcmp(set->text, "spin") == 0)
		set->config->idle = LLR_IDLE_SPIN;
	else if (strcmp(set->text, "park") == 0)
		set->config->idle = LLR_IDLE_PARK;
	else
		return refuse(set, "is no way of waiting: give spin or park");
	return 0;
}

static int set_text(const struct assignment *set)
{
	size_t size = strlen(set->text) + 1;

	if (size == 1)
		return refuse(set, "is empty");
	if (size > set->row->max)
		return refuse(set, "is too long");
	memcpy((char *)set->config + set->row->offset, set->text, size);
	return 0;
}

static int set_trust(const struct assignment *set)
{
	if (strcmp(set->text, "own") != 0 && strcmp(set->text, "all") != 0 &&
	    strcmp(set->text, "none") != 0)
		return refuse(set, "is no trust: give own, all or none");
	return set_text(set);
}

static int set_name(const struct assignment *set)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	size_t size = strlen(set->text);

	if (size == 0 || size > LLR_SHM_NAME_MAX || set->text[0] == '.' ||
	    strspn(set->text, allowed) != size)
		return refuse(set, "is no name: give 1 to 48 letters, digits, '-', '_' and '.', "
				   "not beginning with a dot");
	return set_text(set);
}

/* Its caller reads the file before anything else; here it is only seen that it is named once. */
static int set_config(const struct assignment *set)
{
	return set->text[0] == '\0' ? refuse(set, "is no file's name") : 0;
}

static int set_allow(const struct assignment *set)
{
	static const char prefix[] = "allow: "; /* where has said it */
	struct llrph_error error = {.text = ""};
	const char *text = error.text;

	if (llr_allow_parse(&set->config->allow, set->text, &error) == 0)
		return set_text(set);
	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	return llr_error_set(set->error, -EINVAL, "%s %.180s", set->where, text);
}

/* "0,1000": numbers, each once or more, commas between. */
static int set_uids(const struct assignment *set)
{
	const char *next = set->text;
	uint64_t uid;

	for (;;) { /* each turn eats a number, of a text that ends */
		if (!parse_digits(next, 10, &uid, &next) || uid >= UINT32_MAX)
			break;
		if (*next == '\0')
			return set_text(set);
		if (*next++ != ',')
			break;
	}
	return refuse(set, "is no list of user ids: give numbers with commas, as in 0,1000");
}

static int add_cpus(const struct assignment *set, uint64_t first, uint64_t last)
{
	struct llr_config *config = set->config;

	for (uint64_t cpu = first; cpu <= last; cpu++) {
		for (unsigned int i = 0; i < config->cpu_count; i++)
			if (config->cpus[i] == cpu)
				return llr_error_set(set->error, -EINVAL,
						     "%s '" SHOWN "' names cpu %u twice: a worker "
						     "has a cpu of its own",
						     set->where, set->text, (unsigned int)cpu);
		if (config->cpu_count == LLR_WORKERS_MAX)
			return refuse(set, "names more than 64 cpus: one for each worker is "
					   "enough");
		config->cpus[config->cpu_count++] = (uint16_t)cpu;
	}
	return 0;
}

/* "0,2-5" */
static int set_cpus(const struct assignment *set)
{
	const char *next = set->text;
	uint64_t first;
	uint64_t last;
	int code;

	set->config->cpu_count = 0;
	for (;;) { /* each turn eats a number, of a text that ends */
		if (!parse_digits(next, 10, &first, &next))
			break;
		last = first;
		if (*next == '-' && !parse_digits(next + 1, 10, &last, &next))
			break;
		if (last < first || last >= CPU_SETSIZE)
			break;
		code = add_cpus(set, first, last);
		if (code != 0)
			return code;
		if (*next == '\0')
			return 0;
		if (*next++ != ',')
			break;
	}
	return refuse(set, "is no list of cpus: give numbers and ranges, as in 0,2-5");
}

static int set_listen(const struct assignment *set)
{
	struct llr_config *config = set->config;
	struct llrph_error error = {.text = ""};
	struct llr_uri uri;

	if (llr_uri_parse(&uri, set->text, &error) != 0)
		return llr_error_set(set->error, -EINVAL, "%s: %.180s", set->where, error.text);
	for (unsigned int i = 0; i < config->listen_count; i++)
		if (strcmp(config->listen[i].text, uri.text) == 0 &&
		    (uri.scheme == LLR_SCHEME_SHM || uri.address.port != 0))
			return refuse(set, "is given twice: leave one of them away");
	if (config->listen_count == LLR_LISTENERS_MAX)
		return refuse(set, "is one endpoint too many: 16 are the most");
	config->listen[config->listen_count++] = uri;
	return 0;
}

static int set_service(const struct assignment *set)
{
	struct llr_config *config = set->config;
	size_t size = strlen(set->text) + 1;

	if (set->text[0] == '\0' || set->text[0] == ':')
		return refuse(set, "is no service: give NAME or PATH.so, then options after a "
				   "colon, as in book:orders=1000000");
	if (size > LLR_CONFIG_SERVICE_SIZE)
		return refuse(set, "is too long");
	if (config->service_count == LLR_SERVICES_MAX)
		return refuse(set, "is one service too many: 16 are the most");
	memcpy(config->services[config->service_count++], set->text, size);
	return 0;
}

/* What --help shows; rows[] says, in the same order, where each value goes. */
static const struct llr_config_option options[] = {
	{"listen", "URI", "serve here: shm:NAME, udp:HOST:PORT or tcp:HOST:PORT; may repeat"},
	{"service", "NAME|PATH.so[:OPTIONS]",
	 "serve this: a built-in service (echo, book) or a shared object; may repeat"},
	{"workers", "N", "processes that share the endpoints, 1 to 64 (default 1)"},
	{"cpus", "LIST", "pin worker i to the i-th of these, as in 0,2-5"},
	{"idle", "spin|park",
	 "spin: never sleep; park: sleep when idle (default: spin with --cpus, else park)"},
	{"name", "NAME", "names the stats page (default llrph)"},
	{"config", "FILE", "read options from [server] of this file; the command line wins"},
	{"allow", "CIDR,...", "talk to these networks alone on udp and tcp (default: all)"},
	{"sessionless", NULL, "take idempotent requests without a session on udp"},
	{"window", "N", "most outstanding requests of a session, 1 to 1024 (default 1024)"},
	{"max-message", "BYTES", "largest payload, up to 16M (default 64K)"},
	{"sessions", "N", "udp sessions a worker (default 256)"},
	{"session-memory", "BYTES", "for udp sessions of a worker (default 40M)"},
	{"connections", "N", "tcp connections a worker (default 10000)"},
	{"lanes", "N", "shared-memory clients at once (default 1024)"},
	{"shm-mode", "OCTAL", "permission bits of the shm socket (default 0600)"},
	{"shm-uid", "UID,...", "users who may attach besides the server's own"},
	{"shm-trust", "own|all|none",
	 "whose large requests are read in place, not copied (default own)"},
	{"hugepages", NULL, "demand hugepages for shared-memory lanes"},
};

#define FIELD(name) offsetof(struct llr_config, name)

static const struct option_row rows[] = {
	{set_listen, 0, 0, 0, true},
	{set_service, 0, 0, 0, true},
	{set_count, FIELD(workers), 1, LLR_WORKERS_MAX, false},
	{set_cpus, 0, 0, 0, false},
	{set_idle, 0, 0, 0, false},
	{set_name, FIELD(name), 0, LLR_SHM_NAME_MAX + 1, false},
	{set_config, 0, 0, 0, false},
	{set_allow, FIELD(allow_text), 0, LLR_CONFIG_LIST_SIZE, false},
	{set_flag, FIELD(sessionless), 0, 1, false},
	{set_count, FIELD(window), 1, LLR_WINDOW_MAX, false},
	{set_size, FIELD(max_message), 1, LLR_PAYLOAD_SIZE_MAX, false},
	{set_count, FIELD(sessions), 1, LLR_SESSIONS_MAX, false},
	{set_size, FIELD(session_memory), 65536, UINT32_MAX, false},
	{set_count, FIELD(connections), 1, 1000000, false},
	{set_count, FIELD(lanes), 1, 65536, false},
	{set_octal, FIELD(shm_mode), 1, 0777, false},
	{set_uids, FIELD(shm_uids), 0, LLR_CONFIG_LIST_SIZE, false},
	{set_trust, FIELD(trust), 0, sizeof(((struct llr_config *)0)->trust), false},
	{set_flag, FIELD(hugepages), 0, 1, false},
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))
_Static_assert(sizeof(rows) / sizeof(rows[0]) == OPTION_COUNT, "a row for each option");
_Static_assert(OPTION_COUNT <= LLR_CONFIG_OPTIONS_MAX, "sources[] has a place for each");

unsigned int llr_config_options(const struct llr_config_option **table)
{
	*table = options;
	return OPTION_COUNT;
}

void llr_config_init(struct llr_config *config)
{
	memset(config, 0, sizeof(*config));
}

int llr_config_set_from(struct llr_config *config, unsigned int index, const char *text,
			const struct llr_config_origin *origin)
{
	enum llr_config_source had;
	struct assignment set = {
		.config = config, .where = origin->where, .text = text, .error = origin->error};

	LLR_ASSERT(index < OPTION_COUNT);
	set.row = &rows[index];
	had = (enum llr_config_source)config->sources[index];
	LLR_ASSERT(had <= origin->source);
	if (had == origin->source && !set.row->repeats)
		return llr_error_set(origin->error, -EINVAL,
				     "%s is given twice: leave one of them away", origin->where);
	if (had < origin->source && set.row->set == set_listen)
		config->listen_count = 0;
	if (had < origin->source && set.row->set == set_service)
		config->service_count = 0;
	config->sources[index] = (uint8_t)origin->source;
	return set.row->set(&set);
}

int llr_config_set(struct llr_config *config, const char *name, const char *value,
		   struct llrph_error *error)
{
	char where[64];
	struct llr_config_origin origin = {LLR_CONFIG_TYPED, where, error};

	(void)snprintf(where, sizeof(where), "--%.60s", name);
	for (unsigned int i = 0; i < OPTION_COUNT; i++)
		if (strcmp(options[i].name, name) == 0)
			return llr_config_set_from(config, i, value == NULL ? "yes" : value,
						   &origin);
	return llr_error_set(error, -EINVAL, "%s: no such option", where);
}

static int check_cpus(const struct llr_config *config, struct llrph_error *error)
{
	long there = sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t allowed;

	LLR_MUST(there >= 1);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return llr_error_set(error, -errno,
				     "--cpus: the kernel does not say which cpus "
				     "are allowed here: leave --cpus away");
	for (unsigned int i = 0; i < config->cpu_count; i++) {
		if (config->cpus[i] >= there)
			return llr_error_set(error, -EINVAL,
					     "--cpus: there is no cpu %u: this machine has 0 to "
					     "%ld",
					     config->cpus[i], there - 1);
		if (!CPU_ISSET(config->cpus[i], &allowed))
			return llr_error_set(error, -EINVAL,
					     "--cpus: cpu %u is not allowed for this process: "
					     "choose another, or widen its taskset or cgroup",
					     config->cpus[i]);
	}
	if (config->cpu_count != 0 && config->cpu_count < config->workers)
		return llr_error_set(error, -EINVAL,
				     "--workers %u, but --cpus names %u: give each worker a cpu "
				     "of its own, or fewer workers",
				     config->workers, config->cpu_count);
	return 0;
}

int llr_config_check(struct llr_config *config, struct llrph_error *error)
{
	if (config->service_count == 0)
		return llr_error_set(error, -EINVAL,
				     "no --service: say what to serve, as in --service echo");
	if (config->workers == 0)
		config->workers = 1;
	if (config->name[0] == '\0')
		memcpy(config->name, NAME_DEFAULT, sizeof(NAME_DEFAULT));
	if (config->trust[0] == '\0')
		memcpy(config->trust, TRUST_DEFAULT, sizeof(TRUST_DEFAULT));
	if (config->idle == LLR_IDLE_DEFAULT)
		config->idle = config->cpu_count != 0 ? LLR_IDLE_SPIN : LLR_IDLE_PARK;
	return check_cpus(config, error);
}

void llr_config_engine_options(const struct llr_config *config, struct llrph_engine_options *engine)
{
	*engine = (struct llrph_engine_options){
		.size = sizeof(*engine),
		.name = config->name,
		.window_max = config->window,
		.max_message = config->max_message,
		.sessions_max = config->sessions,
		.connections_max = config->connections,
		.lanes_max = config->lanes,
		.session_memory = config->session_memory,
		.sessionless = config->sessionless,
		.shm_mode = config->shm_mode,
		.shm_uids = config->shm_uids[0] == '\0' ? NULL : config->shm_uids,
		.allow = config->allow_text[0] == '\0' ? NULL : config->allow_text,
		.hugepages = config->hugepages,
		.park = config->idle == LLR_IDLE_PARK,
	};
}
