/* SPDX-License-Identifier: MIT */
/*
 * The client in earnest: URIs, transports, a real clock and real randomness around the core.
 *
 * Thread: the client's owner's. Owns: struct endpoints, from llrph_client_open() to the core's
 * release at close.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "transport/address.h"
#include "transport/shm.h"
#include "transport/tcp.h"
#include "transport/udp.h"

#include <string.h>
#include <sys/random.h>

#define URI_SEPARATOR ','
/* Attaching a lane again blocks poll: a server that lives answers in microseconds. */
#define REATTACH_NS UINT64_C(20000000)

struct endpoints {
	struct llr_clock clock;
	struct llr_uri uris[LLR_ENDPOINTS_MAX];
	const char *names[LLR_ENDPOINTS_MAX]; /* borrows from uris */
	struct llr_transport_counters counters[LLR_ENDPOINTS_MAX];
	unsigned int count;
	uint32_t max_message;
	uint64_t connect_ns;
	bool hugepages;
	bool spin;
	bool may_block; /* inside llrph_client_open */
};

static int shm_connect(struct endpoints *endpoints, unsigned int index,
		       struct llr_transport **transport, struct llr_peer **peer,
		       struct llrph_error *error)
{
	struct llr_shm_wish wish = {
		.name = endpoints->uris[index].name,
		.counters = &endpoints->counters[index],
		.clock = &endpoints->clock,
		.timeout_ns = endpoints->may_block ? endpoints->connect_ns : REATTACH_NS,
		.message_max = endpoints->max_message,
		.hugepages = endpoints->hugepages,
		.spin = endpoints->spin,
	};

	return llr_shm_connect(transport, peer, &wish, error);
}

static int tcp_connect(struct endpoints *endpoints, unsigned int index,
		       struct llr_transport **transport, struct llr_peer **peer,
		       struct llrph_error *error)
{
	struct llr_tcp_connect_setup setup = {
		.uri = &endpoints->uris[index],
		.counters = &endpoints->counters[index],
		.clock = &endpoints->clock,
		.message_max = LLR_HEAD_SIZE + endpoints->max_message,
		.timeout_ns = endpoints->may_block ? endpoints->connect_ns : 0,
	};

	return llr_tcp_connect(transport, peer, &setup, error);
}

static int endpoint_connect(void *context, unsigned int index, struct llr_transport **transport,
			    struct llr_peer **peer, struct llrph_error *error)
{
	struct endpoints *endpoints = context;

	LLR_ASSERT(index < endpoints->count);
	switch (endpoints->uris[index].scheme) {
	case LLR_SCHEME_SHM:
		return shm_connect(endpoints, index, transport, peer, error);
	case LLR_SCHEME_UDP:
		return llr_udp_connect(transport, peer, &endpoints->uris[index],
				       &endpoints->counters[index], &endpoints->clock, error);
	case LLR_SCHEME_TCP:
		return tcp_connect(endpoints, index, transport, peer, error);
	}
	return LLRPH_E_NOT_SUPPORTED;
}

static int endpoint_reconnect(void *context, unsigned int index, struct llr_transport *transport,
			      struct llr_peer **peer, struct llrph_error *error)
{
	struct endpoints *endpoints = context;

	LLR_ASSERT(index < endpoints->count);
	if (endpoints->uris[index].scheme != LLR_SCHEME_TCP)
		return LLRPH_E_NOT_SUPPORTED;
	return llr_tcp_reconnect(transport, peer, endpoints->may_block ? endpoints->connect_ns : 0,
				 error);
}

static bool endpoint_is_refused(void *context, unsigned int index, struct llr_transport *transport)
{
	const struct endpoints *endpoints = context;

	return endpoints->uris[index].scheme == LLR_SCHEME_UDP && llr_udp_refused(transport);
}

static void endpoints_close(void *context)
{
	llr_memory_unmap(context, sizeof(struct endpoints));
}

static int uri_add(struct endpoints *endpoints, const char *text, size_t size,
		   struct llrph_error *error)
{
	struct llr_uri *uri = &endpoints->uris[endpoints->count];
	char copy[2 * LLR_URI_TEXT_SIZE];
	int code;

	if (endpoints->count == LLR_ENDPOINTS_MAX)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "more than %u endpoints: give fewer", LLR_ENDPOINTS_MAX);
	if (size >= sizeof(copy))
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "endpoint of %zu bytes: give shm:NAME, udp:HOST:PORT or "
				     "tcp:HOST:PORT",
				     size);
	memcpy(copy, text, size);
	copy[size] = '\0';
	code = llr_uri_parse(uri, copy, error);
	if (code != 0)
		return code;
	endpoints->names[endpoints->count] = uri->text;
	endpoints->count++;
	return 0;
}

static int uris_parse(struct endpoints *endpoints, const char *uris, struct llrph_error *error)
{
	for (;;) { /* ends with the text */
		const char *end = strchrnul(uris, URI_SEPARATOR);
		int code = uri_add(endpoints, uris, (size_t)(end - uris), error);

		if (code != 0 || *end == '\0')
			return code;
		uris = end + 1;
	}
}

/* A caller built against another version has fewer fields, or more: those must not ask anything. */
static int options_copy(struct llrph_client_options *options,
			const struct llrph_client_options *given, struct llrph_error *error)
{
	size_t size = given != NULL ? given->size : 0;
	size_t known = size < sizeof(*options) ? size : sizeof(*options);

	*options = (struct llrph_client_options){0};
	if (given == NULL)
		return 0;
	if (size < sizeof(options->size))
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "options.size is %zu: set it to sizeof(options)", size);
	for (size_t i = known; i < size; i++)
		if (((const uint8_t *)given)[i] != 0)
			return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
					     "an option that this version of the library does not "
					     "know is set: upgrade it");
	memcpy(options, given, known);
	return 0;
}

/* Polls until there is a session, or each endpoint was tried once. */
static int open_wait(struct llrph_client *client)
{
	struct llr_harvest none = {0};

	while (client->failures < client->setup.endpoint_count) {
		llr_client_turn(client, &none);
		if (llr_client_is_open(client))
			return 0;
		if (client->failures < client->setup.endpoint_count)
			(void)llrph_client_wait(client, client->setup.options.connect_ns);
	}
	return client->open_error;
}

static int endpoints_open(struct endpoints **endpoints, const char *uris,
			  const struct llrph_client_options *options, struct llrph_error *error)
{
	struct endpoints *made = llr_memory_map(sizeof(*made), "client: endpoints");
	int code;

	if (made == NULL)
		return llr_error_set(error, LLRPH_E_NO_MEMORY, "no memory for a client");
	code = uris_parse(made, uris, error);
	if (code != 0) {
		endpoints_close(made);
		return code;
	}
	llr_clock_init(&made->clock);
	made->max_message = options->max_message;
	if (made->max_message == 0)
		made->max_message = LLR_PAYLOAD_SIZE_DEFAULT;
	made->hugepages = options->hugepages != 0;
	made->spin = options->idle == LLRPH_IDLE_SPIN;
	made->may_block = true;
	*endpoints = made;
	return 0;
}

int llrph_client_open(struct llrph_client **client, const char *uris,
		      const struct llrph_client_options *options, struct llrph_error *error)
{
	struct llr_client_setup setup = {
		.connect = endpoint_connect,
		.reconnect = endpoint_reconnect,
		.is_refused = endpoint_is_refused,
		.release = endpoints_close,
	};
	struct endpoints *endpoints = NULL;
	struct llrph_client *made;
	int code;

	if (uris == NULL)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT, "no URI: give one endpoint");
	code = options_copy(&setup.options, options, error);
	if (code != 0)
		return code;
	code = endpoints_open(&endpoints, uris, &setup.options, error);
	if (code != 0)
		return code;
	LLR_ASSERT(endpoints != NULL);
	setup.clock = &endpoints->clock;
	setup.wall_ns = llr_clock_wall_ns() - llr_clock_now(&endpoints->clock);
	setup.endpoint_count = endpoints->count;
	setup.endpoints = endpoints->names;
	setup.context = endpoints;
	LLR_MUST(getrandom(&setup.seed, sizeof(setup.seed), 0) == sizeof(setup.seed));
	code = llr_client_create(&made, &setup, error);
	if (code != 0) {
		endpoints_close(endpoints);
		return code;
	}
	endpoints->connect_ns = made->setup.options.connect_ns;
	code = open_wait(made);
	if (code != 0) {
		if (error != NULL)
			*error = made->open_text;
		llrph_client_close(made);
		return code;
	}
	endpoints->may_block = false;
	*client = made;
	return 0;
}
