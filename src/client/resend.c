/* SPDX-License-Identifier: MIT */
/*
 * Frames that leave from a call's own buffer: sent again, in parts, to another endpoint; and frames
 * without a payload.
 *
 * Thread: the client's owner's. Owns: nothing; rooms are the transport's.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#include <string.h>

/* Room on a link that is not held by a begun call; one flush is tried where there is none. */
static int room_take(struct llr_link *link, uint32_t size, struct llr_room *room)
{
	const struct llr_transport_ops *ops = link->transport->ops;
	int error;

	if (link->room_is_open)
		return -EAGAIN;
	error = ops->tx_reserve(link->transport, link->peer, size, room);
	if (error == -EAGAIN) {
		ops->tx_flush(link->transport);
		error = ops->tx_reserve(link->transport, link->peer, size, room);
	}
	link->is_blocked = error == -EAGAIN;
	return error;
}

void llr_leg_ground(struct llr_leg *leg, uint64_t due_ns)
{
	LLR_ASSERT(!leg->is_lost);
	LLR_ASSERT(leg->link->flying > 0);
	leg->is_lost = true;
	leg->due_ns = due_ns;
	leg->link->flying--;
}

static int send_whole(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		      uint64_t now_ns)
{
	struct llr_link *link = leg->link;
	uint32_t size = LLR_HEAD_SIZE + call->size;
	struct llr_room room;
	int error = room_take(link, size, &room);

	if (error != 0)
		return error;
	memcpy(room.bytes + LLR_HEAD_SIZE, llr_call_buffer(client, call), call->size);
	llr_leg_encode(client, call, leg, room.bytes, now_ns);
	link->transport->ops->tx_commit(link->transport, &room, size);
	return 0;
}

static int send_part(struct llrph_client *client, const struct llr_call *call,
		     const struct llr_leg *leg, uint32_t size, uint64_t now_ns)
{
	struct llr_link *link = leg->link;
	uint32_t frame_size = LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE + size;
	struct llr_fragment fragment = {leg->part_offset, call->size, call->message_crc};
	struct llr_header header = {
		.sequence = leg->sequence,
		.timestamp = llr_client_timestamp(client, now_ns),
		.length = frame_size - LLR_HEADER_SIZE,
		.flags = (uint16_t)(llr_leg_flags(call, leg) | LLR_FLAG_FRAGMENT),
		.type = LLR_REQUEST,
	};
	struct llr_room room;
	int error = room_take(link, frame_size, &room);

	if (error != 0)
		return error;
	memcpy(room.bytes + LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE,
	       llr_call_buffer(client, call) + leg->part_offset, size);
	llr_fragment_encode(room.bytes + LLR_HEAD_SIZE, &fragment);
	llr_request_route_encode(room.bytes, call->route, llr_call_budget_us(call, now_ns),
				 link->session);
	llr_header_encode(room.bytes, &header);
	link->transport->ops->tx_commit(link->transport, &room, frame_size);
	return 0;
}

/*
 * As many parts as one turn sends. -EINPROGRESS: there are more. When parts of the reply have come
 * the server has the request, and the first part alone asks for what is missing.
 */
static int send_parts(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		      uint64_t now_ns)
{
	uint32_t part_size = llr_fragment_part_size(leg->link->peer->mtu, 0);

	if (leg->copies == 1 && leg->part_offset == 0)
		call->message_crc = llr_crc32c(0, llr_call_buffer(client, call), call->size);
	for (unsigned int i = 0; i < LLR_PART_BURST; i++) {
		uint32_t left = call->size - leg->part_offset;
		uint32_t size = left < part_size ? left : part_size;
		int error = send_part(client, call, leg, size, now_ns);

		if (error != 0)
			return error;
		leg->part_offset += size;
		if (leg->part_offset == call->size || leg->is_answered)
			return 0;
	}
	return -EINPROGRESS;
}

static bool is_small(const struct llr_link *link, const struct llr_call *call)
{
	return !link->is_datagram || LLR_HEAD_SIZE + call->size <= link->peer->mtu;
}

void llr_leg_send(struct llrph_client *client, struct llr_call *call, struct llr_leg *leg,
		  uint64_t now_ns)
{
	int error;

	LLR_ASSERT(leg->link != NULL && leg->link->state == LLR_LINK_OPEN);
	if (!leg->is_sending) {
		leg->is_sending = true;
		leg->part_offset = 0;
		leg->copies++;
		call->attempts++;
		if (leg->copies > 1)
			client->retransmissions++;
	}
	error = is_small(leg->link, call) ? send_whole(client, call, leg, now_ns)
					  : send_parts(client, call, leg, now_ns);
	if (error == 0) {
		llr_leg_sent(client, call, leg, now_ns);
		return;
	}
	if (leg->part_offset > 0)
		llr_leg_note_left(client, leg, now_ns);
	/* A later turn goes on. Where the connection has ended, the next receive notices. */
	leg->due_ns = LLR_NEVER;
	if (error == -EINPROGRESS || error == -EAGAIN) {
		leg->due_ns = error == -EAGAIN ? now_ns + LLR_BLOCKED_NS : now_ns;
		llr_client_wants(client, leg->due_ns);
	}
}

static void hello_encode(const struct llrph_client *client, const struct llr_link *link,
			 uint8_t *body)
{
	struct llr_hello hello = {
		.nonce = link->nonce,
		.cookie = link->cookie,
		.max_message = client->setup.options.max_message,
		.window = (uint16_t)client->window,
	};

	llr_hello_encode(body, &hello);
}

int llr_link_send(struct llrph_client *client, struct llr_link *link, uint8_t type,
		  uint64_t sequence, uint64_t now_ns)
{
	struct llr_header header = {
		.sequence = sequence,
		.timestamp = llr_client_timestamp(client, now_ns),
		.length = type == LLR_HELLO ? LLR_HELLO_SIZE : (uint32_t)sizeof(link->session),
		.flags = link->frame_flags,
		.type = type,
	};
	struct llr_room room;
	int error = room_take(link, LLR_HEADER_SIZE + header.length, &room);

	if (error != 0)
		return error;
	if (type == LLR_HELLO)
		hello_encode(client, link, room.bytes + LLR_HEADER_SIZE);
	else
		llr_le64_store(room.bytes + LLR_HEADER_SIZE, link->session);
	llr_header_encode(room.bytes, &header);
	link->transport->ops->tx_commit(link->transport, &room, LLR_HEADER_SIZE + header.length);
	llr_link_said(client, link, now_ns);
	return 0;
}

/*
 * The slot may go on after a CANCEL, whether it arrives or not: so it is sent once, and one that
 * finds no room is forgone.
 */
void llr_call_cancel_legs(struct llrph_client *client, struct llr_call *call, uint64_t now_ns)
{
	for (unsigned int i = 0; i < LLR_CALL_LEGS; i++) {
		struct llr_leg *leg = &call->legs[i];

		if (leg->link == NULL)
			continue;
		if (leg->has_left && leg->link->state == LLR_LINK_OPEN)
			(void)llr_link_send(client, leg->link, LLR_CANCEL, leg->sequence, now_ns);
		llr_leg_stop(leg);
	}
}
