/* SPDX-License-Identifier: MIT */
/*
 * Streams: see stream.h. Runs on the simulator's only thread; the wire owns all connections until
 * the run ends, so that no pointer of either end's dangles; ports own their burst and room.
 *
 * A connection has two ends, 0 the one that connected and 1 the one that listens. Bytes written at
 * one end lie in `outgoing` until flush, are an event while under way, then lie in the other end's
 * `incoming`.
 */
#include "stream.h"

#include "trace.h"

#include "base/bytes.h"
#include "base/span.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BURST_MAX 64U
#define CAPACITY  (2U << 20) /* bytes that one direction holds, whatever their state */
#define UNSENT_MAX                                                                                 \
	(128U << 10)      /* above it the connecting end hears that there is no room; the          \
			     listening one, as with TCP, has room for all of a window */
#define CHOP_ONE_IN    3U /* runs that arrive in pieces */
#define CONNECTING_END 0
#define LISTENING_END  1

struct stream_end {
	struct llr_peer peer;
	struct sim_stream_port *port; /* borrows; NULL: gone, or never accepted */
	uint64_t last_ns;             /* when the newest run arrives at it: they don't overtake */
	uint32_t incoming_size;
	uint32_t wanted;   /* bytes before it is shown again */
	uint32_t position; /* of the first byte not consumed, modulo 16: so is its address */
	uint32_t outgoing_size;
	uint32_t under_way; /* bytes to it */
	bool has_ended;     /* nothing comes any more */
	bool was_seen;      /* so its end must be shown */
	bool was_told;      /* its end was shown */
	uint8_t incoming[CAPACITY];
	uint8_t outgoing[CAPACITY];
};

struct sim_connection {
	struct sim_wire *wire; /* borrows */
	unsigned int actor;    /* of the connecting end */
	char name[12];
	struct stream_end ends[2];
};

/* Bytes, or the end, under way to one end. */
struct sim_stream_run {
	struct sim_connection *connection; /* borrows */
	int end;                           /* that it goes to */
	uint32_t size;                     /* 0: the end of the connection */
	uint8_t bytes[];
};

struct shown {
	struct sim_connection *connection; /* borrows */
	uint8_t *bytes; /* owns; exactly up to the span's end; NULL: the connection's end */
};

struct sim_stream_port {
	struct llr_transport transport; /* first: the ops get it */
	struct sim_wire *wire;          /* borrows */
	int end;
	struct sim_connection *connection; /* connecting end: borrows its only one */
	uint32_t burst_count;
	struct shown burst[BURST_MAX];
	struct llr_room room; /* owns room.bytes; NULL: none is open */
	struct llr_transport_counters own_counters;
};

static struct sim_stream_port *port_of(struct llr_transport *transport)
{
	return (struct sim_stream_port *)transport;
}

void sim_wire_init(struct sim_wire *wire, struct sim_events *events, const uint64_t *now_ns,
		   uint64_t seed)
{
	*wire = (struct sim_wire){.events = events, .now_ns = now_ns};
	sim_random_init(&wire->random, seed, 3);
}

void sim_wire_fini(struct sim_wire *wire)
{
	for (unsigned int i = 0; i < wire->connection_count; i++)
		free(wire->connections[i]);
	wire->connection_count = 0;
}

void sim_stream_run_free(struct sim_stream_run *run)
{
	free(run);
}

static unsigned int actor_of(const struct sim_connection *connection, int end)
{
	return end == CONNECTING_END ? connection->actor : connection->wire->listener_actor;
}

/* Puts bytes under way to an end; size 0: the connection's end. */
static void launch(struct sim_connection *connection, int end, const uint8_t *bytes, uint32_t size)
{
	struct sim_wire *wire = connection->wire;
	struct stream_end *to = &connection->ends[end];
	struct sim_stream_run *run = malloc(sizeof(*run) + size);
	uint64_t delay = sim_between(&wire->random, wire->delay_min_ns, wire->delay_max_ns);

	LLR_MUST(run != NULL);
	*run = (struct sim_stream_run){.connection = connection, .end = end, .size = size};
	if (size > 0)
		memcpy(run->bytes, bytes, size);
	to->last_ns = llr_max_u64(to->last_ns, *wire->now_ns + delay);
	to->under_way += size;
	sim_events_push(
		wire->events,
		&(struct sim_event){.at_ns = to->last_ns, .kind = SIM_EVENT_STREAM, .item = run});
}

/* Sends what was committed at this end. */
static void flush_end(struct sim_connection *connection, int end)
{
	struct stream_end *from = &connection->ends[end];
	struct sim_wire *wire = connection->wire;
	uint32_t sent = 0;

	if (from->outgoing_size > 0)
		sim_trace_frames("streams ", end == CONNECTING_END ? connection->name : "server",
				 end == CONNECTING_END ? "server" : connection->name,
				 from->outgoing, from->outgoing_size);
	while (sent < from->outgoing_size) {
		uint32_t size = from->outgoing_size - sent;

		if (!wire->calm && sim_below(&wire->random, CHOP_ONE_IN) == 0)
			size = (uint32_t)sim_between(&wire->random, 1, size);
		launch(connection, !end, from->outgoing + sent, size);
		sent += size;
	}
	from->outgoing_size = 0;
}

/* This end goes away: the other hears of it. */
static void leave(struct sim_connection *connection, int end)
{
	connection->ends[end].port = NULL;
	connection->ends[end].has_ended = true;
	connection->ends[end].incoming_size = 0;
	launch(connection, !end, NULL, 0);
}

void sim_wire_arrive(struct sim_wire *wire, struct sim_stream_run *run)
{
	struct sim_connection *connection = run->connection;
	struct stream_end *to = &connection->ends[run->end];

	LLR_ASSERT(to->under_way >= run->size);
	to->under_way -= run->size;
	if (!to->has_ended && to->port != NULL) {
		LLR_ASSERT(to->incoming_size + run->size <= CAPACITY);
		memcpy(to->incoming + to->incoming_size, run->bytes, run->size);
		to->incoming_size += run->size;
		to->has_ended = run->size == 0;
		if (run->size == 0)
			SIM_TRACE("stream   of %s has ended at the %s", connection->name,
				  run->end == CONNECTING_END ? "caller" : "server");
		wire->wake(wire->context, actor_of(connection, run->end));
	}
	free(run);
}

void sim_wire_cut(struct sim_wire *wire, unsigned int actor)
{
	for (unsigned int i = 0; i < wire->connection_count; i++) {
		struct sim_connection *connection = wire->connections[i];

		if (connection->actor != actor)
			continue;
		for (int end = 0; end < 2; end++) {
			struct stream_end *side = &connection->ends[end];

			side->has_ended = true;
			side->outgoing_size = 0;
			if (sim_below(&wire->random, 2) == 0)
				side->incoming_size = 0;
			if (side->port != NULL)
				wire->wake(wire->context, actor_of(connection, end));
		}
	}
}

static bool has_news(const struct sim_stream_port *port, const struct stream_end *end)
{
	uint32_t least = end->wanted > 0 ? end->wanted : 1;

	return end->port == port && !end->was_told &&
	       (end->incoming_size >= least || end->has_ended);
}

bool sim_stream_has_news(const struct llr_transport *transport)
{
	const struct sim_stream_port *port = (const struct sim_stream_port *)transport;
	const struct sim_wire *wire = port->wire;

	for (unsigned int i = 0; i < wire->connection_count; i++)
		if (has_news(port, &wire->connections[i]->ends[port->end]))
			return true;
	return false;
}

/* Shows what has come to an end, or its end, if there is news. */
static bool show(struct sim_stream_port *port, struct sim_connection *connection,
		 struct llr_span *span)
{
	struct stream_end *end = &connection->ends[port->end];
	struct sim_wire *wire = port->wire;
	struct shown *shown = &port->burst[port->burst_count];
	uint32_t least = end->wanted > 0 ? end->wanted : 1;
	uint32_t size = end->incoming_size;

	if (!has_news(port, end))
		return false;
	*span = (struct llr_span){.peer = &end->peer, .received_ns = *wire->now_ns};
	*shown = (struct shown){.connection = connection};
	if (size >= least) {
		if (!wire->calm && sim_below(&wire->random, CHOP_ONE_IN) == 0)
			size = (uint32_t)sim_between(&wire->random, least, size);
		shown->bytes = malloc(end->position + size);
		LLR_MUST(shown->bytes != NULL);
		memcpy(shown->bytes + end->position, end->incoming, size);
		span->bytes = shown->bytes + end->position;
		span->size = size;
		end->was_seen = true;
		return true;
	}
	end->was_told = true;
	span->flags = LLR_SPAN_CLOSED;
	return end->was_seen;
}

static unsigned int stream_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				    struct llr_span *spans, unsigned int count_max)
{
	struct sim_stream_port *port = port_of(transport);
	struct sim_wire *wire = port->wire;

	LLR_ASSERT(port->burst_count == 0);
	LLR_ASSERT(now_ns <= *wire->now_ns);
	for (unsigned int i = 0; i < wire->connection_count; i++) {
		if (port->burst_count == count_max || port->burst_count == BURST_MAX)
			break;
		if (!show(port, wire->connections[i], &spans[port->burst_count]))
			continue;
		transport->counters->rx_spans++;
		transport->counters->rx_bytes += spans[port->burst_count].size;
		port->burst_count++;
	}
	return port->burst_count;
}

/* Takes back a span: what was consumed is gone, the rest waits for more. */
static void take_back(struct sim_stream_port *port, const struct shown *shown,
		      const struct llr_span *span)
{
	struct stream_end *end = &shown->connection->ends[port->end];
	uint32_t left;

	if (shown->bytes == NULL)
		return;
	free(shown->bytes);
	LLR_ASSERT(span->consumed <= span->size);
	if (end->port != port || end->incoming_size < span->size)
		return; /* dropped or cut meanwhile */
	left = end->incoming_size - span->consumed;
	end->position = (end->position + span->consumed) % LLR_ALIGN;
	memmove(end->incoming, end->incoming + span->consumed, left);
	end->incoming_size = left;
	end->wanted = span->wanted;
	if (span->wanted == 0 && span->consumed < span->size)
		end->wanted = span->size - span->consumed + 1;
	if (has_news(port, end))
		port->wire->wake(port->wire->context, actor_of(shown->connection, port->end));
}

static void stream_rx_release(struct llr_transport *transport, struct llr_span *spans,
			      unsigned int count)
{
	struct sim_stream_port *port = port_of(transport);

	LLR_ASSERT(count == port->burst_count);
	for (uint32_t i = 0; i < count; i++)
		take_back(port, &port->burst[i], &spans[i]);
	port->burst_count = 0;
}

static int stream_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			     struct llr_room *room)
{
	struct sim_stream_port *port = port_of(transport);
	struct sim_connection *connection =
		port->end == CONNECTING_END ? port->connection : peer->link;
	struct stream_end *end = &connection->ends[port->end];
	uint32_t unsent_max = port->end == CONNECTING_END ? UNSENT_MAX : CAPACITY - UNSENT_MAX;
	uint32_t unsent = end->outgoing_size + connection->ends[!port->end].under_way +
			  connection->ends[!port->end].incoming_size;

	LLR_ASSERT(port->room.bytes == NULL);
	LLR_ASSERT(size > 0);
	if (end->has_ended || end->port != port)
		return -ECONNRESET;
	if (size > UNSENT_MAX)
		return -EMSGSIZE;
	if (unsent + size > unsent_max || sim_chance(&port->wire->random, port->wire->full)) {
		transport->counters->tx_deferred++;
		return -EAGAIN;
	}
	port->room = (struct llr_room){.bytes = malloc(size), .size = size, .peer = peer};
	LLR_MUST(port->room.bytes != NULL);
	memset(port->room.bytes, 0xa5, size); /* what the user does not write is seen */
	*room = port->room;
	return 0;
}

static void close_room(struct sim_stream_port *port)
{
	free(port->room.bytes);
	port->room.bytes = NULL;
}

static void stream_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct sim_stream_port *port = port_of(transport);
	struct sim_connection *connection =
		port->end == CONNECTING_END ? port->connection : room->peer->link;
	struct stream_end *end = &connection->ends[port->end];
	uint32_t padded = (uint32_t)llr_round_up(size, LLR_ALIGN);

	LLR_ASSERT(port->room.bytes != NULL);
	LLR_ASSERT(room->bytes == port->room.bytes);
	LLR_ASSERT(size > 0);
	LLR_ASSERT(size <= port->room.size);
	LLR_ASSERT(end->outgoing_size + padded <= CAPACITY);
	memset(end->outgoing + end->outgoing_size, 0, padded);
	memcpy(end->outgoing + end->outgoing_size, room->bytes, size);
	end->outgoing_size += padded;
	close_room(port);
}

static void stream_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct sim_stream_port *port = port_of(transport);

	LLR_ASSERT(port->room.bytes != NULL);
	LLR_ASSERT(room->bytes == port->room.bytes);
	close_room(port);
}

static void stream_tx_flush(struct llr_transport *transport)
{
	struct sim_stream_port *port = port_of(transport);
	struct sim_wire *wire = port->wire;

	LLR_ASSERT(port->room.bytes == NULL);
	for (unsigned int i = 0; i < wire->connection_count; i++)
		if (wire->connections[i]->ends[port->end].port == port)
			flush_end(wire->connections[i], port->end);
}

static int stream_wait_fd(struct llr_transport *transport)
{
	(void)transport;
	return -1;
}

/* Ends the connection after what was committed; its end is shown with a later burst. */
static void stream_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	struct sim_stream_port *port = port_of(transport);
	struct sim_connection *connection = peer->link;
	struct stream_end *end = &connection->ends[port->end];

	if (end->has_ended)
		return;
	flush_end(connection, port->end);
	end->has_ended = true;
	end->incoming_size = 0;
	launch(connection, !port->end, NULL, 0);
	port->wire->wake(port->wire->context, actor_of(connection, port->end));
}

/* All of the port's connections end; unsent bytes go out first if it is in good order. */
static void leave_all(struct sim_stream_port *port, bool in_order)
{
	struct sim_wire *wire = port->wire;

	for (unsigned int i = 0; i < wire->connection_count; i++) {
		struct sim_connection *connection = wire->connections[i];

		if (connection->ends[port->end].port != port)
			continue;
		if (in_order)
			flush_end(connection, port->end);
		leave(connection, port->end);
	}
	if (wire->listener == port)
		wire->listener = NULL;
	for (uint32_t i = 0; i < port->burst_count; i++)
		free(port->burst[i].bytes);
	free(port->room.bytes);
	free(port);
}

static void stream_close(struct llr_transport *transport)
{
	leave_all(port_of(transport), true);
}

void sim_stream_abandon(struct llr_transport *transport)
{
	leave_all(port_of(transport), false);
}

static const struct llr_transport_ops stream_ops = {
	.scheme = "sim",
	.traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_STREAM,
	.rx_burst = stream_rx_burst,
	.rx_release = stream_rx_release,
	.tx_reserve = stream_tx_reserve,
	.tx_commit = stream_tx_commit,
	.tx_abort = stream_tx_abort,
	.tx_flush = stream_tx_flush,
	.wait_fd = stream_wait_fd,
	.drop = stream_drop,
	.close = stream_close,
};

static struct sim_stream_port *port_open(struct sim_wire *wire, int end,
					 struct llr_transport_counters *counters)
{
	struct sim_stream_port *port = calloc(1, sizeof(*port));

	LLR_MUST(port != NULL);
	port->transport.ops = &stream_ops;
	port->transport.counters = counters != NULL ? counters : &port->own_counters;
	port->transport.uri = "sim:streams";
	port->wire = wire;
	port->end = end;
	return port;
}

struct llr_transport *sim_stream_listen(struct sim_wire *wire,
					struct llr_transport_counters *counters)
{
	LLR_ASSERT(wire->listener == NULL);
	wire->listener = port_open(wire, LISTENING_END, counters);
	return &wire->listener->transport;
}

/* The least index that no living connection has; SIM_STREAM_PEER_COUNT_MAX: all are taken. */
static uint32_t free_index(const struct sim_wire *wire)
{
	uint64_t taken = 0;

	for (unsigned int i = 0; i < wire->connection_count; i++) {
		const struct stream_end *end = &wire->connections[i]->ends[LISTENING_END];

		if (end->port != NULL && end->port == wire->listener && !end->was_told)
			taken |= UINT64_C(1) << end->peer.index;
	}
	return taken == UINT64_MAX ? SIM_STREAM_PEER_COUNT_MAX : (uint32_t)__builtin_ctzll(~taken);
}

int sim_stream_connect(struct sim_wire *wire, unsigned int actor, struct llr_transport **transport,
		       struct llr_peer **peer)
{
	struct sim_stream_port *port;
	struct sim_connection *connection;
	uint32_t index = free_index(wire);

	if (wire->listener == NULL || wire->connection_count == SIM_CONNECTION_COUNT_MAX ||
	    index == SIM_STREAM_PEER_COUNT_MAX)
		return -ECONNREFUSED;
	port = port_open(wire, CONNECTING_END, NULL);
	connection = calloc(1, sizeof(*connection));
	LLR_MUST(connection != NULL);
	connection->wire = wire;
	connection->actor = actor;
	(void)snprintf(connection->name, sizeof(connection->name), "caller%u", actor);
	for (int end = 0; end < 2; end++) {
		connection->ends[end].port = end == CONNECTING_END ? port : wire->listener;
		connection->ends[end].peer =
			(struct llr_peer){.link = connection,
					  .uid = UINT32_MAX,
					  .index = end == LISTENING_END ? index : 0};
	}
	connection->ends[CONNECTING_END].was_seen = true;
	wire->connections[wire->connection_count++] = connection;
	port->connection = connection;
	*transport = &port->transport;
	*peer = &connection->ends[CONNECTING_END].peer;
	return 0;
}

bool sim_stream_is_idle(const struct llr_transport *transport)
{
	const struct sim_stream_port *port = (const struct sim_stream_port *)transport;
	const struct sim_wire *wire = port->wire;

	for (unsigned int i = 0; i < wire->connection_count; i++)
		if (wire->connections[i]->ends[port->end].port == port &&
		    wire->connections[i]->ends[port->end].outgoing_size > 0)
			return false;
	return port->room.bytes == NULL && port->burst_count == 0;
}
