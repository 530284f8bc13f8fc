/* SPDX-License-Identifier: MIT */
/*
 * No allocation after start, on either side: an engine and its clients in one process, over shared
 * memory, UDP and TCP, frozen, answer a million requests and take every error path on the way. What
 * allocates ends the process (frozen.c). Attaching lanes is the one exemption.
 *
 * The engine has a thread of its own while a client opens, for that blocks; then all of it is one
 * thread that takes turns, so that it runs the same way each time.
 */
#include "lab.h"

#include "engine/inside.h"

#include <llrph/client.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALE 50U
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SCALE 50U
#endif
#endif
#ifndef SCALE
#define SCALE 1U
#endif

#define SHM_COUNT   (700000U / SCALE)
#define TCP_COUNT   (200000U / SCALE)
#define UDP_COUNT   (110000U / SCALE)
#define RAW_ROUNDS  (50U / SCALE + 1U)
#define MAX_MESSAGE 131072U /* more than loopback's datagrams hold: fragments */
#define PATIENCE_NS UINT64_C(20000000000)
#define TIMEOUT_NS  UINT64_C(10000000000)
#define RETRY_NS    UINT64_C(50000000) /* 429 and 503: a client tries again so long */
#define BURST       64U

static struct llrph_engine *engine;
static char folder[64];
static atomic_bool opened; /* the opener's word to the engine's thread; publishes nothing else */

/* What the test's method Never has put off. */
static struct llrph_deferred *never[LLR_DEFERRED_MAX];
static unsigned int never_count;
static struct llrph_deferred *soon[LLR_DEFERRED_MAX];
static unsigned int soon_count;

static int echo(struct llrph_call *call, void *state)
{
	void *room = llrph_call_room(call, call->payload_size);

	(void)state;
	if (room == NULL)
		return llrph_call_reason(call, LLRPH_STATUS_TOO_LARGE, "no room");
	if (call->payload_size > 0)
		memcpy(room, call->payload, call->payload_size);
	call->reply_size = call->payload_size;
	return LLRPH_STATUS_OK;
}

static int status(struct llrph_call *call, void *state)
{
	(void)state;
	return call->payload_size < 2 ? LLRPH_STATUS_BAD_PAYLOAD : llr_le16_load(call->payload);
}

static int parts(struct llrph_call *call, void *state)
{
	for (int i = 0; i < 3; i++) {
		if (echo(call, state) != LLRPH_STATUS_OK || llrph_call_part(call) != 0)
			return LLRPH_STATUS_HANDLER_FAILED;
	}
	return echo(call, state);
}

static int put_off(struct llrph_call *call, struct llrph_deferred **list, unsigned int *count)
{
	struct llrph_deferred *deferred = llrph_call_defer(call);

	if (deferred == NULL)
		return LLRPH_STATUS_UNAVAILABLE;
	list[(*count)++] = deferred;
	return LLRPH_DEFERRED;
}

static int later(struct llrph_call *call, void *state)
{
	(void)state;
	return put_off(call, soon, &soon_count);
}

static int much_later(struct llrph_call *call, void *state)
{
	(void)state;
	return put_off(call, never, &never_count);
}

static void poll(void *state, uint64_t now_ns)
{
	(void)state;
	(void)now_ns;
	while (soon_count > 0 && llrph_deferred_reply(soon[soon_count - 1], 200, "soon", 4, 0) == 0)
		soon_count--;
}

static const uint16_t declared[] = {422, 0};
static const struct llrph_method methods[] = {
	{.name = "frozen/Echo", .handler = echo, .reply_size_max = LLRPH_REPLY_ANY},
	{.name = "frozen/Status", .handler = status, .statuses = declared},
	{.name = "frozen/Parts", .handler = parts, .reply_size_max = LLRPH_REPLY_ANY},
	{.name = "frozen/Later", .handler = later, .reply_size_max = 16},
	{.name = "frozen/Never", .handler = much_later, .reply_size_max = 16},
	{.name = "frozen/Small", .handler = echo, .reply_size_max = 2},
};
static const struct llrph_service service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "frozen",
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.poll = poll,
};

static void *turn_until_opened(void *unused)
{
	(void)unused;
	while (!atomic_load_explicit(&opened, memory_order_relaxed)) {
		if (llrph_engine_turn(engine) == 0)
			(void)llrph_engine_wait(engine, 1000000);
	}
	return NULL;
}

static struct llrph_client *client_open(unsigned int endpoint)
{
	struct llrph_client_options options = {
		.size = sizeof(options), .max_message = MAX_MESSAGE, .idle = LLRPH_IDLE_SPIN};
	struct llrph_client *client = NULL;
	struct llrph_error error = {""};
	pthread_t thread;
	int code;

	atomic_store(&opened, false);
	assert_int_equal(pthread_create(&thread, NULL, turn_until_opened, NULL), 0);
	llr_thaw_begin(); /* this thread's: the engine stays frozen */
	options.connect_ns = PATIENCE_NS;
	code = llrph_client_open(&client, llrph_engine_endpoint(engine, endpoint), &options,
				 &error);
	llr_thaw_end();
	atomic_store(&opened, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (code != 0)
		fail_msg("%s", error.text);
	assert_true(llr_is_frozen());
	return client;
}

/* How a client's requests ended. */
struct ends {
	uint64_t count;
	uint64_t parts;
	uint64_t statuses[600];
	uint64_t timeouts;
	uint64_t cancels;
	uint64_t others;
};

static void collect(struct llrph_client *client, struct ends *ends)
{
	struct llrph_completion found[BURST];
	unsigned int count;

	(void)llrph_engine_turn(engine);
	count = llrph_client_poll(client, found, BURST);
	for (unsigned int i = 0; i < count; i++) {
		ends->parts += found[i].more;
		ends->count += found[i].more == 0;
		if (found[i].error == 0)
			ends->statuses[found[i].status]++;
		else if (found[i].error == LLRPH_E_DEADLINE)
			ends->timeouts++;
		else if (found[i].error == LLRPH_E_CANCELLED)
			ends->cancels++;
		else
			ends->others++;
	}
}

static void finish(struct llrph_client *client, struct ends *ends)
{
	struct llrph_client_info info = {.size = sizeof(info)};
	uint64_t until = llr_clock_gettime_ns() + PATIENCE_NS;

	do {
		collect(client, ends);
		llrph_client_info(client, &info);
		assert_true(llr_clock_gettime_ns() < until);
	} while (info.outstanding > 0);
	collect(client, ends);
}

/* One request of the kind that i asks for; false: the window is full. */
static bool begin(struct llrph_client *client, uint32_t i)
{
	static const char *const rare[] = {"frozen/None",  "frozen/Status", "frozen/Parts",
					   "frozen/Later", "frozen/Small",  "frozen/Echo",
					   "frozen/Never", "frozen/Echo",   "frozen/Echo"};
	static const uint16_t statuses[] = {200, 422, 429, 418, 500, 503, 404};
	unsigned int kind = i % 16 == 0 ? i / 16 % 9 : 9;
	uint32_t size = kind != 5 ? 4 + i % 60 : i / 144 % 16 == 0 ? 70000 : 5000;
	uint64_t timeout_ns = kind == 6 || kind == 7 ? 1000 : kind == 1 ? RETRY_NS : TIMEOUT_NS;
	void *payload;
	int64_t sequence;
	int code = llrph_call_begin(client, size, &payload);

	if (code != 0) {
		assert_true(code == -ENOBUFS || code == -EAGAIN || code == -ECONNRESET);
		return false;
	}
	assert_int_equal(llrph_call_begin(client, 1, &payload), -EBUSY);
	memset(payload, (int)i, size);
	llr_le16_store(payload, statuses[i / 144 % 7]);
	if (kind == 3 && i % 5 == 0) {
		llrph_call_abort(client);
		return true;
	}
	sequence = llrph_call_commit(client, llrph_route(kind == 9 ? "frozen/Echo" : rare[kind]),
				     size, kind == 5 ? LLRPH_REQUEST_IDEMPOTENT : 0, timeout_ns, i);
	assert_true(sequence > 0);
	if (kind == 8)
		assert_int_equal(llrph_call_cancel(client, sequence), 0);
	return true;
}

/* Sessions end on the server's side: their clients are told 401 and open new ones. */
static void end_sessions(struct llr_sessions *sessions)
{
	for (uint32_t i = 0; i < sessions->shape.count; i++) {
		if (sessions->items[i].id != 0)
			llr_session_end(engine, &sessions->items[i]);
	}
}

static struct ends run(unsigned int endpoint, uint32_t count)
{
	struct llrph_client *client = client_open(endpoint);
	struct llrph_client_info info = {.size = sizeof(info)};
	struct ends ends = {0};
	void *payload;
	uint32_t i = 0;

	assert_int_equal(llrph_call_begin(client, MAX_MESSAGE + 1, &payload), -EMSGSIZE);
	while (ends.count < count) {
		while (begin(client, i))
			i++;
		collect(client, &ends);
		if (never_count > 512) {
			while (never_count > 0)
				(void)llrph_deferred_reply(never[--never_count], 200, NULL, 0, 0);
		}
		if (i % (50000U / SCALE) < 60) {
			finish(client, &ends);
			end_sessions(&engine->sessions);
			end_sessions(&engine->streams);
			i += 60;
		}
	}
	finish(client, &ends);
	llrph_client_info(client, &info);
	assert_true(info.sessions > 1);
	while (never_count > 0)
		(void)llrph_deferred_reply(never[--never_count], 200, NULL, 0, 0);
	llrph_client_close(client);
	(void)llrph_engine_turn(engine);
	assert_true(ends.statuses[200] > count / 2);
	assert_true(ends.statuses[404] > 0 && ends.statuses[413] > 0 && ends.statuses[422] > 0);
	assert_true(ends.statuses[500] > 0);
	assert_true(ends.timeouts > 0 && ends.cancels > 0);
	return ends;
}

/* A socket of one's own, which sends what no client would. */
struct raw {
	int fd;
	uint64_t session;
	uint8_t got[2048]; /* what came last */
};

static void raw_open(struct raw *raw, const char *uri, int type)
{
	const char *port = strrchr(uri, ':') + 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(port)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	raw->session = 0;
	raw->fd = socket(AF_INET, type, 0);
	assert_true(raw->fd >= 0);
	assert_int_equal(connect(raw->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void turns(unsigned int count)
{
	/* Endpoints that cost a syscall are looked at every 10 us when nothing comes. */
	for (unsigned int i = 0; i < count; i++) {
		(void)llrph_engine_turn(engine);
		(void)usleep(20);
	}
}

/* Sends; then takes turns until something comes back, where something should. */
static void raw_send(struct raw *raw, const uint8_t *bytes, uint32_t size)
{
	(void)send(raw->fd, bytes, size, MSG_NOSIGNAL);
	turns(2);
	while (recv(raw->fd, raw->got, sizeof(raw->got), MSG_DONTWAIT) > 0) {
	}
}

static void raw_ask(struct raw *raw, const struct lab_ask *ask)
{
	static uint8_t bytes[2 * MAX_MESSAGE];
	uint32_t size = lab_frame(bytes, ask);

	memset(bytes + size, 0, LLR_ALIGN);
	raw_send(raw, bytes, size);
}

static void raw_hello(struct raw *raw, uint64_t nonce, bool datagram)
{
	struct llr_hello hello = {
		.nonce = nonce, .features = LLR_FEATURE_EXT, .window = 8, .max_message = 64};
	uint8_t bytes[LLR_HEADER_SIZE + LLR_HELLO_SIZE];
	uint8_t body[LLR_HELLO_SIZE];
	struct llr_welcome welcome = {0};

	for (unsigned int i = datagram ? 0 : 1; i < 2; i++) {
		uint64_t until = llr_clock_gettime_ns() + PATIENCE_NS;

		llr_hello_encode(body, &hello);
		(void)send(raw->fd, bytes, lab_control(bytes, LLR_HELLO, 0, body, sizeof(body)), 0);
		while (recv(raw->fd, raw->got, sizeof(raw->got), MSG_DONTWAIT) <
		       (ssize_t)(LLR_HEADER_SIZE + LLR_WELCOME_SIZE)) {
			turns(1);
			assert_true(llr_clock_gettime_ns() < until);
		}
		llr_welcome_decode(raw->got + LLR_HEADER_SIZE, &welcome);
		hello.cookie = welcome.cookie;
	}
	assert_int_equal(welcome.status, 200);
	raw->session = welcome.session;
}

static void raw_control(struct raw *raw, unsigned int type, uint64_t sequence, uint32_t size)
{
	uint8_t bytes[LLR_HEADER_SIZE + 16];
	uint8_t body[16] = {0};

	llr_le64_store(body, raw->session);
	raw_send(raw, bytes, lab_control(bytes, type, sequence, body, size));
}

/* Good frames with one thing wrong, and rubbish. */
static void raw_broken(struct raw *raw)
{
	static const struct {
		uint8_t at;
		uint8_t flip;
	} flips[] = {{0, 1}, {4, 1}, {6, 0x40}, {10, 1}, {27, 0x40}, {24, 1}, {31, 0x80}};
	struct lab_ask ask = {.method = "frozen/Echo", .session = raw->session, .sequence = 999};
	uint8_t bytes[256];

	for (unsigned int i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
		uint32_t size = lab_frame(bytes, &ask);

		bytes[flips[i].at] ^= flips[i].flip;
		raw_send(raw, bytes, size);
	}
	memset(bytes, 0xEE, sizeof(bytes));
	raw_send(raw, bytes, sizeof(bytes));
	raw_send(raw, bytes, 1);
	memset(bytes, 0, sizeof(bytes));
	ask.payload = "x";
	ask.size = 1;
	(void)lab_frame(bytes, &ask);
	raw_send(raw, bytes, LLR_HEAD_SIZE + 16); /* a tail */
	raw_send(raw, bytes, lab_control(bytes, LLR_REQUEST, 0, NULL, 0));
	raw_send(raw, bytes, lab_control(bytes, LLR_WELCOME, 0, NULL, 0));
	raw_send(raw, bytes, lab_control(bytes, 77, 0, NULL, 0));
}

/* It waits in the socket's queue for longer than its budget: 504. */
static void raw_ask_late(struct raw *raw, const struct lab_ask *ask)
{
	struct lab_ask late = *ask;
	uint8_t frame[256];

	late.budget_us = 1;
	(void)send(raw->fd, frame, lab_frame(frame, &late), 0);
	(void)usleep(100);
	turns(2);
}

static void raw_datagrams(struct raw *raw, uint64_t nonce)
{
	static const uint8_t ext[16] = {1, 0, 255, 255};
	static const uint8_t bytes[80];
	struct lab_ask ask = {.method = "frozen/Echo", .payload = bytes, .size = 64};
	struct lab_ask part = {.method = "frozen/Echo",
			       .sequence = 24,
			       .flags = LLR_FLAG_FRAGMENT,
			       .payload = bytes,
			       .size = 16,
			       .fragment = {.total = 32, .message_crc = 1}};

	raw_ask(raw, &ask); /* 401 */
	raw_hello(raw, nonce, true);
	ask.session = raw->session;
	part.session = raw->session;
	raw_ask(raw, &ask);
	raw_ask(raw, &ask); /* remembered */
	for (uint64_t sequence = 1; sequence < 48; sequence++) {
		ask.sequence = sequence;
		if (sequence % 8 != 0)
			raw_ask(raw, &ask);
	}
	ask.sequence = 0;
	raw_ask(raw, &ask); /* 410 */
	ask.sequence = 1;
	raw_ask(raw, &ask); /* stale */
	raw_ask(raw, &part);
	raw_ask(raw, &part);                 /* repeated */
	raw_control(raw, LLR_CANCEL, 24, 8); /* 499 */
	part.sequence = 32;
	raw_ask(raw, &part);
	part.fragment.offset = 16;
	raw_ask(raw, &part); /* a wrong checksum over the message */
	part.fragment.offset = 7;
	raw_ask(raw, &part); /* off the grid */
	ask.method = "frozen/Never";
	ask.sequence = 50;
	raw_ask(raw, &ask);
	raw_ask(raw, &ask); /* still runs */
	ask.method = "frozen/Echo";
	ask.sequence = 58;
	raw_ask(raw, &ask);
	while (never_count > 0) /* superseded */
		assert_int_equal(llrph_deferred_reply(never[--never_count], 200, NULL, 0, 0), 0);
	ask.sequence = 66;
	raw_ask_late(raw, &ask);
	ask.sequence = 74;
	ask.ext = ext;
	ask.ext_size = sizeof(ext);
	ask.flags = LLR_FLAG_EXT;
	raw_ask(raw, &ask); /* 400 */
	ask = (struct lab_ask){.method = "frozen/Echo",
			       .session = raw->session,
			       .sequence = 82,
			       .payload = bytes,
			       .size = 80};
	raw_ask(raw, &ask); /* 413 */
	raw_control(raw, LLR_HEARTBEAT, 1, 8);
	raw_control(raw, LLR_HEARTBEAT, 1, 16); /* skipped */
	raw_broken(raw);
	if (nonce % 2 == 0)
		raw_control(raw, LLR_BYE, 0, 0);
}

static void raw_streams(const char *uri, uint64_t nonce)
{
	static const uint8_t large[MAX_MESSAGE + 8192];
	struct lab_ask ask = {.method = "frozen/Echo", .payload = large};
	struct raw raw;

	raw_open(&raw, uri, SOCK_STREAM);
	turns(2);
	raw_ask(&raw, &ask); /* 401 */
	raw_hello(&raw, nonce, false);
	ask.session = raw.session;
	raw_ask(&raw, &ask);
	raw_ask(&raw, &ask); /* 409 */
	ask.sequence = 1;
	ask.size = sizeof(large);
	raw_ask(&raw, &ask); /* 413, stepped over */
	turns(4);
	if (nonce % 4 == 0)
		raw_broken(&raw); /* ends it */
	(void)close(raw.fd);
	turns(2);
}

static void expect_all_paths(void)
{
#define PATH(name)                                                                                 \
	{                                                                                          \
#name, offsetof(struct llr_counters, name)                                         \
	}
	static const struct {
		const char *name;
		size_t at;
	} paths[] = {
		PATH(status_200),
		PATH(status_400),
		PATH(status_401),
		PATH(status_404),
		PATH(status_409),
		PATH(status_410),
		PATH(status_413),
		PATH(status_429),
		PATH(status_499),
		PATH(status_500),
		PATH(status_503),
		PATH(status_504),
		PATH(status_declared),
		PATH(status_unknown),
		PATH(reject_magic),
		PATH(reject_version),
		PATH(reject_length),
		PATH(reject_crc),
		PATH(reject_flags),
		PATH(reject_route),
		PATH(reject_padding),
		PATH(skipped),
		PATH(hello_challenged),
		PATH(sessions_ended),
		PATH(heartbeats),
		PATH(cancels),
		PATH(cancelled),
		PATH(repeat_remembered),
		PATH(repeat_running),
		PATH(repeat_forgotten),
		PATH(stale),
		PATH(superseded),
		PATH(fragments),
		PATH(fragments_repeated),
		PATH(fragments_off_grid),
		PATH(fragments_bad_crc),
		PATH(fragments_sent),
		PATH(deferred),
		PATH(parts),
	};

	for (unsigned int i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const uint64_t *word =
			(const void *)((const uint8_t *)engine->counters + paths[i].at);

		if (*word == 0)
			fail_msg("nothing came along %s", paths[i].name);
	}
}

static void test_a_million(void **state)
{
	struct ends shm = run(0, SHM_COUNT);
	struct ends tcp = run(2, TCP_COUNT);
	struct ends udp = run(1, UDP_COUNT);
	const char *udp_uri = llrph_engine_endpoint(engine, 1);
	const char *tcp_uri = llrph_engine_endpoint(engine, 2);
	struct raw raw;

	(void)state;
	assert_true(shm.count >= SHM_COUNT && tcp.count >= TCP_COUNT && udp.count >= UDP_COUNT);
	assert_true(shm.parts > 0 && tcp.parts > 0);
	assert_int_equal(udp.parts, 0);
	if (SCALE == 1)
		assert_true(engine->counters->requests >= 1000000);
	raw_open(&raw, udp_uri, SOCK_DGRAM);
	for (uint64_t i = 1; i <= RAW_ROUNDS; i++) {
		raw_datagrams(&raw, i);
		raw_streams(tcp_uri, i);
	}
	(void)close(raw.fd);
	expect_all_paths();
}

static void test_drain(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct llrph_client *client = client_open(i);
		struct ends ends = {0};

		engine->stopping = false;
		for (uint32_t k = 1; k < 9; k++)
			assert_true(begin(client, k));
		(void)llrph_engine_stop(engine);
		finish(client, &ends);
		assert_int_equal(ends.count, 8);
		assert_true(ends.statuses[503] > 0 || ends.others > 0 || ends.statuses[200] == 8);
		engine->stopping = false;
		llrph_client_close(client);
	}
}

static int set_up(void **state)
{
	struct llrph_engine_options options = {
		.size = sizeof(options), .name = "frozen", .max_message = MAX_MESSAGE};
	struct llrph_error error = {""};

	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/llrph-frozen-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(setenv("LLRPH_RUNTIME_DIR", folder, 1), 0);
	if (llrph_engine_open(&engine, &options, &error) != 0 ||
	    llrph_engine_register(engine, &service, NULL, &error) != 0 ||
	    llrph_engine_listen(engine, "shm:frozen", &error) != 0 ||
	    llrph_engine_listen(engine, "udp:127.0.0.1:0", &error) != 0 ||
	    llrph_engine_listen(engine, "tcp:127.0.0.1:0", &error) != 0 ||
	    llrph_engine_start(engine, &error) != 0)
		fail_msg("%s", error.text);
	return 0;
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	llrph_engine_close(engine);
	(void)snprintf(path, sizeof(path), "%s/frozen.stats", folder);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0); /* nothing else was left */
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_million),
		cmocka_unit_test(test_drain),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
