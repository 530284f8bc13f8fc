/* SPDX-License-Identifier: MIT */
/*
 * The worker's end of the channel to its host: takes lanes in and lets go of them.
 *
 * A lane is mapped here when its client attaches, in a process whose memory is frozen: that is the
 * one exception, and it is bracketed. In an embedding process the host's mapping is used.
 *
 * Thread: the worker's. The host is trusted, but its words may be late: a generation tells.
 */
#include "transport/host_table.h"

#include "base/log.h"
#include "base/memory.h"

#include <unistd.h>

static void send_order(struct llr_lane_host *host, uint32_t index, enum llr_lane_order_kind kind)
{
	struct llr_lane_slot *slot = &host->slots[index];
	struct llr_lane_order order = {
		.kind = kind,
		.index = index,
		.generation = slot->generation,
	};

	/* A host that is gone is found by the next receive. */
	if (llr_handover_send(host->channels[slot->worker].worker_end, &order, sizeof(order), NULL,
			      0) == -EAGAIN) {
		slot->answer_owed = kind;
		host->answers_owed++;
	}
}

void llr_attach_retry(struct llr_lane_host *host, unsigned int worker)
{
	for (uint32_t i = 0; i < host->lanes_max && host->answers_owed > 0; i++) {
		struct llr_lane_slot *slot = &host->slots[i];
		enum llr_lane_order_kind kind = slot->answer_owed;

		if (kind == 0 || slot->worker != worker)
			continue;
		slot->answer_owed = 0;
		host->answers_owed--;
		send_order(host, i, kind);
	}
}

static int map_lane(struct llr_lane_slot *slot, const int *fds)
{
	int code;

	llr_thaw_begin();
	code = llr_lane_map(&slot->request, fds[LLR_HANDOVER_REQUEST], &slot->shape, LLR_LANE_READ);
	if (code == 0)
		code = llr_lane_map(&slot->reply, fds[LLR_HANDOVER_REPLY], &slot->shape,
				    LLR_LANE_WRITE);
	if (code != 0)
		llr_lane_unmap(&slot->request);
	llr_thaw_end();
	return code;
}

/* Fills this process's slot from the host's word. True if the lane is ready. */
static bool take_lane(struct llr_lane_host *host, unsigned int worker,
		      const struct llr_lane_order *order, int *fds)
{
	struct llr_lane_slot *slot = &host->slots[order->index];
	int code;

	if (slot->generation == order->generation && slot->request.page != NULL)
		return true; /* by fork, or this process is the host */
	if (host->is_forked)
		llr_slot_clear(slot);
	slot->generation = order->generation;
	slot->worker = worker;
	slot->uid = order->uid;
	slot->flags = order->flags;
	slot->shape = order->shape;
	slot->request_key = order->request_key;
	slot->reply_key = order->reply_key;
	code = fds[LLR_HANDOVER_REQUEST] < 0 ? -EMFILE : map_lane(slot, fds);
	if (code != 0) {
		llr_log("can't map the lane of a client: %s", strerror(-code));
		return false;
	}
	slot->state = LLR_LANE_LIVE;
	slot->connection = fds[LLR_HANDOVER_LAST];
	slot->bell = fds[LLR_HANDOVER_BELL];
	fds[LLR_HANDOVER_LAST] = -1;
	fds[LLR_HANDOVER_BELL] = -1;
	return true;
}

int llr_attach_next(struct llr_lane_host *host, unsigned int worker, uint32_t *index)
{
	struct llr_lane_channel *channel = &host->channels[worker];
	struct llr_lane_order order;
	int fds[LLR_HANDOVER_FDS];

	for (;;) { /* until there is one that counts, or none */
		int code = llr_handover_receive(channel->worker_end, &order, sizeof(order), fds,
						LLR_HANDOVER_FDS);

		if (code == -EAGAIN)
			return 0;
		if (code != 1)
			return -ECONNRESET;
		LLR_ASSERT(order.index < host->lanes_max);
		*index = order.index;
		if (order.kind == LLR_LANE_ATTACH) {
			bool taken = take_lane(host, worker, &order, fds);

			llr_handover_close_fds(fds, LLR_HANDOVER_FDS);
			send_order(host, order.index, taken ? LLR_LANE_ATTACHED : LLR_LANE_ENDED);
			if (taken)
				return LLR_LANE_ATTACHED;
		} else if (order.kind == LLR_LANE_END &&
			   host->slots[order.index].generation == order.generation) {
			return LLR_LANE_END;
		}
	}
}

void llr_attach_ended(struct llr_lane_host *host, uint32_t index)
{
	struct llr_lane_slot *slot = &host->slots[index];

	if (host->is_forked) {
		llr_slot_clear(slot);
		slot->state = LLR_LANE_FREE;
	}
	send_order(host, index, LLR_LANE_ENDED);
}
