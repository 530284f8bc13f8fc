/* SPDX-License-Identifier: MIT */
/*
 * Sending datagrams. Owner's thread; owns what struct llr_udp_send holds.
 *
 * Datagrams lie in the arena in the order in which they were begun and are sent in that order. A
 * room is either the end of a datagram that waits, or a new one:
 *
 *   offset                              offset + capacity
 *   | frame | zeros | frame | room ...  | next datagram
 *            to 16                        multiple of 64
 *
 * Invariants: datagrams[0..count) hold at least one byte each and do not overlap; the last of them
 * ends at used or before; an empty queue uses nothing of the arena.
 */
#include "transport/udp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

/* How far back a datagram to the same peer is looked for: destinations that may interleave. */
#define LOOK_BACK 4U
/* Calls of one flush that may be repeated because of a signal or an old error. */
#define REPEATS_MAX 16U

static uint32_t align_line(uint32_t size)
{
	return (uint32_t)llr_round_up(size, 64);
}

/* True if size more bytes fit the datagram, growing it where it is the last in the arena. */
static bool try_share(struct llr_udp_send *send, uint32_t index, uint32_t size, uint32_t mtu)
{
	struct llr_udp_datagram *datagram = &send->datagrams[index];
	uint32_t start = (uint32_t)llr_round_up(datagram->size, LLR_ALIGN);
	uint32_t end = start + size;

	if (end > mtu)
		return false;
	if (end > datagram->capacity) {
		if (index + 1 != send->count ||
		    datagram->offset + align_line(end) > LLR_UDP_ARENA_SIZE)
			return false;
		datagram->capacity = align_line(end);
		send->used = datagram->offset + datagram->capacity;
	}
	send->room_index = index;
	send->room_start = start;
	return true;
}

static bool is_same_way(const struct llr_udp *udp, const struct llr_udp_datagram *datagram,
			const struct llr_peer *peer)
{
	return udp->connected ||
	       (llr_address_equal(&datagram->address, &peer->address) &&
		(!udp->wildcard || llr_address_equal(&datagram->local, &peer->local)));
}

/* Looks at the newest waiting datagram for that peer, if it is among the last few. */
static bool find_shared(struct llr_udp *udp, const struct llr_peer *peer, uint32_t size,
			uint32_t mtu)
{
	struct llr_udp_send *send = &udp->send;
	uint32_t oldest = send->count > LOOK_BACK ? send->count - LOOK_BACK : 0;

	for (uint32_t i = send->count; i-- > oldest;) {
		if (is_same_way(udp, &send->datagrams[i], peer))
			return try_share(send, i, size, mtu);
	}
	return false;
}

static bool begin_datagram(struct llr_udp_send *send, uint32_t size, uint32_t mtu)
{
	uint32_t wanted = (uint32_t)llr_max_u64(size, llr_min_u64(mtu, LLR_UDP_ROOM_SIZE));
	uint32_t capacity = align_line(wanted);

	if (send->count == LLR_UDP_SEND_COUNT || send->used + capacity > LLR_UDP_ARENA_SIZE)
		return false;
	send->datagrams[send->count].offset = send->used;
	send->datagrams[send->count].size = 0;
	send->datagrams[send->count].capacity = capacity;
	send->room_index = send->count;
	send->room_start = 0;
	return true;
}

int llr_udp_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
		       struct llr_room *room)
{
	struct llr_udp *udp = llr_udp_of(transport);
	struct llr_udp_send *send = &udp->send;
	uint32_t mtu = udp->connected ? udp->peer.mtu : peer->mtu;

	LLR_ASSERT_HOT(size > 0);
	LLR_ASSERT_HOT(!send->room_open);
	if (mtu == 0 || mtu > LLR_DATAGRAM_MAX)
		mtu = LLR_DATAGRAM_MAX;
	if (size > mtu)
		return -EMSGSIZE;
	/* A peer from a session table that a dead worker left may be anything. */
	if (!udp->connected && peer->address.family != AF_INET &&
	    (peer->address.family != AF_INET6 || udp->family != AF_INET6))
		return -ECONNRESET;

	if (!find_shared(udp, peer, size, mtu) && !begin_datagram(send, size, mtu)) {
		llr_udp_tx_flush(transport);
		if (!begin_datagram(send, size, mtu))
			return -EAGAIN;
	}
	send->room_open = true;
	room->bytes = send->arena + send->datagrams[send->room_index].offset + send->room_start;
	room->size = size;
	room->handle = send->room_index;
	room->peer = peer;
	return 0;
}

void llr_udp_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct llr_udp *udp = llr_udp_of(transport);
	struct llr_udp_send *send = &udp->send;
	struct llr_udp_datagram *datagram = &send->datagrams[send->room_index];

	LLR_ASSERT_HOT(send->room_open);
	LLR_ASSERT_HOT(room->handle == send->room_index);
	LLR_ASSERT_HOT(size >= 1 && size <= room->size);
	LLR_ASSERT_HOT(send->room_start + size <= datagram->capacity);
	send->room_open = false;
	memset(send->arena + datagram->offset + datagram->size, 0,
	       send->room_start - datagram->size);
	datagram->size = send->room_start + size;
	if (send->room_index < send->count)
		return;

	LLR_ASSERT_HOT(datagram->offset == send->used);
	datagram->address = room->peer->address;
	if (udp->wildcard)
		datagram->local = room->peer->local;
	send->used += datagram->capacity;
	send->count++;
}

void llr_udp_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct llr_udp_send *send = &llr_udp_of(transport)->send;

	LLR_ASSERT_HOT(send->room_open);
	LLR_ASSERT_HOT(room->handle == send->room_index);
	send->room_open = false;
}

static socklen_t name_of(struct llr_udp *udp, uint32_t index)
{
	socklen_t size;

	if (udp->connected)
		return 0;
	size = llr_address_to_sockaddr(&udp->send.names[index], &udp->send.datagrams[index].address,
				       udp->family);
	LLR_ASSERT_HOT(size > 0);
	return size;
}

/* Datagrams that the kernel took, from first on; -1 with errno: it refused the first. */
static int send_some(struct llr_udp *udp, uint32_t first)
{
	struct llr_udp_send *send = &udp->send;
	struct llr_udp_datagram *datagram = &send->datagrams[first];

	if (send->count - first == 1 && !udp->wildcard) {
		socklen_t size = name_of(udp, first);
		const struct sockaddr *name = (const struct sockaddr *)&send->names[first];

		return sendto(udp->fd, send->arena + datagram->offset, datagram->size,
			      MSG_DONTWAIT | MSG_NOSIGNAL, size == 0 ? NULL : name, size) < 0
			       ? -1
			       : 1;
	}
	for (uint32_t i = first; i < send->count; i++) {
		struct msghdr *header = &send->headers[i].msg_hdr;

		header->msg_namelen = name_of(udp, i);
		header->msg_name = header->msg_namelen == 0 ? NULL : &send->names[i];
		send->vectors[i].iov_base = send->arena + send->datagrams[i].offset;
		send->vectors[i].iov_len = send->datagrams[i].size;
		header->msg_iov = &send->vectors[i];
		header->msg_iovlen = 1;
		if (udp->wildcard) {
			header->msg_control = send->control[i];
			llr_udp_local_write(udp, &send->datagrams[i].local, header);
		}
	}
	return sendmmsg(udp->fd, &send->headers[first], send->count - first,
			MSG_DONTWAIT | MSG_NOSIGNAL);
}

enum refusal { REFUSAL_REPEAT, REFUSAL_LATER, REFUSAL_FINAL };

static enum refusal judge_refusal(struct llr_udp *udp, int code)
{
	switch (code) {
	case EINTR:
		return REFUSAL_REPEAT;
	case ECONNREFUSED: /* of an earlier datagram: this one was not even tried */
		udp->refused = true;
		return REFUSAL_REPEAT;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return REFUSAL_LATER;
	case EMSGSIZE:
		if (udp->connected)
			llr_udp_learn_mtu(udp);
		return REFUSAL_FINAL;
	default:
		return REFUSAL_FINAL;
	}
}

static void keep_from(struct llr_udp_send *send, uint32_t first)
{
	send->count -= first;
	memmove(send->datagrams, send->datagrams + first, send->count * sizeof(send->datagrams[0]));
	if (send->count == 0)
		send->used = 0;
}

void llr_udp_tx_flush(struct llr_transport *transport)
{
	struct llr_udp *udp = llr_udp_of(transport);
	struct llr_udp_send *send = &udp->send;
	struct llr_transport_counters *counters = transport->counters;
	uint32_t repeats = 0;
	uint32_t done = 0;

	LLR_ASSERT_HOT(!send->room_open);
	/* Bound: each round takes a datagram off the queue, repeats, or is the last. */
	while (done < send->count) {
		int taken = send_some(udp, done);

		for (int i = 0; i < taken; i++) {
			counters->tx_spans++;
			counters->tx_bytes += send->datagrams[done++].size;
		}
		if (taken < 0) {
			enum refusal refusal = judge_refusal(udp, errno);

			if (refusal == REFUSAL_FINAL) {
				counters->tx_failed++;
				done++;
			} else if (refusal == REFUSAL_LATER || ++repeats > REPEATS_MAX) {
				counters->tx_deferred++;
				break;
			}
		}
	}
	keep_from(send, done);
}
