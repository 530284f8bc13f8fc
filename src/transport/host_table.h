/* SPDX-License-Identifier: MIT */
/*
 * The inside of a host: its table of lanes, and what a worker does with it (attach.c). Shared by
 * host.c, attach.c and shm.c; nobody else includes it.
 *
 * A worker has the table as fork left it, and keeps its own lanes' slots up to date from what the
 * host tells it. In an embedding process, host and worker are one and so are their tables
 * (is_forked is false): what the worker would map and close is the host's, and is left to it.
 *
 * A slot's life, as the host sees it:
 *
 *   FREE -> OFFERED   made and mapped; ATTACH sent. Not sealed yet: the worker must map it first
 *   OFFERED -> LIVE   ATTACHED came: sealed, handed to the client
 *   * -> ENDING       the client is gone; END sent
 *   * -> FREE         ENDED came, or the worker is gone that would have sent it
 */
#ifndef LLR_TRANSPORT_HOST_TABLE_H
#define LLR_TRANSPORT_HOST_TABLE_H

#include "base/clock.h"
#include "base/runtime.h"
#include "transport/handover.h"
#include "transport/host.h"
#include "transport/lane.h"

#include <sys/types.h>
#include <sys/un.h>

#define LLR_HOST_UIDS_MAX 64U
#define LLR_HOST_PENDING  64U /* connections that have not said hello yet; the oldest gives way */
#define LLR_HOST_HELLO_NS 1000000000U /* how long they may take */
#define LLR_HOST_STAGGER  4096U       /* rings' starts are spread over a page: one cache set each */

enum llr_lane_state {
	LLR_LANE_FREE,
	LLR_LANE_OFFERED,
	LLR_LANE_LIVE,
	LLR_LANE_ENDING,
};

struct llr_lane_slot {
	struct llr_lane_memory request; /* owns */
	struct llr_lane_memory reply;   /* owns */
	struct llr_lane_shape shape;
	uint64_t request_key;
	uint64_t reply_key;
	int request_fd; /* owns; host, while OFFERED; else -1 */
	int reply_fd;   /* owns; as request_fd */
	int connection; /* owns; -1: none */
	int bell;       /* owns; -1: none */
	uint32_t generation;
	uint32_t uid;
	uint32_t worker;
	uint32_t flags; /* enum llr_handover_flag: the client's */
	enum llr_lane_state state;
	enum llr_lane_order_kind order_owed;  /* host: what found no room yet; 0 */
	enum llr_lane_order_kind answer_owed; /* worker: the same */
};

struct llr_lane_channel {
	struct llr_lane_worker_page *page; /* owns; shared by host, this worker and its clients */
	int page_fd;                       /* owns; host alone */
	int host_end;                      /* owns; -1 in workers */
	int worker_end;                    /* owns; -1 in other workers */
	uint32_t lanes;                    /* host: not FREE */
};

struct llr_lane_pending {
	uint64_t since_ns;
	int fd; /* owns; -1: none */
};

struct llr_lane_host {
	const struct llr_clock *clock; /* borrows */
	struct llr_lane_slot *slots;   /* owns, lanes_max */
	size_t size;                   /* bytes of the mapping that holds this and slots */
	pid_t pid;                     /* who opened it */
	int epoll;                     /* owns; -1 in workers */
	int listener;                  /* owns; -1 in workers */
	bool is_forked;                /* this is a worker's copy */
	bool is_spinning;              /* workers never park */
	bool is_paused;                /* accept: no descriptors */
	bool hugepages;
	uint64_t resume_ns; /* paused: when to try again */
	uint32_t lanes_max;
	uint32_t lanes; /* not FREE */
	uint32_t message_max;
	uint32_t worker_count;
	uint32_t orders_owed;  /* slots with order_owed */
	uint32_t answers_owed; /* slots with answer_owed */
	uint32_t pending_count;
	uint32_t uid_count; /* 0: any that the socket's mode lets in */
	uint32_t uids[LLR_HOST_UIDS_MAX];
	struct llr_lane_pending pending[LLR_HOST_PENDING];
	struct llr_lane_channel channels[LLR_WORKERS_MAX];
	char name[LLR_NAME_SIZE_MAX + 1];
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": inherited */
};

/* host_socket.c: the listening socket of setup, at host->path. 0 or a negative errno code. */
int llr_host_listen(struct llr_lane_host *host, const struct llr_lane_host_setup *setup,
		    struct llrph_error *error);

/* Where the rings of lane index start: both sides' first position. */
static inline uint64_t llr_host_start(uint32_t index)
{
	return (uint64_t)index * LLR_LANE_UNIT % LLR_HOST_STAGGER;
}

/* What an epoll event of the host is about. */
enum llr_host_event_kind {
	LLR_HOST_LISTENER = 1,
	LLR_HOST_PENDING_ONE,
	LLR_HOST_LANE,
	LLR_HOST_WORKER,
};
static inline uint64_t llr_host_event(enum llr_host_event_kind kind, uint32_t generation,
				      uint32_t index)
{
	return (uint64_t)kind << 60 | (uint64_t)(generation & 0xfffffffU) << 32 | index;
}

/* The slot's worker is gone: its successor inherits the lane by fork, so nobody need be told. */
void llr_host_orphan(struct llr_lane_host *host, uint32_t index);

/* Unmaps and closes all of a slot. */
void llr_slot_clear(struct llr_lane_slot *slot);

/*
 * attach.c, in the worker. The next word from the host: LLR_LANE_ATTACHED and a lane that is
 * mapped now; LLR_LANE_END and a lane to let go of; 0: nothing; -ECONNRESET: the host is gone.
 */
int llr_attach_next(struct llr_lane_host *host, unsigned int worker, uint32_t *index);
/* The worker has let go of a lane: frees its share and tells the host. */
void llr_attach_ended(struct llr_lane_host *host, uint32_t index);
/* Sends what could not be sent before. */
void llr_attach_retry(struct llr_lane_host *host, unsigned int worker);

#endif
