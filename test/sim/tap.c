/* SPDX-License-Identifier: MIT */
/*
 * The tap: each REQUEST that a client sends on datagrams carries what is left of its budget, is
 * flagged RETRY when it is a repeat, is not repeated sooner than a time-out that began at its floor
 * and doubled with each repeat, and is not sent once it has ended.
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
	/* A 503 is tried again without doubling: nothing here answers it while all goes well. */
	if (world->plan->level <= SIM_LOSSY && world->plan->weather.full == 0 &&
	    world->now_ns - request->wire_ns < least_ns)
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

void sim_tap(struct sim_world *world, const uint8_t *bytes, uint32_t size)
{
	uint8_t copy[SIM_DATAGRAM_SIZE_MAX];
	uint32_t offset = 0;

	memcpy(copy, bytes, size);
	while (offset < size) {
		struct llr_frame frame;
		struct sim_request *request;

		if (llr_frame_decode(copy + offset, size - offset, 0, &frame) != LLR_FRAME_OK) {
			sim_violation(world, "a client sends what is no frame");
			return;
		}
		request = request_in(world, &frame);
		if (request != NULL)
			see_request(world, request, &frame);
		offset += (uint32_t)llr_round_up(frame.frame_size, LLR_ALIGN);
	}
}
