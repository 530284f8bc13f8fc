/* SPDX-License-Identifier: MIT */
/*
 * A book that nobody can get wrong: a list of orders, looked through from end to end for every
 * question. It reads messages and decides about contradictions by itself, from the specification
 * and the policy of data/itch/README.md, so that the real one can be compared with it.
 */
#ifndef LLR_TEST_NAIVE_BOOK_H
#define LLR_TEST_NAIVE_BOOK_H

#include <stdint.h>

#define NAIVE_ORDERS_MAX 4096U

struct naive_order {
	uint64_t reference;
	uint32_t shares;
	uint32_t price;
	uint16_t locate;
	char side; /* 'B' or 'S' */
};

struct naive_book {
	struct naive_order orders[NAIVE_ORDERS_MAX];
	uint32_t count;
	uint32_t count_max; /* up to NAIVE_ORDERS_MAX */
};

/* Returns the anomalies as llr_book_apply() does. */
unsigned int naive_book_apply(struct naive_book *book, const uint8_t *message, uint32_t size);
/* Fills the 40 bytes of a stock's record. */
void naive_book_record(const struct naive_book *book, uint16_t locate, uint8_t *record);

struct naive_level {
	uint64_t shares;
	uint32_t price;
	uint32_t orders;
};
/* The best level of a side that is worse than a price, or, with after NULL, the best of all;
 * orders is 0 if there is none. */
struct naive_level naive_book_level(const struct naive_book *book, uint16_t locate, char side,
				    const uint32_t *after);

#endif
