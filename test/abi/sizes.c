/* SPDX-License-Identifier: MIT */
/*
 * The layout of every public struct, as of LLRPH_0.1 on machines with 64-bit pointers: a change
 * here breaks programs that were compiled before. Compiled, never run, by headers.py.
 */
#include <llrph/client.h>
#include <llrph/engine.h>

#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), "ABI: size of " #type)
#define PLACE(type, field, at)                                                                     \
	_Static_assert(offsetof(struct type, field) == (at), "ABI: offset of " #type "." #field)

SIZE(llrph_client_options, 48);
PLACE(llrph_client_options, size, 0);
PLACE(llrph_client_options, window, 8);
PLACE(llrph_client_options, max_message, 12);
PLACE(llrph_client_options, idle, 16);
PLACE(llrph_client_options, hugepages, 20);
PLACE(llrph_client_options, connect_ns, 24);
PLACE(llrph_client_options, hedge_ns, 32);
PLACE(llrph_client_options, hedge_p95, 40);
PLACE(llrph_client_options, checksum, 44);

SIZE(llrph_completion, 48);
PLACE(llrph_completion, tag, 0);
PLACE(llrph_completion, payload, 8);
PLACE(llrph_completion, size, 16);
PLACE(llrph_completion, error, 20);
PLACE(llrph_completion, status, 24);
PLACE(llrph_completion, more, 26);
PLACE(llrph_completion, attempts, 28);
PLACE(llrph_completion, service_ns, 32);
PLACE(llrph_completion, queue_ns, 36);
PLACE(llrph_completion, latency_ns, 40);

SIZE(llrph_client_info, 72);
PLACE(llrph_client_info, size, 0);
PLACE(llrph_client_info, endpoint, 8);
PLACE(llrph_client_info, window, 16);
PLACE(llrph_client_info, max_message, 20);
PLACE(llrph_client_info, outstanding, 24);
PLACE(llrph_client_info, credits, 28);
PLACE(llrph_client_info, epoch, 32);
PLACE(llrph_client_info, sessions, 40);
PLACE(llrph_client_info, retransmissions, 48);
PLACE(llrph_client_info, rejected, 56);
PLACE(llrph_client_info, hedges, 64);

SIZE(llrph_engine_options, 72);
PLACE(llrph_engine_options, size, 0);
PLACE(llrph_engine_options, name, 8);
PLACE(llrph_engine_options, window_max, 16);
PLACE(llrph_engine_options, max_message, 20);
PLACE(llrph_engine_options, sessions_max, 24);
PLACE(llrph_engine_options, connections_max, 28);
PLACE(llrph_engine_options, lanes_max, 32);
PLACE(llrph_engine_options, session_memory, 36);
PLACE(llrph_engine_options, sessionless, 40);
PLACE(llrph_engine_options, shm_mode, 44);
PLACE(llrph_engine_options, shm_uids, 48);
PLACE(llrph_engine_options, allow, 56);
PLACE(llrph_engine_options, hugepages, 64);
PLACE(llrph_engine_options, park, 68);

SIZE(llrph_call, 72);
PLACE(llrph_call, payload, 0);
PLACE(llrph_call, sequence, 8);
PLACE(llrph_call, session, 16);
PLACE(llrph_call, received_ns, 24);
PLACE(llrph_call, deadline_ns, 32);
PLACE(llrph_call, trace, 40);
PLACE(llrph_call, reply, 48);
PLACE(llrph_call, payload_size, 56);
PLACE(llrph_call, reply_size, 60);
PLACE(llrph_call, room_size, 64);
PLACE(llrph_call, flags, 68);

SIZE(llrph_method, 32);
PLACE(llrph_method, name, 0);
PLACE(llrph_method, handler, 8);
PLACE(llrph_method, flags, 16);
PLACE(llrph_method, reply_size_max, 20);
PLACE(llrph_method, statuses, 24);

SIZE(llrph_service, 72);
PLACE(llrph_service, abi, 0);
PLACE(llrph_service, size, 4);
PLACE(llrph_service, name, 8);
PLACE(llrph_service, state_kind, 16);
PLACE(llrph_service, method_count, 20);
PLACE(llrph_service, methods, 24);
PLACE(llrph_service, open, 32);
PLACE(llrph_service, close, 40);
PLACE(llrph_service, poll, 48);
PLACE(llrph_service, recover, 56);
PLACE(llrph_service, memory_size, 64);

SIZE(llrph_error, 256);
PLACE(llrph_error, text, 0);
