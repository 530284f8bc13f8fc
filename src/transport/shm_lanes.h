/* SPDX-License-Identifier: MIT */
/*
 * Inside the server's role of shared memory: what shm_listen.c (the request path) and shm_lanes.c
 * (everything else) have in common. Nobody else includes it.
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
#ifndef LLR_TRANSPORT_SHM_LANES_H
#define LLR_TRANSPORT_SHM_LANES_H

#include "transport/host_table.h"
#include "transport/shm.h"

#define LLR_SHM_COPY_FRAME_MAX 560U /* header, route and 512 bytes: copied before anybody looks */
#define LLR_SHM_COPY_STRIDE    576U /* with its prefix: nine lines */

_Static_assert(LLR_SHM_COPY_FRAME_MAX + LLR_LANE_PREFIX <= LLR_SHM_COPY_STRIDE, "fits");
_Static_assert(LLR_SHM_COPY_STRIDE % LLR_LANE_UNIT == 0, "copied by lines");

enum llr_shm_state {
	LLR_SHM_NONE,
	LLR_SHM_LIVE,
	LLR_SHM_ENDING, /* its end is to be told with the next burst */
	LLR_SHM_TOLD,   /* its end was told; taken down at rx_release */
};

struct llr_shm_lane {
	struct llr_ring_reader requests;
	struct llr_ring_writer replies;
	struct llr_lane_server_page *page;     /* borrows; in the reply memfd */
	const _Atomic uint32_t *client_parked; /* borrows; in the request memfd */
	uint64_t active_ns;
	uint32_t probe;
	uint32_t reply_need; /* bytes of ring for a largest reply */
	uint32_t woken;      /* the client's park that it was woken from */
	enum llr_shm_state state;
	bool client_spins;
	bool in_place; /* trusted: large requests are not copied */
	bool dirty;    /* committed to since the last flush */
	struct llr_peer peer;
};

struct llr_shm_probe {
	const _Atomic uint64_t *word; /* borrows */
	uint32_t mark;
	uint32_t lane;
};

struct llr_shm {
	struct llr_transport base;
	struct llr_lane_host *host;        /* borrows */
	struct llr_lane_worker_page *page; /* borrows; the host's */
	struct llr_shm_lane *lanes;        /* owns, lanes_max */
	struct llr_shm_probe *probes;      /* owns, lanes_max */
	uint32_t *touched;                 /* owns, LLR_BURST_MAX: lanes with spans out */
	uint32_t *dirty;                   /* owns, lanes_max */
	uint32_t *ending;                  /* owns, lanes_max: LLR_SHM_ENDING, in order */
	uint8_t *copies;                   /* owns, LLR_BURST_MAX x LLR_SHM_COPY_STRIDE */
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

static inline struct llr_shm *llr_shm_from(struct llr_transport *transport)
{
	return (struct llr_shm *)(void *)transport;
}

static inline void llr_shm_probe_aim(struct llr_shm *shm, const struct llr_shm_lane *lane)
{
	struct llr_shm_probe *probe = &shm->probes[lane->probe];

	probe->word = llr_ring_word(lane->requests.bytes, lane->requests.capacity,
				    lane->requests.position);
	probe->mark = llr_ring_mark(lane->requests.position);
}

static inline bool llr_shm_probe_has_news(const struct llr_shm_probe *probe)
{
	/* A hint: llr_ring_peek loads the word again, with acquire, and checks it. */
	uint64_t word = atomic_load_explicit(probe->word, memory_order_relaxed);

	return (uint32_t)(word >> 32) == probe->mark;
}

static inline void llr_shm_probe_swap(struct llr_shm *shm, uint32_t a, uint32_t b)
{
	struct llr_shm_probe probe = shm->probes[a];

	shm->probes[a] = shm->probes[b];
	shm->probes[b] = probe;
	shm->lanes[shm->probes[a].lane].probe = a;
	shm->lanes[shm->probes[b].lane].probe = b;
}

static inline bool llr_shm_has_news(const struct llr_shm *shm)
{
	return atomic_load_explicit(&shm->page->news, memory_order_relaxed) != 0;
}

/* shm_listen.c: the operations. */
extern const struct llr_transport_ops llr_shm_listen_ops;

/* shm_lanes.c. Begins to end a lane: its CLOSED comes with the next burst. */
void llr_shm_lane_end(struct llr_shm *shm, struct llr_shm_lane *lane);
/* The same, for what it holds makes no sense. */
void llr_shm_lane_break(struct llr_shm *shm, struct llr_shm_lane *lane);
/* After its end was told: nothing of it is used any more. */
void llr_shm_lane_finish(struct llr_shm *shm, uint32_t index);
/* What is not on the request path: the host's news, and its turn where it is embedded. */
void llr_shm_chores(struct llr_shm *shm, uint64_t now_ns);
void llr_shm_close(struct llr_transport *transport);

#endif
