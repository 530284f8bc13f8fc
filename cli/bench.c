/* SPDX-License-Identifier: MIT */
/*
 * llrph bench: reads what is asked for, takes everything that the run needs, runs and reports.
 *
 * Thread: the process's only one. Owns load, client, recorder and the file of --save.
 */
#include "bench.h"
#include "cli.h"

#include "base/limits.h"
#include "base/memory.h"

#include <llrph/service.h>

#include <errno.h>
#include <sched.h>
#include <string.h>

#define ECHO_METHOD    "llrph.Echo/Echo"
#define NS_EACH_MS     UINT64_C(1000000)
#define NS_EACH_S      UINT64_C(1000000000)
#define WARMUP_DEFAULT UINT64_C(10000)
#define DURATION_NS    (5 * NS_EACH_S)
#define TIMEOUT_NS     (1 * NS_EACH_S)
#define COUNT_MAX      (UINT64_C(1) << 53) /* what JSON's numbers hold exactly */
#define NO_CPU         UINT64_MAX

static const char help_text[] =
	"usage: llrph bench URI [METHOD] [OPTION...]\n"
	"\n"
	"Sends requests in a closed loop and reports rate and latency.\n"
	"METHOD is llrph.Echo/Echo if none is given; its replies are compared with what was sent.\n"
	"\n"
	"  --size B           bytes of payload (64)\n"
	"  --data FILE        send the messages of a file instead, once\n"
	"  --framing WORD     how FILE is cut: itch, lines or length32\n"
	"  --duration S       measure for so long (5 seconds; --data: the whole file)\n"
	"  --requests N       measure so many requests; with --duration too, what comes first\n"
	"  --warmup N         requests before it measures (10000; --data: 0)\n"
	"  --outstanding K    requests without an answer at a time, 1 to 1024 (1)\n"
	"  --idle WORD        how to wait for replies: spin or park (park)\n"
	"  --timeout MS       how long a request may take (1000)\n"
	"  --idempotent       requests may run more than once\n"
	"  --cpu N            run on that core\n"
	"  --save FILE        keep the replies, in order, as length32 records\n"
	"  --json             report one JSON object\n"
	"\n"
	"Exit status: 0 every request was answered 2xx, 1 one failed or none ended, 2 wrong "
	"usage.\n"
	"See llrph-bench(1).\n";

/* What options were given, where a default depends on others. */
struct given {
	bool duration;
	bool warmup;
	bool size;
	bool framing;
};

enum option_id {
	OPTION_SIZE = 256, /* beyond characters */
	OPTION_DATA,
	OPTION_FRAMING,
	OPTION_DURATION,
	OPTION_REQUESTS,
	OPTION_WARMUP,
	OPTION_OUTSTANDING,
	OPTION_IDLE,
	OPTION_TIMEOUT,
	OPTION_IDEMPOTENT,
	OPTION_CPU,
	OPTION_SAVE,
	OPTION_JSON,
};

static const struct option options[] = {
	{"size", required_argument, NULL, OPTION_SIZE},
	{"data", required_argument, NULL, OPTION_DATA},
	{"framing", required_argument, NULL, OPTION_FRAMING},
	{"duration", required_argument, NULL, OPTION_DURATION},
	{"requests", required_argument, NULL, OPTION_REQUESTS},
	{"warmup", required_argument, NULL, OPTION_WARMUP},
	{"outstanding", required_argument, NULL, OPTION_OUTSTANDING},
	{"idle", required_argument, NULL, OPTION_IDLE},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"idempotent", no_argument, NULL, OPTION_IDEMPOTENT},
	{"cpu", required_argument, NULL, OPTION_CPU},
	{"save", required_argument, NULL, OPTION_SAVE},
	{"json", no_argument, NULL, OPTION_JSON},
	{0},
};

static int read_duration(uint64_t *value_ns)
{
	static const struct llr_cli_span span = {NS_EACH_S, NS_EACH_MS, 86400 * NS_EACH_S};

	return llr_cli_parse_duration("--duration", optarg, &span, value_ns);
}

static int read_timeout(uint64_t *value_ns)
{
	static const struct llr_cli_span span = {NS_EACH_MS, 1000, 3600 * NS_EACH_S};

	return llr_cli_parse_duration("--timeout", optarg, &span, value_ns);
}

static int read_framing(uint64_t *framing)
{
	static const char *const words[] = {"itch", "lines", "length32", NULL};
	unsigned int index = 0;
	int code = llr_cli_parse_word("--framing", optarg, words, &index);

	*framing = index; /* as in enum llr_bench_framing */
	return code;
}

static int read_idle(unsigned int *idle)
{
	static const char *const words[] = {"park", "spin", NULL}; /* as in enum llrph_idle */

	return llr_cli_parse_word("--idle", optarg, words, idle);
}

/* Takes one option; 0 or an exit status after a complaint. */
static int take_option(struct llr_bench_plan *plan, struct given *given, int option)
{
	switch (option) {
	case OPTION_SIZE:
		given->size = true;
		return llr_cli_parse_size("--size", optarg, 0, LLR_PAYLOAD_SIZE_MAX, &plan->size);
	case OPTION_DATA:
		plan->data = optarg;
		return 0;
	case OPTION_FRAMING:
		given->framing = true;
		return read_framing(&plan->framing);
	case OPTION_DURATION:
		given->duration = true;
		return read_duration(&plan->duration_ns);
	case OPTION_REQUESTS:
		return llr_cli_parse_count("--requests", optarg, 1, COUNT_MAX,
					   &plan->request_count);
	case OPTION_WARMUP:
		given->warmup = true;
		return llr_cli_parse_count("--warmup", optarg, 0, COUNT_MAX, &plan->warmup_count);
	case OPTION_OUTSTANDING:
		return llr_cli_parse_count("--outstanding", optarg, 1, LLR_WINDOW_MAX,
					   &plan->outstanding);
	case OPTION_IDLE:
		return read_idle(&plan->idle);
	case OPTION_TIMEOUT:
		return read_timeout(&plan->timeout_ns);
	case OPTION_IDEMPOTENT:
		plan->flags |= LLRPH_REQUEST_IDEMPOTENT;
		return 0;
	case OPTION_CPU:
		return llr_cli_parse_count("--cpu", optarg, 0, CPU_SETSIZE - 1, &plan->cpu);
	case OPTION_SAVE:
		plan->save = optarg;
		return 0;
	case OPTION_JSON:
		plan->json = true;
		return 0;
	default:
		return LLR_CLI_USAGE; /* llr_cli_option() has complained */
	}
}

/* Takes URI and METHOD, and fills in what depends on several options. */
static int resolve(struct llr_bench_plan *plan, const struct given *given, int argc, char **argv)
{
	if (optind == argc)
		return llr_cli_wrong("no endpoint: give its URI, as in llrph bench shm:demo");
	if (argc - optind > 2)
		return llr_cli_wrong("URI and METHOD are enough: '%s' is too much",
				     argv[optind + 2]);
	plan->uri = argv[optind];
	plan->method = optind + 1 < argc ? argv[optind + 1] : ECHO_METHOD;
	plan->echo = strcmp(plan->method, ECHO_METHOD) == 0;
	if (strchr(plan->uri, ':') == NULL)
		return llr_cli_wrong("'%s' is no URI: give shm:NAME, udp:HOST:PORT or "
				     "tcp:HOST:PORT",
				     plan->uri);
	if (plan->data != NULL && !given->framing)
		return llr_cli_wrong("--data needs --framing itch, lines or length32");
	if (plan->data == NULL && given->framing)
		return llr_cli_wrong("--framing is about --data: give a FILE with it");
	if (plan->data != NULL && given->size)
		return llr_cli_wrong("--size and --data exclude each other: give one");
	if (plan->data == NULL && !given->warmup)
		plan->warmup_count = WARMUP_DEFAULT;
	if (plan->data == NULL && !given->duration && plan->request_count == 0)
		plan->duration_ns = DURATION_NS;
	return 0;
}

/* 0: plan is filled; -1: help was printed; else an exit status. */
static int read_plan(struct llr_bench_plan *plan, int argc, char **argv)
{
	struct given given = {0};
	int option;

	*plan = (struct llr_bench_plan){
		.size = 64,
		.outstanding = 1,
		.timeout_ns = TIMEOUT_NS,
		.cpu = NO_CPU,
		.idle = LLRPH_IDLE_PARK,
	};
	while ((option = llr_cli_option(argc, argv, options)) != -1) {
		int code;

		if (option == 'h') {
			(void)fputs(help_text, stdout);
			return -1;
		}
		code = take_option(plan, &given, option);
		if (code != 0)
			return code;
	}
	return resolve(plan, &given, argc, argv);
}

static int pin(uint64_t cpu)
{
	cpu_set_t set;

	if (cpu == NO_CPU)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return 0;
	return llr_cli_fail("can't run on --cpu %llu: %s; taskset -p $$ shows which there are",
			    (unsigned long long)cpu, strerror(errno));
}

/* The whole of a file, unless a number or a time was given. */
static void resolve_requests(struct llr_bench_plan *plan, const struct llr_bench_load *load)
{
	if (plan->request_count == 0 && plan->duration_ns == 0)
		plan->request_count = load->count;
}

static int open_client(struct llr_bench *bench)
{
	const struct llr_bench_plan *plan = bench->plan;
	struct llrph_client_options client_options = {
		.size = sizeof(client_options),
		.window = 1,
		.idle = plan->idle,
	};
	struct llrph_client_info info = {.size = sizeof(info)};
	struct llrph_error error = {{0}};

	/* Windows are powers of two. */
	while (client_options.window < plan->outstanding)
		client_options.window *= 2;
	if (bench->load->size_max > LLR_PAYLOAD_SIZE_DEFAULT)
		client_options.max_message = bench->load->size_max;
	if (llrph_client_open(&bench->client, plan->uri, &client_options, &error) != 0)
		return llr_cli_fail("%s", error.text);
	llrph_client_info(bench->client, &info);
	if (info.max_message < bench->load->size_max)
		return llr_cli_fail("%s takes messages of %u bytes at most, the largest to send "
				    "has %u: send smaller ones, or raise the server's limit",
				    plan->uri, info.max_message, bench->load->size_max);
	if (info.window < plan->outstanding)
		return llr_cli_fail("%s grants %u requests outstanding: give --outstanding %u or "
				    "less",
				    plan->uri, info.window, info.window);
	if (plan->save != NULL)
		return llr_bench_save_open(&bench->save, plan, info.max_message);
	return 0;
}

/* Everything but the plan; whatever was taken is given back at the end, in any case. */
static int run(struct llr_bench_plan *plan)
{
	size_t histogram_size = LLR_HISTOGRAM_COUNT(LLR_BENCH_BITS) * sizeof(uint64_t);
	struct llr_bench_load load = {0};
	struct llr_bench_result result = {.min_ns = UINT64_MAX};
	struct llr_clock clock;
	struct llr_bench bench = {
		.plan = plan,
		.load = &load,
		.clock = &clock,
		.route = llrph_route(plan->method),
		.result = &result,
	};
	int saved;
	int code = pin(plan->cpu);

	if (code == 0)
		code = llr_bench_load_open(&load, plan);
	if (code != 0)
		return code;
	resolve_requests(plan, &load);
	llr_clock_init(&clock);
	result.histogram = llr_memory_map(histogram_size, "latency recorder");
	if (result.histogram == NULL)
		code = llr_cli_fail("no memory for the recorder of %zu bytes", histogram_size);
	if (code == 0)
		code = open_client(&bench);
	if (code == 0) {
		llr_bench_catch_signals();
		llr_bench_run(&bench);
		llr_bench_report(stdout, &bench);
		if (result.failed > 0 || result.good == 0)
			code = LLR_CLI_FAILED;
		if (fflush(stdout) != 0)
			code = llr_cli_fail("can't write to standard output: %s", strerror(errno));
	}
	saved = llr_bench_save_close(bench.save);
	llrph_client_close(bench.client);
	llr_memory_unmap(result.histogram, histogram_size);
	llr_bench_load_close(&load);
	return code != 0 ? code : saved;
}

int llr_cli_bench(int argc, char **argv)
{
	struct llr_bench_plan plan;
	int code = read_plan(&plan, argc, argv);

	if (code != 0)
		return code < 0 ? LLR_CLI_DONE : code;
	return run(&plan);
}
