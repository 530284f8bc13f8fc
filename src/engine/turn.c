/* SPDX-License-Identifier: MIT */
/*
 * The turn: the whole way of a request, in order. Each step lives in the file named beside it.
 *
 * Thread: the worker's. Nothing here blocks, allocates or takes a lock; syscalls are the
 * transports' own.
 */
#include "engine/inside.h"

#include "base/assert.h"

/* One message: every step may end it, having answered or counted it. */
static void turn_message(struct llr_request *request)
{
	const struct llr_framing *framing = request->listener->framing;
	int status;

	if (!framing->session(request)) /* llrp.c: session, slot, fragments */
		return;
	if (!llr_admit(request)) /* admit.c: stopping, no such method, budget spent */
		return;
	if (!llr_verify(request)) /* admit.c: too large, malformed */
		return;
	status = llr_dispatch(request); /* dispatch.c: the handler */
	if (status != LLRPH_DEFERRED)
		(void)framing->reply(request, (unsigned int)status, false); /* reply.c */
}

static unsigned int turn_span(struct llr_listener *listener, struct llr_span *span)
{
	struct llr_request request;
	unsigned int count = 0;

	if ((span->flags & LLR_SPAN_CLOSED) != 0) {
		listener->framing->closed(listener, span->peer);
		return 1;
	}
	request.engine = listener->engine;
	request.listener = listener;
	request.rejected = LLR_FRAME_OK;
	/* Bounded: next consumes at least a header of the span, or returns false. */
	while (listener->framing->next(&request, span)) { /* llrp.c: decode */
		turn_message(&request);
		count++;
	}
	return count;
}

/* Silent endpoints that cost a syscall are looked at less often than busy ones. */
static bool is_due(const struct llr_listener *listener, uint64_t now_ns)
{
	return listener->cheap || now_ns - listener->busy_ns < LLR_BUSY_NS ||
	       now_ns - listener->polled_ns >= LLR_SILENT_POLL_NS;
}

static unsigned int turn_listener(struct llr_listener *listener)
{
	struct llrph_engine *engine = listener->engine;
	const struct llr_transport_ops *ops = listener->transport->ops;
	unsigned int handled = 0;
	unsigned int count;

	listener->polled_ns = engine->now_ns;
	count = ops->rx_burst(listener->transport, engine->now_ns, engine->spans, LLR_BURST_MAX);
	LLR_ASSERT_HOT(count <= LLR_BURST_MAX);
	if (count > 0) {
		engine->now_ns = llr_clock_now(&engine->clock);
		listener->busy_ns = engine->now_ns;
		for (unsigned int i = 0; i < count; i++)
			handled += turn_span(listener, &engine->spans[i]);
		ops->rx_release(listener->transport, engine->spans, count);
	}
	return handled + (count > 0 && handled == 0);
}

unsigned int llrph_engine_turn(struct llrph_engine *engine)
{
	unsigned int handled = 0;

	LLR_ASSERT(engine->started);
	engine->now_ns = llr_clock_now(&engine->clock);
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		if (is_due(&engine->listeners[i], engine->now_ns))
			handled += turn_listener(&engine->listeners[i]);
	}
	for (unsigned int i = 0; i < engine->service_count; i++) {
		if (engine->services[i].spec->poll != NULL)
			engine->services[i].spec->poll(engine->services[i].state, engine->now_ns);
	}
	for (unsigned int i = 0; i < engine->listener_count; i++) {
		struct llr_transport *transport = engine->listeners[i].transport;

		transport->ops->tx_flush(transport);
		if (transport->ops->tx_reap != NULL)
			transport->ops->tx_reap(transport);
	}
	if (engine->now_ns >= engine->sweep_ns)
		llr_engine_sweep(engine);
	engine->counters->turns++;
	engine->counters->turns_idle += handled == 0;
	return handled;
}
