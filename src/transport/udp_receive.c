/* SPDX-License-Identifier: MIT */
/*
 * Receiving datagrams. Owner's thread; owns what struct llr_udp_receive holds.
 *
 * A lone datagram is fetched with recvmsg, which costs less than recvmmsg for one; after a burst
 * that found something the next asks for many: if it was the only one, that call fails as cheaply.
 *
 * Invariant: headers[i] are ready for the kernel whenever no spans are lent, but for the lengths
 * that it overwrites, which are set before each call.
 */
#include "transport/udp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

/* A wall clock that was set while a datagram waited must not make it look older than this. */
#define AGE_MAX_NS 1000000000U

void llr_udp_receive_init(struct llr_udp *udp, uint8_t *buffers)
{
	struct llr_udp_receive *receive = &udp->receive;

	LLR_ASSERT((uintptr_t)buffers % LLR_ALIGN == 0);
	receive->buffers = buffers;
	for (unsigned int i = 0; i < LLR_UDP_BURST; i++) {
		struct msghdr *header = &receive->headers[i].msg_hdr;

		receive->vectors[i].iov_base = buffers + (size_t)i * LLR_UDP_BUFFER_STRIDE;
		receive->vectors[i].iov_len = LLR_UDP_BUFFER_SIZE;
		header->msg_iov = &receive->vectors[i];
		header->msg_iovlen = 1;
		header->msg_control = receive->control[i];
		if (!udp->connected)
			header->msg_name = &receive->names[i];
		receive->peers[i].uid = UINT32_MAX;
	}
}

static void arm_header(struct llr_udp *udp, unsigned int index)
{
	struct msghdr *header = &udp->receive.headers[index].msg_hdr;

	header->msg_namelen = udp->connected ? 0 : sizeof(udp->receive.names[index]);
	header->msg_controllen = sizeof(udp->receive.control[index]);
}

/*
 * One datagram from the peer that the socket is connected to: there is no sender to be told, and
 * nobody asks when it came, so that the cheapest call will do.
 */
static ssize_t receive_connected(struct llr_udp_receive *receive, int fd)
{
	struct msghdr *header = &receive->headers[0].msg_hdr;
	ssize_t size = recv(fd, receive->vectors[0].iov_base, LLR_UDP_BUFFER_SIZE,
			    MSG_DONTWAIT | MSG_TRUNC);

	header->msg_controllen = 0;
	header->msg_flags = size > (ssize_t)LLR_UDP_BUFFER_SIZE ? MSG_TRUNC : 0;
	return size;
}

/* Datagrams received; 0: none. An interrupted call counts as none: the next turn asks again. */
static unsigned int receive_some(struct llr_udp *udp, unsigned int count_max)
{
	struct llr_udp_receive *receive = &udp->receive;
	int count;

	if (receive->many) {
		for (unsigned int i = 0; i < count_max; i++)
			arm_header(udp, i);
		count = recvmmsg(udp->fd, receive->headers, count_max, MSG_DONTWAIT, NULL);
	} else {
		ssize_t size;

		arm_header(udp, 0);
		size = udp->connected
			       ? receive_connected(receive, udp->fd)
			       : recvmsg(udp->fd, &receive->headers[0].msg_hdr, MSG_DONTWAIT);
		receive->headers[0].msg_len = (unsigned int)size;
		count = size < 0 ? -1 : 1;
	}
	if (count < 0 && errno == ECONNREFUSED)
		udp->refused = true;
	receive->many = count > 0;
	return count > 0 ? (unsigned int)count : 0;
}

/* The kernel's wall-clock time of receipt; 0: it gave none. */
static uint64_t kernel_stamp(struct msghdr *header)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); /* UDP says this before all else */
	struct timespec stamp;

	if (cmsg == NULL || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_TIMESTAMPNS)
		return 0;
	memcpy(&stamp, CMSG_DATA(cmsg), sizeof(stamp));
	return (uint64_t)stamp.tv_sec * 1000000000U + (uint64_t)stamp.tv_nsec;
}

/* One reading of both clocks, by which a burst's stamps are moved from wall to monotonic. */
struct clock_pair {
	uint64_t wall_ns;
	uint64_t monotonic_ns;
	uint64_t now_ns; /* the turn's: nothing is newer */
};

static uint64_t to_monotonic(const struct clock_pair *pair, uint64_t stamp_ns)
{
	uint64_t age_ns = stamp_ns != 0 && stamp_ns < pair->wall_ns ? pair->wall_ns - stamp_ns : 0;

	age_ns = llr_min_u64(age_ns, llr_min_u64(AGE_MAX_NS, pair->monotonic_ns));
	return llr_min_u64(pair->monotonic_ns - age_ns, pair->now_ns);
}

/* Fills the scratch peer of a datagram; false: its sender is not allowed to talk to us. */
static bool identify_sender(struct llr_udp *udp, unsigned int index)
{
	struct llr_peer *peer = &udp->receive.peers[index];
	struct sockaddr_storage storage;
	uint32_t usual;

	memcpy(&storage, &udp->receive.names[index], sizeof(udp->receive.names[index]));
	llr_address_from_sockaddr(&peer->address, &storage);
	if (!llr_allow_match(udp->allow, &peer->address))
		return false;
	if (udp->wildcard)
		llr_udp_local_read(&peer->local, &udp->receive.headers[index].msg_hdr);
	usual = peer->address.family == AF_INET ? LLR_DATAGRAM_IPV4 : LLR_DATAGRAM_IPV6;
	peer->mtu = (uint32_t)llr_min_u64(llr_max_u64(usual, udp->receive.headers[index].msg_len),
					  LLR_DATAGRAM_MAX);
	return true;
}

unsigned int llr_udp_rx_burst(struct llr_transport *transport, uint64_t now_ns,
			      struct llr_span *spans, unsigned int count_max)
{
	struct llr_udp *udp = llr_udp_of(transport);
	struct llr_udp_receive *receive = &udp->receive;
	struct llr_transport_counters *counters = transport->counters;
	struct clock_pair pair = {.now_ns = now_ns};
	unsigned int count = 0;
	unsigned int received;

	LLR_ASSERT_HOT(count_max > 0);
	LLR_ASSERT_HOT(!receive->lent);
	received = receive_some(udp, count_max < LLR_UDP_BURST ? count_max : LLR_UDP_BURST);
	if (received == 0)
		return 0;

	pair.monotonic_ns = llr_clock_now(udp->clock);
	pair.wall_ns = llr_clock_wall_ns();
	for (unsigned int i = 0; i < received; i++) {
		struct msghdr *header = &receive->headers[i].msg_hdr;
		uint32_t size = receive->headers[i].msg_len;

		if (!udp->connected && !identify_sender(udp, i)) {
			counters->rx_denied++;
			continue;
		}
		if ((header->msg_flags & MSG_TRUNC) != 0) {
			counters->rx_truncated++;
			continue;
		}
		LLR_ASSERT_HOT(size <= LLR_UDP_BUFFER_SIZE);
		spans[count++] = (struct llr_span){
			.peer = udp->connected ? &udp->peer : &receive->peers[i],
			.bytes = receive->vectors[i].iov_base,
			.received_ns = to_monotonic(&pair, kernel_stamp(header)),
			.size = size,
		};
		counters->rx_spans++;
		counters->rx_bytes += size;
	}
	receive->lent = count > 0;
	return count;
}

void llr_udp_rx_release(struct llr_transport *transport, struct llr_span *spans, unsigned int count)
{
	struct llr_udp *udp = llr_udp_of(transport);

	LLR_ASSERT_HOT(udp->receive.lent);
	LLR_ASSERT_HOT(count > 0);
	(void)spans;
	udp->receive.lent = false;
}
