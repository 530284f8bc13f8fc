/* SPDX-License-Identifier: MIT */
/*
 * The engine's own structs, for the files of src/engine that make up the turn. The request path in
 * order: turn.c calls llrp.c (decode, session), admit.c (admit, verify), dispatch.c (handler) and
 * reply.c, by way of the framing's table.
 *
 * Thread: the worker's, for everything here.
 */
#ifndef LLR_ENGINE_INSIDE_H
#define LLR_ENGINE_INSIDE_H

#include "base/limits.h"
#include "engine/engine.h"
#include "request/session.h"

struct llr_request;
struct llr_listener;

/* How messages are found in spans and answered: LLRP now, others beside it later. */
struct llr_framing {
	/* Decodes the span's next message into request; false: there is none (any more). */
	bool (*next)(struct llr_request *request, struct llr_span *span);
	/* Finds session and slot; false: the message has been dealt with. */
	bool (*session)(struct llr_request *request);
	/* Answers without a handler; text NULL: the status's own. */
	void (*refuse)(struct llr_request *request, unsigned int status, const char *text);
	/* Takes room for a reply's payload; NULL: none, or out of range. */
	void *(*room)(struct llr_request *request, uint32_t size);
	/* Sends what the handler built. part: more follows. 0, or -EAGAIN with the room kept. */
	int (*reply)(struct llr_request *request, unsigned int status, bool part);
	/* The peer's connection has ended. */
	void (*closed)(struct llr_listener *listener, struct llr_peer *peer);
};

/* What a stream connection owes or skips, between spans; by llr_peer.index. */
struct llr_stream_state {
	uint32_t padding_left; /* zeros that belong to the frame before */
	uint32_t skip_left;    /* bytes of a frame that is too large to be held */
	uint32_t skip_crc;     /* over what was skipped so far */
	uint32_t skip_crc_sent;
	uint64_t skip_sequence;
	uint64_t skip_session;
	uint32_t skip_route;
	uint32_t skip_size; /* of the frame */
	uint16_t skip_flags;
	uint8_t skip_type;
	uint8_t dead; /* rejected: nothing more is heard of it but its end */
};

/* Transport and framing. */
struct llr_listener {
	struct llrph_engine *engine;       /* borrows */
	struct llr_transport *transport;   /* owns */
	const struct llr_framing *framing; /* borrows */
	struct llr_stream_state *streams;  /* owns; stream transports; one for each connection */
	uint64_t polled_ns;                /* when it was last looked at */
	uint64_t busy_ns;                  /* when it last had something */
	uint32_t queue_capacity;           /* datagrams that its socket surely holds; 0: no such */
	unsigned int place;                /* enum llr_frame_place */
	uint16_t index;
	bool cheap; /* looked at each turn: shared memory */
};

/* One method that is served. */
struct llr_method {
	const struct llrph_method *spec; /* borrows */
	void *state;                     /* shares: its service's */
	struct llr_method_stats *stats;  /* borrows: the stats page */
	uint32_t route;
	uint16_t service;
};

struct llr_service_entry {
	const struct llrph_service *spec; /* borrows */
	void *state;                      /* owns, by way of spec->close */
};

/* A request that is answered later. */
struct llrph_deferred {
	struct llrph_engine *engine;     /* borrows */
	struct llr_listener *listener;   /* borrows */
	const struct llr_method *method; /* borrows */
	struct llr_session *session;     /* shares; NULL: sessionless, answered to peer's copy */
	uint64_t session_id;             /* what session->id must still be */
	uint64_t sequence;
	uint64_t received_ns;
	uint64_t start_ns;
	struct llrph_deferred *next; /* borrows: the next free one */
	struct llr_peer peer;        /* as it was: sessionless, where the answer goes */
	uint32_t answer_size_max;    /* bytes of the answer's frame */
	uint32_t route;
	uint16_t flags; /* of the request's frame */
	bool idempotent;
	bool used;
};

/*
 * One request on its way through the turn. call comes first: the handler's view is the engine's.
 */
struct llr_request {
	struct llrph_call call;
	struct llrph_engine *engine;     /* borrows */
	struct llr_listener *listener;   /* borrows */
	struct llr_peer *peer;           /* borrows: the span's, or the session's own */
	struct llr_session *session;     /* borrows; NULL: none */
	const struct llr_method *method; /* borrows; NULL: no such method */
	struct llrph_deferred *deferred; /* set when the handler put the answer off */
	struct llr_frame frame;
	struct llr_room room;     /* while room_open */
	uint64_t start_ns;        /* the handler's */
	uint32_t answer_size_max; /* bytes of the answer's frame: what a stranger sent */
	bool room_open;
	bool staged;     /* the reply is built in the engine's stage: it leaves as fragments */
	bool idempotent; /* the method or this frame says so */
	bool ext_broken;
	bool no_room;                    /* the transport was full when the handler asked */
	bool reasoned;                   /* the reply's payload is a reason */
	enum llr_frame_verdict rejected; /* found after decoding: ends the span */
};

struct llrph_engine {
	struct llr_clock clock;
	struct llrph_engine_options options;
	struct llr_stats *stats;       /* borrows, or owns with own_stats */
	struct llr_counters *counters; /* borrows: the stats page */
	struct llr_secret *secret;     /* borrows */
	struct llr_sessions sessions;  /* datagrams and lanes */
	struct llr_sessions streams;   /* TCP connections */
	void *sessions_private;        /* owns */
	void *streams_memory;          /* owns; NULL before the first TCP endpoint */
	void *streams_private;         /* owns */
	void *sessions_memory;         /* borrows */
	uint8_t *stage;                /* owns: one frame of the largest message */
	size_t stage_size;
	uint32_t frame_max;      /* bytes of the largest frame that is held */
	uint64_t now_ns;         /* as last read */
	uint64_t wall_offset_ns; /* wall clock minus monotonic */
	uint64_t sweep_ns;       /* when the next look at silent sessions is due */
	uint64_t recover_ns;     /* successor: when what is left of its lanes is settled; 0 */
	uint64_t random_count;   /* numbers drawn */
	uint32_t sweep_at;       /* which sessions are looked at next */
	uint32_t credits_share;  /* for each datagram session */
	uint32_t deferred_count;
	int epoll_fd; /* owns; from start on */
	unsigned int worker;
	unsigned int listener_count;
	unsigned int service_count;
	unsigned int method_count;
	bool successor;
	bool started;
	bool stopping;
	struct llrph_deferred *deferred_free; /* borrows: first of the free ones */
	struct llrph_deferred *deferred;      /* owns: LLR_DEFERRED_MAX of them */
	void *embedded;                       /* owns: what llrph_engine_open made besides; NULL */
	struct llr_listener listeners[LLR_LISTENERS_MAX];
	struct llr_service_entry services[LLR_SERVICES_MAX];
	struct llr_method methods[LLR_METHODS_MAX];
	uint16_t method_table[2 *
			      LLR_METHODS_MAX]; /* open addressing by route; index + 1, 0: none */
	struct llr_span spans[LLR_BURST_MAX];
};

extern const struct llr_framing llr_framing_llrp;

/* admit.c: false: refused, and answered */
bool llr_admit(struct llr_request *request);
bool llr_verify(struct llr_request *request);
/* Credits that a reply grants, and the share that datagram sessions have of the queue. */
uint16_t llr_credits(const struct llr_request *request);
void llr_credits_share(struct llrph_engine *engine);

/* dispatch.c */
const struct llr_method *llr_method_find(const struct llrph_engine *engine, uint32_t route);
/* Runs the handler; returns its status, checked, or LLRPH_DEFERRED. */
int llr_dispatch(struct llr_request *request);
/* What a status becomes that its method may not return; and its reason, where it needs one. */
int llr_status_check(struct llr_request *request, int status);

/* reply.c: LLRP's answers, and the steps that refuse.c and parts.c share */
void *llr_llrp_room(struct llr_request *request, uint32_t size);
int llr_llrp_reply(struct llr_request *request, unsigned int status, bool part);
bool llr_on_datagrams(const struct llr_request *request);
/* Bytes of payload that an answer may have. */
uint32_t llr_answer_size_max(const struct llr_request *request);
/* Room for a frame; where the transport is full it is flushed once. */
int llr_frame_reserve(struct llr_request *request, uint32_t size, struct llr_room *room);
/* Opens room for a frame with size bytes of payload and hands back where the payload goes. */
uint8_t *llr_payload_room(struct llr_request *request, uint32_t size);
/* Writes route block and header around a payload of size bytes that stands in the room. */
void llr_frame_commit(struct llr_request *request, struct llr_room *room, uint32_t size,
		      const struct llr_reply_route *route, unsigned int flags);
/* Whether a sequence may not be tried again under this answer. */
bool llr_settles(unsigned int status);
/* What the slot learns of an answer; payload is remembered where the protocol says so. */
void llr_slot_answer(struct llr_request *request, const uint8_t *payload, uint32_t size,
		     const struct llr_reply_route *route);
uint32_t llr_saturate(uint64_t value);

/* refuse.c */
void llr_llrp_refuse(struct llr_request *request, unsigned int status, const char *text);
void llr_count_status(struct llr_counters *counters, unsigned int status);
/* A frame without a route block: WELCOME, ACK. body: header->length bytes, copied. */
void llr_llrp_send(struct llr_listener *listener, struct llr_peer *peer,
		   const struct llr_header *header, const uint8_t *body);

/* parts.c: adds a part; true: the message is whole, and request is it */
bool llr_llrp_part_take(struct llr_request *request);
/* Sends a payload of size bytes in parts. What finds no room is lost: the client repeats. */
void llr_llrp_parts_send(struct llr_request *request, const uint8_t *payload, uint32_t size,
			 const struct llr_reply_route *route);
/* Answers a repeat from memory. A burst of its parts is answered once. */
void llr_llrp_repeat(struct llr_request *request);

/* reject.c: a rejected frame ends its datagram or connection; returns false */
bool llr_llrp_reject(struct llr_request *request, struct llr_span *span,
		     enum llr_frame_verdict verdict);

/* control.c: HELLO, HEARTBEAT, BYE, CANCEL */
void llr_llrp_control(struct llr_request *request);
void llr_session_end(struct llrph_engine *engine, struct llr_session *session);
struct llr_sessions *llr_sessions_of(struct llrph_engine *engine,
				     const struct llr_session *session);

/* The peer's connection has ended: so has its session. */
void llr_llrp_closed(struct llr_listener *listener, struct llr_peer *peer);
/* A request without a session: 401, or a sessionless one that may run (true). */
bool llr_llrp_stranger(struct llr_request *request);

/* llrp.c: zeros between frames; false: rejected, or the span is over */
bool llr_padding_take(struct llr_request *request, struct llr_span *span, uint32_t *left);

/* stream.c: finds the next frame in a run of bytes */
bool llr_stream_next(struct llr_request *request, struct llr_span *span);
/* What a connection owes or skips; NULL on transports without streams. */
struct llr_stream_state *llr_stream_of(struct llr_listener *listener, const struct llr_peer *peer);

/* wait.c */
int llr_wait_open(struct llrph_engine *engine);

/* embed.c */
void llr_embedded_close(void *memory);

/* recover.c */
void llr_engine_recover(struct llrph_engine *engine);
void llr_engine_recover_end(struct llrph_engine *engine);

/* engine.c: once a millisecond: sessions and messages that have been silent for too long */
void llr_engine_sweep(struct llrph_engine *engine);
uint64_t llr_engine_random(struct llrph_engine *engine);

static inline uint64_t llr_engine_wall(const struct llrph_engine *engine)
{
	return engine->now_ns + engine->wall_offset_ns;
}

#endif
