/* SPDX-License-Identifier: MIT */
/*
 * A client on scripted wires and a clock moved by hand. A wire is a transport whose other end is
 * the test: it looks at the frames that the client sent, and puts frames or bytes before it.
 *
 * Datagram wires keep frame by frame what is sent, and give out each datagram as one span. Stream
 * wires give out bytes as far as the test lets them come. Thread: the test's only one.
 */
#ifndef FAKE_WIRE_H
#define FAKE_WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "client/state.h"

#define WIRE_FRAME_SIZE_MAX 4096U
#define WIRE_SENT_MAX       512U
#define WIRE_COMING_MAX     64U
#define WIRE_STREAM_SIZE    65536U
#define WIRE_MTU            1472U
#define US                  UINT64_C(1000)
#define MS                  UINT64_C(1000000)
#define SECOND              UINT64_C(1000000000)
#define WALL_NS             UINT64_C(1700000000000000000)
#define ROUTE               0xabcdef01U
#define EPOCH               UINT64_C(77)

struct rig;

struct wire {
	struct llr_transport base; /* first */
	struct llr_transport_ops ops;
	struct llr_transport_counters counters;
	struct llr_peer peer;
	struct llr_peer stranger; /* another address */
	struct rig *rig;          /* borrows */
	_Alignas(16) uint8_t room[WIRE_FRAME_SIZE_MAX];
	_Alignas(16) uint8_t sent[WIRE_SENT_MAX][WIRE_FRAME_SIZE_MAX];
	uint32_t sent_sizes[WIRE_SENT_MAX];
	unsigned int sent_count;
	unsigned int sent_seen; /* frames that the test has looked at */
	_Alignas(16) uint8_t coming[WIRE_COMING_MAX][WIRE_FRAME_SIZE_MAX];
	struct llr_span coming_spans[WIRE_COMING_MAX];
	unsigned int coming_count;
	unsigned int come; /* in all: the next one's place in coming */
	_Alignas(16) uint8_t stream[WIRE_STREAM_SIZE];
	uint32_t stream_size;     /* bytes that have come */
	uint32_t stream_consumed; /* of these */
	uint32_t stream_wanted;
	uint64_t session;  /* as the server of this wire grants it */
	uint64_t tick_ns;  /* the clock moves by this with each look */
	int reserve_error; /* what tx_reserve says; 0: room */
	bool room_is_open;
	bool burst_is_out;
	bool has_ended;  /* LLR_SPAN_CLOSED comes next */
	bool is_open;    /* between connect and close */
	bool is_refused; /* connect says -ECONNREFUSED */
	bool echoes;     /* answers every REQUEST and HELLO by itself */
	unsigned int connects;
	uint64_t connected_ns; /* when connect was last called */
};

struct rig {
	struct llrph_client *client;
	struct llr_clock clock;
	uint64_t now_ns;
	struct wire wires[2];
	struct llrph_completion done[64];
	unsigned int done_count;
};

static inline struct wire *wire_of(struct llr_transport *transport)
{
	return (struct wire *)transport;
}

static inline unsigned int wire_place(const struct wire *wire)
{
	unsigned int traits = wire->ops.traits;
	unsigned int place = 0;

	if ((traits & LLR_TRAIT_CONNECTED) != 0)
		place |= LLR_PLACE_CONNECTED;
	if ((traits & LLR_TRAIT_NO_CRC) != 0)
		place |= LLR_PLACE_NO_CRC;
	return place;
}

/* ---- what the test puts before the client ---- */

/* Bytes of a frame, a stream's padding included. */
static inline void wire_bring(struct wire *wire, const uint8_t *bytes, uint32_t size)
{
	struct llr_span *span;

	if ((wire->ops.traits & LLR_TRAIT_STREAM) != 0) {
		uint32_t padded = size + llr_frame_padding(size);

		assert_true(wire->stream_size + padded <= WIRE_STREAM_SIZE);
		memcpy(wire->stream + wire->stream_size, bytes, size);
		memset(wire->stream + wire->stream_size + size, 0, padded - size);
		wire->stream_size += padded;
		return;
	}
	assert_true(wire->coming_count < WIRE_COMING_MAX);
	assert_true(size <= WIRE_FRAME_SIZE_MAX);
	span = &wire->coming_spans[wire->coming_count];
	*span = (struct llr_span){
		.peer = &wire->peer,
		.bytes = wire->coming[wire->come++ % WIRE_COMING_MAX],
		.received_ns = wire->rig->now_ns,
		.size = size,
	};
	memcpy(span->bytes, bytes, size);
	wire->coming_count++;
}

struct wire_reply {
	uint64_t sequence;
	const void *payload;
	uint32_t size;
	uint32_t route; /* 0: ROUTE */
	uint32_t queue_ns;
	uint16_t status;  /* 0: 200 */
	uint16_t credits; /* 0: 1024, but with 401 */
	uint16_t flags;
	struct llr_fragment fragment; /* with FRAGMENT */
};

/* Writes the frame; returns its size. */
static inline uint32_t wire_reply_encode(uint8_t *frame, const struct wire_reply *reply)
{
	bool is_part = (reply->flags & LLR_FLAG_FRAGMENT) != 0;
	uint32_t head = LLR_HEAD_SIZE + (is_part ? LLR_FRAGMENT_SIZE : 0);
	uint16_t status = reply->status != 0 ? reply->status : LLRPH_STATUS_OK;
	struct llr_reply_route route = {
		.route = reply->route != 0 ? reply->route : ROUTE,
		.service_ns = 11,
		.queue_ns = reply->queue_ns,
		.status = status,
		.credits = reply->credits,
	};
	struct llr_header header = {
		.sequence = reply->sequence,
		.length = head + reply->size - LLR_HEADER_SIZE,
		.flags = reply->flags,
		.type = LLR_REPLY,
	};

	if (route.credits == 0 && status != LLRPH_STATUS_NO_SESSION)
		route.credits = LLR_WINDOW_MAX;
	assert_true(head + reply->size <= WIRE_FRAME_SIZE_MAX);
	if (reply->size > 0)
		memcpy(frame + head, reply->payload, reply->size);
	if (is_part)
		llr_fragment_encode(frame + LLR_HEAD_SIZE, &reply->fragment);
	llr_reply_route_encode(frame, &route);
	llr_header_encode(frame, &header);
	return head + reply->size;
}

static inline void wire_bring_reply(struct wire *wire, const struct wire_reply *reply)
{
	_Alignas(16) uint8_t frame[WIRE_FRAME_SIZE_MAX];

	wire_bring(wire, frame, wire_reply_encode(frame, reply));
}

/* A reply of this status, with an empty payload. */
static inline void wire_bring_status(struct wire *wire, uint64_t sequence, uint16_t status)
{
	wire_bring_reply(wire, &(struct wire_reply){.sequence = sequence, .status = status});
}

static inline void wire_bring_welcome(struct wire *wire, const struct llr_welcome *welcome)
{
	_Alignas(16) uint8_t frame[LLR_HEADER_SIZE + LLR_WELCOME_SIZE];
	struct llr_header header = {.length = LLR_WELCOME_SIZE, .type = LLR_WELCOME};

	llr_welcome_encode(frame + LLR_HEADER_SIZE, welcome);
	llr_header_encode(frame, &header);
	wire_bring(wire, frame, sizeof(frame));
}

static inline void wire_bring_named(struct wire *wire, uint8_t type, uint64_t sequence)
{
	_Alignas(16) uint8_t frame[LLR_HEADER_SIZE + 8];
	struct llr_header header = {.length = 8, .sequence = sequence, .type = type};

	llr_le64_store(frame + LLR_HEADER_SIZE, wire->session);
	llr_header_encode(frame, &header);
	wire_bring(wire, frame, sizeof(frame));
}

/* ---- the ops ---- */

static inline void wire_echo(struct wire *wire, const uint8_t *bytes, uint32_t size)
{
	_Alignas(16) uint8_t copy[WIRE_FRAME_SIZE_MAX];
	struct llr_frame frame;
	struct llr_hello hello;

	memcpy(copy, bytes, size);
	assert_int_equal(llr_frame_decode(copy, size, wire_place(wire), &frame), LLR_FRAME_OK);
	if (frame.type == LLR_HELLO) {
		llr_hello_decode(frame.body, &hello);
		wire_bring_welcome(wire, &(struct llr_welcome){.session = ++wire->session,
							       .epoch = EPOCH,
							       .nonce = hello.nonce,
							       .max_message = hello.max_message,
							       .window = hello.window,
							       .status = LLRPH_STATUS_OK});
	} else if (frame.type == LLR_REQUEST) {
		wire_bring_reply(wire, &(struct wire_reply){.sequence = frame.sequence,
							    .route = frame.route,
							    .payload = frame.payload,
							    .size = frame.payload_size});
	}
}

static inline unsigned int stream_burst(struct wire *wire, struct llr_span *spans)
{
	uint32_t left = wire->stream_size - wire->stream_consumed;

	if (left == 0 || left < wire->stream_wanted)
		return 0;
	spans[0] = (struct llr_span){
		.peer = &wire->peer,
		.bytes = wire->stream + wire->stream_consumed,
		.received_ns = wire->rig->now_ns,
		.size = left,
	};
	return 1;
}

static inline unsigned int wire_rx_burst(struct llr_transport *transport, uint64_t now_ns,
					 struct llr_span *spans, unsigned int count_max)
{
	struct wire *wire = wire_of(transport);
	unsigned int count = 0;

	assert_false(wire->burst_is_out);
	assert_true(now_ns <= wire->rig->now_ns);
	wire->rig->now_ns += wire->tick_ns;
	if ((wire->ops.traits & LLR_TRAIT_STREAM) != 0)
		count = stream_burst(wire, spans);
	while (count < wire->coming_count && count < count_max) {
		spans[count] = wire->coming_spans[count];
		count++;
	}
	if (count == 0 && wire->has_ended) {
		wire->has_ended = false;
		spans[count++] = (struct llr_span){.peer = &wire->peer, .flags = LLR_SPAN_CLOSED};
	}
	wire->burst_is_out = count > 0;
	return count;
}

static inline void wire_rx_release(struct llr_transport *transport, struct llr_span *spans,
				   unsigned int count)
{
	struct wire *wire = wire_of(transport);

	assert_true(wire->burst_is_out);
	wire->burst_is_out = false;
	if ((wire->ops.traits & LLR_TRAIT_STREAM) == 0) {
		/* What came since the burst stays. */
		count = count < wire->coming_count ? count : wire->coming_count;
		wire->coming_count -= count;
		memmove(wire->coming_spans, wire->coming_spans + count,
			wire->coming_count * sizeof(*spans));
		return;
	}
	if ((spans[0].flags & LLR_SPAN_CLOSED) != 0)
		return;
	assert_int_equal(count, 1);
	assert_true(spans[0].consumed <= spans[0].size);
	wire->stream_consumed += spans[0].consumed;
	wire->stream_wanted = spans[0].wanted;
}

static inline int wire_tx_reserve(struct llr_transport *transport, struct llr_peer *peer,
				  uint32_t size, struct llr_room *room)
{
	struct wire *wire = wire_of(transport);

	assert_false(wire->room_is_open);
	assert_ptr_equal(peer, &wire->peer);
	if (wire->reserve_error != 0)
		return wire->reserve_error;
	if (size > (wire->peer.mtu != 0 ? wire->peer.mtu : WIRE_FRAME_SIZE_MAX))
		return -EMSGSIZE;
	memset(wire->room, 0xa5, sizeof(wire->room));
	*room = (struct llr_room){.bytes = wire->room, .size = size, .peer = peer};
	wire->room_is_open = true;
	return 0;
}

static inline void wire_tx_commit(struct llr_transport *transport, struct llr_room *room,
				  uint32_t size)
{
	struct wire *wire = wire_of(transport);

	assert_true(wire->room_is_open);
	assert_true(size <= room->size);
	assert_true(wire->sent_count < WIRE_SENT_MAX);
	wire->room_is_open = false;
	memcpy(wire->sent[wire->sent_count], room->bytes, size);
	wire->sent_sizes[wire->sent_count++] = size;
	if (wire->echoes)
		wire_echo(wire, room->bytes, size);
}

static inline void wire_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	(void)room;
	assert_true(wire_of(transport)->room_is_open);
	wire_of(transport)->room_is_open = false;
}

static inline void wire_tx_flush(struct llr_transport *transport)
{
	(void)transport;
}

static inline void wire_close(struct llr_transport *transport)
{
	struct wire *wire = wire_of(transport);

	assert_true(wire->is_open);
	assert_false(wire->burst_is_out);
	assert_false(wire->room_is_open);
	wire->is_open = false;
}

/* ---- the rig ---- */

static inline int rig_connect(void *context, unsigned int endpoint,
			      struct llr_transport **transport, struct llr_peer **peer,
			      struct llrph_error *error)
{
	struct rig *rig = context;
	struct wire *wire = &rig->wires[endpoint];

	(void)error;
	wire->connects++;
	wire->connected_ns = rig->now_ns;
	assert_false(wire->is_open);
	if (wire->is_refused)
		return -ECONNREFUSED;
	wire->is_open = true;
	wire->coming_count = 0;
	wire->has_ended = false;
	wire->stream_size = 0;
	wire->stream_consumed = 0;
	wire->stream_wanted = 0;
	*transport = &wire->base;
	*peer = &wire->peer;
	return 0;
}

static inline void wire_init(struct wire *wire, struct rig *rig, unsigned int index,
			     unsigned int traits)
{
	wire->rig = rig;
	wire->ops = (struct llr_transport_ops){
		.scheme = "fake",
		.traits = traits,
		.rx_burst = wire_rx_burst,
		.rx_release = wire_rx_release,
		.tx_reserve = wire_tx_reserve,
		.tx_commit = wire_tx_commit,
		.tx_abort = wire_tx_abort,
		.tx_flush = wire_tx_flush,
		.close = wire_close,
	};
	wire->base = (struct llr_transport){.ops = &wire->ops, .counters = &wire->counters};
	wire->peer.address.port = (uint16_t)(1000 + index);
	wire->stranger.address.port = 99;
	wire->peer.mtu = (traits & LLR_TRAIT_CONNECTED) == 0 ? WIRE_MTU : 0;
	wire->session = 1000 * (index + 1);
}

/* A client that has not been polled yet. */
static inline struct rig *rig_make(unsigned int traits, unsigned int endpoint_count,
				   const struct llrph_client_options *options)
{
	static const char *const names[] = {"fake:first", "fake:second"};
	struct rig *rig = test_calloc(1, sizeof(*rig));
	struct llr_client_setup setup = {
		.options = *options,
		.clock = &rig->clock,
		.wall_ns = WALL_NS,
		.seed = 42,
		.endpoint_count = endpoint_count,
		.endpoints = names,
		.connect = rig_connect,
		.context = rig,
	};

	rig->now_ns = SECOND;
	llr_clock_init_virtual(&rig->clock, &rig->now_ns);
	wire_init(&rig->wires[0], rig, 0, traits);
	wire_init(&rig->wires[1], rig, 1, traits);
	assert_int_equal(llr_client_create(&rig->client, &setup, NULL), 0);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	llrph_client_close(rig->client);
	assert_false(rig->wires[0].is_open);
	assert_false(rig->wires[1].is_open);
	test_free(rig);
}

/* Polls once; what ended is in rig->done. Returns how much. */
static inline unsigned int rig_poll(struct rig *rig)
{
	rig->done_count = llrph_client_poll(rig->client, rig->done, 64);
	return rig->done_count;
}

static inline unsigned int rig_pass(struct rig *rig, uint64_t ns)
{
	rig->now_ns += ns;
	return rig_poll(rig);
}

static inline struct llrph_client_info rig_info(const struct rig *rig)
{
	struct llrph_client_info info = {.size = sizeof(info)};

	llrph_client_info(rig->client, &info);
	return info;
}

/* Frames that the test has not looked at. */
static inline unsigned int wire_unseen(const struct wire *wire)
{
	return wire->sent_count - wire->sent_seen;
}

/* The next frame that the client sent; it must be of this type, and fit its place. */
static inline struct llr_frame wire_take(struct wire *wire, uint8_t type)
{
	struct llr_frame frame = {0};
	bool ext_broken;

	assert_true(wire_unseen(wire) > 0);
	assert_int_equal(llr_frame_decode(wire->sent[wire->sent_seen],
					  wire->sent_sizes[wire->sent_seen], wire_place(wire),
					  &frame),
			 LLR_FRAME_OK);
	assert_int_equal(frame.frame_size, wire->sent_sizes[wire->sent_seen]);
	assert_int_equal(frame.type, type);
	if (type == LLR_REQUEST)
		assert_int_equal(llr_frame_split(&frame, false, &ext_broken), LLR_FRAME_OK);
	wire->sent_seen++;
	return frame;
}

static inline struct llr_hello wire_take_hello(struct wire *wire)
{
	struct llr_frame frame = wire_take(wire, LLR_HELLO);
	struct llr_hello hello;

	assert_int_equal(frame.length, LLR_HELLO_SIZE);
	assert_int_equal(frame.sequence, 0);
	llr_hello_decode(frame.body, &hello);
	return hello;
}

static inline void wire_skip(struct wire *wire)
{
	wire->sent_seen = wire->sent_count;
}

/* What a good server would grant this HELLO. */
static inline struct llr_welcome wire_grant(struct wire *wire, const struct llr_hello *hello,
					    uint64_t epoch)
{
	return (struct llr_welcome){
		.session = ++wire->session,
		.epoch = epoch,
		.nonce = hello->nonce,
		.max_message = hello->max_message,
		.window = hello->window,
		.status = LLRPH_STATUS_OK,
	};
}

/* HELLO has just been sent: answers it, with a cookie first on datagrams; each takes rtt_ns. */
static inline void rig_welcome(struct rig *rig, struct wire *wire, uint64_t epoch, uint64_t rtt_ns)
{
	struct llr_hello hello = wire_take_hello(wire);
	struct llr_welcome welcome = {
		.nonce = hello.nonce, .cookie = 5, .status = LLRPH_STATUS_NO_SESSION};

	rig->now_ns += rtt_ns;
	if ((wire->ops.traits & LLR_TRAIT_CONNECTED) == 0) {
		wire_bring_welcome(wire, &welcome);
		rig_poll(rig);
		hello = wire_take_hello(wire);
		assert_int_equal(hello.cookie, 5);
		assert_int_equal(hello.nonce, welcome.nonce);
		rig->now_ns += rtt_ns;
	}
	welcome = wire_grant(wire, &hello, epoch);
	wire_bring_welcome(wire, &welcome);
	rig_poll(rig);
	assert_true(llr_client_is_open(rig->client));
}

/* A client with a session, measured round trip 1 ms: RTO 2.5 ms on datagrams. */
static inline struct rig *rig_open(unsigned int traits, const struct llrph_client_options *options)
{
	struct rig *rig = rig_make(traits, 1, options);

	rig_poll(rig);
	rig_welcome(rig, &rig->wires[0], EPOCH, MS);
	return rig;
}

struct rig_request {
	const void *payload;
	uint32_t size;
	unsigned int flags;
	uint64_t timeout_ns; /* 0: 10 s */
	uint64_t tag;
};

/* Begins, fills and commits; the number of the request. */
static inline int64_t rig_commit(struct rig *rig, const struct rig_request *request)
{
	void *payload = NULL;
	int64_t sequence;

	assert_int_equal(llrph_call_begin(rig->client, request->size, &payload), 0);
	assert_int_equal((uintptr_t)payload % 16, 0);
	if (request->size > 0)
		memcpy(payload, request->payload, request->size);
	sequence = llrph_call_commit(rig->client, ROUTE, request->size, request->flags,
				     request->timeout_ns != 0 ? request->timeout_ns : 10 * SECOND,
				     request->tag);
	assert_true(sequence >= 1);
	return sequence;
}

/* An empty request, sent; the sequence on the wire. */
static inline uint64_t rig_send(struct rig *rig, struct wire *wire,
				const struct rig_request *request)
{
	struct llr_frame frame;

	(void)rig_commit(rig, request);
	rig_poll(rig);
	frame = wire_take(wire, LLR_REQUEST);
	return frame.sequence;
}

#endif
