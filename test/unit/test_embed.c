/* SPDX-License-Identifier: MIT */
/*
 * A program of one's own, with the public headers alone: an engine that it turns itself, parks and
 * stops, and clients of it in a second thread, over shared memory, UDP and TCP. Its stats page can
 * be read by `llrph stats`, while it runs and after it.
 */
#include <llrph/client.h>
#include <llrph/engine.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ADD         "embed.Sum/Add"
#define ENDPOINTS   3U
#define REQUESTS    200U
#define PATIENCE_NS UINT64_C(20000000000)

static char folder[64];
static const char *command; /* llrph; NULL: not given */

/* The service's state: what was added up so far. */
static int sum_open(void **state, const char *options, struct llrph_error *error)
{
	static uint64_t sum;

	(void)error;
	assert_string_equal(options, "from=40");
	sum = 40;
	*state = &sum;
	return 0;
}

static int sum_add(struct llrph_call *call, void *state)
{
	uint64_t *sum = state;
	uint64_t number;
	uint64_t *room;

	if (call->payload_size != sizeof(number))
		return llrph_call_reason(call, LLRPH_STATUS_BAD_PAYLOAD, "a number has 8 bytes");
	room = llrph_call_room(call, sizeof(*room));
	if (room == NULL)
		return LLRPH_STATUS_UNAVAILABLE;
	memcpy(&number, call->payload, sizeof(number));
	*sum += number;
	*room = *sum;
	call->reply_size = sizeof(*room);
	return LLRPH_STATUS_OK;
}

static const struct llrph_method methods[] = {
	{.name = ADD, .handler = sum_add, .reply_size_max = sizeof(uint64_t)},
};
static const struct llrph_service sum_service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "sum",
	.state_kind = LLRPH_STATE_SINGLE,
	.method_count = 1,
	.methods = methods,
	.open = sum_open,
};

/* What the second thread is told, and what it says. */
struct caller {
	const char *uris[ENDPOINTS]; /* borrows: the engine's */
	uint64_t sum;
	unsigned int answered;
	char error[256];       /* "": none */
	_Atomic uint32_t done; /* released after all else; the engine's thread acquires it */
};

/* One endpoint: as many requests as they should be, and one that makes no sense. */
static int call_all(struct caller *caller, const char *uri)
{
	static const uint64_t one = 1;
	struct llrph_completion reply;
	struct llrph_error error = {""};
	struct llrph_client *client;
	int code = llrph_client_open(&client, uri, NULL, &error);

	if (code != 0) {
		(void)snprintf(caller->error, sizeof(caller->error), "%s", error.text);
		return code;
	}
	for (unsigned int i = 0; i < REQUESTS && code == 0; i++) {
		code = llrph_call_sync(client, llrph_route(ADD), &one, sizeof(one), 0, PATIENCE_NS,
				       &reply);
		if (code != 0 || reply.status != 200 || reply.size != sizeof(caller->sum))
			break;
		memcpy(&caller->sum, reply.payload, sizeof(caller->sum));
		caller->answered++;
	}
	if (code == 0)
		code = llrph_call_sync(client, llrph_route(ADD), "?", 1, 0, PATIENCE_NS, &reply);
	if (code != 0 || reply.status != 400)
		(void)snprintf(caller->error, sizeof(caller->error), "%s: %d, status %u", uri, code,
			       reply.status);
	llrph_client_close(client);
	return code;
}

static void *caller_main(void *argument)
{
	struct caller *caller = argument;

	for (unsigned int i = 0; i < ENDPOINTS && caller->error[0] == '\0'; i++)
		(void)call_all(caller, caller->uris[i]);
	atomic_store_explicit(&caller->done, 1, memory_order_release);
	return NULL;
}

/* Whether `llrph stats embedded` says part. */
static void expect_stats(const char *part)
{
	char line[512];
	char text[16384] = "";
	size_t size;
	FILE *output;

	if (command == NULL)
		return;
	(void)snprintf(line, sizeof(line), "'%s' stats embedded", command);
	output = popen(line, "r");
	assert_non_null(output);
	size = fread(text, 1, sizeof(text) - 1, output);
	assert_true(size > 0);
	assert_int_equal(pclose(output), 0);
	if (strstr(text, part) == NULL)
		fail_msg("'%s' does not say '%s'", text, part);
}

static struct llrph_engine *start(void)
{
	static const char *const uris[] = {"shm:embedded", "udp:127.0.0.1:0", "tcp:127.0.0.1:0"};
	struct llrph_engine_options options = {
		.size = sizeof(options), .name = "embedded", .park = 1};
	struct llrph_error error = {""};
	struct llrph_engine *engine = NULL;

	if (llrph_engine_open(&engine, &options, &error) != 0 ||
	    llrph_engine_register(engine, &sum_service, "from=40", &error) != 0)
		fail_msg("%s", error.text);
	for (unsigned int i = 0; i < ENDPOINTS; i++) {
		if (llrph_engine_listen(engine, uris[i], &error) != 0)
			fail_msg("%s", error.text);
	}
	if (llrph_engine_start(engine, &error) != 0)
		fail_msg("%s", error.text);
	assert_null(llrph_engine_endpoint(engine, ENDPOINTS));
	return engine;
}

static void test_own_program(void **state)
{
	struct llrph_engine *engine = start();
	struct llrph_engine *second = NULL;
	struct llrph_engine_options options = {.size = sizeof(options), .name = "embedded"};
	struct llrph_error error = {""};
	struct caller caller = {.sum = 0};
	pthread_t thread;

	(void)state;
	for (unsigned int i = 0; i < ENDPOINTS; i++)
		caller.uris[i] = llrph_engine_endpoint(engine, i);
	assert_int_equal(pthread_create(&thread, NULL, caller_main, &caller), 0);
	while (atomic_load_explicit(&caller.done, memory_order_acquire) == 0) {
		if (llrph_engine_turn(engine) == 0)
			assert_int_equal(llrph_engine_wait(engine, 10000000), 0);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(caller.error, "");
	assert_int_equal(caller.answered, ENDPOINTS * REQUESTS);
	assert_int_equal(caller.sum, 40 + ENDPOINTS * REQUESTS);
	expect_stats(ADD);
	assert_int_equal(llrph_engine_stop(engine), 0);
	while (llrph_engine_turn(engine) > 0) {
	}
	/* Its name is its own while it lives. */
	if (llrph_engine_open(&second, &options, &error) == 0) {
		assert_int_equal(llrph_engine_listen(second, "shm:embedded", &error), -EEXIST);
		llrph_engine_close(second);
	}
	llrph_engine_close(engine);
	/* The page tells of it afterwards. */
	expect_stats(ADD);
	llrph_engine_close(start());
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_own_program)};
	char path[128];
	int failed;

	command = argc > 1 ? argv[1] : NULL;
	(void)snprintf(folder, sizeof(folder), "/tmp/llrph-embed-XXXXXX");
	if (mkdtemp(folder) == NULL || setenv("LLRPH_RUNTIME_DIR", folder, 1) != 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)snprintf(path, sizeof(path), "%s/embedded.stats", folder);
	(void)unlink(path);
	/* Nothing else may be left. */
	return rmdir(folder) == 0 ? failed : 1;
}
