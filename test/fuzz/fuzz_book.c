/* SPDX-License-Identifier: MIT */
/*
 * Fuzz: messages for a small book, each with its size before it in one byte. Behind them all, the
 * levels of every stock that was named must fall in price, have shares and orders, begin with what
 * the record says, and hold as many orders together as live.
 */
#include "service/book.h"

#include "base/bytes.h"

#include <stdlib.h>

#define ORDERS 24U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t seen[65536]; /* stocks that were named; cleared again by check_all */

/* A block of exactly that size, so that the sanitizer sees one byte too far. */
static void apply(struct llr_book *book, const uint8_t *bytes, uint32_t size)
{
	uint8_t *message = malloc(size > 0 ? size : 1);
	unsigned int anomalies;

	if (message == NULL)
		return;
	memcpy(message, bytes, size);
	anomalies = llr_book_apply(book, message, size);
	if (anomalies != 0 && llr_book_reason(anomalies) == NULL)
		abort();
	if (size >= 3)
		seen[llr_be16_load(message + 1)] = 1;
	free(message);
}

static uint64_t check_side(const struct llr_book *book, uint16_t locate, enum llr_side_kind kind)
{
	const struct llr_level *level = llr_book_best(book, locate, kind);
	uint8_t record[LLR_BOOK_RECORD_SIZE];
	uint64_t orders = 0;

	llr_book_record(book, locate, record);
	if (llr_le32_load(record + 8 + 4 * (uint32_t)kind) != (level != NULL ? level->price : 0) ||
	    llr_le64_load(record + 16 + 8 * (uint32_t)kind) != (level != NULL ? level->shares : 0))
		abort();
	while (level != NULL) {
		const struct llr_level *next = llr_book_next(book, level);

		if (level->shares < level->orders || level->orders == 0)
			abort();
		if (next != NULL && (kind == LLR_SIDE_BUY ? next->price >= level->price
							  : next->price <= level->price))
			abort();
		orders += level->orders;
		level = next;
	}
	return orders;
}

static void check_all(const struct llr_book *book)
{
	uint64_t orders = 0;

	for (uint32_t locate = 0; locate < sizeof(seen); locate++) {
		if (!seen[locate])
			continue;
		orders += check_side(book, (uint16_t)locate, LLR_SIDE_BUY);
		orders += check_side(book, (uint16_t)locate, LLR_SIDE_SELL);
		seen[locate] = 0;
	}
	if (orders != llr_book_live_orders(book) || orders > ORDERS)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct llr_book *book;
	size_t at = 0;

	if (llr_book_open(&book, ORDERS, NULL, NULL) != 0)
		return 0;
	while (at < size) {
		uint32_t message_size = bytes[at++];

		if (message_size > size - at)
			message_size = (uint32_t)(size - at);
		apply(book, bytes + at, message_size);
		at += message_size;
	}
	check_all(book);
	llr_book_close(book);
	return 0;
}
