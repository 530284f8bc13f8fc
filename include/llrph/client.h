/* SPDX-License-Identifier: MIT */
/*
 * The client: synchronous calls, and pipelined calls that are begun in place, committed, and
 * whose completions are polled. A client belongs to one thread.
 *
 * What becomes of a request whose session or server is lost: it is sent again by itself if it is
 * flagged idempotent, or if it certainly did not run; else it ends with LLRPH_E_MAYBE_RAN. On
 * shared memory and TCP the payload of a request that is not idempotent is not kept: one that
 * certainly did not run ends with LLRPH_E_NO_SESSION or LLRPH_E_PEER_DEAD there (llrph_call_sync()
 * then makes it again, within its time). The session is opened again by polling, at the same
 * endpoint first, then at the next; until then begin says LLRPH_E_PEER_DEAD.
 */
#ifndef LLRPH_CLIENT_H
#define LLRPH_CLIENT_H

#include <llrph/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llrph_client;

/** enum llrph_idle - how to wait for a reply. */
enum llrph_idle {
	LLRPH_IDLE_PARK, /* spin as long as a wake-up costs, then sleep; the default */
	LLRPH_IDLE_SPIN, /* never sleep: the caller gives the core */
};

/** struct llrph_client_options - sizes and ways; zero means the default. Starts with its own size.
 */
struct llrph_client_options {
	size_t size;          /* sizeof(struct llrph_client_options) */
	uint32_t window;      /* requests outstanding, 1..1024; default 64 */
	uint32_t max_message; /* bytes of payload, 1..16 MiB; default 65536 */
	uint32_t idle;        /* enum llrph_idle */
	uint32_t hugepages;   /* 1: ask for hugepages for the lane (shm) */
	uint64_t connect_ns;  /* how long open may take for each endpoint; default 1 s */
	uint64_t hedge_ns;    /* delay before a second request goes to the next endpoint; 0: off */
	uint32_t hedge_p95;   /* 1: hedge after the observed 95th percentile instead */
	uint32_t checksum;    /* 1: CRC-32C on shared memory too */
};

/** enum llrph_request_flag - how one request is sent. */
enum llrph_request_flag {
	LLRPH_REQUEST_IDEMPOTENT = 1, /* it may run more than once: may be repeated and hedged */
};

/** struct llrph_completion - one ended request. */
struct llrph_completion {
	uint64_t tag;        /* the caller's own word, as given to commit */
	const void *payload; /* borrowed until the next poll, call or close; aligned to 16 */
	uint32_t size;       /* bytes of payload */
	int error;           /* 0: a reply came, status says which; else enum llrph_error_code */
	uint16_t status;     /* of the reply; 0 with an error */
	uint16_t more;       /* 1: another completion with this tag follows */
	uint32_t attempts;   /* times that it was sent, retransmissions included */
	uint32_t service_ns; /* as the server reported */
	uint32_t queue_ns; /* as the server reported; with 429 and 503 microseconds until a new try
			    */
	uint64_t latency_ns; /* from commit to the poll that found it */
};

/**
 * llrph_client_open() - connect to the first endpoint that answers, and open a session.
 * @client:  set on success, untouched on failure
 * @uris:    one URI or several with commas between: shm:NAME, udp:HOST:PORT, tcp:HOST:PORT
 * @options: read during the call alone; NULL: all defaults
 * @error:   filled on failure; may be NULL
 *
 * Thread:   the one that will use it.   Blocks: up to connect_ns an endpoint.   Allocates: yes.
 * Owns:     the caller owns the client until llrph_client_close().
 * Since:    0.1
 * Return:   0; -EINVAL a URI or option that makes no sense; -ECONNREFUSED nobody serves there;
 *           -ETIMEDOUT no answer in time; -ENOTCONN no session free; -EACCES not let in; -ENOMEM.
 */
LLRPH_EXPORT int llrph_client_open(struct llrph_client **client, const char *uris,
				   const struct llrph_client_options *options,
				   struct llrph_error *error) LLRPH_MUST_CHECK;

/**
 * llrph_client_close() - end the session and give everything back.
 * @client:  NULL is allowed
 *
 * Thread:   owner of @client.   Blocks: no.   Allocates: no.
 * Owns:     frees what open took; outstanding requests end without a completion.
 * Since:    0.1
 * Return:   nothing.
 */
LLRPH_EXPORT void llrph_client_close(struct llrph_client *client);

/**
 * llrph_call_sync() - one request, one reply.
 * @client:     the client; completions of pipelined requests found meanwhile are kept for poll
 * @route:      llrph_route() of the method
 * @payload:    copied; may be NULL where @size is 0
 * @size:       bytes, 0..the session's max_message
 * @flags:      enum llrph_request_flag
 * @timeout_ns: how long the caller waits, 1 µs..1 hour; also sent to the server as the budget
 * @completion: filled in any case
 *
 * Where the request can't be sent just now, or certainly did not run, it tries again within its
 * time; the error then says what was in the way last. Of a reply in parts (MORE) the last part is
 * returned; a pipelined request that is answered in parts holds this call up until it is polled.
 *
 * Thread:   owner of @client.   Blocks: up to @timeout_ns.   Allocates: never.
 * Owns:     completion->payload is the library's, valid until the next call.
 * Since:    0.1
 * Return:   0 a reply came (of any status); else completion->error.
 */
LLRPH_EXPORT int llrph_call_sync(struct llrph_client *client, uint32_t route, const void *payload,
				 uint32_t size, unsigned int flags, uint64_t timeout_ns,
				 struct llrph_completion *completion);

/**
 * llrph_call_begin() - reserve one request and hand back its payload to fill.
 * @client:  the client
 * @size:    payload bytes, 0..the session's max_message
 * @payload: set on success, untouched on failure; aligned to 16
 *
 * One request can be begun at a time; commit or abort it before the next.
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     payload is the library's; writable until commit or abort.
 * Since:    0.1
 * Return:   0; -ENOBUFS window full; -EAGAIN ring full: poll, then try again; -ECONNRESET peer
 *           dead, it is re-opened by polling; -EMSGSIZE @size out of range; -EBUSY one is begun.
 */
LLRPH_EXPORT int llrph_call_begin(struct llrph_client *client, uint32_t size,
				  void **payload) LLRPH_MUST_CHECK;

/**
 * llrph_call_commit() - send what was begun.
 * @client:     the client
 * @route:      llrph_route() of the method
 * @size:       payload bytes really used, 0..the size begun
 * @flags:      enum llrph_request_flag
 * @timeout_ns: until its deadline, 1 µs..1 hour
 * @tag:        the caller's own word, found again in the completion
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     the payload is the library's again.
 * Since:    0.1
 * Return:   the request's number, 1 or more, for llrph_call_cancel(); -EINVAL, still begun.
 */
LLRPH_EXPORT int64_t llrph_call_commit(struct llrph_client *client, uint32_t route, uint32_t size,
				       unsigned int flags, uint64_t timeout_ns, uint64_t tag);

/**
 * llrph_call_abort() - give back what was begun, unsent.
 * @client:  the client
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     the payload is the library's again.
 * Since:    0.1
 * Return:   nothing.
 */
LLRPH_EXPORT void llrph_call_abort(struct llrph_client *client);

/**
 * llrph_call_cancel() - ask that a request be not run any more; it completes with -ECANCELED.
 * @client:   the client
 * @sequence: as commit returned it
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   0; -ENOENT it is not outstanding any more.
 */
LLRPH_EXPORT int llrph_call_cancel(struct llrph_client *client, int64_t sequence);

/**
 * llrph_client_poll() - send what is committed, receive what is there, repeat what is lost.
 * @client:      the client
 * @completions: filled with what ended; their payloads are valid until the next poll
 * @count_max:   items of @completions, 1 or more
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     payloads are the library's.
 * Since:    0.1
 * Return:   items filled; 0: nothing ended yet.
 */
LLRPH_EXPORT unsigned int llrph_client_poll(struct llrph_client *client,
					    struct llrph_completion *completions,
					    unsigned int count_max);

/**
 * llrph_client_wait() - sleep or spin, as the idle option says, until a poll may find something.
 * @client:     the client
 * @timeout_ns: how long at most
 *
 * Thread:   owner of @client.   Blocks: up to @timeout_ns.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   0; -EINTR a signal came.
 */
LLRPH_EXPORT int llrph_client_wait(struct llrph_client *client, uint64_t timeout_ns);

/**
 * llrph_client_fd() - a descriptor for somebody else's poll loop: readable when poll has work.
 * @client:     the client
 * @timeout_ns: set to the time after which poll must be called all the same; may be NULL
 *
 * Call it before each sleep: it arms the wake-up.
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     the descriptor stays the client's; do not close it.
 * Since:    0.1
 * Return:   the descriptor.
 */
LLRPH_EXPORT int llrph_client_fd(struct llrph_client *client, uint64_t *timeout_ns);

/** struct llrph_client_info - what the session agreed, and what it saw. */
struct llrph_client_info {
	size_t size;              /* sizeof(struct llrph_client_info), set by the caller */
	const char *endpoint;     /* URI in use; the client's memory; NULL: none at the moment */
	uint32_t window;          /* granted */
	uint32_t max_message;     /* granted, bytes */
	uint32_t outstanding;     /* requests without an answer */
	uint32_t credits;         /* as the server last said */
	uint64_t epoch;           /* of the server */
	uint64_t sessions;        /* opened so far, the first one included */
	uint64_t retransmissions; /* requests sent again */
	uint64_t rejected;        /* frames of the server that were dropped */
	uint64_t hedges;          /* second requests sent */
};

/**
 * llrph_client_info() - what the session agreed, and what it saw.
 * @client:  the client
 * @info:    filled, as far as its size reaches
 *
 * Thread:   owner of @client.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   nothing.
 */
LLRPH_EXPORT void llrph_client_info(const struct llrph_client *client,
				    struct llrph_client_info *info);

#ifdef __cplusplus
}
#endif
#endif
