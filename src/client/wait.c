/* SPDX-License-Identifier: MIT */
/*
 * How a client waits: it spins as long as a wake-up would cost, then sleeps in one epoll_wait for
 * all of its connections, at most until the next timer.
 *
 * Thread: the client's owner's. Owns nothing; the epoll descriptor is client.c's.
 *
 * "Spins" means: returns at once, so that the caller's next poll looks. Nothing sleeps on a virtual
 * clock, for nobody would move it on.
 */
#include "client/state.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <sys/epoll.h>

#define EVENTS_MAX 16

void llr_client_watch(struct llrph_client *client, struct llr_link *link)
{
	const struct llr_transport_ops *ops = link->transport->ops;
	int fd = ops->wait_fd != NULL ? ops->wait_fd(link->transport) : -1;
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	/* Without it the client would still go on, at the pace of its timers. */
	if (fd >= 0)
		(void)epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void llr_client_unwatch(struct llrph_client *client, struct llr_link *link)
{
	const struct llr_transport_ops *ops = link->transport->ops;
	int fd = ops->wait_fd != NULL ? ops->wait_fd(link->transport) : -1;

	if (fd >= 0)
		(void)epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void llr_client_disarm(struct llrph_client *client)
{
	if (!client->is_armed)
		return;
	client->is_armed = false;
	for (unsigned int i = 0; i < client->setup.endpoint_count; i++) {
		struct llr_transport *transport = client->links[i].transport;

		if (transport != NULL && transport->ops->wait_done != NULL)
			transport->ops->wait_done(transport);
	}
}

/* Sends what waits, arms the wake-ups; true if a poll would find something already. */
static bool arm(struct llrph_client *client)
{
	bool found = client->ended_head != NULL && !client->is_sync;

	client->is_armed = true;
	for (unsigned int i = 0; i < client->setup.endpoint_count; i++) {
		struct llr_link *link = &client->links[i];

		llr_link_flush(link);
		if (link->span_index < link->span_count || link->state == LLR_LINK_LOST)
			found = true;
		if (link->transport != NULL && link->transport->ops->wait_prepare != NULL &&
		    link->transport->ops->wait_prepare(link->transport))
			found = true;
	}
	return found;
}

int llrph_client_wait(struct llrph_client *client, uint64_t timeout_ns)
{
	uint64_t now_ns = client->turn_ns;
	struct epoll_event events[EVENTS_MAX];
	struct timespec timeout;
	int error = 0;

	if (client->setup.options.idle == LLRPH_IDLE_SPIN || client->clock->virtual_ns != NULL ||
	    now_ns - client->busy_ns < LLR_SPIN_NS)
		return 0;
	now_ns = llr_clock_now(client->clock);
	if (client->due_ns <= now_ns || timeout_ns == 0)
		return 0;
	timeout_ns = llr_min_u64(timeout_ns, client->due_ns - now_ns);
	/* Whatever bound has no meaning here, an hour has none either. */
	timeout_ns = llr_min_u64(timeout_ns, UINT64_C(3600000000000));
	timeout.tv_sec = (time_t)(timeout_ns / 1000000000U);
	timeout.tv_nsec = (long)(timeout_ns % 1000000000U);
	if (!arm(client) && epoll_pwait2(client->epoll_fd, events, EVENTS_MAX, &timeout, NULL) < 0)
		error = -errno;
	llr_client_disarm(client);
	LLR_ASSERT(error == 0 || error == -EINTR);
	return error;
}

int llrph_client_fd(struct llrph_client *client, uint64_t *timeout_ns)
{
	uint64_t now_ns = llr_clock_now(client->clock);
	bool found;

	llr_client_disarm(client);
	found = arm(client);
	if (timeout_ns != NULL)
		*timeout_ns = found || client->due_ns <= now_ns ? 0 : client->due_ns - now_ns;
	return client->epoll_fd;
}
