/* SPDX-License-Identifier: MIT */
/*
 * UDP over IPv4 and IPv6, in bursts. A span is one datagram; a room is a part of one.
 *
 * Thread: the owner's. All memory is taken by llr_udp_listen and llr_udp_connect.
 *
 * What is particular here, beside transport.h:
 * - span.peer is scratch (valid until rx_release); tx_reserve takes any struct llr_peer with
 *   address and mtu set, such as a session's copy. The connect role has one peer, and ignores which
 *   one is passed.
 * - peer.local: on a socket bound to all addresses, the one that the datagram came to; what is
 *   sent to that peer leaves from there.
 * - peer.mtu: what a datagram to that peer may have. Listen role: 1472 (IPv4) or 1452 (IPv6), or
 *   the size of this very datagram where that is larger: proof that the path carries it (as far as
 *   a path is the same both ways; else the datagram is dropped and counted tx_failed). Connect
 *   role: from the kernel's knowledge of the path, at open and again whenever it refuses one.
 * - Rooms to one peer within one turn share a datagram while they fit in peer.mtu; a room starts
 *   at the next multiple of 16, zeros before it, nothing after the last.
 * - tx_reserve: -EMSGSIZE above peer.mtu; -EAGAIN when the datagrams not yet taken by the kernel
 *   fill the arena (a flush may help). IP fragmentation is off.
 * - received_ns: the kernel's receive time, moved from the wall to the monotonic clock by one pair
 *   of readings a burst; never after now_ns, nor more than 1 s before it (a wall clock that was
 *   set while a datagram waited must not spend its whole budget).
 */
#ifndef LLR_TRANSPORT_UDP_H
#define LLR_TRANSPORT_UDP_H

#include "base/clock.h"
#include "transport/address.h"
#include "transport/transport.h"

/*
 * A socket bound to uri, non-blocking and closed on exec: for llr_udp_listen, here or in a child
 * of fork. reuse_port: one of several, the kernel spreads senders over them.
 * 0; -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE... with one line that names the remedy.
 */
int llr_udp_socket(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error);

struct llr_udp_setup {
	int fd;                        /* the transport's from success on */
	const char *uri;               /* for errors; borrowed during the call; may be NULL */
	const struct llr_allow *allow; /* borrows; NULL: all */
	struct llr_transport_counters *counters; /* borrows */
	const struct llr_clock *clock;           /* borrows */
};

/* 0; -ENOMEM; what getsockname or setsockopt said (fd is no socket of UDP: -EINVAL). */
int llr_udp_listen(struct llr_transport **transport, const struct llr_udp_setup *setup,
		   struct llrph_error *error);

/* A socket connected to uri; *peer is the one peer, the transport's until close. */
int llr_udp_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_uri *uri, struct llr_transport_counters *counters,
		    const struct llr_clock *clock, struct llrph_error *error);

/*
 * Datagrams of 1472 bytes that the socket's receive buffer surely holds, whatever their bytes cost
 * the kernel besides: credits granted to all sessions together stay below it.
 */
uint32_t llr_udp_queue_capacity(const struct llr_transport *transport);

/*
 * True if "port unreachable" (ICMP) came since the last call: nobody serves the peer's port, or
 * did not just then. Connect role; a hint that may be forged or late: timers decide.
 */
bool llr_udp_refused(struct llr_transport *transport);

#endif
