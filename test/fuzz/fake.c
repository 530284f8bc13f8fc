/* SPDX-License-Identifier: MIT */
/*
 * The fuzzers' transport: see fake.h. Single-threaded; owns the span and the room.
 */
#include "fake.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct fake *fake_of(struct llr_transport *transport)
{
	return (struct fake *)(void *)transport;
}

static unsigned int fake_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				  struct llr_span *spans, unsigned int count_max)
{
	struct fake *fake = fake_of(transport);

	(void)now_ns;
	LLR_ASSERT(fake->shown == NULL);
	if (fake->incoming == NULL || fake->incoming_size == 0 || count_max == 0)
		return 0;
	fake->shown = malloc(fake->incoming_size);
	LLR_MUST(fake->shown != NULL);
	memcpy(fake->shown, fake->incoming, fake->incoming_size);
	spans[0] = (struct llr_span){.peer = &fake->peer,
				     .bytes = fake->shown,
				     .received_ns = fake->received_ns,
				     .size = fake->incoming_size};
	fake->incoming = NULL;
	return 1;
}

static void fake_rx_release(struct llr_transport *transport, struct llr_span *spans,
			    unsigned int count)
{
	struct fake *fake = fake_of(transport);

	(void)spans;
	LLR_ASSERT(count == (fake->shown != NULL));
	free(fake->shown);
	fake->shown = NULL;
}

static int fake_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			   struct llr_room *room)
{
	struct fake *fake = fake_of(transport);

	LLR_ASSERT(fake->room.bytes == NULL);
	LLR_ASSERT(size > 0);
	if (size > FAKE_MTU)
		return -EMSGSIZE;
	fake->room = (struct llr_room){.bytes = malloc(size), .size = size, .peer = peer};
	LLR_MUST(fake->room.bytes != NULL);
	*room = fake->room;
	return 0;
}

static void close_room(struct fake *fake)
{
	free(fake->room.bytes);
	fake->room.bytes = NULL;
}

static void fake_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct fake *fake = fake_of(transport);
	struct llr_frame frame;

	LLR_ASSERT(room->bytes == fake->room.bytes);
	LLR_ASSERT(size > 0);
	LLR_ASSERT(size <= fake->room.size);
	LLR_ASSERT(llr_frame_decode(room->bytes, size, 0, &frame) == LLR_FRAME_OK);
	LLR_ASSERT(frame.frame_size == size);
	fake->sent(fake, fake->room.peer, &frame);
	close_room(fake);
}

static void fake_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct fake *fake = fake_of(transport);

	LLR_ASSERT(room->bytes == fake->room.bytes);
	close_room(fake);
}

static void fake_tx_flush(struct llr_transport *transport)
{
	LLR_ASSERT(fake_of(transport)->room.bytes == NULL);
}

static int fake_wait_fd(struct llr_transport *transport)
{
	(void)transport;
	return -1;
}

static void fake_close(struct llr_transport *transport)
{
	fake_fini(fake_of(transport));
}

static const struct llr_transport_ops fake_ops = {
	.scheme = "fake",
	.rx_burst = fake_rx_burst,
	.rx_release = fake_rx_release,
	.tx_reserve = fake_tx_reserve,
	.tx_commit = fake_tx_commit,
	.tx_abort = fake_tx_abort,
	.tx_flush = fake_tx_flush,
	.wait_fd = fake_wait_fd,
	.close = fake_close,
};

void fake_init(struct fake *fake)
{
	memset(fake, 0, sizeof(*fake));
	fake->transport.ops = &fake_ops;
	fake->transport.counters = &fake->counters;
	fake->transport.uri = "fake:";
	fake->peer = (struct llr_peer){
		.address = {.family = AF_INET, .port = 1}, .mtu = FAKE_MTU, .uid = UINT32_MAX};
}

void fake_fini(struct fake *fake)
{
	free(fake->shown);
	fake->shown = NULL;
	close_room(fake);
}
