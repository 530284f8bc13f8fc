/* SPDX-License-Identifier: MIT */
/*
 * Every fixed size of this program, with the arithmetic where one follows from others.
 */
#ifndef LLR_BASE_LIMITS_H
#define LLR_BASE_LIMITS_H

#define LLR_PAYLOAD_SIZE_MAX     (16U << 20)           /* 16 MiB: the protocol's */
#define LLR_PAYLOAD_SIZE_DEFAULT 65536U                /* the protocol's */
#define LLR_WINDOW_MAX           1024U                 /* the protocol's */
#define LLR_WINDOW_DEFAULT       64U                   /* the protocol's */
#define LLR_BODY_SIZE_MAX        ((16U << 20) + 4096U) /* the protocol's: 16 MiB + 4096 */
#define LLR_EXT_SIZE_MAX         (4096U - 32U) /* extension blocks: what the body leaves them */
#define LLR_BURST_MAX            64U           /* spans in one rx_burst */
#define LLR_DATAGRAM_IPV4        1472U         /* 1500 - 20 - 8 */
#define LLR_DATAGRAM_IPV6        1452U         /* 1500 - 40 - 8 */
#define LLR_DATAGRAM_MAX         65504U        /* 65507 (IPv4's most) down to a multiple of 16 */
#define LLR_SESSIONS_DEFAULT     256U          /* datagram sessions a worker */
#define LLR_SESSIONS_MAX         65536U
#define LLR_CONNECTIONS_DEFAULT  10000U /* TCP connections a worker */
#define LLR_LANES_DEFAULT        1024U  /* shared-memory clients a worker */
#define LLR_SESSION_MEMORY_DEFAULT                                                                 \
	(40U << 20) /* 256 sessions x (64 slots, 80 KiB replies, 64 KiB) */
#define LLR_WORKERS_MAX        64U
#define LLR_LISTENERS_MAX      16U
#define LLR_SERVICES_MAX       16U
#define LLR_METHODS_MAX        256U
#define LLR_DEFERRED_MAX       1024U        /* requests answered later, a worker */
#define LLR_SESSION_IDLE_NS    30000000000U /* 30 s: the protocol's */
#define LLR_REASSEMBLY_IDLE_NS 100000000U   /* 100 ms: the protocol's */
#define LLR_REPEAT_NS          1000000U     /* parts of one repeat that come together: 1 ms */
#define LLR_RETRY_US           10000U       /* 429, 503: a new try makes sense after 10 ms */
#define LLR_COOKIE_PERIOD_NS   10000000000U /* the secret changes; the one before counts too */
#define LLR_SPIN_NS            35000U       /* what a wake-up costs here: spin so long first */
#define LLR_SILENT_POLL_NS     10000U       /* silent endpoints are looked at this often */
#define LLR_BUSY_NS            100000U /* an endpoint is silent when nothing came for so long */

/* A frame with that much payload, and what may stand before it: 32 + 4096. */
#define LLR_FRAME_SIZE_MAX(payload_size) ((payload_size) + 32U + 4096U)

#endif
