/* SPDX-License-Identifier: MIT */
/*
 * Finds, loads and checks services. A shared object is trusted once it is loaded (it runs in this
 * process); the checks are against mistakes, so that they have a name before the first request.
 *
 * Thread: set-up's. Shared objects are never unloaded: their tables are borrowed for good.
 */
#include "engine/plugin.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE_MAX 512U
#define TABLE_SYMBOL  "llrph_service"
#define FLAGS_KNOWN   ((uint32_t)LLRPH_METHOD_IDEMPOTENT)

static int check_statuses(const struct llrph_method *method, struct llrph_error *error)
{
	if (method->statuses == NULL)
		return 0;
	for (unsigned int i = 0; method->statuses[i] != 0; i++)
		if (method->statuses[i] < 400 || method->statuses[i] > 599)
			return llr_error_set(
				error, -EINVAL,
				"method %.100s declares status %u: only 400 to 599 can "
				"be declared",
				method->name, method->statuses[i]);
	return 0;
}

static int check_method(const struct llrph_service *service, const struct llrph_method *method,
			struct llrph_error *error)
{
	const char *slash;

	if (method->name == NULL || method->handler == NULL)
		return llr_error_set(error, -EINVAL,
				     "service %.60s: method %td has no %s: fill its table in",
				     service->name, method - service->methods,
				     method->name == NULL ? "name" : "handler");
	slash = strchr(method->name, '/');
	if (slash == NULL || slash == method->name || slash[1] == '\0')
		return llr_error_set(error, -EINVAL,
				     "service %.60s: method '%.80s' is no full name: give "
				     "package.Service/Method",
				     service->name, method->name);
	if ((method->flags & ~FLAGS_KNOWN) != 0)
		return llr_error_set(error, -EINVAL,
				     "method %.100s has flags 0x%x that this llrph does not know: "
				     "rebuild the service against its headers",
				     method->name, method->flags & ~FLAGS_KNOWN);
	return check_statuses(method, error);
}

static int check_table(const struct llrph_service *service, const char *typed,
		       struct llrph_error *error)
{
	int code;

	if (service->abi != LLRPH_SERVICE_ABI || service->size < sizeof(*service))
		return llr_error_set(
			error, -EINVAL,
			"%.120s has a service table of ABI %u and %u bytes, this llrph "
			"wants %u and %zu: rebuild it against llrph/service.h",
			typed, service->abi, service->size, LLRPH_SERVICE_ABI, sizeof(*service));
	if (service->name == NULL || service->name[0] == '\0')
		return llr_error_set(error, -EINVAL, "%.120s: its service table has no name",
				     typed);
	if (service->state_kind > LLRPH_STATE_SINGLE)
		return llr_error_set(error, -EINVAL,
				     "service %.60s: state_kind %u is none of enum "
				     "llrph_state_kind",
				     service->name, service->state_kind);
	if (service->methods == NULL || service->method_count == 0 ||
	    service->method_count > LLR_METHODS_MAX)
		return llr_error_set(error, -EINVAL, "service %.60s has no methods, or over %u",
				     service->name, LLR_METHODS_MAX);
	for (unsigned int i = 0; i < service->method_count; i++) {
		code = check_method(service, &service->methods[i], error);
		if (code != 0)
			return code;
	}
	return 0;
}

/* dlerror's text may have lines; ours is one. */
static int refuse_loading(const char *path, struct llrph_error *error)
{
	const char *text = dlerror();
	int size;

	if (text == NULL)
		text = "unknown error";
	size = (int)strcspn(text, "\n");
	return llr_error_set(error, -EINVAL, "--service %.80s can't be loaded: %.*s", path,
			     size > 140 ? 140 : size, text);
}

static int load_object(struct llr_plugin *plugin, const char *path, struct llrph_error *error)
{
	char slashed[PATH_SIZE_MAX + 3];
	void *object;

	/* A path without a slash would be looked for among the system's libraries. */
	(void)snprintf(slashed, sizeof(slashed), "%s%s", strchr(path, '/') == NULL ? "./" : "",
		       path);
	if (access(slashed, R_OK) != 0)
		return llr_error_set(error, -ENOENT,
				     "--service %.160s: %s: give the path of a "
				     "shared object",
				     path, strerror(errno));
	object = dlopen(slashed, RTLD_NOW | RTLD_LOCAL);
	if (object == NULL)
		return refuse_loading(path, error);
	plugin->service = dlsym(object, TABLE_SYMBOL);
	if (plugin->service == NULL)
		return llr_error_set(error, -EINVAL,
				     "--service %.120s exports no table: define `const struct "
				     "llrph_service " TABLE_SYMBOL "` with default visibility",
				     path);
	return 0;
}

static int find_builtin(struct llr_plugin *plugin, const char *name,
			llr_plugin_builtin_fn builtin_at, struct llrph_error *error)
{
	char names[128] = "";
	size_t size = 0;

	for (unsigned int i = 0; builtin_at(i) != NULL; i++) {
		const char *known = builtin_at(i)->name;

		if (strcmp(known, name) == 0) {
			plugin->service = builtin_at(i);
			return 0;
		}
		if (size + strlen(known) + 3 < sizeof(names))
			size += (size_t)snprintf(names + size, sizeof(names) - size, "%s%s",
						 i == 0 ? "" : ", ", known);
	}
	return llr_error_set(
		error, -ENOENT,
		"--service %.60s: no built-in service has that name (there is %s), and "
		"a shared object is named with its path or \".so\"",
		name, names);
}

int llr_plugin_load(struct llr_plugin *plugin, const char *typed, llr_plugin_builtin_fn builtin_at,
		    struct llrph_error *error)
{
	size_t size = strcspn(typed, ":");
	char name[PATH_SIZE_MAX];
	bool is_path;
	int code;

	if (size >= sizeof(name))
		return llr_error_set(error, -EINVAL, "--service %.60s...: that path is too long",
				     typed);
	memcpy(name, typed, size);
	name[size] = '\0';
	is_path = strchr(name, '/') != NULL || (size > 3 && strcmp(name + size - 3, ".so") == 0);
	plugin->options = typed[size] == ':' ? typed + size + 1 : typed + size;
	plugin->loaded = is_path;
	code = is_path ? load_object(plugin, name, error)
		       : find_builtin(plugin, name, builtin_at, error);
	return code != 0 ? code : check_table(plugin->service, name, error);
}

int llr_plugins_check(const struct llr_plugin *plugins, unsigned int count, unsigned int workers,
		      struct llrph_error *error)
{
	unsigned int method_count = 0;

	for (unsigned int i = 0; i < count; i++) {
		const struct llrph_service *service = plugins[i].service;

		LLR_ASSERT(service != NULL);
		method_count += service->method_count;
		if (service->state_kind == LLRPH_STATE_SINGLE && workers > 1)
			return llr_error_set(error, -EINVAL,
					     "service %.60s keeps one state for the whole server, "
					     "which %u workers can't share: give --workers 1",
					     service->name, workers);
		for (unsigned int j = 0; j < i; j++)
			if (strcmp(plugins[j].service->name, service->name) == 0)
				return llr_error_set(error, -EINVAL,
						     "--service %.60s is given twice: leave one "
						     "of them away",
						     service->name);
	}
	if (method_count > LLR_METHODS_MAX)
		return llr_error_set(error, -EINVAL,
				     "the services have %u methods together: %u are the most",
				     method_count, LLR_METHODS_MAX);
	return 0;
}

bool llr_plugins_lose_state(const struct llr_plugin *plugins, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (plugins[i].service->state_kind != LLRPH_STATE_NONE &&
		    plugins[i].service->recover == NULL)
			return true;
	return false;
}
