/* SPDX-License-Identifier: MIT */
/*
 * The engine on a bench: see lab.h. The test's thread; owns the lab.
 */
#include "lab.h"

#include "base/assert.h"

#define FRAME_MAX (128U << 10)

struct lab lab;

static void seen(const struct llrph_call *call)
{
	/* What the contract promises of every payload. */
	assert_int_equal((uintptr_t)call->payload & (LLR_ALIGN - 1), 0);
	lab.seen.runs++;
	lab.seen.last_size = call->payload_size;
	lab.seen.has_trace = call->trace != NULL;
	if (call->payload_size > 0)
		lab.seen.last_byte = ((const uint8_t *)call->payload)[call->payload_size - 1];
}

/* A handler can't tell a full transport from a size out of range; the engine can. */
static int no_room(void)
{
	lab.seen.no_room += lab.datagrams.reserves_left == 0;
	return LLRPH_STATUS_TOO_LARGE;
}

static int reply_bytes(struct llrph_call *call, int status, const void *bytes, uint32_t size)
{
	void *room = llrph_call_room(call, size);

	if (room == NULL)
		return no_room();
	assert_int_equal((uintptr_t)room & (LLR_ALIGN - 1), 0);
	if (size > 0)
		memcpy(room, bytes, size);
	call->reply_size = size;
	return status;
}

static int echo(struct llrph_call *call, void *state)
{
	(void)state;
	seen(call);
	return reply_bytes(call, LLRPH_STATUS_OK, call->payload, call->payload_size);
}

static int status(struct llrph_call *call, void *state)
{
	const uint8_t *payload = call->payload;

	(void)state;
	seen(call);
	assert_true(call->payload_size >= 2);
	if (call->payload_size == 2)
		return llr_le16_load(payload);
	return reply_bytes(call, llr_le16_load(payload), payload + 2, call->payload_size - 2);
}

static int reason(struct llrph_call *call, void *state)
{
	const uint8_t *payload = call->payload;

	(void)state;
	seen(call);
	assert_true(call->payload_size > 2 && payload[call->payload_size - 1] == '\0');
	return llrph_call_reason(call, llr_le16_load(payload), (const char *)payload + 2);
}

static int defer(struct llrph_call *call, void *state)
{
	/* Room that was taken before is of no use then, and does no harm. */
	void *room = llrph_call_room(call, 8);
	struct llrph_deferred *deferred = llrph_call_defer(call);

	(void)state;
	(void)room;
	seen(call);
	if (deferred == NULL) {
		lab.seen.pool_empty++;
		return LLRPH_STATUS_UNAVAILABLE;
	}
	lab.seen.deferred[lab.seen.deferred_count++] = deferred;
	return LLRPH_DEFERRED;
}

static int parts(struct llrph_call *call, void *state)
{
	const uint8_t *payload = call->payload;

	(void)state;
	seen(call);
	for (uint8_t i = 0; i < payload[0]; i++) {
		(void)reply_bytes(call, LLRPH_STATUS_OK, &i, 1);
		lab.seen.part_error = llrph_call_part(call);
		if (lab.seen.part_error != 0)
			return LLRPH_STATUS_HANDLER_FAILED;
	}
	lab.seen.part_error = llrph_call_part(call);
	return reply_bytes(call, LLRPH_STATUS_OK, "last", 4);
}

static int size_of_reply(struct llrph_call *call, void *state)
{
	uint32_t size = llr_le32_load(call->payload);
	uint8_t *room = llrph_call_room(call, size);

	(void)state;
	seen(call);
	if (room == NULL)
		return no_room();
	for (uint32_t i = 0; i < size; i++)
		room[i] = (uint8_t)i;
	call->reply_size = size;
	return LLRPH_STATUS_OK;
}

static void poll(void *state, uint64_t now_ns)
{
	(void)state;
	assert_true(now_ns <= lab.now_ns);
	lab.seen.polls++;
}

static const uint16_t declared[] = {LAB_DECLARED, 599, 0};

static const struct llrph_method methods[] = {
	{.name = LAB_ECHO, .handler = echo, .reply_size_max = LLRPH_REPLY_ANY},
	{.name = LAB_IDEM,
	 .handler = echo,
	 .flags = LLRPH_METHOD_IDEMPOTENT,
	 .reply_size_max = LLRPH_REPLY_ANY},
	{.name = LAB_STATUS,
	 .handler = status,
	 .reply_size_max = LLRPH_REPLY_ANY,
	 .statuses = declared},
	{.name = LAB_REASON, .handler = reason},
	{.name = LAB_DEFER, .handler = defer, .reply_size_max = 4096},
	{.name = LAB_PARTS, .handler = parts, .reply_size_max = 16},
	{.name = LAB_SIZE, .handler = size_of_reply, .reply_size_max = LLRPH_REPLY_ANY},
	{.name = LAB_SMALL, .handler = size_of_reply, .reply_size_max = 8},
};
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))

static const struct llrph_service service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "lab",
	.method_count = METHOD_COUNT,
	.methods = methods,
	.poll = poll,
};

static void engine_start(bool successor)
{
	lab.setup.successor = successor;
	assert_int_equal(llr_engine_create(&lab.engine, &lab.setup, NULL), 0);
	assert_int_equal(llrph_engine_register(lab.engine, &service, NULL, NULL), 0);
	assert_int_equal(llr_engine_attach(lab.engine, &lab.datagrams.transport), 0);
	assert_int_equal(llr_engine_attach(lab.engine, &lab.lanes.transport), 0);
	assert_int_equal(llr_engine_attach(lab.engine, &lab.streams.transport), 0);
	assert_int_equal(llr_engine_start(lab.engine, NULL), 0);
}

void lab_start(const struct llrph_engine_options *options)
{
	static const char *const listeners[] = {"datagram:", "lane:", "stream:"};
	const char *names[METHOD_COUNT];
	struct llr_stats_shape shape = {.name = "lab",
					.worker_count = 1,
					.listener_count = 3,
					.listeners = listeners,
					.method_count = METHOD_COUNT,
					.methods = names};

	for (unsigned int i = 0; i < METHOD_COUNT; i++)
		names[i] = methods[i].name;
	/* Each test has an engine of its own, taken while the last one's freeze still holds. */
	llr_thaw_begin();
	lab.now_ns = 100000000000;
	lab.secret.epoch = 4711;
	memset(lab.secret.cookie_keys, 7, sizeof(lab.secret.cookie_keys));
	memset(&lab.seen, 0, sizeof(lab.seen));
	llr_clock_init_virtual(&lab.clock, &lab.now_ns);
	fake_net_init(&lab.datagrams, FAKE_DATAGRAM, &lab.now_ns);
	fake_net_init(&lab.lanes, FAKE_LANE, &lab.now_ns);
	fake_net_init(&lab.streams, FAKE_STREAM, &lab.now_ns);
	assert_int_equal(llr_stats_create_private(&lab.stats, &shape, NULL), 0);
	lab.counters = llr_stats_counters(lab.stats, 0);
	lab.setup = (struct llr_engine_setup){
		.clock = &lab.clock, .stats = lab.stats, .secret = &lab.secret};
	assert_int_equal(llr_engine_options_resolve(&lab.setup.options, options, NULL), 0);
	lab.sessions = llr_memory_map(llr_sessions_size(&lab.setup.options), "test");
	assert_non_null(lab.sessions);
	lab.setup.sessions = lab.sessions;
	engine_start(false);
	llr_thaw_end();
}

int lab_setup(void **state)
{
	struct llrph_engine_options options = {.size = sizeof(options),
					       .max_message = 32768,
					       .sessions_max = 16,
					       .lanes_max = 8,
					       .connections_max = FAKE_PEERS,
					       .session_memory = 8U << 20};

	(void)state;
	lab_start(&options);
	return 0;
}

int lab_teardown(void **state)
{
	(void)state;
	llrph_engine_close(lab.engine);
	llr_stats_close(lab.stats);
	llr_memory_unmap(lab.sessions, llr_sessions_size(&lab.setup.options));
	return 0;
}

void lab_succeed(void)
{
	llr_thaw_begin();
	llrph_engine_close(lab.engine);
	lab.seen.deferred_count = 0;
	engine_start(true);
	llr_thaw_end();
}

uint32_t lab_control(uint8_t *bytes, unsigned int type, uint64_t sequence, const void *body,
		     uint32_t size)
{
	struct llr_header header = {.sequence = sequence, .length = size, .type = (uint8_t)type};

	if (size > 0)
		memcpy(bytes + LLR_HEADER_SIZE, body, size);
	llr_header_encode(bytes, &header);
	return LLR_HEADER_SIZE + size;
}

uint32_t lab_frame(uint8_t *bytes, const struct lab_ask *ask)
{
	uint32_t at = LLR_HEAD_SIZE;
	struct llr_header header = {
		.sequence = ask->sequence, .flags = ask->flags, .type = LLR_REQUEST};

	llr_request_route_encode(bytes, llrph_route(ask->method), ask->budget_us, ask->session);
	if (ask->ext_size > 0)
		memcpy(bytes + at, ask->ext, ask->ext_size);
	at += ask->ext_size;
	if ((ask->flags & LLR_FLAG_FRAGMENT) != 0) {
		llr_fragment_encode(bytes + at, &ask->fragment);
		at += LLR_FRAGMENT_SIZE;
	}
	if (ask->size > 0)
		memcpy(bytes + at, ask->payload, ask->size);
	header.length = at + ask->size - LLR_HEADER_SIZE;
	llr_header_encode(bytes, &header);
	return at + ask->size;
}

unsigned int lab_turn(void)
{
	lab.now_ns += LAB_TURN_NS;
	return llrph_engine_turn(lab.engine);
}

void lab_sleep(uint64_t ns)
{
	lab.now_ns += ns;
	(void)lab_turn();
}

/* On streams the padding follows at once. */
static void put(struct fake_net *net, uint32_t peer, uint8_t *bytes, uint32_t size)
{
	uint32_t padding = net->kind == FAKE_STREAM ? llr_frame_padding(size) : 0;

	memset(bytes + size, 0, padding);
	fake_net_put(net, peer, bytes, size + padding);
}

void lab_put(struct fake_net *net, uint32_t peer, const struct lab_ask *ask)
{
	static uint8_t bytes[FRAME_MAX + LLR_ALIGN];

	LLR_ASSERT(LLR_HEAD_SIZE + ask->ext_size + LLR_FRAGMENT_SIZE + ask->size <= FRAME_MAX);
	put(net, peer, bytes, lab_frame(bytes, ask));
}

void lab_put_control(struct fake_net *net, uint32_t peer, unsigned int type, uint64_t sequence,
		     uint64_t session)
{
	uint8_t bytes[LLR_HEADER_SIZE + 2 * LLR_ALIGN];
	uint8_t body[8];

	llr_le64_store(body, session);
	put(net, peer, bytes,
	    lab_control(bytes, type, sequence, body, session != 0 ? sizeof(body) : 0));
}

struct llr_frame lab_answer(struct fake_net *net, uint32_t peer)
{
	struct llr_frame frame;
	uint32_t to;

	if (!fake_net_take(net, &to, &frame))
		fail_msg("no answer came");
	assert_int_equal(to, peer);
	assert_int_equal(net->sent_taken, net->sent_count);
	return frame;
}

void lab_no_answer(struct fake_net *net)
{
	assert_int_equal(net->sent_count - net->sent_taken, 0);
}

struct llr_frame lab_ask(struct fake_net *net, uint32_t peer, const struct lab_ask *ask)
{
	fake_net_clear(net);
	lab_put(net, peer, ask);
	(void)lab_turn();
	return lab_answer(net, peer);
}

void lab_expect(const struct llr_frame *frame, uint64_t sequence, unsigned int status,
		const void *payload, uint32_t size)
{
	assert_int_equal(frame->type, LLR_REPLY);
	assert_int_equal(frame->sequence, sequence);
	assert_int_equal(frame->status, status);
	if (payload == NULL)
		return;
	assert_int_equal(frame->payload_size, size);
	assert_memory_equal(frame->payload, payload, size);
}

struct llr_welcome lab_hello(struct fake_net *net, uint32_t peer, const struct llr_hello *hello)
{
	uint8_t bytes[LLR_HEADER_SIZE + LLR_HELLO_SIZE];
	uint8_t body[LLR_HELLO_SIZE];
	struct llr_welcome welcome;
	struct llr_frame frame;

	llr_hello_encode(body, hello);
	fake_net_clear(net);
	put(net, peer, bytes, lab_control(bytes, LLR_HELLO, 0, body, sizeof(body)));
	(void)lab_turn();
	frame = lab_answer(net, peer);
	assert_int_equal(frame.type, LLR_WELCOME);
	assert_int_equal(frame.length, LLR_WELCOME_SIZE);
	llr_welcome_decode(frame.body, &welcome);
	assert_int_equal(welcome.nonce, hello->nonce);
	assert_int_equal(welcome.epoch, lab.secret.epoch);
	return welcome;
}

uint64_t lab_open_with(struct fake_net *net, uint32_t peer, uint16_t window, uint32_t max_message)
{
	struct llr_hello hello = {.nonce = peer + 1,
				  .features = LLR_FEATURE_EXT,
				  .window = window,
				  .max_message = max_message};
	struct llr_welcome welcome = lab_hello(net, peer, &hello);

	if (net->kind == FAKE_DATAGRAM) {
		assert_int_equal(welcome.status, LLRPH_STATUS_NO_SESSION);
		assert_int_equal(welcome.session, 0);
		hello.cookie = welcome.cookie;
		welcome = lab_hello(net, peer, &hello);
	}
	assert_int_equal(welcome.status, LLRPH_STATUS_OK);
	assert_int_not_equal(welcome.session, 0);
	fake_net_clear(net);
	return welcome.session;
}

uint64_t lab_open(struct fake_net *net, uint32_t peer)
{
	return lab_open_with(net, peer, 0, 0);
}
