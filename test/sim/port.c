/* SPDX-License-Identifier: MIT */
/*
 * The datagram port: bursts from its node's queue, rooms gathered into datagrams as the udp
 * transport does (one datagram for each peer and turn while it fits, frames at multiples of 16).
 *
 * Runs on the simulator's only thread. Owns the datagrams of the current burst, the open room and
 * what is not yet flushed.
 */
#include "port.h"

#include "crash.h"
#include "trace.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define BURST_MAX   64U
#define PENDING_MAX 64U

/* A datagram that is being filled. */
struct pending {
	struct llr_address to;
	uint32_t size;
	uint8_t bytes[SIM_DATAGRAM_SIZE_MAX];
};

struct sim_port {
	struct llr_transport transport; /* first: the ops get it */
	struct sim_network *network;    /* borrows */
	struct sim_node *node;          /* borrows */
	struct llr_peer peer;           /* connect role: the one peer */
	bool is_connected;
	uint32_t burst_count;
	struct sim_datagram *burst[BURST_MAX]; /* owns, until rx_release */
	struct llr_peer senders[BURST_MAX];
	struct llr_room room; /* owns room.bytes; NULL: none is open */
	struct llr_address room_to;
	uint32_t pending_count;
	struct pending pending[PENDING_MAX];
	struct llr_transport_counters own_counters;
};

static struct sim_port *port_of(struct llr_transport *transport)
{
	return (struct sim_port *)transport;
}

static unsigned int port_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				  struct llr_span *spans, unsigned int count_max)
{
	struct sim_port *port = port_of(transport);

	LLR_ASSERT(port->burst_count == 0);
	LLR_ASSERT(count_max > 0);
	LLR_ASSERT(now_ns <= *port->network->now_ns);
	while (port->burst_count < count_max && port->burst_count < BURST_MAX) {
		struct sim_datagram *datagram = sim_node_take(port->node);
		struct llr_peer *sender = &port->senders[port->burst_count];

		if (datagram == NULL)
			break;
		if (port->is_connected &&
		    memcmp(&datagram->from, &port->peer.address, sizeof(datagram->from)) != 0) {
			sim_datagram_free(datagram);
			continue;
		}
		*sender = (struct llr_peer){
			.address = datagram->from, .mtu = SIM_DATAGRAM_SIZE_MAX, .uid = UINT32_MAX};
		spans[port->burst_count] = (struct llr_span){
			.peer = port->is_connected ? &port->peer : sender,
			.bytes = datagram->bytes,
			.received_ns = datagram->arrived_ns,
			.size = datagram->size,
		};
		port->burst[port->burst_count++] = datagram;
		transport->counters->rx_spans++;
		transport->counters->rx_bytes += datagram->size;
	}
	return port->burst_count;
}

static void port_rx_release(struct llr_transport *transport, struct llr_span *spans,
			    unsigned int count)
{
	struct sim_port *port = port_of(transport);

	LLR_ASSERT(spans != NULL);
	LLR_ASSERT(count == port->burst_count);
	for (uint32_t i = 0; i < count; i++)
		sim_datagram_free(port->burst[i]);
	port->burst_count = 0;
}

static int port_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			   struct llr_room *room)
{
	struct sim_port *port = port_of(transport);
	struct sim_network *network = port->network;

	LLR_ASSERT(port->room.bytes == NULL);
	LLR_ASSERT(size > 0);
	if (size > SIM_DATAGRAM_SIZE_MAX)
		return -EMSGSIZE;
	if (port->pending_count == PENDING_MAX ||
	    sim_chance(&network->random, network->weather.full)) {
		transport->counters->tx_deferred++;
		return -EAGAIN;
	}
	port->room_to = port->is_connected ? port->peer.address : peer->address;
	port->room = (struct llr_room){.bytes = malloc(size), .size = size, .peer = peer};
	LLR_MUST(port->room.bytes != NULL);
	memset(port->room.bytes, 0xa5, size); /* what the user does not write is seen */
	*room = port->room;
	return 0;
}

/* The room's frame joins the datagram to its peer that is being filled, or begins one. */
static struct pending *pending_for(struct sim_port *port, uint32_t size, uint32_t *offset)
{
	struct pending *pending = NULL;

	for (uint32_t i = 0; i < port->pending_count; i++)
		if (memcmp(&port->pending[i].to, &port->room_to, sizeof(port->room_to)) == 0)
			pending = &port->pending[i];
	if (pending != NULL) {
		*offset = (uint32_t)llr_round_up(pending->size, LLR_ALIGN);
		if (*offset + size <= SIM_DATAGRAM_SIZE_MAX)
			return pending;
	}
	LLR_ASSERT(port->pending_count < PENDING_MAX);
	pending = &port->pending[port->pending_count++];
	pending->to = port->room_to;
	pending->size = 0;
	*offset = 0;
	return pending;
}

static void close_room(struct sim_port *port)
{
	free(port->room.bytes);
	port->room.bytes = NULL;
}

static void port_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct sim_port *port = port_of(transport);
	struct pending *pending;
	uint32_t offset;

	LLR_ASSERT(port->room.bytes != NULL);
	LLR_ASSERT(room->bytes == port->room.bytes);
	LLR_ASSERT(size > 0);
	LLR_ASSERT(size <= port->room.size);
	pending = pending_for(port, size, &offset);
	memset(pending->bytes + pending->size, 0, offset - pending->size);
	memcpy(pending->bytes + offset, port->room.bytes, size);
	pending->size = offset + size;
	close_room(port);
}

static void port_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct sim_port *port = port_of(transport);

	LLR_ASSERT(port->room.bytes != NULL);
	LLR_ASSERT(room->bytes == port->room.bytes);
	close_room(port);
}

static void port_tx_flush(struct llr_transport *transport)
{
	struct sim_port *port = port_of(transport);

	LLR_ASSERT(port->room.bytes == NULL);
	for (uint32_t i = 0; i < port->pending_count; i++) {
		const struct pending *pending = &port->pending[i];

		sim_crash_point();
		sim_network_send(port->network, port->node, &pending->to, pending->bytes,
				 pending->size);
		transport->counters->tx_spans++;
		transport->counters->tx_bytes += pending->size;
	}
	port->pending_count = 0;
}

static int port_wait_fd(struct llr_transport *transport)
{
	(void)transport;
	return -1;
}

static bool port_wait_prepare(struct llr_transport *transport)
{
	return port_of(transport)->node->head != NULL;
}

static void port_wait_done(struct llr_transport *transport)
{
	(void)transport;
}

/* A caller's socket is closed with its port; the server's is kept by whoever bound it. */
static void port_close(struct llr_transport *transport)
{
	struct sim_port *port = port_of(transport);

	if (port->is_connected)
		sim_node_close(port->node);
	sim_port_abandon(port);
}

static const struct llr_transport_ops port_ops = {
	.scheme = "sim",
	.traits = 0,
	.rx_burst = port_rx_burst,
	.rx_release = port_rx_release,
	.tx_reserve = port_tx_reserve,
	.tx_commit = port_tx_commit,
	.tx_abort = port_tx_abort,
	.tx_flush = port_tx_flush,
	.wait_fd = port_wait_fd,
	.wait_prepare = port_wait_prepare,
	.wait_done = port_wait_done,
	.close = port_close,
};

struct sim_port *sim_port_open(struct sim_network *network, struct sim_node *node,
			       const struct llr_address *to,
			       struct llr_transport_counters *counters)
{
	struct sim_port *port = calloc(1, sizeof(*port));

	LLR_MUST(port != NULL);
	port->transport.ops = &port_ops;
	port->transport.counters = counters != NULL ? counters : &port->own_counters;
	port->transport.uri = "sim:datagrams";
	port->network = network;
	sim_port_bind(port, node);
	port->is_connected = to != NULL;
	if (to != NULL)
		port->peer = (struct llr_peer){
			.address = *to, .mtu = SIM_DATAGRAM_SIZE_MAX, .uid = UINT32_MAX};
	return port;
}

struct llr_transport *sim_port_transport(struct sim_port *port)
{
	return &port->transport;
}

struct llr_peer *sim_port_peer(struct sim_port *port)
{
	LLR_ASSERT(port->is_connected);
	return &port->peer;
}

void sim_port_bind(struct sim_port *port, struct sim_node *node)
{
	LLR_ASSERT(node->port == NULL);
	if (port->node != NULL) {
		port->node->port = NULL;
		sim_node_close(port->node);
	}
	port->node = node;
	node->port = port;
	node->open = true;
}

void sim_port_abandon(struct sim_port *port)
{
	port->node->port = NULL;
	for (uint32_t i = 0; i < port->burst_count; i++)
		sim_datagram_free(port->burst[i]);
	free(port->room.bytes);
	free(port);
}

bool sim_port_is_idle(const struct sim_port *port)
{
	return port->room.bytes == NULL && port->burst_count == 0 && port->pending_count == 0;
}
