/* SPDX-License-Identifier: MIT */
/*
 * Messages that datagrams carry in parts: requests put together, replies taken apart, and repeats
 * of what was answered.
 *
 * Thread: the worker's. Owns: nothing; the memory of a message is its session's.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

/* Adds a part; true: the message is whole, and request is it. */
bool llr_llrp_part_take(struct llr_request *request)
{
	struct llr_session_datagram *datagram = request->session->datagram;
	struct llr_reassembly *whole = &datagram->reassembly;
	struct llr_frame *frame = &request->frame;
	struct llr_counters *counters = request->engine->counters;

	counters->fragments++;
	counters->fragments_expired +=
		llr_reassembly_expire(whole, request->engine->now_ns) ? 1U : 0U;
	if (frame->trace != NULL) {
		datagram->trace_sequence = frame->sequence;
		memcpy(datagram->trace, frame->trace, LLR_TRACE_SIZE);
	}
	switch (llr_reassembly_add(whole, datagram->message, request->session->max_message,
				   datagram->bitmap, frame, request->engine->now_ns)) {
	case LLR_PART_COMPLETE:
		break;
	case LLR_PART_TAKEN:
		return false;
	case LLR_PART_REPEATED:
		counters->fragments_repeated++;
		return false;
	case LLR_PART_OFF_GRID:
		counters->fragments_off_grid++;
		return false;
	case LLR_PART_BAD_CRC:
		counters->fragments_bad_crc++;
		return false;
	case LLR_PART_TOO_LARGE:
	default:
		llr_llrp_refuse(request, LLRPH_STATUS_TOO_LARGE, NULL);
		return false;
	}
	frame->payload = datagram->message;
	frame->payload_size = whole->total;
	frame->route = whole->route;
	frame->budget_us = whole->budget_us;
	frame->flags = (uint16_t)(whole->flags | LLR_FLAG_FRAGMENT);
	/* The trace stood in a part that is gone. */
	frame->trace =
		(whole->flags & LLR_FLAG_EXT) != 0 && datagram->trace_sequence == frame->sequence
			? datagram->trace
			: NULL;
	llr_reassembly_reset(whole);
	return true;
}

/* Sends a payload of size bytes in parts. What finds no room is lost: the client repeats. */
void llr_llrp_parts_send(struct llr_request *request, const uint8_t *payload, uint32_t size,
			 const struct llr_reply_route *route)
{
	uint32_t part_max = llr_fragment_part_size(request->peer->mtu, 0);
	struct llr_fragment fragment = {0, size, llr_crc32c(0, payload, size)};

	for (; fragment.offset < size; fragment.offset += part_max) {
		uint32_t part = (uint32_t)llr_min_u64(part_max, size - fragment.offset);
		struct llr_room room;

		if (llr_frame_reserve(request, LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE + part, &room) !=
		    0) {
			request->engine->counters->reply_lost++;
			return;
		}
		llr_fragment_encode(room.bytes + LLR_HEAD_SIZE, &fragment);
		memcpy(room.bytes + LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE, payload + fragment.offset,
		       part);
		llr_frame_commit(request, &room, LLR_FRAGMENT_SIZE + part, route,
				 LLR_FLAG_FRAGMENT);
		request->engine->counters->fragments_sent++;
	}
}

static void repeat_send(struct llr_request *request, const struct llr_slot *slot,
			const uint8_t *payload)
{
	struct llr_reply_route route = {
		.route = slot->route,
		.service_ns = slot->service_ns,
		.queue_ns = slot->queue_ns,
		.status = slot->status,
		.credits = llr_credits(request),
	};

	request->engine->counters->replies++;
	if (LLR_HEAD_SIZE + slot->reply_size > request->peer->mtu) {
		llr_llrp_parts_send(request, payload, slot->reply_size, &route);
		return;
	}
	if (llr_payload_room(request, slot->reply_size) == NULL) {
		request->engine->counters->reply_lost++;
		return;
	}
	memcpy(request->room.bytes + LLR_HEAD_SIZE, payload, slot->reply_size);
	llr_frame_commit(request, &request->room, slot->reply_size, &route, 0);
	request->room_open = false;
}

/* A repeat of what was answered. A burst of its parts is answered once. */
void llr_llrp_repeat(struct llr_request *request)
{
	struct llr_session_datagram *datagram = request->session->datagram;
	const struct llr_slot *slot = llr_session_slot(request->session, request->frame.sequence);
	uint64_t now_ns = request->engine->now_ns;
	const uint8_t *payload = llr_replies_find(&datagram->replies, datagram->replies_bytes,
						  slot->reply_at, slot->reply_size);

	LLR_ASSERT(payload != NULL);
	if ((request->frame.flags & LLR_FLAG_FRAGMENT) != 0) {
		if (datagram->repeat_sequence == slot->sequence &&
		    now_ns - datagram->repeat_ns < LLR_REPEAT_NS)
			return;
		datagram->repeat_sequence = slot->sequence;
		datagram->repeat_ns = now_ns;
	}
	request->engine->counters->repeat_remembered++;
	repeat_send(request, slot, payload);
}
