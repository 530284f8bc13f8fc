/* SPDX-License-Identifier: MIT */
/*
 * The session table: see session.h. Pure; the worker's thread; owns nothing.
 *
 * Invariants: a page is marked used exactly while an open session has it; a datagram session is in
 * the chain of its address's bucket exactly while it is open; id's low 16 bits are its index.
 */
#include "request/session.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"

#define ID_INDEX_MASK UINT64_C(0xFFFF)
/* What a remembered reply may take, entry and padding included, beside one largest message. */
#define REPLY_BUDGET (256U + LLR_REPLIES_ENTRY_SIZE)

/* Where the parts of a session lie in its pages. */
struct layout {
	size_t slots;
	size_t replies;
	size_t bitmap;
	size_t message;
	size_t size;
	uint32_t replies_size;
};

static struct layout layout_of(unsigned int kind, uint32_t window, uint32_t max_message)
{
	struct layout at = {0};

	if (kind == LLR_SESSION_STREAM) {
		at.size = window * sizeof(uint64_t);
		return at;
	}
	if (kind == LLR_SESSION_DATAGRAM)
		at.slots = llr_round_up(sizeof(struct llr_session_datagram), 64);
	at.replies = llr_round_up(at.slots + window * sizeof(struct llr_slot), 64);
	if (kind == LLR_SESSION_DATAGRAM) {
		at.replies_size = (uint32_t)llr_round_up(
			window * REPLY_BUDGET + max_message + LLR_REPLIES_ENTRY_SIZE, 64);
		at.bitmap = at.replies + at.replies_size;
		at.message = llr_round_up(at.bitmap + LLR_REASSEMBLY_BITMAP_SIZE(max_message), 64);
		at.size = at.message + llr_round_up(max_message, 64);
	} else {
		at.size = at.replies;
	}
	return at;
}

static uint32_t bucket_of(const struct llr_sessions *sessions, uint16_t listener,
			  const struct llr_address *address)
{
	uint64_t hash = listener + UINT64_C(0x9E3779B97F4A7C15);
	uint64_t word;

	for (size_t i = 0; i < sizeof(*address); i += sizeof(word)) {
		word = llr_le64_load((const uint8_t *)address + i);
		hash = (hash ^ word) * UINT64_C(0xFF51AFD7ED558CCD);
		hash ^= hash >> 32;
	}
	return (uint32_t)hash & (sessions->bucket_count - 1);
}

static uint32_t index_of(const struct llr_sessions *sessions, const struct llr_session *session)
{
	return (uint32_t)(session - sessions->items);
}

static void chain_insert(struct llr_sessions *sessions, const struct llr_session *session)
{
	uint32_t bucket = bucket_of(sessions, session->listener, &session->datagram->peer.address);
	uint32_t index = index_of(sessions, session);

	sessions->chain[index] = sessions->buckets[bucket];
	sessions->buckets[bucket] = index + 1;
}

static void chain_remove(struct llr_sessions *sessions, const struct llr_session *session)
{
	uint32_t bucket = bucket_of(sessions, session->listener, &session->datagram->peer.address);
	uint32_t wanted = index_of(sessions, session) + 1;
	uint32_t *link = &sessions->buckets[bucket];

	while (*link != wanted) {
		LLR_ASSERT(*link != 0);
		link = &sessions->chain[*link - 1];
	}
	*link = sessions->chain[wanted - 1];
}

static uint32_t bucket_count_for(uint32_t count)
{
	uint32_t buckets = 64;

	while (buckets < count)
		buckets *= 2;
	return buckets;
}

size_t llr_sessions_memory_size(const struct llr_sessions_shape *shape)
{
	return llr_round_up(shape->count * sizeof(struct llr_session), LLR_SESSION_PAGE) +
	       (size_t)shape->page_count * shape->page_size;
}

size_t llr_sessions_private_size(const struct llr_sessions_shape *shape)
{
	return (bucket_count_for(shape->count) + (size_t)shape->count) * sizeof(uint32_t) +
	       shape->page_count;
}

void llr_sessions_init(struct llr_sessions *sessions, const struct llr_sessions_shape *shape,
		       void *memory, void *private_memory)
{
	LLR_ASSERT(shape->count >= 1 && shape->count <= LLR_SESSIONS_MAX);
	LLR_ASSERT(memory != NULL && private_memory != NULL);
	memset(sessions, 0, sizeof(*sessions));
	sessions->shape = *shape;
	sessions->items = memory;
	sessions->pages = (uint8_t *)memory +
			  llr_round_up(shape->count * sizeof(struct llr_session), LLR_SESSION_PAGE);
	sessions->bucket_count = bucket_count_for(shape->count);
	sessions->buckets = private_memory;
	sessions->chain = sessions->buckets + sessions->bucket_count;
	sessions->page_used = (uint8_t *)(sessions->chain + shape->count);
}

/* First fit from the hint on. Returns the first page, or page_count if there is no such run. */
static uint32_t pages_find(const struct llr_sessions *sessions, uint32_t from, uint32_t count)
{
	uint32_t run = 0;

	for (uint32_t page = from; page < sessions->shape.page_count; page++) {
		run = sessions->page_used[page] != 0 ? 0 : run + 1;
		if (run == count)
			return page + 1 - count;
	}
	return sessions->shape.page_count;
}

static bool pages_take(struct llr_sessions *sessions, size_t size, uint32_t *first, uint32_t *count)
{
	uint32_t page;

	*count = (uint32_t)((size + sessions->shape.page_size - 1) / sessions->shape.page_size);
	page = pages_find(sessions, sessions->page_hint, *count);
	if (page == sessions->shape.page_count)
		page = pages_find(sessions, 0, *count);
	if (page == sessions->shape.page_count)
		return false;
	memset(sessions->page_used + page, 1, *count);
	sessions->page_hint = page + *count;
	*first = page;
	return true;
}

/* Sets the pointers that follow from kind, window and pages. */
static void session_point(const struct llr_sessions *sessions, struct llr_session *session)
{
	uint8_t *base = sessions->pages + (size_t)session->page_first * sessions->shape.page_size;
	struct layout at = layout_of(session->kind, session->window, session->max_message);

	session->slots = NULL;
	session->floors = NULL;
	session->datagram = NULL;
	if (session->kind == LLR_SESSION_STREAM) {
		session->floors = (uint64_t *)(void *)base;
		return;
	}
	session->slots = (struct llr_slot *)(void *)(base + at.slots);
	if (session->kind != LLR_SESSION_DATAGRAM)
		return;
	session->datagram = (struct llr_session_datagram *)(void *)base;
	session->datagram->replies_bytes = base + at.replies;
	session->datagram->bitmap = base + at.bitmap;
	session->datagram->message = base + at.message;
	session->peer = &session->datagram->peer;
	session->peer->link = NULL;
	session->peer->session = NULL;
}

static uint32_t window_of(const struct llr_session_wish *wish)
{
	uint32_t asked = wish->window == 0 ? LLR_WINDOW_DEFAULT : wish->window;
	uint32_t most = (uint32_t)llr_min_u64(llr_min_u64(asked, wish->window_max), LLR_WINDOW_MAX);
	uint32_t window = 1;

	while (window * 2 <= most)
		window *= 2;
	return window;
}

static struct llr_session *item_find(struct llr_sessions *sessions)
{
	for (uint32_t i = 0; i < sessions->shape.count; i++) {
		uint32_t index = (sessions->item_hint + i) % sessions->shape.count;

		if (sessions->items[index].id == 0) {
			sessions->item_hint = index + 1;
			return &sessions->items[index];
		}
	}
	return NULL;
}

static void session_clear(const struct llr_sessions *sessions, struct llr_session *session,
			  const struct llr_session_wish *wish)
{
	struct layout at = layout_of(session->kind, session->window, session->max_message);
	uint8_t *base = sessions->pages + (size_t)session->page_first * sessions->shape.page_size;

	/* Replies, bitmap and message are written before they are read. */
	memset(base, 0, session->kind == LLR_SESSION_STREAM ? at.size : at.replies);
	session_point(sessions, session);
	if (session->kind != LLR_SESSION_DATAGRAM)
		return;
	session->datagram->peer = *wish->peer;
	session->peer->link = NULL;
	session->peer->session = NULL;
	llr_replies_init(&session->datagram->replies, at.replies_size);
}

struct llr_session *llr_sessions_open(struct llr_sessions *sessions,
				      const struct llr_session_wish *wish)
{
	struct llr_session *session = item_find(sessions);
	uint32_t window = window_of(wish);
	uint32_t asked = wish->max_message == 0 ? LLR_PAYLOAD_SIZE_DEFAULT : wish->max_message;
	uint32_t max_message = (uint32_t)llr_min_u64(asked, wish->max_message_max);

	LLR_ASSERT(wish->kind != LLR_SESSION_FREE && wish->peer != NULL);
	if (session == NULL)
		return NULL;
	while (!pages_take(sessions, layout_of(wish->kind, window, max_message).size,
			   &session->page_first, &session->page_count)) {
		window /= 2;
		if (window == 0)
			return NULL;
	}
	session->kind = wish->kind;
	session->window = window;
	session->max_message = max_message;
	session->nonce = wish->nonce;
	session->last_ns = wish->now_ns;
	session->listener = wish->listener;
	session->ext_granted = wish->ext;
	session->recovering = 0;
	session->peer_index = wish->peer->index;
	session->peer = NULL;
	session_clear(sessions, session, wish);
	session->id = (wish->random & ~ID_INDEX_MASK) | index_of(sessions, session);
	if ((session->id & ~ID_INDEX_MASK) == 0)
		session->id |= ID_INDEX_MASK + 1;
	sessions->open_count++;
	if (session->kind == LLR_SESSION_DATAGRAM) {
		sessions->datagram_count++;
		chain_insert(sessions, session);
	}
	return session;
}

void llr_sessions_close(struct llr_sessions *sessions, struct llr_session *session)
{
	LLR_ASSERT(session->id != 0 && sessions->open_count > 0);
	LLR_ASSERT((session->id & ID_INDEX_MASK) == index_of(sessions, session));
	if (session->kind == LLR_SESSION_DATAGRAM) {
		chain_remove(sessions, session);
		sessions->datagram_count--;
	}
	memset(sessions->page_used + session->page_first, 0, session->page_count);
	sessions->open_count--;
	session->id = 0;
	session->kind = LLR_SESSION_FREE;
}

struct llr_session *llr_sessions_find(const struct llr_sessions *sessions, uint64_t id)
{
	uint64_t index = id & ID_INDEX_MASK;

	if (id == 0 || index >= sessions->shape.count || sessions->items[index].id != id)
		return NULL;
	return &sessions->items[index];
}

struct llr_session *llr_sessions_find_address(const struct llr_sessions *sessions,
					      uint16_t listener, const struct llr_address *address)
{
	uint32_t next = sessions->buckets[bucket_of(sessions, listener, address)];

	while (next != 0) {
		struct llr_session *session = &sessions->items[next - 1];

		if (session->listener == listener &&
		    memcmp(&session->datagram->peer.address, address, sizeof(*address)) == 0)
			return session;
		next = sessions->chain[next - 1];
	}
	return NULL;
}

/* Whether a record of a dead worker can be believed, as far as its own words go. */
static bool record_is_sane(const struct llr_sessions *sessions, const struct llr_session *session)
{
	uint32_t count = sessions->shape.page_count;

	if (session->kind != LLR_SESSION_DATAGRAM && session->kind != LLR_SESSION_LANE)
		return false;
	if ((session->id & ID_INDEX_MASK) != index_of(sessions, session))
		return false;
	if (!llr_is_power_of_two(session->window) || session->window > LLR_WINDOW_MAX)
		return false;
	if (session->max_message > LLR_PAYLOAD_SIZE_MAX || session->listener >= LLR_LISTENERS_MAX)
		return false;
	if (session->page_first >= count || session->page_count > count - session->page_first)
		return false;
	return (size_t)session->page_count * sessions->shape.page_size >=
	       layout_of(session->kind, session->window, session->max_message).size;
}

/* The same for what lies in its pages, once the pointers are set. */
static void record_mend(struct llr_session *session)
{
	struct layout at = layout_of(session->kind, session->window, session->max_message);

	for (uint32_t i = 0; i < session->window; i++) {
		struct llr_slot *slot = &session->slots[i];

		if (slot->state > LLR_SLOT_DONE || (slot->sequence & (session->window - 1)) != i)
			memset(slot, 0, sizeof(*slot));
	}
	if (session->kind == LLR_SESSION_DATAGRAM) {
		(void)llr_replies_check(&session->datagram->replies,
					session->datagram->replies_bytes, at.replies_size);
		/* The parts that were there are sent again by their client. */
		llr_reassembly_reset(&session->datagram->reassembly);
	}
}

uint32_t llr_sessions_recover(struct llr_sessions *sessions, const struct llr_sessions_shape *shape,
			      void *memory, void *private_memory)
{
	llr_sessions_init(sessions, shape, memory, private_memory);
	for (uint32_t i = 0; i < shape->count; i++) {
		struct llr_session *session = &sessions->items[i];
		bool sane = session->id != 0 && record_is_sane(sessions, session);

		for (uint32_t page = 0; sane && page < session->page_count; page++)
			sane = sessions->page_used[session->page_first + page] == 0;
		if (!sane) {
			session->id = 0;
			session->kind = LLR_SESSION_FREE;
			continue;
		}
		memset(sessions->page_used + session->page_first, 1, session->page_count);
		session->peer = NULL;
		session->recovering = session->kind == LLR_SESSION_LANE;
		session_point(sessions, session);
		record_mend(session);
		sessions->open_count++;
		if (session->kind == LLR_SESSION_DATAGRAM) {
			sessions->datagram_count++;
			chain_insert(sessions, session);
		}
	}
	return sessions->open_count;
}

bool llr_slot_is_newest(const struct llr_session *session, uint64_t sequence)
{
	if (session->floors != NULL)
		return session->floors[sequence & (session->window - 1)] ==
		       (sequence == UINT64_MAX ? sequence : sequence + 1);
	return llr_session_slot(session, sequence)->sequence == sequence;
}
