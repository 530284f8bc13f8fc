/* SPDX-License-Identifier: MIT */
/*
 * The book as a service. Thread: the worker's. Owns: one book, from open to close.
 *
 * llrph.Book/Apply   payload: one ITCH 5.0 message, without BinaryFILE's length before it.
 *                    200: the record of the message's stock. 422: the message contradicts the
 *                    book; the payload is the reason, which says what was done all the same.
 * llrph.Book/Top     payload: stock locate, u16, little-endian. 200: its record.
 *
 * Room for the reply is taken before the message is applied: a request that can't be answered
 * leaves the book as it was.
 */
#include "service/book_service.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "service/book.h"

#include <stdlib.h>
#include <string.h>

static int apply(struct llrph_call *call, void *state)
{
	struct llr_book *book = state;
	uint8_t *room = llrph_call_room(call, LLR_BOOK_RECORD_SIZE);
	const uint8_t *message = call->payload;
	unsigned int anomalies;

	if (room == NULL)
		return llrph_call_reason(call, LLRPH_STATUS_TOO_LARGE, "no room for the reply");
	anomalies = llr_book_apply(book, message, call->payload_size);
	if (anomalies != 0)
		return llrph_call_reason(call, LLRPH_STATUS_UNPROCESSABLE,
					 llr_book_reason(anomalies));
	llr_book_record(book, llr_be16_load(message + 1), room);
	call->reply_size = LLR_BOOK_RECORD_SIZE;
	return LLRPH_STATUS_OK;
}

static int top(struct llrph_call *call, void *state)
{
	const struct llr_book *book = state;
	uint8_t *room;

	if (call->payload_size != sizeof(uint16_t))
		return llrph_call_reason(call, LLRPH_STATUS_UNPROCESSABLE,
					 "payload is not a stock locate of 2 bytes");
	room = llrph_call_room(call, LLR_BOOK_RECORD_SIZE);
	if (room == NULL)
		return llrph_call_reason(call, LLRPH_STATUS_TOO_LARGE, "no room for the reply");
	llr_book_record(book, llr_le16_load(call->payload), room);
	call->reply_size = LLR_BOOK_RECORD_SIZE;
	return LLRPH_STATUS_OK;
}

/* "" or "orders=N". */
static int options_parse(const char *options, uint32_t *orders, struct llrph_error *error)
{
	static const char key[] = "orders=";
	const char *digits = options + sizeof(key) - 1;
	unsigned long long value;
	char *end;

	*orders = LLR_BOOK_ORDERS_DEFAULT;
	if (options[0] == '\0')
		return 0;
	if (strncmp(options, key, sizeof(key) - 1) != 0)
		return llr_error_set(error, -EINVAL,
				     "book: unknown option \"%.64s\": it takes orders=N", options);
	errno = 0;
	value = strtoull(digits, &end, 10);
	if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0 || value < 1 ||
	    value > LLR_BOOK_ORDERS_MAX)
		return llr_error_set(error, -EINVAL,
				     "book: \"%.64s\" is out of range: orders=N takes 1 to %u",
				     options, LLR_BOOK_ORDERS_MAX);
	*orders = (uint32_t)value;
	return 0;
}

static int book_open(void **state, const char *options, struct llrph_error *error)
{
	struct llr_book *book;
	uint32_t orders;
	int result;

	result = options_parse(options, &orders, error);
	if (result < 0)
		return result;
	result = llr_book_open(&book, orders, llrph_service_counter, error);
	if (result < 0)
		return result;
	*state = book;
	return 0;
}

static void book_close(void *state)
{
	llr_book_close(state);
}

static size_t book_memory_size(const void *state)
{
	return llr_book_memory_size(state);
}

static const uint16_t statuses[] = {LLRPH_STATUS_UNPROCESSABLE, 0};

static const struct llrph_method methods[] = {
	{
		.name = "llrph.Book/Apply",
		.handler = apply,
		.reply_size_max = LLR_BOOK_RECORD_SIZE,
		.statuses = statuses,
	},
	{
		.name = "llrph.Book/Top",
		.handler = top,
		.flags = LLRPH_METHOD_IDEMPOTENT,
		.reply_size_max = LLR_BOOK_RECORD_SIZE,
		.statuses = statuses,
	},
};

/* No recover: a book that missed one message is no book, so its clients shall know. */
const struct llrph_service llr_service_book = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "book",
	.state_kind = LLRPH_STATE_SINGLE,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.open = book_open,
	.close = book_close,
	.memory_size = book_memory_size,
};
