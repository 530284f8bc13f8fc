/* SPDX-License-Identifier: MIT */
/*
 * What a bench found: a line while it runs, then a table or one JSON object.
 *
 * Thread: the process's only one. Owns nothing.
 */
#include "bench.h"

#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>

static const char *const error_names[LLR_BENCH_ERROR_COUNT] = {
#define ERROR_NAME(name, code, http, retry, text) [LLR_BENCH_ERROR_##name] = #name,
	LLRPH_ERROR_TABLE(ERROR_NAME)
#undef ERROR_NAME
		[LLR_BENCH_WRONG_PAYLOAD] = "WRONG_PAYLOAD",
	[LLR_BENCH_UNKNOWN] = "UNKNOWN",
};

static const char *error_text(unsigned int error)
{
	static const char *const texts[LLR_BENCH_ERROR_COUNT] = {
#define ERROR_TEXT(name, code, http, retry, text) [LLR_BENCH_ERROR_##name] = (text),
		LLRPH_ERROR_TABLE(ERROR_TEXT)
#undef ERROR_TEXT
			[LLR_BENCH_WRONG_PAYLOAD] = "the echo is not what was sent",
		[LLR_BENCH_UNKNOWN] = "unknown error",
	};

	return texts[error];
}

static const struct {
	const char *name;
	double percentile;
} percentiles[] = {
	{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99},
};
#define PERCENTILE_COUNT (sizeof(percentiles) / sizeof(percentiles[0]))

/* A step's upper end may lie above the largest value in it. */
static uint64_t percentile_ns(const struct llr_bench_result *result, double percentile)
{
	uint64_t ns = llr_histogram_percentile(result->histogram, LLR_BENCH_BITS, percentile);

	return ns < result->max_ns ? ns : result->max_ns;
}

static uint64_t min_ns(const struct llr_bench_result *result)
{
	return result->good > 0 ? result->min_ns : 0;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static double rate(uint64_t count, uint64_t ns)
{
	return ns > 0 ? (double)count / seconds(ns) : 0.0;
}

/* Bytes of a payload, the mean where they differ. */
static uint64_t mean_size(const struct llr_bench_load *load)
{
	return (load->total_size + load->count / 2) / load->count;
}

void llr_bench_print_progress(const struct llr_bench *bench, uint64_t elapsed_ns)
{
	const struct llr_bench_result *result = bench->result;

	/* Overwrites the line before; 0 clears it. */
	(void)fputs("\r\033[K", stderr);
	if (elapsed_ns > 0)
		(void)fprintf(stderr, "%.0f s  %" PRIu64 " requests  %.0f/s  %" PRIu64 " failed",
			      seconds(elapsed_ns), result->good + result->failed,
			      rate(result->good, elapsed_ns), result->failed);
	(void)fflush(stderr);
}

static void put_lower(FILE *out, const char *name)
{
	for (; *name != '\0'; name++)
		(void)fputc(tolower((unsigned char)*name), out);
}

static void print_json_errors(FILE *out, const struct llr_bench_result *result)
{
	const char *comma = "";

	for (unsigned int i = 0; i < LLR_BENCH_ERROR_COUNT; i++) {
		if (result->errors[i] == 0)
			continue;
		(void)fprintf(out, "%s\"", comma);
		put_lower(out, error_names[i]);
		(void)fprintf(out, "\": %" PRIu64, result->errors[i]);
		comma = ", ";
	}
	for (unsigned int i = 0; i < LLR_BENCH_STATUS_MAX; i++) {
		if (result->statuses[i] == 0)
			continue;
		(void)fprintf(out, "%s\"status_%u\": %" PRIu64, comma, i, result->statuses[i]);
		comma = ", ";
	}
}

static void print_json(FILE *out, const struct llr_bench *bench)
{
	const struct llr_bench_result *result = bench->result;

	(void)fputs("{\"endpoint\": ", out);
	llr_text_put_json(out, bench->plan->uri);
	(void)fputs(", \"method\": ", out);
	llr_text_put_json(out, bench->plan->method);
	(void)fprintf(out, ", \"size\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"errors\": {",
		      mean_size(bench->load), result->good + result->failed);
	print_json_errors(out, result);
	(void)fprintf(out,
		      "}, \"seconds\": %.6f, \"rate\": %.1f, \"latency_ns\": {\"min\": %" PRIu64,
		      seconds(result->elapsed_ns), rate(result->good, result->elapsed_ns),
		      min_ns(result));
	for (size_t i = 0; i < PERCENTILE_COUNT; i++)
		(void)fprintf(out, ", \"%s\": %" PRIu64, percentiles[i].name,
			      percentile_ns(result, percentiles[i].percentile));
	(void)fprintf(out, ", \"max\": %" PRIu64 ", \"mean\": %.1f, \"stddev\": %.1f}}\n",
		      result->max_ns, llr_histogram_mean(result->histogram, LLR_BENCH_BITS),
		      llr_histogram_stddev(result->histogram, LLR_BENCH_BITS));
}

static void print_errors(FILE *out, const struct llr_bench_result *result)
{
	for (unsigned int i = 0; i < LLR_BENCH_ERROR_COUNT; i++) {
		if (result->errors[i] == 0)
			continue;
		(void)fprintf(out, "  %10" PRIu64 "  ", result->errors[i]);
		put_lower(out, error_names[i]);
		(void)fprintf(out, ": %s\n", error_text(i));
	}
	for (unsigned int i = 0; i < LLR_BENCH_STATUS_MAX; i++)
		if (result->statuses[i] != 0)
			(void)fprintf(out, "  %10" PRIu64 "  status_%u: %s\n", result->statuses[i],
				      i, llrph_status_text(i));
}

static void print_latency(FILE *out, const char *name, double ns)
{
	(void)fprintf(out, "  %-7s %12.2f\n", name, ns / 1000.0);
}

static void print_table(FILE *out, const struct llr_bench *bench)
{
	const struct llr_bench_plan *plan = bench->plan;
	const struct llr_bench_result *result = bench->result;

	(void)fputs("endpoint     ", out);
	llr_text_put(out, plan->uri);
	(void)fputs("\nmethod       ", out);
	llr_text_put(out, plan->method);
	(void)fprintf(out,
		      "\npayload      %" PRIu64 " bytes%s\n"
		      "outstanding  %" PRIu64 ", %s\n"
		      "requests     %" PRIu64 " in %.3f s%s\n"
		      "rate         %.0f/s\n"
		      "failed       %" PRIu64 "\n",
		      mean_size(bench->load), bench->load->count > 1 ? " on average" : "",
		      plan->outstanding, plan->idle == LLRPH_IDLE_SPIN ? "spinning" : "parking",
		      result->good + result->failed, seconds(result->elapsed_ns),
		      result->interrupted ? ", interrupted" : "",
		      rate(result->good, result->elapsed_ns), result->failed);
	print_errors(out, result);
	if (result->good == 0)
		return;
	(void)fputs("latency, us (closed loop)\n", out);
	print_latency(out, "min", (double)min_ns(result));
	for (size_t i = 0; i < PERCENTILE_COUNT; i++)
		print_latency(out, percentiles[i].name,
			      (double)percentile_ns(result, percentiles[i].percentile));
	print_latency(out, "max", (double)result->max_ns);
	print_latency(out, "mean", llr_histogram_mean(result->histogram, LLR_BENCH_BITS));
	print_latency(out, "stddev", llr_histogram_stddev(result->histogram, LLR_BENCH_BITS));
}

void llr_bench_report(FILE *out, const struct llr_bench *bench)
{
	if (bench->plan->json)
		print_json(out, bench);
	else
		print_table(out, bench);
}
