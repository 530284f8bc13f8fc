/* SPDX-License-Identifier: MIT */
/*
 * LLRP's answers: room for a handler, the reply's frame, its fragments where a datagram is too
 * small, what is remembered of it, and refusals.
 *
 * Thread: the worker's. Owns: nothing; rooms are the transport's.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

bool llr_on_datagrams(const struct llr_request *request)
{
	return (request->listener->place & LLR_PLACE_CONNECTED) == 0;
}

static void room_abort(struct llr_request *request)
{
	struct llr_transport *transport = request->listener->transport;

	if (request->room_open)
		transport->ops->tx_abort(transport, &request->room);
	request->room_open = false;
	request->staged = false;
}

/* Room for a frame; where the transport is full it is flushed once. */
int llr_frame_reserve(struct llr_request *request, uint32_t size, struct llr_room *room)
{
	struct llr_transport *transport = request->listener->transport;
	int error = transport->ops->tx_reserve(transport, request->peer, size, room);

	if (error != -EAGAIN)
		return error;
	transport->ops->tx_flush(transport);
	return transport->ops->tx_reserve(transport, request->peer, size, room);
}

uint32_t llr_answer_size_max(const struct llr_request *request)
{
	if (request->session != NULL)
		return request->session->max_message;
	return request->answer_size_max - LLR_HEAD_SIZE;
}

/* Opens room for a frame with size bytes of payload and hands back where the payload goes. */
uint8_t *llr_payload_room(struct llr_request *request, uint32_t size)
{
	uint32_t frame_size = LLR_HEAD_SIZE + size;

	room_abort(request);
	if (llr_on_datagrams(request) && frame_size > request->peer->mtu) {
		LLR_ASSERT(frame_size <= request->engine->stage_size);
		request->staged = true;
		return request->engine->stage + LLR_HEAD_SIZE;
	}
	if (llr_frame_reserve(request, frame_size, &request->room) != 0)
		return NULL;
	request->room_open = true;
	return request->room.bytes + LLR_HEAD_SIZE;
}

void *llr_llrp_room(struct llr_request *request, uint32_t size)
{
	struct llrph_call *call = &request->call;

	call->room_size = 0;
	call->reply = NULL;
	/* A reason may be larger than the method's replies; a stranger's answer never is. */
	if (size > llr_answer_size_max(request) ||
	    (size > request->method->spec->reply_size_max &&
	     !(request->reasoned && size <= LLRPH_REASON_SIZE_MAX)))
		return NULL;
	call->reply = llr_payload_room(request, size);
	if (call->reply != NULL)
		call->room_size = size;
	else
		request->no_room = true;
	return call->reply;
}

uint32_t llr_saturate(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static struct llr_header header_of(const struct llr_request *request, uint32_t length)
{
	struct llr_header header = {
		.sequence = request->frame.sequence,
		.timestamp = llr_engine_wall(request->engine),
		.length = length,
		.flags = request->frame.flags & LLR_FLAG_NO_CRC,
		.type = LLR_REPLY,
	};

	return header;
}

/* Writes route block and header around a payload of size bytes that stands in the room. */
void llr_frame_commit(struct llr_request *request, struct llr_room *room, uint32_t size,
		      const struct llr_reply_route *route, unsigned int flags)
{
	struct llr_transport *transport = request->listener->transport;
	struct llr_header header = header_of(request, LLR_ROUTE_SIZE + size);

	header.flags = (uint16_t)(header.flags | flags);
	llr_reply_route_encode(room->bytes, route);
	llr_header_encode(room->bytes, &header);
	transport->ops->tx_commit(transport, room, LLR_HEAD_SIZE + size);
}

/* Whether a sequence may be tried again under this answer. */
bool llr_settles(unsigned int status)
{
	return !llrph_status_may_retry(status);
}

/* What the slot learns of an answer. Before the commit where the payload lies in the room. */
void llr_slot_answer(struct llr_request *request, const uint8_t *payload, uint32_t size,
		     const struct llr_reply_route *route)
{
	struct llr_slot_answer answer = {
		.payload = payload,
		.size = size,
		.service_ns = route->service_ns,
		.queue_ns = route->queue_ns,
		.status = route->status,
	};

	if (request->session == NULL)
		return;
	if (!llr_settles(route->status)) {
		llr_slot_reopen(request->session, request->frame.sequence);
		return;
	}
	answer.keep = request->session->datagram != NULL &&
		      (!request->idempotent || request->staged ||
		       (request->frame.flags & LLR_FLAG_FRAGMENT) != 0);
	llr_slot_settle(request->session, request->frame.sequence, &answer);
}

static void method_record(struct llr_request *request, unsigned int status)
{
	struct llr_method_stats *stats = request->method->stats;
	uint64_t now_ns = request->engine->now_ns;

	stats->failed += status > 299;
	llr_histogram_record(stats->latency, LLR_STATS_BITS,
			     now_ns - llr_min_u64(now_ns, request->call.received_ns));
	llr_histogram_record(stats->service, LLR_STATS_BITS, now_ns - request->start_ns);
}

int llr_llrp_reply(struct llr_request *request, unsigned int status, bool part)
{
	struct llr_counters *counters = request->engine->counters;
	uint64_t received_ns = llr_min_u64(request->call.received_ns, request->start_ns);
	struct llr_reply_route route = {
		.route = request->frame.route,
		.service_ns = llr_saturate(request->engine->now_ns - request->start_ns),
		.queue_ns = llr_saturate(request->start_ns - received_ns),
		.status = (uint16_t)status,
		.credits = llr_credits(request),
	};
	uint32_t size = request->call.reply_size;
	const uint8_t *payload;

	LLR_ASSERT(size <= request->call.room_size);
	if (!request->room_open && !request->staged && llr_payload_room(request, 0) == NULL) {
		counters->reply_lost++;
		if (!part)
			llr_slot_answer(request, NULL, 0, &route);
		return -EAGAIN;
	}
	if (status == LLRPH_STATUS_REFUSED || status == LLRPH_STATUS_UNAVAILABLE)
		route.queue_ns = LLR_RETRY_US;
	payload = (request->staged ? request->engine->stage : request->room.bytes) + LLR_HEAD_SIZE;
	/* A large room for what became a small reply: it fits a datagram after all. */
	if (request->staged && LLR_HEAD_SIZE + size <= request->peer->mtu) {
		request->staged = false;
		if (llr_frame_reserve(request, LLR_HEAD_SIZE + size, &request->room) != 0) {
			counters->reply_lost++;
			llr_slot_answer(request, payload, size, &route);
			return -EAGAIN;
		}
		memcpy(request->room.bytes + LLR_HEAD_SIZE, payload, size);
	}
	if (!part) {
		method_record(request, status);
		llr_count_status(counters, status);
	}
	/*
	 * Datagrams: remembered first, for a repeat to find. Lanes: committed first; a successor
	 * sees in the ring that it was, and takes it as answered.
	 */
	if (!part && llr_on_datagrams(request))
		llr_slot_answer(request, payload, size, &route);
	if (request->staged)
		llr_llrp_parts_send(request, payload, size, &route);
	else
		llr_frame_commit(request, &request->room, size, &route, part ? LLR_FLAG_MORE : 0U);
	if (!part && !llr_on_datagrams(request))
		llr_slot_answer(request, NULL, 0, &route);
	request->room_open = false;
	request->staged = false;
	return 0;
}
