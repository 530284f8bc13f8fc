/* SPDX-License-Identifier: MIT */
/*
 * A service that misbehaves on demand, for tests of what a server does around its handlers. It is
 * built as a stranger would: a shared object on the installed headers.
 *
 *   test.Slow/Sleep     u32 ms       busy for so long, then "slept"
 *   test.Slow/Defer     u32 ms, ...  answers its payload later, from poll
 *   test.Slow/Parts     u32 n        n replies, each its u32 index, all but the last with MORE
 *   test.Slow/Crash                  abort()
 *   test.Slow/Unknown   u32 status   returns it, whatever it is
 *   test.Slow/Declared               455, which it declares, with 400 bytes of its own
 *   test.Slow/Reason                 456, which it declares, with a reason that must be cut
 *   test.Slow/Count                  adds 1 to a counter and answers it, u64; not idempotent
 *   test.Slow/Idem                   the same with another counter; idempotent
 *   test.Slow/Big       u32 n        n bytes, byte i is i modulo 251
 *   test.Slow/Greedy                 takes room for 1 GiB; 455 if it gets none
 *
 * Thread: the worker's. Owns: its static state.
 */
#include <llrph/service.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFERRED_MAX 64U
#define KEPT_MAX     64U

struct put_off {
	struct llrph_deferred *deferred; /* shares with the library until answered; NULL: free */
	uint64_t due_ns;
	uint32_t size;
	uint8_t kept[KEPT_MAX];
};

static struct put_off put_offs[DEFERRED_MAX];
static uint64_t counts[2];

static uint32_t argument(const struct llrph_call *call)
{
	uint32_t value = 0;

	if (call->payload_size >= sizeof(value))
		memcpy(&value, call->payload, sizeof(value));
	return value;
}

static int answer(struct llrph_call *call, const void *bytes, uint32_t size)
{
	void *room = llrph_call_room(call, size);

	if (room == NULL)
		return llrph_call_reason(call, 455, "no room");
	memcpy(room, bytes, size);
	call->reply_size = size;
	return LLRPH_STATUS_OK;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int slow_sleep(struct llrph_call *call, void *state)
{
	uint64_t end_ns = now_ns() + argument(call) * UINT64_C(1000000);

	(void)state;
	while (now_ns() < end_ns)
		continue;
	return answer(call, "slept", 5);
}

static int slow_defer(struct llrph_call *call, void *state)
{
	(void)state;
	for (unsigned int i = 0; i < DEFERRED_MAX; i++) {
		struct put_off *put_off = &put_offs[i];

		if (put_off->deferred != NULL)
			continue;
		put_off->size = call->payload_size < KEPT_MAX ? call->payload_size : KEPT_MAX;
		memcpy(put_off->kept, call->payload, put_off->size);
		put_off->due_ns = call->received_ns + argument(call) * UINT64_C(1000000);
		put_off->deferred = llrph_call_defer(call);
		return put_off->deferred != NULL ? LLRPH_DEFERRED : 455;
	}
	return 455;
}

static void slow_poll(void *state, uint64_t turn_ns)
{
	(void)state;
	for (unsigned int i = 0; i < DEFERRED_MAX; i++) {
		struct put_off *put_off = &put_offs[i];

		if (put_off->deferred == NULL || turn_ns < put_off->due_ns)
			continue;
		if (llrph_deferred_reply(put_off->deferred, LLRPH_STATUS_OK, put_off->kept,
					 put_off->size, 0) != -EAGAIN)
			put_off->deferred = NULL;
	}
}

static int slow_parts(struct llrph_call *call, void *state)
{
	uint32_t count = argument(call);

	(void)state;
	for (uint32_t i = 0; i + 1 < count; i++) {
		if (answer(call, &i, sizeof(i)) != LLRPH_STATUS_OK || llrph_call_part(call) != 0)
			return llrph_call_reason(call, 455, "no parts here");
	}
	count--;
	return answer(call, &count, sizeof(count));
}

static int slow_crash(struct llrph_call *call, void *state)
{
	(void)call;
	(void)state;
	abort();
}

static int slow_unknown(struct llrph_call *call, void *state)
{
	(void)state;
	return (int)argument(call);
}

static int slow_declared(struct llrph_call *call, void *state)
{
	uint8_t own[400];

	(void)state;
	memset(own, 0xff, sizeof(own)); /* no UTF-8: it is its own business */
	(void)answer(call, own, sizeof(own));
	return 455;
}

static int slow_reason(struct llrph_call *call, void *state)
{
	char text[1 + 2 * 200 + 1] = "x";

	(void)state;
	for (unsigned int i = 0; i < 200; i++)
		memcpy(text + 1 + (size_t)2 * i, "\303\251", 2); /* e acute: 256 would halve one */
	return llrph_call_reason(call, 456, text);
}

static int slow_count(struct llrph_call *call, void *state)
{
	(void)state;
	counts[0]++;
	return answer(call, &counts[0], sizeof(counts[0]));
}

static int slow_idem(struct llrph_call *call, void *state)
{
	(void)state;
	counts[1]++;
	return answer(call, &counts[1], sizeof(counts[1]));
}

static int slow_big(struct llrph_call *call, void *state)
{
	uint32_t size = argument(call);
	uint8_t *room = llrph_call_room(call, size);

	(void)state;
	if (room == NULL)
		return llrph_call_reason(call, 455, "no room");
	for (uint32_t i = 0; i < size; i++)
		room[i] = (uint8_t)(i % 251);
	call->reply_size = size;
	return LLRPH_STATUS_OK;
}

static int slow_greedy(struct llrph_call *call, void *state)
{
	(void)state;
	return llrph_call_room(call, 1U << 30) == NULL ? llrph_call_reason(call, 455, "no room")
						       : LLRPH_STATUS_OK;
}

static const uint16_t statuses[] = {455, 456, 0};

#define METHOD(title, run, bits)                                                                   \
	{                                                                                          \
		.name = "test.Slow/" title, .handler = (run), .flags = (bits),                     \
		.reply_size_max = LLRPH_REPLY_ANY, .statuses = statuses,                           \
	}

static const struct llrph_method methods[] = {
	METHOD("Sleep", slow_sleep, 0),
	METHOD("Defer", slow_defer, 0),
	METHOD("Parts", slow_parts, 0),
	METHOD("Crash", slow_crash, 0),
	METHOD("Unknown", slow_unknown, 0),
	METHOD("Declared", slow_declared, 0),
	METHOD("Reason", slow_reason, 0),
	METHOD("Count", slow_count, 0),
	METHOD("Idem", slow_idem, LLRPH_METHOD_IDEMPOTENT),
	METHOD("Big", slow_big, 0),
	METHOD("Greedy", slow_greedy, 0),
};

/* The one symbol that a service exports. */
__attribute__((visibility("default"))) extern const struct llrph_service llrph_service;

const struct llrph_service llrph_service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "slow",
	.state_kind = LLRPH_STATE_NONE, /* what it counts may be lost with its worker */
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.poll = slow_poll,
};
