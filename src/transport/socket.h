/* SPDX-License-Identifier: MIT */
/*
 * What UDP and TCP have in common when they open sockets: binding, and saying why it failed.
 *
 * Thread: set-up's. No state.
 */
#ifndef LLR_TRANSPORT_SOCKET_H
#define LLR_TRANSPORT_SOCKET_H

#include "transport/address.h"

/*
 * A socket for uri, non-blocking and closed on exec, bound to its address; IPv6 sockets take IPv6
 * alone, so that 0.0.0.0 and [::] on one port do not collide. 0 or -errno with error filled.
 */
int llr_socket_bind(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error);
/* The same, unbound, for a caller. -EINVAL: port 0. */
int llr_socket_open(const struct llr_uri *uri, int *fd, struct llrph_error *error);
/* Fills error with "URI: what happened: remedy" for -errno and returns code. */
int llr_socket_explain(struct llrph_error *error, const char *uri, int code);

/* Family of a socket: AF_INET or AF_INET6 and of that type (SOCK_...); else -EINVAL. */
int llr_socket_family(int fd, int type);

#endif
