/* SPDX-License-Identifier: MIT */
/*
 * The book: each rule of its policy, real and synthetic days against an independent reference,
 * hostile messages against a naive book, and shapes of price levels that strain the trees.
 *
 * Takes the folder of the replayed files (see itch_data.py) as its argument.
 */
#include "service/book.h"

#include "base/bytes.h"
#include "naive_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define BIT(kind) (1U << LLR_BOOK_##kind)

static const char *folder;
static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint32_t random_below(uint32_t bound)
{
	return (uint32_t)((random_next() >> 16) % bound);
}

static struct llr_book *book_with(uint32_t orders)
{
	struct llrph_error error = {0};
	struct llr_book *book = NULL;

	assert_int_equal(llr_book_open(&book, orders, NULL, &error), 0);
	assert_non_null(book);
	return book;
}

/* Messages, in the feed's own bytes. */

static uint32_t head(uint8_t *message, char type, uint16_t locate, uint64_t reference)
{
	memset(message, 0, LLR_ITCH_SIZE_MAX);
	message[0] = (uint8_t)type;
	llr_be16_store(message + 1, locate);
	llr_be64_store(message + 11, reference);
	return 0;
}

static unsigned int add(struct llr_book *book, uint16_t locate, uint64_t reference, char side,
			uint32_t shares, uint32_t price)
{
	uint8_t message[LLR_ITCH_SIZE_MAX];

	head(message, 'A', locate, reference);
	message[19] = (uint8_t)side;
	llr_be32_store(message + 20, shares);
	llr_be32_store(message + 32, price);
	return llr_book_apply(book, message, 36);
}

static unsigned int take(struct llr_book *book, char type, uint16_t locate, uint64_t reference,
			 uint32_t shares)
{
	uint8_t message[LLR_ITCH_SIZE_MAX];

	head(message, type, locate, reference);
	llr_be32_store(message + 19, shares);
	return llr_book_apply(book, message, type == 'E' ? 31 : type == 'C' ? 36 : 23);
}

static unsigned int drop(struct llr_book *book, uint16_t locate, uint64_t reference)
{
	uint8_t message[LLR_ITCH_SIZE_MAX];

	head(message, 'D', locate, reference);
	return llr_book_apply(book, message, 19);
}

static unsigned int replace(struct llr_book *book, uint64_t old, uint64_t new, uint32_t shares,
			    uint32_t price)
{
	uint8_t message[LLR_ITCH_SIZE_MAX];

	head(message, 'U', 1, old);
	llr_be64_store(message + 19, new);
	llr_be32_store(message + 27, shares);
	llr_be32_store(message + 31, price);
	return llr_book_apply(book, message, 35);
}

/* What the record of a stock says. */
static void assert_top(const struct llr_book *book, uint16_t locate, uint32_t bid,
		       uint64_t bid_shares, uint32_t ask, uint64_t ask_shares)
{
	uint8_t record[LLR_BOOK_RECORD_SIZE];

	memset(record, 0xff, sizeof(record));
	llr_book_record(book, locate, record);
	assert_int_equal(llr_le16_load(record), locate);
	assert_int_equal(llr_le16_load(record + 2), 200);
	assert_int_equal(llr_le32_load(record + 4), 0);
	assert_int_equal(llr_le32_load(record + 8), bid);
	assert_int_equal(llr_le32_load(record + 12), ask);
	assert_true(llr_le64_load(record + 16) == bid_shares);
	assert_true(llr_le64_load(record + 24) == ask_shares);
	assert_true(llr_le64_load(record + 32) == llr_book_live_orders(book));
}

static void test_orders(void **state)
{
	struct llr_book *book = book_with(100);

	(void)state;
	assert_top(book, 1, 0, 0, 0, 0);
	assert_int_equal(add(book, 1, 10, 'B', 100, 5000), 0);
	assert_int_equal(add(book, 1, 11, 'B', 50, 5000), 0);
	assert_int_equal(add(book, 1, 12, 'B', 7, 4999), 0);
	assert_int_equal(add(book, 1, 13, 'S', 30, 5002), 0);
	assert_int_equal(add(book, 1, 14, 'S', 40, 5001), 0);
	assert_int_equal(add(book, 65535, 15, 'S', 1, UINT32_MAX), 0);
	assert_top(book, 1, 5000, 150, 5001, 40);
	assert_top(book, 65535, 0, 0, UINT32_MAX, 1);
	assert_int_equal(take(book, 'E', 1, 10, 60), 0);
	assert_top(book, 1, 5000, 90, 5001, 40);
	/* What C printed at another price leaves from the order's own. */
	assert_int_equal(take(book, 'C', 1, 14, 10), 0);
	assert_int_equal(take(book, 'X', 1, 14, 5), 0);
	assert_top(book, 1, 5000, 90, 5001, 25);
	assert_int_equal(take(book, 'E', 1, 14, 25), 0);
	assert_top(book, 1, 5000, 90, 5002, 30);
	/* A replace keeps side and stock. */
	assert_int_equal(replace(book, 10, 20, 500, 5003), 0);
	assert_top(book, 1, 5003, 500, 5002, 30);
	assert_int_equal(replace(book, 20, 20, 1, 4000), 0);
	assert_top(book, 1, 5000, 50, 5002, 30);
	assert_int_equal(drop(book, 1, 11), 0);
	assert_int_equal(drop(book, 1, 12), 0);
	assert_int_equal(drop(book, 1, 13), 0);
	assert_top(book, 1, 4000, 1, 0, 0);
	assert_int_equal(llr_book_live_orders(book), 2);
	assert_int_equal(llr_book_live_orders_max(book), 6);
	llr_book_close(book);
}

static void test_policy(void **state)
{
	static const uint8_t unknown[] = {'Z', 0, 1};
	struct llr_book *book = book_with(3);

	(void)state;
	assert_int_equal(llr_book_apply(book, unknown, 3), BIT(UNKNOWN_TYPE));
	assert_int_equal(llr_book_apply(book, unknown, 0), BIT(WRONG_LENGTH));
	assert_int_equal(llr_book_apply(book, (const uint8_t *)"A", 1), BIT(WRONG_LENGTH));
	assert_int_equal(add(book, 1, 10, 'b', 1, 1), BIT(UNKNOWN_SIDE));
	assert_int_equal(take(book, 'E', 1, 10, 1), BIT(UNKNOWN_REF));
	assert_int_equal(drop(book, 1, 10), BIT(UNKNOWN_REF));
	assert_int_equal(replace(book, 10, 11, 1, 1), BIT(UNKNOWN_REF));
	assert_int_equal(add(book, 1, 10, 'B', 0, 1), BIT(ZERO_SHARES));
	assert_int_equal(llr_book_live_orders(book), 0);

	assert_int_equal(add(book, 1, 10, 'B', 5, 100), 0);
	assert_int_equal(add(book, 1, 10, 'S', 9, 900), BIT(DUPLICATE_REF));
	assert_top(book, 1, 100, 5, 0, 0);
	assert_int_equal(add(book, 1, 11, 'B', 6, 101), 0);
	/* The old one goes, the new one doesn't come. */
	assert_int_equal(replace(book, 11, 10, 7, 102), BIT(DUPLICATE_REF));
	assert_top(book, 1, 100, 5, 0, 0);
	assert_int_equal(add(book, 1, 11, 'B', 6, 101), 0);
	assert_int_equal(replace(book, 11, 12, 0, 102), BIT(ZERO_SHARES));
	assert_top(book, 1, 100, 5, 0, 0);
	assert_int_equal(add(book, 1, 11, 'S', 6, 101), 0);
	assert_int_equal(take(book, 'X', 1, 11, 7), BIT(OVER_SIZE));
	assert_top(book, 1, 100, 5, 0, 0);

	/* In the order's book, whatever stock the message names. */
	assert_int_equal(take(book, 'E', 2, 10, 1), BIT(LOCATE_DIFFERS));
	assert_top(book, 1, 100, 4, 0, 0);
	assert_top(book, 2, 0, 0, 0, 0);
	assert_int_equal(take(book, 'E', 2, 10, 9), BIT(LOCATE_DIFFERS) | BIT(OVER_SIZE));
	assert_top(book, 1, 0, 0, 0, 0);

	for (uint64_t reference = 1; reference <= 3; reference++)
		assert_int_equal(add(book, 1, reference, 'B', 1, (uint32_t)reference), 0);
	assert_int_equal(add(book, 1, 4, 'B', 1, 4), BIT(FULL));
	assert_int_equal(replace(book, 3, 4, 1, 4), 0);
	assert_top(book, 1, 4, 1, 0, 0);

	assert_true(llr_book_anomaly_count(book, LLR_BOOK_UNKNOWN_REF) == 3);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_WRONG_LENGTH) == 2);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_UNKNOWN_TYPE) == 1);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_UNKNOWN_SIDE) == 1);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_OVER_SIZE) == 2);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_ZERO_SHARES) == 2);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_DUPLICATE_REF) == 2);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_FULL) == 1);
	assert_true(llr_book_anomaly_count(book, LLR_BOOK_LOCATE_DIFFERS) == 2);
	assert_string_equal(llr_book_reason(BIT(LOCATE_DIFFERS) | BIT(OVER_SIZE)),
			    llr_book_reason(BIT(OVER_SIZE)));
	llr_book_close(book);
}

static void test_totals_above_32_bits(void **state)
{
	struct llr_book *book = book_with(4);

	(void)state;
	for (uint64_t reference = 1; reference <= 4; reference++)
		assert_int_equal(add(book, 7, reference, 'S', UINT32_MAX, 0), 0);
	assert_top(book, 7, 0, 0, 0, UINT64_C(4) * UINT32_MAX);
	assert_int_equal(take(book, 'E', 7, 2, UINT32_MAX - 1), 0);
	assert_top(book, 7, 0, 0, 0, UINT64_C(3) * UINT32_MAX + 1);
	llr_book_close(book);
}

/* The files. */

struct replay {
	struct llr_book *book;
	uint8_t *feed;
	size_t size;
	uint64_t messages;
	uint64_t changes;
	crypto_hash_sha256_state hash;
	uint8_t tops[65536][24]; /* prices and shares of each stock's last record */
};

static uint8_t *file_read(const char *name, size_t *size)
{
	char path[512];
	uint8_t *bytes;
	FILE *file;
	long end;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	end = ftell(file);
	assert_true(end > 0);
	rewind(file);
	bytes = malloc((size_t)end + 1);
	assert_non_null(bytes);
	*size = fread(bytes, 1, (size_t)end, file);
	assert_int_equal(*size, end);
	bytes[*size] = '\0';
	fclose(file);
	return bytes;
}

static void replay_note_change(struct replay *replay, uint16_t locate)
{
	uint8_t record[LLR_BOOK_RECORD_SIZE];
	char line[128];
	int size;

	llr_book_record(replay->book, locate, record);
	if (memcmp(replay->tops[locate], record + 8, 24) == 0)
		return;
	memcpy(replay->tops[locate], record + 8, 24);
	replay->changes++;
	size = snprintf(line, sizeof(line), "%llu %u %u %llu %u %llu\n",
			(unsigned long long)replay->messages, locate, llr_le32_load(record + 8),
			(unsigned long long)llr_le64_load(record + 16), llr_le32_load(record + 12),
			(unsigned long long)llr_le64_load(record + 24));
	crypto_hash_sha256_update(&replay->hash, (const uint8_t *)line, (unsigned long long)size);
}

static void replay_feed(struct replay *replay)
{
	size_t at = 0;

	while (at + 2 <= replay->size) {
		const uint8_t *message = replay->feed + at + 2;
		uint16_t size = llr_be16_load(replay->feed + at);

		assert_true(size > 0 && at + 2 + size <= replay->size);
		replay->messages++;
		llr_book_apply(replay->book, message, size);
		if (strchr("AFECXDU", message[0]) != NULL)
			replay_note_change(replay, llr_be16_load(message + 1));
		at += 2U + size;
	}
	assert_int_equal(at, replay->size);
}

static void assert_side(const struct llr_book *book, unsigned int locate, char side,
			const unsigned long long *expected)
{
	const struct llr_level *level =
		llr_book_best(book, (uint16_t)locate, side == 'B' ? LLR_SIDE_BUY : LLR_SIDE_SELL);
	uint64_t levels = 0;
	uint64_t orders = 0;
	uint64_t shares = 0;

	for (; level != NULL; level = llr_book_next(book, level)) {
		levels++;
		orders += level->orders;
		shares += level->shares;
	}
	assert_true(levels == expected[0]);
	assert_true(orders == expected[1]);
	assert_true(shares == expected[2]);
}

/* The level lines follow their side's, best first: level is the next one to come. */
static bool assert_book_line(const struct llr_book *book, const char *line,
			     const struct llr_level **level)
{
	unsigned long long values[3];
	unsigned int locate;
	char side;

	if (sscanf(line, "side %u %c %llu %llu %llu", &locate, &side, &values[0], &values[1],
		   &values[2]) == 5) {
		assert_side(book, locate, side, values);
		*level = llr_book_best(book, (uint16_t)locate,
				       side == 'B' ? LLR_SIDE_BUY : LLR_SIDE_SELL);
		return true;
	}
	if (sscanf(line, "level %u %c %llu %llu %llu", &locate, &side, &values[0], &values[1],
		   &values[2]) == 5) {
		assert_non_null(*level);
		assert_true((*level)->price == values[0]);
		assert_true((*level)->shares == values[1]);
		assert_true((*level)->orders == values[2]);
		*level = llr_book_next(book, *level);
		return true;
	}
	return false;
}

static uint64_t count_of_letter(const struct llr_book *book, char letter)
{
	for (unsigned int i = 0; i < LLR_ITCH_TYPE_COUNT; i++) {
		if (llr_itch_letter((enum llr_itch_type)i) == letter)
			return llr_book_type_count(book, (enum llr_itch_type)i);
	}
	return 0;
}

static void assert_count_line(struct replay *replay, const char *line)
{
	unsigned long long count;
	uint8_t digest[crypto_hash_sha256_BYTES];
	char hex[2 * sizeof(digest) + 1];
	char expected[sizeof(hex)];
	char letter;

	if (sscanf(line, "type %c %llu", &letter, &count) == 2) {
		assert_true(count_of_letter(replay->book, letter) == count);
		replay->messages -= count;
	} else if (sscanf(line, "anomaly unknown_ref %llu", &count) == 1) {
		assert_true(llr_book_anomaly_count(replay->book, LLR_BOOK_UNKNOWN_REF) == count);
	} else if (sscanf(line, "live %llu", &count) == 1) {
		assert_true(llr_book_live_orders(replay->book) == count);
	} else if (sscanf(line, "live_max %llu", &count) == 1) {
		assert_true(llr_book_live_orders_max(replay->book) == count);
	} else if (sscanf(line, "changes %llu", &count) == 1) {
		assert_true(replay->changes == count);
	} else if (sscanf(line, "sha %64s", expected) == 1) {
		crypto_hash_sha256_final(&replay->hash, digest);
		sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
		assert_string_equal(hex, expected);
	} else {
		fail_msg("a fact that this test does not know: %s", line);
	}
}

static void assert_facts(struct replay *replay, const char *name)
{
	const struct llr_level *level = NULL;
	size_t size;
	char *facts = (char *)file_read(name, &size);
	char *rest = facts;
	unsigned int lines = 0;

	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		if (line[0] == '\0')
			continue;
		lines++;
		if (!assert_book_line(replay->book, line, &level))
			assert_count_line(replay, line);
	}
	assert_true(lines > 20);
	/* All messages are of the types expected. */
	assert_true(replay->messages == 0);
	free(facts);
}

static void replay_file(const char *feed, const char *facts, uint64_t anomalies)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	uint64_t seen = 0;

	assert_non_null(replay);
	replay->book = book_with(LLR_BOOK_ORDERS_DEFAULT);
	replay->feed = file_read(feed, &replay->size);
	crypto_hash_sha256_init(&replay->hash);
	replay_feed(replay);
	assert_facts(replay, facts);
	for (unsigned int kind = 0; kind <= LLR_BOOK_LOCATE_DIFFERS; kind++)
		seen += llr_book_anomaly_count(replay->book, (enum llr_book_anomaly)kind);
	assert_true(seen == anomalies);
	llr_book_close(replay->book);
	free(replay->feed);
	free(replay);
}

static void test_sample(void **state)
{
	(void)state;
	replay_file("sample.itch", "sample.txt", 117);
}

static void test_day(void **state)
{
	(void)state;
	replay_file("day.itch", "day.txt", 0);
}

/* Hostile messages. */

static uint32_t pick(const uint32_t *values, size_t count)
{
	return values[random_below((uint32_t)count)];
}
#define PICK(values) pick(values, sizeof(values) / sizeof((values)[0]))

static uint32_t hostile_price(uint32_t spread)
{
	static const uint32_t edges[] = {0, 1, 0x7fffffff, 0x80000000, UINT32_MAX - 1, UINT32_MAX};

	return random_below(8) == 0 ? PICK(edges) : 1000000 + random_below(spread) * 100;
}

static uint32_t hostile_message(uint8_t *message, uint32_t references, uint32_t spread)
{
	static const char types[] = "AAAAAFUUUEECXXDDPZ";
	static const uint32_t sizes[] = {36, 36, 36, 36, 36, 40, 35, 35, 35,
					 31, 31, 36, 23, 23, 19, 19, 44, 20};
	static const uint32_t locates[] = {0, 1, 1, 1, 65535};
	static const uint32_t shares[] = {0, 1, 1, 2, 100, 100, UINT32_MAX};
	uint32_t kind = random_below(sizeof(types) - 1);
	uint32_t size = random_below(64) == 0 ? random_below(LLR_ITCH_SIZE_MAX + 1) : sizes[kind];

	head(message, types[kind], (uint16_t)PICK(locates), random_below(references));
	if (types[kind] == 'A' || types[kind] == 'F') {
		message[19] = (uint8_t) "BSBSBSBSBS?"[random_below(11)];
		llr_be32_store(message + 20, PICK(shares));
		llr_be32_store(message + 32, hostile_price(spread));
	} else if (types[kind] == 'U') {
		llr_be64_store(message + 19, random_below(references));
		llr_be32_store(message + 27, PICK(shares));
		llr_be32_store(message + 31, hostile_price(spread));
	} else {
		llr_be32_store(message + 19, PICK(shares));
	}
	return size;
}

static void assert_same_levels(const struct llr_book *book, const struct naive_book *naive,
			       uint16_t locate, char side)
{
	const struct llr_level *level =
		llr_book_best(book, locate, side == 'B' ? LLR_SIDE_BUY : LLR_SIDE_SELL);
	struct naive_level expected = naive_book_level(naive, locate, side, NULL);

	while (expected.orders != 0) {
		assert_non_null(level);
		assert_int_equal(level->price, expected.price);
		assert_int_equal(level->orders, expected.orders);
		assert_true(level->shares == expected.shares);
		level = llr_book_next(book, level);
		expected = naive_book_level(naive, locate, side, &expected.price);
	}
	assert_null(level);
}

static void hostile_run(uint64_t seed, uint32_t orders, uint32_t references, uint32_t spread)
{
	static struct naive_book naive;
	struct llr_book *book = book_with(orders);
	uint8_t message[LLR_ITCH_SIZE_MAX];
	uint8_t record[LLR_BOOK_RECORD_SIZE];
	uint8_t expected[LLR_BOOK_RECORD_SIZE];

	print_message("seed %llu\n", (unsigned long long)seed);
	random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	memset(&naive, 0, sizeof(naive));
	naive.count_max = orders;
	for (unsigned int i = 0; i < 8000; i++) {
		uint32_t size = hostile_message(message, references, spread);
		uint16_t locate = llr_be16_load(message + 1);
		unsigned int anomalies = llr_book_apply(book, message, size);

		assert_int_equal(anomalies, naive_book_apply(&naive, message, size));
		llr_book_record(book, locate, record);
		naive_book_record(&naive, locate, expected);
		assert_memory_equal(record, expected, sizeof(record));
		if (i % 1000 == 999) {
			for (size_t at = 0; at < 3; at++) {
				static const uint16_t locates[] = {0, 1, 65535};

				assert_same_levels(book, &naive, locates[at], 'B');
				assert_same_levels(book, &naive, locates[at], 'S');
			}
		}
	}
	llr_book_close(book);
}

static void test_hostile(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		hostile_run(seed, 32, 64, 8);        /* full all the time */
		hostile_run(seed, 1024, 1500, 5000); /* deep trees */
		hostile_run(seed, 1, 4, 2);
	}
}

/* Shapes of price levels. */

static void assert_prices_fall(const struct llr_book *book, uint16_t locate, uint32_t expected)
{
	const struct llr_level *level = llr_book_best(book, locate, LLR_SIDE_BUY);
	uint32_t count = 0;

	while (level != NULL) {
		const struct llr_level *next = llr_book_next(book, level);

		assert_true(next == NULL || next->price < level->price);
		count++;
		level = next;
	}
	assert_int_equal(count, expected);
}

#define MANY 60000U

/* A full store, each order a level of its own, comes and goes in an order of prices. */
static void levels_come_and_go(struct llr_book *book, const uint32_t *come, const uint32_t *go)
{
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(add(book, 3, come[i], 'B', 1, come[i] * 100), 0);
	assert_prices_fall(book, 3, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(drop(book, 3, go[i]), 0);
		if (i % (MANY / 8) == 0)
			assert_prices_fall(book, 3, MANY - i - 1);
	}
	assert_top(book, 3, 0, 0, 0, 0);
}

static void test_many_levels(void **state)
{
	static uint32_t orders[3][MANY];
	struct llr_book *book = book_with(MANY);

	(void)state;
	random_state = 4711;
	for (uint32_t i = 0; i < MANY; i++) {
		orders[0][i] = i + 1;
		orders[1][i] = MANY - i;
		orders[2][i] = i + 1;
	}
	for (uint32_t i = MANY - 1; i > 0; i--) {
		uint32_t other = random_below(i + 1);
		uint32_t held = orders[2][i];

		orders[2][i] = orders[2][other];
		orders[2][other] = held;
	}
	for (size_t come = 0; come < 3; come++) {
		for (size_t go = 0; go < 3; go++)
			levels_come_and_go(book, orders[come], orders[go]);
	}
	llr_book_close(book);
}

/*
 * Trees as thin as they can be made, with the store full: if there were fewer nodes than that
 * takes, it would end in an assertion.
 */
static void test_thin_trees(void **state)
{
	uint32_t orders = 150000; /* more than sides */
	struct llr_book *book = book_with(orders);
	uint64_t reference = 0;

	(void)state;
	for (uint32_t side = 0; side < LLR_SIDE_COUNT; side++, reference++)
		assert_int_equal(
			add(book, (uint16_t)(side / 2), reference, side % 2 ? 'S' : 'B', 1, 1), 0);
	/* The rest grows one tree; then all but each fifth go, again and again. */
	for (unsigned int round = 0; round < 20; round++) {
		uint64_t first = reference;
		uint32_t grown = 0;

		while (llr_book_live_orders(book) < orders) {
			uint32_t price = 2 + round + (uint32_t)(reference - first) * 64;

			assert_int_equal(add(book, 5, reference++, 'B', 1, price), 0);
			grown++;
		}
		for (uint64_t i = first; i < reference; i++) {
			if (i % 5 != 0)
				assert_int_equal(drop(book, 5, i), 0);
		}
		assert_true(grown > 0);
	}
	llr_book_close(book);
}

static void test_memory(void **state)
{
	struct llr_book *book = book_with(LLR_BOOK_ORDERS_DEFAULT);

	(void)state;
	/* 32 MiB of table, 24 bytes a level, 128 a node: as serve prints it. */
	assert_true(llr_book_memory_size(book) > 100U << 20);
	assert_true(llr_book_memory_size(book) < 112U << 20);
	llr_book_close(book);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_totals_above_32_bits),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_day),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many_levels),
		cmocka_unit_test(test_thin_trees),
		cmocka_unit_test(test_memory),
	};

	if (argc != 2 || sodium_init() < 0) {
		fprintf(stderr, "usage: test_book FOLDER\n");
		return 2;
	}
	folder = argv[1];
	return cmocka_run_group_tests_name("book", tests, NULL, NULL);
}
