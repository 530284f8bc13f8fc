/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the client's role: one lane, whose requests are built and whose replies are read
 * in place.
 *
 * Thread: the client's. Owns: its mappings of the lane, the connection and the bell. While both
 * sides spin nothing in here makes a syscall, but a look at the connection after 10 ms without a
 * reply: its end is the server's.
 */
#include "transport/shm.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/runtime.h"
#include "transport/handover.h"
#include "transport/lane.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_SIZE 4096U
#define LOOK_NS   10000000U /* without news: is the server still there? */
#define WAKES_MAX 64        /* bytes taken off the connection in one look */

struct client {
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

static struct client *from_transport(struct llr_transport *transport)
{
	return (struct client *)(void *)transport;
}

/* Takes wake-ups off the connection and sees whether it has ended. */
static void look(struct client *client)
{
	uint8_t wake;

	for (int i = 0; i < WAKES_MAX; i++) {
		ssize_t received = recv(client->connection, &wake, sizeof(wake), MSG_DONTWAIT);

		if (received > 0 || (received < 0 && errno == EINTR))
			continue;
		/* Short of memory, the kernel has not said that the server is gone. */
		if (received == 0 || (errno != EAGAIN && errno != ENOMEM && errno != ENOBUFS))
			client->is_over = true;
		return;
	}
}

static void break_off(struct client *client)
{
	client->base.counters->rx_broken++;
	client->is_over = true;
	client->is_broken = true;
}

static unsigned int client_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				    struct llr_span *spans, unsigned int count_max)
{
	struct client *client = from_transport(transport);
	unsigned int count = 0;
	bool was_over = client->is_over; /* before the ring was read: nothing comes after */

	while (count < count_max && !client->is_broken) {
		const uint8_t *frame;
		uint32_t size;
		int found = llr_ring_peek(&client->replies, &frame, &size);

		if (__builtin_expect(found < 0, 0))
			break_off(client);
		if (found <= 0)
			break;
		llr_ring_advance(&client->replies, size);
		spans[count++] = (struct llr_span){
			.peer = &client->peer,
			.bytes = (uint8_t *)(uintptr_t)frame, /* read-only, as shm.h says */
			.received_ns = now_ns,
			.size = size,
		};
		client->base.counters->rx_bytes += size;
	}
	if (count > 0) {
		client->news_ns = now_ns;
		client->base.counters->rx_spans += count;
		return count;
	}
	if (__builtin_expect(was_over, 0) && !client->is_told) {
		client->is_told = true;
		client->base.counters->closed++;
		spans[0] = (struct llr_span){.peer = &client->peer, .flags = LLR_SPAN_CLOSED};
		return 1;
	}
	if (__builtin_expect(now_ns - client->news_ns >= LOOK_NS, 0) && !client->is_over) {
		client->news_ns = now_ns;
		look(client);
	}
	return 0;
}

static void client_rx_release(struct llr_transport *transport, struct llr_span *spans,
			      unsigned int count)
{
	struct client *client = from_transport(transport);

	(void)spans;
	(void)count;
	llr_ring_release(&client->replies);
}

static int client_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			     struct llr_room *room)
{
	struct client *client = from_transport(transport);
	int code;

	LLR_ASSERT_HOT(peer == &client->peer);
	LLR_ASSERT_HOT(!client->is_room_open);
	LLR_ASSERT_HOT(size >= LLR_LANE_FRAME_MIN);
	if (__builtin_expect(client->is_over, 0))
		return -ECONNRESET;
	code = llr_ring_reserve(&client->requests, size, &room->bytes);
	if (__builtin_expect(code == -EPROTO, 0)) {
		break_off(client);
		return -ECONNRESET;
	}
	if (code == -EAGAIN)
		client->base.counters->tx_deferred++;
	if (code != 0)
		return code;
	room->size = size;
	room->handle = 0;
	room->peer = peer;
	client->is_room_open = true;
	return 0;
}

static void client_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct client *client = from_transport(transport);

	LLR_ASSERT_HOT(client->is_room_open);
	LLR_ASSERT_HOT(size <= room->size);
	client->is_room_open = false;
	llr_ring_commit(&client->requests, size);
	client->base.counters->tx_spans++;
	client->base.counters->tx_bytes += size;
	client->dirty = true;
}

static void client_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct client *client = from_transport(transport);

	(void)room;
	LLR_ASSERT_HOT(client->is_room_open);
	client->is_room_open = false;
}

static void client_tx_flush(struct llr_transport *transport)
{
	static const uint64_t once = 1;
	struct client *client = from_transport(transport);
	ssize_t size;

	LLR_ASSERT_HOT(!client->is_room_open);
	if (client->server_spins || !client->dirty)
		return;
	client->dirty = false;
	/* Partner: the fence in llr_lane_park of the worker. Requests before the look. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!llr_lane_must_wake(&client->worker->parked, &client->woken))
		return;
	do
		size = write(client->bell, &once, sizeof(once));
	while (size < 0 && errno == EINTR);
	LLR_ASSERT(size == (ssize_t)sizeof(once) || errno == EAGAIN);
}

static int client_wait_fd(struct llr_transport *transport)
{
	return from_transport(transport)->connection;
}

static bool client_wait_prepare(struct llr_transport *transport)
{
	struct client *client = from_transport(transport);
	const uint8_t *frame;
	uint32_t size;

	llr_lane_park(client->parked);
	if (client->is_over)
		return !client->is_told;
	return llr_ring_peek(&client->replies, &frame, &size) != 0;
}

static void client_wait_done(struct llr_transport *transport)
{
	struct client *client = from_transport(transport);

	llr_lane_unpark(client->parked);
	if (!client->is_over)
		look(client);
}

static void client_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	struct client *client = from_transport(transport);

	LLR_ASSERT(peer == &client->peer);
	(void)shutdown(client->connection, SHUT_RDWR);
	client->is_over = true;
}

static void client_close(struct llr_transport *transport)
{
	struct client *client = from_transport(transport);

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
	.rx_burst = client_rx_burst,
	.rx_release = client_rx_release,
	.tx_reserve = client_tx_reserve,
	.tx_commit = client_tx_commit,
	.tx_abort = client_tx_abort,
	.tx_flush = client_tx_flush,
	.wait_fd = client_wait_fd,
	.wait_prepare = client_wait_prepare,
	.wait_done = client_wait_done,
	.drop = client_drop,
	.close = client_close,
};

/* Maps what was handed over. 0 or a negative errno code; close undoes all. */
static int map_lane(struct client *client, const struct llr_handover *handover)
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

static void aim_rings(struct client *client, const struct llr_handover_answer *answer)
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
	struct client *client;
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
