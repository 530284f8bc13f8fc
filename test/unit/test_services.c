/* SPDX-License-Identifier: MIT */
/*
 * The built-in services behind their tables: what their handlers answer, what their options take.
 */
#include "service/builtin.h"

#include "base/bytes.h"
#include "fake_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fake_call fake = {.room_size_max = FAKE_ROOM_SIZE};

static int book_set_up(void **state)
{
	struct llrph_error error = {0};

	return llr_builtin_service("book")->open(state, "orders=1000", &error);
}

static int book_tear_down(void **state)
{
	llr_builtin_service("book")->close(*state);
	return 0;
}

static void test_list(void **state)
{
	unsigned int count = 0;

	(void)state;
	for (const struct llrph_service *service; (service = llr_builtin_service_at(count)) != NULL;
	     count++) {
		assert_ptr_equal(llr_builtin_service(service->name), service);
		assert_int_equal(service->abi, LLRPH_SERVICE_ABI);
		assert_int_equal(service->size, sizeof(*service));
		assert_in_range(service->method_count, 1, 256);
	}
	assert_int_equal(count, 2);
	assert_null(llr_builtin_service("nothing"));
	assert_null(llr_builtin_service(""));
}

static void test_echo(void **state)
{
	const struct llrph_service *echo = llr_builtin_service("echo");
	uint8_t payload[FAKE_ROOM_SIZE + 1];

	(void)state;
	memset(payload, 'x', sizeof(payload));
	assert_int_equal(echo->state_kind, LLRPH_STATE_NONE);
	assert_int_equal(echo->methods[0].flags & LLRPH_METHOD_IDEMPOTENT, 0);
	for (uint32_t size = 0; size <= FAKE_ROOM_SIZE; size += 512) {
		memset(fake.room, 0, sizeof(fake.room));
		assert_int_equal(fake_call_run(&fake, echo, "llrph.Echo/Echo", NULL, payload, size),
				 200);
		assert_int_equal(fake.call.reply_size, size);
		assert_memory_equal(fake.room, payload, size);
	}
	assert_int_equal(fake_call_run(&fake, echo, "llrph.Echo/Echo", NULL, NULL, 0), 200);
	assert_int_equal(
		fake_call_run(&fake, echo, "llrph.Echo/Echo", NULL, payload, FAKE_ROOM_SIZE + 1),
		413);
	assert_string_not_equal(fake.reason, "");
}

/* An A message: stock 258, reference 7, 100 shares to buy at 1.2345. */
static void message_add(uint8_t *message)
{
	memset(message, 0, 36);
	message[0] = 'A';
	llr_be16_store(message + 1, 258);
	llr_be64_store(message + 11, 7);
	message[19] = 'B';
	llr_be32_store(message + 20, 100);
	llr_be32_store(message + 32, 12345);
}

static const uint8_t expected_record[40] = {0x02, 0x01, 200, 0, 0, 0, 0, 0, 0x39, 0x30, 0, 0, 0, 0,
					    0,    0,    100, 0, 0, 0, 0, 0, 0,    0,    0, 0, 0, 0,
					    0,    0,    0,   0, 1, 0, 0, 0, 0,    0,    0, 0};

static void test_book(void **state)
{
	const struct llrph_service *book = llr_builtin_service("book");
	uint8_t message[36];
	uint8_t locate[3] = {0x02, 0x01, 0};

	message_add(message);
	assert_int_equal(book->state_kind, LLRPH_STATE_SINGLE);
	assert_true(book->memory_size(*state) > 0);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, message, 36), 200);
	assert_int_equal(fake.call.reply_size, 40);
	assert_memory_equal(fake.room, expected_record, 40);
	memset(fake.room, 0, 40);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Top", *state, locate, 2), 200);
	assert_memory_equal(fake.room, expected_record, 40);
	assert_int_equal(fake_counter("book.type_A"), 1);
	assert_int_equal(fake_counter("book.live_orders"), 1);

	/* The same again contradicts the book. */
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, message, 36), 422);
	assert_string_equal(fake.reason, "a live order has this reference: not added");
	assert_int_equal(fake_counter("book.duplicate_ref"), 1);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, message, 35), 422);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, NULL, 0), 422);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Top", *state, locate, 1), 422);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Top", *state, locate, 3), 422);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Top", *state, NULL, 0), 422);
}

static void test_book_without_room(void **state)
{
	const struct llrph_service *book = llr_builtin_service("book");
	uint8_t message[36];

	message_add(message);
	llr_be64_store(message + 11, 8);
	fake.room_size_max = 39;
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, message, 36), 413);
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Top", *state, "\2\1", 2), 413);
	fake.room_size_max = FAKE_ROOM_SIZE;
	/* It was not applied: so it can be now. */
	assert_int_equal(fake_call_run(&fake, book, "llrph.Book/Apply", *state, message, 36), 200);
}

static void test_book_options(void **state)
{
	static const char *const bad[] = {
		"orders",     "orders=",           "orders=0",
		"orders=-1",  "orders= 5",         "orders=5x",
		"orders=1e6", "orders=67108865",   "orders=99999999999999999999",
		"levels=5",   "orders=1,orders=2",
	};
	const struct llrph_service *book = llr_builtin_service("book");
	struct llrph_error error;
	void *opened = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&error, 0, sizeof(error));
		assert_int_equal(book->open(&opened, bad[i], &error), -EINVAL);
		assert_non_null(strstr(error.text, "orders=N"));
		assert_null(opened);
	}
	assert_int_equal(book->open(&opened, "", &error), 0);
	assert_true(book->memory_size(opened) > 1000000 * sizeof(uint64_t));
	book->close(opened);
	assert_int_equal(book->open(&opened, "orders=1", &error), 0);
	book->close(opened);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_echo),
		cmocka_unit_test_setup_teardown(test_book, book_set_up, book_tear_down),
		cmocka_unit_test_setup_teardown(test_book_without_room, book_set_up,
						book_tear_down),
		cmocka_unit_test(test_book_options),
	};

	return cmocka_run_group_tests_name("services", tests, NULL, NULL);
}
