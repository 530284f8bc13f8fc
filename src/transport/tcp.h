/* SPDX-License-Identifier: MIT */
/*
 * TCP over IPv4 and IPv6: many connections on one thread. A span is a run of one connection's
 * bytes.
 *
 * Thread: the owner's. All memory is taken by llr_tcp_listen and llr_tcp_connect.
 *
 * What is particular here, beside transport.h:
 * - struct llr_peer is part of the connection and lives until the rx_release that follows its
 *   LLR_SPAN_CLOSED; that comes exactly once for every peer that was ever seen in a span or
 *   returned by llr_tcp_connect, whoever ended the connection (peer, error, eviction or drop), and
 *   after all spans with bytes. Then forget peer and what peer->session points to.
 * - A burst has at most one span of a connection.
 * - span.wanted: the next span of that peer comes when so many bytes lie there contiguously, or the
 *   most that message_max allows: above it, whatever has come (the framing then streams). While a
 *   message is partial its bytes lie in a buffer borrowed from a pool.
 * - span.bytes is aligned as its position in the stream: its address modulo 16 is the position
 *   modulo 16. So where a span does not start on a multiple of 16 and no message is under way, the
 *   bytes up to the next multiple are padding that comes late.
 * - Leaving bytes with wanted at most their count is back-pressure: they come again, once what is
 *   committed to that peer has left, without waiting for more.
 * - peer.blocked: output waits. Leave the rest of the span then, or the output that its requests
 *   make will meet its bound. While buffers are scarce who is blocked keeps one for a second.
 * - tx_commit pads to a multiple of 16. What the kernel does not take is kept in a bounded buffer.
 *   Listen role: until it is gone the connection is not read; more than the bound, or no progress
 *   for 10 s, ends the connection (evicted). Connect role: until it is gone tx_reserve says
 *   -EAGAIN; it is read all the same, else both sides could wait for each other for ever.
 * - A partial message older than 10 s, from its first byte, ends the connection (evicted).
 * - drop: the connection is not read any more; what was committed is sent (for 10 s at most), then
 *   it is closed. Its LLR_SPAN_CLOSED comes with a later burst: the framing lets go there, not at
 *   drop. drop twice is harmless. rx_release of the span in hand still follows.
 * - After the end was met (before its LLR_SPAN_CLOSED too) tx_reserve says -ECONNRESET.
 */
#ifndef LLR_TRANSPORT_TCP_H
#define LLR_TRANSPORT_TCP_H

#include "base/clock.h"
#include "transport/address.h"
#include "transport/transport.h"

/*
 * A socket bound to uri and listening, non-blocking and closed on exec: for llr_tcp_listen, here or
 * in a child of fork. reuse_port: one of several, the kernel spreads connections over them.
 * 0; -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE... with one line that names the remedy.
 */
int llr_tcp_socket(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error);

struct llr_tcp_setup {
	int fd;                        /* listening; the transport's from success on */
	const char *uri;               /* for errors; borrowed during the call; may be NULL */
	const struct llr_allow *allow; /* borrows; NULL: all */
	struct llr_transport_counters *counters; /* borrows */
	const struct llr_clock *clock;           /* borrows */
	uint32_t connections_max;                /* at least 1; those beyond wait to be accepted */
	uint32_t message_max;                    /* bytes of the largest frame: header and body */
};

/* 0; -ENOMEM; -EMFILE; -EINVAL: fd does not listen. */
int llr_tcp_listen(struct llr_transport **transport, const struct llr_tcp_setup *setup,
		   struct llrph_error *error);

struct llr_tcp_connect_setup {
	const struct llr_uri *uri;               /* borrowed during the call */
	struct llr_transport_counters *counters; /* borrows */
	const struct llr_clock *clock;           /* borrows */
	uint32_t message_max;                    /* bytes of the largest frame: header and body */
	uint64_t timeout_ns;                     /* how long to wait for the connection */
};

/*
 * Connects; *peer is the one peer. Waits up to timeout_ns: -ETIMEDOUT, -ECONNREFUSED, ... with one
 * line. With timeout_ns 0 it only begins: 0 is returned unless set-up fails; until the connection
 * stands tx_reserve says -EAGAIN; if it comes to nothing, LLR_SPAN_CLOSED follows, and
 * llr_tcp_error says why.
 */
int llr_tcp_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_tcp_connect_setup *setup, struct llrph_error *error);
/*
 * Connects again to the same address in the same memory (takes none), after the rx_release of the
 * old peer's LLR_SPAN_CLOSED (-EBUSY before). Otherwise as llr_tcp_connect; after a failure it may
 * be called again. *peer is the same object, with session NULL. wait_fd stays the same.
 */
int llr_tcp_reconnect(struct llr_transport *transport, struct llr_peer **peer, uint64_t timeout_ns,
		      struct llrph_error *error);
/* Connect role: why the last connection ended, as a negative errno code; 0: not, or by FIN. */
int llr_tcp_error(const struct llr_transport *transport);
/* Connect role: true once the connection stands, until its end is met. */
bool llr_tcp_is_connected(const struct llr_transport *transport);

#endif
