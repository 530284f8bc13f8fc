/* SPDX-License-Identifier: MIT */
/*
 * Books from messages. Thread: the owner's. Owns: orders, levels, counters.
 *
 * A message costs two cache misses where the books are larger than the cache: the order's slot and
 * its level; the sides of its stock are asked for before the first is there.
 */
#include "service/book.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/memory.h"
#include "service/orders.h"

#include <string.h>

/* One byte for each kind: its size is their number. */
struct anomaly_kinds {
#define ANOMALY_BYTE(name, counter, reason) char name;
	LLR_BOOK_ANOMALY_TABLE(ANOMALY_BYTE)
#undef ANOMALY_BYTE
};
#define ANOMALY_COUNT ((unsigned int)sizeof(struct anomaly_kinds))

/* The words: anomalies first, so that they have a name if there is no room for all. */
enum {
	WORD_ANOMALY = 0,
	WORD_LIVE = ANOMALY_COUNT,
	WORD_LIVE_MAX,
	WORD_TYPE,
	WORD_COUNT = WORD_TYPE + LLR_ITCH_TYPE_COUNT,
};

struct llr_book {
	struct llr_orders orders;
	struct llr_levels levels;
	uint64_t *words[WORD_COUNT]; /* each borrows from who gave it, or shares own_words */
	uint64_t own_words[WORD_COUNT];
};

static const char *const anomaly_counters[ANOMALY_COUNT] = {
#define ANOMALY_COUNTER(name, counter, reason) [LLR_BOOK_##name] = (counter),
	LLR_BOOK_ANOMALY_TABLE(ANOMALY_COUNTER)
#undef ANOMALY_COUNTER
};

static const char *const anomaly_reasons[ANOMALY_COUNT] = {
#define ANOMALY_REASON(name, counter, reason) [LLR_BOOK_##name] = (reason),
	LLR_BOOK_ANOMALY_TABLE(ANOMALY_REASON)
#undef ANOMALY_REASON
};

static void word_open(struct llr_book *book, unsigned int word, llr_book_counter_fn counter,
		      const char *name)
{
	uint64_t *given = counter != NULL ? counter(name) : NULL;

	book->words[word] = given != NULL ? given : &book->own_words[word];
}

static void words_open(struct llr_book *book, llr_book_counter_fn counter)
{
	char name[] = "book.type_?";

	for (unsigned int i = 0; i < ANOMALY_COUNT; i++)
		word_open(book, WORD_ANOMALY + i, counter, anomaly_counters[i]);
	word_open(book, WORD_LIVE, counter, "book.live_orders");
	*book->words[WORD_LIVE] = 0; /* a worker that died may have left more: its books are gone */
	word_open(book, WORD_LIVE_MAX, counter, "book.live_orders_max");
	for (unsigned int i = 0; i < LLR_ITCH_TYPE_COUNT; i++) {
		name[sizeof(name) - 2] = llr_itch_letter((enum llr_itch_type)i);
		word_open(book, WORD_TYPE + i, counter, name);
	}
}

int llr_book_open(struct llr_book **opened, uint32_t order_count_max, llr_book_counter_fn counter,
		  struct llrph_error *error)
{
	struct llr_book *book;
	int result;

	LLR_ASSERT(order_count_max >= 1 && order_count_max <= LLR_BOOK_ORDERS_MAX);
	book = llr_memory_map(sizeof(*book), "book: counters");
	if (book == NULL)
		return llr_error_set(error, -ENOMEM, "book: no memory");
	result = llr_orders_open(&book->orders, order_count_max);
	if (result < 0)
		goto fail_orders;
	result = llr_levels_open(&book->levels, order_count_max);
	if (result < 0)
		goto fail_levels;
	words_open(book, counter);
	*opened = book;
	return 0;

fail_levels:
	llr_orders_close(&book->orders);
fail_orders:
	llr_memory_unmap(book, sizeof(*book));
	return llr_error_set(error, result,
			     "book: no memory for %u orders: serve with a smaller book:orders=N",
			     order_count_max);
}

void llr_book_close(struct llr_book *book)
{
	llr_levels_close(&book->levels);
	llr_orders_close(&book->orders);
	llr_memory_unmap(book, sizeof(*book));
}

size_t llr_book_memory_size(const struct llr_book *book)
{
	return sizeof(*book) + llr_orders_memory_size(&book->orders) +
	       llr_levels_memory_size(&book->levels);
}

static unsigned int anomaly(struct llr_book *book, enum llr_book_anomaly kind)
{
	(*book->words[WORD_ANOMALY + kind])++;
	return 1U << kind;
}

static void live_changed(struct llr_book *book)
{
	uint64_t live = book->orders.count;

	*book->words[WORD_LIVE] = live;
	if (live > *book->words[WORD_LIVE_MAX])
		*book->words[WORD_LIVE_MAX] = live;
}

/* Takes shares off an order that has more than these. */
static void order_reduce(struct llr_book *book, struct llr_order *order, uint32_t shares)
{
	struct llr_level *level = llr_level_at(&book->levels, order->level);

	LLR_ASSERT_HOT(order->shares > shares && level->shares > shares);
	order->shares -= shares;
	level->shares -= shares;
}

static void order_remove(struct llr_book *book, struct llr_order *order)
{
	uint32_t index = order->level;
	struct llr_level *level = llr_level_at(&book->levels, index);

	LLR_ASSERT_HOT(level->orders > 0 && level->shares >= order->shares);
	level->shares -= order->shares;
	level->orders--;
	if (level->orders == 0)
		llr_levels_remove(&book->levels, index);
	llr_orders_remove(&book->orders, order);
}

/* Puts an order on a side. Returns the anomalies that kept it off. */
static unsigned int order_add(struct llr_book *book, uint64_t reference, uint32_t side,
			      const struct llr_itch_message *message)
{
	struct llr_order *order;
	struct llr_level *level;
	uint32_t index;

	if (message->shares == 0)
		return anomaly(book, LLR_BOOK_ZERO_SHARES);
	order = llr_orders_slot(&book->orders, reference);
	if (order->level != 0)
		return anomaly(book, LLR_BOOK_DUPLICATE_REF);
	if (book->orders.count == book->orders.count_max)
		return anomaly(book, LLR_BOOK_FULL);
	index = llr_levels_obtain(&book->levels, side, message->price);
	level = llr_level_at(&book->levels, index);
	level->shares += message->shares;
	level->orders++;
	*order = (struct llr_order){
		.reference = reference, .level = index, .shares = message->shares};
	book->orders.count++;
	return 0;
}

static unsigned int apply_add(struct llr_book *book, const struct llr_itch_message *message)
{
	unsigned int anomalies;

	if (message->side != 'B' && message->side != 'S')
		return anomaly(book, LLR_BOOK_UNKNOWN_SIDE);
	anomalies = order_add(book, message->reference,
			      llr_side_index(message->locate,
					     message->side == 'B' ? LLR_SIDE_BUY : LLR_SIDE_SELL),
			      message);
	live_changed(book);
	return anomalies;
}

/* E C X D U: what is done to an order that is there. */
static unsigned int apply_to_order(struct llr_book *book, const struct llr_itch_message *message)
{
	struct llr_order *order = llr_orders_slot(&book->orders, message->reference);
	unsigned int anomalies = 0;
	uint32_t side;

	if (order->level == 0)
		return anomaly(book, LLR_BOOK_UNKNOWN_REF);
	side = llr_level_at(&book->levels, order->level)->side;
	if (side / 2 != message->locate)
		anomalies = anomaly(book, LLR_BOOK_LOCATE_DIFFERS);
	if (message->type == LLR_ITCH_DELETE) {
		order_remove(book, order);
	} else if (message->type == LLR_ITCH_REPLACE) {
		order_remove(book, order);
		anomalies |= order_add(book, message->new_reference, side, message);
	} else if (message->shares < order->shares) {
		order_reduce(book, order, message->shares);
	} else {
		if (message->shares > order->shares)
			anomalies |= anomaly(book, LLR_BOOK_OVER_SIZE);
		order_remove(book, order);
	}
	live_changed(book);
	return anomalies;
}

unsigned int llr_book_apply(struct llr_book *book, const uint8_t *bytes, uint32_t size)
{
	struct llr_itch_message message;

	switch (llr_itch_decode(bytes, size, &message)) {
	case LLR_ITCH_WRONG_LENGTH:
		return anomaly(book, LLR_BOOK_WRONG_LENGTH);
	case LLR_ITCH_UNKNOWN_TYPE:
		return anomaly(book, LLR_BOOK_UNKNOWN_TYPE);
	case LLR_ITCH_OTHER:
		(*book->words[WORD_TYPE + message.type])++;
		return 0;
	case LLR_ITCH_ORDER:
		break;
	}
	(*book->words[WORD_TYPE + message.type])++;
	__builtin_prefetch(&book->levels.sides[llr_side_index(message.locate, LLR_SIDE_BUY)]);
	if (message.type == LLR_ITCH_ADD || message.type == LLR_ITCH_ADD_MPID)
		return apply_add(book, &message);
	return apply_to_order(book, &message);
}

const struct llr_level *llr_book_best(const struct llr_book *book, uint16_t locate,
				      enum llr_side_kind kind)
{
	uint32_t index = book->levels.sides[llr_side_index(locate, kind)].best;

	return index != 0 ? llr_level_at(&book->levels, index) : NULL;
}

const struct llr_level *llr_book_next(const struct llr_book *book, const struct llr_level *level)
{
	uint32_t index = llr_levels_next(&book->levels, (uint32_t)(level - book->levels.levels));

	return index != 0 ? llr_level_at(&book->levels, index) : NULL;
}

void llr_book_record(const struct llr_book *book, uint16_t locate, uint8_t *record)
{
	const struct llr_level *bid = llr_book_best(book, locate, LLR_SIDE_BUY);
	const struct llr_level *ask = llr_book_best(book, locate, LLR_SIDE_SELL);

	llr_le16_store(record, locate);
	llr_le16_store(record + 2, LLRPH_STATUS_OK);
	llr_le32_store(record + 4, 0);
	llr_le32_store(record + 8, bid != NULL ? bid->price : 0);
	llr_le32_store(record + 12, ask != NULL ? ask->price : 0);
	llr_le64_store(record + 16, bid != NULL ? bid->shares : 0);
	llr_le64_store(record + 24, ask != NULL ? ask->shares : 0);
	llr_le64_store(record + 32, book->orders.count);
}

const char *llr_book_reason(unsigned int anomalies)
{
	LLR_ASSERT(anomalies != 0 && anomalies < 1U << ANOMALY_COUNT);
	return anomaly_reasons[__builtin_ctz(anomalies)];
}

uint64_t llr_book_type_count(const struct llr_book *book, enum llr_itch_type type)
{
	LLR_ASSERT(type < LLR_ITCH_TYPE_COUNT);
	return *book->words[WORD_TYPE + type];
}

uint64_t llr_book_anomaly_count(const struct llr_book *book, enum llr_book_anomaly kind)
{
	LLR_ASSERT(kind < ANOMALY_COUNT);
	return *book->words[WORD_ANOMALY + kind];
}

uint64_t llr_book_live_orders(const struct llr_book *book)
{
	return book->orders.count;
}

uint64_t llr_book_live_orders_max(const struct llr_book *book)
{
	return *book->words[WORD_LIVE_MAX];
}
