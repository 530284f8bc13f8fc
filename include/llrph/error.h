/* SPDX-License-Identifier: MIT */
/*
 * The two kinds of "no" a caller can meet: an operating error (a negative errno code from a
 * function) and a status (in a reply). Both come from one table each; the enums, the texts, the
 * HTTP status, whether a retry makes sense and the man page's section are made from it.
 */
#ifndef LLRPH_ERROR_H
#define LLRPH_ERROR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLRPH_EXPORT     __attribute__((visibility("default")))
#define LLRPH_MUST_CHECK __attribute__((warn_unused_result))

/*
 * X(name, errno code, HTTP status, a retry makes sense, text)
 *
 * "Retry" is about the same call made again soon by the same caller: yes where the condition
 * passes by itself and the request is known not to have run.
 */
/* clang-format off */
#define LLRPH_ERROR_TABLE(X)                                                                       \
	X(RING_FULL,     EAGAIN,       503, true,  "ring or socket full: poll for replies, then try again")   \
	X(WINDOW_FULL,   ENOBUFS,      429, true,  "window full: as many requests are outstanding as the session allows") \
	X(PEER_DEAD,     ECONNRESET,   502, true,  "peer dead or gone: the request did not run")              \
	X(MAYBE_RAN,     ECONNABORTED, 502, false, "peer dead or gone: the request may have run")             \
	X(REFUSED,       ECONNREFUSED, 502, true,  "nobody serves this endpoint")                             \
	X(TOO_LARGE,     EMSGSIZE,     413, false, "message too large for this session")                      \
	X(DEADLINE,      ETIMEDOUT,    504, false, "deadline passed: the request may have run")               \
	X(CANCELLED,     ECANCELED,    499, false, "cancelled by the caller")                                 \
	X(NO_SESSION,    ENOTCONN,     503, true,  "no session: the server refused or ended it")              \
	X(BAD_ARGUMENT,  EINVAL,       400, false, "argument out of range or malformed")                      \
	X(NO_MEMORY,     ENOMEM,       500, false, "out of memory at set-up: lower the sizes or raise the limit") \
	X(NOT_FOUND,     ENOENT,       404, false, "no such name")                                            \
	X(EXISTS,        EEXIST,       409, false, "that name is taken")                                      \
	X(IN_USE,        EADDRINUSE,   409, false, "address in use: another process listens there")           \
	X(NOT_PERMITTED, EACCES,       403, false, "not permitted for this user")                             \
	X(BUSY,          EBUSY,        503, true,  "another reservation is open: commit or abort it first")   \
	X(NOT_SUPPORTED, EOPNOTSUPP,   501, false, "not supported by this transport, kernel or build")        \
	X(BAD_PEER,      EPROTO,       502, false, "the peer broke the protocol")                             \
	X(STOPPING,      ESHUTDOWN,    503, true,  "the server is stopping")
/* clang-format on */

/** enum llrph_error_code - every operating error, as the negative errno code that is returned. */
enum llrph_error_code {
#define LLRPH_ERROR_ENUM(name, code, http, retry, text) LLRPH_E_##name = -(code),
	LLRPH_ERROR_TABLE(LLRPH_ERROR_ENUM)
#undef LLRPH_ERROR_ENUM
};

/*
 * X(name, status, a retry makes sense, text)
 *
 * The statuses of LLRP/1. 429 and 503 say in the reply's queue_ns when a new try makes sense.
 */
/* clang-format off */
#define LLRPH_STATUS_TABLE(X)                                                                      \
	X(OK,               200, false, "done")                                                            \
	X(BAD_PAYLOAD,      400, false, "payload or extension blocks are malformed")                       \
	X(NO_SESSION,       401, true,  "no such session")                                                 \
	X(NO_METHOD,        404, false, "no such method")                                                  \
	X(NOT_NEWER,        409, false, "the sequence is not newer than its slot's")                       \
	X(FORGOTTEN,        410, false, "it ran, its reply is no longer remembered")                       \
	X(TOO_LARGE,        413, false, "message too large")                                               \
	X(UNPROCESSABLE,    422, false, "the payload contradicts the service's state")                     \
	X(REFUSED,          429, true,  "refused by admission control")                                    \
	X(CANCELLED,        499, false, "cancelled before it ran")                                         \
	X(HANDLER_FAILED,   500, false, "the handler failed or died")                                      \
	X(UNAVAILABLE,      503, true,  "stopping, or no session free")                                    \
	X(BUDGET_SPENT,     504, false, "budget spent before the handler started")
/* clang-format on */

/** enum llrph_status - statuses that the protocol itself uses. A method may declare further ones.
 */
enum llrph_status {
#define LLRPH_STATUS_ENUM(name, status, retry, text) LLRPH_STATUS_##name = (status),
	LLRPH_STATUS_TABLE(LLRPH_STATUS_ENUM)
#undef LLRPH_STATUS_ENUM
};

/** struct llrph_error - a line of text for set-up failures; caller's memory, zeroed is valid. */
struct llrph_error {
	char text[256]; /* NUL-terminated, one line, names the remedy */
};

/**
 * llrph_strerror() - the text of an operating error.
 * @code:    a negative code returned by a function of this library
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     the text is the library's and constant.
 * Since:    0.1
 * Return:   one line; "unknown error" for a code that is not in the table.
 */
LLRPH_EXPORT const char *llrph_strerror(int code);

/**
 * llrph_error_may_retry() - whether the same call made again soon makes sense.
 * @code:    a negative code returned by a function of this library
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   true only where the condition passes and the request is known not to have run.
 */
LLRPH_EXPORT bool llrph_error_may_retry(int code);

/**
 * llrph_error_http() - the HTTP status that stands for an operating error.
 * @code:    a negative code returned by a function of this library
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   400..504; 500 for a code that is not in the table.
 */
LLRPH_EXPORT int llrph_error_http(int code);

/**
 * llrph_status_text() - the text of a reply's status.
 * @status:  as it stands in the reply
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     the text is the library's and constant.
 * Since:    0.1
 * Return:   one line; "declared by the method" for a status that is not the protocol's.
 */
LLRPH_EXPORT const char *llrph_status_text(unsigned int status);

/**
 * llrph_status_may_retry() - whether the same request may be tried again under this status.
 * @status:  as it stands in the reply
 *
 * Thread:   any.   Blocks: never.   Allocates: never.
 * Owns:     nothing.
 * Since:    0.1
 * Return:   true for 401, 429 and 503, which do not settle a request.
 */
LLRPH_EXPORT bool llrph_status_may_retry(unsigned int status);

#ifdef __cplusplus
}
#endif
#endif
