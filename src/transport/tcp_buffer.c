/* SPDX-License-Identifier: MIT */
/*
 * See tcp_buffer.h. Free buffers form a stack through the table next.
 *
 * Invariant: free_count is the length of the stack that starts at free_first.
 */
#include "transport/tcp_buffer.h"

#include "base/assert.h"

void llr_buffer_pool_init(struct llr_buffer_pool *pool, uint8_t *memory, uint32_t size,
			  uint32_t count)
{
	LLR_ASSERT(size > 0 && size % 64 == 0);
	LLR_ASSERT(count > 0 && count < LLR_BUFFER_NONE);
	LLR_ASSERT((uintptr_t)memory % 64 == 0);
	pool->memory = memory;
	pool->next = (uint32_t *)(void *)(memory + (size_t)count * size);
	pool->size = size;
	pool->count = count;
	pool->free_count = count;
	pool->free_first = 0;
	for (uint32_t i = 0; i < count; i++)
		pool->next[i] = i + 1 < count ? i + 1 : LLR_BUFFER_NONE;
}

uint32_t llr_buffer_borrow(struct llr_buffer_pool *pool)
{
	uint32_t index = pool->free_first;

	if (index == LLR_BUFFER_NONE)
		return LLR_BUFFER_NONE;
	LLR_ASSERT(index < pool->count);
	LLR_ASSERT(pool->free_count > 0);
	pool->free_first = pool->next[index];
	pool->free_count--;
	pool->next[index] = LLR_BUFFER_NONE;
	return index;
}

void llr_buffer_release(struct llr_buffer_pool *pool, uint32_t index)
{
	LLR_ASSERT(index < pool->count);
	LLR_ASSERT(pool->free_count < pool->count);
	pool->next[index] = pool->free_first;
	pool->free_first = index;
	pool->free_count++;
}

uint8_t *llr_buffer_bytes(const struct llr_buffer_pool *pool, uint32_t index)
{
	LLR_ASSERT(index < pool->count);
	return pool->memory + (size_t)index * pool->size;
}
