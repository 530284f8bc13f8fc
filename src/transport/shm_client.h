/* SPDX-License-Identifier: MIT */
/*
 * The client's end of a lane, as its two files share it: shm_client.c has the request path,
 * shm_connect.c what comes before, beside and after.
 */
#ifndef LLR_TRANSPORT_SHM_CLIENT_H
#define LLR_TRANSPORT_SHM_CLIENT_H

#include "base/runtime.h"
#include "transport/lane.h"
#include "transport/transport.h"

struct llr_shm_client {
	struct llr_transport base;
	struct llr_ring_writer requests;
	struct llr_ring_reader replies;
	_Atomic uint32_t *parked;                  /* borrows; in the request memfd */
	const struct llr_lane_worker_page *worker; /* owns; a mapping */
	uint64_t news_ns;                          /* the last reply, or look */
	uint32_t woken;                            /* the worker's park that it was woken from */
	int connection;                            /* owns */
	int bell;                                  /* owns */
	bool server_spins;
	bool is_room_open;
	bool dirty;     /* committed to since the last flush */
	bool is_over;   /* the connection has ended: what is in the ring, then CLOSED */
	bool is_broken; /* the server's ring makes no sense: it is not looked at any more */
	bool is_told;   /* CLOSED was given out */
	struct llr_lane_memory request; /* owns */
	struct llr_lane_memory reply;   /* owns */
	struct llr_peer peer;
	char uri[8 + LLR_NAME_SIZE_MAX];
};

static inline struct llr_shm_client *llr_shm_client_of(struct llr_transport *transport)
{
	return (struct llr_shm_client *)(void *)transport;
}

/* The path's operations, for the table in shm_connect.c. */
unsigned int llr_shm_client_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				     struct llr_span *spans, unsigned int count_max);
void llr_shm_client_rx_release(struct llr_transport *transport, struct llr_span *spans,
			       unsigned int count);
int llr_shm_client_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			      struct llr_room *room);
void llr_shm_client_tx_commit(struct llr_transport *transport, struct llr_room *room,
			      uint32_t size);
void llr_shm_client_tx_abort(struct llr_transport *transport, struct llr_room *room);
void llr_shm_client_tx_flush(struct llr_transport *transport);
/* Takes wake-ups off the connection and sees whether it has ended. */
void llr_shm_client_look(struct llr_shm_client *client);

#endif
