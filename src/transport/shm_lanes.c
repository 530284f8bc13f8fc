/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the server's role: what is not on the request path. Opening, lanes taken in and
 * let go of, and what the host has to say.
 *
 * Thread: the worker's. Owns: copies of requests and the arrays of struct llr_shm; the memory of
 * lanes is the slots' (host_table.h).
 */
#include "transport/shm_lanes.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BOUNCE_MIN   (256U << 10) /* for larger requests of those who are not trusted */
#define HOST_TURN_NS 1000000U     /* embedded: the host is turned along this often */
#define IDLE_LOOK_NS 10000000U    /* without requests: is the host still there? */
#define BUSY_LOOK_NS 1000000000U  /* with requests */

static void probe_add(struct llr_shm *shm, uint32_t index)
{
	struct llr_shm_lane *lane = &shm->lanes[index];

	LLR_ASSERT(shm->probe_count < shm->lanes_max);
	lane->probe = shm->probe_count++;
	shm->probes[lane->probe].lane = index;
	llr_shm_probe_aim(shm, lane);
}

static void probe_remove(struct llr_shm *shm, const struct llr_shm_lane *lane)
{
	uint32_t at = lane->probe;

	if (at < shm->hot_count) {
		llr_shm_probe_swap(shm, at, --shm->hot_count);
		at = shm->hot_count;
	}
	llr_shm_probe_swap(shm, at, --shm->probe_count);
}

/* ---- lanes: taken in, ended, let go of ---- */

void llr_shm_lane_end(struct llr_shm *shm, struct llr_shm_lane *lane)
{
	if (lane->state != LLR_SHM_LIVE)
		return;
	probe_remove(shm, lane);
	lane->state = LLR_SHM_ENDING;
	shm->ending[shm->ending_count++] = lane->peer.index;
}

void llr_shm_lane_break(struct llr_shm *shm, struct llr_shm_lane *lane)
{
	shm->base.counters->rx_broken++;
	llr_shm_lane_end(shm, lane);
}

/*
 * Where the last reply lies and where the next one goes: a worker may have died between a commit
 * and the store behind it, so the record after the last is looked at, too.
 */
static void find_replies(struct llr_shm_lane *lane, uint64_t start)
{
	struct llr_ring_writer *replies = &lane->replies;
	uint64_t last = atomic_load_explicit(&lane->page->reply_last, memory_order_relaxed);

	replies->position =
		last == 0 ? start : last - 1 + llr_ring_need(llr_ring_size_at(replies, last - 1));
	if (llr_ring_size_at(replies, replies->position) != 0) {
		last = replies->position + 1;
		replies->position += llr_ring_need(llr_ring_size_at(replies, last - 1));
		atomic_store_explicit(&lane->page->reply_last, last, memory_order_relaxed);
	}
}

/* Sets a lane going from its slot; from what a dead worker left, if there was one. */
static void lane_begin(struct llr_shm *shm, uint32_t index)
{
	struct llr_lane_slot *slot = &shm->host->slots[index];
	struct llr_lane_client_page *client = (void *)slot->request.page;
	struct llr_shm_lane *lane = &shm->lanes[index];
	uint64_t start = llr_host_start(index);
	uint64_t read;

	if (lane->state != LLR_SHM_NONE)
		return; /* told twice: by fork and by message */
	*lane = (struct llr_shm_lane){
		.state = LLR_SHM_LIVE,
		.page = (void *)slot->reply.page,
		.client_parked = &client->parked,
		.client_spins = (slot->flags & LLR_HANDOVER_SPIN) != 0,
		.in_place = shm->trust_all || (shm->trust_own && slot->uid == geteuid()),
		.reply_need = llr_ring_need(slot->shape.frame_max),
		.peer = {.link = lane, .uid = slot->uid, .index = index},
	};
	read = atomic_load_explicit(&lane->page->request_read, memory_order_relaxed);
	lane->requests = (struct llr_ring_reader){
		.bytes = slot->request.ring,
		.read = &lane->page->request_read,
		.key = slot->request_key,
		.position = read,
		.released = read,
		.capacity = slot->shape.capacity,
		.frame_max = slot->shape.frame_max,
	};
	lane->replies = (struct llr_ring_writer){
		.bytes = slot->reply.ring,
		.read = &client->reply_read,
		.key = slot->reply_key,
		.capacity = slot->shape.capacity,
		.frame_max = slot->shape.frame_max,
	};
	find_replies(lane, start);
	/* As far back as the client's position may be; the first refresh bounds it. */
	lane->replies.read_seen = lane->replies.position <= start + lane->replies.capacity
					  ? start
					  : lane->replies.position - lane->replies.capacity;
	probe_add(shm, index);
	if (llr_ring_refresh(&lane->replies) != 0)
		llr_shm_lane_break(shm, lane);
	/* Edge-triggered: each write to the bell is an event, and nobody need ever read it. */
	if (epoll_ctl(shm->epoll, EPOLL_CTL_ADD, slot->bell,
		      &(struct epoll_event){.events = EPOLLIN | EPOLLET}) != 0)
		llr_shm_lane_end(shm, lane);
	shm->base.counters->accepted++;
}

void llr_shm_lane_finish(struct llr_shm *shm, uint32_t index)
{
	struct llr_shm_lane *lane = &shm->lanes[index];

	LLR_ASSERT(lane->state == LLR_SHM_TOLD);
	(void)epoll_ctl(shm->epoll, EPOLL_CTL_DEL, shm->host->slots[index].bell, NULL);
	for (uint32_t i = 0; i < shm->dirty_count; i++) {
		if (shm->dirty[i] == index)
			shm->dirty[i--] = shm->dirty[--shm->dirty_count];
	}
	lane->state = LLR_SHM_NONE;
	shm->base.counters->closed++;
	llr_attach_ended(shm->host, index);
}

/* ---- chores: what is not on the request path ---- */

static void hear_host(struct llr_shm *shm)
{
	uint32_t index;

	for (;;) { /* until the host has said all */
		int kind = llr_attach_next(shm->host, shm->worker, &index);

		if (kind == LLR_LANE_ATTACHED)
			lane_begin(shm, index);
		else if (kind == LLR_LANE_END)
			llr_shm_lane_end(shm, &shm->lanes[index]);
		else if (kind == 0)
			return;
		else
			break;
	}
	shm->host_gone = true;
	for (uint32_t i = 0; i < shm->lanes_max; i++)
		llr_shm_lane_end(shm, &shm->lanes[i]);
}

void llr_shm_chores(struct llr_shm *shm, uint64_t now_ns)
{
	bool embedded = !shm->host->is_forked;
	bool news;

	shm->chores_ns = now_ns + (embedded ? HOST_TURN_NS : IDLE_LOOK_NS);
	if (embedded)
		llr_lane_host_turn(shm->host);
	if (shm->host_gone)
		return;
	if (shm->host->answers_owed > 0)
		llr_attach_retry(shm->host, shm->worker);
	/* Partner: the release store in the host's send_order. The message is there. */
	news = atomic_exchange_explicit(&shm->page->news, 0, memory_order_acquire) != 0;
	if (!news && now_ns - shm->looked_ns < BUSY_LOOK_NS &&
	    (embedded || now_ns - shm->busy_ns < IDLE_LOOK_NS))
		return;
	shm->looked_ns = now_ns;
	hear_host(shm);
}

/* ---- opening, closing ---- */

void llr_shm_close(struct llr_transport *transport)
{
	struct llr_shm *shm = llr_shm_from(transport);

	if (shm->epoll >= 0)
		(void)close(shm->epoll);
	llr_memory_unmap(shm, shm->size);
}

/* Lays all arrays out in one mapping: cache lines first. */
static struct llr_shm *shm_new(const struct llr_lane_host *host)
{
	uint32_t lanes_max = host->lanes_max;
	size_t bounce = llr_ring_need(host->message_max + LLR_LANE_OVERHEAD);
	size_t sizes[] = {
		llr_round_up(sizeof(struct llr_shm), LLR_LANE_UNIT),
		llr_round_up(lanes_max * sizeof(struct llr_shm_lane), LLR_LANE_UNIT),
		(size_t)LLR_BURST_MAX * LLR_SHM_COPY_STRIDE,
		llr_round_up(llr_max_u64(bounce, BOUNCE_MIN), LLR_LANE_UNIT),
		llr_round_up(lanes_max * sizeof(struct llr_shm_probe), LLR_LANE_UNIT),
		(LLR_BURST_MAX + 2 * (size_t)lanes_max) * sizeof(uint32_t),
	};
	size_t size = 0;
	uint8_t *at;
	struct llr_shm *shm;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		size += sizes[i];
	at = llr_memory_map(size, "shared-memory lanes of a worker");
	if (at == NULL)
		return NULL;
	shm = (struct llr_shm *)(void *)at;
	shm->size = size;
	shm->lanes = (struct llr_shm_lane *)(void *)(at += sizes[0]);
	shm->copies = at += sizes[1];
	shm->bounce = at += sizes[2];
	shm->bounce_size = sizes[3];
	shm->probes = (struct llr_shm_probe *)(void *)(at += sizes[3]);
	shm->touched = (uint32_t *)(void *)(at + sizes[4]);
	shm->dirty = shm->touched + LLR_BURST_MAX;
	shm->ending = shm->dirty + lanes_max;
	shm->lanes_max = lanes_max;
	shm->epoll = -1;
	return shm;
}

static int watch(struct llr_shm *shm, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(shm->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* Lanes that were there before this worker. */
static void inherit(struct llr_shm *shm)
{
	for (uint32_t i = 0; i < shm->lanes_max; i++) {
		struct llr_lane_slot *slot = &shm->host->slots[i];

		if (slot->state == LLR_LANE_FREE || slot->worker != shm->worker)
			continue;
		if (slot->state == LLR_LANE_ENDING)
			llr_attach_ended(shm->host, i);
		else
			lane_begin(shm, i);
	}
}

int llr_shm_listen(struct llr_transport **transport, struct llr_lane_host *host,
		   unsigned int worker, const char *trust, struct llr_transport_counters *counters,
		   const struct llr_clock *clock, struct llrph_error *error)
{
	struct llr_shm *shm;
	int code;

	LLR_ASSERT(worker < host->worker_count);
	LLR_ASSERT(counters != NULL);
	if (strcmp(trust, "own") != 0 && strcmp(trust, "all") != 0 && strcmp(trust, "none") != 0)
		return llr_error_set(error, -EINVAL, "trust '%.20s': choose own, all or none",
				     trust);
	shm = shm_new(host);
	if (shm == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for %u lanes: lower their number",
				     host->lanes_max);
	shm->host = host;
	shm->page = host->channels[worker].page;
	shm->worker = worker;
	shm->trust_own = strcmp(trust, "own") == 0;
	shm->trust_all = strcmp(trust, "all") == 0;
	(void)snprintf(shm->uri, sizeof(shm->uri), "shm:%s", host->name);
	shm->base.ops = &llr_shm_listen_ops;
	shm->base.counters = counters;
	shm->base.uri = shm->uri;
	shm->swept_ns = shm->busy_ns = shm->looked_ns = llr_clock_now(clock);
	shm->epoll = epoll_create1(EPOLL_CLOEXEC);
	code = shm->epoll < 0 ? -errno : watch(shm, host->channels[worker].worker_end);
	if (code == 0 && !host->is_forked)
		code = watch(shm, host->epoll);
	if (code != 0) {
		llr_shm_close(&shm->base);
		return llr_error_set(error, code, "can't set up shared memory: %s",
				     strerror(-code));
	}
	inherit(shm);
	*transport = &shm->base;
	return 0;
}

struct llr_peer *llr_shm_peer(struct llr_transport *transport, unsigned int index)
{
	struct llr_shm *shm = llr_shm_from(transport);

	if (index >= shm->lanes_max || shm->lanes[index].state == LLR_SHM_NONE)
		return NULL;
	return &shm->lanes[index].peer;
}

bool llr_shm_last_reply(struct llr_transport *transport, struct llr_peer *peer,
			const uint8_t **frame, uint32_t *size)
{
	struct llr_shm_lane *lane = peer->link;
	uint64_t last = atomic_load_explicit(&lane->page->reply_last, memory_order_relaxed);

	(void)transport;
	if (last == 0)
		return false;
	*size = llr_ring_size_at(&lane->replies, last - 1);
	*frame =
		lane->replies.bytes + ((last - 1) & (lane->replies.capacity - 1)) + LLR_LANE_PREFIX;
	return true;
}
