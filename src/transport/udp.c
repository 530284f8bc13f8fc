/* SPDX-License-Identifier: MIT */
/*
 * The UDP transport: opening, closing and the table. See udp.h for what it promises, udp_receive.c
 * and udp_send.c for how datagrams move. Owner's thread; owns socket and mapping.
 */
#include "transport/udp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "transport/socket.h"

#include <unistd.h>

#define SOCKET_BUFFER_SIZE (4 << 20)
/*
 * What a datagram of 1472 bytes costs the receive buffer at most: a page for its bytes, as NIC
 * drivers take them, and the kernel's descriptor of it. On loopback it is about half.
 */
#define QUEUED_COST 4608U
/* Headers before the payload, and what any path carries (RFC 791: 576, RFC 8200: 1280). */
#define HEADERS_IPV4 28U
#define HEADERS_IPV6 48U
#define FLOOR_IPV4   (576U - HEADERS_IPV4)
#define FLOOR_IPV6   (1280U - HEADERS_IPV6)

#define STRUCT_SIZE  llr_round_up(sizeof(struct llr_udp), 64)
#define RECEIVE_SIZE ((size_t)LLR_UDP_BURST * LLR_UDP_BUFFER_STRIDE)
#define MAPPING_SIZE (STRUCT_SIZE + RECEIVE_SIZE + LLR_UDP_ARENA_SIZE)

static int udp_wait_fd(struct llr_transport *transport)
{
	return llr_udp_of(transport)->fd;
}

/* What the kernel had no room for goes with the next turn's flush: there is work. */
static bool udp_wait_prepare(struct llr_transport *transport)
{
	return llr_udp_of(transport)->send.count > 0;
}

static void udp_close(struct llr_transport *transport)
{
	struct llr_udp *udp = llr_udp_of(transport);

	LLR_ASSERT(udp->fd >= 0);
	(void)close(udp->fd);
	llr_memory_unmap(udp, MAPPING_SIZE);
}

static const struct llr_transport_ops udp_ops = {
	.scheme = "udp",
	.traits = 0,
	.rx_burst = llr_udp_rx_burst,
	.rx_release = llr_udp_rx_release,
	.tx_reserve = llr_udp_tx_reserve,
	.tx_commit = llr_udp_tx_commit,
	.tx_abort = llr_udp_tx_abort,
	.tx_flush = llr_udp_tx_flush,
	.wait_fd = udp_wait_fd,
	.wait_prepare = udp_wait_prepare,
	.close = udp_close,
};

/* Asks for a large buffer: past the system's limit where we may, up to it otherwise. */
static void size_buffer(int fd, int forced, int plain)
{
	int size = SOCKET_BUFFER_SIZE;

	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
}

/* 0 or -errno. */
static int set_options(int fd, sa_family_t family, bool connected)
{
	int probe_ipv4 = IP_PMTUDISC_DO;
	int probe_ipv6 = IPV6_PMTUDISC_DO;
	int on = 1;

	/* A client reads its replies at once, or sleeps: no stamp would tell it more than its
	 * clock. */
	if (!connected && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0)
		return -errno;
	if (family == AF_INET &&
	    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe_ipv4, sizeof(probe_ipv4)) != 0)
		return -errno;
	if (family == AF_INET6 &&
	    (setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe_ipv6, sizeof(probe_ipv6)) !=
		     0 ||
	     setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof(on)) != 0))
		return -errno;
	size_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	size_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	return 0;
}

/* Takes the mapping and makes fd its own on success alone. 0 or -errno. */
static int create(struct llr_udp **created, int fd, bool connected)
{
	socklen_t size = sizeof(int);
	int receive_size = 0;
	int family = llr_socket_family(fd, SOCK_DGRAM);
	struct llr_udp *udp;
	uint8_t *memory;
	int code;

	if (family < 0)
		return family;
	code = set_options(fd, (sa_family_t)family, connected);
	if (code != 0)
		return code;
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_size, &size) != 0)
		return -errno;
	memory = llr_memory_map(MAPPING_SIZE, "udp: datagrams received and to be sent");
	if (memory == NULL)
		return -ENOMEM;

	udp = (struct llr_udp *)(void *)memory;
	udp->transport.ops = &udp_ops;
	udp->transport.uri = udp->uri.text;
	udp->fd = fd;
	udp->family = (sa_family_t)family;
	udp->connected = connected;
	udp->receive_size = (uint32_t)receive_size;
	udp->send.arena = memory + STRUCT_SIZE + RECEIVE_SIZE;
	llr_udp_receive_init(udp, memory + STRUCT_SIZE);
	*created = udp;
	return 0;
}

int llr_udp_socket(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error)
{
	LLR_ASSERT(uri->scheme == LLR_SCHEME_UDP);
	return llr_socket_bind(uri, reuse_port, fd, error);
}

int llr_udp_listen(struct llr_transport **transport, const struct llr_udp_setup *setup,
		   struct llrph_error *error)
{
	const char *name = setup->uri != NULL ? setup->uri : "udp";
	struct llr_udp *udp = NULL;
	struct llr_uri uri;
	int code;

	LLR_ASSERT(setup->counters != NULL);
	LLR_ASSERT(setup->clock != NULL);
	code = llr_uri_of_socket(&uri, LLR_SCHEME_UDP, setup->fd);
	if (code == 0)
		code = create(&udp, setup->fd, false);
	if (code != 0)
		return llr_socket_explain(error, name, code);
	LLR_ASSERT(udp != NULL);
	code = llr_udp_local_init(udp, &uri.address);
	if (code != 0) {
		llr_memory_unmap(udp, MAPPING_SIZE);
		return llr_socket_explain(error, name, code);
	}

	udp->uri = uri;
	udp->transport.counters = setup->counters;
	udp->clock = setup->clock;
	udp->allow = setup->allow;
	*transport = &udp->transport;
	return 0;
}

void llr_udp_learn_mtu(struct llr_udp *udp)
{
	bool is_ipv4 = udp->family == AF_INET;
	uint32_t headers = is_ipv4 ? HEADERS_IPV4 : HEADERS_IPV6;
	uint32_t least = is_ipv4 ? FLOOR_IPV4 : FLOOR_IPV6;
	socklen_t size = sizeof(int);
	int path = 0;

	LLR_ASSERT(udp->connected);
	udp->peer.mtu = is_ipv4 ? LLR_DATAGRAM_IPV4 : LLR_DATAGRAM_IPV6;
	if (getsockopt(udp->fd, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, is_ipv4 ? IP_MTU : IPV6_MTU,
		       &path, &size) != 0 ||
	    path <= 0)
		return;
	udp->peer.mtu = (uint32_t)path > headers + least ? (uint32_t)path - headers : least;
	if (udp->peer.mtu > LLR_DATAGRAM_MAX)
		udp->peer.mtu = LLR_DATAGRAM_MAX;
}

int llr_udp_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_uri *uri, struct llr_transport_counters *counters,
		    const struct llr_clock *clock, struct llrph_error *error)
{
	struct sockaddr_storage storage;
	socklen_t size;
	struct llr_udp *udp = NULL;
	int fd = -1;
	int code;

	LLR_ASSERT(uri->scheme == LLR_SCHEME_UDP);
	LLR_ASSERT(counters != NULL);
	LLR_ASSERT(clock != NULL);
	code = llr_socket_open(uri, &fd, error);
	if (code != 0)
		return code;
	size = llr_address_to_sockaddr(&storage, &uri->address, uri->address.family);
	if (connect(fd, (const struct sockaddr *)&storage, size) != 0)
		code = -errno;
	if (code == 0)
		code = create(&udp, fd, true);
	if (code != 0) {
		(void)close(fd);
		return llr_socket_explain(error, uri->text, code);
	}

	LLR_ASSERT(udp != NULL);
	udp->uri = *uri;
	udp->transport.counters = counters;
	udp->clock = clock;
	udp->peer.address = uri->address;
	udp->peer.uid = UINT32_MAX;
	llr_udp_learn_mtu(udp);
	*transport = &udp->transport;
	*peer = &udp->peer;
	return 0;
}

uint32_t llr_udp_queue_capacity(const struct llr_transport *transport)
{
	const struct llr_udp *udp = (const struct llr_udp *)transport;

	LLR_ASSERT(transport->ops == &udp_ops);
	return udp->receive_size / QUEUED_COST;
}

bool llr_udp_refused(struct llr_transport *transport)
{
	struct llr_udp *udp = llr_udp_of(transport);
	bool refused = udp->refused;

	LLR_ASSERT(transport->ops == &udp_ops);
	udp->refused = false;
	return refused;
}
