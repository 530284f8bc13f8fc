/* SPDX-License-Identifier: MIT */
/*
 * The session table: the input is a script of what clients, worker and a dead worker's memory do.
 * Between two steps bytes of the table may change as they please and a successor take over: it
 * must find its way with what is there, and stay within its memory.
 */
#include "input.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "request/session.h"

#include <stdlib.h>
#include <sys/socket.h>

#define SESSION_COUNT 4U
#define PAGE_COUNT    12U

struct table {
	struct llr_sessions sessions;
	struct llr_sessions_shape shape;
	uint8_t *memory;         /* owns */
	uint8_t *private_memory; /* owns */
	size_t memory_size;
	size_t private_size;
};

static struct llr_session *pick(struct table *table, uint8_t which)
{
	struct llr_session *session = &table->sessions.items[which % SESSION_COUNT];

	return session->id != 0 ? session : NULL;
}

static void open_one(struct table *table, struct fuzz_input *input)
{
	struct llr_peer peer = {.address = {.family = AF_INET}, .mtu = 1472};
	uint8_t port = fuzz_u8(input);
	uint8_t kind = (uint8_t)(LLR_SESSION_DATAGRAM + port % 2U);
	struct llr_session_wish wish = {
		.peer = &peer,
		.random = fuzz_u32(input),
		.nonce = port,
		.now_ns = 1,
		.window = fuzz_u16(input),
		.max_message = fuzz_u16(input) % 8192U,
		.window_max = 1024,
		.max_message_max = 4096,
		.kind = kind,
	};

	wish.random <<= 20;
	peer.address.port = (uint16_t)(port % 8U);
	/* One address has one session: the caller sees to that. */
	if (kind == LLR_SESSION_DATAGRAM &&
	    llr_sessions_find_address(&table->sessions, 0, &peer.address) != NULL)
		return;
	(void)llr_sessions_open(&table->sessions, &wish);
}

/* A request on its way: as the engine does. */
static void use_slot(struct llr_session *session, struct fuzz_input *input)
{
	static const uint8_t payload[512];
	uint8_t how = fuzz_u8(input);
	uint64_t sequence = fuzz_u16(input);
	struct llr_slot_answer answer = {.payload = payload, .status = 200};
	enum llr_slot_verdict verdict = llr_slot_judge(session, sequence, (how & 1U) != 0);
	const struct llr_slot *slot = llr_session_slot(session, sequence);

	if (verdict == LLR_REMEMBERED) {
		const uint8_t *reply = llr_replies_find(&session->datagram->replies,
							session->datagram->replies_bytes,
							slot->reply_at, slot->reply_size);

		for (uint32_t i = 0; i < slot->reply_size; i++)
			LLR_ASSERT(reply[i] <= UINT8_MAX);
		return;
	}
	if (verdict != LLR_RUN && verdict != LLR_RERUN)
		return;
	llr_slot_begin(session, sequence, 7, (how & 1U) != 0 ? LLR_SLOT_IDEMPOTENT : 0U);
	if ((how & 2U) != 0)
		return; /* its worker dies, or it is deferred */
	if ((how & 4U) != 0) {
		llr_slot_reopen(session, sequence);
		return;
	}
	answer.size = fuzz_u16(input) % sizeof(payload);
	answer.keep = session->datagram != NULL && (how & 8U) == 0;
	llr_slot_settle(session, sequence, &answer);
	LLR_ASSERT(llr_slot_is_newest(session, sequence));
}

static void succeed(struct table *table, struct fuzz_input *input)
{
	for (uint8_t flips = fuzz_u8(input) % 16U; flips > 0; flips--) {
		uint32_t at = fuzz_u32(input) % (uint32_t)table->memory_size;

		table->memory[at] = fuzz_u8(input);
	}
	memset(table->private_memory, 0, table->private_size);
	(void)llr_sessions_recover(&table->sessions, &table->shape, table->memory,
				   table->private_memory);
}

static void step(struct table *table, struct fuzz_input *input)
{
	uint8_t what = fuzz_u8(input);
	struct llr_session *session = pick(table, what >> 4);

	switch (what % 8U) {
	case 0:
		open_one(table, input);
		break;
	case 1:
		if (session != NULL)
			llr_sessions_close(&table->sessions, session);
		break;
	case 2:
		(void)llr_sessions_find(&table->sessions, fuzz_u32(input));
		break;
	case 3:
		succeed(table, input);
		break;
	default:
		if (session != NULL)
			use_slot(session, input);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct table table = {.shape = {.count = SESSION_COUNT,
					.page_size = LLR_SESSION_PAGE,
					.page_count = PAGE_COUNT}};

	table.memory_size = llr_sessions_memory_size(&table.shape);
	table.private_size = llr_sessions_private_size(&table.shape);
	table.memory = aligned_alloc(64, llr_round_up(table.memory_size, 64));
	table.private_memory = aligned_alloc(64, llr_round_up(table.private_size, 64));
	LLR_MUST(table.memory != NULL);
	LLR_MUST(table.private_memory != NULL);
	memset(table.memory, 0, table.memory_size);
	memset(table.private_memory, 0, table.private_size);
	llr_sessions_init(&table.sessions, &table.shape, table.memory, table.private_memory);
	while (input.left > 0)
		step(&table, &input);
	free(table.private_memory);
	free(table.memory);
	return 0;
}
