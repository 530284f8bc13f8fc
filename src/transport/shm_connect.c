/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the client's role: how it comes by its lane, sleeps, and lets go of it. The
 * request path is in shm_client.c.
 *
 * Thread: the client's. Owns: its mappings of the lane, the connection and the bell.
 */
#include "transport/shm.h"

#include "base/log.h"
#include "base/memory.h"
#include "transport/handover.h"
#include "transport/shm_client.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_SIZE 4096U
#define WAKES_MAX 64

static int client_wait_fd(struct llr_transport *transport)
{
	return llr_shm_client_of(transport)->connection;
}

static bool client_wait_prepare(struct llr_transport *transport)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);
	const uint8_t *frame;
	uint32_t size;

	llr_lane_park(client->parked);
	if (client->is_over)
		return !client->is_told;
	return llr_ring_peek(&client->replies, &frame, &size) != 0;
}

static void client_wait_done(struct llr_transport *transport)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	llr_lane_unpark(client->parked);
	if (!client->is_over)
		llr_shm_client_look(client);
}

static void client_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	LLR_ASSERT(peer == &client->peer);
	(void)shutdown(client->connection, SHUT_RDWR);
	client->is_over = true;
}

static void client_close(struct llr_transport *transport)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	llr_lane_unmap(&client->request);
	llr_lane_unmap(&client->reply);
	if (client->worker != NULL)
		LLR_ASSERT(munmap((void *)(uintptr_t)client->worker, PAGE_SIZE) == 0);
	llr_handover_close_fds(&client->bell, 1);
	llr_handover_close_fds(&client->connection, 1);
	llr_memory_unmap(client, sizeof(*client));
}

static const struct llr_transport_ops connect_ops = {
	.scheme = "shm",
	.traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_NO_CRC,
	.rx_burst = llr_shm_client_rx_burst,
	.rx_release = llr_shm_client_rx_release,
	.tx_reserve = llr_shm_client_tx_reserve,
	.tx_commit = llr_shm_client_tx_commit,
	.tx_abort = llr_shm_client_tx_abort,
	.tx_flush = llr_shm_client_tx_flush,
	.wait_fd = client_wait_fd,
	.wait_prepare = client_wait_prepare,
	.wait_done = client_wait_done,
	.drop = client_drop,
	.close = client_close,
};

/* Maps what was handed over. 0 or a negative errno code; close undoes all. */
static int map_lane(struct llr_shm_client *client, const struct llr_handover *handover)
{
	const struct llr_lane_shape *shape = &handover->answer.shape;
	void *page;
	int code = llr_lane_map(&client->request, handover->fds[LLR_HANDOVER_REQUEST], shape,
				LLR_LANE_WRITE);

	if (code == 0)
		code = llr_lane_map(&client->reply, handover->fds[LLR_HANDOVER_REPLY], shape,
				    LLR_LANE_READ);
	if (code != 0)
		return code;
	page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, handover->fds[LLR_HANDOVER_LAST], 0);
	if (page == MAP_FAILED)
		return -errno;
	client->worker = page;
	return 0;
}

static void aim_rings(struct llr_shm_client *client, const struct llr_handover_answer *answer)
{
	struct llr_lane_client_page *own = (void *)client->request.page;
	const struct llr_lane_server_page *other = (void *)client->reply.page;

	client->parked = &own->parked;
	client->requests = (struct llr_ring_writer){
		.bytes = client->request.ring,
		.read = &other->request_read,
		.key = answer->request_key,
		.position = answer->start,
		.read_seen = answer->start,
		.capacity = answer->shape.capacity,
		.frame_max = answer->shape.frame_max,
	};
	client->replies = (struct llr_ring_reader){
		.bytes = client->reply.ring,
		.read = &own->reply_read,
		.key = answer->reply_key,
		.position = answer->start,
		.released = answer->start,
		.capacity = answer->shape.capacity,
		.frame_max = answer->shape.frame_max,
	};
}

int llr_shm_connect(struct llr_transport **transport, struct llr_peer **peer,
		    const struct llr_shm_wish *wish, struct llrph_error *error)
{
	struct llr_handover_hello hello = {
		.magic = LLR_HANDOVER_MAGIC,
		.version = LLR_HANDOVER_VERSION,
		.message_max = wish->message_max,
		.flags = (wish->hugepages ? LLR_HANDOVER_HUGEPAGES : 0) |
			 (wish->spin ? LLR_HANDOVER_SPIN : 0),
	};
	struct llr_handover handover;
	struct llr_shm_client *client;
	int code;

	LLR_ASSERT(wish->counters != NULL);
	code = llr_handover_connect(&handover, wish->name, &hello,
				    llr_clock_gettime_ns() + wish->timeout_ns, error);
	if (code != 0)
		return code;
	client = llr_memory_map(sizeof(*client), "shared-memory client");
	if (client == NULL) {
		llr_handover_close_fds(&handover.connection, 1);
		llr_handover_close_fds(handover.fds, LLR_HANDOVER_FDS);
		return llr_error_set(error, -ENOMEM, "no memory for a shared-memory client");
	}
	client->connection = handover.connection;
	client->bell = handover.fds[LLR_HANDOVER_BELL];
	handover.fds[LLR_HANDOVER_BELL] = -1;
	code = map_lane(client, &handover);
	llr_handover_close_fds(handover.fds, LLR_HANDOVER_FDS);
	if (code != 0) {
		client_close(&client->base);
		return llr_error_set(error, code, "can't map the lane of shm:%s: %s", wish->name,
				     strerror(-code));
	}
	aim_rings(client, &handover.answer);
	client->server_spins = (handover.answer.flags & LLR_HANDOVER_SPIN) != 0;
	client->news_ns = llr_clock_now(wish->clock);
	client->peer = (struct llr_peer){.link = client, .uid = handover.answer.uid};
	(void)snprintf(client->uri, sizeof(client->uri), "shm:%s", wish->name);
	client->base = (struct llr_transport){
		.ops = &connect_ops, .counters = wish->counters, .uri = client->uri};
	wish->counters->accepted++;
	*transport = &client->base;
	*peer = &client->peer;
	return 0;
}
