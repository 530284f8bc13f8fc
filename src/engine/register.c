/* SPDX-License-Identifier: MIT */
/*
 * Services and methods: checked, routed, opened before the first request, and closed with the
 * engine.
 *
 * Thread: the worker's. Owns: the states that the services' open functions made.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"

#include <string.h>
#include <unistd.h>

/* The engine whose service is being opened: llrph_service_counter has no other way to know. */
static _Thread_local struct llrph_engine *opening;

uint64_t *llrph_service_counter(const char *name)
{
	if (opening == NULL)
		return NULL;
	return llr_stats_word(opening->stats, opening->worker, name);
}

static int service_check(const struct llrph_service *service, struct llrph_error *error)
{
	if (service->abi != LLRPH_SERVICE_ABI || service->size < sizeof(*service))
		return llr_error_set(error, -EINVAL,
				     "service made for another llrph (ABI %u, here %u): rebuild it",
				     service->abi, LLRPH_SERVICE_ABI);
	if (service->name == NULL || service->methods == NULL)
		return llr_error_set(error, -EINVAL, "service without a name or methods");
	if (service->method_count < 1 || service->method_count > LLR_METHODS_MAX)
		return llr_error_set(error, -EINVAL, "service %s: %u methods, 1 to %u are possible",
				     service->name, service->method_count, LLR_METHODS_MAX);
	if (service->state_kind > LLRPH_STATE_SINGLE)
		return llr_error_set(error, -EINVAL, "service %s: state_kind %u is not known",
				     service->name, service->state_kind);
	for (uint32_t i = 0; i < service->method_count; i++) {
		if (service->methods[i].name == NULL || service->methods[i].handler == NULL)
			return llr_error_set(error, -EINVAL,
					     "service %s: method %u has no name or handler",
					     service->name, i);
	}
	return 0;
}

static int method_add(struct llrph_engine *engine, const struct llrph_method *spec, void *state,
		      struct llrph_error *error)
{
	uint32_t route = llrph_route(spec->name);
	const struct llr_method *same = llr_method_find(engine, route);
	uint32_t mask = 2U * LLR_METHODS_MAX - 1U;
	uint32_t at = route & mask;
	struct llr_method *method;

	if (same != NULL)
		return llr_error_set(error, -EEXIST,
				     "methods %s and %s have one route, %08x: rename one of them",
				     same->spec->name, spec->name, route);
	if (engine->method_count == LLR_METHODS_MAX)
		return llr_error_set(error, -ENOMEM, "more than %u methods", LLR_METHODS_MAX);
	method = &engine->methods[engine->method_count++];
	method->spec = spec;
	method->state = state;
	method->route = route;
	method->service = (uint16_t)engine->service_count;
	while (engine->method_table[at] != 0)
		at = (at + 1) & mask;
	engine->method_table[at] = (uint16_t)engine->method_count;
	return 0;
}

static int service_open(struct llrph_engine *engine, const struct llrph_service *service,
			const char *options, void **state, struct llrph_error *error)
{
	int (*open)(void **, const char *, struct llrph_error *) = service->open;
	struct llrph_error own = {{0}};
	int code = 0;

	if (engine->successor && service->recover != NULL)
		open = service->recover;
	if (open != NULL) {
		opening = engine;
		code = open(state, options != NULL ? options : "", &own);
		opening = NULL;
	}
	if (code < 0 && error != NULL)
		(void)llr_error_set(error, code, "service %s: %s", service->name,
				    own.text[0] != '\0' ? own.text : strerror(-code));
	return code;
}

int llrph_engine_register(struct llrph_engine *engine, const struct llrph_service *service,
			  const char *options, struct llrph_error *error)
{
	struct llr_service_entry *entry = &engine->services[engine->service_count];
	void *state = NULL;
	int code;

	LLR_ASSERT(engine != NULL && service != NULL && !engine->started);
	code = service_check(service, error);
	if (code < 0)
		return code;
	if (engine->service_count == LLR_SERVICES_MAX)
		return llr_error_set(error, -ENOMEM, "more than %u services", LLR_SERVICES_MAX);
	code = service_open(engine, service, options, &state, error);
	if (code < 0)
		return code;
	for (uint32_t i = 0; i < service->method_count && code == 0; i++)
		code = method_add(engine, &service->methods[i], state, error);
	if (code < 0) {
		if (service->close != NULL)
			service->close(state);
		return code; /* the engine is of no further use: its caller closes it */
	}
	entry->spec = service;
	entry->state = state;
	engine->service_count++;
	return 0;
}

size_t llr_engine_service_size(const struct llrph_engine *engine, unsigned int index)
{
	const struct llr_service_entry *entry = &engine->services[index];

	LLR_ASSERT(index < engine->service_count);
	return entry->spec->memory_size == NULL ? 0 : entry->spec->memory_size(entry->state);
}

static void unmap(void *memory, size_t size)
{
	if (memory != NULL)
		llr_memory_unmap(memory, size);
}

void llrph_engine_close(struct llrph_engine *engine)
{
	void *embedded;

	if (engine == NULL)
		return;
	embedded = engine->embedded;
	for (unsigned int i = 0; i < engine->service_count; i++) {
		if (engine->services[i].spec->close != NULL)
			engine->services[i].spec->close(engine->services[i].state);
	}
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_listener *listener = &engine->listeners[i];

		listener->transport->ops->tx_flush(listener->transport);
		listener->transport->ops->close(listener->transport);
		unmap(listener->streams,
		      engine->options.connections_max * sizeof(struct llr_stream_state));
	}
	if (engine->epoll_fd >= 0)
		(void)close(engine->epoll_fd);
	unmap(engine->stage, engine->stage_size);
	unmap(engine->deferred, LLR_DEFERRED_MAX * sizeof(struct llrph_deferred));
	unmap(engine->sessions_private, llr_sessions_private_size(&engine->sessions.shape));
	if (engine->streams_memory != NULL)
		unmap(engine->streams_memory, llr_sessions_memory_size(&engine->streams.shape));
	if (engine->streams_private != NULL)
		unmap(engine->streams_private, llr_sessions_private_size(&engine->streams.shape));
	llr_memory_unmap(engine, sizeof(*engine));
	if (embedded != NULL)
		llr_embedded_close(embedded);
}
