/* SPDX-License-Identifier: MIT */
/*
 * The closed loop: as many requests outstanding as was asked for, each reply makes room for the
 * next request. It waits for its replies, so a server that stalls is asked less meanwhile: the
 * percentiles are of a closed loop, and say nothing of a load that does not wait.
 *
 * Thread: the process's only one; signal handlers only count. Owns nothing that outlives the run.
 *
 * Nothing here allocates, and a request costs no more than its copy, its record in the histogram
 * and what the client takes: the clock is read every 64 rounds.
 */
#include "bench.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define BATCH_COUNT        64U
#define ROUNDS_EACH_LOOK   64U /* between looks at the clock */
#define PROGRESS_NS        UINT64_C(1000000000)
#define WAIT_NS            UINT64_C(10000000) /* so soon a signal is noticed while parked */
#define RECONNECT_PAUSE_NS UINT64_C(1000000)  /* between tries to send to a dead peer */

static volatile sig_atomic_t signals_caught;

struct loop {
	const struct llr_bench *bench;   /* borrows */
	struct llr_bench_result *result; /* borrows; the warm-up's is thrown away */
	struct llr_bench_save *save;     /* borrows; NULL: none */
	uint64_t number;                 /* of the next request */
	uint64_t message;                /* its message's index */
	uint64_t end;                    /* number of the first request that is not sent */
	uint64_t outstanding;
	uint64_t begun_ns;
	uint64_t deadline_ns; /* UINT64_MAX: none */
	uint64_t progress_ns; /* when to print the next line; UINT64_MAX: never */
	uint64_t refused_ns;  /* since when nothing could be sent while nothing was outstanding */
	uint64_t rounds;
	bool stopping;     /* nothing new is sent */
	bool stop_at_fail; /* the warm-up's: a failure ends it */
};

static void on_signal(int signal_number)
{
	(void)signal_number;
	signals_caught++;
}

void llr_bench_catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: waits must end */

	(void)sigemptyset(&action.sa_mask);
	LLR_MUST(sigaction(SIGINT, &action, NULL) == 0);
	LLR_MUST(sigaction(SIGTERM, &action, NULL) == 0);
}

static unsigned int error_index(int code)
{
	switch (code) {
#define ERROR_CASE(name, value, http, retry, text)                                                 \
	case -(value):                                                                             \
		return LLR_BENCH_ERROR_##name;
		LLRPH_ERROR_TABLE(ERROR_CASE)
#undef ERROR_CASE
	default:
		return LLR_BENCH_UNKNOWN;
	}
}

static void count_failure(struct loop *loop, unsigned int error)
{
	loop->result->errors[error]++;
	loop->result->failed++;
	if (loop->stop_at_fail)
		loop->stopping = true;
}

static void next_message(struct loop *loop)
{
	loop->number++;
	if (++loop->message == loop->bench->load->count)
		loop->message = 0;
}

/* The next request can't be sent, not even later: it counts as failed, and the one after it is due.
 */
static void skip_request(struct loop *loop, int code)
{
	struct llrph_completion completion = {.tag = loop->number, .error = code};

	count_failure(loop, error_index(code));
	if (loop->save != NULL)
		llr_bench_save_reply(loop->save, loop->number, &completion);
	next_message(loop);
}

/* Refusals pass when replies come; where none is awaited they may last for one time-out. */
static bool refused_too_long(struct loop *loop)
{
	uint64_t now_ns;

	if (loop->outstanding > 0)
		return false;
	now_ns = llr_clock_now(loop->bench->clock);
	if (loop->refused_ns == 0)
		loop->refused_ns = now_ns;
	return now_ns - loop->refused_ns > loop->bench->plan->timeout_ns;
}

/* Sends the next request; false: poll first. */
static bool send_one(struct loop *loop)
{
	const struct llr_bench *bench = loop->bench;
	const struct llr_bench_message *message = &bench->load->messages[loop->message];
	void *payload = NULL;
	int64_t sequence;
	int code = llrph_call_begin(bench->client, message->size, &payload);

	if (code != 0) {
		if ((code == -EAGAIN || code == -ENOBUFS) && !refused_too_long(loop))
			return false;
		loop->refused_ns = 0;
		skip_request(loop, code);
		(void)llrph_client_wait(bench->client, RECONNECT_PAUSE_NS);
		return false;
	}
	memcpy(payload, message->bytes, message->size);
	if (bench->load->stamped)
		llr_le64_store(payload, loop->number);
	sequence = llrph_call_commit(bench->client, bench->route, message->size, bench->plan->flags,
				     bench->plan->timeout_ns, loop->number);
	if (sequence < 0) {
		skip_request(loop, (int)sequence);
		return false;
	}
	loop->refused_ns = 0;
	loop->outstanding++;
	next_message(loop);
	return true;
}

static void send_all(struct loop *loop)
{
	uint64_t end = loop->end;

	if (loop->save != NULL)
		end = llr_min_u64(end, llr_bench_save_limit(loop->save));
	while (!loop->stopping && loop->outstanding < loop->bench->plan->outstanding &&
	       loop->number < end)
		if (!send_one(loop))
			break;
}

static bool is_echo(const struct llr_bench_load *load, const struct llrph_completion *completion)
{
	uint64_t index = load->count == 1 ? 0 : completion->tag % load->count;
	const struct llr_bench_message *message = &load->messages[index];
	const uint8_t *payload = completion->payload;
	uint32_t from = 0;

	if (completion->size != message->size)
		return false;
	if (load->stamped) {
		if (llr_le64_load(payload) != completion->tag)
			return false;
		from = sizeof(uint64_t);
	}
	return message->size == from ||
	       memcmp(payload + from, message->bytes + from, message->size - from) == 0;
}

static void count_status(struct loop *loop, unsigned int status)
{
	if (status >= LLR_BENCH_STATUS_MAX) {
		count_failure(loop, LLR_BENCH_ERROR_BAD_PEER);
		return;
	}
	loop->result->statuses[status]++;
	loop->result->failed++;
	if (loop->stop_at_fail)
		loop->stopping = true;
}

static void take_completion(struct loop *loop, const struct llrph_completion *completion)
{
	struct llr_bench_result *result = loop->result;
	uint64_t latency_ns = completion->latency_ns;

	if (loop->save != NULL)
		llr_bench_save_reply(loop->save, completion->tag, completion);
	if (completion->more != 0)
		return;
	LLR_ASSERT_HOT(loop->outstanding > 0);
	loop->outstanding--;
	if (completion->error != 0) {
		count_failure(loop, error_index(completion->error));
		return;
	}
	if (completion->status / 100 != 2) {
		count_status(loop, completion->status);
		return;
	}
	if (loop->bench->plan->echo && !is_echo(loop->bench->load, completion)) {
		count_failure(loop, LLR_BENCH_WRONG_PAYLOAD);
		return;
	}
	result->good++;
	llr_histogram_record(result->histogram, LLR_BENCH_BITS, latency_ns);
	if (latency_ns < result->min_ns)
		result->min_ns = latency_ns;
	if (latency_ns > result->max_ns)
		result->max_ns = latency_ns;
}

/* Looks at the clock and for signals; false: leave at once. */
static bool look_up(struct loop *loop)
{
	uint64_t now_ns = llr_clock_now(loop->bench->clock);

	if (signals_caught > 0) {
		loop->stopping = true;
		loop->result->interrupted = true;
	}
	if (now_ns >= loop->deadline_ns)
		loop->stopping = true;
	if (now_ns >= loop->progress_ns) {
		llr_bench_print_progress(loop->bench, now_ns - loop->begun_ns);
		loop->progress_ns += PROGRESS_NS;
	}
	return signals_caught < 2;
}

static void run_loop(struct loop *loop)
{
	struct llrph_completion completions[BATCH_COUNT];
	struct llrph_client *client = loop->bench->client;
	bool parks = loop->bench->plan->idle == LLRPH_IDLE_PARK;

	loop->begun_ns = llr_clock_now(loop->bench->clock);
	for (;;) { /* until all that was begun has ended, by its deadline at the latest */
		unsigned int count;

		send_all(loop);
		if (loop->outstanding == 0 && (loop->stopping || loop->number == loop->end))
			break;
		count = llrph_client_poll(client, completions, BATCH_COUNT);
		for (unsigned int i = 0; i < count; i++)
			take_completion(loop, &completions[i]);
		if (count == 0 && parks) {
			(void)llrph_client_wait(client, WAIT_NS);
			loop->rounds = 0;
		}
		if (loop->rounds++ % ROUNDS_EACH_LOOK == 0 && !look_up(loop))
			break;
	}
	loop->result->elapsed_ns = llr_clock_now(loop->bench->clock) - loop->begun_ns;
}

static void warm_up(const struct llr_bench *bench)
{
	struct llr_bench_result *result = bench->result;
	struct loop loop = {
		.bench = bench,
		.result = result,
		.end = bench->plan->warmup_count,
		.deadline_ns = UINT64_MAX,
		.progress_ns = UINT64_MAX,
		.stop_at_fail = true,
	};
	uint64_t *histogram = result->histogram;

	run_loop(&loop);
	memset(histogram, 0, LLR_HISTOGRAM_COUNT(LLR_BENCH_BITS) * sizeof(*histogram));
	*result = (struct llr_bench_result){
		.histogram = histogram,
		.min_ns = UINT64_MAX,
		.interrupted = result->interrupted,
	};
}

void llr_bench_run(const struct llr_bench *bench)
{
	const struct llr_bench_plan *plan = bench->plan;
	struct loop loop = {
		.bench = bench,
		.result = bench->result,
		.save = bench->save,
		.end = plan->request_count != 0 ? plan->request_count : UINT64_MAX,
		.deadline_ns = UINT64_MAX,
		.progress_ns = UINT64_MAX,
	};
	uint64_t now_ns;

	LLR_ASSERT(plan->request_count != 0 || plan->duration_ns != 0);
	LLR_ASSERT(plan->outstanding >= 1);
	warm_up(bench);
	now_ns = llr_clock_now(bench->clock);
	if (plan->duration_ns != 0)
		loop.deadline_ns = now_ns + plan->duration_ns;
	if (isatty(STDERR_FILENO))
		loop.progress_ns = now_ns + PROGRESS_NS;
	loop.stopping = bench->result->interrupted;
	run_loop(&loop);
	if (loop.progress_ns != UINT64_MAX)
		llr_bench_print_progress(bench, 0);
}
