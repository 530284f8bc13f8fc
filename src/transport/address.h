/* SPDX-License-Identifier: MIT */
/*
 * Endpoint URIs, network addresses and the list of networks that may talk to us. No state.
 *
 *   shm:NAME          a name, never a path: [A-Za-z0-9._-]{1,48}, no leading dot
 *   udp:HOST:PORT     tcp:HOST:PORT     HOST: IPv4 address, [IPv6 address] or a name to resolve
 *
 * Thread: any. llr_uri_parse may block where it resolves a host name; so set-up alone calls it.
 */
#ifndef LLR_TRANSPORT_ADDRESS_H
#define LLR_TRANSPORT_ADDRESS_H

#include "base/span.h"

#include <llrph/error.h>

#include <stddef.h>
#include <sys/socket.h>

#define LLR_URI_TEXT_SIZE   128U
#define LLR_SHM_NAME_MAX    48U
#define LLR_ALLOW_COUNT_MAX 64U

enum llr_scheme { LLR_SCHEME_SHM, LLR_SCHEME_UDP, LLR_SCHEME_TCP };

struct llr_uri {
	enum llr_scheme scheme;
	char name[64];                /* shm; else empty */
	struct llr_address address;   /* udp, tcp; else family 0 */
	char text[LLR_URI_TEXT_SIZE]; /* canonical: numeric host, IPv6 in brackets */
};

/*
 * 0; -EINVAL with one line that names the mend. *uri is untouched on failure. A port of 0 is taken:
 * a listener lets the kernel choose, a caller shall refuse it (llr_udp_connect and _tcp_ do).
 */
int llr_uri_parse(struct llr_uri *uri, const char *text, struct llrph_error *error);
/* Canonical text of udp and tcp; size at least LLR_URI_TEXT_SIZE. */
void llr_uri_format(char *text, size_t size, enum llr_scheme scheme,
		    const struct llr_address *address);
/* What a bound socket (of ours, or handed down by a service manager) says of itself; 0 or -errno.
 */
int llr_uri_of_socket(struct llr_uri *uri, enum llr_scheme scheme, int fd);

bool llr_address_equal(const struct llr_address *a, const struct llr_address *b);
/* IPv4, and IPv6's IPv4-mapped, become family AF_INET; other families: family 0. */
void llr_address_from_sockaddr(struct llr_address *address, const struct sockaddr_storage *from);
/*
 * For a socket of that family: an AF_INET address becomes IPv4-mapped on an AF_INET6 socket.
 * Returns the size to pass to the kernel; 0: an IPv6 address cannot be reached from AF_INET.
 */
socklen_t llr_address_to_sockaddr(struct sockaddr_storage *into, const struct llr_address *address,
				  sa_family_t family);

/* One network; IPv4 is kept as ::ffff:a.b.c.d with 96 bits more. */
struct llr_allow_entry {
	uint8_t ip[16]; /* bits beyond the prefix are 0 */
	uint8_t bits;   /* 0..128 */
};

/* Networks whose senders are heard. Zeroed: all are. */
struct llr_allow {
	struct llr_allow_entry entries[LLR_ALLOW_COUNT_MAX];
	unsigned int count;
};

/*
 * "10.0.0.0/8,::1/128,192.168.1.7": a network without bits is one host. NULL or "": allows all.
 * 0; -EINVAL with one line: not a network, bits out of range or set beyond the prefix, too many.
 */
int llr_allow_parse(struct llr_allow *allow, const char *list, struct llrph_error *error);
/* allow NULL or empty: true. 0.0.0.0/0 allows all of IPv4 alone, ::/0 all of IPv6 alone. */
bool llr_allow_match(const struct llr_allow *allow, const struct llr_address *address);

#endif
