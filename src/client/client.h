/* SPDX-License-Identifier: MIT */
/*
 * The client inside: what llrph_client_open() and the simulator set up.
 *
 * llrph_client_open() parses URIs, takes a real clock and real randomness, and polls until there is
 * a session. llr_client_create() takes all of these from its caller and does nothing by itself:
 * the core reads no clock but the one given, draws no randomness but from the seed, and never
 * sleeps. llrph_client_poll() alone drives it: connecting, HELLO, cookie, requests, repeats,
 * re-opening, the next endpoint.
 */
#ifndef LLR_CLIENT_CLIENT_H
#define LLR_CLIENT_CLIENT_H

#include "base/clock.h"
#include "transport/transport.h"

#include <llrph/client.h>

#define LLR_ENDPOINTS_MAX 8U

struct llr_client_setup {
	struct llrph_client_options options; /* zeros mean the defaults */
	const struct llr_clock *clock;       /* borrows until close; may be virtual */
	uint64_t wall_ns;                    /* wall clock when clock says 0, for timestamps */
	uint64_t seed;                       /* nonces are drawn from it: random in earnest use */
	unsigned int endpoint_count;         /* 1..LLR_ENDPOINTS_MAX */
	const char *const *endpoints; /* names for llrph_client_info(); borrows until close */

	/*
	 * Makes a transport in the role "connect" to an endpoint, and its one peer. Called from
	 * llrph_client_poll() alone, with memory thawed, each time that a connection is wanted. The
	 * client owns the transport and closes it by its ops; the peer lives as long. It should not
	 * block; where it must (attaching a lane), not for long.
	 * 0; -EINPROGRESS not yet, ask again at the next poll; any other error: this endpoint is
	 * not there now, with error filled.
	 */
	int (*connect)(void *context, unsigned int endpoint, struct llr_transport **transport,
		       struct llr_peer **peer, struct llrph_error *error);
	/*
	 * Optional: as connect, but in the memory of a transport that connect made and whose peer
	 * has ended. After an error the client closes that transport and calls connect.
	 */
	int (*reconnect)(void *context, unsigned int endpoint, struct llr_transport *transport,
			 struct llr_peer **peer, struct llrph_error *error);
	/* Optional: true if the network says that nobody serves there. Asked while in HELLO. */
	bool (*is_refused)(void *context, unsigned int endpoint, struct llr_transport *transport);
	void *context; /* for these; borrows until close */
	/* Ends what connect keeps in context, at close; may be NULL. */
	void (*release)(void *context);
};

/*
 * Takes all memory of a client but its connections. The first llrph_client_poll() connects.
 * 0; -EINVAL an option out of range; -ENOMEM; error filled.
 */
int llr_client_create(struct llrph_client **client, const struct llr_client_setup *setup,
		      struct llrph_error *error);

/* True while there is a session to send requests in. */
bool llr_client_is_open(const struct llrph_client *client);

#endif
