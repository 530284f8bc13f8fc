/* SPDX-License-Identifier: MIT */
/*
 * Endpoint URIs and lists of networks: what is taken must be what its canonical text says again.
 */
#include "input.h"

#include "base/assert.h"
#include "transport/address.h"

#include <netdb.h>
#include <stdlib.h>

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct llr_allow allow = {0};
	struct llrph_error error = {""};
	struct llr_uri uri = {0};
	struct llr_uri again = {0};

	LLR_MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (llr_uri_parse(&uri, text, &error) == 0) {
		LLR_ASSERT(llr_uri_parse(&again, uri.text, &error) == 0);
		LLR_ASSERT(strcmp(uri.text, again.text) == 0);
		LLR_ASSERT(uri.scheme == again.scheme);
	} else {
		LLR_ASSERT(error.text[0] != '\0');
		LLR_ASSERT(strchr(error.text, '\n') == NULL);
	}
	(void)llr_allow_parse(&allow, text, &error);
	LLR_ASSERT(allow.count <= LLR_ALLOW_COUNT_MAX);
	free(text);
	return 0;
}
