/* SPDX-License-Identifier: MIT */
/* A service of somebody's own: answers with the same bytes, capitals for small letters. */
#include <ctype.h>
#include <llrph/service.h>

static int upper(struct llrph_call *call, void *state)
{
	const unsigned char *from = call->payload;
	unsigned char *to = llrph_call_room(call, call->payload_size);

	(void)state;
	if (to == NULL)
		return llrph_call_reason(call, LLRPH_STATUS_UNAVAILABLE, "no room for a reply");
	for (uint32_t i = 0; i < call->payload_size; i++)
		to[i] = (unsigned char)toupper(from[i]);
	call->reply_size = call->payload_size;
	return LLRPH_STATUS_OK;
}

static const struct llrph_method methods[] = {
	{
		.name = "example.Text/Upper",
		.handler = upper,
		.flags = LLRPH_METHOD_IDEMPOTENT,
		.reply_size_max = LLRPH_REPLY_ANY,
	},
};

LLRPH_EXPORT extern const struct llrph_service llrph_service;
const struct llrph_service llrph_service = {
	.abi = LLRPH_SERVICE_ABI,
	.size = sizeof(struct llrph_service),
	.name = "text",
	.method_count = 1,
	.methods = methods,
};
