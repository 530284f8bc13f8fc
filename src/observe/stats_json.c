/* SPDX-License-Identifier: MIT */
/*
 * A stats page as one JSON object, with all that is on it. Runs in a tool; owns nothing.
 *
 *   name, pid, live, created_ns, up_ns    of the server; up_ns is null if it does not live
 *   total                                 all workers together:
 *     counters   {name: integer}
 *     listeners  [{uri, name: integer}]
 *     methods    [{name, requests, failed, latency_ns: HISTOGRAM, service_ns: HISTOGRAM}]
 *     service    {name: integer}
 *   workers                               [the same for each of them]
 *   fallbacks, fallbacks_not_kept         [text], integer
 *
 * HISTOGRAM: count, min, p50, p90, p99, p99.9, max, mean, buckets [[low, high, count]] in ns.
 *
 * The page was checked, but its texts are anybody's: they are escaped, and numbers print as what
 * they are. Entries are sorted, so each group is where the cursor stands, or empty.
 */
#include "base/clock.h"
#include "base/text.h"
#include "observe/page.h"

#include <inttypes.h>

/* Walks through the directory once. */
struct cursor {
	FILE *out;           /* borrows */
	const uint8_t *page; /* borrows */
	struct llr_page_workers workers;
	uint32_t index;
};

static void print_histogram(FILE *out, const uint64_t *counts, uint32_t bits)
{
	static const struct {
		const char *name;
		double percentile;
	} percentiles[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}};
	const char *comma = "";
	uint64_t min = 0;

	for (uint32_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++) {
		if (counts[i] != 0) {
			min = llr_histogram_low(bits, i);
			break;
		}
	}
	(void)fprintf(out, "{\"count\": %" PRIu64 ", \"min\": %" PRIu64,
		      llr_histogram_total(counts, bits), min);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		(void)fprintf(out, ", \"%s\": %" PRIu64, percentiles[i].name,
			      llr_histogram_percentile(counts, bits, percentiles[i].percentile));
	(void)fprintf(out, ", \"mean\": %.1f, \"buckets\": [", llr_histogram_mean(counts, bits));
	for (uint32_t i = 0; i < LLR_HISTOGRAM_COUNT(bits); i++) {
		if (counts[i] == 0)
			continue;
		(void)fprintf(out, "%s[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", comma,
			      llr_histogram_low(bits, i), llr_histogram_high(bits, i), counts[i]);
		comma = ", ";
	}
	(void)fputs("]}", out);
}

/* Prints the entries of one kind and owner, which the cursor has reached; comma: before the first.
 */
static void print_entries(struct cursor *cursor, uint16_t kind, uint16_t owner, const char *comma)
{
	uint64_t counts[LLR_HISTOGRAM_COUNT(LLR_PAGE_BITS_MAX)];
	const struct llr_page_head *head = llr_page_head(cursor->page);

	for (; cursor->index < head->entry_count; cursor->index++) {
		const struct llr_page_entry *entry = llr_page_entry(cursor->page, cursor->index);

		if (entry->kind != kind || entry->owner != owner)
			return;
		if (atomic_load_explicit(&entry->ready, memory_order_relaxed) == 0)
			continue;
		llr_page_sum(cursor->page, entry, cursor->workers, counts);
		(void)fputs(comma, cursor->out);
		llr_text_put_json(cursor->out, entry->name);
		(void)fputs(": ", cursor->out);
		if (entry->bits != 0)
			print_histogram(cursor->out, counts, entry->bits);
		else
			(void)fprintf(cursor->out, "%" PRIu64, counts[0]);
		comma = ", ";
	}
}

/* A list of objects, one for each owner of that kind; label: what its text is called. */
static void print_owners(struct cursor *cursor, uint16_t kind, uint32_t count, const char *label)
{
	for (uint32_t owner = 0; owner < count; owner++) {
		struct llr_page_entry whose = {.kind = kind, .owner = (uint16_t)owner};

		(void)fprintf(cursor->out, "%s{\"%s\": ", owner == 0 ? "" : ", ", label);
		llr_text_put_json(cursor->out, llr_page_owner(cursor->page, &whose));
		print_entries(cursor, kind, (uint16_t)owner, ", ");
		(void)fputc('}', cursor->out);
	}
}

static void print_workers(FILE *out, const uint8_t *page, struct llr_page_workers workers)
{
	struct cursor cursor = {.out = out, .page = page, .workers = workers};
	const struct llr_page_head *head = llr_page_head(page);

	(void)fputs("{\"counters\": {", out);
	print_entries(&cursor, LLR_PAGE_WORKER, 0, "");
	(void)fputs("}, \"listeners\": [", out);
	print_owners(&cursor, LLR_PAGE_LISTENER, head->listener_count, "uri");
	(void)fputs("], \"methods\": [", out);
	print_owners(&cursor, LLR_PAGE_METHOD, head->method_count, "name");
	(void)fputs("], \"service\": {", out);
	print_entries(&cursor, LLR_PAGE_SERVICE, 0, "");
	(void)fputs("}}", out);
}

static void print_fallbacks(FILE *out, const uint8_t *page)
{
	uint32_t taken =
		atomic_load_explicit(&llr_page_head(page)->fallback_count, memory_order_relaxed);
	const char *comma = "";

	(void)fputs("\"fallbacks\": [", out);
	for (uint32_t i = 0; i < LLR_PAGE_FALLBACKS; i++) {
		const char *text = llr_page_fallback(page, i);

		if (text == NULL)
			continue;
		(void)fputs(comma, out);
		llr_text_put_json(out, text);
		comma = ", ";
	}
	(void)fprintf(out, "], \"fallbacks_not_kept\": %u",
		      taken > LLR_PAGE_FALLBACKS ? taken - LLR_PAGE_FALLBACKS : 0);
}

void llr_stats_print_json(FILE *out, const uint8_t *page, bool live)
{
	const struct llr_page_head *head = llr_page_head(page);
	uint64_t now_ns = llr_clock_wall_ns();

	(void)fputs("{\"name\": ", out);
	llr_text_put_json(out, head->name);
	(void)fprintf(out, ", \"pid\": %u, \"live\": %s, \"created_ns\": %" PRIu64 ", \"up_ns\": ",
		      head->pid, live ? "true" : "false", head->created_ns);
	if (live && now_ns >= head->created_ns)
		(void)fprintf(out, "%" PRIu64, now_ns - head->created_ns);
	else
		(void)fputs("null", out);
	(void)fputs(",\n\"total\": ", out);
	print_workers(out, page, (struct llr_page_workers){0, head->worker_count});
	(void)fputs(",\n\"workers\": [", out);
	for (uint32_t i = 0; i < head->worker_count; i++) {
		(void)fputs(i == 0 ? "\n" : ",\n", out);
		print_workers(out, page, (struct llr_page_workers){i, i + 1});
	}
	(void)fputs("],\n", out);
	print_fallbacks(out, page);
	(void)fputs("}\n", out);
}
