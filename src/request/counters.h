/* SPDX-License-Identifier: MIT */
/*
 * What a worker counts on the request path. Single writer: the worker; readers see whole words.
 * The table makes the struct, the names on the stats page and the man page's section.
 */
#ifndef LLR_REQUEST_COUNTERS_H
#define LLR_REQUEST_COUNTERS_H

#include <stdint.h>

/* clang-format off */
#define LLR_COUNTER_TABLE(X)                                                                       \
	X(turns,               "turns of the loop")                                                        \
	X(turns_idle,          "turns that found nothing")                                                 \
	X(sleeps,              "times that the worker slept")                                              \
	X(frames,              "frames received, whatever became of them")                                 \
	X(requests,            "requests received, repeats included")                                      \
	X(executed,            "handlers started")                                                         \
	X(replies,             "replies sent, repeats included")                                           \
	X(parts,               "replies sent with MORE")                                                   \
	X(deferred,            "requests that a handler put off")                                          \
	X(reject_magic,        "frames rejected: magic")                                                   \
	X(reject_version,      "frames rejected: version")                                                 \
	X(reject_length,       "frames rejected: length does not fit what arrived")                        \
	X(reject_crc,          "frames rejected: checksum")                                                \
	X(reject_flags,        "frames rejected: flag not allowed")                                        \
	X(reject_route,        "frames rejected: no route block")                                          \
	X(reject_fragment,     "frames rejected: no fragment block")                                       \
	X(reject_padding,      "frames rejected: padding or tail is not zero")                             \
	X(skipped,             "frames with a good checksum that a server does not handle")                \
	X(hello,               "HELLO received")                                                           \
	X(hello_challenged,    "HELLO answered with a cookie")                                             \
	X(sessions_opened,     "sessions opened")                                                          \
	X(sessions_ended,      "sessions ended, for any reason")                                           \
	X(sessions_expired,    "sessions ended after 30 s of silence")                                     \
	X(sessions_open,       "sessions open now")                                                        \
	X(sessions_recovered,  "sessions taken over from a worker that died")                              \
	X(heartbeats,          "heartbeats answered")                                                      \
	X(cancels,             "CANCEL received")                                                          \
	X(cancelled,           "requests cancelled before they ran")                                       \
	X(retries,             "requests flagged RETRY")                                                   \
	X(repeat_remembered,   "repeats answered from memory")                                             \
	X(repeat_running,      "repeats dropped: still running")                                           \
	X(repeat_rerun,        "repeats of idempotent requests that ran again")                            \
	X(repeat_forgotten,    "repeats answered 410")                                                     \
	X(stale,               "requests older than their slot's: dropped, or answered 409")               \
	X(superseded,          "replies dropped because their slot went on")                               \
	X(fragments,           "parts received")                                                           \
	X(fragments_repeated,  "parts that were there already")                                            \
	X(fragments_off_grid,  "parts off the grid or beyond the total")                                   \
	X(fragments_expired,   "messages given up incomplete")                                             \
	X(fragments_bad_crc,   "messages complete with a wrong checksum")                                  \
	X(fragments_sent,      "parts of replies sent")                                                    \
	X(status_200,          "answered 2xx")                                                             \
	X(status_400,          "answered 400")                                                             \
	X(status_401,          "answered 401")                                                             \
	X(status_404,          "answered 404")                                                             \
	X(status_409,          "answered 409")                                                             \
	X(status_410,          "answered 410")                                                             \
	X(status_413,          "answered 413")                                                             \
	X(status_429,          "answered 429")                                                             \
	X(status_499,          "answered 499")                                                             \
	X(status_500,          "answered 500")                                                             \
	X(status_503,          "answered 503")                                                             \
	X(status_504,          "answered 504")                                                             \
	X(status_declared,     "answered with a 4xx or 5xx that the method declares")                      \
	X(status_unknown,      "handlers that returned a status that is not theirs: answered 500")         \
	X(reply_lost,          "replies that found no room, or nobody to go to")                           \
	X(recovered_500,       "requests of a worker that died, answered 500 by its successor")
/* clang-format on */

struct llr_counters {
#define LLR_COUNTER_FIELD(name, text) uint64_t name;
	LLR_COUNTER_TABLE(LLR_COUNTER_FIELD)
#undef LLR_COUNTER_FIELD
};

#endif
