/* SPDX-License-Identifier: MIT */
/*
 * What the files of the TCP transport share; nobody else includes this.
 *
 *   tcp.c             the table, listening, waiting, closing
 *   tcp_connect.c     the connect role
 *   tcp_poll.c        epoll and accept
 *   tcp_connection.c  lists, the life and end of a connection, time-outs
 *   tcp_receive.c     from the kernel to spans
 *   tcp_send.c        from rooms to the kernel
 *
 * Thread: the owner's. One mapping holds all memory:
 *
 *   struct llr_tcp | connections | read area | staging | small | large | output pools
 *
 * The life of a connection:
 *
 *   FREE -> CONNECTING -> OPEN -> ENDED ------> (LLR_SPAN_CLOSED released) -> FREE
 *                           `---> LINGERING --> (the same, and socket closed) -> FREE
 *
 * ENDED: the socket is closed. LINGERING: dropped; what was committed is still being sent, then our
 * FIN goes out and we wait for the peer's: closing while it still sends would reset the connection
 * and could destroy replies on their way.
 */
#ifndef LLR_TRANSPORT_TCP_INSIDE_H
#define LLR_TRANSPORT_TCP_INSIDE_H

#include "base/limits.h"
#include "transport/tcp.h"
#include "transport/tcp_buffer.h"

/* The most that one connection is read at once: its turn, before the others have theirs. */
#define LLR_TCP_READ_MAX 65536U
/* Reads of one burst that are not continued partial messages. One more read always fits. */
#define LLR_TCP_AREA_SIZE (262144U + LLR_TCP_READ_MAX + 4096U)
/* Buffers for partial messages; the large ones hold the largest frame, and a whole read. */
#define LLR_TCP_SMALL_SIZE   2048U
#define LLR_TCP_SMALL_COUNT  1024U
#define LLR_TCP_LARGE_COUNT  32U
#define LLR_TCP_LARGE_BUDGET (64U << 20) /* fewer large ones where they would take more, but 4 */
/* Output that waits: chunks chained up to a bound for each connection, half of the pool. */
#define LLR_TCP_CHUNK_SIZE  65536U
#define LLR_TCP_OUTPUT_MIN  (2U << 20)

#define LLR_TCP_PATIENCE_NS 10000000000U /* partial message, blocked output, lingering */
#define LLR_TCP_STARVED_NS  1000000000U  /* no buffer so long: the oldest partial goes */
#define LLR_TCP_PAUSE_NS    100000000U   /* accept, for want of descriptors */
#define LLR_TCP_TICK_NS     1000000U     /* time-outs are looked at this often */
#define LLR_TCP_HOT_NS      1000000U     /* read without asking epoll, after the last bytes */
#define LLR_TCP_HOT_COUNT   4U
#define LLR_TCP_POLL_SKIP   32U /* bursts without epoll at most, whatever the clock says */

enum llr_tcp_state {
	LLR_TCP_FREE,
	LLR_TCP_CONNECTING,
	LLR_TCP_OPEN,
	LLR_TCP_LINGERING,
	LLR_TCP_ENDED,
};

enum llr_tcp_flag {
	LLR_TCP_READABLE = 1, /* the kernel may have bytes, or the end, for us */
	LLR_TCP_FINISHED = 4, /* the peer's FIN was announced: read on until it is met */
	LLR_TCP_LENT = 8,     /* a span of it is out */
	LLR_TCP_AGAIN = 16,   /* the framing left bytes that it could have used: lend them again */
	LLR_TCP_SEEN = 32,    /* its peer was handed out: LLR_SPAN_CLOSED is owed */
	LLR_TCP_HOT = 64,     /* among those that are read without asking epoll */
};

/* A connection is in at most one list of each kind. */
enum llr_tcp_link_kind {
	LLR_TCP_LINK_QUEUE,   /* ready, starved (any or large), to be announced, free */
	LLR_TCP_LINK_PARTIAL, /* partial messages whose sender is to go on, by partial_ns */
	LLR_TCP_LINK_OUTPUT,  /* blocked or lingering, by the last progress */
	LLR_TCP_LINK_COUNT,
};

struct llr_tcp_list {
	struct llr_tcp_connection *first; /* shares */
	struct llr_tcp_connection *last;  /* shares */
	enum llr_tcp_link_kind kind;
};

struct llr_tcp_link {
	struct llr_tcp_connection *next; /* shares */
	struct llr_tcp_connection *prev; /* shares */
	struct llr_tcp_list *list;       /* shares: the one that it is in; NULL: none */
};

struct llr_tcp_connection {
	struct llr_peer peer;
	struct llr_tcp_link links[LLR_TCP_LINK_COUNT];
	struct llr_buffer_pool *pool; /* shares: of its input buffer; NULL: it has none */
	uint64_t partial_ns;          /* when the partial message began, or could go on; blocked:
					 since when */
	uint64_t output_ns;           /* last progress of blocked output */
	uint32_t buffer;              /* index in pool */
	uint32_t start;               /* first byte not consumed, in its buffer */
	uint32_t fill;                /* end of the bytes in its buffer */
	uint32_t wanted;              /* as the framing said; 0: whatever comes */
	uint32_t output_first;        /* chunks of output that waits */
	uint32_t output_last;
	uint32_t output_offset; /* in the first chunk */
	uint32_t output_size;   /* bytes that wait */
	uint32_t burst;         /* the burst that visited it last */
	int fd;                 /* owns; -1: closed */
	uint8_t state;          /* enum llr_tcp_state */
	uint8_t flags;          /* enum llr_tcp_flag */
	uint8_t position;       /* of the first byte not consumed in its stream, modulo 16 */
};
/* 10,000 idle connections: 2.5 MB. With a session's 64 slots an idle one stays below 1 KiB. */
_Static_assert(sizeof(struct llr_tcp_connection) <= 256, "an idle connection is small");

struct llr_tcp_hot {
	struct llr_tcp_connection *connection; /* shares; NULL: free */
	uint64_t active_ns;
};

struct llr_tcp {
	struct llr_transport transport; /* first: the ops' pointer is ours */
	const struct llr_clock *clock;  /* borrows */
	const struct llr_allow *allow;  /* borrows; NULL: all */
	size_t mapping_size;
	int listen_fd; /* owns; -1: connect role */
	int epoll_fd;  /* owns */
	int timer_fd;  /* owns; wakes a sleeping owner for time-outs */
	int error;     /* connect role: why the last connection ended */
	struct llr_uri uri;

	uint64_t now_ns;         /* the burst's */
	uint64_t tick_ns;        /* when time-outs are looked at next */
	uint64_t polled_ns;      /* when epoll was asked last */
	uint64_t crowded_ns;     /* when an active connection last found no hot place */
	uint64_t accept_ns;      /* when accept goes on; 0: not paused by time */
	uint64_t starved_any_ns; /* since when somebody waits for any buffer */
	uint64_t starved_large_ns;
	uint64_t armed_ns; /* what timer_fd is set to */
	uint32_t burst;    /* number of the burst */
	uint32_t poll_skipped;
	bool listening;    /* the listener is armed in epoll */
	bool pause_logged; /* until nobody waits to be accepted */
	bool room_open;
	uint32_t lent_count; /* spans that are out */

	struct llr_tcp_connection *connections; /* shares: within the mapping */
	uint32_t connections_max;
	uint32_t message_max; /* rounded up to LLR_ALIGN */
	struct llr_tcp_hot hot[LLR_TCP_HOT_COUNT];
	struct llr_tcp_list free;
	struct llr_tcp_list ready;         /* the kernel has something for them, or AGAIN */
	struct llr_tcp_list announce;      /* LLR_SPAN_CLOSED is to be delivered */
	struct llr_tcp_list starved_any;   /* no buffer of any kind was free */
	struct llr_tcp_list starved_large; /* no large buffer was free, and small ones won't do */
	struct llr_tcp_list partial;
	struct llr_tcp_list output;

	uint8_t *area; /* shares; reads of this burst lie here */
	uint32_t area_used;
	uint32_t small_promised; /* buffers that releasing this burst may need */
	uint32_t large_promised;
	struct llr_buffer_pool small;
	struct llr_buffer_pool large;

	uint8_t *staging; /* shares; what was committed to one connection and not yet sent */
	uint32_t staging_size;
	uint32_t staged;    /* bytes, a multiple of 16 */
	uint32_t room_size; /* of the open room */
	uint32_t output_max;
	struct llr_tcp_connection *staged_for; /* shares; NULL: nobody */
	struct llr_buffer_pool chunks;
};

static inline struct llr_tcp *llr_tcp_of(struct llr_transport *transport)
{
	return (struct llr_tcp *)transport;
}

static inline bool llr_tcp_is_listener(const struct llr_tcp *tcp)
{
	return tcp->listen_fd >= 0;
}

/* tcp.c: takes all memory and both descriptors, for a listener (listen_fd) or a caller (-1). */
struct llr_tcp_sizes {
	uint32_t connections_max;
	uint32_t message_max;
	uint32_t small_count;
	uint32_t large_count;
	bool listener;
};
int llr_tcp_create(struct llr_tcp **created, const struct llr_tcp_sizes *sizes);
void llr_tcp_destroy(struct llr_tcp *tcp);

/* tcp_connection.c */
void llr_tcp_list_append(struct llr_tcp_list *list, struct llr_tcp_connection *connection);
void llr_tcp_list_prepend(struct llr_tcp_list *list, struct llr_tcp_connection *connection);
/* Takes it out of the list of that kind that it is in, if any. */
void llr_tcp_unlink(struct llr_tcp_connection *connection, enum llr_tcp_link_kind kind);
struct llr_tcp_connection *llr_tcp_take_free(struct llr_tcp *tcp);
/* Makes an open one of fd, which it owns from then on; 0 or -errno of epoll. */
int llr_tcp_adopt(struct llr_tcp *tcp, struct llr_tcp_connection *connection, int fd,
		  enum llr_tcp_state state);
/* Puts it in line for its turn, if anything can be done for it now. */
void llr_tcp_make_ready(struct llr_tcp *tcp, struct llr_tcp_connection *connection);
/*
 * Starts the patience with its partial message, if it has one, anew: when that begins, and when a
 * wait ends that was not its sender's fault (llr_tcp_unlink from the list stops it meanwhile).
 */
void llr_tcp_time_partial(struct llr_tcp *tcp, struct llr_tcp_connection *connection);
/* Ends it for -code (0: by FIN): closes the socket now, LLR_SPAN_CLOSED follows if owed. */
void llr_tcp_end(struct llr_tcp *tcp, struct llr_tcp_connection *connection, int code);
/* The same with a reset, and counted. */
void llr_tcp_evict(struct llr_tcp *tcp, struct llr_tcp_connection *connection);
void llr_tcp_announced(struct llr_tcp *tcp, struct llr_tcp_connection *connection);
void llr_tcp_drop(struct llr_transport *transport, struct llr_peer *peer);
void llr_tcp_tick(struct llr_tcp *tcp);
/* When llr_tcp_tick has something to do next; UINT64_MAX: never. */
uint64_t llr_tcp_deadline(const struct llr_tcp *tcp);

/* tcp_poll.c */
void llr_tcp_poll(struct llr_tcp *tcp);
/* Lets the listener's events through again, or not. */
void llr_tcp_listen_arm(struct llr_tcp *tcp, bool armed);

/* tcp_receive.c */
unsigned int llr_tcp_rx_burst(struct llr_transport *transport, uint64_t now_ns,
			      struct llr_span *spans, unsigned int count_max);
void llr_tcp_rx_release(struct llr_transport *transport, struct llr_span *spans,
			unsigned int count);
void llr_tcp_input_free(struct llr_tcp_connection *connection);
/* True if somebody who waited for a buffer could have one now. */
bool llr_tcp_can_feed(const struct llr_tcp *tcp);

/* tcp_send.c */
int llr_tcp_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
		       struct llr_room *room);
void llr_tcp_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size);
void llr_tcp_tx_abort(struct llr_transport *transport, struct llr_room *room);
void llr_tcp_tx_flush(struct llr_transport *transport);
/* Sends what waits; may end the connection. */
void llr_tcp_output_drain(struct llr_tcp *tcp, struct llr_tcp_connection *connection);
void llr_tcp_output_free(struct llr_tcp *tcp, struct llr_tcp_connection *connection);

#endif
