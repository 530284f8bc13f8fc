/* SPDX-License-Identifier: MIT */
/*
 * The whole engine under hostile datagrams: the input is a script of what four addresses send, of
 * time that passes, and of workers that are replaced. Checksums, session ids and cookies are put
 * right where the script asks for it, for no fuzzer guesses them.
 *
 * Beside memory and assertions it checks that all that is sent are good frames (fake.c), and that
 * an address without a session never gets more bytes than it sent.
 */
#include "fake.h"
#include "input.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "engine/engine.h"

#include <stdlib.h>

#define SENDER_COUNT   4U
#define DATAGRAM_MAX   FAKE_MTU
#define DEFERRED_MAX   8U
#define SESSION_MEMORY (256U << 10)

struct sender {
	uint64_t session;
	uint64_t cookie;
	uint64_t nonce;
	uint32_t owed; /* bytes that it may be sent while it has no session */
};

static struct {
	struct fake fake;
	struct sender senders[SENDER_COUNT];
	uint64_t now_ns;
	struct llr_clock clock;
	struct llr_secret secret;
	struct llr_stats *stats;
	struct llrph_engine *engine;
	struct llr_engine_setup setup;
	struct llrph_deferred *deferred[DEFERRED_MAX];
	unsigned int deferred_count;
} fuzz;

static int echo(struct llrph_call *call, void *state)
{
	void *room = llrph_call_room(call, call->payload_size);

	(void)state;
	if (room == NULL)
		return LLRPH_STATUS_TOO_LARGE;
	if (call->payload_size > 0)
		memcpy(room, call->payload, call->payload_size);
	call->reply_size = call->payload_size;
	return LLRPH_STATUS_OK;
}

/* Its first byte is the status; or it is put off. */
static int obey(struct llrph_call *call, void *state)
{
	const uint8_t *payload = call->payload;

	(void)state;
	if (call->payload_size == 0)
		return LLRPH_STATUS_OK;
	if (payload[0] == 0 && fuzz.deferred_count < DEFERRED_MAX) {
		struct llrph_deferred *deferred = llrph_call_defer(call);

		if (deferred == NULL)
			return LLRPH_STATUS_UNAVAILABLE;
		fuzz.deferred[fuzz.deferred_count++] = deferred;
		return LLRPH_DEFERRED;
	}
	return 200 + payload[0] * 2;
}

static const struct llrph_method methods[] = {
	{.name = "fuzz/Echo", .handler = echo, .reply_size_max = LLRPH_REPLY_ANY},
	{.name = "fuzz/Obey", .handler = obey, .flags = LLRPH_METHOD_IDEMPOTENT},
};

static const struct llrph_service service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "fuzz",
	.method_count = 2,
	.methods = methods,
};

static void sent(struct fake *fake, const struct llr_peer *peer, const struct llr_frame *frame)
{
	uint32_t size = (uint32_t)llr_round_up(frame->frame_size, LLR_ALIGN);
	struct llr_welcome welcome;
	struct sender *sender;

	(void)fake;
	LLR_ASSERT(peer->address.port < SENDER_COUNT);
	sender = &fuzz.senders[peer->address.port];
	if (frame->type == LLR_WELCOME) {
		llr_welcome_decode(frame->body, &welcome);
		if (welcome.status == LLRPH_STATUS_NO_SESSION)
			sender->cookie = welcome.cookie;
		if (welcome.status == LLRPH_STATUS_OK)
			sender->session = welcome.session;
	}
	if (sender->session != 0)
		return;
	LLR_ASSERT(size <= sender->owed);
	sender->owed -= size;
}

static void start(bool successor)
{
	static const char *const names[] = {"fuzz/Echo", "fuzz/Obey"};
	static const char *const listener = "fake:";
	struct llr_stats_shape shape = {.name = "fuzz",
					.worker_count = 1,
					.listener_count = 1,
					.listeners = &listener,
					.method_count = 2,
					.methods = names};

	if (fuzz.stats == NULL)
		LLR_MUST(llr_stats_create_private(&fuzz.stats, &shape, NULL) == 0);
	fuzz.setup.clock = &fuzz.clock;
	fuzz.setup.stats = fuzz.stats;
	fuzz.setup.secret = &fuzz.secret;
	fuzz.setup.successor = successor;
	fuzz.deferred_count = 0;
	LLR_MUST(llr_engine_create(&fuzz.engine, &fuzz.setup, NULL) == 0);
	LLR_MUST(llrph_engine_register(fuzz.engine, &service, NULL, NULL) == 0);
	LLR_MUST(llr_engine_attach(fuzz.engine, &fuzz.fake.transport) == 0);
	LLR_MUST(llr_engine_start(fuzz.engine, NULL) == 0);
}

/* The script wants its frame to be taken: length, checksum, session. */
static void mend(uint8_t *bytes, uint32_t size, uint8_t how, const struct sender *sender)
{
	uint32_t crc;

	if (size < LLR_HEADER_SIZE || (how & 8U) == 0)
		return;
	memcpy(bytes, "LLRP\1", 5);
	bytes[5] = (uint8_t)(bytes[5] % 13U);
	bytes[6] &= LLR_FLAG_FRAGMENT | LLR_FLAG_IDEMPOTENT | LLR_FLAG_RETRY | LLR_FLAG_EXT;
	bytes[7] = 0;
	llr_le32_store(bytes + 24, size - LLR_HEADER_SIZE);
	if (size >= LLR_HEAD_SIZE && (how & 16U) != 0) {
		llr_le32_store(bytes + LLR_HEADER_SIZE, llrph_route(methods[how >> 7].name));
		llr_le64_store(bytes + LLR_HEADER_SIZE + 8,
			       bytes[5] == LLR_HELLO ? sender->cookie : sender->session);
	}
	/* HEARTBEAT, BYE and CANCEL name it at once. */
	if (size == LLR_HEADER_SIZE + 8U && (how & 16U) != 0)
		llr_le64_store(bytes + LLR_HEADER_SIZE, sender->session);
	crc = llr_crc32c(0, bytes, LLR_HEADER_SIZE - 4);
	llr_le32_store(bytes + 28,
		       llr_crc32c(crc, bytes + LLR_HEADER_SIZE, size - LLR_HEADER_SIZE));
}

static void deliver(const uint8_t *bytes, uint32_t size, unsigned int who)
{
	fuzz.fake.peer.address.port = (uint16_t)who;
	fuzz.fake.incoming = bytes;
	fuzz.fake.incoming_size = size;
	fuzz.fake.received_ns = fuzz.now_ns;
	fuzz.senders[who].owed = (uint32_t)llr_round_up(size, LLR_ALIGN);
	fuzz.now_ns += 200000; /* so that the endpoint is looked at */
	(void)llrph_engine_turn(fuzz.engine);
}

static void send_hello(struct fuzz_input *input, unsigned int who)
{
	uint8_t bytes[LLR_HEADER_SIZE + LLR_HELLO_SIZE] = {0};
	struct llr_header header = {.length = LLR_HELLO_SIZE, .type = LLR_HELLO};
	struct llr_hello hello = {.features = LLR_FEATURE_EXT};

	hello.nonce = fuzz_u8(input);
	hello.window = fuzz_u16(input);
	hello.max_message = fuzz_u16(input);
	for (int tries = 0; tries < 2; tries++) {
		hello.cookie = fuzz.senders[who].cookie;
		llr_hello_encode(bytes + LLR_HEADER_SIZE, &hello);
		llr_header_encode(bytes, &header);
		deliver(bytes, sizeof(bytes), who);
	}
}

static void answer_deferred(uint8_t how)
{
	if (fuzz.deferred_count == 0)
		return;
	fuzz.deferred_count--;
	LLR_ASSERT(llrph_deferred_reply(fuzz.deferred[fuzz.deferred_count], 200 + how, "late", 0,
					0) == 0);
}

static void restart(void)
{
	llrph_engine_close(fuzz.engine);
	start(true);
}

static void step(struct fuzz_input *input)
{
	uint8_t how = fuzz_u8(input);
	uint8_t what = fuzz_u8(input);
	unsigned int who = how % SENDER_COUNT;
	uint8_t bytes[DATAGRAM_MAX];
	uint32_t size;

	switch (what % 16U) {
	case 0:
		fuzz.now_ns += (uint64_t)fuzz_u16(input) * 1000000U;
		(void)llrph_engine_turn(fuzz.engine);
		break;
	case 1:
		restart();
		break;
	case 2:
		answer_deferred(how);
		break;
	case 3:
	case 4:
		send_hello(input, who);
		break;
	default:
		size = fuzz_u16(input) % (DATAGRAM_MAX + 1U);
		/* Short ones are what most is decided in. */
		if ((how & 32U) != 0)
			size %= 128U;
		if (size == 0)
			break;
		fuzz_take(input, bytes, size);
		mend(bytes, size, how, &fuzz.senders[who]);
		deliver(bytes, size, who);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct llrph_engine_options options = {.size = sizeof(options),
					       .max_message = 4096,
					       .sessions_max = 3,
					       .lanes_max = 1,
					       .connections_max = 1,
					       .session_memory = SESSION_MEMORY};

	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.now_ns = 1000000000;
	llr_clock_init_virtual(&fuzz.clock, &fuzz.now_ns);
	options.sessionless = fuzz_u8(&input) & 1U;
	LLR_MUST(llr_engine_options_resolve(&fuzz.setup.options, &options, NULL) == 0);
	fuzz.setup.sessions = calloc(1, llr_sessions_size(&fuzz.setup.options));
	LLR_MUST(fuzz.setup.sessions != NULL);
	fake_init(&fuzz.fake);
	fuzz.fake.sent = sent;
	llr_thaw_begin();
	start(false);
	while (input.left > 0)
		step(&input);
	llrph_engine_close(fuzz.engine);
	llr_stats_close(fuzz.stats);
	llr_thaw_end();
	free(fuzz.setup.sessions);
	return 0;
}
