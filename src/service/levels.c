/* SPDX-License-Identifier: MIT */
/*
 * B+trees of price levels. Thread: the owner's.
 *
 * Keys are prices on the buy side and their complements on the sell side: the greatest key is the
 * best. A key of an inner node is a lower bound of its child's keys, but the first one's, which
 * bounds nothing: what is below all keys goes to the first child.
 *
 * Both ways down repair before they descend, so nothing has to be done on the way back and no path
 * is kept: an insertion splits a full node that it meets, a removal fills up a poor one from its
 * neighbour or merges both.
 *
 * Every loop over nodes goes one floor down each time round; with 5 slots at least in every node
 * but the root, 2^26 levels make at most 12 floors.
 */
#include "service/levels.h"

#include "base/memory.h"

#include <errno.h>
#include <string.h>

#define NODE_SLOTS 15U
#define NODE_POOR  5U /* fewest slots of a node that is no root */

struct llr_level_node {
	uint32_t keys[NODE_SLOTS];  /* ascending */
	uint16_t count;             /* slots in use */
	uint16_t is_leaf;           /* slots are levels, else nodes */
	uint32_t slots[NODE_SLOTS]; /* the first one also links free nodes */
	uint32_t unused;
};
_Static_assert(sizeof(struct llr_level_node) == 128, "keys in one cache line, slots in the next");

/* A side that has a tree has a level; every node but the roots has 5 slots, and 1/5 + 1/25 + ...
 * is 1/4. */
static uint32_t nodes_for(uint32_t levels_max)
{
	uint32_t roots = levels_max < LLR_SIDE_COUNT ? levels_max : LLR_SIDE_COUNT;

	return roots + levels_max / 4 + 1;
}

int llr_levels_open(struct llr_levels *levels, uint32_t levels_max)
{
	*levels = (struct llr_levels){
		.levels_max = levels_max,
		.nodes_max = nodes_for(levels_max),
		.levels_fresh = 1,
		.nodes_fresh = 1,
	};
	levels->sides =
		llr_memory_map((size_t)LLR_SIDE_COUNT * sizeof(*levels->sides), "book: sides");
	levels->levels = llr_memory_map(((size_t)levels_max + 1) * sizeof(*levels->levels),
					"book: price levels");
	levels->nodes = llr_memory_map(((size_t)levels->nodes_max + 1) * sizeof(*levels->nodes),
				       "book: trees of price levels");
	if (levels->sides != NULL && levels->levels != NULL && levels->nodes != NULL)
		return 0;
	llr_levels_close(levels);
	return -ENOMEM;
}

void llr_levels_close(struct llr_levels *levels)
{
	if (levels->sides != NULL)
		llr_memory_unmap(levels->sides, (size_t)LLR_SIDE_COUNT * sizeof(*levels->sides));
	if (levels->levels != NULL)
		llr_memory_unmap(levels->levels,
				 ((size_t)levels->levels_max + 1) * sizeof(*levels->levels));
	if (levels->nodes != NULL)
		llr_memory_unmap(levels->nodes,
				 ((size_t)levels->nodes_max + 1) * sizeof(*levels->nodes));
	memset(levels, 0, sizeof(*levels));
}

size_t llr_levels_memory_size(const struct llr_levels *levels)
{
	return (size_t)LLR_SIDE_COUNT * sizeof(*levels->sides) +
	       ((size_t)levels->levels_max + 1) * sizeof(*levels->levels) +
	       ((size_t)levels->nodes_max + 1) * sizeof(*levels->nodes);
}

/* The sell side is the odd one. */
static uint32_t key_of(uint32_t side, uint32_t price)
{
	return price ^ (0U - (side & 1U));
}

static struct llr_level_node *node_at(const struct llr_levels *levels, uint32_t index)
{
	LLR_ASSERT_HOT(index != 0 && index < levels->nodes_fresh);
	return &levels->nodes[index];
}

static uint32_t node_take(struct llr_levels *levels, bool is_leaf)
{
	uint32_t index = levels->nodes_free;

	if (index != 0) {
		levels->nodes_free = levels->nodes[index].slots[0];
	} else {
		LLR_ASSERT(levels->nodes_fresh <= levels->nodes_max);
		index = levels->nodes_fresh++;
	}
	levels->nodes[index].count = 0;
	levels->nodes[index].is_leaf = is_leaf;
	return index;
}

static void node_give(struct llr_levels *levels, uint32_t index)
{
	node_at(levels, index)->slots[0] = levels->nodes_free;
	levels->nodes_free = index;
}

/* How many keys are not above key. From the end: that is where the market is. */
static uint32_t rank_of(const struct llr_level_node *node, uint32_t key)
{
	uint32_t rank = node->count;

	while (rank > 0 && node->keys[rank - 1] > key)
		rank--;
	return rank;
}

/* Which child of an inner node has key, or would have. */
static uint32_t child_of(const struct llr_level_node *node, uint32_t key)
{
	uint32_t rank = rank_of(node, key);

	LLR_ASSERT_HOT(!node->is_leaf && node->count >= 2);
	return rank == 0 ? 0 : rank - 1;
}

static void slot_insert(struct llr_level_node *node, uint32_t at, uint32_t key, uint32_t slot)
{
	size_t behind = node->count - at;

	LLR_ASSERT_HOT(at <= node->count && node->count < NODE_SLOTS);
	memmove(&node->keys[at + 1], &node->keys[at], behind * sizeof(node->keys[0]));
	memmove(&node->slots[at + 1], &node->slots[at], behind * sizeof(node->slots[0]));
	node->keys[at] = key;
	node->slots[at] = slot;
	node->count++;
}

static void slot_remove(struct llr_level_node *node, uint32_t at)
{
	size_t behind = node->count - at - 1;

	LLR_ASSERT_HOT(at < node->count);
	memmove(&node->keys[at], &node->keys[at + 1], behind * sizeof(node->keys[0]));
	memmove(&node->slots[at], &node->slots[at + 1], behind * sizeof(node->slots[0]));
	node->count--;
}

/* Moves the last count slots of left to the front of right. */
static void slots_to_right(struct llr_level_node *left, struct llr_level_node *right, size_t count)
{
	size_t from = left->count - count;

	LLR_ASSERT_HOT(count <= left->count && right->count + count <= NODE_SLOTS);
	memmove(&right->keys[count], right->keys, right->count * sizeof(right->keys[0]));
	memmove(&right->slots[count], right->slots, right->count * sizeof(right->slots[0]));
	memcpy(right->keys, &left->keys[from], count * sizeof(right->keys[0]));
	memcpy(right->slots, &left->slots[from], count * sizeof(right->slots[0]));
	left->count = (uint16_t)from;
	right->count = (uint16_t)(right->count + count);
}

/* Moves the first count slots of right to the end of left. */
static void slots_to_left(struct llr_level_node *left, struct llr_level_node *right, size_t count)
{
	size_t rest = right->count - count;

	LLR_ASSERT_HOT(count <= right->count && left->count + count <= NODE_SLOTS);
	memcpy(&left->keys[left->count], right->keys, count * sizeof(left->keys[0]));
	memcpy(&left->slots[left->count], right->slots, count * sizeof(left->slots[0]));
	memmove(right->keys, &right->keys[count], rest * sizeof(right->keys[0]));
	memmove(right->slots, &right->slots[count], rest * sizeof(right->slots[0]));
	left->count = (uint16_t)(left->count + count);
	right->count = (uint16_t)rest;
}

/* Splits the full child at a place of a parent that is not full. */
static void child_split(struct llr_levels *levels, struct llr_level_node *parent, uint32_t at)
{
	struct llr_level_node *left = node_at(levels, parent->slots[at]);
	uint32_t index = node_take(levels, left->is_leaf);
	struct llr_level_node *right = node_at(levels, index);

	LLR_ASSERT_HOT(left->count == NODE_SLOTS);
	slots_to_right(left, right, NODE_SLOTS / 2);
	slot_insert(parent, at + 1, right->keys[0], index);
}

/* Gives the child at a place more than NODE_POOR slots: from a neighbour, or together with it. */
static void child_fill(struct llr_levels *levels, struct llr_level_node *parent, uint32_t at)
{
	uint32_t left_at = at > 0 ? at - 1 : 0;
	struct llr_level_node *left = node_at(levels, parent->slots[left_at]);
	struct llr_level_node *right = node_at(levels, parent->slots[left_at + 1]);
	uint32_t total = (uint32_t)left->count + right->count;

	LLR_ASSERT_HOT(left->is_leaf == right->is_leaf);
	/* The first key of an inner node bounds nothing; its parent's key for it does. */
	if (!right->is_leaf)
		right->keys[0] = parent->keys[left_at + 1];
	if (total <= NODE_SLOTS) {
		slots_to_left(left, right, right->count);
		node_give(levels, parent->slots[left_at + 1]);
		slot_remove(parent, left_at + 1);
		return;
	}
	if (left->count < right->count)
		slots_to_left(left, right, right->count - total / 2);
	else
		slots_to_right(left, right, left->count - total / 2);
	parent->keys[left_at + 1] = right->keys[0];
}

/* The leaf of a tree that has key, or would have. */
static const struct llr_level_node *leaf_of(const struct llr_levels *levels, uint32_t root,
					    uint32_t key)
{
	const struct llr_level_node *node = node_at(levels, root);

	while (!node->is_leaf)
		node = node_at(levels, node->slots[child_of(node, key)]);
	return node;
}

static uint32_t level_take(struct llr_levels *levels, uint32_t side, uint32_t price)
{
	uint32_t index = levels->levels_free;

	if (index != 0) {
		levels->levels_free = levels->levels[index].orders;
	} else {
		LLR_ASSERT(levels->levels_fresh <= levels->levels_max);
		index = levels->levels_fresh++;
	}
	levels->levels[index] = (struct llr_level){.price = price, .side = side};
	return index;
}

static void tree_insert(struct llr_levels *levels, struct llr_side *side, uint32_t key,
			uint32_t level)
{
	struct llr_level_node *node;

	if (side->root == 0)
		side->root = node_take(levels, true);
	node = node_at(levels, side->root);
	if (node->count == NODE_SLOTS) {
		uint32_t index = node_take(levels, false);
		struct llr_level_node *root = node_at(levels, index);

		slot_insert(root, 0, node->keys[0], side->root);
		child_split(levels, root, 0);
		side->root = index;
		node = root;
	}
	while (!node->is_leaf) {
		uint32_t at = child_of(node, key);

		if (node_at(levels, node->slots[at])->count == NODE_SLOTS) {
			child_split(levels, node, at);
			at = child_of(node, key);
		}
		node = node_at(levels, node->slots[at]);
	}
	slot_insert(node, rank_of(node, key), key, level);
}

uint32_t llr_levels_obtain(struct llr_levels *levels, uint32_t side_index, uint32_t price)
{
	struct llr_side *side = &levels->sides[side_index];
	uint32_t key = key_of(side_index, price);
	uint32_t level;

	LLR_ASSERT_HOT(side_index < LLR_SIDE_COUNT);
	if (side->root != 0) {
		const struct llr_level_node *leaf;
		uint32_t rank;

		if (levels->levels[side->best].price == price)
			return side->best;
		leaf = leaf_of(levels, side->root, key);
		rank = rank_of(leaf, key);
		if (rank > 0 && leaf->keys[rank - 1] == key)
			return leaf->slots[rank - 1];
	}
	level = level_take(levels, side_index, price);
	tree_insert(levels, side, key, level);
	if (side->best == 0 || key > key_of(side_index, levels->levels[side->best].price))
		side->best = level;
	return level;
}

static void tree_remove(struct llr_levels *levels, struct llr_side *side, uint32_t key)
{
	struct llr_level_node *node = node_at(levels, side->root);
	uint32_t rank;

	while (!node->is_leaf) {
		uint32_t at = child_of(node, key);

		if (node_at(levels, node->slots[at])->count <= NODE_POOR) {
			child_fill(levels, node, at);
			/* Only a root can be left with one child: then that is the root. */
			if (node->count == 1) {
				uint32_t old = side->root;

				side->root = node->slots[0];
				node_give(levels, old);
				node = node_at(levels, side->root);
				continue;
			}
			at = child_of(node, key);
		}
		node = node_at(levels, node->slots[at]);
	}
	rank = rank_of(node, key);
	LLR_ASSERT_HOT(rank > 0 && node->keys[rank - 1] == key);
	slot_remove(node, rank - 1);
	if (node->count == 0) {
		node_give(levels, side->root);
		side->root = 0;
	}
}

/* The last slot of the last leaf below a node. */
static uint32_t last_level(const struct llr_levels *levels, uint32_t index)
{
	const struct llr_level_node *node = node_at(levels, index);

	while (!node->is_leaf)
		node = node_at(levels, node->slots[node->count - 1]);
	return node->slots[node->count - 1];
}

void llr_levels_remove(struct llr_levels *levels, uint32_t index)
{
	struct llr_level *level = llr_level_at(levels, index);
	struct llr_side *side = &levels->sides[level->side];

	LLR_ASSERT_HOT(level->orders == 0 && level->shares == 0);
	tree_remove(levels, side, key_of(level->side, level->price));
	if (side->best == index)
		side->best = side->root != 0 ? last_level(levels, side->root) : 0;
	level->orders = levels->levels_free;
	levels->levels_free = index;
}

uint32_t llr_levels_next(const struct llr_levels *levels, uint32_t index)
{
	const struct llr_level *level = llr_level_at(levels, index);
	const struct llr_level_node *node = node_at(levels, levels->sides[level->side].root);
	uint32_t key = key_of(level->side, level->price);
	uint32_t before = 0; /* the nearest subtree before the way down */
	uint32_t rank;

	while (!node->is_leaf) {
		uint32_t at = child_of(node, key);

		if (at > 0)
			before = node->slots[at - 1];
		node = node_at(levels, node->slots[at]);
	}
	rank = rank_of(node, key);
	if (rank > 1)
		return node->slots[rank - 2];
	return before != 0 ? last_level(levels, before) : 0;
}
