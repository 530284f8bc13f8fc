/* SPDX-License-Identifier: MIT */
/*
 * What crosses the seam between transports and everything above them: spans that were received,
 * rooms to send from, and the peers they belong to. Nothing here knows frames.
 *
 * Thread: the worker's, or the client's, that owns the transport.
 */
#ifndef LLR_BASE_SPAN_H
#define LLR_BASE_SPAN_H

#include <stdbool.h>
#include <stdint.h>

/* Frames, and so rooms, start on multiples of this in a datagram, stream or ring. */
#define LLR_ALIGN 16U

/* An IPv4 (mapped: ::ffff:a.b.c.d) or IPv6 address with port and scope; all bytes compared. */
struct llr_address {
	uint8_t ip[16];
	uint32_t scope;
	uint16_t port;   /* host order */
	uint16_t family; /* AF_INET or AF_INET6; 0: none */
};
_Static_assert(sizeof(struct llr_address) == 24, "compared with memcmp: no padding");

/*
 * The other end. On connected transports it is the connection (or lane) and lives as long as that;
 * on datagram transports a span's peer is a scratch object, valid until rx_release, of which a
 * session keeps a copy.
 */
struct llr_peer {
	struct llr_address address; /* datagram, TCP: the sender's; shm: family 0 */
	struct llr_address local;   /* datagram to a socket of all addresses: the one that it came
				       to and answers leave from, port 0; else family 0 */
	void *link;                 /* the transport's own: connection, lane; NULL on datagrams */
	void *session;  /* connected: what the framing bound to it; shares; NULL: nothing */
	uint32_t mtu;   /* bytes that one datagram to it may have; 0: no such limit */
	uint32_t uid;   /* shm: its uid; else UINT32_MAX */
	uint32_t index; /* connected: of the connection or lane within its transport; a lane's is
			   stable across its worker's death */
	bool blocked;   /* stream: what was sent to it waits, for it does not read fast enough:
			   leave the rest of its span where it is, it comes again */
};

enum llr_span_flag {
	LLR_SPAN_CLOSED = 1, /* the peer's connection has ended: no bytes; forget it now */
};

/*
 * Bytes that were received. Borrowed from rx_burst until rx_release.
 * Stream transports: the framing sets consumed to what it used and, where it wants more before it
 * can go on, wanted to the whole size (from the first byte not consumed) that it needs contiguous.
 */
struct llr_span {
	struct llr_peer *peer;
	uint8_t *bytes;       /* aligned to LLR_ALIGN; stream: as its position in the stream is;
				 not written to by those who borrow it: may be read-only */
	uint64_t received_ns; /* monotonic: when the kernel, NIC or ring had it */
	uint32_t size;
	uint32_t consumed; /* out, stream */
	uint32_t wanted;   /* out, stream; 0: whatever comes next */
	uint32_t flags;    /* enum llr_span_flag */
};

/* Room to send from: taken by tx_reserve, ended by tx_commit or tx_abort. */
struct llr_room {
	uint8_t *bytes;  /* aligned to LLR_ALIGN */
	uint32_t size;   /* at least what was asked for */
	uint32_t handle; /* the transport's own */
	struct llr_peer *peer;
};

#endif
