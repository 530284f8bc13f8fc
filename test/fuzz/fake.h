/* SPDX-License-Identifier: MIT */
/*
 * A datagram transport for fuzzing: one datagram at a time comes in, in memory of exactly its size;
 * what goes out is checked to be whole frames, shown to the fuzzer's own eyes, and forgotten.
 *
 * Thread: the fuzzer's only one.
 */
#ifndef FUZZ_FAKE_H
#define FUZZ_FAKE_H

#include "request/frame.h"
#include "transport/transport.h"

#define FAKE_MTU 1472U

struct fake {
	struct llr_transport transport; /* first: the ops get it */
	struct llr_transport_counters counters;
	struct llr_peer peer;    /* of the datagram that is in, and the one peer when connecting */
	const uint8_t *incoming; /* borrows: the next datagram; NULL: none */
	uint32_t incoming_size;
	uint64_t received_ns;
	uint8_t *shown; /* owns: the span's bytes, until rx_release */
	struct llr_room room;
	/* Each frame that is sent, and to whom. */
	void (*sent)(struct fake *fake, const struct llr_peer *peer, const struct llr_frame *frame);
	void *context; /* borrows; for sent */
};

void fake_init(struct fake *fake);
/* Gives back what an abandoned user left open. */
void fake_fini(struct fake *fake);

#endif
