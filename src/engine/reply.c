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

static bool on_datagrams(const struct llr_request *request)
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
static int frame_reserve(struct llr_request *request, uint32_t size, struct llr_room *room)
{
	struct llr_transport *transport = request->listener->transport;
	int error = transport->ops->tx_reserve(transport, request->peer, size, room);

	if (error != -EAGAIN)
		return error;
	transport->ops->tx_flush(transport);
	return transport->ops->tx_reserve(transport, request->peer, size, room);
}

static uint32_t payload_size_max(const struct llr_request *request)
{
	if (request->session != NULL)
		return request->session->max_message;
	return request->answer_size_max - LLR_HEAD_SIZE;
}

/* Opens room for a frame with size bytes of payload and hands back where the payload goes. */
static uint8_t *payload_room(struct llr_request *request, uint32_t size)
{
	uint32_t frame_size = LLR_HEAD_SIZE + size;

	room_abort(request);
	if (on_datagrams(request) && frame_size > request->peer->mtu) {
		LLR_ASSERT(frame_size <= request->engine->stage_size);
		request->staged = true;
		return request->engine->stage + LLR_HEAD_SIZE;
	}
	if (frame_reserve(request, frame_size, &request->room) != 0)
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
	if (size > payload_size_max(request) ||
	    (size > request->method->spec->reply_size_max && size > LLRPH_REASON_SIZE_MAX))
		return NULL;
	call->reply = payload_room(request, size);
	if (call->reply != NULL)
		call->room_size = size;
	return call->reply;
}

static uint32_t saturate(uint64_t value)
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
static void frame_commit(struct llr_request *request, struct llr_room *room, uint32_t size,
			 const struct llr_reply_route *route, unsigned int flags)
{
	struct llr_transport *transport = request->listener->transport;
	struct llr_header header = header_of(request, LLR_ROUTE_SIZE + size);

	header.flags = (uint16_t)(header.flags | flags);
	llr_reply_route_encode(room->bytes, route);
	llr_header_encode(room->bytes, &header);
	transport->ops->tx_commit(transport, room, LLR_HEAD_SIZE + size);
}

/* Sends a payload of size bytes in parts. What finds no room is lost: the client repeats. */
static void fragments_send(struct llr_request *request, const uint8_t *payload, uint32_t size,
			   const struct llr_reply_route *route)
{
	uint32_t part_max = llr_fragment_part_size(request->peer->mtu, 0);
	struct llr_fragment fragment = {0, size, llr_crc32c(0, payload, size)};

	for (; fragment.offset < size; fragment.offset += part_max) {
		uint32_t part = (uint32_t)llr_min_u64(part_max, size - fragment.offset);
		struct llr_room room;

		if (frame_reserve(request, LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE + part, &room) != 0) {
			request->engine->counters->reply_lost++;
			return;
		}
		llr_fragment_encode(room.bytes + LLR_HEAD_SIZE, &fragment);
		memcpy(room.bytes + LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE, payload + fragment.offset,
		       part);
		frame_commit(request, &room, LLR_FRAGMENT_SIZE + part, route, LLR_FLAG_FRAGMENT);
		request->engine->counters->fragments_sent++;
	}
}

static void count_status(struct llr_counters *counters, unsigned int status)
{
	uint64_t *const of[] = {&counters->status_400, &counters->status_401, &counters->status_404,
				&counters->status_409, &counters->status_410, &counters->status_413,
				&counters->status_429, &counters->status_499, &counters->status_500,
				&counters->status_503, &counters->status_504};
	static const uint16_t statuses[] = {400, 401, 404, 409, 410, 413, 429, 499, 500, 503, 504};

	counters->replies++;
	if (status <= 299) {
		counters->status_200++;
		return;
	}
	for (unsigned int i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i] == status)
			(*of[i])++;
	}
}

/* Whether a sequence may be tried again under this answer. */
static bool settles(unsigned int status)
{
	return !llrph_status_may_retry(status);
}

/* What the slot learns of an answer. Before the commit where the payload lies in the room. */
static void slot_answer(struct llr_request *request, const uint8_t *payload, uint32_t size,
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
	if (!settles(route->status)) {
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
		.service_ns = saturate(request->engine->now_ns - request->start_ns),
		.queue_ns = saturate(request->start_ns - received_ns),
		.status = (uint16_t)status,
		.credits = llr_credits(request),
	};
	uint32_t size = request->call.reply_size;
	const uint8_t *payload;

	LLR_ASSERT(size <= request->call.room_size);
	if (!request->room_open && !request->staged && payload_room(request, 0) == NULL) {
		counters->reply_lost++;
		if (!part)
			slot_answer(request, NULL, 0, &route);
		return -EAGAIN;
	}
	if (status == LLRPH_STATUS_REFUSED || status == LLRPH_STATUS_UNAVAILABLE)
		route.queue_ns = LLR_RETRY_US;
	payload = (request->staged ? request->engine->stage : request->room.bytes) + LLR_HEAD_SIZE;
	/* A large room for what became a small reply: it fits a datagram after all. */
	if (request->staged && LLR_HEAD_SIZE + size <= request->peer->mtu) {
		request->staged = false;
		if (frame_reserve(request, LLR_HEAD_SIZE + size, &request->room) != 0) {
			counters->reply_lost++;
			slot_answer(request, payload, size, &route);
			return -EAGAIN;
		}
		memcpy(request->room.bytes + LLR_HEAD_SIZE, payload, size);
	}
	if (!part) {
		method_record(request, status);
		count_status(counters, status);
	}
	/*
	 * Datagrams: remembered first, for a repeat to find. Lanes: committed first; a successor
	 * sees in the ring that it was, and takes it as answered.
	 */
	if (!part && on_datagrams(request))
		slot_answer(request, payload, size, &route);
	if (request->staged)
		fragments_send(request, payload, size, &route);
	else
		frame_commit(request, &request->room, size, &route, part ? LLR_FLAG_MORE : 0U);
	if (!part && !on_datagrams(request))
		slot_answer(request, NULL, 0, &route);
	request->room_open = false;
	request->staged = false;
	return 0;
}

void llr_llrp_refuse(struct llr_request *request, unsigned int status, const char *text)
{
	struct llrph_engine *engine = request->engine;
	uint64_t received_ns = llr_min_u64(request->call.received_ns, engine->now_ns);
	struct llr_reply_route route = {
		.route = request->frame.route,
		.queue_ns = settles(status) ? saturate(engine->now_ns - received_ns) : LLR_RETRY_US,
		.status = (uint16_t)status,
		.credits = status == LLRPH_STATUS_NO_SESSION ? 0 : llr_credits(request),
	};
	uint32_t size_max = (uint32_t)llr_min_u64(LLRPH_REASON_SIZE_MAX, payload_size_max(request));
	uint32_t size;
	bool touches;

	if (text == NULL)
		text = llrph_status_text(status);
	size = llr_utf8_cut(text, (uint32_t)strlen(text), size_max);
	/* 409 and 410 speak of a slot that has its answer: it stays as it is. */
	touches = request->session != NULL && status != LLRPH_STATUS_NOT_NEWER &&
		  status != LLRPH_STATUS_FORGOTTEN;
	if (touches && settles(status))
		llr_slot_begin(request->session, request->frame.sequence, request->frame.route,
			       request->idempotent ? LLR_SLOT_IDEMPOTENT : 0U);
	if (touches && on_datagrams(request))
		slot_answer(request, (const uint8_t *)text, size, &route);
	count_status(engine->counters, status);
	if (payload_room(request, size) != NULL) {
		memcpy(request->room.bytes + LLR_HEAD_SIZE, text, size);
		frame_commit(request, &request->room, size, &route, 0);
		request->room_open = false;
	} else {
		engine->counters->reply_lost++;
	}
	if (touches && !on_datagrams(request))
		slot_answer(request, NULL, 0, &route);
}

void llr_llrp_repeat(struct llr_request *request, const struct llr_slot *slot,
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
		fragments_send(request, payload, slot->reply_size, &route);
		return;
	}
	if (payload_room(request, slot->reply_size) == NULL) {
		request->engine->counters->reply_lost++;
		return;
	}
	memcpy(request->room.bytes + LLR_HEAD_SIZE, payload, slot->reply_size);
	frame_commit(request, &request->room, slot->reply_size, &route, 0);
	request->room_open = false;
}

void llr_llrp_send(struct llr_listener *listener, struct llr_peer *peer,
		   const struct llr_header *header, const uint8_t *body)
{
	struct llr_transport *transport = listener->transport;
	struct llr_room room;

	if (transport->ops->tx_reserve(transport, peer, LLR_HEADER_SIZE + header->length, &room) !=
	    0) {
		listener->engine->counters->reply_lost++;
		return;
	}
	if (header->length > 0)
		memcpy(room.bytes + LLR_HEADER_SIZE, body, header->length);
	llr_header_encode(room.bytes, header);
	transport->ops->tx_commit(transport, &room, LLR_HEADER_SIZE + header->length);
}
