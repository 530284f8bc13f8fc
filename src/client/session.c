/* SPDX-License-Identifier: MIT */
/*
 * The life of a link: connect, HELLO, WELCOME, session, death, and the way back.
 *
 *            connect            WELCOME 200
 *   DOWN ───────────────▶ HELLO ──────────▶ OPEN
 *    ▲  ▲                 │  ▲               │ │
 *    │  └── burial ── LOST◀┘ └── 401 ────────┘ │
 *    │                 ▲                       │
 *    └─ retry_ns       └── closed, silent ─────┘
 *
 * What becomes of a request whose session is gone: it is sent again by itself only if it cannot
 * have run, or is idempotent. Everything else ends with LLRPH_E_MAYBE_RAN. That no copy has run is
 * known
 * - if none has left;
 * - on connected transports, if it was answered 401: there are no copies but the one answered;
 * - on datagram transports, where the network may have kept a second copy from before the server
 *   lost its sessions, if it was answered 401 and
 *   - the epoch is new, and the 401 came so soon after the first copy left that the server was gone
 *     by then (LLR_RESTART_NS); or
 *   - the epoch is the same, and the session had ended of its silence before the first copy left.
 *
 * Thread: the client's owner's. Owns: the links' transports.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/memory.h"

#define HELLO_RETRY_NS UINT64_C(200000)  /* where a connection still comes about */
#define BEAT_RETRY_NS  UINT64_C(1000000) /* where a heartbeat found no room */

static const char *link_name(const struct llrph_client *client, const struct llr_link *link)
{
	return client->setup.endpoints[link->endpoint];
}

static bool is_active(const struct llrph_client *client, const struct llr_link *link)
{
	return link == client->primary || link == client->hedge;
}

/* ---- a request whose session is gone ---- */

static bool did_not_run(const struct llr_link *link, const struct llr_leg *leg, bool epoch_is_new)
{
	if (!leg->has_left)
		return true;
	if (leg->refused_ns == 0)
		return false;
	if (!link->is_datagram)
		return true;
	return epoch_is_new ? leg->refused_ns - leg->first_ns < LLR_RESTART_NS : leg->was_stale;
}

static void leg_abandon(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
			bool has_run_maybe)
{
	bool has_payload = leg->link->is_datagram || call->is_idempotent;
	bool was_refused = leg->refused_ns != 0;

	llr_leg_stop(leg);
	call->may_have_run = call->may_have_run || has_run_maybe;
	if (call->legs[0].link != NULL || call->legs[1].link != NULL)
		return;
	call->hedge_ns = LLR_NEVER;
	if (call->may_have_run && !call->is_idempotent)
		llr_call_end(client, call, LLRPH_E_MAYBE_RAN);
	else if (!has_payload)
		llr_call_end(client, call, was_refused ? LLRPH_E_NO_SESSION : LLRPH_E_PEER_DEAD);
}

/* The session that the link had is over; epoch_is_new: so says the server. */
static void legs_abandon(struct llrph_client *client, struct llr_link *link, bool epoch_is_new)
{
	for (uint32_t i = 0; i < client->window; i++) {
		struct llr_call *call = &client->calls[i];

		for (unsigned int k = 0; k < LLR_CALL_LEGS && call->state == LLR_CALL_OUT; k++) {
			struct llr_leg *leg = &call->legs[k];

			if (leg->link == link)
				leg_abandon(client, call, leg,
					    !did_not_run(link, leg, epoch_is_new));
		}
	}
	LLR_ASSERT(link->outstanding == 0);
	LLR_ASSERT(link->flying == 0);
}

/* ---- which link is used ---- */

static void links_swap(struct llrph_client *client)
{
	struct llr_link *link = client->primary;

	LLR_ASSERT(client->hedge != NULL);
	client->primary = client->hedge;
	client->hedge = link;
	llr_calls_restack(client);
}

static uint64_t backoff_next(uint64_t backoff_ns)
{
	if (backoff_ns < LLR_BACKOFF_MIN_NS)
		return LLR_BACKOFF_MIN_NS;
	return llr_min_u64(2 * backoff_ns, LLR_BACKOFF_MAX_NS);
}

/* The same endpoint first, if it had a session; then one after the other, with a pause a round. */
static void primary_failed(struct llrph_client *client, bool was_open, uint64_t now_ns)
{
	struct llr_link *link = client->primary;
	unsigned int count = client->setup.endpoint_count;
	struct llr_link *next = &client->links[(link->endpoint + 1) % count];

	link->retry_ns = now_ns;
	if (client->hedge != NULL && client->hedge->state == LLR_LINK_OPEN) {
		link->retry_ns = now_ns + LLR_BACKOFF_MIN_NS;
		links_swap(client);
		return;
	}
	if (was_open)
		return;
	client->failures++;
	next->retry_ns = now_ns;
	if (client->failures % count == 0) {
		client->backoff_ns = backoff_next(client->backoff_ns);
		next->retry_ns = now_ns + client->backoff_ns;
	}
	if (next == client->hedge)
		links_swap(client);
	else
		client->primary = next;
}

static void link_failed(struct llrph_client *client, struct llr_link *link, bool was_open,
			uint64_t now_ns)
{
	llr_client_wants(client, now_ns);
	if (link == client->primary) {
		primary_failed(client, was_open, now_ns);
		return;
	}
	link->backoff_ns = backoff_next(was_open ? 0 : link->backoff_ns);
	link->retry_ns = now_ns + link->backoff_ns;
}

void llr_link_lose(struct llrph_client *client, struct llr_link *link, int error, uint64_t now_ns)
{
	bool was_open = link->state == LLR_LINK_OPEN;

	LLR_ASSERT(error < 0);
	if (link->state == LLR_LINK_LOST || link->state == LLR_LINK_DOWN)
		return;
	link->state = LLR_LINK_LOST;
	client->open_error = llr_error_set(&client->open_text, error, "%s: %s",
					   link_name(client, link), llrph_strerror(error));
	legs_abandon(client, link, false);
	link_failed(client, link, was_open, now_ns);
}

/* ---- connect ---- */

static void transport_close(struct llrph_client *client, struct llr_link *link)
{
	if (link->transport == NULL)
		return;
	llr_client_unwatch(client, link);
	link->transport->ops->close(link->transport);
	link->transport = NULL;
	link->peer = NULL;
}

/* Replies in parts are put together in memory that is taken once. */
static int reassembly_take(struct llrph_client *client, struct llr_link *link)
{
	size_t stride = llr_client_parts_size(client);

	if (link->reassemblies != NULL)
		return 0;
	link->reassembly_memory =
		llr_memory_map(client->window * stride, "client: replies in parts");
	if (link->reassembly_memory == NULL)
		return LLRPH_E_NO_MEMORY;
	link->reassemblies = llr_memory_map(client->window * sizeof(struct llr_reassembly),
					    "client: replies in parts");
	if (link->reassemblies != NULL)
		return 0;
	llr_memory_unmap(link->reassembly_memory, client->window * stride);
	link->reassembly_memory = NULL;
	return LLRPH_E_NO_MEMORY;
}

static int transport_open(struct llrph_client *client, struct llr_link *link)
{
	const struct llr_client_setup *setup = &client->setup;
	int error = LLRPH_E_NOT_SUPPORTED;

	client->open_text.text[0] = '\0';
	if (link->transport != NULL) {
		error = setup->reconnect(setup->context, link->endpoint, link->transport,
					 &link->peer, &client->open_text);
		if (error != 0)
			transport_close(client, link);
	}
	if (link->transport == NULL) {
		error = setup->connect(setup->context, link->endpoint, &link->transport,
				       &link->peer, &client->open_text);
		if (error == 0)
			llr_client_watch(client, link);
	}
	if (error == 0 && (link->transport->ops->traits & LLR_TRAIT_CONNECTED) == 0)
		error = reassembly_take(client, link);
	if (error != 0)
		transport_close(client, link);
	return error;
}

static void link_shape(struct llrph_client *client, struct llr_link *link)
{
	unsigned int traits = link->transport->ops->traits;
	bool is_memory = (traits & LLR_TRAIT_NO_CRC) != 0;

	link->is_datagram = (traits & LLR_TRAIT_CONNECTED) == 0;
	link->place = 0;
	if (!link->is_datagram)
		link->place |= LLR_PLACE_CONNECTED;
	if ((traits & LLR_TRAIT_STREAM) != 0)
		link->place |= LLR_PLACE_STREAM;
	if (is_memory)
		link->place |= LLR_PLACE_NO_CRC;
	link->frame_flags = 0;
	if (is_memory && client->setup.options.checksum == 0)
		link->frame_flags = LLR_FLAG_NO_CRC;
	link->silence_ns = LLR_HEARTBEAT_NS;
	if (client->setup.endpoint_count > 1)
		link->silence_ns = client->setup.options.connect_ns;
	if (is_memory)
		link->silence_ns = LLR_NEVER;
}

static void hello_begin(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	link->state = LLR_LINK_HELLO;
	link->nonce = llr_client_random(client);
	link->cookie = 0;
	link->hello_since_ns = now_ns;
	link->hello_due_ns = now_ns;
	link->hello_rto_ns = link->rto_ns;
	link->hello_copies = 0;
}

static void link_connect(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	int error;

	llr_thaw_begin();
	error = transport_open(client, link);
	llr_thaw_end();
	if (error == -EINPROGRESS) {
		link->retry_ns = now_ns + HELLO_RETRY_NS;
		return;
	}
	if (error != 0) {
		client->open_error = error;
		if (client->open_text.text[0] == '\0')
			llr_error_set(&client->open_text, error, "%s: %s", link_name(client, link),
				      llrph_strerror(error));
		link_failed(client, link, false, now_ns);
		return;
	}
	link_shape(client, link);
	llr_rtt_reset(link);
	link->said_ns = now_ns;
	link->asked_ns = 0;
	link->epoch = 0;
	link->must_flush = false;
	link->is_blocked = false;
	hello_begin(client, link, now_ns);
}

/* ---- HELLO and WELCOME ---- */

static void hello_send(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	int error = llr_link_send(client, link, LLR_HELLO, 0, now_ns);

	if (error == -EAGAIN) {
		link->hello_due_ns = now_ns + HELLO_RETRY_NS;
	} else if (error != 0) {
		llr_link_lose(client, link, error, now_ns);
		return;
	} else {
		link->hello_copies++;
		link->hello_sent_ns = now_ns;
		link->hello_due_ns = LLR_NEVER;
		if (link->is_datagram)
			link->hello_due_ns = now_ns + link->hello_rto_ns;
		link->hello_rto_ns = llr_min_u64(2 * link->hello_rto_ns, LLR_RTO_MAX_NS);
	}
	llr_client_wants(client, link->hello_due_ns);
}

static uint64_t hello_step(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	const struct llr_client_setup *setup = &client->setup;
	uint64_t end_ns = link->hello_since_ns + setup->options.connect_ns;

	if (setup->is_refused != NULL &&
	    setup->is_refused(setup->context, link->endpoint, link->transport)) {
		llr_link_lose(client, link, LLRPH_E_REFUSED, now_ns);
		return LLR_NEVER;
	}
	if (now_ns >= end_ns) {
		llr_link_lose(client, link, -ETIMEDOUT, now_ns);
		llr_error_set(&client->open_text, -ETIMEDOUT,
			      "%s: no answer within %llu ms: does a server run there?",
			      link_name(client, link),
			      (unsigned long long)(setup->options.connect_ns / 1000000U));
		return LLR_NEVER;
	}
	if (now_ns >= link->hello_due_ns)
		hello_send(client, link, now_ns);
	return llr_min_u64(end_ns, link->hello_due_ns);
}

static bool is_granted(const struct llrph_client *client, const struct llr_welcome *welcome)
{
	return welcome->session != 0 && llr_is_power_of_two(welcome->window) &&
	       welcome->window <= client->window && welcome->max_message > 0 &&
	       welcome->max_message <= client->setup.options.max_message;
}

static void session_opened(struct llrph_client *client, struct llr_link *link,
			   const struct llr_welcome *welcome, uint64_t now_ns)
{
	uint64_t base;

	legs_abandon(client, link, link->epoch != welcome->epoch);
	link->state = LLR_LINK_OPEN;
	link->session = welcome->session;
	link->epoch = welcome->epoch;
	link->window = welcome->window;
	link->max_message = welcome->max_message;
	link->credits = welcome->window;
	link->cwnd = welcome->window;
	link->cwnd_replies = 0;
	link->cut_ns = now_ns;
	link->is_stale = false;
	link->backoff_ns = 0;
	/* Above all sequences before: see state.h. */
	base = (client->sequence_max / link->window) * link->window;
	for (uint32_t i = 0; i < link->window; i++)
		link->slot_sequences[i] = base + i;
	client->sessions++;
	if (link == client->hedge && client->primary->state != LLR_LINK_OPEN)
		links_swap(client);
	if (link == client->primary) {
		client->failures = 0;
		client->backoff_ns = 0;
		llr_calls_restack(client);
	}
	llr_client_wants(client, now_ns); /* calls may wait for it */
}

void llr_link_welcome(struct llrph_client *client, struct llr_link *link,
		      const struct llr_frame *frame, uint64_t now_ns)
{
	struct llr_welcome welcome;

	if (frame->length != LLR_WELCOME_SIZE || link->state != LLR_LINK_HELLO) {
		client->rejected++;
		return;
	}
	llr_welcome_decode(frame->body, &welcome);
	if (welcome.nonce != link->nonce) {
		client->rejected++;
		return;
	}
	if (link->is_datagram && link->hello_copies == 1)
		llr_rtt_sample(link, now_ns - link->hello_sent_ns);
	if (welcome.status == LLRPH_STATUS_OK) {
		if (is_granted(client, &welcome))
			session_opened(client, link, &welcome, now_ns);
		else
			llr_link_lose(client, link, LLRPH_E_BAD_PEER, now_ns);
	} else if (welcome.status == LLRPH_STATUS_NO_SESSION && link->is_datagram) {
		/* The same cookie again: a repeat, or a server that will not have us. */
		if (welcome.cookie == 0 || welcome.cookie == link->cookie)
			return;
		link->cookie = welcome.cookie;
		link->hello_copies = 0;
		link->hello_rto_ns = link->rto_ns;
		hello_send(client, link, now_ns);
	} else {
		llr_link_lose(client, link, LLRPH_E_NO_SESSION, now_ns);
		llr_error_set(&client->open_text, LLRPH_E_NO_SESSION, "%s: refused with %u: %s",
			      link_name(client, link), welcome.status,
			      llrph_status_text(welcome.status));
	}
}

void llr_link_reopen(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	LLR_ASSERT(link->state == LLR_LINK_OPEN);
	hello_begin(client, link, now_ns);
	hello_send(client, link, now_ns);
	llr_client_wants(client, now_ns + client->setup.options.connect_ns);
}

/* ---- a session's days ---- */

static uint64_t beat_due(const struct llr_link *link)
{
	if (link->asked_ns == 0 || link->silence_ns == LLR_NEVER)
		return link->said_ns + LLR_HEARTBEAT_NS;
	return link->asked_ns + link->silence_ns / LLR_PROBES * (link->probes + 1);
}

static uint64_t open_step(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	bool is_asked = link->asked_ns != 0;

	if (is_asked && link->silence_ns != LLR_NEVER &&
	    now_ns - link->asked_ns >= link->silence_ns) {
		llr_link_lose(client, link, LLRPH_E_PEER_DEAD, now_ns);
		return LLR_NEVER;
	}
	if (now_ns < beat_due(link))
		return beat_due(link);
	if (llr_link_send(client, link, LLR_HEARTBEAT, link->beat_sequence + 1, now_ns) != 0)
		return now_ns + BEAT_RETRY_NS;
	link->beat_sequence++;
	if (is_asked)
		link->probes++;
	return beat_due(link);
}

uint64_t llr_link_step(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	switch (link->state) {
	case LLR_LINK_DOWN:
		if (!is_active(client, link))
			return LLR_NEVER;
		if (now_ns >= link->retry_ns)
			link_connect(client, link, now_ns);
		if (link->state == LLR_LINK_HELLO)
			return hello_step(client, link, now_ns);
		return is_active(client, link) ? link->retry_ns : LLR_NEVER;
	case LLR_LINK_LOST:
		return now_ns; /* the next turn buries it */
	case LLR_LINK_HELLO:
		return hello_step(client, link, now_ns);
	case LLR_LINK_OPEN:
		return open_step(client, link, now_ns);
	}
	return LLR_NEVER;
}

void llr_link_bury(struct llrph_client *client, struct llr_link *link)
{
	LLR_ASSERT(link->state == LLR_LINK_LOST);
	if (link->room_is_open)
		return; /* the caller still builds a request there */
	link->span_index = link->span_count;
	llr_link_release(link);
	if (client->setup.reconnect == NULL)
		transport_close(client, link);
	link->state = LLR_LINK_DOWN;
}

void llr_link_close(struct llrph_client *client, struct llr_link *link, uint64_t now_ns)
{
	size_t stride = llr_client_parts_size(client);

	if (link->state == LLR_LINK_OPEN) {
		(void)llr_link_send(client, link, LLR_BYE, 0, now_ns);
		llr_link_flush(link);
	}
	link->span_index = link->span_count;
	llr_link_release(link);
	transport_close(client, link);
	if (link->reassemblies == NULL)
		return;
	llr_memory_unmap(link->reassembly_memory, client->window * stride);
	llr_memory_unmap(link->reassemblies, client->window * sizeof(struct llr_reassembly));
}
