/* SPDX-License-Identifier: MIT */
/*
 * NASDAQ TotalView-ITCH 5.0 messages, as far as a book needs them: type and length of all of them,
 * the fields of those that bear on orders. All integers of the feed are big-endian.
 *
 *   0      1               3          5                        11
 *   +------+---------------+----------+------------------------+------------------------------+
 *   | type | stock locate  | tracking | ns since midnight (48) | what the type says           |
 *   +------+---------------+----------+------------------------+------------------------------+
 *
 * Pure: any thread, no state, nothing owned. Reads no byte beyond the size it is given.
 */
#ifndef LLR_SERVICE_ITCH_H
#define LLR_SERVICE_ITCH_H

#include <stdint.h>

/*
 * X(name, letter, bytes of the whole message)
 *
 * The first seven bear on orders; the others never touch a book.
 */
/* clang-format off */
#define LLR_ITCH_TABLE(X)                                               \
	X(ADD,             'A', 36)                                     \
	X(ADD_MPID,        'F', 40)                                     \
	X(EXECUTED,        'E', 31)                                     \
	X(EXECUTED_PRICE,  'C', 36)                                     \
	X(CANCEL,          'X', 23)                                     \
	X(DELETE,          'D', 19)                                     \
	X(REPLACE,         'U', 35)                                     \
	X(SYSTEM,          'S', 12)                                     \
	X(DIRECTORY,       'R', 39)                                     \
	X(TRADING,         'H', 25)                                     \
	X(SHORT_SALE,      'Y', 20)                                     \
	X(PARTICIPANT,     'L', 26)                                     \
	X(BREAKER_LEVELS,  'V', 35)                                     \
	X(BREAKER_STATUS,  'W', 12)                                     \
	X(QUOTING,         'K', 28)                                     \
	X(COLLAR,          'J', 35)                                     \
	X(HALT,            'h', 21)                                     \
	X(TRADE,           'P', 44)                                     \
	X(CROSS,           'Q', 40)                                     \
	X(BROKEN,          'B', 19)                                     \
	X(IMBALANCE,       'I', 50)                                     \
	X(INTEREST,        'N', 20)                                     \
	X(DIRECT_LISTING,  'O', 48)
/* clang-format on */

/** enum llr_itch_type - the types, numbered from 0 for tables of counts. */
enum llr_itch_type {
#define LLR_ITCH_ENUM(name, letter, size) LLR_ITCH_##name,
	LLR_ITCH_TABLE(LLR_ITCH_ENUM)
#undef LLR_ITCH_ENUM
};

/* One byte for each type: its size is their number. */
struct llr_itch_types {
#define LLR_ITCH_BYTE(name, letter, size) char name;
	LLR_ITCH_TABLE(LLR_ITCH_BYTE)
#undef LLR_ITCH_BYTE
};
#define LLR_ITCH_TYPE_COUNT ((unsigned int)sizeof(struct llr_itch_types))

#define LLR_ITCH_SIZE_MAX   50U /* I */

enum llr_itch_verdict {
	LLR_ITCH_ORDER,        /* A F E C X D U: all fields are set */
	LLR_ITCH_OTHER,        /* type and locate alone are set */
	LLR_ITCH_WRONG_LENGTH, /* of a known type, or empty: nothing is set */
	LLR_ITCH_UNKNOWN_TYPE, /* nothing is set */
};

/* What the message says, not whether it makes sense: side is whatever byte came. */
struct llr_itch_message {
	uint64_t reference;     /* A F: of the new order; E C X D: of the order; U: of the old */
	uint64_t new_reference; /* U; else 0 */
	uint32_t shares;        /* A F U: of the new order; E C X: taken off; D: 0 */
	uint32_t price;         /* A F U: 1/10000; else 0: the print price of C is no book price */
	uint16_t locate;
	uint8_t side; /* A F; else 0 */
	enum llr_itch_type type;
};

/* Decodes the message of size bytes. */
enum llr_itch_verdict llr_itch_decode(const uint8_t *bytes, uint32_t size,
				      struct llr_itch_message *message);

/* The letter of a type. */
char llr_itch_letter(enum llr_itch_type type);

#endif
