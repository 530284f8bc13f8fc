/* SPDX-License-Identifier: MIT */
/*
 * Shared memory, the server's role: the request path. Lanes are polled (how: shm_lanes.h), their
 * requests copied or read in place, replies built where the client reads them.
 *
 * Thread: the worker's. While clients spin nothing in here makes a syscall, but the chores of
 * shm_lanes.c after 10 ms without requests, and once a second.
 */
#include "transport/shm_lanes.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#define SWEEP_NS   12000U  /* every silent lane is seen this often; promised are 15 us */
#define HOT_NS     200000U /* silent for so long: not hot any more */
#define FAIR_SHARE 16U     /* spans of one lane in a burst while others are hot, too */
#define AHEAD      16U     /* probes whose words are prefetched before their turn */
#define DRAIN_MAX  64

/* Looks at as many silent lanes as the time since the last look demands; what speaks gets hot. */
static void sweep(struct llr_shm *shm, uint64_t now_ns)
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
		if (llr_shm_probe_has_news(&shm->probes[at])) {
			shm->lanes[shm->probes[at].lane].active_ns = now_ns;
			llr_shm_probe_swap(shm, at, shm->hot_count++);
			shm->cold_next = at; /* another is there now */
		}
		if (shm->hot_count == shm->probe_count)
			break;
	}
}

/* Where the framing may look at a frame. NULL: no memory to copy it to in this burst. */
static uint8_t *place(struct llr_shm *shm, const struct llr_shm_lane *lane, const uint8_t *frame,
		      uint32_t size, unsigned int span)
{
	const uint8_t *record = frame - LLR_LANE_PREFIX;
	uint32_t need = llr_ring_need(size);
	uint8_t *copy;

	if (size <= LLR_SHM_COPY_FRAME_MAX) {
		copy = shm->copies + (size_t)span * LLR_SHM_COPY_STRIDE;
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
static unsigned int take(struct llr_shm *shm, struct llr_shm_lane *lane, uint64_t now_ns,
			 struct llr_span *spans, unsigned int first, unsigned int count_max)
{
	unsigned int count = first;
	uint64_t room;
	int code = 0;

	/* Seldom enough to be cheap, often enough that it is not the room that ends a burst. */
	if (llr_ring_room(&lane->replies) < (uint64_t)lane->replies.capacity / 8 * 7)
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
		llr_shm_probe_aim(shm, lane);
	}
	if (code < 0)
		llr_shm_lane_break(shm, lane);
	return count;
}

static unsigned int take_hot(struct llr_shm *shm, uint64_t now_ns, struct llr_span *spans,
			     unsigned int count, unsigned int count_max)
{
	uint32_t at = shm->hot_next;

	for (uint32_t left = shm->hot_count; left > 0 && count < count_max; left--) {
		struct llr_shm_lane *lane;

		if (at >= shm->hot_count)
			at = 0;
		if (shm->hot_count == 0)
			break; /* the last one was ended or got cold */
		lane = &shm->lanes[shm->probes[at].lane];
		/* As in llr_ring_peek: the line behind. Of silent lanes it would be a waste. */
		__builtin_prefetch((const uint8_t *)(uintptr_t)shm->probes[at].word +
				   LLR_LANE_UNIT);
		if (llr_shm_probe_has_news(&shm->probes[at])) {
			unsigned int share = shm->hot_count > 1 ? FAIR_SHARE : count_max;

			count = take(shm, lane, now_ns, spans, count,
				     (unsigned int)llr_min_u64(count + share, count_max));
		} else if (now_ns - lane->active_ns > HOT_NS) {
			llr_shm_probe_swap(shm, at, --shm->hot_count); /* another is there now */
			continue;
		}
		at++;
	}
	shm->hot_next = at;
	return count;
}

static unsigned int tell_ends(struct llr_shm *shm, struct llr_span *spans, unsigned int count_max)
{
	unsigned int count = 0;

	while (count < count_max && shm->told_count < shm->ending_count) {
		struct llr_shm_lane *lane = &shm->lanes[shm->ending[shm->told_count++]];

		lane->state = LLR_SHM_TOLD;
		spans[count++] = (struct llr_span){.peer = &lane->peer, .flags = LLR_SPAN_CLOSED};
	}
	return count;
}

static unsigned int shm_rx_burst(struct llr_transport *transport, uint64_t now_ns,
				 struct llr_span *spans, unsigned int count_max)
{
	struct llr_shm *shm = llr_shm_from(transport);
	unsigned int told = 0;
	unsigned int count;

	LLR_ASSERT_HOT(shm->touched_count == 0);
	LLR_ASSERT_HOT(shm->told_count == 0);
	if (count_max > LLR_BURST_MAX)
		count_max = LLR_BURST_MAX;
	if (__builtin_expect(now_ns >= shm->chores_ns || llr_shm_has_news(shm), 0))
		llr_shm_chores(shm, now_ns);
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
	struct llr_shm *shm = llr_shm_from(transport);

	(void)spans;
	(void)count;
	for (uint32_t i = 0; i < shm->touched_count; i++) {
		struct llr_shm_lane *lane = &shm->lanes[shm->touched[i]];

		llr_ring_release(&lane->requests);
	}
	shm->touched_count = 0;
	shm->bounce_used = 0;
	if (__builtin_expect(shm->told_count == 0, 1))
		return;
	for (uint32_t i = 0; i < shm->told_count; i++)
		llr_shm_lane_finish(shm, shm->ending[i]);
	shm->ending_count -= shm->told_count;
	memmove(shm->ending, shm->ending + shm->told_count,
		shm->ending_count * sizeof(*shm->ending));
	shm->told_count = 0;
}

/* ---- sending ---- */

static int shm_tx_reserve(struct llr_transport *transport, struct llr_peer *peer, uint32_t size,
			  struct llr_room *room)
{
	struct llr_shm *shm = llr_shm_from(transport);
	struct llr_shm_lane *lane = peer->link;
	int code;

	LLR_ASSERT_HOT(!shm->is_room_open);
	LLR_ASSERT_HOT(size >= LLR_LANE_FRAME_MIN);
	if (__builtin_expect(lane->state != LLR_SHM_LIVE, 0))
		return -ECONNRESET;
	code = llr_ring_reserve(&lane->replies, size, &room->bytes);
	if (__builtin_expect(code == -EPROTO, 0)) {
		llr_shm_lane_break(shm, lane);
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
	struct llr_shm *shm = llr_shm_from(transport);
	struct llr_shm_lane *lane = room->peer->link;
	uint64_t position = lane->replies.position;

	LLR_ASSERT_HOT(shm->is_room_open);
	LLR_ASSERT_HOT(size <= room->size);
	shm->is_room_open = false;
	if (__builtin_expect(lane->state != LLR_SHM_LIVE, 0))
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
	struct llr_shm *shm = llr_shm_from(transport);

	(void)room;
	LLR_ASSERT_HOT(shm->is_room_open);
	shm->is_room_open = false;
}

/* Wakes the clients that sleep and have been replied to. */
static void wake_clients(struct llr_shm *shm)
{
	/* Partner: the fence in llr_lane_park of each client. Replies before looks. */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < shm->dirty_count; i++) {
		uint32_t index = shm->dirty[i];
		struct llr_shm_lane *lane = &shm->lanes[index];

		lane->dirty = false;
		/* A full socket wakes it as well; one that is gone is noticed elsewhere. */
		if (llr_lane_must_wake(lane->client_parked, &lane->woken))
			(void)llr_handover_send(shm->host->slots[index].connection, "", 1, NULL, 0);
	}
	shm->dirty_count = 0;
}

static void shm_tx_flush(struct llr_transport *transport)
{
	struct llr_shm *shm = llr_shm_from(transport);

	LLR_ASSERT_HOT(!shm->is_room_open);
	if (shm->dirty_count > 0)
		wake_clients(shm);
}

/* ---- waiting, ending ---- */

static int shm_wait_fd(struct llr_transport *transport)
{
	return llr_shm_from(transport)->epoll;
}

static bool shm_wait_prepare(struct llr_transport *transport)
{
	struct llr_shm *shm = llr_shm_from(transport);

	llr_lane_park(&shm->page->parked);
	if (shm->host->is_spinning || llr_shm_has_news(shm) || shm->ending_count > 0)
		return true; /* spinning: clients were told that they need not wake anybody */
	for (uint32_t i = 0; i < shm->probe_count; i++) {
		if (llr_shm_probe_has_news(&shm->probes[i]))
			return true;
	}
	return false;
}

static void shm_wait_done(struct llr_transport *transport)
{
	struct llr_shm *shm = llr_shm_from(transport);
	struct epoll_event events[DRAIN_MAX];

	llr_lane_unpark(&shm->page->parked);
	/* Takes the bells' edges off the list. More than fit keep the next sleep from lasting. */
	(void)epoll_wait(shm->epoll, events, DRAIN_MAX, 0);
	shm->sweep_all = true;
	shm->chores_ns = 0;
}

static void shm_drop(struct llr_transport *transport, struct llr_peer *peer)
{
	llr_shm_lane_end(llr_shm_from(transport), peer->link);
}

const struct llr_transport_ops llr_shm_listen_ops = {
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
	.close = llr_shm_close,
};
