/* SPDX-License-Identifier: MIT */
/*
 * What a client is made of: links, calls and legs.
 *
 *   client ── link (one for each endpoint): transport, session, estimator, congestion window
 *      └───── call (one for each slot of the window): the caller's request until its completion
 *                └── leg (at most two): that request under way in one link's session
 *
 * Call k always travels in slot k of whichever session carries it, so that no slot needs an owner.
 * A call without a leg waits for a session. A second leg is a hedge: it exists for idempotent
 * requests alone.
 *
 * Sequences: of one slot they grow by the window; and those of a new session start above all that
 * any session before it used. So a late answer, which names no session, never fits a live leg.
 *
 * Thread: the client's owner's; everything here is its own.
 */
#ifndef LLR_CLIENT_STATE_H
#define LLR_CLIENT_STATE_H

#include "base/bytes.h"
#include "base/histogram.h"
#include "base/limits.h"
#include "client/client.h"
#include "request/fragment.h"

#define LLR_NEVER           UINT64_MAX /* a timer that is not set */

#define LLR_RTO_FIRST_NS    50000000U    /* the protocol's */
#define LLR_RTO_MIN_NS      200000U      /* the protocol's */
#define LLR_RTO_MAX_NS      1000000000U  /* the protocol's */
#define LLR_HEARTBEAT_NS    10000000000U /* a third of what ends a silent session */
#define LLR_PROBES          4U /* a silent peer is asked so often before it counts as dead */
#define LLR_BACKOFF_MIN_NS  1000000U
#define LLR_BACKOFF_MAX_NS  100000000U
#define LLR_BLOCKED_NS      20000U /* a socket without room is tried again after this */
#define LLR_PART_BURST      32U /* parts of one message sent in one turn: others get theirs too */
#define LLR_P95_BITS        6U
#define LLR_P95_SAMPLES_MIN 64U   /* replies before hedge_p95 dares a guess */
#define LLR_P95_SAMPLES_MAX 4096U /* then all counts are halved: old times fade */

/*
 * A server that has lost its sessions takes at least this long to answer again: it is a new
 * process, or a new worker. So a 401 that comes sooner after the first copy left says that no copy
 * met the server before (session.c).
 */
#define LLR_RESTART_NS 5000000U

enum llr_link_state {
	LLR_LINK_DOWN,  /* no transport; connects at retry_ns */
	LLR_LINK_LOST,  /* ended; its transport is closed once nobody looks into its memory */
	LLR_LINK_HELLO, /* connected, or trying to be; waits for WELCOME */
	LLR_LINK_OPEN,  /* has a session */
};

/* One endpoint: connection, session, and what is known of the path. */
struct llr_link {
	struct llr_transport *transport; /* owns; NULL: none */
	struct llr_peer *peer;           /* borrows from transport */
	uint64_t *slot_sequences;        /* owns; newest used, for each slot */
	unsigned int endpoint;           /* index in the setup's list */
	enum llr_link_state state;
	unsigned int place;   /* enum llr_frame_place, for decoding */
	uint16_t frame_flags; /* NO_CRC or nothing, for all frames sent */
	bool is_datagram;     /* may lose, repeat and reorder */
	bool room_is_open;    /* a begun call holds this transport's room: nothing else is sent */
	bool must_flush;
	bool is_blocked; /* the last send found no room */

	/* session */
	uint64_t nonce;
	uint64_t cookie;
	uint64_t session;
	uint64_t epoch;
	uint32_t window; /* granted; stays that of the last session until the next */
	uint32_t max_message;
	uint32_t credits;
	uint64_t hello_since_ns; /* since when a WELCOME is wanted */
	uint64_t hello_due_ns;
	uint64_t hello_sent_ns;
	uint64_t hello_rto_ns;
	uint32_t hello_copies;

	/* life of the peer */
	uint64_t said_ns;    /* when anything was last sent */
	uint64_t silence_ns; /* silent for so long, though asked, it is dead; LLR_NEVER: shared
				memory, whose end the transport tells */
	uint64_t asked_ns;   /* first thing sent since the peer was last heard; 0: nothing */
	uint32_t probes;     /* heartbeats since asked_ns */
	bool is_stale;       /* nothing was sent for so long that the server ended the session */
	uint64_t beat_sequence;
	uint64_t retry_ns;   /* DOWN: when to connect */
	uint64_t backoff_ns; /* hedge link: its own */

	/* retransmission and congestion: datagrams alone (retry.c) */
	uint32_t outstanding; /* legs */
	uint32_t flying;      /* of these, not timed out since they were last sent */
	uint32_t cwnd;
	uint32_t cwnd_replies; /* since cwnd last grew */
	uint64_t cut_ns;       /* when cwnd was last halved */
	uint64_t srtt_ns;      /* 0: not measured */
	uint64_t rttvar_ns;
	uint64_t rto_ns;

	/* received bytes; completions may point into them until the next poll */
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int span_count;
	unsigned int span_index; /* the span to go on with */
	uint32_t span_offset;    /* and where in it */
	bool burst_is_lent;

	/* replies in parts: datagrams alone; taken at the first connection; one for each slot */
	struct llr_reassembly *reassemblies; /* owns */
	uint8_t *reassembly_memory;          /* owns; buffer and bitmap for each slot */
};

/* A request under way in one session. */
struct llr_leg {
	struct llr_link *link; /* shares; NULL: not under way */
	uint64_t sequence;
	uint64_t first_ns;   /* when its first copy left; meaningful with has_left */
	uint64_t sent_ns;    /* when its last copy left */
	uint64_t due_ns;     /* when to repeat; LLR_NEVER on connected transports */
	uint64_t rto_ns;     /* doubles with each repeat */
	uint64_t refused_ns; /* first 401; 0: none */
	uint32_t copies;
	uint32_t part_offset; /* of the copy being sent, if it goes in parts */
	bool has_left;        /* something of it may have reached the server */
	bool is_sending;      /* the copy being sent is not complete */
	bool is_lost;         /* timed out, waits for the congestion window */
	bool is_answered;     /* parts of the reply have come: one part suffices to ask again */
	bool was_stale;       /* its first copy left when the session was surely over */
};

enum llr_call_state {
	LLR_CALL_FREE,
	LLR_CALL_BEGUN,
	LLR_CALL_OUT,   /* committed, without its last completion */
	LLR_CALL_ENDED, /* its completion waits for a poll */
	LLR_CALL_LENT,  /* its kept payload is with the caller until the next poll */
};

#define LLR_CALL_LEGS 2U

struct llr_call {
	struct llr_leg legs[LLR_CALL_LEGS];
	struct llr_call *next; /* shares; in the list of the ended or lent */
	uint64_t id;           /* index + generation * window asked */
	uint64_t tag;
	uint64_t commit_ns;
	uint64_t deadline_ns;
	uint64_t hedge_ns; /* when to start the second leg */
	uint32_t index;
	uint32_t route;
	uint32_t size;        /* bytes of payload */
	uint32_t message_crc; /* of the payload, if it goes in parts */
	uint32_t attempts;    /* copies, in all sessions */
	enum llr_call_state state;
	bool is_idempotent;
	bool may_have_run;                  /* a leg that left ended without an answer */
	bool is_kept;                       /* ENDED: the reply's payload is in the call's buffer */
	struct llrph_completion completion; /* ENDED */
};

/* Where a turn puts what has ended. */
struct llr_harvest {
	struct llrph_completion *completions; /* borrows */
	unsigned int count;
	unsigned int count_max;
};

struct llrph_client {
	struct llr_client_setup setup; /* options resolved */
	const struct llr_clock *clock; /* borrows */
	struct llr_link *primary;      /* shares; never NULL */
	struct llr_link *hedge;        /* shares; NULL: hedging is off */
	struct llr_link links[LLR_ENDPOINTS_MAX];
	uint32_t window;       /* calls; what HELLO asks for */
	uint64_t due_ns;       /* no timer is due before */
	uint64_t turn_ns;      /* the clock at the last turn */
	uint64_t busy_ns;      /* when something last came or went */
	uint64_t sequence_max; /* of all sequences ever sent */
	uint64_t random;
	unsigned int failures; /* to open a session, since there last was one */
	uint64_t backoff_ns;
	int open_error; /* why the last attempt failed */
	struct llrph_error open_text;

	struct llr_call *calls; /* owns */
	uint8_t *buffers;       /* owns; buffer_size for each call: its payload, or a kept reply */
	size_t buffer_size;
	uint16_t free[LLR_WINDOW_MAX]; /* a stack: the warmest slot is used first */
	uint32_t free_count;
	uint32_t outstanding;
	uint32_t scan_start;         /* where the timers' next round begins */
	struct llr_call *ended_head; /* shares; first in, first out */
	struct llr_call *ended_tail;
	struct llr_call *lent; /* shares */

	struct llr_call *begun;      /* shares; NULL: none */
	struct llr_link *begun_link; /* shares; where it was begun */
	uint64_t begun_session;
	struct llr_room room; /* of the begun call, on connected transports; bytes NULL: none */
	uint32_t begun_size;

	bool is_sync;             /* inside llrph_call_sync: others' replies are kept */
	bool is_armed;            /* wake-ups are armed */
	struct llr_call *waiting; /* shares; the call that llrph_call_sync waits for */
	int epoll_fd;

	uint64_t sessions;
	uint64_t retransmissions;
	uint64_t rejected;
	uint64_t hedges;
	uint64_t p95_ns; /* 0: not known */
	uint32_t p95_samples;
	uint64_t latencies[LLR_HISTOGRAM_COUNT(LLR_P95_BITS)]; /* with hedge_p95 */
};

/* client.c */
uint8_t *llr_call_buffer(struct llrph_client *client, const struct llr_call *call);
/* turn.c: what poll does */
void llr_client_turn(struct llrph_client *client, struct llr_harvest *harvest);
/* What one slot takes of reassembly_memory: so that each buffer is as aligned as the first. */
static inline size_t llr_client_parts_size(const struct llrph_client *client)
{
	return client->buffer_size +
	       llr_round_up(LLR_REASSEMBLY_BITMAP_SIZE(client->setup.options.max_message), 64);
}

/* Calls poll not later than at_ns. */
static inline void llr_client_wants(struct llrph_client *client, uint64_t at_ns)
{
	if (at_ns < client->due_ns)
		client->due_ns = at_ns;
}
uint64_t llr_client_random(struct llrph_client *client);

/* call.c */
void llr_call_free(struct llrph_client *client, struct llr_call *call);
void llr_calls_return_lent(struct llrph_client *client);
bool llr_call_is_sendable(unsigned int flags, uint64_t timeout_ns);
/* The rest of commit, for a begun call whose route, size, tag, deadline and flags are set. */
void llr_call_commit_hot(struct llrph_client *client, struct llr_call *call, uint64_t now_ns);

/* ended.c */
/* Takes the begun call off its link's room; true: there is one, to be sent or given back. */
bool llr_begun_release(struct llrph_client *client);
/* Commits a call whose session went between begin and commit. */
void llr_commit_orphan(struct llrph_client *client, struct llr_call *call);
/* With an error; the completion waits for a poll, or for llrph_call_sync. */
void llr_call_end(struct llrph_client *client, struct llr_call *call, int error);
/* With completion; its payload is copied where keep says so. */
void llr_call_keep(struct llrph_client *client, struct llr_call *call,
		   const struct llrph_completion *completion);
void llr_calls_deliver(struct llrph_client *client, struct llr_harvest *harvest);
/* The free stack again, for the primary's window. */
void llr_calls_restack(struct llrph_client *client);

/* send.c */
void llr_leg_start(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		   struct llr_link *link, uint64_t now_ns);
void llr_leg_stop(struct llr_leg *leg);
/* Header and route of the whole request, around a payload that stands at frame + 48. */
void llr_leg_encode(struct llrph_client *client, const struct llr_call *call,
		    const struct llr_leg *leg, uint8_t *frame, uint64_t now_ns);
/* What follows from a copy having left. */
void llr_leg_sent(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		  uint64_t now_ns);
void llr_link_flush(struct llr_link *link);
/* Something left: the peer is expected to be heard. */
void llr_link_said(struct llrph_client *client, struct llr_link *link, uint64_t now_ns);
uint64_t llr_client_timestamp(const struct llrph_client *client, uint64_t now_ns);
/* Microseconds until the deadline; 0 would mean no limit. */
uint32_t llr_call_budget_us(const struct llr_call *call, uint64_t now_ns);
uint16_t llr_leg_flags(const struct llr_call *call, const struct llr_leg *leg);
/* Something of the leg is on its way. */
void llr_leg_note_left(struct llrph_client *client, struct llr_leg *leg, uint64_t now_ns);

/* resend.c */
/* Takes a leg out of the flying ones: it is sent again when it is due and the window allows. */
void llr_leg_ground(struct llr_leg *leg, uint64_t due_ns);
/* Sends a copy, or goes on with one. The leg's timer is set in any case. */
void llr_leg_send(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		  uint64_t now_ns);
/* A frame without payload: HELLO, HEARTBEAT, CANCEL, BYE. 0; -EAGAIN; -ECONNRESET. */
int llr_link_send(struct llrph_client *client, struct llr_link *link, uint8_t type,
		  uint64_t sequence, uint64_t now_ns);
/* Ends all legs, and asks their servers not to run them. */
void llr_call_cancel_legs(struct llrph_client *client, struct llr_call *call, uint64_t now_ns);

/* reply.c */
/* 401: it is settled when there is a new session; see session.c. */
void llr_reply_refused(struct llrph_client *client, struct llr_link *link, struct llr_leg *leg,
		       uint64_t now_ns);
/* 429 and 503: true if they are not for the caller. */
bool llr_reply_is_put_off(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
			  const struct llr_frame *frame, uint64_t now_ns);
/* A part of a reply: true if the reply is whole, frame then holds all of it. */
bool llr_reply_part(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		    struct llr_frame *frame, uint64_t now_ns);
/* Moves the payload of a whole reply to where completions want it. */
void llr_reply_align(struct llr_frame *frame);

/* receive.c */
void llr_link_receive(struct llrph_client *client, struct llr_link *link,
		      struct llr_harvest *harvest, uint64_t now_ns);
/* Gives the burst back, once all of it is used. What completions borrowed from it is gone. */
void llr_link_release(struct llr_link *link);

/* session.c */
/* Connects, repeats HELLO, keeps the session alive, notices death; returns when it is due again. */
uint64_t llr_link_step(struct llrph_client *client, struct llr_link *link, uint64_t now_ns);
void llr_link_welcome(struct llrph_client *client, struct llr_link *link,
		      const struct llr_frame *frame, uint64_t now_ns);
/* The server does not know the session any more: opens another on the same connection. */
void llr_link_reopen(struct llrph_client *client, struct llr_link *link, uint64_t now_ns);
/* The connection is over, or of no use: error says why. */
void llr_link_lose(struct llrph_client *client, struct llr_link *link, int error, uint64_t now_ns);
/* Closes what was lost, once nobody looks into its memory. */
void llr_link_bury(struct llrph_client *client, struct llr_link *link);
/* Says BYE and closes for good. */
void llr_link_close(struct llrph_client *client, struct llr_link *link, uint64_t now_ns);

/* retry.c */
/* All that is due; sets client->due_ns. */
void llr_timers_run(struct llrph_client *client, uint64_t now_ns);
/* Requests that the session may have under way now. */
uint32_t llr_link_limit(const struct llr_link *link);
void llr_rtt_reset(struct llr_link *link);
void llr_rtt_sample(struct llr_link *link, uint64_t rtt_ns);
/* A reply that ends a leg: the window grows. */
void llr_congestion_reply(struct llr_link *link);

/* hedge.c */
/* When a call committed now starts its second leg; LLR_NEVER: not at all. */
uint64_t llr_hedge_time(const struct llrph_client *client, const struct llr_call *call,
			uint64_t now_ns);
void llr_hedge_start(struct llrph_client *client, struct llr_call *call, uint64_t now_ns);
void llr_hedge_record(struct llrph_client *client, uint64_t latency_ns);

/* wait.c */
void llr_client_watch(struct llrph_client *client, struct llr_link *link);
void llr_client_unwatch(struct llrph_client *client, struct llr_link *link);
void llr_client_disarm(struct llrph_client *client);

#endif
