/* SPDX-License-Identifier: MIT */
/*
 * Limit order books of all stocks of a day, made from ITCH 5.0 messages.
 *
 * Thread: the owner's. Owns: all memory, taken at open. Invariants: an order is live in exactly one
 * level, and a level's shares and orders are the sums over its orders.
 *
 * A message may contradict the book; what is done then is one policy for all such messages, and
 * each contradiction is counted by its kind:
 *
 *   unknown reference (E C X D U)   ignored; a replace adds nothing
 *   reference live already (A F U)  not added; a replace still removes its old order, so that a
 *                                   replace by its own reference is no contradiction
 *   more shares than remain (E C X) the order is removed, the excess ignored
 *   0 shares (A F U)                not added; a replace still removes its old order
 *   side neither B nor S (A F)      ignored
 *   wrong length, unknown type      ignored
 *   stock locate is not the order's applied to the order, in its own book
 *   no room for one more order      not added
 *
 * Crossed and locked books are left as they are.
 */
#ifndef LLR_SERVICE_BOOK_H
#define LLR_SERVICE_BOOK_H

#include "service/itch.h"
#include "service/levels.h"

#include <llrph/error.h>
#include <stdint.h>

#define LLR_BOOK_ORDERS_DEFAULT 1000000U
#define LLR_BOOK_ORDERS_MAX     (1U << 26) /* 64 Mi: 2 GiB of table, 3.6 GiB of levels and trees */

/* X(name, counter, reason). Where a message is contradictory in two ways, the first one's reason.
 */
/* clang-format off */
#define LLR_BOOK_ANOMALY_TABLE(X)                                                                  \
	X(WRONG_LENGTH,   "book.wrong_length",   "length is not the message type's: ignored")      \
	X(UNKNOWN_TYPE,   "book.unknown_type",   "unknown message type: ignored")                  \
	X(UNKNOWN_SIDE,   "book.unknown_side",   "side is neither B nor S: ignored")               \
	X(UNKNOWN_REF,    "book.unknown_ref",    "no live order has this reference: ignored")      \
	X(OVER_SIZE,      "book.over_size",      "more shares than remain: order removed")         \
	X(ZERO_SHARES,    "book.zero_shares",    "order of 0 shares: not added")                   \
	X(DUPLICATE_REF,  "book.duplicate_ref",  "a live order has this reference: not added")     \
	X(FULL,           "book.full",           "order store full: serve with book:orders=N")     \
	X(LOCATE_DIFFERS, "book.locate_differs", "stock locate is not the order's: applied to the order")
/* clang-format on */

/** enum llr_book_anomaly - the ways in which a message can contradict the book. */
enum llr_book_anomaly {
#define LLR_BOOK_ENUM(name, counter, reason) LLR_BOOK_##name,
	LLR_BOOK_ANOMALY_TABLE(LLR_BOOK_ENUM)
#undef LLR_BOOK_ENUM
};

/*
 * The record that answers a message, 40 bytes, little-endian:
 *
 *   0        2        4          8           12          16            24            32 40
 *   +--------+--------+----------+-----------+-----------+-------------+-------------+------------+
 *   | locate | status | zeros    | bid price | ask price | bid shares  | ask shares  | live orders|
 *   +--------+--------+----------+-----------+-----------+-------------+-------------+------------+
 *
 * status is 200, so that a record kept without its reply says what it is. Prices are 1/10000,
 * shares are all those at the best price; both are 0 where a side is empty. Live orders are those
 * of all books.
 */
#define LLR_BOOK_RECORD_SIZE 40U

struct llr_book;

/* Gives a word to count in, by its name, that somebody reads; NULL: nobody does. */
typedef uint64_t *(*llr_book_counter_fn)(const char *name);

/*
 * Takes memory for order_count_max live orders, 1..LLR_BOOK_ORDERS_MAX. counter may be NULL.
 * 0; -ENOMEM or what getrandom says, with error filled.
 */
int llr_book_open(struct llr_book **opened, uint32_t order_count_max, llr_book_counter_fn counter,
		  struct llrph_error *error);
void llr_book_close(struct llr_book *book);
size_t llr_book_memory_size(const struct llr_book *book);

/* Applies one message. Returns the anomalies as bits, 1 << enum llr_book_anomaly; 0: none. */
unsigned int llr_book_apply(struct llr_book *book, const uint8_t *bytes, uint32_t size);
/* Writes the record of a stock: LLR_BOOK_RECORD_SIZE bytes. */
void llr_book_record(const struct llr_book *book, uint16_t locate, uint8_t *record);

/* The reason for the first of the anomalies, which are not none. */
const char *llr_book_reason(unsigned int anomalies);

/* What was counted. Messages of a type are counted where their length is right. */
uint64_t llr_book_type_count(const struct llr_book *book, enum llr_itch_type type);
uint64_t llr_book_anomaly_count(const struct llr_book *book, enum llr_book_anomaly kind);
uint64_t llr_book_live_orders(const struct llr_book *book);
uint64_t llr_book_live_orders_max(const struct llr_book *book);

/* The best level of a side, and the one next worse than level; NULL: none. */
const struct llr_level *llr_book_best(const struct llr_book *book, uint16_t locate,
				      enum llr_side_kind kind);
const struct llr_level *llr_book_next(const struct llr_book *book, const struct llr_level *level);

#endif
