/* SPDX-License-Identifier: MIT */
/*
 * silent_lanes URI COUNT: opens so many clients in one process, says "ready", keeps them silent
 * until its standard input ends, then closes them. For tests and benches of many lanes beside one.
 */
#include <llrph/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT_MAX 10000

static struct llrph_client *clients[COUNT_MAX];

int main(int argc, char **argv)
{
	struct llrph_client_options options = {
		.size = sizeof(options), .window = 1, .max_message = 64, .connect_ns = 20000000000};
	struct llrph_error error = {""};
	int count = argc == 3 ? atoi(argv[2]) : 0;
	char byte;

	if (count < 1 || count > COUNT_MAX) {
		fprintf(stderr, "usage: silent_lanes URI COUNT, 1 to %d\n", COUNT_MAX);
		return 2;
	}
	for (int i = 0; i < count; i++) {
		if (llrph_client_open(&clients[i], argv[1], &options, &error) != 0) {
			fprintf(stderr, "client %d: %s\n", i, error.text);
			return 1;
		}
	}
	puts("ready");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0) {
	}
	for (int i = 0; i < count; i++)
		llrph_client_close(clients[i]);
	return 0;
}
