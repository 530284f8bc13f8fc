/* SPDX-License-Identifier: MIT */
/*
 * Sessions and their slots: who may send, and what each of a window's slots has seen. Pure.
 *
 * A table of recoverable sessions (datagrams, shared-memory lanes) lies in memory that outlives its
 * worker:
 *
 *   +---------------------------+----------------------------------------------------+
 *   | struct llr_session x count| pages of 4 KiB, taken by a session at HELLO:        |
 *   |                           |   slots | remembered replies | bitmap | reassembly |
 *   +---------------------------+----------------------------------------------------+
 *
 * A successor trusts nothing that it finds there: llr_sessions_recover checks each record, frees
 * what makes no sense, and computes all pointers anew. Sessions of TCP connections are private to
 * their worker (a second table of the same kind) and keep eight bytes a slot.
 *
 * Thread: the worker's. Owns: nothing; the memory is the caller's.
 */
#ifndef LLR_REQUEST_SESSION_H
#define LLR_REQUEST_SESSION_H

#include "base/span.h"
#include "request/fragment.h"
#include "request/replies.h"

#define LLR_SESSION_PAGE        4096U /* datagrams, lanes */
#define LLR_SESSION_PAGE_STREAM 512U  /* 64 slots of eight bytes */

enum llr_session_kind {
	LLR_SESSION_FREE,
	LLR_SESSION_DATAGRAM, /* full slots, replies, reassembly; survives its worker */
	LLR_SESSION_LANE,     /* full slots; survives its worker */
	LLR_SESSION_STREAM,   /* eight bytes a slot; ends with its connection */
};

enum llr_slot_state {
	LLR_SLOT_EMPTY,   /* no sequence yet */
	LLR_SLOT_OPEN,    /* seen, not settled: the same sequence may run */
	LLR_SLOT_RUNNING, /* its handler has started */
	LLR_SLOT_DONE,    /* answered */
};

enum llr_slot_flag {
	LLR_SLOT_IDEMPOTENT = 1, /* the method or the request said so */
	LLR_SLOT_KEPT = 2,       /* a reply was remembered; it may have been forgotten since */
	LLR_SLOT_NO_CRC = 4,     /* the request went without a checksum */
	LLR_SLOT_RERUN = 8,      /* recovered: runs again if its request is still in the lane */
};

/* What one slot has seen. 40 bytes, in shared memory. */
struct llr_slot {
	uint64_t sequence; /* the newest */
	uint64_t reply_at; /* place among the session's replies, with LLR_SLOT_KEPT */
	uint32_t reply_size;
	uint32_t route;
	uint32_t service_ns;
	uint32_t queue_ns;
	uint16_t status;
	uint8_t state; /* enum llr_slot_state */
	uint8_t flags; /* enum llr_slot_flag */
	uint32_t reserved;
};
_Static_assert(sizeof(struct llr_slot) == 40, "five to 200 bytes; in shared memory");

struct llr_session {
	uint64_t id; /* random, the low 16 bits say where; 0: free */
	uint64_t nonce;
	uint64_t last_ns;       /* of the last good frame that named it or came from its address */
	struct llr_peer *peer;  /* shares: the connection's, or the datagram part's own */
	struct llr_slot *slots; /* borrows from the pages; NULL: stream */
	uint64_t *floors;       /* stream: borrows; the least sequence that each slot still takes */
	struct llr_session_datagram *datagram; /* borrows; NULL: connected */
	uint32_t window;
	uint32_t max_message;
	uint32_t page_first;
	uint32_t page_count;
	uint32_t peer_index; /* lanes: which one */
	uint16_t listener;   /* which endpoint it came by */
	uint8_t kind;        /* enum llr_session_kind */
	uint8_t ext_granted;
	uint8_t recovering; /* lanes: what is read again was answered before: drop it silently */
};

/* What a datagram session has besides; in the pages, before the slots. */
struct llr_session_datagram {
	struct llr_peer peer;
	struct llr_reassembly reassembly;
	struct llr_replies replies;
	uint8_t *replies_bytes; /* borrows from the pages, as the next two */
	uint8_t *bitmap;
	uint8_t *message;         /* max_message bytes */
	uint64_t repeat_sequence; /* the fragmented repeat that was answered last, */
	uint64_t repeat_ns;       /* and when: its other parts are not answered again */
	uint64_t trace_sequence;  /* whose trace context this is: */
	uint8_t trace[LLR_TRACE_SIZE];
};

/* How large a table is. */
struct llr_sessions_shape {
	uint32_t count;     /* sessions, 1..65536 */
	uint32_t page_size; /* bytes: LLR_SESSION_PAGE or LLR_SESSION_PAGE_STREAM */
	uint32_t page_count;
};

/* A table, as its process sees it. */
struct llr_sessions {
	struct llr_sessions_shape shape;
	struct llr_session *items; /* borrows: the memory given to init */
	uint8_t *pages;            /* borrows: behind the items */
	uint32_t *buckets;         /* borrows, private: first session of each hash of an address */
	uint32_t *chain;           /* borrows, private: the next one, as index + 1; 0: none */
	uint8_t *page_used;        /* borrows, private: one byte a page */
	uint32_t bucket_count;     /* a power of two */
	uint32_t open_count;
	uint32_t datagram_count; /* of those open */
	uint32_t item_hint;      /* where the search for a free one begins */
	uint32_t page_hint;
};

/* Bytes of the table proper (shared, where it is to survive) and of its private indices. */
size_t llr_sessions_memory_size(const struct llr_sessions_shape *shape);
size_t llr_sessions_private_size(const struct llr_sessions_shape *shape);
/* Both memories are zeroed. */
void llr_sessions_init(struct llr_sessions *sessions, const struct llr_sessions_shape *shape,
		       void *memory, void *private_memory);
/*
 * The same over a dead worker's table: keeps what makes sense, frees the rest. Lanes have no peer
 * until the caller binds one. Returns how many sessions live on.
 */
uint32_t llr_sessions_recover(struct llr_sessions *sessions, const struct llr_sessions_shape *shape,
			      void *memory, void *private_memory);

struct llr_session_wish {
	const struct llr_peer *peer; /* datagram: copied; connected: see llr_session.peer */
	uint64_t random;
	uint64_t nonce;
	uint64_t now_ns;
	uint32_t window; /* what the client asks, 0: default */
	uint32_t max_message;
	uint32_t window_max; /* what the server wants */
	uint32_t max_message_max;
	uint16_t listener;
	uint8_t kind;
	uint8_t ext;
};
/* NULL: no session or no memory free. A window that does not fit is halved. */
struct llr_session *llr_sessions_open(struct llr_sessions *sessions,
				      const struct llr_session_wish *wish);
void llr_sessions_close(struct llr_sessions *sessions, struct llr_session *session);
/* By id, whoever asks; NULL: none. */
struct llr_session *llr_sessions_find(const struct llr_sessions *sessions, uint64_t id);
/* The datagram session of an address on an endpoint; NULL: none. */
struct llr_session *llr_sessions_find_address(const struct llr_sessions *sessions,
					      uint16_t listener, const struct llr_address *address);

static inline struct llr_slot *llr_session_slot(const struct llr_session *session,
						uint64_t sequence)
{
	return &session->slots[sequence & (session->window - 1)];
}

enum llr_slot_verdict {
	LLR_RUN,         /* newer, or not settled yet */
	LLR_RERUN,       /* a repeat of an idempotent request that is done: run again */
	LLR_REMEMBERED,  /* a repeat: send the remembered reply */
	LLR_FORGOTTEN,   /* a repeat whose reply is gone: 410 */
	LLR_IN_PROGRESS, /* a repeat of what still runs: drop */
	LLR_STALE,       /* older than the slot's newest: drop; connected: 409 */
};

/*
 * What to do with a request. The slot does not change; llr_slot_begin does that.
 * idempotent: the method or this frame says so.
 */
enum llr_slot_verdict llr_slot_judge(const struct llr_session *session, uint64_t sequence,
				     bool idempotent);
/* The handler starts now: RUNNING, before its first instruction. */
void llr_slot_begin(const struct llr_session *session, uint64_t sequence, uint32_t route,
		    unsigned int flags);
/* Seen, answered 429 or 503: the same sequence may come again. */
void llr_slot_reopen(const struct llr_session *session, uint64_t sequence);
/* Answered. A reply to be remembered is kept as far as the budget allows; payload may be NULL. */
struct llr_slot_answer {
	const uint8_t *payload; /* borrowed; NULL with keep false */
	uint32_t size;
	uint32_t service_ns;
	uint32_t queue_ns;
	uint16_t status;
	bool keep;
};
void llr_slot_settle(const struct llr_session *session, uint64_t sequence,
		     const struct llr_slot_answer *answer);
/* Whether this sequence is still its slot's newest, so that its late reply may go out. */
bool llr_slot_is_newest(const struct llr_session *session, uint64_t sequence);

#endif
