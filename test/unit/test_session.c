/* SPDX-License-Identifier: MIT */
/*
 * The session table: opening, finding, closing, running out; what slots answer; remembered replies;
 * cookies; and a successor over a table that its worker left, sane or not.
 */
#include "request/session.h"

#include "base/limits.h"
#include "request/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct llr_sessions sessions;
static struct llr_sessions_shape shape = {
	.count = 8, .page_size = LLR_SESSION_PAGE, .page_count = 200};
static void *memory;
static void *private_memory;

static int setup(void **state)
{
	(void)state;
	memory = aligned_alloc(4096, (llr_sessions_memory_size(&shape) + 4095) & ~(size_t)4095);
	private_memory = calloc(1, llr_sessions_private_size(&shape));
	memset(memory, 0, llr_sessions_memory_size(&shape));
	llr_sessions_init(&sessions, &shape, memory, private_memory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	free(private_memory);
	return 0;
}

static struct llr_session *open_one(uint16_t port, uint16_t window, uint32_t max_message,
				    unsigned int kind)
{
	struct llr_peer peer = {.address = {.ip = {1}, .port = port, .family = 2}, .mtu = 1472};
	struct llr_session_wish wish = {
		.peer = &peer,
		.random = (uint64_t)port << 32,
		.nonce = 77,
		.window = window,
		.max_message = max_message,
		.window_max = 1024,
		.max_message_max = 65536,
		.kind = (uint8_t)kind,
	};

	return llr_sessions_open(&sessions, &wish);
}

static void test_windows(void **state)
{
	static const uint16_t asked[] = {0, 1, 2, 3, 63, 64, 100, 1000, 1024, 65535};
	static const uint32_t granted[] = {64, 1, 2, 2, 32, 64, 64, 512, 1024, 1024};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct llr_session *session = open_one(1, asked[i], 16, LLR_SESSION_DATAGRAM);

		assert_int_equal(session->window, granted[i]);
		llr_sessions_close(&sessions, session);
	}
}

static void test_found_by_id_and_address(void **state)
{
	struct llr_session *a = open_one(1, 64, 1024, LLR_SESSION_DATAGRAM);
	struct llr_session *b = open_one(2, 64, 1024, LLR_SESSION_DATAGRAM);
	uint64_t id = a->id;

	(void)state;
	assert_int_not_equal(id, 0);
	assert_ptr_equal(llr_sessions_find(&sessions, id), a);
	assert_ptr_equal(llr_sessions_find(&sessions, b->id), b);
	assert_null(llr_sessions_find(&sessions, id ^ (UINT64_C(1) << 40)));
	assert_null(llr_sessions_find(&sessions, 0));
	assert_null(llr_sessions_find(&sessions, UINT64_MAX));
	assert_ptr_equal(llr_sessions_find_address(&sessions, 0, &b->peer->address), b);
	assert_null(llr_sessions_find_address(&sessions, 1, &b->peer->address));
	llr_sessions_close(&sessions, a);
	assert_null(llr_sessions_find(&sessions, id));
	assert_int_equal(sessions.open_count, 1);
}

static void test_running_out(void **state)
{
	struct llr_session *first = open_one(1, 1024, 65536, LLR_SESSION_DATAGRAM);
	struct llr_session *second = open_one(2, 1024, 65536, LLR_SESSION_DATAGRAM);
	unsigned int open = 2;

	(void)state;
	assert_int_equal(first->window, 1024);
	assert_true(second->window < 1024); /* halved until it fits */
	while (open_one((uint16_t)(open + 1), 64, 16, LLR_SESSION_DATAGRAM) != NULL)
		open++;
	assert_int_equal(sessions.open_count, open);
	assert_true(open < 8 || shape.count == 8);
	llr_sessions_close(&sessions, first);
	assert_non_null(open_one(99, 64, 65536, LLR_SESSION_DATAGRAM));
}

static void test_slot_life(void **state)
{
	struct llr_session *session = open_one(1, 4, 1024, LLR_SESSION_DATAGRAM);
	struct llr_slot_answer answer = {
		.payload = (const uint8_t *)"reply", .size = 5, .status = 200, .keep = true};
	const struct llr_slot *slot = llr_session_slot(session, 6);

	(void)state;
	assert_int_equal(llr_slot_judge(session, 6, false), LLR_RUN);
	llr_slot_begin(session, 6, 1, 0);
	assert_int_equal(llr_slot_judge(session, 6, false), LLR_IN_PROGRESS);
	assert_int_equal(llr_slot_judge(session, 6, true), LLR_IN_PROGRESS);
	assert_int_equal(llr_slot_judge(session, 2, false), LLR_STALE);
	assert_int_equal(llr_slot_judge(session, 10, false), LLR_RUN);
	assert_int_equal(llr_slot_judge(session, 7, false), LLR_RUN); /* another slot */
	llr_slot_settle(session, 6, &answer);
	assert_int_equal(llr_slot_judge(session, 6, true), LLR_REMEMBERED);
	assert_memory_equal(llr_replies_find(&session->datagram->replies,
					     session->datagram->replies_bytes, slot->reply_at,
					     slot->reply_size),
			    "reply", 5);
	assert_int_equal(llr_slot_judge(session, 2, true), LLR_STALE);
	/* A newer one in the slot: the old one is stale from now on. */
	llr_slot_begin(session, 10, 1, LLR_SLOT_IDEMPOTENT);
	assert_false(llr_slot_is_newest(session, 6));
	assert_int_equal(llr_slot_judge(session, 6, false), LLR_STALE);
	answer.keep = false;
	llr_slot_settle(session, 10, &answer);
	assert_int_equal(llr_slot_judge(session, 10, true), LLR_RERUN);
	assert_int_equal(llr_slot_judge(session, 10, false), LLR_FORGOTTEN);
	/* 429 and 503 do not settle. */
	llr_slot_reopen(session, 14);
	assert_int_equal(llr_slot_judge(session, 14, false), LLR_RUN);
	assert_int_equal(llr_slot_judge(session, 10, false), LLR_STALE);
}

static void test_stream_slots(void **state)
{
	struct llr_session *session = open_one(1, 4, 1024, LLR_SESSION_STREAM);

	(void)state;
	assert_int_equal(llr_slot_judge(session, 0, false), LLR_RUN);
	llr_slot_begin(session, 0, 1, 0);
	assert_int_equal(llr_slot_judge(session, 0, true), LLR_STALE);
	assert_int_equal(llr_slot_judge(session, 4, false), LLR_RUN);
	llr_slot_begin(session, 4, 1, 0);
	assert_false(llr_slot_is_newest(session, 0));
	assert_true(llr_slot_is_newest(session, 4));
	llr_slot_reopen(session, 8);
	assert_int_equal(llr_slot_judge(session, 8, false), LLR_RUN);
	assert_int_equal(llr_slot_judge(session, 4, false), LLR_STALE);
	llr_slot_begin(session, UINT64_MAX, 1, 0);
	assert_true(llr_slot_is_newest(session, UINT64_MAX));
}

/* Entries of all sizes: the newest are there, the displaced are gone, none is another's. */
static void test_remembered_replies(void **state)
{
	enum { CAPACITY = 1024, COUNT = 3000 };
	static uint8_t bytes[CAPACITY];
	static uint64_t places[COUNT];
	static uint32_t sizes[COUNT];
	struct llr_replies replies;
	uint8_t payload[CAPACITY];

	(void)state;
	llr_replies_init(&replies, CAPACITY);
	for (uint32_t i = 0; i < COUNT; i++) {
		sizes[i] = (i * 37U) % 301U;
		memset(payload, (int)(i % 251U), sizes[i]);
		assert_true(llr_replies_keep(&replies, bytes, payload, sizes[i], &places[i]));
		for (uint32_t k = i >= 3 ? i - 3 : 0; k <= i; k++) {
			const uint8_t *found =
				llr_replies_find(&replies, bytes, places[k], sizes[k]);

			if (k == i)
				assert_non_null(found);
			for (uint32_t b = 0; found != NULL && b < sizes[k]; b++)
				assert_int_equal(found[b], k % 251U);
		}
		assert_true(llr_replies_check(&replies, bytes, CAPACITY));
	}
	assert_null(llr_replies_find(&replies, bytes, places[0], sizes[0]));
	assert_false(llr_replies_keep(&replies, bytes, payload, CAPACITY - 15, &places[0]));
	assert_true(llr_replies_keep(&replies, bytes, payload, CAPACITY - 16, &places[0]));
	/* A slot that lies about its size reads nothing beyond. */
	assert_null(llr_replies_find(&replies, bytes, places[0], CAPACITY - 15));
	assert_null(llr_replies_find(&replies, bytes, places[0], UINT32_MAX));
}

static void test_recovery(void **state)
{
	struct llr_session *a = open_one(1, 8, 1024, LLR_SESSION_DATAGRAM);
	struct llr_session *lane = open_one(0, 8, 1024, LLR_SESSION_LANE);
	struct llr_slot_answer answer = {
		.payload = (const uint8_t *)"kept", .size = 4, .status = 200, .keep = true};
	uint64_t id = a->id;

	(void)state;
	llr_slot_begin(a, 3, 1, 0);
	llr_slot_settle(a, 3, &answer);
	llr_slot_begin(a, 4, 2, 0);
	memset(private_memory, 0, llr_sessions_private_size(&shape));
	assert_int_equal(llr_sessions_recover(&sessions, &shape, memory, private_memory), 2);
	a = llr_sessions_find(&sessions, id);
	assert_non_null(a);
	assert_int_equal(llr_slot_judge(a, 3, false), LLR_REMEMBERED);
	assert_int_equal(llr_session_slot(a, 4)->state, LLR_SLOT_RUNNING);
	assert_ptr_equal(llr_sessions_find_address(&sessions, 0, &a->peer->address), a);
	assert_true(lane->recovering);
	assert_null(lane->peer);
	/* Its pages are taken: what opens now has others. */
	assert_int_not_equal(open_one(5, 8, 1024, LLR_SESSION_DATAGRAM)->page_first, a->page_first);
}

/* A worker that died may have written anything: whatever a table says, recovery stands. */
static void test_recovery_of_garbage(void **state)
{
	size_t size = llr_sessions_memory_size(&shape);
	uint8_t *bytes = memory;
	uint64_t random = 42;

	for (unsigned int round = 0; round < 2000; round++) {
		(void)open_one(1, 8, 1024, LLR_SESSION_DATAGRAM);
		(void)open_one(2, 16, 4096, LLR_SESSION_DATAGRAM);
		(void)open_one(0, 8, 1024, LLR_SESSION_LANE);
		for (unsigned int i = 0; i < 12; i++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
			/* Mostly the records, sometimes what lies in the pages. */
			bytes[(random >> 33) % (i < 9 ? 8 * sizeof(struct llr_session) : size)] =
				(uint8_t)(random >> 24);
		}
		memset(private_memory, 0, llr_sessions_private_size(&shape));
		(void)llr_sessions_recover(&sessions, &shape, memory, private_memory);
		for (uint32_t i = 0; i < shape.count; i++) {
			struct llr_session *session = &sessions.items[i];

			for (uint64_t k = 0; session->id != 0 && k < session->window; k++) {
				struct llr_slot *slot = llr_session_slot(session, k);

				if (llr_slot_judge(session, slot->sequence, true) == LLR_REMEMBERED)
					assert_non_null(
						llr_replies_find(&session->datagram->replies,
								 session->datagram->replies_bytes,
								 slot->reply_at, slot->reply_size));
			}
			if (session->id != 0)
				llr_sessions_close(&sessions, session);
		}
		(void)teardown(state);
		(void)setup(state);
		bytes = memory;
	}
}

static void test_cookies(void **state)
{
	static const uint8_t key[16] = {1, 2, 3};
	static const uint8_t other_key[16] = {1, 2, 4};
	struct llr_address address = {.ip = {10}, .port = 99, .family = 2};
	struct llr_address other = address;
	uint64_t now_ns = 12345678901234U;
	uint64_t cookie = llr_cookie_make(key, &address, 0, now_ns);

	(void)state;
	assert_int_not_equal(cookie, 0);
	assert_true(llr_cookie_check(key, &address, 0, now_ns, cookie));
	assert_true(llr_cookie_check(key, &address, 0, now_ns + LLR_COOKIE_PERIOD_NS, cookie));
	assert_false(llr_cookie_check(key, &address, 0, now_ns + 2 * LLR_COOKIE_PERIOD_NS, cookie));
	assert_false(llr_cookie_check(key, &address, 0, now_ns, cookie ^ 1));
	assert_false(llr_cookie_check(key, &address, 0, now_ns, 0));
	assert_false(llr_cookie_check(key, &address, 1, now_ns, cookie));
	assert_false(llr_cookie_check(other_key, &address, 0, now_ns, cookie));
	other.port = 100;
	assert_false(llr_cookie_check(key, &other, 0, now_ns, cookie));
	other = address;
	other.ip[15] = 1;
	assert_false(llr_cookie_check(key, &other, 0, now_ns, cookie));
	assert_int_not_equal(llr_cookie_random(key, 1, 1), llr_cookie_random(key, 1, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_found_by_id_and_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_running_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slot_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_slots, setup, teardown),
		cmocka_unit_test(test_remembered_replies),
		cmocka_unit_test_setup_teardown(test_recovery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_of_garbage, setup, teardown),
		cmocka_unit_test(test_cookies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
