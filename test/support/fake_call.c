/* SPDX-License-Identifier: MIT */
/*
 * Stand-ins for the engine's part of llrph/service.h. Single thread.
 */
#include "fake_call.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#define COUNTER_MAX 40U

static struct {
	char name[32];
	uint64_t word;
} counters[COUNTER_MAX];

void *llrph_call_room(struct llrph_call *call, uint32_t size)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (size > fake->room_size_max || size > sizeof(fake->room))
		return NULL;
	call->reply = fake->room;
	call->room_size = size;
	return fake->room;
}

int llrph_call_reason(struct llrph_call *call, int status, const char *text)
{
	struct fake_call *fake = (struct fake_call *)call;

	LLR_ASSERT(strlen(text) <= LLRPH_REASON_SIZE_MAX);
	snprintf(fake->reason, sizeof(fake->reason), "%s", text);
	call->reply_size = 0;
	return status;
}

uint64_t *llrph_service_counter(const char *name)
{
	LLR_ASSERT(strlen(name) < sizeof(counters[0].name));
	for (size_t i = 0; i < COUNTER_MAX; i++) {
		if (counters[i].name[0] == '\0')
			snprintf(counters[i].name, sizeof(counters[i].name), "%s", name);
		if (strcmp(counters[i].name, name) == 0)
			return &counters[i].word;
	}
	return NULL;
}

uint64_t fake_counter(const char *name)
{
	for (size_t i = 0; i < COUNTER_MAX; i++) {
		if (strcmp(counters[i].name, name) == 0)
			return counters[i].word;
	}
	return 0;
}

static void status_check(const struct llrph_method *method, int status)
{
	const uint16_t *declared = method->statuses;

	/* 413 is among those that need no declaration. */
	if ((status >= 200 && status < 300) || status == LLRPH_STATUS_TOO_LARGE)
		return;
	LLR_ASSERT(declared != NULL);
	while (*declared != 0 && *declared != status)
		declared++;
	LLR_ASSERT(*declared == status);
}

int fake_call_run(struct fake_call *fake, const struct llrph_service *service, const char *method,
		  void *state, const void *payload, uint32_t size)
{
	fake->call = (struct llrph_call){.payload = payload, .payload_size = size};
	fake->reason[0] = '\0';
	for (uint32_t i = 0; i < service->method_count; i++) {
		int status;

		if (strcmp(service->methods[i].name, method) != 0)
			continue;
		status = service->methods[i].handler(&fake->call, state);
		status_check(&service->methods[i], status);
		LLR_ASSERT(fake->call.reply_size <= fake->call.room_size);
		return status;
	}
	LLR_ASSERT(service->method_count == 0); /* it has no such method */
	return 0;
}
