/* SPDX-License-Identifier: MIT */
/*
 * A stats page for people: what is not zero first, one column for all workers and one for each
 * where there are a few; percentiles in microseconds. Runs in a tool; owns nothing.
 *
 * The page was checked, but its texts are anybody's: none reaches the terminal as it is.
 */
#include "base/clock.h"
#include "base/text.h"
#include "observe/page.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 4U /* workers that get a column of their own; --json shows all */
#define NS_EACH_S   UINT64_C(1000000000)

/* Entries first..end-1 have one kind and owner. */
struct group {
	FILE *out;           /* borrows */
	const uint8_t *page; /* borrows */
	uint32_t first;
	uint32_t end;
};

enum which {
	NOT_ZERO,
	ZERO,
};

/* What a counter of this version means; "" for one that it does not know. */
static const char *explain(const struct llr_page_entry *entry)
{
	/* clang-format off */
	static const struct {
		uint16_t kind;
		const char *name;
		const char *text;
	} known[] = {
#define EXPLAIN_COUNTER(name, text) {LLR_PAGE_WORKER, #name, text},
		LLR_COUNTER_TABLE(EXPLAIN_COUNTER)
#undef EXPLAIN_COUNTER
#define EXPLAIN_TRANSPORT(name, text) {LLR_PAGE_LISTENER, #name, text},
		LLR_TRANSPORT_COUNTER_TABLE(EXPLAIN_TRANSPORT)
#undef EXPLAIN_TRANSPORT
		{LLR_PAGE_METHOD, "requests", "handlers started"},
		{LLR_PAGE_METHOD, "failed", "answered 4xx or 5xx"},
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].kind == entry->kind && strcmp(known[i].name, entry->name) == 0)
			return known[i].text;
	return "";
}

/* Pads to width what has no control characters and is mostly ASCII: a counter's name. */
static void put_name(FILE *out, const char *name, size_t width)
{
	llr_text_put(out, name);
	for (size_t size = strlen(name); size < width; size++)
		(void)fputc(' ', out);
}

static uint64_t sum_word(const uint8_t *page, const struct llr_page_entry *entry)
{
	uint64_t sum;

	llr_page_sum(page, entry, (struct llr_page_workers){0, llr_page_head(page)->worker_count},
		     &sum);
	return sum;
}

static void print_word(const struct group *group, const struct llr_page_entry *entry, uint64_t sum)
{
	uint32_t worker_count = llr_page_head(group->page)->worker_count;

	(void)fputs("  ", group->out);
	put_name(group->out, entry->name, 20);
	(void)fprintf(group->out, " %14" PRIu64, sum);
	if (worker_count > 1 && worker_count <= COLUMNS_MAX)
		for (uint32_t i = 0; i < worker_count; i++)
			(void)fprintf(group->out, " %14" PRIu64,
				      llr_page_words(group->page, entry, i)[0]);
	(void)fprintf(group->out, "%s%s\n", explain(entry)[0] != '\0' ? "  " : "", explain(entry));
}

/* Counts the words that are, or are not, zero, and prints them if it shall. */
static uint32_t print_words(const struct group *group, enum which which, bool print)
{
	uint32_t count = 0;

	for (uint32_t i = group->first; i < group->end; i++) {
		const struct llr_page_entry *entry = llr_page_entry(group->page, i);
		uint64_t sum;

		if (entry->bits != 0 ||
		    atomic_load_explicit(&entry->ready, memory_order_relaxed) == 0)
			continue;
		sum = sum_word(group->page, entry);
		if ((sum == 0) != (which == ZERO))
			continue;
		count++;
		if (print)
			print_word(group, entry, sum);
	}
	return count;
}

static double us(uint64_t ns)
{
	return (double)ns / 1000.0;
}

static void print_histograms(const struct group *group)
{
	uint64_t counts[LLR_HISTOGRAM_COUNT(LLR_PAGE_BITS_MAX)];
	uint32_t worker_count = llr_page_head(group->page)->worker_count;

	for (uint32_t i = group->first; i < group->end; i++) {
		const struct llr_page_entry *entry = llr_page_entry(group->page, i);
		uint32_t bits = entry->bits;

		if (bits == 0)
			continue;
		llr_page_sum(group->page, entry, (struct llr_page_workers){0, worker_count},
			     counts);
		if (llr_histogram_total(counts, bits) == 0)
			continue;
		(void)fputs("  ", group->out);
		put_name(group->out, entry->name, 20);
		(void)fprintf(group->out, " p50 %.2f  p99 %.2f  p99.9 %.2f  max %.2f us\n",
			      us(llr_histogram_percentile(counts, bits, 50)),
			      us(llr_histogram_percentile(counts, bits, 99)),
			      us(llr_histogram_percentile(counts, bits, 99.9)),
			      us(llr_histogram_percentile(counts, bits, 100)));
	}
}

static void print_heading(const struct group *group)
{
	const struct llr_page_entry *entry = llr_page_entry(group->page, group->first);
	uint32_t worker_count = llr_page_head(group->page)->worker_count;

	switch (entry->kind) {
	case LLR_PAGE_LISTENER:
		(void)fputs("\nlistener ", group->out);
		break;
	case LLR_PAGE_METHOD:
		(void)fputs("\nmethod ", group->out);
		break;
	case LLR_PAGE_SERVICE:
		(void)fputs("\nservices' own", group->out);
		break;
	default:
		(void)fputs("\ncounters", group->out);
		if (worker_count > 1 && worker_count <= COLUMNS_MAX) {
			(void)fputs("                         all", group->out);
			for (uint32_t i = 0; i < worker_count; i++)
				(void)fprintf(group->out, "       worker %u", i);
		}
		break;
	}
	llr_text_put(group->out, llr_page_owner(group->page, entry));
	(void)fputc('\n', group->out);
}

/* False for services' words of which none was claimed. */
static bool has_entries(const struct group *group)
{
	for (uint32_t i = group->first; i < group->end; i++) {
		const struct llr_page_entry *entry = llr_page_entry(group->page, i);

		if (atomic_load_explicit(&entry->ready, memory_order_relaxed) != 0)
			return true;
	}
	return false;
}

static void print_group(const struct group *group, bool all)
{
	uint32_t shown;
	uint32_t zero;

	if (!has_entries(group))
		return;
	print_heading(group);
	shown = print_words(group, NOT_ZERO, true);
	print_histograms(group);
	zero = print_words(group, ZERO, all);
	if (zero > 0 && !all)
		(void)fprintf(group->out, "  (%u %s%s 0: --all shows %s)\n", zero,
			      shown > 0 ? "more " : "", zero == 1 ? "is" : "are",
			      zero == 1 ? "it" : "them");
}

static void print_age(FILE *out, uint64_t age_s)
{
	if (age_s >= 86400)
		(void)fprintf(out, "%" PRIu64 " d ", age_s / 86400);
	if (age_s >= 3600)
		(void)fprintf(out, "%" PRIu64 " h ", age_s / 3600 % 24);
	if (age_s >= 60)
		(void)fprintf(out, "%" PRIu64 " min ", age_s / 60 % 60);
	(void)fprintf(out, "%" PRIu64 " s", age_s % 60);
}

static void print_head(FILE *out, const struct llr_page_head *head, bool live)
{
	uint64_t now_ns = llr_clock_wall_ns();
	time_t created = (time_t)(head->created_ns / NS_EACH_S);
	char text[64] = "at an unknown time";
	struct tm utc;

	if (gmtime_r(&created, &utc) != NULL)
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &utc);
	(void)fputs("server ", out);
	llr_text_put(out, head->name);
	if (live) {
		(void)fprintf(out, ": running, pid %u, up ", head->pid);
		print_age(out,
			  now_ns > head->created_ns ? (now_ns - head->created_ns) / NS_EACH_S : 0);
	} else {
		(void)fprintf(out, ": not running any more; it was pid %u", head->pid);
	}
	(void)fprintf(out, ", started %s, %u worker%s\n", text, head->worker_count,
		      head->worker_count == 1 ? "" : "s");
}

static void print_fallbacks(FILE *out, const uint8_t *page)
{
	uint32_t taken =
		atomic_load_explicit(&llr_page_head(page)->fallback_count, memory_order_relaxed);

	if (taken == 0)
		return;
	(void)fputs("\nfallbacks\n", out);
	for (uint32_t i = 0; i < LLR_PAGE_FALLBACKS; i++) {
		const char *text = llr_page_fallback(page, i);

		if (text == NULL)
			continue;
		(void)fputs("  ", out);
		llr_text_put(out, text);
		(void)fputc('\n', out);
	}
	if (taken > LLR_PAGE_FALLBACKS)
		(void)fprintf(out, "  and %u more\n", taken - LLR_PAGE_FALLBACKS);
}

void llr_stats_print_text(FILE *out, const uint8_t *page, bool live, bool all)
{
	const struct llr_page_head *head = llr_page_head(page);
	struct group group = {.out = out, .page = page};

	print_head(out, head, live);
	for (group.first = 0; group.first < head->entry_count; group.first = group.end) {
		const struct llr_page_entry *entry = llr_page_entry(page, group.first);

		for (group.end = group.first + 1; group.end < head->entry_count; group.end++) {
			const struct llr_page_entry *next = llr_page_entry(page, group.end);

			if (next->kind != entry->kind || next->owner != entry->owner)
				break;
		}
		print_group(&group, all);
	}
	print_fallbacks(out, page);
}
