/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a host, and what fork and death of a worker mean for its table. What it does
 * in between is in host.c.
 *
 * Thread: its process's one that calls it; llr_lane_host_worker_forked in the child.
 */
#include "transport/host_table.h"

#include "base/log.h"
#include "base/memory.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_SIZE 4096U

static int parse_uids(struct llr_lane_host *host, const char *uids, struct llrph_error *error)
{
	while (uids != NULL && *uids != '\0') {
		char *end = NULL;
		unsigned long uid;

		errno = 0;
		uid = isdigit((unsigned char)*uids) ? strtoul(uids, &end, 10) : ULONG_MAX;
		if (end == NULL || errno != 0 || uid >= UINT32_MAX ||
		    (*end != '\0' && (*end != ',' || end[1] == '\0')))
			return llr_error_set(error, -EINVAL,
					     "'%.40s' is no list of user ids: write 0,1000", uids);
		if (host->uid_count == LLR_HOST_UIDS_MAX)
			return llr_error_set(error, -EINVAL, "more than %u user ids",
					     LLR_HOST_UIDS_MAX);
		host->uids[host->uid_count++] = (uint32_t)uid;
		uids = *end == ',' ? end + 1 : end;
	}
	return 0;
}

static int watch(struct llr_lane_host *host, int fd, uint64_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(host->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* A pair of sockets to a worker. */
static int channel_open(struct llr_lane_host *host, unsigned int worker)
{
	struct llr_lane_channel *channel = &host->channels[worker];
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return -errno;
	channel->host_end = ends[0];
	channel->worker_end = ends[1];
	return watch(host, channel->host_end, llr_host_event(LLR_HOST_WORKER, 0, worker));
}

/* A worker's page: made once, for all of its successors. */
static int page_open(struct llr_lane_channel *channel)
{
	void *page;

	channel->page_fd = llr_lane_memfd("llrph-worker", PAGE_SIZE, false);
	if (channel->page_fd < 0)
		return channel->page_fd;
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, channel->page_fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	channel->page = page;
	return llr_lane_seal(channel->page_fd, LLR_LANE_READ);
}

/* Whether a lane of hugepages can be had at all. */
static int try_hugepages(uint32_t message_max, struct llrph_error *error)
{
	struct llr_lane_memory memory = {0};
	struct llr_lane_shape shape;
	int fd;
	int code;

	llr_lane_shape_init(&shape, message_max, true);
	fd = llr_lane_memfd("llrph-try", llr_lane_file_size(&shape), true);
	code = fd < 0 ? fd : llr_lane_map(&memory, fd, &shape, LLR_LANE_WRITE);
	llr_lane_unmap(&memory);
	if (fd >= 0)
		(void)close(fd);
	if (code == 0)
		return 0;
	return llr_error_set(error, code,
			     "no hugepages (%s): a lane takes %zu of 2 MiB; raise "
			     "vm.nr_hugepages, or ask for none",
			     strerror(-code), 2 * llr_lane_file_size(&shape) >> 21);
}

static int take_settings(struct llr_lane_host *host, const struct llr_lane_host_setup *setup,
			 struct llrph_error *error)
{
	host->clock = setup->clock;
	if (strlen(setup->name) > LLR_NAME_SIZE_MAX)
		return llr_error_set(error, -EINVAL, "name of %zu characters: %u are the most",
				     strlen(setup->name), LLR_NAME_SIZE_MAX);
	memcpy(host->name, setup->name, strlen(setup->name) + 1);
	host->pid = getpid();
	host->worker_count = setup->worker_count;
	host->is_spinning = setup->spin;
	host->hugepages = setup->hugepages;
	host->message_max = setup->message_max == 0 ? LLR_PAYLOAD_SIZE_DEFAULT : setup->message_max;
	if (host->message_max > LLR_PAYLOAD_SIZE_MAX)
		return llr_error_set(error, -EINVAL, "messages of %u bytes: %u are the most",
				     host->message_max, LLR_PAYLOAD_SIZE_MAX);
	if ((setup->mode & ~0777U) != 0)
		return llr_error_set(error, -EINVAL, "mode %o: only permission bits count",
				     setup->mode);
	return parse_uids(host, setup->uids, error);
}

static struct llr_lane_host *host_new(uint32_t lanes_max)
{
	size_t table = llr_round_up(sizeof(struct llr_lane_host), LLR_LANE_UNIT);
	size_t size = table + lanes_max * sizeof(struct llr_lane_slot);
	struct llr_lane_host *host = llr_memory_map(size, "shared-memory lanes' table");

	if (host == NULL)
		return NULL;
	host->size = size;
	host->slots = (struct llr_lane_slot *)(void *)((uint8_t *)host + table);
	host->lanes_max = lanes_max;
	host->epoll = -1;
	host->listener = -1;
	for (uint32_t i = 0; i < lanes_max; i++) {
		struct llr_lane_slot *slot = &host->slots[i];

		slot->request_fd = slot->reply_fd = slot->connection = slot->bell = -1;
	}
	for (uint32_t i = 0; i < LLR_HOST_PENDING; i++)
		host->pending[i].fd = -1;
	for (uint32_t i = 0; i < LLR_WORKERS_MAX; i++) {
		struct llr_lane_channel *channel = &host->channels[i];

		channel->page_fd = channel->host_end = channel->worker_end = -1;
	}
	return host;
}

int llr_lane_host_open(struct llr_lane_host **host_out, const struct llr_lane_host_setup *setup,
		       struct llrph_error *error)
{
	struct llr_lane_host *host;
	int code;

	LLR_ASSERT(setup->worker_count >= 1);
	LLR_ASSERT(setup->worker_count <= LLR_WORKERS_MAX);
	LLR_ASSERT(setup->clock != NULL);
	host = host_new(setup->lanes_max == 0 ? LLR_LANES_DEFAULT : setup->lanes_max);
	if (host == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for %u lanes", setup->lanes_max);
	code = take_settings(host, setup, error);
	if (code == 0 && host->hugepages)
		code = try_hugepages(host->message_max, error);
	if (code == 0)
		code = llr_host_listen(host, setup, error);
	if (code != 0)
		goto fail;
	host->epoll = epoll_create1(EPOLL_CLOEXEC);
	code = host->epoll < 0 ? -errno : 0;
	for (unsigned int i = 0; code == 0 && i < host->worker_count; i++) {
		code = page_open(&host->channels[i]);
		if (code == 0)
			code = channel_open(host, i);
	}
	if (code == 0)
		code = watch(host, host->listener, llr_host_event(LLR_HOST_LISTENER, 0, 0));
	if (code != 0) {
		llr_error_set(error, code, "can't set up shared memory: %s", strerror(-code));
		goto fail;
	}
	*host_out = host;
	return 0;
fail:
	llr_lane_host_close(host);
	return code;
}

static void close_fd(int *fd)
{
	llr_handover_close_fds(fd, 1);
}

void llr_lane_host_worker_forked(struct llr_lane_host *host, unsigned int worker)
{
	LLR_ASSERT(worker < host->worker_count);
	LLR_ASSERT(!host->is_forked);
	host->is_forked = true;
	host->answers_owed = 0;
	close_fd(&host->epoll);
	close_fd(&host->listener);
	for (uint32_t i = 0; i < LLR_HOST_PENDING; i++)
		close_fd(&host->pending[i].fd);
	for (uint32_t i = 0; i < host->worker_count; i++) {
		struct llr_lane_channel *channel = &host->channels[i];

		close_fd(&channel->page_fd);
		close_fd(&channel->host_end);
		if (i != worker)
			close_fd(&channel->worker_end);
	}
	for (uint32_t i = 0; i < host->lanes_max; i++) {
		struct llr_lane_slot *slot = &host->slots[i];

		/* A mapping kept here would keep the pages of a lane that ends elsewhere. */
		if (slot->state != LLR_LANE_FREE && slot->worker != worker) {
			llr_slot_clear(slot);
			slot->state = LLR_LANE_FREE;
		}
		close_fd(&slot->request_fd);
		close_fd(&slot->reply_fd);
	}
}

void llr_lane_host_worker_died(struct llr_lane_host *host, unsigned int worker)
{
	struct llr_lane_channel *channel = &host->channels[worker];
	int code;

	LLR_ASSERT(worker < host->worker_count);
	LLR_ASSERT(!host->is_forked);
	for (uint32_t i = 0; i < host->lanes_max; i++) {
		if (host->slots[i].worker == worker)
			llr_host_orphan(host, i);
	}
	/* The host's own copies are the last ones, so that epoll forgets them by their close. */
	close_fd(&channel->host_end);
	close_fd(&channel->worker_end);
	code = channel_open(host, worker);
	if (code != 0)
		llr_log("can't open a channel to worker %u: %s", worker, strerror(-code));
	if ((atomic_load_explicit(&channel->page->parked, memory_order_relaxed) &
	     LLR_LANE_PARKED) != 0)
		llr_lane_unpark(&channel->page->parked);
	atomic_store_explicit(&channel->page->news, 0, memory_order_relaxed);
}

void llr_lane_host_close(struct llr_lane_host *host)
{
	if (host == NULL)
		return;
	/* The name is freed first: from here on nobody may come. */
	if (host->path[0] != '\0' && host->pid == getpid())
		(void)unlink(host->path);
	for (uint32_t i = 0; i < host->lanes_max; i++) {
		if (host->slots[i].connection >= 0 && !host->is_forked)
			(void)shutdown(host->slots[i].connection, SHUT_RDWR);
		llr_slot_clear(&host->slots[i]);
	}
	for (uint32_t i = 0; i < LLR_HOST_PENDING; i++)
		close_fd(&host->pending[i].fd);
	for (uint32_t i = 0; i < LLR_WORKERS_MAX; i++) {
		struct llr_lane_channel *channel = &host->channels[i];

		close_fd(&channel->page_fd);
		close_fd(&channel->host_end);
		close_fd(&channel->worker_end);
		if (channel->page != NULL)
			LLR_ASSERT(munmap(channel->page, PAGE_SIZE) == 0);
	}
	close_fd(&host->listener);
	close_fd(&host->epoll);
	llr_memory_unmap(host, host->size);
}
