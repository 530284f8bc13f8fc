/* SPDX-License-Identifier: MIT */
/*
 * Frames that are no requests: HELLO opens a session, HEARTBEAT keeps it, BYE ends it, CANCEL takes
 * a request back that has not started.
 *
 * Thread: the worker's. Owns: nothing.
 */
#include "engine/inside.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "request/cookie.h"

#define NAMED_SIZE 8U /* a body that names a session */

struct llr_sessions *llr_sessions_of(struct llrph_engine *engine, const struct llr_session *session)
{
	return session->kind == LLR_SESSION_STREAM ? &engine->streams : &engine->sessions;
}

static void count_open(struct llrph_engine *engine)
{
	engine->counters->sessions_open = engine->sessions.open_count + engine->streams.open_count;
	llr_credits_share(engine);
}

void llr_session_end(struct llrph_engine *engine, struct llr_session *session)
{
	LLR_ASSERT(session->id != 0);
	if (session->datagram == NULL && session->peer != NULL)
		session->peer->session = NULL;
	llr_sessions_close(llr_sessions_of(engine, session), session);
	engine->counters->sessions_ended++;
	count_open(engine);
}

/* The session that a sender without a session id has: its connection's or its address's. */
static struct llr_session *session_of_sender(const struct llr_request *request)
{
	if ((request->listener->place & LLR_PLACE_CONNECTED) != 0)
		return request->peer->session;
	return llr_sessions_find_address(&request->engine->sessions, request->listener->index,
					 &request->peer->address);
}

/* The session that the body names, if it is its sender's; with an empty body its sender's. */
static struct llr_session *session_named(const struct llr_request *request)
{
	struct llr_session *session = session_of_sender(request);

	if (request->frame.length == 0 || session == NULL)
		return session;
	return session->id == llr_le64_load(request->frame.body) ? session : NULL;
}

static void welcome_send(struct llr_request *request, const struct llr_welcome *welcome)
{
	uint8_t body[LLR_WELCOME_SIZE];
	struct llr_header header = {
		.timestamp = llr_engine_wall(request->engine),
		.length = LLR_WELCOME_SIZE,
		.flags = request->frame.flags & LLR_FLAG_NO_CRC,
		.type = LLR_WELCOME,
	};

	llr_welcome_encode(body, welcome);
	llr_llrp_send(request->listener, request->peer, &header, body);
}

static unsigned int session_kind(const struct llr_request *request)
{
	if ((request->listener->place & LLR_PLACE_CONNECTED) == 0)
		return LLR_SESSION_DATAGRAM;
	return request->listener->streams != NULL ? LLR_SESSION_STREAM : LLR_SESSION_LANE;
}

/*
 * Datagram sessions share their table with lanes, but not their number; and each must find room for
 * at least one credit in the sockets' queues.
 */
static bool datagrams_have_room(const struct llr_request *request)
{
	uint32_t count = request->engine->sessions.datagram_count;

	if (count >= request->engine->options.sessions_max)
		return false;
	return request->listener->queue_capacity == 0 || count < request->listener->queue_capacity;
}

static struct llr_session *session_open(struct llr_request *request, const struct llr_hello *hello)
{
	struct llrph_engine *engine = request->engine;
	unsigned int kind = session_kind(request);
	struct llr_session_wish wish = {
		.peer = request->peer,
		.random = llr_engine_random(engine),
		.nonce = hello->nonce,
		.now_ns = engine->now_ns,
		.window = hello->window,
		.max_message = hello->max_message,
		.window_max = engine->options.window_max,
		.max_message_max = engine->options.max_message,
		.listener = request->listener->index,
		.kind = (uint8_t)kind,
		.ext = (hello->features & LLR_FEATURE_EXT) != 0,
	};
	struct llr_session *session;

	if (engine->stopping || (kind == LLR_SESSION_DATAGRAM && !datagrams_have_room(request)))
		return NULL;
	session = llr_sessions_open(
		kind == LLR_SESSION_STREAM ? &engine->streams : &engine->sessions, &wish);
	if (session == NULL)
		return NULL;
	if (kind != LLR_SESSION_DATAGRAM) {
		session->peer = request->peer;
		request->peer->session = session;
	}
	engine->counters->sessions_opened++;
	count_open(engine);
	return session;
}

static void hello(struct llr_request *request)
{
	struct llrph_engine *engine = request->engine;
	struct llr_session *session = session_of_sender(request);
	struct llr_hello asked;
	struct llr_welcome welcome = {.epoch = engine->secret->epoch, .status = 503};

	llr_hello_decode(request->frame.body, &asked);
	engine->counters->hello++;
	welcome.nonce = asked.nonce;
	if ((request->listener->place & LLR_PLACE_CONNECTED) == 0 &&
	    !llr_cookie_check(engine->secret->cookie_keys, &request->peer->address,
			      request->listener->index, engine->now_ns, asked.cookie)) {
		welcome.status = LLRPH_STATUS_NO_SESSION;
		welcome.cookie =
			llr_cookie_make(engine->secret->cookie_keys, &request->peer->address,
					request->listener->index, engine->now_ns);
		engine->counters->hello_challenged++;
		welcome_send(request, &welcome);
		return;
	}
	if (session != NULL && session->nonce != asked.nonce) {
		llr_session_end(engine, session);
		session = NULL;
	}
	if (session == NULL)
		session = session_open(request, &asked);
	if (session != NULL) {
		session->last_ns = engine->now_ns;
		welcome.status = LLRPH_STATUS_OK;
		welcome.session = session->id;
		welcome.window = (uint16_t)session->window;
		welcome.max_message = session->max_message;
		welcome.features = session->ext_granted != 0 ? LLR_FEATURE_EXT : 0;
	}
	welcome_send(request, &welcome);
}

static void heartbeat(struct llr_request *request)
{
	struct llr_session *session = session_named(request);
	struct llr_header header = {
		.sequence = request->frame.sequence,
		.timestamp = llr_engine_wall(request->engine),
		.length = session != NULL ? request->frame.length : 0,
		.flags = request->frame.flags & LLR_FLAG_NO_CRC,
		.type = LLR_ACK,
	};

	request->engine->counters->heartbeats++;
	if (session != NULL)
		session->last_ns = request->engine->now_ns;
	llr_llrp_send(request->listener, request->peer, &header, request->frame.body);
}

/*
 * Takes back what has not started: a message of which parts are missing. Every other request that
 * is known here has started, for a turn runs what it decodes.
 */
static void cancel(struct llr_request *request)
{
	struct llr_session *session = session_named(request);
	struct llr_reassembly *parts;

	request->engine->counters->cancels++;
	if (session == NULL)
		return;
	session->last_ns = request->engine->now_ns;
	if (session->datagram == NULL)
		return;
	parts = &session->datagram->reassembly;
	if (!parts->active || parts->sequence != request->frame.sequence ||
	    llr_slot_judge(session, parts->sequence, false) != LLR_RUN)
		return;
	request->engine->counters->cancelled++;
	request->session = session;
	request->peer = session->peer;
	request->idempotent = false;
	request->frame.route = parts->route;
	llr_reassembly_reset(parts);
	llr_llrp_refuse(request, LLRPH_STATUS_CANCELLED, NULL);
}

static void bye(struct llr_request *request)
{
	struct llr_session *session = session_named(request);

	if (session != NULL)
		llr_session_end(request->engine, session);
}

void llr_llrp_control(struct llr_request *request)
{
	const struct llr_frame *frame = &request->frame;
	bool named = frame->length == NAMED_SIZE;
	bool empty = frame->length == 0;

	if (frame->type == LLR_HELLO && frame->length == LLR_HELLO_SIZE)
		hello(request);
	else if (frame->type == LLR_HEARTBEAT && (named || empty))
		heartbeat(request);
	else if (frame->type == LLR_BYE && (named || empty))
		bye(request);
	else if (frame->type == LLR_CANCEL && named)
		cancel(request);
	else
		request->engine->counters->skipped++;
}

/* A request without a session: 401, or a sessionless one that may run. */
bool llr_llrp_stranger(struct llr_request *request)
{
	const struct llr_frame *frame = &request->frame;

	request->answer_size_max = frame->frame_size;
	if (request->engine->options.sessionless != 0 && frame->session == 0 &&
	    (frame->flags & LLR_FLAG_IDEMPOTENT) != 0 &&
	    (frame->flags & (LLR_FLAG_FRAGMENT | LLR_FLAG_EXT)) == 0 &&
	    (request->listener->place & LLR_PLACE_CONNECTED) == 0) {
		request->method = llr_method_find(request->engine, frame->route);
		request->idempotent = true;
		return true;
	}
	if ((request->listener->place & LLR_PLACE_CONNECTED) == 0) {
		struct llr_session *session = llr_sessions_find_address(&request->engine->sessions,
									request->listener->index,
									&request->peer->address);

		if (session != NULL)
			session->last_ns = request->engine->now_ns;
	}
	/* Answers that share a datagram are padded to 16: the padding must be paid for too. */
	request->answer_size_max = frame->frame_size & ~(LLR_ALIGN - 1);
	llr_llrp_refuse(request, LLRPH_STATUS_NO_SESSION, NULL);
	return false;
}

void llr_llrp_closed(struct llr_listener *listener, struct llr_peer *peer)
{
	struct llr_stream_state *state = llr_stream_of(listener, peer);

	if (state != NULL)
		memset(state, 0, sizeof(*state));
	if (peer->session != NULL)
		llr_session_end(listener->engine, peer->session);
	LLR_ASSERT(peer->session == NULL);
}
