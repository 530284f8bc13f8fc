/* SPDX-License-Identifier: MIT */
/*
 * What a handler may call besides asking for room (dispatch.c): a reason, a part of a longer
 * answer.
 *
 * Thread: the worker's. Owns: nothing; rooms are the transport's.
 */
#include "engine/inside.h"

#include "base/assert.h"

#include <string.h>

/* struct llrph_call is the first member of struct llr_request. */
static struct llr_request *request_of(struct llrph_call *call)
{
	return (struct llr_request *)(void *)call;
}
_Static_assert(offsetof(struct llr_request, call) == 0, "request_of");

int llrph_call_reason(struct llrph_call *call, int status, const char *text)
{
	struct llr_request *request = request_of(call);
	uint32_t size = llr_utf8_cut(text, (uint32_t)strlen(text), LLRPH_REASON_SIZE_MAX);
	void *room;

	request->reasoned = true;
	room = request->listener->framing->room(request, size);
	call->reply_size = 0;
	if (room != NULL) {
		memcpy(room, text, size);
		call->reply_size = size;
	}
	return status;
}

int llrph_call_part(struct llrph_call *call)
{
	struct llr_request *request = request_of(call);
	int error;

	if ((request->listener->place & LLR_PLACE_CONNECTED) == 0)
		return -EOPNOTSUPP;
	if (!request->room_open)
		return -EINVAL;
	error = request->listener->framing->reply(request, LLRPH_STATUS_OK, true);
	if (error == 0) {
		call->room_size = 0;
		call->reply_size = 0;
		request->engine->counters->parts++;
	}
	return error;
}
