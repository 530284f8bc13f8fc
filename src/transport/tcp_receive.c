/* SPDX-License-Identifier: MIT */
/*
 * From the kernel to spans, and what the framing left of them. Owner's thread; owns the read area
 * and lends its bytes, and those of borrowed buffers, until rx_release.
 *
 * Where bytes are read to:
 * - Usually the area, behind what was read there in this burst. A small partial message is copied
 *   before them first, so that both make one span.
 * - A large partial message grows in its own buffer, up to what is wanted.
 * What the framing leaves goes to a small buffer if the message fits one, else to a large one. As
 * nothing that was read can be put back, a read is begun only where a buffer for what may be left
 * is sure (promised): a large one, or else a small one and a read that fits it. A connection for
 * which there is neither waits (starved); its bytes stay in the kernel.
 *
 * Invariant: the address of a connection's first unconsumed byte is its position in the stream,
 * modulo 16.
 */
#include "transport/tcp_inside.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* What a buffer holds for sure, wherever its first byte lies. */
static uint32_t capacity_of(const struct llr_buffer_pool *pool)
{
	return pool->size - LLR_ALIGN;
}

static uint32_t held_size(const struct llr_tcp_connection *connection)
{
	return connection->pool == NULL ? 0 : connection->fill - connection->start;
}

static uint8_t *held_bytes(const struct llr_tcp_connection *connection)
{
	return llr_buffer_bytes(connection->pool, connection->buffer) + connection->start;
}

void llr_tcp_input_free(struct llr_tcp_connection *connection)
{
	if (connection->pool != NULL)
		llr_buffer_release(connection->pool, connection->buffer);
	connection->pool = NULL;
}

bool llr_tcp_can_feed(const struct llr_tcp *tcp)
{
	bool large = tcp->large.free_count > 0;
	bool any = large || tcp->small.free_count > 0;

	return (large && tcp->starved_large.first != NULL) ||
	       (any && tcp->starved_any.first != NULL);
}

/* Gives those who wait for a buffer their turn, as many as there are buffers. */
static void feed_starved(struct llr_tcp *tcp)
{
	uint32_t large = tcp->large.free_count;
	uint32_t any = tcp->small.free_count;

	for (; large > 0 && tcp->starved_large.first != NULL; large--) {
		struct llr_tcp_connection *connection = tcp->starved_large.first;

		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		llr_tcp_list_append(&tcp->ready, connection);
		llr_tcp_time_partial(tcp, connection);
		tcp->starved_large_ns = tcp->now_ns;
	}
	for (any += large; any > 0 && tcp->starved_any.first != NULL; any--) {
		struct llr_tcp_connection *connection = tcp->starved_any.first;

		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		llr_tcp_list_append(&tcp->ready, connection);
		tcp->starved_any_ns = tcp->now_ns;
	}
}

static void starve(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		   struct llr_tcp_list *list)
{
	uint64_t *since_ns =
		list == &tcp->starved_large ? &tcp->starved_large_ns : &tcp->starved_any_ns;

	connection->flags |= LLR_TCP_READABLE;
	if (list->first == NULL)
		*since_ns = tcp->now_ns;
	llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
	llr_tcp_list_append(list, connection);
}

/* Moves what a connection holds to a buffer of another pool, of which one is free. */
static void move_held(struct llr_tcp_connection *connection, struct llr_buffer_pool *pool)
{
	uint32_t size = held_size(connection);
	uint32_t buffer = llr_buffer_borrow(pool);

	LLR_ASSERT(buffer != LLR_BUFFER_NONE);
	LLR_ASSERT(size <= capacity_of(pool));
	memcpy(llr_buffer_bytes(pool, buffer) + connection->position, held_bytes(connection), size);
	llr_tcp_input_free(connection);
	connection->pool = pool;
	connection->buffer = buffer;
	connection->start = connection->position;
	connection->fill = connection->start + size;
}

/* Where the next read of a connection goes. */
struct target {
	uint8_t *bytes;      /* first byte of the span to be: what is held, then what is read */
	uint32_t limit;      /* bytes to read at most; 0: none, the buffer is full */
	bool in_area;        /* the read area; else the connection's own large buffer */
	bool promised_large; /* what releasing it may need */
	bool promised_small;
};

/* True: target is set. False: no buffer, the connection starves. */
static bool choose_area(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			struct target *target)
{
	uint32_t held = held_size(connection);
	uint32_t offset = (uint32_t)llr_round_up(tcp->area_used, LLR_ALIGN);

	target->in_area = true;
	target->promised_large = tcp->large.free_count > tcp->large_promised;
	target->promised_small = !target->promised_large && connection->pool == NULL;
	if (target->promised_small && tcp->small.free_count <= tcp->small_promised) {
		starve(tcp, connection, &tcp->starved_any);
		return false;
	}
	/* Without a large buffer all of it must fit the small one; whoever fills that needs more.
	 */
	target->limit =
		(target->promised_large ? LLR_TCP_READ_MAX : capacity_of(&tcp->small)) - held;
	if (target->limit == 0 && (connection->flags & LLR_TCP_AGAIN) == 0) {
		starve(tcp, connection, &tcp->starved_large);
		return false;
	}
	target->bytes = tcp->area + offset + connection->position;
	LLR_ASSERT_HOT(offset + LLR_ALIGN + held + target->limit <= LLR_TCP_AREA_SIZE);
	if (held > 0)
		memcpy(target->bytes, held_bytes(connection), held);
	return true;
}

static bool choose_target(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
			  struct target *target)
{
	uint32_t held = held_size(connection);
	uint32_t room;

	*target = (struct target){.bytes = NULL};
	if (connection->pool == &tcp->small && connection->wanted > capacity_of(&tcp->small)) {
		if (tcp->large.free_count <= tcp->large_promised) {
			starve(tcp, connection, &tcp->starved_large);
			return false;
		}
		move_held(connection, &tcp->large);
	}
	if (connection->pool != &tcp->large)
		return choose_area(tcp, connection, target);

	room = tcp->large.size - connection->fill;
	target->bytes = held_bytes(connection);
	target->limit = connection->wanted > held
				? (uint32_t)llr_min_u64(connection->wanted - held, room)
				: room;
	return true;
}

/* Bytes read; 0: none now; -1: the connection has ended. */
static int64_t read_some(struct llr_tcp *tcp, struct llr_tcp_connection *connection, uint8_t *into,
			 uint32_t limit)
{
	ssize_t size = recv(connection->fd, into, limit, MSG_DONTWAIT);

	if (size > 0) {
		bool more = (uint32_t)size == limit || (connection->flags & LLR_TCP_FINISHED) != 0;

		/* Less than was asked for: the kernel has no more, and the next will be an edge. */
		if (!more)
			connection->flags &= (uint8_t)~LLR_TCP_READABLE;
		else
			connection->flags |= LLR_TCP_READABLE;
		tcp->transport.counters->rx_bytes += (uint64_t)size;
		return size;
	}
	if (size < 0 && errno == EAGAIN) {
		connection->flags &= (uint8_t)~LLR_TCP_READABLE;
		return 0;
	}
	/* A signal, or the kernel short of memory: the bytes are still there. */
	if (size < 0 && (errno == EINTR || errno == ENOMEM || errno == ENOBUFS)) {
		connection->flags |= LLR_TCP_READABLE;
		return 0;
	}
	llr_tcp_end(tcp, connection, size == 0 ? 0 : -errno);
	return -1;
}

static void heat_up(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	struct llr_tcp_hot *place = NULL;

	for (unsigned int i = 0; i < LLR_TCP_HOT_COUNT; i++) {
		if (tcp->hot[i].connection == connection || tcp->hot[i].connection == NULL)
			place = &tcp->hot[i];
		if (tcp->hot[i].connection == connection)
			break;
	}
	if (place == NULL) {
		tcp->crowded_ns = tcp->now_ns;
		return;
	}
	connection->flags |= LLR_TCP_HOT;
	place->connection = connection;
	place->active_ns = tcp->now_ns;
}

/* More of a message came that is still not what the framing wants: keeps it where it grows. */
static void keep_growing(struct llr_tcp_connection *connection, const struct target *target,
			 uint32_t fresh)
{
	uint32_t held = held_size(connection);

	LLR_ASSERT(connection->pool != NULL);
	LLR_ASSERT(connection->fill + fresh <= connection->pool->size);
	if (target->in_area)
		memcpy(held_bytes(connection) + held, target->bytes + held, fresh);
	connection->fill += fresh;
}

static void lend(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		 const struct target *target, struct llr_span *span)
{
	connection->flags &= (uint8_t)~LLR_TCP_AGAIN;
	connection->flags |= LLR_TCP_LENT | LLR_TCP_SEEN;
	if (target->in_area) {
		tcp->area_used = (uint32_t)(span->bytes - tcp->area) + span->size;
		tcp->large_promised += target->promised_large;
		tcp->small_promised += target->promised_small;
	}
	tcp->transport.counters->rx_spans++;
}

/* Reads a connection that is in no queue; true: span is filled. */
static bool visit_open(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		       struct llr_span *span)
{
	uint32_t held = held_size(connection);
	struct target target;
	int64_t fresh = 0;
	uint32_t size;

	if (!choose_target(tcp, connection, &target))
		return false;
	if (target.limit > 0)
		fresh = read_some(tcp, connection, target.bytes + held, target.limit);
	if (fresh < 0)
		return false;
	if (fresh > 0)
		heat_up(tcp, connection);
	else if ((connection->flags & LLR_TCP_AGAIN) == 0 && target.limit > 0)
		return false;

	size = held + (uint32_t)fresh;
	if (size < connection->wanted && connection->wanted <= capacity_of(connection->pool)) {
		keep_growing(connection, &target, (uint32_t)fresh);
		return false;
	}
	if (!target.in_area)
		connection->fill += (uint32_t)fresh;
	*span = (struct llr_span){
		.peer = &connection->peer,
		.bytes = target.bytes,
		.received_ns = tcp->now_ns,
		.size = size,
	};
	lend(tcp, connection, &target, span);
	return true;
}

/* Dropped: reads what still comes and forgets it, until the peer's FIN. */
static void visit_lingering(struct llr_tcp *tcp, struct llr_tcp_connection *connection)
{
	uint32_t offset = (uint32_t)llr_round_up(tcp->area_used, LLR_ALIGN);

	(void)read_some(tcp, connection, tcp->area + offset, LLR_TCP_READ_MAX);
}

/* True: span is filled. The connection is in no queue. */
static bool visit(struct llr_tcp *tcp, struct llr_tcp_connection *connection, struct llr_span *span)
{
	bool lent = false;

	connection->burst = tcp->burst;
	if (connection->state == LLR_TCP_LINGERING)
		visit_lingering(tcp, connection);
	else if (connection->state == LLR_TCP_OPEN)
		lent = visit_open(tcp, connection, span);
	if (!lent)
		llr_tcp_make_ready(tcp, connection);
	return lent;
}

static unsigned int announce_ended(struct llr_tcp *tcp, struct llr_span *spans, unsigned int count,
				   unsigned int count_max)
{
	while (count < count_max && tcp->announce.first != NULL) {
		struct llr_tcp_connection *connection = tcp->announce.first;

		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		connection->flags |= LLR_TCP_LENT;
		spans[count++] = (struct llr_span){
			.peer = &connection->peer,
			.received_ns = tcp->now_ns,
			.flags = LLR_SPAN_CLOSED,
		};
	}
	return count;
}

static bool area_has_room(const struct llr_tcp *tcp)
{
	return tcp->area_used + LLR_TCP_READ_MAX + 2 * LLR_ALIGN <= LLR_TCP_AREA_SIZE;
}

/* Everyone who is ready when it starts has one turn; bound: the length of the list then. */
static unsigned int visit_ready(struct llr_tcp *tcp, struct llr_span *spans, unsigned int count,
				unsigned int count_max)
{
	struct llr_tcp_connection *last = tcp->ready.last;
	struct llr_tcp_connection *connection = NULL;

	while (connection != last && count < count_max && area_has_room(tcp)) {
		connection = tcp->ready.first;
		llr_tcp_unlink(connection, LLR_TCP_LINK_QUEUE);
		count += visit(tcp, connection, &spans[count]);
	}
	return count;
}

/* Those that were active just now are read without asking epoll. */
static unsigned int visit_hot(struct llr_tcp *tcp, struct llr_span *spans, unsigned int count,
			      unsigned int count_max)
{
	for (unsigned int i = 0; i < LLR_TCP_HOT_COUNT; i++) {
		struct llr_tcp_connection *connection = tcp->hot[i].connection;
		bool blocked;

		if (connection == NULL)
			continue;
		if (tcp->now_ns - tcp->hot[i].active_ns > LLR_TCP_HOT_NS) {
			connection->flags &= (uint8_t)~LLR_TCP_HOT;
			tcp->hot[i].connection = NULL;
			continue;
		}
		blocked = llr_tcp_is_listener(tcp) && connection->output_size > 0;
		if (blocked || connection->burst == tcp->burst || count == count_max ||
		    connection->links[LLR_TCP_LINK_QUEUE].list != NULL || !area_has_room(tcp))
			continue;
		count += visit(tcp, connection, &spans[count]);
	}
	return count;
}

static bool is_any_hot(const struct llr_tcp *tcp)
{
	for (unsigned int i = 0; i < LLR_TCP_HOT_COUNT; i++) {
		if (tcp->hot[i].connection != NULL)
			return true;
	}
	return false;
}

/* Asking epoll is worth it unless those that are hot are likely to be all that there is. */
static bool should_poll(struct llr_tcp *tcp, bool found)
{
	uint64_t pause_ns = found ? 10 * LLR_SILENT_POLL_NS : LLR_SILENT_POLL_NS;

	if (++tcp->poll_skipped >= LLR_TCP_POLL_SKIP || !is_any_hot(tcp))
		return true;
	return tcp->now_ns - tcp->polled_ns >= pause_ns ||
	       tcp->now_ns - tcp->crowded_ns < LLR_TCP_HOT_NS;
}

unsigned int llr_tcp_rx_burst(struct llr_transport *transport, uint64_t now_ns,
			      struct llr_span *spans, unsigned int count_max)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);
	unsigned int count = 0;

	LLR_ASSERT_HOT(count_max > 0);
	LLR_ASSERT_HOT(tcp->lent_count == 0);
	tcp->now_ns = now_ns;
	tcp->burst++;
	tcp->area_used = 0;
	tcp->small_promised = 0;
	tcp->large_promised = 0;
	llr_tcp_tick(tcp);
	if (llr_tcp_can_feed(tcp))
		feed_starved(tcp);

	count = visit_ready(tcp, spans, count, count_max);
	count = visit_hot(tcp, spans, count, count_max);
	if (should_poll(tcp, count > 0) && count < count_max) {
		llr_tcp_poll(tcp);
		count = visit_ready(tcp, spans, count, count_max);
	}
	count = announce_ended(tcp, spans, count, count_max);
	tcp->lent_count = count;
	return count;
}

/* Puts what the framing left of a span where the connection's next bytes join it. */
static void keep_rest(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		      const struct llr_span *span, uint32_t rest)
{
	uint32_t small = capacity_of(&tcp->small);
	const uint8_t *bytes = span->bytes + span->consumed;
	bool is_small = rest <= small && connection->wanted <= small;
	struct llr_buffer_pool *pool = is_small ? &tcp->small : &tcp->large;

	/* A small buffer that is there already keeps a rest that fits until a large one is free. */
	if (pool->free_count == 0 && connection->pool != pool)
		pool = pool == &tcp->small ? &tcp->large : &tcp->small;
	if (connection->pool != pool) {
		uint32_t buffer = llr_buffer_borrow(pool);

		LLR_ASSERT(buffer != LLR_BUFFER_NONE);
		LLR_ASSERT(rest <= capacity_of(pool));
		memcpy(llr_buffer_bytes(pool, buffer) + connection->position, bytes, rest);
		llr_tcp_input_free(connection);
		connection->pool = pool;
		connection->buffer = buffer;
	} else {
		LLR_ASSERT(rest <= capacity_of(pool));
		memmove(llr_buffer_bytes(pool, connection->buffer) + connection->position, bytes,
			rest);
	}
	connection->start = connection->position;
	connection->fill = connection->start + rest;
}

/* Starts or stops the clock of a message's bytes. */
static void time_rest(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		      const struct llr_span *span, uint32_t rest)
{
	bool again = rest > 0 && span->wanted != 0 && span->wanted <= rest;
	bool counted = connection->links[LLR_TCP_LINK_PARTIAL].list != NULL;
	int on = 1;

	if (again)
		connection->flags |= LLR_TCP_AGAIN;
	if (counted && (rest == 0 || again || span->consumed > 0)) {
		llr_tcp_unlink(connection, LLR_TCP_LINK_PARTIAL);
		counted = false;
	}
	if (rest == 0 || again || counted)
		return;
	llr_tcp_time_partial(tcp, connection);
	/* The sender may hold the rest back until its first bytes are acknowledged. */
	(void)setsockopt(connection->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void settle(struct llr_tcp *tcp, struct llr_tcp_connection *connection,
		   const struct llr_span *span)
{
	uint32_t rest = span->size - span->consumed;

	LLR_ASSERT(span->consumed <= span->size);
	if (connection->state != LLR_TCP_OPEN) {
		llr_tcp_input_free(connection);
		llr_tcp_list_append(&tcp->announce, connection);
		return;
	}
	connection->position = (uint8_t)((connection->position + span->consumed) % LLR_ALIGN);
	connection->wanted = rest == 0 ? 0 : span->wanted;
	if (rest == 0)
		llr_tcp_input_free(connection);
	else
		keep_rest(tcp, connection, span, rest);
	time_rest(tcp, connection, span, rest);
	llr_tcp_make_ready(tcp, connection);
}

void llr_tcp_rx_release(struct llr_transport *transport, struct llr_span *spans, unsigned int count)
{
	struct llr_tcp *tcp = llr_tcp_of(transport);

	LLR_ASSERT_HOT(count == tcp->lent_count);
	for (unsigned int i = 0; i < count; i++) {
		struct llr_tcp_connection *connection = spans[i].peer->link;

		LLR_ASSERT_HOT((connection->flags & LLR_TCP_LENT) != 0);
		connection->flags &= (uint8_t)~LLR_TCP_LENT;
		if ((spans[i].flags & LLR_SPAN_CLOSED) != 0)
			llr_tcp_announced(tcp, connection);
		else
			settle(tcp, connection, &spans[i]);
	}
	tcp->lent_count = 0;
}
