/* SPDX-License-Identifier: MIT */
/*
 * A transport without a network, for tests of the engine: what the test puts in is received by the
 * next turn, what the engine sends is kept until the test takes it. Datagrams, lanes (connected,
 * whole frames) or streams. The transport can be made full, and its peers can go.
 *
 * It asserts what transport.h asks of whoever uses it: one room at a time, a burst released before
 * the next, nothing written behind a room. All memory is inside the struct: nothing is allocated.
 *
 * Thread: the test's. Owns: its queues.
 */
#ifndef TEST_SUPPORT_FAKE_NET_H
#define TEST_SUPPORT_FAKE_NET_H

#include "request/frame.h"
#include "transport/transport.h"

#define FAKE_PEERS      8U
#define FAKE_QUEUE      64U
#define FAKE_SENT       2048U
#define FAKE_IN_SIZE    (1U << 20)
#define FAKE_OUT_SIZE   (1U << 20)
#define FAKE_STREAM_MAX (128U << 10) /* bytes that wait on one connection */
#define FAKE_MTU        1472U
#define FAKE_ANY        UINT32_MAX /* room without end */

enum fake_kind { FAKE_DATAGRAM, FAKE_LANE, FAKE_STREAM };

/* A datagram or record that waits, or one that was sent. */
struct fake_message {
	uint8_t *bytes; /* borrows from in or out */
	uint64_t received_ns;
	uint32_t size;
	uint32_t peer;
};

/* One connection's bytes. Their addresses modulo 16 are their positions'. */
struct fake_stream {
	_Alignas(64) uint8_t bytes[FAKE_STREAM_MAX];
	uint32_t from;
	uint32_t to;
	uint32_t wanted; /* as the framing said: shown when so many are there */
};

struct fake_net {
	struct llr_transport transport; /* first: the ops get it */
	struct llr_transport_counters counters;
	enum fake_kind kind;
	struct llr_peer peers[FAKE_PEERS];
	const uint64_t *now_ns;     /* borrows: the test's clock */
	bool dropped[FAKE_PEERS];   /* by the engine */
	bool hung_up[FAKE_PEERS];   /* LLR_SPAN_CLOSED is due */
	bool gone[FAKE_PEERS];      /* tx_reserve says -ECONNRESET */
	uint32_t reserves_left;     /* then -EAGAIN; FAKE_ANY */
	uint32_t reserves_by_flush; /* what a flush makes room for */
	uint32_t refused;           /* reserves that met -EAGAIN */
	uint32_t flushes;
	uint32_t shown; /* spans of the burst in hand */
	uint32_t queue_count;
	uint32_t sent_count;
	uint32_t sent_taken;
	uint32_t in_size;
	uint32_t out_size;
	uint32_t room_size; /* while room_open */
	bool room_open;
	struct fake_message queue[FAKE_QUEUE];
	struct fake_message sent[FAKE_SENT];
	struct fake_stream streams[FAKE_PEERS];
	_Alignas(64) uint8_t in[FAKE_IN_SIZE];
	_Alignas(64) uint8_t out[FAKE_OUT_SIZE];
};

void fake_net_init(struct fake_net *net, enum fake_kind kind, const uint64_t *now_ns);

/* Puts bytes where the next turn finds them: a datagram, a record, or more of a stream. */
void fake_net_put(struct fake_net *net, uint32_t peer, const void *bytes, uint32_t size);
/* The same, received so long ago; not on streams. */
void fake_net_put_late(struct fake_net *net, uint32_t peer, const void *bytes, uint32_t size,
		       uint64_t age_ns);
/* The peer's connection ends: the next turn learns of it. */
void fake_net_hang_up(struct fake_net *net, uint32_t peer);

/* The next frame that was sent, checked and split; false: there is none. Borrowed until cleared. */
bool fake_net_take(struct fake_net *net, uint32_t *peer, struct llr_frame *frame);
/* Forgets what was sent; fake_net_take does it when all has been taken. */
void fake_net_clear(struct fake_net *net);

#endif
