/* SPDX-License-Identifier: MIT */
/*
 * The network of datagrams: what becomes of one between its sender and its receiver's queue. Runs
 * on the simulator's only thread; owns nodes and what is queued at them.
 *
 * Every datagram under way is one event of the agenda. At most three bits of one are flipped:
 * CRC-32C finds all such damage in a datagram's size, so that any that gets through is a bug.
 */
#include "network.h"

#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PORT_FIRST     1001U
#define ANCIENT_NS_MIN UINT64_C(100000000)
#define ANCIENT_NS_MAX UINT64_C(40000000000)
#define BURST_NS_MAX   UINT64_C(50000000)

void sim_network_init(struct sim_network *network, struct sim_events *events,
		      const uint64_t *now_ns, uint64_t seed)
{
	*network = (struct sim_network){.events = events, .now_ns = now_ns};
	sim_random_init(&network->random, seed, 1);
}

void sim_network_fini(struct sim_network *network)
{
	for (unsigned int i = 0; i < network->node_count; i++)
		sim_node_close(&network->nodes[i]);
}

struct sim_node *sim_network_node(struct sim_network *network, const char *name, unsigned int actor)
{
	struct sim_node *node;

	if (network->node_count == SIM_NODE_COUNT_MAX)
		return NULL;
	node = &network->nodes[network->node_count++];
	*node = (struct sim_node){.actor = actor, .open = true, .queue_max = UINT32_MAX};
	node->tail = &node->head;
	/* 10.0.0.1, one port each: a session must be bound to the port too. */
	node->address.family = AF_INET;
	node->address.port = (uint16_t)(PORT_FIRST + network->node_count - 1);
	memcpy(node->address.ip, (uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1},
	       16);
	(void)snprintf(node->name, sizeof(node->name), "%s:%u", name, node->address.port);
	return node;
}

void sim_node_close(struct sim_node *node)
{
	for (struct sim_datagram *datagram = sim_node_take(node); datagram != NULL;
	     datagram = sim_node_take(node))
		sim_datagram_free(datagram);
	node->open = false;
}

struct sim_datagram *sim_node_take(struct sim_node *node)
{
	struct sim_datagram *datagram = node->head;

	if (datagram == NULL)
		return NULL;
	node->head = datagram->next;
	if (node->head == NULL)
		node->tail = &node->head;
	node->queued--;
	datagram->next = NULL;
	return datagram;
}

void sim_datagram_free(struct sim_datagram *datagram)
{
	free(datagram->bytes);
	free(datagram);
}

static struct sim_node *find(struct sim_network *network, const struct llr_address *address)
{
	struct sim_node *node;

	LLR_ASSERT(address->port >= PORT_FIRST);
	LLR_ASSERT(address->port < PORT_FIRST + network->node_count);
	node = &network->nodes[address->port - PORT_FIRST];
	LLR_ASSERT(memcmp(&node->address, address, sizeof(*address)) == 0);
	return node;
}

/* Puts a copy of the bytes under way. */
static struct sim_datagram *launch(struct sim_network *network, const struct sim_node *from,
				   const struct llr_address *to, const uint8_t *bytes,
				   uint32_t size)
{
	const struct sim_weather *weather = &network->weather;
	struct sim_random *random = &network->random;
	struct sim_datagram *datagram = malloc(sizeof(*datagram));
	uint64_t delay = sim_between(random, weather->delay_min_ns, weather->delay_max_ns);

	LLR_MUST(datagram != NULL);
	if (sim_chance(random, weather->reorder))
		delay += sim_below(random, 20 * weather->delay_max_ns);
	*datagram = (struct sim_datagram){.from = from->address, .to = *to, .size = size};
	datagram->bytes = malloc(size); /* aligned to 16 by the platform's ABI */
	LLR_MUST(datagram->bytes != NULL);
	memcpy(datagram->bytes, bytes, size);
	datagram->arrived_ns = *network->now_ns + delay;
	return datagram;
}

static void enter(struct sim_network *network, struct sim_datagram *datagram)
{
	sim_events_push(network->events, &(struct sim_event){.at_ns = datagram->arrived_ns,
							     .kind = SIM_EVENT_DATAGRAM,
							     .item = datagram});
}

static void spoil(struct sim_network *network, struct sim_datagram *datagram)
{
	struct sim_random *random = &network->random;

	if (sim_chance(random, network->weather.damage)) {
		for (uint64_t flips = sim_between(random, 1, 3); flips > 0; flips--) {
			uint64_t bit = sim_below(random, datagram->size * UINT64_C(8));

			datagram->bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		}
		SIM_TRACE("network  damages the next");
	}
	if (sim_chance(random, network->weather.truncate)) {
		datagram->size = (uint32_t)sim_between(random, 1, datagram->size);
		/* So that what is cut off is out of bounds. */
		datagram->bytes = realloc(datagram->bytes, datagram->size);
		LLR_MUST(datagram->bytes != NULL);
		SIM_TRACE("network  cuts the next to %u bytes", datagram->size);
	}
}

/* Bytes that nobody sent, from the sender's address: with luck they begin like a frame. */
static void send_garbage(struct sim_network *network, const struct sim_node *from,
			 const struct llr_address *to)
{
	uint8_t bytes[256];
	uint32_t size = (uint32_t)sim_between(&network->random, 1, sizeof(bytes));

	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)sim_random_next(&network->random);
	if (sim_below(&network->random, 2) == 0 && size >= 5)
		memcpy(bytes, "LLRP\1", 5);
	SIM_TRACE("network  makes up %u bytes from %s", size, from->name);
	enter(network, launch(network, from, to, bytes, size));
}

static bool is_lost(struct sim_network *network)
{
	struct sim_random *random = &network->random;

	if (sim_chance(random, network->weather.burst))
		network->burst_until_ns = *network->now_ns + sim_below(random, BURST_NS_MAX);
	return sim_chance(random, network->weather.loss) ||
	       *network->now_ns < network->burst_until_ns;
}

void sim_network_send(struct sim_network *network, const struct sim_node *from,
		      const struct llr_address *to, const uint8_t *bytes, uint32_t size)
{
	struct sim_random *random = &network->random;
	struct sim_node *receiver = find(network, to); /* whoever sends elsewhere is wrong */
	unsigned int copies = 1;

	LLR_ASSERT(size > 0);
	LLR_ASSERT(size <= SIM_DATAGRAM_SIZE_MAX);
	network->tap(network->context, from->actor, receiver, bytes, size);
	if (from->cut || receiver->cut || is_lost(network)) {
		sim_trace_frames("loses   ", from->name, receiver->name, bytes, size);
		return;
	}
	if (sim_chance(random, network->weather.duplicate))
		copies += (unsigned int)sim_between(random, 1, 3);
	sim_trace_frames(copies == 1 ? "carries " : "repeats ", from->name, receiver->name, bytes,
			 size);
	for (unsigned int i = 0; i < copies; i++) {
		struct sim_datagram *datagram = launch(network, from, to, bytes, size);

		spoil(network, datagram);
		enter(network, datagram);
	}
	if (sim_chance(random, network->weather.ancient)) {
		struct sim_datagram *datagram = launch(network, from, to, bytes, size);

		datagram->arrived_ns += sim_log_between(random, ANCIENT_NS_MIN, ANCIENT_NS_MAX);
		enter(network, datagram);
	}
	if (sim_chance(random, network->weather.garbage))
		send_garbage(network, from, to);
}

void sim_network_inject(struct sim_network *network, const struct sim_node *from,
			const struct llr_address *to, const uint8_t *bytes, uint32_t size)
{
	sim_trace_frames("injects ", from->name, find(network, to)->name, bytes, size);
	enter(network, launch(network, from, to, bytes, size));
}

void sim_network_arrive(struct sim_network *network, struct sim_datagram *datagram)
{
	struct sim_node *node = find(network, &datagram->to);

	if (!node->open || node->cut || node->queued == node->queue_max) {
		sim_datagram_free(datagram);
		return;
	}
	*node->tail = datagram;
	node->tail = &datagram->next;
	node->queued++;
	network->wake(network->context, node->actor);
}
