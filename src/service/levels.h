/* SPDX-License-Identifier: MIT */
/*
 * Price levels of all books: for each side of each stock, a B+tree from price to level, ordered so
 * that the best price is the last. What happens near the best, which is nearly everything in a
 * market, is found at the end of the last leaf; what a hostile feed does anywhere else costs
 * O(log levels), never more.
 *
 *   side (131,072)      tree of nodes (128 bytes: 15 keys, 15 slots)      levels (24 bytes)
 *   +------+------+     +----------+      +----------+                    +--------+-------+----
 *   | root | best |---->| ... keys |----->| ... keys |------------------->| shares | price | ...
 *   +------+------+     +----------+      +----------+                    +--------+-------+----
 *               \_______________________________________________________________^
 *
 * Thread: the owner's. Owns: sides, nodes and levels, taken at open. Invariants: a level in a tree
 * has orders, so there are never more levels than orders; a node has 5 to 15 slots, but a root may
 * have fewer (2 if it is no leaf); best is the last slot of the last leaf, 0 where root is 0.
 */
#ifndef LLR_SERVICE_LEVELS_H
#define LLR_SERVICE_LEVELS_H

#include "base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLR_SIDE_COUNT (65536U * 2U)

enum llr_side_kind {
	LLR_SIDE_BUY = 0,
	LLR_SIDE_SELL = 1,
};

struct llr_level {
	uint64_t shares; /* of all its orders; 2^26 orders of 2^32 shares fit */
	uint32_t price;
	uint32_t orders; /* while it is free: index of the next free one */
	uint32_t side;   /* index of its side */
};

struct llr_side {
	uint32_t root; /* index of a node; 0: no levels */
	uint32_t best; /* index of a level; 0: none */
};

struct llr_level_node;

struct llr_levels {
	struct llr_side *sides;       /* owns LLR_SIDE_COUNT */
	struct llr_level *levels;     /* owns levels_max + 1; index 0 stands for none */
	struct llr_level_node *nodes; /* owns nodes_max + 1; likewise */
	uint32_t levels_max;
	uint32_t nodes_max;
	uint32_t levels_fresh; /* those from here on were never used */
	uint32_t nodes_fresh;
	uint32_t levels_free; /* list of those given back; 0: none */
	uint32_t nodes_free;
};

/* Takes memory for levels_max levels, wherever they are. 0 or -ENOMEM. */
int llr_levels_open(struct llr_levels *levels, uint32_t levels_max);
void llr_levels_close(struct llr_levels *levels);
size_t llr_levels_memory_size(const struct llr_levels *levels);

static inline uint32_t llr_side_index(uint16_t locate, enum llr_side_kind kind)
{
	return (uint32_t)locate * 2 + (uint32_t)kind;
}

static inline struct llr_level *llr_level_at(const struct llr_levels *levels, uint32_t index)
{
	LLR_ASSERT_HOT(index != 0 && index < levels->levels_fresh);
	return &levels->levels[index];
}

/*
 * Index of the level at price, which is made with no shares and orders if it is not there. There
 * must be fewer orders than levels_max: then there is always a free one.
 */
uint32_t llr_levels_obtain(struct llr_levels *levels, uint32_t side, uint32_t price);
/* Takes a level without orders from its tree. */
void llr_levels_remove(struct llr_levels *levels, uint32_t index);
/* Index of the level next worse than this one; 0: none. */
uint32_t llr_levels_next(const struct llr_levels *levels, uint32_t index);

#endif
