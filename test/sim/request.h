/* SPDX-License-Identifier: MIT */
/*
 * One request of a run: what shall happen to it, and what did. The caller sends it, the service
 * counts its executions, the checks compare. Its id stands in its payload's first four bytes, and
 * id alone says what the other bytes are, so that neither side can take one request for another.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_REQUEST_H
#define SIM_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_PAYLOAD_SIZE_MAX 20000U
#define SIM_ID_SIZE          4U /* smaller payloads carry no id and are counted together */

enum sim_method {
	SIM_METHOD_ONCE,    /* not declared idempotent */
	SIM_METHOD_AGAIN,   /* declared idempotent */
	SIM_METHOD_MISSING, /* the server has no such method */
	SIM_METHOD_COUNT
};

enum sim_behaviour {
	SIM_ANSWER,   /* 200 */
	SIM_DECLARED, /* 422, which the method declares, with a payload */
	SIM_FAIL,     /* 500 */
	SIM_UNKNOWN,  /* a status that the method does not declare: the engine makes it 500 */
	SIM_DEFER,    /* 200, after defer_ns */
	SIM_BUSY,     /* 429 or 503 for some times, without running; then 200 */
	SIM_BEHAVIOUR_COUNT
};

enum sim_request_state {
	SIM_REQUEST_WAITING, /* not sent yet */
	SIM_REQUEST_SENT,    /* committed, not completed */
	SIM_REQUEST_ENDED,   /* completed: status or error say how */
	SIM_REQUEST_DROPPED, /* never sent: there was no session in time */
};

struct sim_request {
	/* The plan. */
	uint64_t at_ns;      /* not sent before */
	uint64_t timeout_ns; /* as given to commit */
	uint64_t cancel_ns;  /* cancelled so long after it was committed; 0: never */
	uint64_t defer_ns;
	uint64_t work_ns; /* spent in the handler */
	uint32_t id;
	uint32_t size; /* of the payload */
	uint32_t reply_size;
	uint32_t busy;   /* times that it is refused yet */
	uint32_t deadly; /* its first execution arms a crash after so many steps; 0: none */
	enum sim_method method;
	enum sim_behaviour behaviour;
	bool flagged; /* sent as idempotent */
	bool must_succeed;
	/* What happened. */
	enum sim_request_state state;
	int64_t sequence;
	uint64_t committed_ns;
	uint64_t deadline_ns;
	uint64_t wire_sequence; /* of its newest copy */
	uint64_t wire_ns;       /* when that was sent */
	uint32_t wire_copies;   /* under that sequence */
	uint32_t executed;
	uint32_t attempts;
	int error;
	uint16_t status;
};

/* True if more than one execution is right. */
static inline bool sim_request_may_repeat(const struct sim_request *request)
{
	return request->flagged || request->method == SIM_METHOD_AGAIN;
}

const char *sim_method_name(enum sim_method method);
uint32_t sim_method_route(enum sim_method method);

/* The bytes of a request and of its reply; id 0 for payloads that carry none. */
void sim_payload_fill(uint8_t *bytes, uint32_t size, uint32_t id);
bool sim_payload_check(const uint8_t *bytes, uint32_t size, uint32_t id);
void sim_reply_fill(uint8_t *bytes, uint32_t size, uint32_t id);
bool sim_reply_check(const uint8_t *bytes, uint32_t size, uint32_t id);

#endif
