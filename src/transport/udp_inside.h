/* SPDX-License-Identifier: MIT */
/*
 * What the files of the UDP transport share: udp.c opens and closes, udp_receive.c and udp_send.c
 * move datagrams, udp_local.c knows which of our addresses they came to. Nobody else includes this.
 *
 * Thread: the owner's. One mapping holds all of it:
 *
 *   struct llr_udp | receive buffers, one for each datagram of a burst | send arena
 */
#ifndef LLR_TRANSPORT_UDP_INSIDE_H
#define LLR_TRANSPORT_UDP_INSIDE_H

#include "base/limits.h"
#include "transport/udp.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

/* Datagrams of one burst: as many as amortise the call, not so many that buffers leave the cache.
 */
#define LLR_UDP_BURST 32U
/* The most that UDP over IPv4 can carry; what IPv6 can besides is truncated and counted. */
#define LLR_UDP_BUFFER_SIZE 65507U
/* From buffer to buffer: five cache lines of skew, so that their first lines share no L1 set. */
#define LLR_UDP_BUFFER_STRIDE (65536U + 320U)

/* Datagrams that wait for a flush, and the bytes that they may take together. */
#define LLR_UDP_SEND_COUNT 64U
#define LLR_UDP_ARENA_SIZE (1U << 20)
/* Room that a datagram gets at first; the last in the arena may grow up to its peer's mtu. */
#define LLR_UDP_ROOM_SIZE 1536U

/* What the kernel says of a datagram beside its bytes: when it came, and to which address. */
#define LLR_UDP_LOCAL_SPACE   CMSG_SPACE(sizeof(struct in6_pktinfo))
#define LLR_UDP_CONTROL_SPACE (CMSG_SPACE(sizeof(struct timespec)) + LLR_UDP_LOCAL_SPACE)

_Static_assert(LLR_UDP_BURST <= LLR_BURST_MAX, "a burst fits its caller's array");
_Static_assert(LLR_UDP_BUFFER_STRIDE % LLR_ALIGN == 0, "spans are aligned");
_Static_assert(LLR_UDP_SEND_COUNT *LLR_UDP_ROOM_SIZE <= LLR_UDP_ARENA_SIZE, "count binds first");
_Static_assert(sizeof(struct in_pktinfo) <= sizeof(struct in6_pktinfo), "room for either");
_Static_assert(LLR_DATAGRAM_MAX <= LLR_UDP_ARENA_SIZE, "any datagram fits an empty arena");

struct llr_udp_receive {
	struct mmsghdr headers[LLR_UDP_BURST];
	struct iovec vectors[LLR_UDP_BURST];
	struct sockaddr_in6 names[LLR_UDP_BURST]; /* room for either family */
	struct llr_peer peers[LLR_UDP_BURST];     /* scratch; lent with the spans */
	_Alignas(struct cmsghdr) uint8_t control[LLR_UDP_BURST][LLR_UDP_CONTROL_SPACE];
	uint8_t *buffers; /* shares: within the mapping */
	bool many;        /* the last burst found something: ask for a whole burst next */
	bool lent;        /* spans are out until rx_release */
};

/* A datagram that waits for a flush. */
struct llr_udp_datagram {
	struct llr_address address;
	struct llr_address local; /* see struct llr_peer; set on a wildcard socket alone */
	uint32_t offset;          /* in the arena, multiple of 64 */
	uint32_t size;            /* bytes committed */
	uint32_t capacity;        /* bytes of the arena that are its own */
};

struct llr_udp_send {
	struct llr_udp_datagram datagrams[LLR_UDP_SEND_COUNT]; /* in the order to be sent */
	struct mmsghdr headers[LLR_UDP_SEND_COUNT];            /* scratch of a flush */
	struct iovec vectors[LLR_UDP_SEND_COUNT];
	struct sockaddr_storage names[LLR_UDP_SEND_COUNT];
	_Alignas(struct cmsghdr) uint8_t control[LLR_UDP_SEND_COUNT][LLR_UDP_LOCAL_SPACE];
	uint8_t *arena; /* shares: within the mapping */
	uint32_t count; /* datagrams committed and not yet sent */
	uint32_t used;  /* bytes of the arena in use, from its start */
	uint32_t room_index;
	uint32_t room_start; /* within that datagram */
	bool room_open;
};

struct llr_udp {
	struct llr_transport transport; /* first: the ops' pointer is ours */
	const struct llr_clock *clock;  /* borrows */
	const struct llr_allow *allow;  /* borrows; NULL: all */
	int fd;                         /* owns */
	sa_family_t family;
	bool connected;
	bool wildcard;         /* bound to all addresses: see udp_local.c */
	bool refused;          /* see llr_udp_refused */
	uint32_t receive_size; /* the socket's receive buffer as the kernel counts */
	struct llr_peer peer;  /* connect role */
	struct llr_uri uri;
	struct llr_udp_receive receive;
	struct llr_udp_send send;
};

static inline struct llr_udp *llr_udp_of(struct llr_transport *transport)
{
	return (struct llr_udp *)transport;
}

/* udp.c: asks the kernel what the path to the peer carries and sets peer.mtu. */
void llr_udp_learn_mtu(struct llr_udp *udp);

/* udp_local.c */
/* Has the kernel say where datagrams came to, if bound is all addresses. 0 or -errno. */
int llr_udp_local_init(struct llr_udp *udp, const struct llr_address *bound);
/* Where a received datagram came to. */
void llr_udp_local_read(struct llr_address *local, struct msghdr *header);
/* Lets a datagram leave from there; its control buffer has LLR_UDP_LOCAL_SPACE. */
void llr_udp_local_write(const struct llr_udp *udp, const struct llr_address *local,
			 struct msghdr *header);

/* udp_receive.c */
void llr_udp_receive_init(struct llr_udp *udp, uint8_t *buffers);
unsigned int llr_udp_rx_burst(struct llr_transport *transport, uint64_t now_ns,
			      struct llr_span *spans, unsigned int count_max);
void llr_udp_rx_release(struct llr_transport *transport, struct llr_span *spans,
			unsigned int count);

/* udp_send.c */
int llr_udp_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
		       struct llr_room *room);
void llr_udp_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size);
void llr_udp_tx_abort(struct llr_transport *transport, struct llr_room *room);
void llr_udp_tx_flush(struct llr_transport *transport);

#endif
