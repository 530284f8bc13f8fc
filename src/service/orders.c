/* SPDX-License-Identifier: MIT */
/*
 * The hash table of live orders: what is not needed inline. Thread: the owner's.
 */
#include "service/orders.h"

#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

int llr_orders_open(struct llr_orders *orders, uint32_t count_max)
{
	uint32_t slots = 2;

	LLR_ASSERT(count_max >= 1 && count_max <= LLR_ORDERS_MAX);
	while (slots < 2 * count_max)
		slots *= 2;
	if (getrandom(orders->keys, sizeof(orders->keys), 0) != (ssize_t)sizeof(orders->keys))
		return -errno;
	orders->keys[1] |= 1;
	orders->slots_mask = slots - 1;
	orders->count = 0;
	orders->count_max = count_max;
	orders->slots = llr_memory_map(llr_orders_memory_size(orders), "book: orders");
	if (orders->slots == NULL)
		return -ENOMEM;
	/* Each look-up is in another page: where hugepages can be had, a TLB miss less for each. */
	(void)madvise(orders->slots, llr_orders_memory_size(orders), MADV_HUGEPAGE);
	return 0;
}

void llr_orders_close(struct llr_orders *orders)
{
	if (orders->slots != NULL)
		llr_memory_unmap(orders->slots, llr_orders_memory_size(orders));
	orders->slots = NULL;
}

size_t llr_orders_memory_size(const struct llr_orders *orders)
{
	return ((size_t)orders->slots_mask + 1) * sizeof(struct llr_order);
}

/*
 * No tombstones: each order behind the gap that would not be found across it moves into it, and
 * leaves the next gap. It ends at the first empty slot.
 */
void llr_orders_remove(struct llr_orders *orders, struct llr_order *order)
{
	uint32_t mask = orders->slots_mask;
	uint32_t gap = (uint32_t)(order - orders->slots);
	uint32_t index = gap;

	LLR_ASSERT_HOT(gap <= mask && order->level != 0);
	for (;;) {
		uint32_t home;

		index = (index + 1) & mask;
		if (orders->slots[index].level == 0)
			break;
		home = llr_orders_home(orders, orders->slots[index].reference);
		if (((index - home) & mask) >= ((index - gap) & mask)) {
			orders->slots[gap] = orders->slots[index];
			gap = index;
		}
	}
	memset(&orders->slots[gap], 0, sizeof(orders->slots[gap]));
	orders->count--;
}
