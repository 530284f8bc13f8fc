/* SPDX-License-Identifier: MIT */
/*
 * What `llrph serve` is asked to do: lines of the input are options as typed, "name=value", or, if
 * the first byte says so, the whole input is a config file. What is wrong is said in one line.
 */
#include "input.h"

#include "base/assert.h"
#include "engine/config.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Nobody is asked for names: that would leave this process, and cost its time. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **results)
{
	(void)node;
	(void)service;
	(void)hints;
	*results = NULL;
	return EAI_NONAME;
}

static void check(int code, const struct llrph_error *error)
{
	LLR_ASSERT(code <= 0);
	if (code == 0)
		return;
	LLR_ASSERT(error->text[0] != '\0');
	LLR_ASSERT(strchr(error->text, '\n') == NULL);
}

static void read_file(struct llr_config *config, const uint8_t *bytes, size_t size)
{
	struct llrph_error error = {""};
	char path[32];
	int fd = memfd_create("config", 0);

	LLR_MUST(fd >= 0);
	LLR_MUST(write(fd, bytes, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	check(llr_config_read_file(config, path, &error), &error);
	(void)close(fd);
}

static void type_options(struct llr_config *config, char *text)
{
	char *rest = text;

	for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
		struct llrph_error error = {""};
		char *value = strchr(line, '=');

		if (value != NULL)
			*value++ = '\0';
		check(llr_config_set(config, line, value, &error), &error);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct llr_config config;
	struct llrph_engine_options options;
	struct llrph_error error = {""};
	char *text;

	if (size == 0)
		return 0;
	llr_config_init(&config);
	if ((data[0] & 1U) != 0) {
		read_file(&config, data + 1, size - 1);
	} else {
		text = malloc(size);
		LLR_MUST(text != NULL);
		memcpy(text, data + 1, size - 1);
		text[size - 1] = '\0';
		type_options(&config, text);
		free(text);
	}
	check(llr_config_check(&config, &error), &error);
	llr_config_engine_options(&config, &options);
	return 0;
}
