/* SPDX-License-Identifier: MIT */
/*
 * The shared-memory transport: openers of its two roles. How a lane lies in memory: lane.h. Who
 * makes lanes and hands them over: host.h.
 *
 * Thread: the owner's alone. While both sides spin nothing here makes a syscall, but a look at the
 * handover connection after 10 ms without news.
 *
 * Both roles are LLR_TRAIT_CONNECTED | LLR_TRAIT_NO_CRC: spans and rooms are one frame each. Spans
 * may lie in memory that is mapped read-only: nobody writes to them, or clears their padding. An
 * ended lane is one span with LLR_SPAN_CLOSED, also after drop(); the client is first given every
 * reply that was committed before the end.
 */
#ifndef LLR_TRANSPORT_SHM_H
#define LLR_TRANSPORT_SHM_H

#include "base/clock.h"
#include "transport/host.h"
#include "transport/transport.h"

#include <llrph/error.h>

/*
 * The server's role, for one worker of the host. Takes over the lanes that the host has for this
 * worker already (a successor's; their requests since the last rx_release come again).
 *
 * host:   borrows, until close. Where no llr_lane_host_worker_forked() was called in this process
 *         it is turned along from rx_burst and shares wait_fd: an embedding program calls nothing.
 * trust:  "own", "all" or "none": from whose processes large requests are read in place; small
 *         ones (payload <= 512) are always copied first.
 *
 * A lane's requests are given out only while its reply ring has room for a largest reply to each:
 * tx_reserve of one reply up to message_max to each request of a burst never meets -EAGAIN, unless
 * other replies (deferred, in parts) are sent to that lane in between.
 *
 * 0; -EINVAL trust; -ENOMEM, -EMFILE.
 */
int llr_shm_listen(struct llr_transport **transport, struct llr_lane_host *host,
		   unsigned int worker, const char *trust, struct llr_transport_counters *counters,
		   const struct llr_clock *clock, struct llrph_error *error);

/* The lane with this index (llr_peer.index), 0..lanes_max - 1; NULL: none of this worker's. */
struct llr_peer *llr_shm_peer(struct llr_transport *transport, unsigned int index);

/*
 * For a successor, before its first turn: the reply that was committed last on this lane, by
 * whichever worker: its request is answered, whatever the session table says. False: none yet.
 * The frame is read-only, the server's own memory (clients cannot write it), valid until the next
 * tx_reserve to that peer.
 */
bool llr_shm_last_reply(struct llr_transport *transport, struct llr_peer *peer,
			const uint8_t **frame, uint32_t *size);

/* What a client wants; the server grants at most its own message_max. */
struct llr_shm_wish {
	const char *name;                        /* as in shm:NAME; borrowed during the call */
	struct llr_transport_counters *counters; /* borrows, until close */
	const struct llr_clock *clock;           /* borrows, until close */
	uint64_t timeout_ns;                     /* how long set-up may block */
	uint32_t message_max;                    /* bytes of payload; 0: LLR_PAYLOAD_SIZE_DEFAULT */
	bool hugepages;                          /* demanded: refused where the server has none */
	bool spin; /* this client never parks: the server need not wake it */
};

/*
 * The client's role: one lane, whose other end is *peer. Blocks up to wish->timeout_ns. What the
 * server granted bounds tx_reserve: -EMSGSIZE above.
 *
 * 0; -ECONNREFUSED nobody serves the name; -EACCES not this uid; -EBUSY no lane free; -ETIMEDOUT;
 * -EPROTO the server speaks another version; -EINVAL name; -ENOMEM, -EMFILE. error has the text,
 * the server's own where it refused.
 */
int llr_shm_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_shm_wish *wish, struct llrph_error *error);

#endif
