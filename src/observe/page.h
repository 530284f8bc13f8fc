/* SPDX-License-Identifier: MIT */
/*
 * The stats page's format, byte by byte, and what lays it out and checks it. Integers are the
 * host's: a page is read on the machine that writes it. No syscall, no clock, no allocation.
 *
 *     0  magic "LLRSTATS"     8  version u32          12  head bytes u32
 *    16  total size u64      24  created ns u64 (wall clock)
 *    32  pid u32             36  workers u32
 *    40  listeners u32       44  methods u32
 *    48  entries u32         52  bytes of an entry u32
 *    56  offset of the directory u64
 *    64  offset of the owners u64: texts of 256 bytes, the listeners' URIs, then methods' names
 *    72  offset of the fallbacks u64: 16 lines of 256 bytes
 *    80  offset of worker 0's block u64; worker n's is n times the next word further
 *    88  bytes of a worker's block u64, a multiple of 4096
 *    96  fallbacks that were taken u32
 *   104  the server's name, 64 bytes, ended by NUL; then zeros up to head bytes (256)
 *
 * An entry of the directory is one word, or one histogram, in every worker's block:
 *
 *     0  key u64             8  offset in the block u64
 *    16  kind u16           18  owner u16       20  bits u16 (0: a word)    22  ready u16
 *    24  name, 40 bytes, ended by NUL
 *
 * One directory serves all workers, so a total is a sum over blocks. Entries are sorted by kind,
 * then by owner. Those of kind SERVICE are claimed while the server runs (ready = 1), the others
 * stand from the beginning.
 *
 * Invariants: the magic is stored last, when all else stands. Whoever reads a page copies it first,
 * for it is somebody else's memory, and checks the copy before looking into it.
 */
#ifndef LLR_OBSERVE_PAGE_H
#define LLR_OBSERVE_PAGE_H

#include "base/histogram.h"
#include "observe/stats.h"

#include <stdatomic.h>

#define LLR_PAGE_MAGIC         UINT64_C(0x5354415453524c4c) /* "LLRSTATS", little-endian */
#define LLR_PAGE_VERSION       1U
#define LLR_PAGE_BITS_MAX      8U           /* of a histogram that a reader takes */
#define LLR_PAGE_ENTRIES_MAX   65536U       /* 58 + 16 x 13 + 256 x 4 + 64 are 1354; room to grow */
#define LLR_PAGE_SIZE_MAX      (512U << 20) /* 64 workers x 256 methods x 16 KiB are 256 MiB */
#define LLR_PAGE_SERVICE_WORDS 64U
#define LLR_PAGE_FALLBACKS     16U
#define LLR_PAGE_OWNER_SIZE    256U

enum llr_page_kind {
	LLR_PAGE_WORKER = 1, /* llr_counters; owner 0 */
	LLR_PAGE_LISTENER,   /* llr_transport_counters; owner: which listener */
	LLR_PAGE_METHOD,     /* llr_method_stats; owner: which method */
	LLR_PAGE_SERVICE,    /* a service's own word; owner 0 */
};

struct llr_page_head {
	_Atomic uint64_t magic;
	uint32_t version;
	uint32_t head_size;
	uint64_t total_size;
	uint64_t created_ns;
	uint32_t pid;
	uint32_t worker_count;
	uint32_t listener_count;
	uint32_t method_count;
	uint32_t entry_count;
	uint32_t entry_size;
	uint64_t entry_offset;
	uint64_t owner_offset;
	uint64_t fallback_offset;
	uint64_t worker_offset;
	uint64_t worker_size;
	_Atomic uint32_t fallback_count; /* may exceed LLR_PAGE_FALLBACKS: so many were not kept */
	uint32_t zero;
	char name[64];
	uint8_t zeros[88];
};
_Static_assert(sizeof(struct llr_page_head) == 256, "drawn above");
_Static_assert(offsetof(struct llr_page_head, entry_offset) == 56, "drawn above");
_Static_assert(offsetof(struct llr_page_head, name) == 104, "drawn above");

struct llr_page_entry {
	_Atomic uint64_t key; /* SERVICE: FNV-1a, 64 bits, of the name; 0: free */
	uint64_t offset;
	uint16_t kind; /* enum llr_page_kind */
	uint16_t owner;
	uint16_t bits;
	_Atomic uint16_t ready; /* published after the name */
	char name[40];
};
_Static_assert(sizeof(struct llr_page_entry) == 64, "drawn above");
_Static_assert(offsetof(struct llr_page_entry, name) == 24, "drawn above");

struct llr_page_line {
	_Atomic uint32_t ready; /* published after the text */
	char text[252];
};
_Static_assert(sizeof(struct llr_page_line) == 256, "drawn above");

/* Bytes of a page of that shape, a multiple of 4096. */
size_t llr_page_size(const struct llr_stats_shape *shape);
/* Lays zeroed bytes out, all but the magic. */
void llr_page_lay_out(uint8_t *page, const struct llr_stats_shape *shape, uint32_t pid,
		      uint64_t created_ns);
/* Where things lie in a worker's block of a page that this version laid out. */
size_t llr_page_transport_offset(unsigned int listener);
size_t llr_page_method_offset(unsigned int listener_count, unsigned int method);

/*
 * Whether size bytes, a private copy, are a page whose every offset, count and text is in bounds.
 * 0; -EPROTO with error saying what is wrong. The functions below are for such pages alone.
 */
int llr_page_check(const uint8_t *page, size_t size, struct llrph_error *error);

static inline const struct llr_page_head *llr_page_head(const uint8_t *page)
{
	return (const struct llr_page_head *)(const void *)page;
}

static inline const struct llr_page_entry *llr_page_entry(const uint8_t *page, uint32_t index)
{
	const struct llr_page_head *head = llr_page_head(page);

	return (const struct llr_page_entry *)(const void *)(page + head->entry_offset +
							     (size_t)index * head->entry_size);
}

/* The URI or method name that an entry belongs to; "" for the other kinds. */
const char *llr_page_owner(const uint8_t *page, const struct llr_page_entry *entry);
/* The entry's word, or first count, in a worker's block. */
const uint64_t *llr_page_words(const uint8_t *page, const struct llr_page_entry *entry,
			       uint32_t worker);
/* A fallback's text; NULL: not there (yet). */
const char *llr_page_fallback(const uint8_t *page, uint32_t index);
static inline uint32_t llr_page_word_count(const struct llr_page_entry *entry)
{
	return entry->bits == 0 ? 1 : (uint32_t)LLR_HISTOGRAM_COUNT((uint32_t)entry->bits);
}

/* Workers from..to-1, as one. */
struct llr_page_workers {
	uint32_t from;
	uint32_t to;
};
/* Adds up the entry's words over workers into counts; a histogram's saturate at 2^50. */
void llr_page_sum(const uint8_t *page, const struct llr_page_entry *entry,
		  struct llr_page_workers workers, uint64_t *counts);

/* Print a checked page: stats_print.c and stats_json.c. */
void llr_stats_print_text(FILE *out, const uint8_t *page, bool live, bool all);
void llr_stats_print_json(FILE *out, const uint8_t *page, bool live);

#endif
