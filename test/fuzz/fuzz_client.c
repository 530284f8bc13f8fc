/* SPDX-License-Identifier: MIT */
/*
 * The client under a hostile server: the input is a script of frames that come, of calls that the
 * application makes and of time that passes. Checksums, nonces and sequences are put right where
 * the script asks for it.
 *
 * Beside memory and assertions it checks that all that is sent are good frames (fake.c), and that
 * each request completes once.
 */
#include "fake.h"
#include "input.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "client/client.h"

#define SESSION     UINT64_C(0x1122334455660001)
#define REQUEST_MAX 64U
#define MESSAGE_MAX 4096U

static struct {
	struct fake fake;
	uint64_t now_ns;
	struct llr_clock clock;
	struct llrph_client *client;
	uint64_t nonce; /* of the newest HELLO */
	uint64_t last_sequence;
	uint32_t last_route;
	unsigned int committed;
	int64_t sequences[REQUEST_MAX];
	uint8_t completed[REQUEST_MAX];
} fuzz;

static void sent(struct fake *fake, const struct llr_peer *peer, const struct llr_frame *frame)
{
	(void)fake;
	(void)peer;
	if (frame->type == LLR_HELLO)
		fuzz.nonce = llr_le64_load(frame->body);
	if (frame->type != LLR_REQUEST)
		return;
	fuzz.last_sequence = frame->sequence;
	fuzz.last_route = frame->route;
}

static int connect_to(void *context, unsigned int endpoint, struct llr_transport **transport,
		      struct llr_peer **peer, struct llrph_error *error)
{
	(void)context;
	(void)endpoint;
	(void)error;
	fake_init(&fuzz.fake);
	fuzz.fake.sent = sent;
	*transport = &fuzz.fake.transport;
	*peer = &fuzz.fake.peer;
	return 0;
}

static void poll_client(void)
{
	struct llrph_completion completions[8];
	unsigned int count = llrph_client_poll(fuzz.client, completions, 8);

	LLR_ASSERT(count <= 8);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t tag = completions[i].tag;

		LLR_ASSERT(tag < fuzz.committed);
		LLR_ASSERT(fuzz.completed[tag] == 0);
		fuzz.completed[tag] = completions[i].more == 0;
		LLR_ASSERT(completions[i].size <= MESSAGE_MAX);
		/* Touched, so that a sanitizer looks. */
		(void)llr_crc32c(0, completions[i].payload, completions[i].size);
	}
}

static void deliver(const uint8_t *bytes, uint32_t size)
{
	fuzz.fake.incoming = bytes;
	fuzz.fake.incoming_size = size;
	fuzz.fake.received_ns = fuzz.now_ns;
	fuzz.now_ns += 1000;
	poll_client();
}

static void send_welcome(struct fuzz_input *input, uint8_t how)
{
	uint8_t bytes[LLR_HEADER_SIZE + LLR_WELCOME_SIZE] = {0};
	struct llr_header header = {.length = LLR_WELCOME_SIZE, .type = LLR_WELCOME};
	struct llr_welcome welcome = {.nonce = fuzz.nonce, .epoch = 1};

	if ((how & 1U) != 0) {
		welcome.status = LLRPH_STATUS_NO_SESSION;
		welcome.cookie = fuzz_u8(input);
	} else {
		welcome.status = (how & 2U) != 0 ? fuzz_u16(input) : LLRPH_STATUS_OK;
		welcome.session = SESSION;
		welcome.window = (how & 4U) != 0 ? fuzz_u16(input) : 4;
		welcome.max_message = (how & 8U) != 0 ? fuzz_u32(input) : MESSAGE_MAX;
		welcome.features = (how & 16U) != 0 ? fuzz_u8(input) : 0;
		welcome.epoch = fuzz_u8(input);
	}
	llr_welcome_encode(bytes + LLR_HEADER_SIZE, &welcome);
	llr_header_encode(bytes, &header);
	deliver(bytes, sizeof(bytes));
}

/* Any frame; how: which of its fields are put right. */
static void send_frame(struct fuzz_input *input, uint8_t how)
{
	uint8_t bytes[FAKE_MTU];
	uint32_t size = fuzz_u16(input) % (FAKE_MTU + 1U);
	uint32_t crc;

	if ((how & 1U) != 0)
		size %= 160U;
	if (size == 0)
		return;
	fuzz_take(input, bytes, size);
	if (size >= LLR_HEAD_SIZE && (how & 2U) != 0) {
		memcpy(bytes, "LLRP\1", 5);
		bytes[5] = (how & 4U) != 0 ? LLR_REPLY : bytes[5] % 13U;
		bytes[6] &= LLR_FLAG_FRAGMENT | LLR_FLAG_EXT | LLR_FLAG_MORE;
		bytes[7] = 0;
		llr_le32_store(bytes + 24, size - LLR_HEADER_SIZE);
		if ((how & 8U) != 0) {
			llr_le64_store(bytes + 8, fuzz.last_sequence - bytes[8] % 4U);
			llr_le32_store(bytes + LLR_HEADER_SIZE, fuzz.last_route);
		}
		crc = llr_crc32c(0, bytes, LLR_HEADER_SIZE - 4);
		llr_le32_store(bytes + 28,
			       llr_crc32c(crc, bytes + LLR_HEADER_SIZE, size - LLR_HEADER_SIZE));
	}
	deliver(bytes, size);
}

static void call(struct fuzz_input *input, uint8_t how)
{
	uint32_t size = fuzz_u16(input) % (MESSAGE_MAX + 16U);
	uint64_t timeout_ns = 1000U + (uint64_t)fuzz_u16(input) * 100000U;
	void *payload;

	if (fuzz.committed == REQUEST_MAX || llrph_call_begin(fuzz.client, size, &payload) != 0)
		return;
	memset(payload, how, size);
	if ((how & 2U) != 0) {
		llrph_call_abort(fuzz.client);
		return;
	}
	fuzz.sequences[fuzz.committed] =
		llrph_call_commit(fuzz.client, how, size, how & 1U, timeout_ns, fuzz.committed);
	LLR_ASSERT(fuzz.sequences[fuzz.committed] > 0);
	fuzz.committed++;
	poll_client();
}

static void step(struct fuzz_input *input)
{
	uint8_t what = fuzz_u8(input);
	uint8_t how = fuzz_u8(input);

	switch (what % 8U) {
	case 0:
		fuzz.now_ns += (uint64_t)fuzz_u16(input) * 100000U;
		poll_client();
		break;
	case 1:
	case 2:
		call(input, how);
		break;
	case 3:
		if (fuzz.committed > 0)
			(void)llrph_call_cancel(fuzz.client, fuzz.sequences[how % fuzz.committed]);
		break;
	case 4:
		send_welcome(input, how);
		break;
	default:
		send_frame(input, how);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const endpoint = "fake:";
	struct fuzz_input input = {data, size};
	struct llr_client_setup setup = {
		.options = {.size = sizeof(setup.options),
			    .window = 4,
			    .max_message = MESSAGE_MAX,
			    .idle = LLRPH_IDLE_SPIN},
		.clock = &fuzz.clock,
		.seed = 1,
		.endpoint_count = 1,
		.endpoints = &endpoint,
		.connect = connect_to,
	};

	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.now_ns = 1000000000;
	llr_clock_init_virtual(&fuzz.clock, &fuzz.now_ns);
	llr_thaw_begin();
	LLR_MUST(llr_client_create(&fuzz.client, &setup, NULL) == 0);
	/* With a session, unless the input says otherwise. */
	poll_client();
	if ((fuzz_u8(&input) & 1U) == 0) {
		send_welcome(&(struct fuzz_input){data, 0}, 0);
		poll_client();
	}
	while (input.left > 0)
		step(&input);
	llrph_client_close(fuzz.client);
	llr_thaw_end();
	return 0;
}
