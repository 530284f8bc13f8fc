/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the client's request path: requests are built and replies read in place.
 *
 * Thread: the client's. Owns: nothing; see shm_connect.c. While both sides spin nothing in here
 * makes a syscall, but a look at the connection after 10 ms without a reply: its end is the
 * server's.
 */
#include "transport/shm_client.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_NS   10000000U /* without news: is the server still there? */
#define WAKES_MAX 64        /* bytes taken off the connection in one look */

/* Takes wake-ups off the connection and sees whether it has ended. */
void llr_shm_client_look(struct llr_shm_client *client)
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

/* bytes taken off the connection in one look */

static void break_off(struct llr_shm_client *client)
{
	client->base.counters->rx_broken++;
	client->is_over = true;
	client->is_broken = true;
}

unsigned int llr_shm_client_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				     struct llr_span *spans, unsigned int count_max)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);
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
		llr_shm_client_look(client);
	}
	return 0;
}

void llr_shm_client_rx_release(struct llr_transport *transport, struct llr_span *spans,
			       unsigned int count)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	(void)spans;
	(void)count;
	llr_ring_release(&client->replies);
}

int llr_shm_client_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			      struct llr_room *room)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);
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

void llr_shm_client_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	LLR_ASSERT_HOT(client->is_room_open);
	LLR_ASSERT_HOT(size <= room->size);
	client->is_room_open = false;
	llr_ring_commit(&client->requests, size);
	client->base.counters->tx_spans++;
	client->base.counters->tx_bytes += size;
	client->dirty = true;
}

void llr_shm_client_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct llr_shm_client *client = llr_shm_client_of(transport);

	(void)room;
	LLR_ASSERT_HOT(client->is_room_open);
	client->is_room_open = false;
}

void llr_shm_client_tx_flush(struct llr_transport *transport)
{
	static const uint64_t once = 1;
	struct llr_shm_client *client = llr_shm_client_of(transport);
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
