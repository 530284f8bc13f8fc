/* SPDX-License-Identifier: MIT */
/*
 * The server inside a program of one's own: open endpoints, register services,
 * start, call the turn.
 * `llrph serve` is the same engine with a supervisor and workers around it.
 */
#ifndef LLRPH_ENGINE_H
#define LLRPH_ENGINE_H

#include <llrph/service.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llrph_engine;

/** struct llrph_engine_options - sizes and ways; zero means the default. Starts with its own size.
 */
struct llrph_engine_options {
	size_t size;              /* sizeof(struct llrph_engine_options) */
	const char *name;         /* names socket and stats page; NULL: "llrph-PID" */
	uint32_t window_max;      /* requests, 1..1024; default 1024 */
	uint32_t max_message;     /* bytes of payload, 1..16 MiB; default 65536 */
	uint32_t sessions_max;    /* datagram sessions; default 256 */
	uint32_t connections_max; /* TCP connections; default 10000 */
	uint32_t lanes_max;       /* shared-memory clients; default 1024 */
	uint32_t session_memory;  /* bytes for slots, replies and reassembly; default 40 MiB */
	uint32_t sessionless;     /* 1: take sessionless idempotent requests on datagrams */
	uint32_t shm_mode;        /* permission bits of the shm socket; default 0600 */
	const char *shm_uids; /* "0,1000": who may attach besides the own uid; NULL: mode alone */
	const char *allow;    /* "10.0.0.0/8,::1/128": who may talk on udp and tcp; NULL: all */
	uint32_t hugepages;   /* 1: demand hugepages for lanes */
	uint32_t park;        /* not read yet: llrph_engine_wait() sleeps at once */
};

/**
 * llrph_engine_open() - take the memory of a server.
 * @engine:  set on success, untouched on failure
 * @options: read during the call alone; NULL: all defaults
 * @error:   filled on failure; may be NULL
 *
 * Thread:   the one that will call the turn.   Blocks: no.   Allocates: yes.
 * Owns:     the caller owns the engine until llrph_engine_close().
 * Since:    0.1
 * Return:   0; -EINVAL an option out of range; -ENOMEM; -EEXIST the name is taken.
 */
LLRPH_EXPORT int llrph_engine_open(struct llrph_engine **engine,
				   const struct llrph_engine_options *options,
				   struct llrph_error *error) LLRPH_MUST_CHECK;

/**
 * llrph_engine_register() - add a service; before start.
 * @engine:  the engine
 * @service: borrowed for the engine's life
 * @options: passed to the service's open function; NULL: ""
 * @error:   filled on failure; may be NULL
 *
 * Thread:   owner of @engine.   Blocks: as the service's open does.   Allocates: yes.
 * Owns:     @service stays the caller's.
 * Since:    0.1
 * Return:   0; -EEXIST two methods with one route (both are named); -EINVAL a malformed table;
 *           what the service's open returned.
 */
LLRPH_EXPORT int llrph_engine_register(struct llrph_engine *engine,
				       const struct llrph_service *service, const char *options,
				       struct llrph_error *error) LLRPH_MUST_CHECK;

/**
 * llrph_engine_listen() - open an endpoint; before start.
 * @engine:  the engine
 * @uri:     shm:NAME, udp:HOST:PORT or tcp:HOST:PORT; port 0 lets the kernel choose
 * @error:   filled on failure; may be NULL
 *
 * Thread:   owner of @engine.   Blocks: no.   Allocates: yes.
 * Owns:     nothing of the caller's.
 * Since:    0.1
 * Return:   0; -EINVAL a URI that makes no sense; -EADDRINUSE; -EACCES; -EEXIST; -ENOMEM.
 */
LLRPH_EXPORT int llrph_engine_listen(struct llrph_engine *engine, const char *uri,
				     struct llrph_error *error) LLRPH_MUST_CHECK;

/**
 * llrph_engine_endpoint() - the URI of an open endpoint, with the port that the kernel chose.
 * @engine:  the engine
 * @index:   0 for the first one listened on
 *
 * Thread:   owner of @engine.   Blocks: never.   Allocates: never.
 * Owns:     the text is the engine's, valid until it closes.
 * Since:    0.1
 * Return:   the URI; NULL if there are not so many.
 */
LLRPH_EXPORT const char *llrph_engine_endpoint(const struct llrph_engine *engine,
					       unsigned int index);

/**
 * llrph_engine_start() - all services and endpoints are there: lay out the stats page, freeze
 * memory.
 * @engine:  the engine, with at least one endpoint and one service
 * @error:   filled on failure; may be NULL
 *
 * Thread:   owner of @engine.   Blocks: no.   Allocates: yes, for the last time.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   0; -EINVAL no endpoint or no service; -EEXIST another server has the name; what making
 *           the stats page in the runtime folder met.
 */
LLRPH_EXPORT int llrph_engine_start(struct llrph_engine *engine,
				    struct llrph_error *error) LLRPH_MUST_CHECK;

/**
 * llrph_engine_turn() - receive what is there, run it, send what came of it.
 * @engine:  the engine, started
 *
 * Thread:   owner of @engine.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   messages handled; 0: nothing was there.
 */
LLRPH_EXPORT unsigned int llrph_engine_turn(struct llrph_engine *engine);

/**
 * llrph_engine_wait() - sleep until something may be there.
 * @engine:     the engine
 * @timeout_ns: how long at most; rounded up to milliseconds where it sleeps
 *
 * Thread:   owner of @engine.   Blocks: up to @timeout_ns.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   0; -EINTR a signal came.
 */
LLRPH_EXPORT int llrph_engine_wait(struct llrph_engine *engine, uint64_t timeout_ns);

/**
 * llrph_engine_stop() - begin to drain: new requests are answered 503.
 * @engine:  the engine; the turn goes on until it returns 0 and nothing is deferred
 *
 * Thread:   owner of @engine.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   requests that are still deferred.
 */
LLRPH_EXPORT unsigned int llrph_engine_stop(struct llrph_engine *engine);

/**
 * llrph_engine_close() - end the server; sessions and endpoints are gone.
 * @engine:  NULL is allowed
 *
 * Thread:   owner of @engine.   Blocks: no.   Allocates: no.
 * Owns:     frees all that open, register and listen took.
 * Since:    0.1
 * Return:   nothing.
 */
LLRPH_EXPORT void llrph_engine_close(struct llrph_engine *engine);

#ifdef __cplusplus
}
#endif
#endif
