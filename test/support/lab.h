/* SPDX-License-Identifier: MIT */
/*
 * The engine on a bench: three endpoints without a network (datagrams, lanes, streams), a clock
 * that the test moves, a private stats page, and a service whose methods do as their payload says.
 *
 * Thread: the test's. There is one lab in a test program.
 */
#ifndef TEST_SUPPORT_LAB_H
#define TEST_SUPPORT_LAB_H

#include "fake_net.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/memory.h"
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define LAB_ECHO     "test.Lab/Echo"   /* the same bytes; not idempotent */
#define LAB_IDEM     "test.Lab/Idem"   /* the same, idempotent */
#define LAB_STATUS   "test.Lab/Status" /* u16 status; the rest is the reply. Declares 422 and 599 */
#define LAB_REASON   "test.Lab/Reason" /* u16 status, then the reason's text with its NUL */
#define LAB_DEFER    "test.Lab/Defer"  /* answered when the test says so */
#define LAB_PARTS    "test.Lab/Parts"  /* u8 count of parts, then a last one */
#define LAB_SIZE     "test.Lab/Size"   /* u32 size of the reply */
#define LAB_SMALL    "test.Lab/Small"  /* u32 size of the room it asks for; may have 8 */
#define LAB_TURN_NS  200000U           /* a turn takes so long */
#define LAB_DECLARED 422

/* What the methods saw. */
struct lab_seen {
	uint32_t runs;           /* handlers started */
	uint32_t no_room;        /* of them, those that met a full transport and did nothing */
	uint32_t pool_empty;     /* llrph_call_defer() said NULL */
	uint32_t deferred_count; /* handles that wait in deferred */
	int part_error;          /* what llrph_call_part() said last */
	uint32_t polls;
	uint32_t last_size;
	uint8_t last_byte; /* of the payload */
	bool has_trace;
	struct llrph_deferred *deferred[LLR_DEFERRED_MAX + 1];
};

struct lab {
	uint64_t now_ns;
	struct llr_clock clock;
	struct llr_secret secret;
	struct llr_stats *stats;
	struct llr_counters *counters; /* borrows: the stats page */
	struct llr_engine_setup setup;
	void *sessions;
	struct llrph_engine *engine;
	struct lab_seen seen;
	struct fake_net datagrams;
	struct fake_net lanes;
	struct fake_net streams;
};

extern struct lab lab;

/* For cmocka: default sizes, but few of everything; and the end. */
int lab_setup(void **state);
int lab_teardown(void **state);
/* With these options instead; lab_setup must not have been called. */
void lab_start(const struct llrph_engine_options *options);
/* The worker dies and another takes its table over. */
void lab_succeed(void);

/* One request, or part of one. */
struct lab_ask {
	const char *method;
	uint64_t session;
	uint64_t sequence;
	const void *payload;
	uint32_t size;
	uint32_t budget_us;
	uint16_t flags;
	struct llr_fragment fragment; /* with FRAGMENT */
	const void *ext;              /* with EXT: the blocks, their end included */
	uint32_t ext_size;
};

/* Writes the frame; returns its bytes. */
uint32_t lab_frame(uint8_t *bytes, const struct lab_ask *ask);
/* Header and body without a route block. */
uint32_t lab_control(uint8_t *bytes, unsigned int type, uint64_t sequence, const void *body,
		     uint32_t size);

unsigned int lab_turn(void);
void lab_sleep(uint64_t ns); /* and a turn */

void lab_put(struct fake_net *net, uint32_t peer, const struct lab_ask *ask);
void lab_put_control(struct fake_net *net, uint32_t peer, unsigned int type, uint64_t sequence,
		     uint64_t session);
/* The one frame that was sent, to that peer; fails if there is none, or another. */
struct llr_frame lab_answer(struct fake_net *net, uint32_t peer);
void lab_no_answer(struct fake_net *net);
/* Put, turn, answer. */
struct llr_frame lab_ask(struct fake_net *net, uint32_t peer, const struct lab_ask *ask);
void lab_expect(const struct llr_frame *frame, uint64_t sequence, unsigned int status,
		const void *payload, uint32_t size);

/* Opens a session as a client does, with cookie where one is needed. */
struct llr_welcome lab_hello(struct fake_net *net, uint32_t peer, const struct llr_hello *hello);
uint64_t lab_open(struct fake_net *net, uint32_t peer);
uint64_t lab_open_with(struct fake_net *net, uint32_t peer, uint16_t window, uint32_t max_message);

#endif
