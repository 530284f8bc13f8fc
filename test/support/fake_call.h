/* SPDX-License-Identifier: MIT */
/*
 * Stands in for the engine where a handler is tested by itself: room, reasons and counters.
 */
#ifndef LLR_TEST_FAKE_CALL_H
#define LLR_TEST_FAKE_CALL_H

#include <llrph/service.h>

#define FAKE_ROOM_SIZE 4096U

struct fake_call {
	struct llrph_call call;                 /* first: what the handler gets */
	uint32_t room_size_max;                 /* llrph_call_room() gives none above it */
	char reason[LLRPH_REASON_SIZE_MAX + 1]; /* "" if none was given */
	_Alignas(16) uint8_t room[FAKE_ROOM_SIZE];
};

/* Runs a method of a service by name; returns its status, asserts that the method may return it. */
int fake_call_run(struct fake_call *fake, const struct llrph_service *service, const char *method,
		  void *state, const void *payload, uint32_t size);

/* What a service counted under a name; 0 if it never asked for it. */
uint64_t fake_counter(const char *name);

#endif
