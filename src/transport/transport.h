/* SPDX-License-Identifier: MIT */
/*
 * The seam: one table of operations, one file for each transport. A transport moves bursts of spans
 * and knows nothing of frames, sessions or services.
 *
 * For every operation: thread = the owner's (worker or client) alone; none allocates; none blocks
 * but wait. Memory of spans is the transport's and borrowed until rx_release; memory of rooms is
 * the transport's, writable from reserve to commit or abort. Errors are negative errno codes.
 *
 * Openers differ in what they need and are declared in each transport's own header; all of them
 * return a struct llr_transport whose ops are one of these tables. The simulator in test/sim/ is
 * one more implementation.
 */
#ifndef LLR_TRANSPORT_TRANSPORT_H
#define LLR_TRANSPORT_TRANSPORT_H

#include "base/span.h"

#include <stddef.h>
#include <stdint.h>

struct llr_transport;

enum llr_trait {
	LLR_TRAIT_CONNECTED = 1, /* peers are connections: in order, no loss until they end */
	LLR_TRAIT_STREAM = 2,    /* spans are runs of a byte stream, not whole messages */
	LLR_TRAIT_NO_CRC = 4,    /* memory to memory: frames may go without their checksum */
};

/*
 * Words that a transport counts; single writer, its owner. They live where the owner of the
 * transport says (the stats page), so that tools read them without asking. The table makes the
 * struct, the names on the stats page and the man page's section.
 */
/* clang-format off */
#define LLR_TRANSPORT_COUNTER_TABLE(X)                                                             \
	X(rx_spans,      "datagrams, reads or records received")                                           \
	X(rx_bytes,      "bytes received")                                                                 \
	X(tx_spans,      "datagrams, writes or records sent")                                              \
	X(tx_bytes,      "bytes sent")                                                                     \
	X(rx_denied,     "datagrams or connections from outside --allow")                                  \
	X(rx_broken,     "shm: indices or lengths that made no sense; the lane was ended")                 \
	X(rx_truncated,  "datagrams above the receive buffer")                                             \
	X(tx_failed,     "datagrams or bytes that the kernel refused for good")                            \
	X(tx_deferred,   "times that the kernel or the peer had no room")                                  \
	X(accepted,      "connections or lanes taken in")                                                  \
	X(closed,        "connections or lanes that ended")                                                \
	X(accept_paused, "times that accept stopped for want of descriptors or memory")                    \
	X(evicted,       "connections shown the door: slow reader, slow sender")
/* clang-format on */

struct llr_transport_counters {
#define LLR_TRANSPORT_COUNTER_FIELD(name, text) uint64_t name;
	LLR_TRANSPORT_COUNTER_TABLE(LLR_TRANSPORT_COUNTER_FIELD)
#undef LLR_TRANSPORT_COUNTER_FIELD
};

struct llr_transport_ops {
	const char *scheme;  /* "shm", "udp", "tcp", "sim" */
	unsigned int traits; /* enum llr_trait */

	/*
	 * Fills up to count_max spans with what is there; now_ns is the turn's clock. Also accepts
	 * connections and notices ended ones (LLR_SPAN_CLOSED). Returns the count, 0: nothing.
	 * After a burst that returned more than 0, rx_release must come before the next.
	 */
	unsigned int (*rx_burst)(struct llr_transport *transport, uint64_t now_ns,
				 struct llr_span *spans, unsigned int count_max);
	/* Gives back the last burst; stream: keeps what was not consumed. */
	void (*rx_release)(struct llr_transport *transport, struct llr_span *spans,
			   unsigned int count);

	/*
	 * Room for size bytes to a peer. 0; -EAGAIN no room now (ring or socket full); -EMSGSIZE
	 * can never fit; -ECONNRESET the peer is gone. One room is open at a time for each
	 * transport; it holds up nobody else, for it is ended before its owner turns to the next
	 * message.
	 */
	int (*tx_reserve)(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			  struct llr_room *room);
	/* Sends size bytes of the room, 1..room->size; at the latest with the next tx_flush. */
	void (*tx_commit)(struct llr_transport *transport, struct llr_room *room, uint32_t size);
	void (*tx_abort)(struct llr_transport *transport, struct llr_room *room);
	/* Hands everything committed to kernel or peer, waking it where it sleeps. */
	void (*tx_flush)(struct llr_transport *transport);
	/* Takes back room that kernel or NIC is done with; NULL where there is nothing to do. */
	void (*tx_reap)(struct llr_transport *transport);

	/*
	 * A descriptor that epoll finds readable when rx_burst has work; -1: none needed. prepare
	 * arms the wake-up (shm: "parked" and a full fence) and returns true if something is there
	 * already: then do not sleep. wake disarms it. Both may be NULL.
	 */
	int (*wait_fd)(struct llr_transport *transport);
	bool (*wait_prepare)(struct llr_transport *transport);
	void (*wait_done)(struct llr_transport *transport);

	/* Ends one connection after what was committed to it is sent; NULL on datagrams. */
	void (*drop)(struct llr_transport *transport, struct llr_peer *peer);
	void (*close)(struct llr_transport *transport);
};

/* First member of every transport's own struct. */
struct llr_transport {
	const struct llr_transport_ops *ops;
	struct llr_transport_counters *counters; /* borrows */
	const char *uri;                         /* owns; as printed: with the real port */
};

#endif
