/* SPDX-License-Identifier: MIT */
/*
 * Sockets that a service manager opened before it started us (systemd's socket activation):
 * LISTEN_PID names the process they are for, LISTEN_FDS how many there are, from descriptor 3 on.
 *
 * Thread: set-up's, before anything else opens a descriptor.
 */
#ifndef LLR_ENGINE_INHERIT_H
#define LLR_ENGINE_INHERIT_H

#include "base/limits.h"
#include "transport/address.h"

#define LLR_INHERIT_FIRST_FD 3

struct llr_inherited {
	struct llr_uri uri; /* what it is bound to */
	int fd;             /* owns, until its taker sets it to -1; non-blocking, closed on exec */
};

struct llr_inheritance {
	struct llr_inherited sockets[LLR_LISTENERS_MAX];
	unsigned int count;
};

/*
 * Takes what is ours and removes the variables, so that no child takes it again. Without the
 * variables, or with another process's, count is 0. A datagram socket is udp, a listening stream
 * tcp, a listening UNIX SOCK_SEQPACKET shm (its path's last part without ".sock" is the name).
 * 0; -EINVAL with one line: numbers that make no sense, or a socket that is nothing of these.
 */
int llr_inherit(struct llr_inheritance *inheritance, struct llrph_error *error);

/* The one bound to uri; NULL: none. */
struct llr_inherited *llr_inherit_find(struct llr_inheritance *inheritance,
				       const struct llr_uri *uri);

/* Closes what was not taken. */
void llr_inherit_close(struct llr_inheritance *inheritance);

#endif
