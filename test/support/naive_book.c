/* SPDX-License-Identifier: MIT */
/*
 * The naive book: see its header. Single thread; owns nothing but the caller's struct.
 */
#include "naive_book.h"

#include "service/book.h"

#include <stddef.h>
#include <string.h>

static uint64_t number(const uint8_t *bytes, unsigned int size)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value = value * 256 + bytes[i];
	return value;
}

static struct naive_order *find(struct naive_book *book, uint64_t reference)
{
	for (uint32_t i = 0; i < book->count; i++) {
		if (book->orders[i].reference == reference)
			return &book->orders[i];
	}
	return NULL;
}

static void forget(struct naive_book *book, struct naive_order *order)
{
	*order = book->orders[--book->count];
}

static unsigned int add(struct naive_book *book, struct naive_order order)
{
	if (order.shares == 0)
		return 1U << LLR_BOOK_ZERO_SHARES;
	if (find(book, order.reference) != NULL)
		return 1U << LLR_BOOK_DUPLICATE_REF;
	if (book->count == book->count_max)
		return 1U << LLR_BOOK_FULL;
	book->orders[book->count++] = order;
	return 0;
}

static uint32_t size_of(int type)
{
	static const char types[] = "SRHYLVWKJhAFECXDUPQBINO";
	static const uint8_t sizes[] = {12, 39, 25, 20, 26, 35, 12, 28, 35, 21, 36, 40,
					31, 36, 23, 19, 35, 44, 40, 19, 50, 20, 48};
	const char *at = type != '\0' ? strchr(types, type) : NULL;

	return at != NULL ? sizes[at - types] : 0;
}

static unsigned int to_order(struct naive_book *book, const uint8_t *message)
{
	struct naive_order *order = find(book, number(message + 11, 8));
	unsigned int anomalies = 0;
	uint32_t shares;

	if (order == NULL)
		return 1U << LLR_BOOK_UNKNOWN_REF;
	if (order->locate != number(message + 1, 2))
		anomalies = 1U << LLR_BOOK_LOCATE_DIFFERS;
	if (message[0] == 'U') {
		struct naive_order next = *order;

		next.reference = number(message + 19, 8);
		next.shares = (uint32_t)number(message + 27, 4);
		next.price = (uint32_t)number(message + 31, 4);
		forget(book, order);
		return anomalies | add(book, next);
	}
	shares = message[0] == 'D' ? order->shares : (uint32_t)number(message + 19, 4);
	if (shares > order->shares) {
		anomalies |= 1U << LLR_BOOK_OVER_SIZE;
		shares = order->shares;
	}
	order->shares -= shares;
	if (order->shares == 0)
		forget(book, order);
	return anomalies;
}

unsigned int naive_book_apply(struct naive_book *book, const uint8_t *message, uint32_t size)
{
	if (size == 0)
		return 1U << LLR_BOOK_WRONG_LENGTH;
	if (size_of(message[0]) == 0)
		return 1U << LLR_BOOK_UNKNOWN_TYPE;
	if (size_of(message[0]) != size)
		return 1U << LLR_BOOK_WRONG_LENGTH;
	if (strchr("ECXDU", message[0]) != NULL)
		return to_order(book, message);
	if (message[0] != 'A' && message[0] != 'F')
		return 0;
	if (message[19] != 'B' && message[19] != 'S')
		return 1U << LLR_BOOK_UNKNOWN_SIDE;
	return add(book, (struct naive_order){
				 .reference = number(message + 11, 8),
				 .shares = (uint32_t)number(message + 20, 4),
				 .price = (uint32_t)number(message + 32, 4),
				 .locate = (uint16_t)number(message + 1, 2),
				 .side = (char)message[19],
			 });
}

struct naive_level naive_book_level(const struct naive_book *book, uint16_t locate, char side,
				    const uint32_t *after)
{
	struct naive_level level = {0};

	for (uint32_t i = 0; i < book->count; i++) {
		const struct naive_order *order = &book->orders[i];

		if (order->locate != locate || order->side != side)
			continue;
		if (after != NULL &&
		    (side == 'B' ? order->price >= *after : order->price <= *after))
			continue;
		if (level.orders == 0 ||
		    (side == 'B' ? order->price > level.price : order->price < level.price))
			level = (struct naive_level){.price = order->price};
		if (order->price == level.price) {
			level.shares += order->shares;
			level.orders++;
		}
	}
	return level;
}

void naive_book_record(const struct naive_book *book, uint16_t locate, uint8_t *record)
{
	struct naive_level bid = naive_book_level(book, locate, 'B', NULL);
	struct naive_level ask = naive_book_level(book, locate, 'S', NULL);
	const struct {
		unsigned int size;
		uint64_t value;
	} fields[] = {{2, locate},    {2, 200},        {4, 0},          {4, bid.price},
		      {4, ask.price}, {8, bid.shares}, {8, ask.shares}, {8, book->count}};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		for (unsigned int byte = 0; byte < fields[i].size; byte++)
			*record++ = (uint8_t)(fields[i].value >> (8 * byte));
	}
}
