/* SPDX-License-Identifier: MIT */
/*
 * The client as a whole: its memory, and what it tells of itself.
 *
 * Thread: the owner's. Owns: all memory of a client but its connections, which session.c opens and
 * closes.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/memory.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONNECT_NS_DEFAULT UINT64_C(1000000000)

uint8_t *llr_call_buffer(struct llrph_client *client, const struct llr_call *call)
{
	return client->buffers + call->index * client->buffer_size;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t llr_client_random(struct llrph_client *client)
{
	uint64_t z = client->random += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static int options_resolve(struct llrph_client_options *options, struct llrph_error *error)
{
	if (options->window == 0)
		options->window = LLR_WINDOW_DEFAULT;
	if (options->max_message == 0)
		options->max_message = LLR_PAYLOAD_SIZE_DEFAULT;
	if (options->connect_ns == 0)
		options->connect_ns = CONNECT_NS_DEFAULT;
	if (options->window > LLR_WINDOW_MAX)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "window %u: at most %u requests can be outstanding",
				     options->window, LLR_WINDOW_MAX);
	if (options->max_message > LLR_PAYLOAD_SIZE_MAX)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "max_message %u: a message has at most %u bytes",
				     options->max_message, LLR_PAYLOAD_SIZE_MAX);
	if (options->idle != LLRPH_IDLE_PARK && options->idle != LLRPH_IDLE_SPIN)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "idle %u: give LLRPH_IDLE_PARK or LLRPH_IDLE_SPIN",
				     options->idle);
	if (options->hedge_ns != 0 && options->hedge_p95 != 0)
		return llr_error_set(error, LLRPH_E_BAD_ARGUMENT,
				     "hedge_ns and hedge_p95: give one of the two");
	return 0;
}

static void *take(size_t size, const char *what, struct llrph_error *error)
{
	void *memory = llr_memory_map(size, what);

	if (memory == NULL)
		llr_error_set(error, LLRPH_E_NO_MEMORY,
			      "%s: no %zu bytes: lower window or max_message", what, size);
	return memory;
}

static size_t sequences_size(const struct llrph_client *client)
{
	return client->window * sizeof(uint64_t) * client->setup.endpoint_count;
}

static int memory_take(struct llrph_client *client, struct llrph_error *error)
{
	uint32_t window = client->window;
	uint64_t *sequences;

	client->calls = take(window * sizeof(struct llr_call), "client: calls", error);
	if (client->calls == NULL)
		goto fail_calls;
	client->buffers = take(window * client->buffer_size, "client: payloads", error);
	if (client->buffers == NULL)
		goto fail_buffers;
	sequences = take(sequences_size(client), "client: sequences", error);
	if (sequences == NULL)
		goto fail_sequences;
	for (unsigned int i = 0; i < client->setup.endpoint_count; i++)
		client->links[i].slot_sequences = sequences + (size_t)i * window;
	return 0;

fail_sequences:
	llr_memory_unmap(client->buffers, window * client->buffer_size);
fail_buffers:
	llr_memory_unmap(client->calls, window * sizeof(struct llr_call));
fail_calls:
	return LLRPH_E_NO_MEMORY;
}

static void memory_give(struct llrph_client *client)
{
	llr_memory_unmap(client->links[0].slot_sequences, sequences_size(client));
	llr_memory_unmap(client->buffers, client->window * client->buffer_size);
	llr_memory_unmap(client->calls, client->window * sizeof(struct llr_call));
}

static void client_init(struct llrph_client *client, const struct llr_client_setup *setup,
			const struct llrph_client_options *options)
{
	client->setup = *setup;
	client->setup.options = *options;
	client->clock = setup->clock;
	client->random = setup->seed;
	client->window = 1U << (31 - __builtin_clz(options->window));
	client->buffer_size = llr_round_up(options->max_message, 64);
	client->primary = &client->links[0];
	if (setup->endpoint_count > 1 && (options->hedge_ns != 0 || options->hedge_p95 != 0))
		client->hedge = &client->links[1];
	client->open_error = LLRPH_E_PEER_DEAD;
	client->turn_ns = llr_clock_now(client->clock);
	for (unsigned int i = 0; i < setup->endpoint_count; i++) {
		client->links[i].endpoint = i;
		client->links[i].retry_ns = client->turn_ns;
	}
}

int llr_client_create(struct llrph_client **client, const struct llr_client_setup *setup,
		      struct llrph_error *error)
{
	struct llrph_client_options options = setup->options;
	struct llrph_client *made;
	int code = options_resolve(&options, error);

	LLR_ASSERT(setup->endpoint_count >= 1);
	LLR_ASSERT(setup->endpoint_count <= LLR_ENDPOINTS_MAX);
	LLR_ASSERT(setup->connect != NULL);
	if (code != 0)
		return code;
	made = take(sizeof(*made), "client", error);
	if (made == NULL)
		return LLRPH_E_NO_MEMORY;
	client_init(made, setup, &options);
	code = memory_take(made, error);
	if (code != 0)
		goto fail_memory;
	for (uint32_t i = 0; i < made->window; i++)
		made->calls[i].index = i;
	for (uint32_t i = 0; i < made->window; i++)
		made->calls[i].id = i;
	made->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (made->epoll_fd < 0) {
		code = llr_error_set(error, -errno, "no descriptor left: raise ulimit -n");
		goto fail_epoll;
	}
	*client = made;
	return 0;

fail_epoll:
	memory_give(made);
fail_memory:
	llr_memory_unmap(made, sizeof(*made));
	return code;
}

void llrph_client_close(struct llrph_client *client)
{
	uint64_t now_ns;

	if (client == NULL)
		return;
	now_ns = llr_clock_now(client->clock);
	llrph_call_abort(client);
	llr_client_disarm(client);
	for (unsigned int i = 0; i < client->setup.endpoint_count; i++)
		llr_link_close(client, &client->links[i], now_ns);
	(void)close(client->epoll_fd);
	memory_give(client);
	if (client->setup.release != NULL)
		client->setup.release(client->setup.context);
	llr_memory_unmap(client, sizeof(*client));
}

bool llr_client_is_open(const struct llrph_client *client)
{
	return client->primary->state == LLR_LINK_OPEN;
}

void llrph_client_info(const struct llrph_client *client, struct llrph_client_info *info)
{
	const struct llr_link *link = client->primary;
	bool is_open = link->state == LLR_LINK_OPEN;
	struct llrph_client_info all = {
		.size = info->size,
		.endpoint = is_open ? client->setup.endpoints[link->endpoint] : NULL,
		.window = link->window,
		.max_message = link->max_message,
		.outstanding = client->outstanding,
		.credits = link->credits,
		.epoch = link->epoch,
		.sessions = client->sessions,
		.retransmissions = client->retransmissions,
		.rejected = client->rejected,
		.hedges = client->hedges,
	};

	memcpy(info, &all, llr_min_u64(info->size, sizeof(all)));
}
