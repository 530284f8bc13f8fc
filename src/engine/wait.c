/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until an endpoint has something. One epoll descriptor holds those of all transports;
 * each transport arms its own wake-up before, and says if something came meanwhile.
 *
 * Thread: the worker's. Owns: the engine's epoll descriptor.
 */
#include "engine/inside.h"

#include "base/assert.h"

#include <sys/epoll.h>
#include <unistd.h>

#define NS_PER_MS 1000000U

int llr_wait_open(struct llrph_engine *engine)
{
	engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (engine->epoll_fd < 0)
		return -errno;
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_transport *transport = engine->listeners[i].transport;
		int fd = transport->ops->wait_fd(transport);
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

		if (fd >= 0 && epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			return -errno;
	}
	return 0;
}

/* Arms all wake-ups. False: something is there already. */
static bool prepare(struct llrph_engine *engine)
{
	bool quiet = true;

	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_transport *transport = engine->listeners[i].transport;

		if (transport->ops->wait_prepare != NULL && transport->ops->wait_prepare(transport))
			quiet = false;
	}
	return quiet;
}

int llrph_engine_wait(struct llrph_engine *engine, uint64_t timeout_ns)
{
	struct epoll_event events[LLR_LISTENERS_MAX];
	uint64_t timeout_ms = (timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
	int ready = 0;

	LLR_ASSERT(engine->started);
	if (timeout_ms > INT32_MAX)
		timeout_ms = INT32_MAX;
	if (prepare(engine)) {
		engine->counters->sleeps++;
		ready = epoll_wait(engine->epoll_fd, events, LLR_LISTENERS_MAX, (int)timeout_ms);
	}
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_listener *listener = &engine->listeners[i];

		if (listener->transport->ops->wait_done != NULL)
			listener->transport->ops->wait_done(listener->transport);
		listener->polled_ns = 0; /* after a sleep every endpoint is looked at */
	}
	return ready < 0 && errno == EINTR ? -EINTR : 0;
}
