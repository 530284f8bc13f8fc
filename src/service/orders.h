/* SPDX-License-Identifier: MIT */
/*
 * Live orders by their reference: one open-addressing hash table, linear probing, at most half
 * full, whose slots are the orders themselves, so that finding one is one cache miss.
 *
 * References come from outside, perhaps from somebody who would like all of them in one place:
 * they are mixed with a random key, so that nobody outside can tell which collide. A feed counts
 * its references up, so that those of one moment are near each other: blocks of 8 are mixed, and
 * stay together in two cache lines. A run of taken slots is so up to 8 times as long as without
 * blocks: some dozens, as the table is half empty.
 *
 * Thread: the owner's. Owns: the table, taken at open. Invariants: slots_mask + 1 is a power of
 * two and at least twice count_max; between an order and its home slot no slot is empty; count is
 * the number of slots taken.
 */
#ifndef LLR_SERVICE_ORDERS_H
#define LLR_SERVICE_ORDERS_H

#include "base/assert.h"

#include <stddef.h>
#include <stdint.h>

#define LLR_ORDERS_MAX        (1U << 26) /* 64 Mi: a table of 2 GiB */
#define LLR_ORDERS_BLOCK_BITS 3U

/* A slot. The price, side and locate of an order are its level's. */
struct llr_order {
	uint64_t reference;
	uint32_t level; /* index of its price level; 0: the slot is empty */
	uint32_t shares;
};
_Static_assert(sizeof(struct llr_order) == 16, "four slots share a cache line");

struct llr_orders {
	struct llr_order *slots; /* owns */
	uint64_t keys[2];        /* random; the second is odd */
	uint32_t slots_mask;
	uint32_t count;
	uint32_t count_max;
};

/* Takes memory for count_max orders, 1..LLR_ORDERS_MAX. 0; -ENOMEM; or what getrandom says. */
int llr_orders_open(struct llr_orders *orders, uint32_t count_max);
void llr_orders_close(struct llr_orders *orders);
size_t llr_orders_memory_size(const struct llr_orders *orders);

/* Empties a slot that is taken; other slots move: pointers to them are invalid afterwards. */
void llr_orders_remove(struct llr_orders *orders, struct llr_order *order);

static inline uint32_t llr_orders_home(const struct llr_orders *orders, uint64_t reference)
{
	uint64_t mixed = (reference >> LLR_ORDERS_BLOCK_BITS) + orders->keys[0];
	uint32_t within = (uint32_t)reference & ((1U << LLR_ORDERS_BLOCK_BITS) - 1);

	mixed = (mixed ^ (mixed >> 32)) * orders->keys[1];
	mixed = (mixed ^ (mixed >> 29)) * UINT64_C(0x9E3779B97F4A7C15);
	return ((uint32_t)(mixed >> 32) << LLR_ORDERS_BLOCK_BITS | within) & orders->slots_mask;
}

/*
 * The slot of reference: taken if it is live (level is not 0), else the empty one where it would
 * go. To put it there, check that count is below count_max, fill the slot and add 1 to count.
 * Ends, for half of the slots are empty.
 */
static inline struct llr_order *llr_orders_slot(const struct llr_orders *orders, uint64_t reference)
{
	uint32_t index = llr_orders_home(orders, reference);

	LLR_ASSERT_HOT(orders->count <= orders->count_max);
	while (orders->slots[index].level != 0 && orders->slots[index].reference != reference)
		index = (index + 1) & orders->slots_mask;
	return &orders->slots[index];
}

#endif
