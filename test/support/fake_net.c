/* SPDX-License-Identifier: MIT */
/*
 * A transport without a network: see fake_net.h. The test's thread; owns the queues in its struct.
 */
#include "fake_net.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <sys/socket.h>

#define CANARY      0xC5U
#define CANARY_SIZE 16U

static struct fake_net *net_of(struct llr_transport *transport)
{
	return (struct fake_net *)(void *)transport;
}

static unsigned int show_closed(struct fake_net *net, struct llr_span *spans, unsigned int count,
				unsigned int count_max)
{
	for (uint32_t i = 0; i < FAKE_PEERS && count < count_max; i++) {
		if (!net->hung_up[i])
			continue;
		net->hung_up[i] = false;
		net->dropped[i] = false;
		net->streams[i].from = 0;
		net->streams[i].to = 0;
		net->streams[i].wanted = 0;
		spans[count++] =
			(struct llr_span){.peer = &net->peers[i], .flags = LLR_SPAN_CLOSED};
	}
	return count;
}

static unsigned int show_streams(struct fake_net *net, struct llr_span *spans,
				 unsigned int count_max)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < FAKE_PEERS && count < count_max; i++) {
		struct fake_stream *stream = &net->streams[i];
		uint32_t there = stream->to - stream->from;

		if (there == 0 || there < stream->wanted || net->dropped[i])
			continue;
		spans[count++] = (struct llr_span){.peer = &net->peers[i],
						   .bytes = stream->bytes + stream->from,
						   .received_ns = *net->now_ns,
						   .size = there};
	}
	return count;
}

static unsigned int fake_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				  struct llr_span *spans, unsigned int count_max)
{
	struct fake_net *net = net_of(transport);
	unsigned int count = 0;

	(void)now_ns;
	LLR_ASSERT(net->shown == 0);
	if (net->kind == FAKE_STREAM)
		count = show_streams(net, spans, count_max);
	for (uint32_t i = 0; i < net->queue_count; i++) {
		LLR_ASSERT(count < count_max);
		spans[count++] = (struct llr_span){.peer = &net->peers[net->queue[i].peer],
						   .bytes = net->queue[i].bytes,
						   .received_ns = net->queue[i].received_ns,
						   .size = net->queue[i].size};
	}
	net->queue_count = 0;
	net->in_size = 0;
	count = show_closed(net, spans, count, count_max);
	net->shown = count;
	return count;
}

static void stream_release(struct fake_net *net, const struct llr_span *span)
{
	struct fake_stream *stream = &net->streams[span->peer->index];

	LLR_ASSERT(span->consumed <= span->size);
	stream->from += span->consumed;
	stream->wanted = span->wanted;
	if (stream->from < stream->to)
		return;
	stream->from %= LLR_ALIGN;
	stream->to = stream->from;
}

static void fake_rx_release(struct llr_transport *transport, struct llr_span *spans,
			    unsigned int count)
{
	struct fake_net *net = net_of(transport);

	LLR_ASSERT(count == net->shown);
	LLR_ASSERT(!net->room_open);
	for (unsigned int i = 0; i < count; i++) {
		if (net->kind == FAKE_STREAM && (spans[i].flags & LLR_SPAN_CLOSED) == 0)
			stream_release(net, &spans[i]);
	}
	net->shown = 0;
}

static int fake_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			   struct llr_room *room)
{
	struct fake_net *net = net_of(transport);

	LLR_ASSERT(!net->room_open);
	LLR_ASSERT(peer->index < FAKE_PEERS);
	LLR_ASSERT(size >= LLR_HEADER_SIZE);
	if (net->gone[peer->index])
		return -ECONNRESET;
	if (net->kind == FAKE_DATAGRAM && size > peer->mtu)
		return -EMSGSIZE;
	if (net->reserves_left == 0) {
		net->refused++;
		return -EAGAIN;
	}
	if (net->reserves_left != FAKE_ANY)
		net->reserves_left--;
	LLR_ASSERT(net->out_size + size + CANARY_SIZE <= FAKE_OUT_SIZE);
	*room = (struct llr_room){.bytes = net->out + net->out_size,
				  .size = size,
				  .handle = peer->index,
				  .peer = peer};
	memset(room->bytes, CANARY, size + CANARY_SIZE);
	net->room_size = size;
	net->room_open = true;
	return 0;
}

static void room_close(struct fake_net *net, const struct llr_room *room)
{
	LLR_ASSERT(net->room_open && room->bytes == net->out + net->out_size);
	for (uint32_t i = 0; i < CANARY_SIZE; i++)
		LLR_ASSERT(room->bytes[net->room_size + i] == CANARY);
	net->room_open = false;
}

static void fake_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct fake_net *net = net_of(transport);

	room_close(net, room);
	LLR_ASSERT(size > 0 && size <= net->room_size);
	LLR_ASSERT(net->sent_count < FAKE_SENT);
	net->sent[net->sent_count++] =
		(struct fake_message){.bytes = room->bytes, .size = size, .peer = room->handle};
	net->out_size += (uint32_t)llr_round_up(size, LLR_ALIGN);
}

static void fake_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	room_close(net_of(transport), room);
}

static void fake_tx_flush(struct llr_transport *transport)
{
	struct fake_net *net = net_of(transport);

	LLR_ASSERT(!net->room_open);
	net->flushes++;
	if (net->reserves_left != FAKE_ANY)
		net->reserves_left += net->reserves_by_flush;
}

static int fake_wait_fd(struct llr_transport *transport)
{
	(void)transport;
	return -1;
}

static void fake_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	net_of(transport)->dropped[peer->index] = true;
	net_of(transport)->hung_up[peer->index] = true;
}

static void fake_close(struct llr_transport *transport)
{
	LLR_ASSERT(!net_of(transport)->room_open);
}

#define SHARED_OPS                                                                                 \
	.rx_burst = fake_rx_burst, .rx_release = fake_rx_release, .tx_reserve = fake_tx_reserve,   \
	.tx_commit = fake_tx_commit, .tx_abort = fake_tx_abort, .tx_flush = fake_tx_flush,         \
	.wait_fd = fake_wait_fd, .close = fake_close

static const struct llr_transport_ops fake_ops[] = {
	[FAKE_DATAGRAM] = {.scheme = "datagram", SHARED_OPS},
	[FAKE_LANE] = {.scheme = "lane",
		       .traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_NO_CRC,
		       .drop = fake_drop,
		       SHARED_OPS},
	[FAKE_STREAM] = {.scheme = "stream",
			 .traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_STREAM,
			 .drop = fake_drop,
			 SHARED_OPS},
};

void fake_net_init(struct fake_net *net, enum fake_kind kind, const uint64_t *now_ns)
{
	memset(net, 0, sizeof(*net));
	net->transport.ops = &fake_ops[kind];
	net->transport.counters = &net->counters;
	net->transport.uri = "fake:";
	net->kind = kind;
	net->now_ns = now_ns;
	net->reserves_left = FAKE_ANY;
	for (uint32_t i = 0; i < FAKE_PEERS; i++) {
		net->peers[i].index = i;
		net->peers[i].uid = UINT32_MAX;
		net->peers[i].address = (struct llr_address){
			.ip = {10}, .port = (uint16_t)(i + 1), .family = AF_INET};
		net->peers[i].mtu = kind == FAKE_DATAGRAM ? FAKE_MTU : 0;
	}
}

void fake_net_put_late(struct fake_net *net, uint32_t peer, const void *bytes, uint32_t size,
		       uint64_t age_ns)
{
	struct fake_message *message = &net->queue[net->queue_count];

	LLR_ASSERT(net->kind != FAKE_STREAM && net->queue_count < FAKE_QUEUE);
	LLR_ASSERT(net->in_size + size <= FAKE_IN_SIZE && peer < FAKE_PEERS);
	message->bytes = net->in + net->in_size;
	message->received_ns = *net->now_ns - age_ns;
	message->size = size;
	message->peer = peer;
	memcpy(message->bytes, bytes, size);
	net->in_size += (uint32_t)llr_round_up(size, LLR_ALIGN);
	net->queue_count++;
}

void fake_net_put(struct fake_net *net, uint32_t peer, const void *bytes, uint32_t size)
{
	struct fake_stream *stream = &net->streams[peer];

	if (net->kind != FAKE_STREAM) {
		fake_net_put_late(net, peer, bytes, size, 0);
		return;
	}
	LLR_ASSERT(stream->to + size <= FAKE_STREAM_MAX);
	memcpy(stream->bytes + stream->to, bytes, size);
	stream->to += size;
}

void fake_net_hang_up(struct fake_net *net, uint32_t peer)
{
	LLR_ASSERT(net->kind != FAKE_DATAGRAM);
	net->hung_up[peer] = true;
}

bool fake_net_take(struct fake_net *net, uint32_t *peer, struct llr_frame *frame)
{
	const struct fake_message *message = &net->sent[net->sent_taken];
	unsigned int place = net->kind == FAKE_DATAGRAM ? 0U : LLR_PLACE_CONNECTED;
	bool ext_broken = false;

	if (net->sent_taken == net->sent_count) {
		fake_net_clear(net);
		return false;
	}
	net->sent_taken++;
	if (net->kind == FAKE_LANE)
		place |= LLR_PLACE_NO_CRC;
	LLR_ASSERT(llr_frame_decode(message->bytes, message->size, place, frame) == LLR_FRAME_OK);
	LLR_ASSERT(frame->frame_size == message->size);
	if (frame->type == LLR_REPLY)
		LLR_ASSERT(llr_frame_split(frame, false, &ext_broken) == LLR_FRAME_OK);
	*peer = message->peer;
	return true;
}

void fake_net_clear(struct fake_net *net)
{
	net->sent_count = 0;
	net->sent_taken = 0;
	net->out_size = 0;
}
