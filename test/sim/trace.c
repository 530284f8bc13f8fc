/* SPDX-License-Identifier: MIT */
/*
 * The trace: a ring of lines, and a reader of frames that believes nothing, for it is shown
 * damaged ones too. Runs on the simulator's only thread; owns the ring.
 */
#include "trace.h"

#include "base/bytes.h"
#include "base/span.h"
#include "request/frame.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_COUNT 400U
#define LINE_SIZE  200U

enum sim_trace_mode sim_trace_mode;

static struct {
	char lines[LINE_COUNT][LINE_SIZE];
	uint64_t count; /* lines so far; the newest LINE_COUNT are in the ring */
	const uint64_t *now_ns;
} trace;

void sim_trace_init(enum sim_trace_mode mode, const uint64_t *now_ns)
{
	sim_trace_mode = mode;
	trace.now_ns = now_ns;
	trace.count = 0;
}

void sim_trace_line(const char *format, ...)
{
	char *line = trace.lines[trace.count % LINE_COUNT];
	int head = snprintf(line, LINE_SIZE, "%14.6f ms  ", (double)*trace.now_ns / 1e6);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line + head, LINE_SIZE - (size_t)head, format, arguments);
	va_end(arguments);
	trace.count++;
	if (sim_trace_mode == SIM_TRACE_PRINT)
		printf("%s\n", line);
}

void sim_trace_print_kept(void)
{
	uint64_t first = trace.count > LINE_COUNT ? trace.count - LINE_COUNT : 0;

	printf("the last %" PRIu64 " of %" PRIu64 " events:\n", trace.count - first, trace.count);
	for (uint64_t i = first; i < trace.count; i++)
		printf("%s\n", trace.lines[i % LINE_COUNT]);
}

static const char *type_name(uint8_t type)
{
	static const char *const names[] = {
		[LLR_PUBLISH] = "PUBLISH", [LLR_SUBSCRIBE] = "SUBSCRIBE",
		[LLR_ACK] = "ACK",         [LLR_HEARTBEAT] = "HEARTBEAT",
		[LLR_BATCH] = "BATCH",     [LLR_REQUEST] = "REQUEST",
		[LLR_REPLY] = "REPLY",     [LLR_HELLO] = "HELLO",
		[LLR_WELCOME] = "WELCOME", [LLR_NAK] = "NAK",
		[LLR_BYE] = "BYE",         [LLR_CANCEL] = "CANCEL",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] != NULL ? names[type] : "?";
}

/* What is particular to the type, behind the header. */
static void describe_body(char *text, size_t text_size, const uint8_t *frame, size_t size)
{
	const uint8_t *body = frame + LLR_HEADER_SIZE;
	uint16_t flags = llr_le16_load(frame + 6);
	int used = 0;

	text[0] = '\0';
	if (size < LLR_HEADER_SIZE + LLR_ROUTE_SIZE)
		return;
	if (frame[5] == LLR_REQUEST)
		used = snprintf(text, text_size, " session %" PRIx64 " budget %" PRIu32 " us",
				llr_le64_load(body + 8), llr_le32_load(body + 4));
	else if (frame[5] == LLR_REPLY)
		used = snprintf(text, text_size, " status %u credits %u", llr_le16_load(body + 4),
				llr_le16_load(body + 6));
	else if (frame[5] == LLR_WELCOME && size >= LLR_HEADER_SIZE + LLR_WELCOME_SIZE)
		used = snprintf(text, text_size, " session %" PRIx64 " window %u status %u",
				llr_le64_load(body), llr_le16_load(body + 20),
				llr_le16_load(body + 22));
	else if (frame[5] == LLR_HELLO)
		used = snprintf(text, text_size, " nonce %" PRIx64 "%s", llr_le64_load(body),
				llr_le64_load(body + 8) != 0 ? " with cookie" : "");
	if ((flags & LLR_FLAG_FRAGMENT) != 0 && size >= LLR_HEAD_SIZE + LLR_FRAGMENT_SIZE)
		(void)snprintf(text + used, text_size - (size_t)used,
			       " part at %" PRIu32 " of %" PRIu32,
			       llr_le32_load(frame + LLR_HEAD_SIZE),
			       llr_le32_load(frame + LLR_HEAD_SIZE + 4));
}

void sim_trace_frames(const char *what, const char *from, const char *to, const uint8_t *bytes,
		      size_t size)
{
	size_t offset = 0;
	char body[120];

	if (sim_trace_mode == SIM_TRACE_OFF)
		return;
	while (offset + LLR_HEADER_SIZE <= size) {
		const uint8_t *frame = bytes + offset;
		uint32_t length = llr_le32_load(frame + 24);

		if (memcmp(frame, "LLRP", 4) != 0)
			break;
		describe_body(body, sizeof(body), frame, size - offset);
		sim_trace_line("%s %s > %s %s %" PRIu64 " flags %x length %" PRIu32 "%s", what,
			       from, to, type_name(frame[5]), llr_le64_load(frame + 8),
			       llr_le16_load(frame + 6), length, body);
		offset += llr_round_up((size_t)LLR_HEADER_SIZE + length, LLR_ALIGN);
	}
	if (offset < size)
		sim_trace_line("%s %s > %s %zu bytes that are no frame", what, from, to,
			       size - offset);
}
