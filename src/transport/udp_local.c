/* SPDX-License-Identifier: MIT */
/*
 * Which of the host's addresses a datagram came to, on a socket bound to all of them: so that the
 * answer leaves from there. The kernel would choose by the route back, and a client whose socket is
 * connected, or a firewall on the way, drops what comes from a stranger.
 *
 * Owner's thread; owns nothing. A socket bound to one address does none of this.
 *
 * A local address in a peer may come from a table that a dead worker left: the kernel refuses what
 * is not the host's own.
 */
#include "transport/udp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

/* IPv4 within IPv6: what a socket of both families hands out and takes. */
static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_wildcard(const struct llr_address *bound)
{
	return llr_all_zero(bound->ip + 12, 4) &&
	       (bound->family == AF_INET || llr_all_zero(bound->ip, 12));
}

int llr_udp_local_init(struct llr_udp *udp, const struct llr_address *bound)
{
	int on = 1;

	udp->wildcard = is_wildcard(bound);
	if (!udp->wildcard)
		return 0;
	if (udp->family == AF_INET)
		return setsockopt(udp->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0 ? 0
											 : -errno;
	return setsockopt(udp->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0 ? 0
											 : -errno;
}

static void take_ipv4(struct llr_address *local, const void *data)
{
	struct in_pktinfo info;

	memcpy(&info, data, sizeof(info));
	local->family = AF_INET;
	memcpy(local->ip, mapped_prefix, sizeof(mapped_prefix));
	/* Not the header's destination, which may be a broadcast: the address that received it. */
	memcpy(local->ip + 12, &info.ipi_spec_dst, 4);
}

static void take_ipv6(struct llr_address *local, const void *data)
{
	struct in6_pktinfo info;

	memcpy(&info, data, sizeof(info));
	if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	local->family = AF_INET6;
	memcpy(local->ip, &info.ipi6_addr, sizeof(local->ip));
	/* A link-local address says nothing without its link; others leave by any. */
	if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		local->scope = info.ipi6_ifindex;
}

void llr_udp_local_read(struct llr_address *local, struct msghdr *header)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);

	*local = (struct llr_address){.family = 0};
	/* Bound: the control buffer has room for two. */
	for (; cmsg != NULL; cmsg = CMSG_NXTHDR(header, cmsg)) {
		if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO)
			take_ipv4(local, CMSG_DATA(cmsg));
		else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO)
			take_ipv6(local, CMSG_DATA(cmsg));
	}
}

static void put_info(struct msghdr *header, int level, int type, const void *info, size_t size)
{
	struct cmsghdr *cmsg;

	header->msg_controllen = CMSG_SPACE(size);
	cmsg = CMSG_FIRSTHDR(header);
	LLR_ASSERT_HOT(cmsg != NULL);
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(cmsg), info, size);
}

void llr_udp_local_write(const struct llr_udp *udp, const struct llr_address *local,
			 struct msghdr *header)
{
	if (local->family == 0) {
		header->msg_controllen = 0;
	} else if (udp->family == AF_INET) {
		struct in_pktinfo info = {.ipi_ifindex = 0};

		memcpy(&info.ipi_spec_dst, local->ip + 12, 4);
		put_info(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_ifindex = local->scope};

		memcpy(&info.ipi6_addr, local->ip, sizeof(local->ip));
		put_info(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}
