/* SPDX-License-Identifier: MIT */
/*
 * The tap: each REQUEST that a client sends on datagrams carries what is left of its budget, is
 * flagged RETRY when it is a repeat, is not repeated sooner than a time-out that began at its floor
 * and doubled with each repeat, and is not sent once it has ended. The server gives a session to
 * nobody who has not shown the cookie that was sent to his address and port; a stranger who shows
 * what he has overheard gets none.
 *
 * Runs on the simulator's only thread; owns nothing.
 */
#include "tap.h"

#include "check.h"
#include "world.h"

#include "base/bytes.h"
#include "request/frame.h"

#include <inttypes.h>

#define RTO_MIN_NS UINT64_C(200000)
#define RTO_MAX_NS UINT64_C(1000000000)

/* The request whose first part, or whole, the frame is; NULL: a later part, or it has no id. */
static struct sim_request *request_in(struct sim_world *world, struct llr_frame *frame)
{
	bool ext_broken;

	if (frame->type != LLR_REQUEST ||
	    llr_frame_split(frame, false, &ext_broken) != LLR_FRAME_OK)
		return NULL;
	if ((frame->flags & LLR_FLAG_FRAGMENT) != 0 && frame->fragment.offset != 0)
		return NULL;
	if (frame->payload_size < SIM_ID_SIZE)
		return NULL;
	return sim_world_request(world, llr_le32_load(frame->payload));
}

static void check_repeat(struct sim_world *world, const struct sim_request *request,
			 const struct llr_frame *frame)
{
	uint32_t doublings = (uint32_t)llr_min_u64(request->wire_copies - 1, 20);
	uint64_t least_ns = llr_min_u64(RTO_MIN_NS << doublings, RTO_MAX_NS);

	if ((frame->flags & LLR_FLAG_RETRY) == 0)
		sim_violation(world, "a repeat of request %" PRIx32 " is not flagged so",
			      request->id);
	/* A 503 is tried again without doubling: only these meet one while all goes well. */
	if (world->plan->level <= SIM_LOSSY && world->plan->weather.full == 0 &&
	    request->behaviour != SIM_BUSY && world->now_ns - request->wire_ns < least_ns)
		sim_violation(world,
			      "request %" PRIx32 " is sent again after %" PRIu64
			      " us, for the %" PRIu32 ". time",
			      request->id, (world->now_ns - request->wire_ns) / 1000,
			      request->wire_copies);
}

static void see_request(struct sim_world *world, struct sim_request *request,
			const struct llr_frame *frame)
{
	uint64_t left_ns =
		request->deadline_ns > world->now_ns ? request->deadline_ns - world->now_ns : 0;

	if (request->state != SIM_REQUEST_SENT)
		sim_violation(world, "request %" PRIx32 " is sent though it has ended",
			      request->id);
	if (frame->budget_us == 0 || frame->budget_us > left_ns / 1000 + 1)
		sim_violation(world,
			      "request %" PRIx32 " has %" PRIu64 " us left, and says %" PRIu32,
			      request->id, left_ns / 1000, frame->budget_us);
	if (frame->sequence != request->wire_sequence) {
		request->wire_sequence = frame->sequence;
		request->wire_copies = 0;
	}
	if (request->wire_copies > 0)
		check_repeat(world, request, frame);
	request->wire_copies++;
	request->wire_ns = world->now_ns;
}

/* The next frame of a datagram; false: there is none. */
static bool next_frame(struct sim_world *world, uint8_t *bytes, uint32_t size, uint32_t *offset,
		       struct llr_frame *frame)
{
	if (*offset >= size)
		return false;
	if (llr_frame_decode(bytes + *offset, size - *offset, 0, frame) != LLR_FRAME_OK) {
		sim_violation(world, "what is sent is no frame");
		return false;
	}
	*offset += (uint32_t)llr_round_up(frame->frame_size, LLR_ALIGN);
	return true;
}

void sim_tap_caller(struct sim_world *world, const uint8_t *bytes, uint32_t size)
{
	uint8_t copy[SIM_DATAGRAM_SIZE_MAX];
	struct llr_frame frame;
	uint32_t offset = 0;

	memcpy(copy, bytes, size);
	while (next_frame(world, copy, size, &offset, &frame)) {
		struct sim_request *request = request_in(world, &frame);

		if (request != NULL)
			see_request(world, request, &frame);
	}
}

/* The stranger asks for a session with a cookie that is another's. */
static void forge(struct sim_world *world, uint64_t cookie)
{
	uint8_t bytes[LLR_HEADER_SIZE + LLR_HELLO_SIZE] = {0};
	const struct llr_header header = {.length = LLR_HELLO_SIZE, .type = LLR_HELLO};
	const struct llr_hello hello = {.nonce = 1, .cookie = cookie};

	llr_hello_encode(bytes + LLR_HEADER_SIZE, &hello);
	llr_header_encode(bytes, &header);
	sim_network_inject(&world->network, world->stranger, &world->server.node->address, bytes,
			   sizeof(bytes));
}

static void see_welcome(struct sim_world *world, struct sim_node *to, const struct llr_frame *frame)
{
	struct llr_welcome welcome;

	llr_welcome_decode(frame->body, &welcome);
	if (welcome.status == LLRPH_STATUS_NO_SESSION) {
		to->cookie = welcome.cookie;
		if (to != world->stranger && sim_below(&world->random, 8) == 0)
			forge(world, welcome.cookie);
	}
	if (welcome.status == LLRPH_STATUS_OK && to->cookie == 0)
		sim_violation(world, "%s has a session and was never given a cookie", to->name);
	if (welcome.status == LLRPH_STATUS_OK && to == world->stranger)
		sim_violation(world, "a stranger has a session for another's cookie");
}

void sim_tap_server(struct sim_world *world, struct sim_node *to, const uint8_t *bytes,
		    uint32_t size)
{
	uint8_t copy[SIM_DATAGRAM_SIZE_MAX];
	struct llr_frame frame;
	uint32_t offset = 0;

	memcpy(copy, bytes, size);
	while (next_frame(world, copy, size, &offset, &frame))
		if (frame.type == LLR_WELCOME)
			see_welcome(world, to, &frame);
}

void sim_tap_restart(struct sim_world *world)
{
	for (unsigned int i = 0; i < world->network.node_count; i++)
		world->network.nodes[i].cookie = 0;
}
