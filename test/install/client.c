/* SPDX-License-Identifier: MIT */
/* A client of somebody's own: client URI METHOD TEXT prints the reply. */
#include <llrph/client.h>
#include <llrph/service.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct llrph_completion reply;
	struct llrph_error error = {""};
	struct llrph_client *client;
	int code;

	if (argc != 4)
		return 2;
	if (llrph_client_open(&client, argv[1], NULL, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	code = llrph_call_sync(client, llrph_route(argv[2]), argv[3], (uint32_t)strlen(argv[3]),
			       LLRPH_REQUEST_IDEMPOTENT, 2000000000, &reply);
	if (code != 0)
		fprintf(stderr, "%s\n", llrph_strerror(code));
	else
		printf("%u %.*s\n", reply.status, (int)reply.size, (const char *)reply.payload);
	llrph_client_close(client);
	return code == 0 && reply.status == LLRPH_STATUS_OK ? 0 : 1;
}
