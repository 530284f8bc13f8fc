/* SPDX-License-Identifier: MIT */
/*
 * A pool of equal buffers in memory that the caller took at start. What is borrowed is named by its
 * index, and can be chained through the pool's own table.
 *
 * Thread: the owner's.
 */
#ifndef LLR_TRANSPORT_TCP_BUFFER_H
#define LLR_TRANSPORT_TCP_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#define LLR_BUFFER_NONE UINT32_MAX

struct llr_buffer_pool {
	uint8_t *memory; /* shares: count * size bytes within its owner's mapping */
	uint32_t *next;  /* shares: of a free buffer the next free one, of a borrowed its chain's */
	uint32_t size;   /* bytes of each, a multiple of 64 */
	uint32_t count;
	uint32_t free_count;
	uint32_t free_first;
};

/* Bytes that a pool needs: its buffers, then its table. */
static inline size_t llr_buffer_pool_size(uint32_t size, uint32_t count)
{
	return (size_t)count * size + (((size_t)count * sizeof(uint32_t) + 63U) & ~(size_t)63U);
}

/* memory: llr_buffer_pool_size(size, count) bytes, aligned to 64. */
void llr_buffer_pool_init(struct llr_buffer_pool *pool, uint8_t *memory, uint32_t size,
			  uint32_t count);
/* The one given back last, for its pages are warm; LLR_BUFFER_NONE: none is free. Ends its chain.
 */
uint32_t llr_buffer_borrow(struct llr_buffer_pool *pool);
void llr_buffer_release(struct llr_buffer_pool *pool, uint32_t index);
uint8_t *llr_buffer_bytes(const struct llr_buffer_pool *pool, uint32_t index);

#endif
