/* SPDX-License-Identifier: MIT */
/*
 * What a service is: one constant table in a shared object (or built in), with methods whose
 * handlers run to completion in the worker's own thread.
 *
 * A stranger's checklist:
 * - Export one object named llrph_service of type struct llrph_service.
 * - A handler reads call->payload where it lies and must not keep the pointer: the memory is
 *   another request's as soon as the handler returns. The bytes are aligned to 16.
 * - It asks llrph_call_room() for room, builds the reply there, sets call->reply_size and returns
 *   a status. A status that is not 2xx may carry a UTF-8 reason of at most 256 bytes
 *   (llrph_call_reason()), unless the method declares that status, then the payload is its own.
 * - It never blocks and never allocates: it owns the worker's thread while it runs.
 * - It may return any 2xx, 400, 404, 413, 429, 500 or 503, and what method->statuses declares; any
 *   other status is answered 500 and counted. 429 and 503 say that it did nothing: the same request
 *   may be tried again.
 * - To answer later, from the same worker: llrph_call_defer(), then llrph_deferred_reply() from the
 *   service's poll function or from another handler.
 * - To answer in parts, on connected transports alone: llrph_call_part() for all but the last.
 */
#ifndef LLRPH_SERVICE_H
#define LLRPH_SERVICE_H

#include <llrph/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** LLRPH_SERVICE_ABI - the version of struct llrph_service that this header describes. */
#define LLRPH_SERVICE_ABI 1U

/** LLRPH_DEFERRED - returned by a handler that called llrph_call_defer() with success. */
#define LLRPH_DEFERRED 0

/** LLRPH_REASON_SIZE_MAX - bytes of UTF-8 that a reason may have. */
#define LLRPH_REASON_SIZE_MAX 256U

/** LLRPH_REPLY_ANY - reply_size_max of a method whose reply may be as large as the session allows.
 */
#define LLRPH_REPLY_ANY UINT32_MAX

/** enum llrph_method_flag - what a method promises. */
enum llrph_method_flag {
	LLRPH_METHOD_IDEMPOTENT = 1, /* running it twice is as good as once */
};

/** enum llrph_state_kind - where a service keeps what it remembers between requests. */
enum llrph_state_kind {
	LLRPH_STATE_NONE,       /* nothing: any worker can answer */
	LLRPH_STATE_PER_WORKER, /* each worker its own */
	LLRPH_STATE_SINGLE,     /* one for the server: serve refuses more than one worker */
};

/** struct llrph_call - one request inside its handler; the library's memory, the handler's view. */
struct llrph_call {
	const void *payload;   /* borrowed until the handler returns; aligned to 16 */
	uint64_t sequence;     /* of the request, within its session */
	uint64_t session;      /* id of the session; 0: sessionless */
	uint64_t received_ns;  /* monotonic time of receipt */
	uint64_t deadline_ns;  /* monotonic time after which nobody waits; 0: no limit */
	const uint8_t *trace;  /* 25 bytes of W3C trace context, borrowed as payload; NULL: none */
	void *reply;           /* set by llrph_call_room(); writable until the handler returns */
	uint32_t payload_size; /* bytes, 0..max_message */
	uint32_t reply_size;   /* set by the handler: bytes of the room that are the reply */
	uint32_t room_size;    /* bytes of room that llrph_call_room() gave; 0: none */
	uint32_t flags;        /* the library's own */
};

/**
 * llrph_handler_fn - runs one request to completion, or defers it.
 * @call:    the request; valid until the handler returns
 * @state:   what the service's open function made
 *
 * Returns a status (200..599), or LLRPH_DEFERRED after llrph_call_defer().
 */
typedef int (*llrph_handler_fn)(struct llrph_call *call, void *state);

/** struct llrph_method - one method of a service; constant. */
struct llrph_method {
	const char *name;         /* full name, "package.Service/Method", UTF-8 */
	llrph_handler_fn handler; /* runs on the worker's thread */
	uint32_t flags;           /* enum llrph_method_flag */
	uint32_t reply_size_max;  /* bytes of the largest reply; LLRPH_REPLY_ANY */
	const uint16_t *statuses; /* 4xx and 5xx of its own, ended by 0; NULL: none */
};

/** struct llrph_service - what a shared object exports as `llrph_service`; constant. */
struct llrph_service {
	uint32_t abi;                       /* LLRPH_SERVICE_ABI */
	uint32_t size;                      /* sizeof(struct llrph_service) */
	const char *name;                   /* short name, as after --service */
	uint32_t state_kind;                /* enum llrph_state_kind */
	uint32_t method_count;              /* items of methods, 1..256 */
	const struct llrph_method *methods; /* borrowed for the life of the server */

	/*
	 * Takes all memory that the service will ever need; before the first request. @options is
	 * what followed the name after a colon ("book:orders=2000000"), or "". May be NULL.
	 * Returns 0 or a negative errno code with @error filled.
	 */
	int (*open)(void **state, const char *options, struct llrph_error *error);
	/* Gives it back. May be NULL. */
	void (*close)(void *state);
	/* Once a turn, for services that answer later; never blocks. May be NULL. */
	void (*poll)(void *state, uint64_t now_ns);
	/*
	 * After a crash, in the successor, instead of open: 0 if @state is whole again. NULL: a
	 * service with state that has lost it ends the sessions of the worker (401, new epoch).
	 */
	int (*recover)(void **state, const char *options, struct llrph_error *error);
	/* Bytes that open took, for the arithmetic that serve prints. May be NULL. */
	size_t (*memory_size)(const void *state);
};

/**
 * llrph_call_room() - take room for the reply, where it will leave from.
 * @call:    the request being handled
 * @size:    bytes, 0..the method's reply_size_max and the session's max_message
 *
 * A second call replaces the first one's room; what was written there is lost.
 *
 * Thread:   the handler's.   Blocks: never.   Allocates: never.
 * Owns:     the library; writable until the handler returns; aligned to 16.
 * Since:    0.1
 * Return:   the room; NULL if @size is out of range or the transport is full: undo what was done
 *           and answer 413; where the transport was full it is sent as 503, to be tried again.
 */
LLRPH_EXPORT void *llrph_call_room(struct llrph_call *call, uint32_t size) LLRPH_MUST_CHECK;

/**
 * llrph_call_reason() - make a UTF-8 reason the reply's payload.
 * @call:    the request being handled
 * @status:  returned as it is, so that a handler can end with `return llrph_call_reason(...)`
 * @text:    NUL-terminated UTF-8; cut at a character's boundary if over 256 bytes
 *
 * Thread:   the handler's.   Blocks: never.   Allocates: never.
 * Owns:     @text is copied.
 * Since:    0.1
 * Return:   @status.
 */
LLRPH_EXPORT int llrph_call_reason(struct llrph_call *call, int status, const char *text);

/**
 * llrph_call_part() - send what is in the room as a part, with MORE set.
 * @call:    the request being handled; its reply_size bytes of room are sent
 *
 * Thread:   the handler's.   Blocks: never.   Allocates: never.
 * Owns:     the room goes to the peer; take new room for the next part.
 * Since:    0.1
 * Return:   0; -EOPNOTSUPP on a datagram transport; -EAGAIN the peer's ring is full, the room is
 *           kept; -EINVAL no room was taken.
 */
LLRPH_EXPORT int llrph_call_part(struct llrph_call *call) LLRPH_MUST_CHECK;

struct llrph_deferred;

/**
 * llrph_call_defer() - keep the right to answer this request later.
 * @call:    the request being handled; its payload and room are gone when the handler returns
 *
 * Thread:   the handler's.   Blocks: never.   Allocates: never.
 * Owns:     the library; ended by llrph_deferred_reply() without LLRPH_PART.
 * Since:    0.1
 * Return:   a handle, then the handler returns LLRPH_DEFERRED; NULL: too many are deferred.
 */
LLRPH_EXPORT struct llrph_deferred *llrph_call_defer(struct llrph_call *call) LLRPH_MUST_CHECK;

/** enum llrph_deferred_flag - how llrph_deferred_reply() answers. */
enum llrph_deferred_flag {
	LLRPH_PART = 1, /* more follows; connected transports alone */
};

/**
 * llrph_deferred_reply() - answer a deferred request.
 * @deferred: the handle; invalid afterwards unless LLRPH_PART was given or -EAGAIN returned
 * @status:   200..599, as a handler would return it
 * @payload:  copied; may be NULL where @size is 0
 * @size:     bytes, 0..the method's reply_size_max
 * @flags:    enum llrph_deferred_flag
 *
 * Thread:   the worker's that ran the handler.   Blocks: never.   Allocates: never.
 * Owns:     @payload stays the caller's.
 * Since:    0.1
 * Return:   0, also where the caller has gone meanwhile; -EAGAIN the peer's ring is full;
 *           -EMSGSIZE @size out of range; -EOPNOTSUPP LLRPH_PART on a datagram transport.
 */
LLRPH_EXPORT int llrph_deferred_reply(struct llrph_deferred *deferred, int status,
				      const void *payload, uint32_t size, unsigned int flags);

/**
 * llrph_service_counter() - a word on the server's stats page for a service to count in.
 * @name:    "service.what", up to 31 bytes, e.g. "book.unknown_ref"; copied
 *
 * Only from a service's open or recover function. The word is this worker's own: add to it and
 * store to it plainly, from the worker's thread alone; tools read it without asking.
 *
 * Thread:   the worker's, inside open or recover.   Blocks: never.   Allocates: never.
 * Owns:     the word is the library's, valid until the service's close.
 * Since:    0.1
 * Return:   the word; NULL: no room for more, or no server is being set up: count privately.
 */
LLRPH_EXPORT uint64_t *llrph_service_counter(const char *name);

/**
 * llrph_route() - the 32-bit route of a method's full name (FNV-1a, 32 bits, offset 2166136261).
 * @method:  "package.Service/Method", UTF-8
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   the route.
 */
LLRPH_EXPORT uint32_t llrph_route(const char *method);

#ifdef __cplusplus
}
#endif
#endif
