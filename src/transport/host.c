/* SPDX-License-Identifier: MIT */
/*
 * The host: its turn, and the lives of lanes and workers as it sees them. How a slot goes from
 * state to state is drawn in host_table.h.
 *
 * Thread: its process's one that calls it. Owns: table, descriptors, mappings, workers' pages.
 *
 * Whoever connects may say anything: each connection is one message of fixed size within a second,
 * in one of a fixed number of places of which the oldest gives way. Nothing is read from a client
 * after that; the end of its connection is all that counts.
 */
#include "transport/host_table.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX      64
#define ACCEPTS_MAX     32  /* in one turn */
#define ANSWERS_MAX     256 /* of one worker, in one turn */
#define ACCEPT_PAUSE_NS 100000000U

static int watch(struct llr_lane_host *host, int operation, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event event = {.events = events, .data.u64 = tag};

	return epoll_ctl(host->epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/*
 * Closes a descriptor that epoll watches. A worker may hold a copy of it, and epoll forgets one
 * only when the last copy is closed: so it is told.
 */
static void close_watched(struct llr_lane_host *host, int *fd)
{
	if (*fd >= 0 && host->epoll >= 0)
		(void)epoll_ctl(host->epoll, EPOLL_CTL_DEL, *fd, NULL);
	close_fd(fd);
}

void llr_slot_clear(struct llr_lane_slot *slot)
{
	llr_lane_unmap(&slot->request);
	llr_lane_unmap(&slot->reply);
	close_fd(&slot->request_fd);
	close_fd(&slot->reply_fd);
	close_fd(&slot->connection);
	close_fd(&slot->bell);
}

static void slot_free(struct llr_lane_host *host, struct llr_lane_slot *slot)
{
	LLR_ASSERT(slot->state != LLR_LANE_FREE);
	LLR_ASSERT(host->lanes > 0);
	if (slot->order_owed != 0)
		host->orders_owed--;
	slot->order_owed = 0;
	if (slot->connection >= 0) {
		/* Also ends the copy that a worker may have, and so the client's wait. */
		(void)shutdown(slot->connection, SHUT_RDWR);
		close_watched(host, &slot->connection);
	}
	llr_thaw_begin();
	llr_slot_clear(slot);
	llr_thaw_end();
	slot->state = LLR_LANE_FREE;
	slot->generation++;
	host->lanes--;
	host->channels[slot->worker].lanes--;
}

/* Tells a slot's worker; what finds no room is owed and sent by a later turn. */
static void send_order(struct llr_lane_host *host, uint32_t index, enum llr_lane_order_kind kind)
{
	struct llr_lane_slot *slot = &host->slots[index];
	struct llr_lane_channel *channel = &host->channels[slot->worker];
	int fds[LLR_HANDOVER_FDS] = {slot->request_fd, slot->reply_fd, slot->bell,
				     slot->connection};
	struct llr_lane_order order = {
		.kind = kind,
		.index = index,
		.generation = slot->generation,
		.uid = slot->uid,
		.flags = slot->flags,
		.shape = slot->shape,
		.request_key = slot->request_key,
		.reply_key = slot->reply_key,
	};

	if (slot->order_owed != 0)
		host->orders_owed--;
	slot->order_owed = 0;
	if (llr_handover_send(channel->host_end, &order, sizeof(order), fds,
			      kind == LLR_LANE_ATTACH ? LLR_HANDOVER_FDS : 0) != 0) {
		slot->order_owed = kind;
		host->orders_owed++;
		return;
	}
	/* Partner: the exchange in shm's look for news. Publishes nothing: the message is there. */
	atomic_store_explicit(&channel->page->news, 1, memory_order_release);
}

/* The client is gone, or the lane is of no use to it. */
static void slot_end(struct llr_lane_host *host, uint32_t index)
{
	struct llr_lane_slot *slot = &host->slots[index];

	if (slot->state == LLR_LANE_ENDING)
		return;
	if (slot->order_owed == LLR_LANE_ATTACH) { /* its worker has never heard of it */
		slot_free(host, slot);
		return;
	}
	(void)shutdown(slot->connection, SHUT_RDWR);
	(void)epoll_ctl(host->epoll, EPOLL_CTL_DEL, slot->connection, NULL);
	slot->state = LLR_LANE_ENDING;
	send_order(host, index, LLR_LANE_END);
}

/* Answers a client that gets no lane. */
__attribute__((format(printf, 3, 4))) static void refuse(int fd, int code, const char *format, ...)
{
	struct llr_handover_answer answer = {
		.magic = LLR_HANDOVER_MAGIC,
		.version = LLR_HANDOVER_VERSION,
		.code = code,
	};
	va_list arguments;

	LLR_ASSERT(code < 0);
	va_start(arguments, format);
	(void)vsnprintf(answer.text, sizeof(answer.text), format, arguments);
	va_end(arguments);
	(void)llr_handover_send(fd, &answer, sizeof(answer), NULL, 0);
}

/* The worker has mapped it: seals the lane and gives it to its client. */
static void slot_grant(struct llr_lane_host *host, uint32_t index)
{
	struct llr_lane_slot *slot = &host->slots[index];
	int fds[LLR_HANDOVER_FDS] = {slot->request_fd, slot->reply_fd, slot->bell,
				     host->channels[slot->worker].page_fd};
	struct llr_handover_answer answer = {
		.magic = LLR_HANDOVER_MAGIC,
		.version = LLR_HANDOVER_VERSION,
		.flags = host->is_spinning ? LLR_HANDOVER_SPIN : 0,
		.request_key = slot->request_key,
		.reply_key = slot->reply_key,
		.start = llr_host_start(index),
		.shape = slot->shape,
		.index = index,
		.uid = geteuid(),
	};
	int code = llr_lane_seal(slot->reply_fd, LLR_LANE_READ);

	LLR_ASSERT(slot->state == LLR_LANE_OFFERED);
	slot->state = LLR_LANE_LIVE;
	if (code == 0)
		code = llr_handover_send(slot->connection, &answer, sizeof(answer), fds,
					 LLR_HANDOVER_FDS);
	close_fd(&slot->request_fd); /* the mappings are enough from here on */
	close_fd(&slot->reply_fd);
	if (code != 0)
		slot_end(host, index);
}

static int make_memory(struct llr_lane_slot *slot, uint64_t start, bool hugepages)
{
	size_t size = llr_lane_file_size(&slot->shape);
	struct llr_lane_server_page *page;
	int code;

	slot->request_fd = llr_lane_memfd("llrph-request", size, hugepages);
	if (slot->request_fd < 0)
		return slot->request_fd;
	slot->reply_fd = llr_lane_memfd("llrph-reply", size, hugepages);
	if (slot->reply_fd < 0)
		return slot->reply_fd;
	code = llr_lane_map(&slot->reply, slot->reply_fd, &slot->shape, LLR_LANE_WRITE);
	if (code != 0)
		return code;
	/* The client's page is mapped for writing here this once, to say where it starts. */
	code = llr_lane_map(&slot->request, slot->request_fd, &slot->shape, LLR_LANE_WRITE);
	if (code != 0)
		return code;
	atomic_init(&((struct llr_lane_client_page *)(void *)slot->request.page)->reply_read,
		    start);
	llr_lane_unmap(&slot->request);
	code = llr_lane_map(&slot->request, slot->request_fd, &slot->shape, LLR_LANE_READ);
	if (code != 0)
		return code;
	page = (struct llr_lane_server_page *)(void *)slot->reply.page;
	atomic_init(&page->request_read, start);
	atomic_init(&page->reply_last, 0);
	return llr_lane_seal(slot->request_fd, LLR_LANE_WRITE);
}

static int make_lane(struct llr_lane_slot *slot, uint64_t start, bool hugepages)
{
	uint64_t keys[2];
	int code;

	llr_thaw_begin();
	code = make_memory(slot, start, hugepages);
	llr_thaw_end();
	if (code != 0)
		return code;
	slot->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (slot->bell < 0)
		return -errno;
	if (getrandom(keys, sizeof(keys), 0) != (ssize_t)sizeof(keys))
		return -EIO;
	slot->request_key = keys[0];
	slot->reply_key = keys[1];
	return 0;
}

static uint32_t least_loaded(const struct llr_lane_host *host)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < host->worker_count; i++) {
		if (host->channels[i].lanes < host->channels[best].lanes)
			best = i;
	}
	return best;
}

/* Makes a lane for the client on fd and offers it to a worker. Takes fd over if 0 is returned. */
static int offer_lane(struct llr_lane_host *host, int fd, uint32_t uid,
		      const struct llr_handover_hello *hello)
{
	uint32_t asked = hello->message_max == 0 ? LLR_PAYLOAD_SIZE_DEFAULT : hello->message_max;
	bool hugepages = host->hugepages || (hello->flags & LLR_HANDOVER_HUGEPAGES) != 0;
	struct llr_lane_slot *slot = host->slots;
	uint32_t index = 0;
	int code;

	while (index < host->lanes_max && slot[index].state != LLR_LANE_FREE)
		index++;
	if (index == host->lanes_max)
		return -EBUSY;
	slot = &host->slots[index];
	llr_lane_shape_init(&slot->shape, (uint32_t)llr_min_u64(asked, host->message_max),
			    hugepages);
	code = make_lane(slot, llr_host_start(index), hugepages);
	if (code == 0)
		code = watch(host, EPOLL_CTL_MOD, fd, EPOLLRDHUP,
			     llr_host_event(LLR_HOST_LANE, slot->generation, index));
	if (code != 0) {
		llr_thaw_begin();
		llr_slot_clear(slot);
		llr_thaw_end();
		return code;
	}
	slot->connection = fd;
	slot->uid = uid;
	slot->flags = hello->flags;
	slot->worker = least_loaded(host);
	slot->state = LLR_LANE_OFFERED;
	host->lanes++;
	host->channels[slot->worker].lanes++;
	send_order(host, index, LLR_LANE_ATTACH);
	return 0;
}

static bool is_welcome(const struct llr_lane_host *host, uint32_t uid)
{
	if (host->uid_count == 0 || uid == geteuid())
		return true;
	for (uint32_t i = 0; i < host->uid_count; i++) {
		if (host->uids[i] == uid)
			return true;
	}
	return false;
}

/* Decides about a client that has said hello. 0 if fd is a lane's now. */
static int admit(struct llr_lane_host *host, int fd, const struct llr_handover_hello *hello)
{
	struct ucred peer = {.uid = UINT32_MAX};
	socklen_t size = sizeof(peer);
	int code;

	if (hello->magic != LLR_HANDOVER_MAGIC || hello->version != LLR_HANDOVER_VERSION) {
		refuse(fd, -EPROTO,
		       "the server's shared memory has version %u: use the same release on both "
		       "sides",
		       LLR_HANDOVER_VERSION);
		return -EPROTO;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
	    !is_welcome(host, peer.uid)) {
		refuse(fd, -EACCES, "user %u may not attach: the server's list of uids lacks it",
		       peer.uid);
		return -EACCES;
	}
	code = offer_lane(host, fd, peer.uid, hello);
	if (code == -EBUSY)
		refuse(fd, code, "all %u lanes are taken: raise the server's number of lanes",
		       host->lanes_max);
	else if (code != 0 && (hello->flags & LLR_HANDOVER_HUGEPAGES) != 0)
		refuse(fd, code,
		       "the server can't make a lane of hugepages (%s): raise "
		       "vm.nr_hugepages, or ask for none",
		       strerror(-code));
	else if (code != 0)
		refuse(fd, code, "the server can't make a lane: %s", strerror(-code));
	return code;
}

/* Looks whether a connection has said hello. True if it is done with, one way or the other. */
static bool pending_step(struct llr_lane_host *host, uint32_t index)
{
	struct llr_lane_pending *pending = &host->pending[index];
	struct llr_handover_hello hello;
	int code;

	if (pending->fd < 0)
		return false; /* a late event */
	code = llr_handover_receive(pending->fd, &hello, sizeof(hello), NULL, 0);
	if (code == -EAGAIN)
		return false;
	if (code == -EPROTO)
		refuse(pending->fd, code, "that is no hello of a client");
	if (code == 1 && admit(host, pending->fd, &hello) == 0)
		pending->fd = -1; /* the lane's now */
	close_watched(host, &pending->fd);
	host->pending_count--;
	return true;
}

/* A place for a new connection; the oldest one gives way. */
static uint32_t pending_place(struct llr_lane_host *host)
{
	uint32_t oldest = 0;

	for (uint32_t i = 0; i < LLR_HOST_PENDING; i++) {
		if (host->pending[i].fd < 0)
			return i;
		if (host->pending[i].since_ns < host->pending[oldest].since_ns)
			oldest = i;
	}
	close_watched(host, &host->pending[oldest].fd);
	host->pending_count--;
	return oldest;
}

static void pending_expire(struct llr_lane_host *host, uint64_t now_ns)
{
	for (uint32_t i = 0; i < LLR_HOST_PENDING && host->pending_count > 0; i++) {
		struct llr_lane_pending *pending = &host->pending[i];

		if (pending->fd < 0 || now_ns - pending->since_ns < LLR_HOST_HELLO_NS)
			continue;
		refuse(pending->fd, -ETIMEDOUT, "no hello within a second");
		close_watched(host, &pending->fd);
		host->pending_count--;
	}
}

static void accept_clients(struct llr_lane_host *host, uint64_t now_ns)
{
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(host->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		uint32_t place;

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			llr_log("shared memory: accept pauses: %s; raise the limit (ulimit -n)",
				strerror(errno));
			host->is_paused = true;
			host->resume_ns = now_ns + ACCEPT_PAUSE_NS;
			(void)watch(host, EPOLL_CTL_MOD, host->listener, 0,
				    llr_host_event(LLR_HOST_LISTENER, 0, 0));
		}
		if (fd < 0)
			return;
		place = pending_place(host);
		if (watch(host, EPOLL_CTL_ADD, fd, EPOLLIN,
			  llr_host_event(LLR_HOST_PENDING_ONE, 0, place)) != 0) {
			(void)close(fd);
			continue;
		}
		host->pending[place] = (struct llr_lane_pending){.since_ns = now_ns, .fd = fd};
		host->pending_count++;
		(void)pending_step(host, place); /* an honest client has spoken already */
	}
}

static void handle_answer(struct llr_lane_host *host, const struct llr_lane_order *answer)
{
	struct llr_lane_slot *slot;

	LLR_ASSERT(answer->index < host->lanes_max);
	slot = &host->slots[answer->index];
	if (slot->state == LLR_LANE_FREE || slot->generation != answer->generation)
		return;
	if (answer->kind == LLR_LANE_ATTACHED && slot->state == LLR_LANE_OFFERED) {
		slot_grant(host, answer->index);
	} else if (answer->kind == LLR_LANE_ENDED) {
		if (slot->state == LLR_LANE_OFFERED)
			refuse(slot->connection, -ENOMEM, "the worker can't map the lane");
		slot_free(host, slot);
	}
}

static void hear_worker(struct llr_lane_host *host, uint32_t worker)
{
	struct llr_lane_order answer;

	for (int i = 0; i < ANSWERS_MAX; i++) {
		if (llr_handover_receive(host->channels[worker].host_end, &answer, sizeof(answer),
					 NULL, 0) != 1)
			return; /* a worker's death is its parent's to notice */
		handle_answer(host, &answer);
	}
}

static void handle_event(struct llr_lane_host *host, uint64_t tag, uint64_t now_ns)
{
	uint32_t index = (uint32_t)tag;

	switch ((enum llr_host_event_kind)(tag >> 60)) {
	case LLR_HOST_LISTENER:
		accept_clients(host, now_ns);
		break;
	case LLR_HOST_PENDING_ONE:
		(void)pending_step(host, index);
		break;
	case LLR_HOST_LANE: /* nothing but its end is watched; a late event's slot may be another's
			     */
		if (host->slots[index].state != LLR_LANE_FREE &&
		    tag == llr_host_event(LLR_HOST_LANE, host->slots[index].generation, index))
			slot_end(host, index);
		break;
	case LLR_HOST_WORKER:
		hear_worker(host, index);
		break;
	}
}

void llr_host_orphan(struct llr_lane_host *host, uint32_t index)
{
	struct llr_lane_slot *slot = &host->slots[index];

	if (slot->order_owed != 0)
		host->orders_owed--;
	slot->order_owed = 0;
	if (slot->state == LLR_LANE_OFFERED)
		slot_grant(host, index);
	else if (slot->state == LLR_LANE_ENDING)
		slot_free(host, slot);
}

static void send_owed(struct llr_lane_host *host)
{
	for (uint32_t i = 0; i < host->lanes_max && host->orders_owed > 0; i++) {
		if (host->slots[i].order_owed != 0)
			send_order(host, i, host->slots[i].order_owed);
	}
}

void llr_lane_host_turn(struct llr_lane_host *host)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now_ns = llr_clock_now(host->clock);
	int count;

	LLR_ASSERT(!host->is_forked);
	if (host->orders_owed > 0)
		send_owed(host);
	if (host->pending_count > 0)
		pending_expire(host, now_ns);
	if (host->is_paused && now_ns >= host->resume_ns) {
		host->is_paused = false;
		(void)watch(host, EPOLL_CTL_MOD, host->listener, EPOLLIN,
			    llr_host_event(LLR_HOST_LISTENER, 0, 0));
	}
	count = epoll_wait(host->epoll, events, EVENTS_MAX, 0);
	for (int i = 0; i < count; i++)
		handle_event(host, events[i].data.u64, now_ns);
}

int llr_lane_host_fd(const struct llr_lane_host *host)
{
	return host->epoll;
}

uint32_t llr_lane_host_lanes(const struct llr_lane_host *host)
{
	return host->lanes;
}

const char *llr_lane_host_path(const struct llr_lane_host *host)
{
	return host->path;
}
