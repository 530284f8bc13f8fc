/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the server's role: one worker's lanes, polled, answered and let go of.
 *
 * Thread: the worker's. Owns: copies of requests, the list of probes; lanes' memory is the slots'
 * (host_table.h). While clients spin nothing in here makes a syscall, but a look for a dead host
 * after 10 ms without requests, and once a second.
 *
 * Polling. A probe is what it takes to see whether a lane has something: where its next word will
 * be and the mark that it will bear. Probes lie in one array, those of lanes that spoke lately in
 * front. The front is looked at in every turn; of the others each turn looks at as many as its
 * length demands for each to be seen every 12 us. A silent lane so costs a few nanoseconds in
 * 12 us, and the first request after a silence waits no longer than that.
 *
 * Invariants: probes[lanes[i].probe].lane == i for every live lane; [0, hot_count) are hot.
 * Between two bursts no lane's reader is ahead of what it has published.
 */
#include "transport/shm.h"

#include "base/log.h"
#include "base/memory.h"
#include "transport/host_table.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPY_FRAME_MAX 560U         /* header, route and 512 bytes: copied before anybody looks */
#define COPY_STRIDE    576U         /* with its prefix: nine lines */
#define BOUNCE_MIN     (256U << 10) /* for larger requests of those who are not trusted */
#define SWEEP_NS       12000U       /* every silent lane is seen this often; promised are 15 us */
#define HOT_NS         200000U      /* silent for so long: not hot any more */
#define FAIR_SHARE     16U          /* spans of one lane in a burst while others are hot, too */
#define AHEAD          16U          /* probes whose words are prefetched before their turn */
#define HOST_TURN_NS   1000000U     /* embedded: the host is turned along this often */
#define IDLE_LOOK_NS   10000000U    /* without requests: is the host still there? */
#define BUSY_LOOK_NS   1000000000U  /* with requests */
#define DRAIN_MAX      64

_Static_assert(COPY_FRAME_MAX + LLR_LANE_PREFIX <= COPY_STRIDE, "fits its stride");
_Static_assert(COPY_STRIDE % LLR_LANE_UNIT == 0, "copied by lines");

enum lane_state {
	LANE_NONE,
	LANE_LIVE,
	LANE_ENDING, /* its end is to be told with the next burst */
	LANE_TOLD,   /* its end was told; taken down at rx_release */
};

struct lane {
	struct llr_ring_reader requests;
	struct llr_ring_writer replies;
	struct llr_lane_server_page *page;     /* borrows; in the reply memfd */
	const _Atomic uint32_t *client_parked; /* borrows; in the request memfd */
	uint64_t active_ns;
	uint32_t probe;
	uint32_t reply_need; /* bytes of ring for a largest reply */
	uint32_t woken;      /* the client's park that it was woken from */
	enum lane_state state;
	bool client_spins;
	bool in_place; /* trusted: large requests are not copied */
	bool dirty;    /* committed to since the last flush */
	struct llr_peer peer;
};

struct probe {
	const _Atomic uint64_t *word; /* borrows */
	uint32_t mark;
	uint32_t lane;
};

struct shm {
	struct llr_transport base;
	struct llr_lane_host *host;        /* borrows */
	struct llr_lane_worker_page *page; /* borrows; the host's */
	struct lane *lanes;                /* owns, lanes_max */
	struct probe *probes;              /* owns, lanes_max */
	uint32_t *touched;                 /* owns, LLR_BURST_MAX: lanes with spans out */
	uint32_t *dirty;                   /* owns, lanes_max */
	uint32_t *ending;                  /* owns, lanes_max: LANE_ENDING, in order */
	uint8_t *copies;                   /* owns, LLR_BURST_MAX x COPY_STRIDE */
	uint8_t *bounce;                   /* owns, bounce_size */
	size_t size;                       /* of the mapping that holds all of these */
	size_t bounce_size;
	size_t bounce_used;
	uint64_t swept_ns;  /* up to when sweeps were paid for */
	uint64_t credit;    /* lane-nanoseconds owed to sweeps */
	uint64_t busy_ns;   /* the last request */
	uint64_t chores_ns; /* when to do the next chores */
	uint64_t looked_ns; /* at the channel */
	uint32_t lanes_max;
	uint32_t probe_count;
	uint32_t hot_count;
	uint32_t hot_next;  /* where the next burst starts */
	uint32_t cold_next; /* where the next sweep goes on */
	uint32_t touched_count;
	uint32_t dirty_count;
	uint32_t ending_count;
	uint32_t told_count; /* of ending, from its start */
	unsigned int worker;
	int epoll; /* owns */
	bool trust_own;
	bool trust_all;
	bool is_room_open;
	bool sweep_all; /* the next sweep is a whole one: a sleep has just ended */
	bool host_gone;
	char uri[8 + LLR_NAME_SIZE_MAX];
};

static struct shm *from_transport(struct llr_transport *transport)
{
	return (struct shm *)(void *)transport;
}

/* ---- probes ---- */

static void probe_aim(struct shm *shm, const struct lane *lane)
{
	struct probe *probe = &shm->probes[lane->probe];

	probe->word = llr_ring_word(lane->requests.bytes, lane->requests.capacity,
				    lane->requests.position);
	probe->mark = llr_ring_mark(lane->requests.position);
}

static inline bool probe_has_news(const struct probe *probe)
{
	/* A hint: llr_ring_peek loads the word again, with acquire, and checks it. */
	uint64_t word = atomic_load_explicit(probe->word, memory_order_relaxed);

	return (uint32_t)(word >> 32) == probe->mark;
}

static void probe_swap(struct shm *shm, uint32_t a, uint32_t b)
{
	struct probe probe = shm->probes[a];

	shm->probes[a] = shm->probes[b];
	shm->probes[b] = probe;
	shm->lanes[shm->probes[a].lane].probe = a;
	shm->lanes[shm->probes[b].lane].probe = b;
}

static void probe_add(struct shm *shm, uint32_t index)
{
	struct lane *lane = &shm->lanes[index];

	LLR_ASSERT(shm->probe_count < shm->lanes_max);
	lane->probe = shm->probe_count++;
	shm->probes[lane->probe].lane = index;
	probe_aim(shm, lane);
}

static void probe_remove(struct shm *shm, const struct lane *lane)
{
	uint32_t at = lane->probe;

	if (at < shm->hot_count) {
		probe_swap(shm, at, --shm->hot_count);
		at = shm->hot_count;
	}
	probe_swap(shm, at, --shm->probe_count);
}

/* ---- lanes: taken in, ended, let go of ---- */

static void lane_end(struct shm *shm, struct lane *lane)
{
	if (lane->state != LANE_LIVE)
		return;
	probe_remove(shm, lane);
	lane->state = LANE_ENDING;
	shm->ending[shm->ending_count++] = lane->peer.index;
}

static void lane_break(struct shm *shm, struct lane *lane)
{
	shm->base.counters->rx_broken++;
	lane_end(shm, lane);
}

/*
 * Where the last reply lies and where the next one goes: a worker may have died between a commit
 * and the store behind it, so the record after the last is looked at, too.
 */
static void find_replies(struct lane *lane, uint64_t start)
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
static void lane_begin(struct shm *shm, uint32_t index)
{
	struct llr_lane_slot *slot = &shm->host->slots[index];
	struct llr_lane_client_page *client = (void *)slot->request.page;
	struct lane *lane = &shm->lanes[index];
	uint64_t start = llr_host_start(index);
	uint64_t read;

	if (lane->state != LANE_NONE)
		return; /* told twice: by fork and by message */
	*lane = (struct lane){
		.state = LANE_LIVE,
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
		lane_break(shm, lane);
	/* Edge-triggered: each write to the bell is an event, and nobody need ever read it. */
	if (epoll_ctl(shm->epoll, EPOLL_CTL_ADD, slot->bell,
		      &(struct epoll_event){.events = EPOLLIN | EPOLLET}) != 0)
		lane_end(shm, lane);
	shm->base.counters->accepted++;
}

/* After its end was told: nothing of it is used any more. */
static void lane_finish(struct shm *shm, uint32_t index)
{
	struct lane *lane = &shm->lanes[index];

	LLR_ASSERT(lane->state == LANE_TOLD);
	(void)epoll_ctl(shm->epoll, EPOLL_CTL_DEL, shm->host->slots[index].bell, NULL);
	for (uint32_t i = 0; i < shm->dirty_count; i++) {
		if (shm->dirty[i] == index)
			shm->dirty[i--] = shm->dirty[--shm->dirty_count];
	}
	lane->state = LANE_NONE;
	shm->base.counters->closed++;
	llr_attach_ended(shm->host, index);
}

/* ---- chores: what is not on the request path ---- */

static void hear_host(struct shm *shm)
{
	uint32_t index;

	for (;;) { /* until the host has said all */
		int kind = llr_attach_next(shm->host, shm->worker, &index);

		if (kind == LLR_LANE_ATTACHED)
			lane_begin(shm, index);
		else if (kind == LLR_LANE_END)
			lane_end(shm, &shm->lanes[index]);
		else if (kind == 0)
			return;
		else
			break;
	}
	shm->host_gone = true;
	for (uint32_t i = 0; i < shm->lanes_max; i++)
		lane_end(shm, &shm->lanes[i]);
}

static void do_chores(struct shm *shm, uint64_t now_ns)
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

static inline bool has_news(const struct shm *shm)
{
	return atomic_load_explicit(&shm->page->news, memory_order_relaxed) != 0;
}

/* ---- receiving ---- */

/* Looks at as many silent lanes as the time since the last look demands; what speaks gets hot. */
static void sweep(struct shm *shm, uint64_t now_ns)
{
	uint32_t cold = shm->probe_count - shm->hot_count;
	uint64_t elapsed = llr_min_u64(now_ns - shm->swept_ns, SWEEP_NS);
	uint32_t count;

	shm->swept_ns = now_ns;
	if (cold == 0)
		return;
	shm->credit += elapsed * cold;
	count = (uint32_t)llr_min_u64(shm->credit / SWEEP_NS, cold);
	shm->credit -= (uint64_t)count * SWEEP_NS;
	if (shm->sweep_all) {
		shm->sweep_all = false;
		count = cold;
	}
	for (; count > 0; count--) {
		uint32_t at = shm->cold_next;

		if (at < shm->hot_count || at >= shm->probe_count)
			at = shm->hot_count;
		shm->cold_next = at + 1;
		if (at + AHEAD < shm->probe_count)
			__builtin_prefetch((const void *)(uintptr_t)shm->probes[at + AHEAD].word);
		if (probe_has_news(&shm->probes[at])) {
			shm->lanes[shm->probes[at].lane].active_ns = now_ns;
			probe_swap(shm, at, shm->hot_count++);
		}
		if (shm->hot_count == shm->probe_count)
			break;
	}
}

/* Where the framing may look at a frame. NULL: no memory to copy it to in this burst. */
static uint8_t *place(struct shm *shm, const struct lane *lane, const uint8_t *frame, uint32_t size,
		      unsigned int span)
{
	const uint8_t *record = frame - LLR_LANE_PREFIX;
	uint32_t need = llr_ring_need(size);
	uint8_t *copy;

	if (size <= COPY_FRAME_MAX) {
		copy = shm->copies + (size_t)span * COPY_STRIDE;
	} else if (lane->in_place) {
		return (uint8_t *)(uintptr_t)frame; /* read-only, as shm.h says */
	} else {
		if (need > shm->bounce_size - shm->bounce_used)
			return NULL;
		copy = shm->bounce + shm->bounce_used;
		shm->bounce_used += need;
	}
	/* Whole lines, whose size the compiler knows; a record is that much. */
	for (uint32_t at = 0; at < need; at += LLR_LANE_UNIT)
		memcpy(copy + at, record + at, LLR_LANE_UNIT);
	/* The client may still write there: the copy is made here and not read through later. */
	atomic_signal_fence(memory_order_seq_cst);
	return copy + LLR_LANE_PREFIX;
}

/* Takes up to count_max requests of a lane, each with room for its reply. */
static unsigned int take(struct shm *shm, struct lane *lane, uint64_t now_ns,
			 struct llr_span *spans, unsigned int first, unsigned int count_max)
{
	unsigned int count = first;
	uint64_t room;
	int code = 0;

	/* Seldom enough to be cheap, often enough that it is not the room that ends a burst. */
	if (llr_ring_room(&lane->replies) < lane->replies.capacity / 8 * 7)
		code = llr_ring_refresh(&lane->replies);
	room = llr_ring_room(&lane->replies);
	while (code == 0 && count < count_max && room >= lane->reply_need) {
		const uint8_t *frame;
		uint32_t size;
		int found = llr_ring_peek(&lane->requests, &frame, &size);

		if (found <= 0) {
			code = found;
			break;
		}
		spans[count].bytes = place(shm, lane, frame, size, count);
		if (spans[count].bytes == NULL)
			break;
		llr_ring_advance(&lane->requests, size);
		room -= lane->reply_need;
		spans[count].peer = &lane->peer;
		spans[count].received_ns = now_ns;
		spans[count].size = size;
		spans[count].consumed = 0;
		spans[count].wanted = 0;
		spans[count].flags = 0;
		shm->base.counters->rx_bytes += size;
		count++;
	}
	if (count > first) {
		lane->active_ns = now_ns;
		shm->touched[shm->touched_count++] = lane->peer.index;
		probe_aim(shm, lane);
	}
	if (code < 0)
		lane_break(shm, lane);
	return count;
}

static unsigned int take_hot(struct shm *shm, uint64_t now_ns, struct llr_span *spans,
			     unsigned int count, unsigned int count_max)
{
	uint32_t at = shm->hot_next;

	for (uint32_t left = shm->hot_count; left > 0 && count < count_max; left--) {
		struct lane *lane;

		if (at >= shm->hot_count)
			at = 0;
		if (shm->hot_count == 0)
			break; /* the last one was ended or got cold */
		lane = &shm->lanes[shm->probes[at].lane];
		if (probe_has_news(&shm->probes[at])) {
			unsigned int share = shm->hot_count > 1 ? FAIR_SHARE : count_max;

			count = take(shm, lane, now_ns, spans, count,
				     (unsigned int)llr_min_u64(count + share, count_max));
		} else if (now_ns - lane->active_ns > HOT_NS) {
			probe_swap(shm, at, --shm->hot_count); /* another is there now */
			continue;
		}
		at++;
	}
	shm->hot_next = at;
	return count;
}

static unsigned int tell_ends(struct shm *shm, struct llr_span *spans, unsigned int count_max)
{
	unsigned int count = 0;

	while (count < count_max && shm->told_count < shm->ending_count) {
		struct lane *lane = &shm->lanes[shm->ending[shm->told_count++]];

		lane->state = LANE_TOLD;
		spans[count++] = (struct llr_span){.peer = &lane->peer, .flags = LLR_SPAN_CLOSED};
	}
	return count;
}

static unsigned int shm_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				 struct llr_span *spans, unsigned int count_max)
{
	struct shm *shm = from_transport(transport);
	unsigned int told = 0;
	unsigned int count;

	LLR_ASSERT_HOT(shm->touched_count == 0);
	LLR_ASSERT_HOT(shm->told_count == 0);
	if (count_max > LLR_BURST_MAX)
		count_max = LLR_BURST_MAX;
	if (__builtin_expect(now_ns >= shm->chores_ns || has_news(shm), 0))
		do_chores(shm, now_ns);
	if (__builtin_expect(shm->ending_count > 0, 0))
		told = tell_ends(shm, spans, count_max);
	sweep(shm, now_ns);
	count = take_hot(shm, now_ns, spans, told, count_max);
	if (count > told) {
		shm->base.counters->rx_spans += count - told;
		shm->busy_ns = now_ns;
	}
	return count;
}

static void shm_rx_release(struct llr_transport *transport, struct llr_span *spans,
			   unsigned int count)
{
	struct shm *shm = from_transport(transport);

	(void)spans;
	(void)count;
	for (uint32_t i = 0; i < shm->touched_count; i++) {
		struct lane *lane = &shm->lanes[shm->touched[i]];

		llr_ring_release(&lane->requests);
	}
	shm->touched_count = 0;
	shm->bounce_used = 0;
	if (__builtin_expect(shm->told_count == 0, 1))
		return;
	for (uint32_t i = 0; i < shm->told_count; i++)
		lane_finish(shm, shm->ending[i]);
	shm->ending_count -= shm->told_count;
	memmove(shm->ending, shm->ending + shm->told_count,
		shm->ending_count * sizeof(*shm->ending));
	shm->told_count = 0;
}

/* ---- sending ---- */

static int shm_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			  struct llr_room *room)
{
	struct shm *shm = from_transport(transport);
	struct lane *lane = peer->link;
	int code;

	LLR_ASSERT_HOT(!shm->is_room_open);
	LLR_ASSERT_HOT(size >= LLR_LANE_FRAME_MIN);
	if (__builtin_expect(lane->state != LANE_LIVE, 0))
		return -ECONNRESET;
	code = llr_ring_reserve(&lane->replies, size, &room->bytes);
	if (__builtin_expect(code == -EPROTO, 0)) {
		lane_break(shm, lane);
		return -ECONNRESET;
	}
	if (code == -EAGAIN)
		shm->base.counters->tx_deferred++;
	if (code != 0)
		return code;
	room->size = size;
	room->handle = peer->index;
	room->peer = peer;
	shm->is_room_open = true;
	return 0;
}

static void shm_tx_commit(struct llr_transport *transport, struct llr_room *room, uint32_t size)
{
	struct shm *shm = from_transport(transport);
	struct lane *lane = room->peer->link;
	uint64_t position = lane->replies.position;

	LLR_ASSERT_HOT(shm->is_room_open);
	LLR_ASSERT_HOT(size <= room->size);
	shm->is_room_open = false;
	if (__builtin_expect(lane->state != LANE_LIVE, 0))
		return; /* dropped since */
	llr_ring_commit(&lane->replies, size);
	/*
	 * Partner: find_replies of a successor, after this process is gone. It must not be seen
	 * before the record itself.
	 */
	atomic_store_explicit(&lane->page->reply_last, position + 1, memory_order_release);
	shm->base.counters->tx_spans++;
	shm->base.counters->tx_bytes += size;
	if (!lane->client_spins && !lane->dirty) {
		lane->dirty = true;
		shm->dirty[shm->dirty_count++] = room->handle;
	}
}

static void shm_tx_abort(struct llr_transport *transport, struct llr_room *room)
{
	struct shm *shm = from_transport(transport);

	(void)room;
	LLR_ASSERT_HOT(shm->is_room_open);
	shm->is_room_open = false;
}

/* Wakes the clients that sleep and have been replied to. */
static void wake_clients(struct shm *shm)
{
	/* Partner: the fence in llr_lane_park of each client. Replies before looks. */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < shm->dirty_count; i++) {
		uint32_t index = shm->dirty[i];
		struct lane *lane = &shm->lanes[index];

		lane->dirty = false;
		/* A full socket wakes it as well; one that is gone is noticed elsewhere. */
		if (llr_lane_must_wake(lane->client_parked, &lane->woken))
			(void)send(shm->host->slots[index].connection, "", 1,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	shm->dirty_count = 0;
}

static void shm_tx_flush(struct llr_transport *transport)
{
	struct shm *shm = from_transport(transport);

	LLR_ASSERT_HOT(!shm->is_room_open);
	if (shm->dirty_count > 0)
		wake_clients(shm);
}

/* ---- waiting, ending ---- */

static int shm_wait_fd(struct llr_transport *transport)
{
	return from_transport(transport)->epoll;
}

static bool shm_wait_prepare(struct llr_transport *transport)
{
	struct shm *shm = from_transport(transport);

	llr_lane_park(&shm->page->parked);
	if (shm->host->is_spinning || has_news(shm) || shm->ending_count > 0)
		return true; /* spinning: clients were told that they need not wake anybody */
	for (uint32_t i = 0; i < shm->probe_count; i++) {
		if (probe_has_news(&shm->probes[i]))
			return true;
	}
	return false;
}

static void shm_wait_done(struct llr_transport *transport)
{
	struct shm *shm = from_transport(transport);
	struct epoll_event events[DRAIN_MAX];

	llr_lane_unpark(&shm->page->parked);
	/* Takes the bells' edges off the list. More than fit keep the next sleep from lasting. */
	(void)epoll_wait(shm->epoll, events, DRAIN_MAX, 0);
	shm->sweep_all = true;
	shm->chores_ns = 0;
}

static void shm_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	lane_end(from_transport(transport), peer->link);
}

static void shm_close(struct llr_transport *transport)
{
	struct shm *shm = from_transport(transport);

	if (shm->epoll >= 0)
		(void)close(shm->epoll);
	llr_memory_unmap(shm, shm->size);
}

static const struct llr_transport_ops listen_ops = {
	.scheme = "shm",
	.traits = LLR_TRAIT_CONNECTED | LLR_TRAIT_NO_CRC,
	.rx_burst = shm_rx_burst,
	.rx_release = shm_rx_release,
	.tx_reserve = shm_tx_reserve,
	.tx_commit = shm_tx_commit,
	.tx_abort = shm_tx_abort,
	.tx_flush = shm_tx_flush,
	.wait_fd = shm_wait_fd,
	.wait_prepare = shm_wait_prepare,
	.wait_done = shm_wait_done,
	.drop = shm_drop,
	.close = shm_close,
};

/* ---- opening ---- */

/* Lays all arrays out in one mapping: cache lines first. */
static struct shm *shm_new(const struct llr_lane_host *host)
{
	uint32_t lanes_max = host->lanes_max;
	size_t bounce = llr_ring_need(host->message_max + LLR_LANE_OVERHEAD);
	size_t sizes[] = {
		llr_round_up(sizeof(struct shm), LLR_LANE_UNIT),
		llr_round_up(lanes_max * sizeof(struct lane), LLR_LANE_UNIT),
		(size_t)LLR_BURST_MAX * COPY_STRIDE,
		llr_round_up(llr_max_u64(bounce, BOUNCE_MIN), LLR_LANE_UNIT),
		llr_round_up(lanes_max * sizeof(struct probe), LLR_LANE_UNIT),
		(LLR_BURST_MAX + 2 * (size_t)lanes_max) * sizeof(uint32_t),
	};
	size_t size = 0;
	uint8_t *at;
	struct shm *shm;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		size += sizes[i];
	at = llr_memory_map(size, "shared-memory lanes of a worker");
	if (at == NULL)
		return NULL;
	shm = (struct shm *)(void *)at;
	shm->size = size;
	shm->lanes = (struct lane *)(void *)(at += sizes[0]);
	shm->copies = at += sizes[1];
	shm->bounce = at += sizes[2];
	shm->bounce_size = sizes[3];
	shm->probes = (struct probe *)(void *)(at += sizes[3]);
	shm->touched = (uint32_t *)(void *)(at + sizes[4]);
	shm->dirty = shm->touched + LLR_BURST_MAX;
	shm->ending = shm->dirty + lanes_max;
	shm->lanes_max = lanes_max;
	shm->epoll = -1;
	return shm;
}

static int watch(struct shm *shm, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(shm->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* Lanes that were there before this worker. */
static void inherit(struct shm *shm)
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
	struct shm *shm;
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
	shm->base.ops = &listen_ops;
	shm->base.counters = counters;
	shm->base.uri = shm->uri;
	shm->swept_ns = shm->busy_ns = shm->looked_ns = llr_clock_now(clock);
	shm->epoll = epoll_create1(EPOLL_CLOEXEC);
	code = shm->epoll < 0 ? -errno : watch(shm, host->channels[worker].worker_end);
	if (code == 0 && !host->is_forked)
		code = watch(shm, host->epoll);
	if (code != 0) {
		shm_close(&shm->base);
		return llr_error_set(error, code, "can't set up shared memory: %s",
				     strerror(-code));
	}
	inherit(shm);
	*transport = &shm->base;
	return 0;
}

struct llr_peer *llr_shm_peer(struct llr_transport *transport, unsigned int index)
{
	struct shm *shm = from_transport(transport);

	if (index >= shm->lanes_max || shm->lanes[index].state == LANE_NONE)
		return NULL;
	return &shm->lanes[index].peer;
}

bool llr_shm_last_reply(struct llr_transport *transport, struct llr_peer *peer,
			const uint8_t **frame, uint32_t *size)
{
	struct lane *lane = peer->link;
	uint64_t last = atomic_load_explicit(&lane->page->reply_last, memory_order_relaxed);

	(void)transport;
	if (last == 0)
		return false;
	*size = llr_ring_size_at(&lane->replies, last - 1);
	*frame =
		lane->replies.bytes + ((last - 1) & (lane->replies.capacity - 1)) + LLR_LANE_PREFIX;
	return true;
}
