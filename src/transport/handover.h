/* SPDX-License-Identifier: MIT */
/*
 * What is said on the two kinds of SOCK_SEQPACKET sockets around a lane, one struct a message:
 *
 *   client -> host    llr_handover_hello                         on the UNIX socket NAME.sock
 *   host -> client    llr_handover_answer, with descriptors
 *   host <-> worker   llr_lane_order                             on a socketpair
 *
 * The client's connection stays open as long as its lane: its end is how the server learns of the
 * client's death and the client of the server's, and a byte on it wakes a parked client.
 *
 * Sending and receiving never block; the client's opener does, up to its deadline.
 */
#ifndef LLR_TRANSPORT_HANDOVER_H
#define LLR_TRANSPORT_HANDOVER_H

#include "transport/lane.h"

#include <llrph/error.h>

#define LLR_HANDOVER_MAGIC     0x4e4c5250U /* "PRLN" */
#define LLR_HANDOVER_VERSION   1U
#define LLR_HANDOVER_TEXT_SIZE 224U

enum llr_handover_flag {
	LLR_HANDOVER_HUGEPAGES = 1, /* hello: the lane must be of hugepages */
	LLR_HANDOVER_SPIN = 2,      /* the sender of this never parks: it need not be woken */
};

struct llr_handover_hello {
	uint32_t magic;
	uint32_t version;
	uint32_t message_max; /* bytes of payload; granted: the smaller of both sides' */
	uint32_t flags;       /* enum llr_handover_flag */
};

struct llr_handover_answer {
	uint32_t magic;
	uint32_t version;
	int32_t code;   /* 0, or a negative errno code: then text says why */
	uint32_t flags; /* enum llr_handover_flag */
	uint64_t request_key;
	uint64_t reply_key;
	uint64_t start; /* both rings' first position */
	struct llr_lane_shape shape;
	uint32_t index; /* the lane's */
	uint32_t uid;   /* the server's */
	char text[LLR_HANDOVER_TEXT_SIZE];
};

/* Descriptors that come with an answer of code 0, and, but for the page, with an ATTACH. */
enum llr_handover_fd {
	LLR_HANDOVER_REQUEST,
	LLR_HANDOVER_REPLY,
	LLR_HANDOVER_BELL, /* eventfd: the client writes it to wake its worker */
	LLR_HANDOVER_LAST, /* answer: the worker's page; ATTACH: the client's connection */
	LLR_HANDOVER_FDS,
};

enum llr_lane_order_kind {
	LLR_LANE_ATTACH = 1, /* host: this lane is yours; map it. With descriptors */
	LLR_LANE_ATTACHED,   /* worker: mapped; from now on it may be sealed */
	LLR_LANE_END,        /* host: its client is gone; let go of it */
	LLR_LANE_ENDED,      /* worker: let go of, on the host's word or its own */
};

struct llr_lane_order {
	uint32_t kind; /* enum llr_lane_order_kind */
	uint32_t index;
	uint32_t generation; /* of the slot, so that late words for its last user are known */
	uint32_t uid;
	uint32_t flags; /* enum llr_handover_flag: the client's */
	struct llr_lane_shape shape;
	uint64_t request_key;
	uint64_t reply_key;
};

/* 0; -EAGAIN no room now; other negative codes: the other side is gone. */
int llr_handover_send(int socket, const void *message, size_t size, const int *fds,
		      unsigned int fd_count);
/*
 * Takes one message of exactly size bytes, and fd_count descriptors: all, or -1 each where fewer
 * came than were asked for or this process has none left.
 * 1; 0: the other side has closed; -EAGAIN nothing there; -EPROTO something else came (and was
 * thrown away, descriptors closed); other negative codes: the other side is gone.
 */
int llr_handover_receive(int socket, void *message, size_t size, int *fds, unsigned int fd_count);
void llr_handover_close_fds(int *fds, unsigned int fd_count);

/* What a client gets: its own from then on. */
struct llr_handover {
	struct llr_handover_answer answer;
	int connection;
	int fds[LLR_HANDOVER_FDS];
};

/* Asks the server of that name for a lane. As llr_shm_connect() says. Blocks until deadline_ns. */
int llr_handover_connect(struct llr_handover *handover, const char *name,
			 const struct llr_handover_hello *hello, uint64_t deadline_ns,
			 struct llrph_error *error);

#endif
