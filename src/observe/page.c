/* SPDX-License-Identifier: MIT */
/*
 * Laying a stats page out, and checking one that came from outside. Owns nothing. Pure.
 *
 * Writer and reader meet in page.h alone: what is laid out here passes the check here, and the
 * check knows nothing of which counters there are, so that it takes pages of other versions.
 */
#include "observe/page.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"

#define PAGE_ALIGN 4096U
#define LINE_ALIGN 64U /* blocks of different writers' hot words share no cache line */

struct field {
	const char *name;
	uint32_t offset;
	uint16_t bits;
};

static const struct field counter_fields[] = {
#define COUNTER_FIELD(name, text) {#name, offsetof(struct llr_counters, name), 0},
	LLR_COUNTER_TABLE(COUNTER_FIELD)
#undef COUNTER_FIELD
};
static const struct field transport_fields[] = {
#define TRANSPORT_FIELD(name, text) {#name, offsetof(struct llr_transport_counters, name), 0},
	LLR_TRANSPORT_COUNTER_TABLE(TRANSPORT_FIELD)
#undef TRANSPORT_FIELD
};
static const struct field method_fields[] = {
	{"requests", offsetof(struct llr_method_stats, requests), 0},
	{"failed", offsetof(struct llr_method_stats, failed), 0},
	{"latency_ns", offsetof(struct llr_method_stats, latency), LLR_STATS_BITS},
	{"service_ns", offsetof(struct llr_method_stats, service), LLR_STATS_BITS},
};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

_Static_assert(LLR_STATS_BITS <= LLR_PAGE_BITS_MAX, "the reader takes what the writer makes");

static size_t transport_stride(void)
{
	return llr_round_up(sizeof(struct llr_transport_counters), LINE_ALIGN);
}

size_t llr_page_transport_offset(unsigned int listener)
{
	return llr_round_up(sizeof(struct llr_counters), LINE_ALIGN) +
	       listener * transport_stride();
}

size_t llr_page_method_offset(unsigned int listener_count, unsigned int method)
{
	return llr_page_transport_offset(listener_count) +
	       method * llr_round_up(sizeof(struct llr_method_stats), LINE_ALIGN);
}

static size_t service_offset(const struct llr_stats_shape *shape)
{
	return llr_page_method_offset(shape->listener_count, shape->method_count);
}

static uint32_t count_entries(const struct llr_stats_shape *shape)
{
	return COUNT(counter_fields) + shape->listener_count * COUNT(transport_fields) +
	       shape->method_count * COUNT(method_fields) + LLR_PAGE_SERVICE_WORDS;
}

/* Fills the numbers of a head; the areas follow each other without gaps but for alignment. */
static void set_areas(struct llr_page_head *head, const struct llr_stats_shape *shape)
{
	uint64_t owner_count = (uint64_t)shape->listener_count + shape->method_count;

	head->version = LLR_PAGE_VERSION;
	head->head_size = sizeof(*head);
	head->worker_count = shape->worker_count;
	head->listener_count = shape->listener_count;
	head->method_count = shape->method_count;
	head->entry_count = count_entries(shape);
	head->entry_size = sizeof(struct llr_page_entry);
	head->entry_offset = sizeof(*head);
	head->owner_offset = head->entry_offset + (uint64_t)head->entry_count * head->entry_size;
	head->fallback_offset = head->owner_offset + owner_count * LLR_PAGE_OWNER_SIZE;
	head->worker_offset = llr_round_up(
		head->fallback_offset + LLR_PAGE_FALLBACKS * sizeof(struct llr_page_line),
		PAGE_ALIGN);
	head->worker_size = llr_round_up(
		service_offset(shape) + LLR_PAGE_SERVICE_WORDS * sizeof(uint64_t), PAGE_ALIGN);
	head->total_size = head->worker_offset + head->worker_count * head->worker_size;
}

size_t llr_page_size(const struct llr_stats_shape *shape)
{
	struct llr_page_head head = {0};

	LLR_ASSERT(shape->worker_count >= 1);
	LLR_ASSERT(shape->worker_count <= LLR_WORKERS_MAX);
	LLR_ASSERT(shape->listener_count <= LLR_LISTENERS_MAX);
	LLR_ASSERT(shape->method_count <= LLR_METHODS_MAX);
	set_areas(&head, shape);
	LLR_ASSERT(head.total_size <= LLR_PAGE_SIZE_MAX);
	return head.total_size;
}

/* Copies as much of text as fits, ended by NUL. into is zeroed. */
static void set_text(char *into, size_t size, const char *text)
{
	memcpy(into, text, strnlen(text, size - 1));
}

/* Writes entries for the fields of one owner, whose struct starts at base; returns the next one. */
static struct llr_page_entry *add_fields(struct llr_page_entry *entry, const struct field *fields,
					 uint32_t count, size_t base)
{
	for (uint32_t i = 0; i < count; i++) {
		entry[i].offset = base + fields[i].offset;
		entry[i].bits = fields[i].bits;
		set_text(entry[i].name, sizeof(entry[i].name), fields[i].name);
		atomic_store_explicit(&entry[i].ready, 1, memory_order_relaxed);
	}
	return entry + count;
}

static void mark(struct llr_page_entry *from, const struct llr_page_entry *to, uint16_t kind,
		 unsigned int owner)
{
	for (; from < to; from++) {
		from->kind = kind;
		from->owner = (uint16_t)owner;
	}
}

static void set_entries(struct llr_page_entry *entry, const struct llr_stats_shape *shape)
{
	struct llr_page_entry *from = entry;

	entry = add_fields(from, counter_fields, COUNT(counter_fields), 0);
	mark(from, entry, LLR_PAGE_WORKER, 0);
	for (unsigned int i = 0; i < shape->listener_count; i++) {
		from = entry;
		entry = add_fields(from, transport_fields, COUNT(transport_fields),
				   llr_page_transport_offset(i));
		mark(from, entry, LLR_PAGE_LISTENER, i);
	}
	for (unsigned int i = 0; i < shape->method_count; i++) {
		from = entry;
		entry = add_fields(from, method_fields, COUNT(method_fields),
				   llr_page_method_offset(shape->listener_count, i));
		mark(from, entry, LLR_PAGE_METHOD, i);
	}
	for (unsigned int i = 0; i < LLR_PAGE_SERVICE_WORDS; i++)
		entry[i].offset = service_offset(shape) + i * sizeof(uint64_t);
	mark(entry, entry + LLR_PAGE_SERVICE_WORDS, LLR_PAGE_SERVICE, 0);
}

void llr_page_lay_out(uint8_t *page, const struct llr_stats_shape *shape, uint32_t pid,
		      uint64_t created_ns)
{
	struct llr_page_head *head = (struct llr_page_head *)(void *)page;
	char *owner;

	LLR_ASSERT((uintptr_t)page % PAGE_ALIGN == 0);
	set_areas(head, shape);
	head->pid = pid;
	head->created_ns = created_ns;
	set_text(head->name, sizeof(head->name), shape->name);
	set_entries((struct llr_page_entry *)(void *)(page + head->entry_offset), shape);
	owner = (char *)page + head->owner_offset;
	for (unsigned int i = 0; i < shape->listener_count; i++, owner += LLR_PAGE_OWNER_SIZE)
		set_text(owner, LLR_PAGE_OWNER_SIZE, shape->listeners[i]);
	for (unsigned int i = 0; i < shape->method_count; i++, owner += LLR_PAGE_OWNER_SIZE)
		set_text(owner, LLR_PAGE_OWNER_SIZE, shape->methods[i]);
	LLR_ASSERT(owner == (char *)page + head->fallback_offset);
}

static bool is_ended(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Whether count items of size bytes each lie between offset and the end. No term overflows. */
static bool fits(uint64_t total, uint64_t offset, uint64_t count, uint64_t size)
{
	if (offset % sizeof(uint64_t) != 0 || offset > total)
		return false;
	return count == 0 || size <= (total - offset) / count;
}

static bool check_head(const struct llr_page_head *head)
{
	return head->head_size >= sizeof(*head) && head->head_size <= head->total_size &&
	       head->worker_count >= 1 && head->worker_count <= LLR_WORKERS_MAX &&
	       head->listener_count <= LLR_LISTENERS_MAX && head->method_count <= LLR_METHODS_MAX &&
	       head->entry_count <= LLR_PAGE_ENTRIES_MAX &&
	       head->entry_size >= sizeof(struct llr_page_entry) &&
	       head->entry_size % sizeof(uint64_t) == 0 && head->entry_size <= PAGE_ALIGN &&
	       head->worker_size % sizeof(uint64_t) == 0 &&
	       is_ended(head->name, sizeof(head->name));
}

static bool check_areas(const struct llr_page_head *head)
{
	uint64_t total = head->total_size;
	uint64_t owner_count = (uint64_t)head->listener_count + head->method_count;

	return fits(total, head->entry_offset, head->entry_count, head->entry_size) &&
	       fits(total, head->owner_offset, owner_count, LLR_PAGE_OWNER_SIZE) &&
	       fits(total, head->fallback_offset, LLR_PAGE_FALLBACKS,
		    sizeof(struct llr_page_line)) &&
	       fits(total, head->worker_offset, head->worker_count, head->worker_size);
}

static bool check_entry(const struct llr_page_head *head, const struct llr_page_entry *entry)
{
	uint64_t word_count = 1;
	uint32_t owner_count = 1;

	if (entry->kind < LLR_PAGE_WORKER || entry->kind > LLR_PAGE_SERVICE)
		return false;
	if (entry->kind == LLR_PAGE_LISTENER)
		owner_count = head->listener_count;
	if (entry->kind == LLR_PAGE_METHOD)
		owner_count = head->method_count;
	if (entry->bits == 1 || entry->bits > LLR_PAGE_BITS_MAX)
		return false;
	if (entry->bits != 0)
		word_count = LLR_HISTOGRAM_COUNT((uint32_t)entry->bits);
	return entry->owner < owner_count && is_ended(entry->name, sizeof(entry->name)) &&
	       fits(head->worker_size, entry->offset, word_count, sizeof(uint64_t));
}

static bool check_entries(const uint8_t *page)
{
	const struct llr_page_head *head = llr_page_head(page);
	uint32_t before = 0;

	for (uint32_t i = 0; i < head->entry_count; i++) {
		const struct llr_page_entry *entry = llr_page_entry(page, i);
		uint32_t place = (uint32_t)entry->kind << 16 | entry->owner;

		if (!check_entry(head, entry) || place < before)
			return false;
		before = place;
	}
	return true;
}

static bool check_texts(const uint8_t *page)
{
	const struct llr_page_head *head = llr_page_head(page);
	const char *owner = (const char *)page + head->owner_offset;
	const struct llr_page_line *lines =
		(const struct llr_page_line *)(const void *)(page + head->fallback_offset);

	for (uint32_t i = 0; i < head->listener_count + head->method_count; i++)
		if (!is_ended(owner + (size_t)i * LLR_PAGE_OWNER_SIZE, LLR_PAGE_OWNER_SIZE))
			return false;
	for (uint32_t i = 0; i < LLR_PAGE_FALLBACKS; i++)
		if (!is_ended(lines[i].text, sizeof(lines[i].text)))
			return false;
	return true;
}

int llr_page_check(const uint8_t *page, size_t size, struct llrph_error *error)
{
	const struct llr_page_head *head = llr_page_head(page);

	LLR_ASSERT((uintptr_t)page % sizeof(uint64_t) == 0);
	if (size < sizeof(*head))
		return llr_error_set(error, -EPROTO, "truncated: %zu bytes, less than a head",
				     size);
	if (atomic_load_explicit(&head->magic, memory_order_relaxed) != LLR_PAGE_MAGIC)
		return llr_error_set(error, -EPROTO, "no stats page: the magic is not there");
	if (head->version != LLR_PAGE_VERSION)
		return llr_error_set(error, -EPROTO,
				     "version %u of the page, this program reads version %u",
				     head->version, LLR_PAGE_VERSION);
	if (head->total_size > size)
		return llr_error_set(error, -EPROTO, "truncated: %zu bytes of %llu", size,
				     (unsigned long long)head->total_size);
	if (!check_head(head))
		return llr_error_set(error, -EPROTO, "damaged: the head makes no sense");
	if (!check_areas(head))
		return llr_error_set(error, -EPROTO, "damaged: an offset leads out of the page");
	if (!check_entries(page))
		return llr_error_set(error, -EPROTO, "damaged: the directory makes no sense");
	if (!check_texts(page))
		return llr_error_set(error, -EPROTO, "damaged: a text has no end");
	return 0;
}

const char *llr_page_owner(const uint8_t *page, const struct llr_page_entry *entry)
{
	const struct llr_page_head *head = llr_page_head(page);
	size_t index = entry->owner;

	if (entry->kind == LLR_PAGE_METHOD)
		index += head->listener_count;
	else if (entry->kind != LLR_PAGE_LISTENER)
		return "";
	return (const char *)page + head->owner_offset + index * LLR_PAGE_OWNER_SIZE;
}

const uint64_t *llr_page_words(const uint8_t *page, const struct llr_page_entry *entry,
			       uint32_t worker)
{
	const struct llr_page_head *head = llr_page_head(page);

	LLR_ASSERT(worker < head->worker_count);
	return (const uint64_t *)(const void *)(page + head->worker_offset +
						worker * head->worker_size + entry->offset);
}

const char *llr_page_fallback(const uint8_t *page, uint32_t index)
{
	const struct llr_page_head *head = llr_page_head(page);
	const struct llr_page_line *lines =
		(const struct llr_page_line *)(const void *)(page + head->fallback_offset);

	if (index >= LLR_PAGE_FALLBACKS ||
	    atomic_load_explicit(&lines[index].ready, memory_order_relaxed) == 0)
		return NULL;
	return lines[index].text;
}

void llr_page_sum(const uint8_t *page, const struct llr_page_entry *entry,
		  struct llr_page_workers workers, uint64_t *counts)
{
	/* 3840 steps of 2^50 stay below 2^63, so that no later sum over them overflows. */
	uint64_t top = entry->bits == 0 ? UINT64_MAX : UINT64_C(1) << 50;

	for (uint32_t i = 0; i < llr_page_word_count(entry); i++)
		counts[i] = 0;
	for (uint32_t worker = workers.from; worker < workers.to; worker++) {
		const uint64_t *words = llr_page_words(page, entry, worker);

		for (uint32_t i = 0; i < llr_page_word_count(entry); i++)
			if (__builtin_add_overflow(counts[i], words[i], &counts[i]) ||
			    counts[i] > top)
				counts[i] = top;
	}
}
