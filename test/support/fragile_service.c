/* SPDX-License-Identifier: MIT */
/*
 * A service that dies, hangs or refuses on demand, for the tests of `llrph serve`. They compile it
 * with
 *   -DABI=N         another ABI
 *   -DSTATE=KIND    enum llrph_state_kind
 *   -DRECOVER       it recovers; -DRECOVER_FAILS: or says that it can't
 *   -DOPEN_DIES, -DOPEN_FAILS
 *
 * Thread: the worker's.
 */
#define _GNU_SOURCE
#include <llrph/service.h>

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef ABI
#define ABI LLRPH_SERVICE_ABI
#endif
#ifndef STATE
#define STATE LLRPH_STATE_NONE
#endif

static struct llrph_deferred *deferred;
static unsigned long long due_ns;
static unsigned int count;

static int reply_text(struct llrph_call *call, const char *text)
{
	size_t size = strlen(text);
	char *room = llrph_call_room(call, (uint32_t)size);

	if (room == NULL)
		return 503;
	memcpy(room, text, size);
	call->reply_size = (uint32_t)size;
	return 200;
}

/* "PID CPU COUNT" */
static int who(struct llrph_call *call, void *state)
{
	char text[64];

	(void)state;
	(void)snprintf(text, sizeof(text), "%d %d %u", (int)getpid(), sched_getcpu(), ++count);
	return reply_text(call, text);
}

static int die(struct llrph_call *call, void *state)
{
	(void)call;
	(void)state;
	abort();
}

static int hang(struct llrph_call *call, void *state)
{
	(void)call;
	(void)state;
	for (;;) /* for ever: that is its purpose */
		(void)pause();
	return 500;
}

/* Answered after as many milliseconds as the payload says; "never" is never. */
static int later(struct llrph_call *call, void *state)
{
	char text[16] = "";

	(void)state;
	if (call->payload_size >= sizeof(text))
		return 400;
	memcpy(text, call->payload, call->payload_size);
	due_ns = strcmp(text, "never") == 0
			 ? UINT64_MAX
			 : call->received_ns + strtoull(text, NULL, 10) * 1000000U;
	deferred = llrph_call_defer(call);
	return deferred == NULL ? 503 : LLRPH_DEFERRED;
}

static void poll_later(void *state, uint64_t now_ns)
{
	(void)state;
	if (deferred == NULL || now_ns < due_ns)
		return;
	(void)llrph_deferred_reply(deferred, 200, "late", 4, 0);
	deferred = NULL;
}

static int start(void **state, const char *options, struct llrph_error *error)
{
	(void)state;
	(void)options;
	(void)error;
#ifdef OPEN_DIES
	abort();
#endif
#ifdef OPEN_FAILS
	(void)snprintf(error->text, sizeof(error->text), "'%s' is not to my taste", options);
	return -EINVAL;
#endif
	return 0;
}

#ifdef RECOVER
static int restore(void **state, const char *options, struct llrph_error *error)
{
	(void)state;
	(void)options;
	count = 1000;
#ifdef RECOVER_FAILS
	(void)snprintf(error->text, sizeof(error->text), "beyond recovery");
	return -EIO;
#endif
	(void)error;
	return 0;
}
#else
#define restore NULL
#endif

static size_t memory_size(const void *state)
{
	(void)state;
	return 3U << 20;
}

static const struct llrph_method methods[] = {
	{.name = "test.Test/Who", .handler = who, .reply_size_max = 64},
	{.name = "test.Test/Die", .handler = die},
	{.name = "test.Test/Hang", .handler = hang},
	{.name = "test.Test/Later", .handler = later, .reply_size_max = 4},
};

__attribute__((visibility("default"))) const struct llrph_service llrph_service = {
	.abi = ABI,
	.size = sizeof(struct llrph_service),
	.name = "test",
	.state_kind = STATE,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.open = start,
	.poll = poll_later,
	.recover = restore,
	.memory_size = memory_size,
};
