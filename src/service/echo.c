/* SPDX-License-Identifier: MIT */
/*
 * llrph.Echo/Echo. Thread: the worker's. Owns nothing, keeps nothing.
 */
#include "service/echo.h"

#include <string.h>

static int echo(struct llrph_call *call, void *state)
{
	void *room = llrph_call_room(call, call->payload_size);

	(void)state;
	if (room == NULL)
		return llrph_call_reason(call, LLRPH_STATUS_TOO_LARGE, "no room for the reply");
	/* An empty payload may have no address. */
	if (call->payload_size != 0)
		memcpy(room, call->payload, call->payload_size);
	call->reply_size = call->payload_size;
	return LLRPH_STATUS_OK;
}

static const struct llrph_method methods[] = {
	{
		.name = "llrph.Echo/Echo",
		.handler = echo,
		.reply_size_max = LLRPH_REPLY_ANY,
	},
};

const struct llrph_service llr_service_echo = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "echo",
	.state_kind = LLRPH_STATE_NONE,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
};
