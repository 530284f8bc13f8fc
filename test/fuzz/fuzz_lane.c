/* SPDX-License-Identifier: MIT */
/*
 * Fuzz: bytes as what a client does to its lane, while a real host and worker (one process) hand
 * it over, poll it, answer it and let go of it. Each input gets a lane of its own. Nothing is
 * asserted but that the server lives, gives out nothing that it did not check, and takes
 * everything back.
 *
 * An input is a run of steps of 12 bytes: what to do (1), two odd bytes (2..3), where (4), with
 * what (4). Seals and marks are put right where the step says so: the fuzzer need not guess a key.
 */
#include "base/assert.h"
#include "transport/handover.h"
#include "transport/shm.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STEP_SIZE 12U
#define STEPS_MAX 4096U
#define TURNS_MAX 1000

enum step {
	STEP_RECORD,   /* a record of that size, right but for its size and bytes */
	STEP_WORD,     /* the next word: that mark and size, the right seal */
	STEP_STORE,    /* bytes anywhere */
	STEP_POSITION, /* a read position, near or far */
	STEP_PARKED,   /* a parked word */
	STEP_TURN,     /* the server's */
	STEPS,
};

struct server {
	struct llr_clock clock;
	uint64_t now_ns;
	struct llr_lane_host *host;
	struct llr_transport *transport;
	struct llr_transport_counters counters;
};

struct hostile {
	struct llr_handover handover;
	struct llr_lane_memory memory;
	struct llr_ring_writer writer;
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char folder[] = "/tmp/llrph-fuzz-XXXXXX";
static char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

static void clean(void)
{
	(void)unlink(path);
	(void)rmdir(folder);
}

static void start(struct server *server)
{
	struct llr_lane_host_setup setup = {.name = "fuzz",
					    .clock = &server->clock,
					    .worker_count = 1,
					    .inherited_fd = -1,
					    .message_max = 65536};
	struct llrph_error error;

	LLR_ASSERT(mkdtemp(folder) != NULL);
	LLR_ASSERT(setenv("LLRPH_RUNTIME_DIR", folder, 1) == 0);
	server->now_ns = 1000000000;
	llr_clock_init_virtual(&server->clock, &server->now_ns);
	LLR_ASSERT(llr_lane_host_open(&server->host, &setup, &error) == 0);
	LLR_ASSERT(llr_shm_listen(&server->transport, server->host, 0, "own", &server->counters,
				  &server->clock, &error) == 0);
	(void)snprintf(path, sizeof(path), "%s", llr_lane_host_path(server->host));
	LLR_ASSERT(atexit(clean) == 0);
}

/* One turn: every byte of every span is read, as a handler may. */
static void turn(struct server *server)
{
	const struct llr_transport_ops *ops = server->transport->ops;
	struct llr_span spans[LLR_BURST_MAX];
	unsigned int count;

	server->now_ns += 1000000; /* the host's turn comes along */
	count = ops->rx_burst(server->transport, server->now_ns, spans, LLR_BURST_MAX);
	for (unsigned int i = 0; i < count; i++) {
		struct llr_room room;
		int code;

		if ((spans[i].flags & LLR_SPAN_CLOSED) != 0)
			continue;
		LLR_ASSERT(spans[i].size >= LLR_LANE_FRAME_MIN);
		LLR_ASSERT(spans[i].size <= 65536 + LLR_LANE_OVERHEAD);
		code = ops->tx_reserve(server->transport, spans[i].peer, spans[i].size, &room);
		LLR_ASSERT(code == 0 || code == -ECONNRESET);
		if (code != 0)
			continue;
		memcpy(room.bytes, spans[i].bytes, spans[i].size);
		ops->tx_commit(server->transport, &room, spans[i].size);
	}
	if (count > 0)
		ops->rx_release(server->transport, spans, count);
	ops->tx_flush(server->transport);
	(void)ops->wait_prepare(server->transport);
	ops->wait_done(server->transport);
}

/* Gets a lane from a server that lives in the same thread. */
static void attach(struct hostile *hostile, struct server *server)
{
	struct llr_handover_hello hello = {.magic = LLR_HANDOVER_MAGIC,
					   .version = LLR_HANDOVER_VERSION};
	struct llr_handover_answer *answer = &hostile->handover.answer;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int code = -EAGAIN;

	memcpy(address.sun_path, path, sizeof(path));
	LLR_ASSERT(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	LLR_ASSERT(llr_handover_send(fd, &hello, sizeof(hello), NULL, 0) == 0);
	for (int i = 0; i < TURNS_MAX && code == -EAGAIN; i++) {
		turn(server);
		code = llr_handover_receive(fd, answer, sizeof(*answer), hostile->handover.fds,
					    LLR_HANDOVER_FDS);
	}
	LLR_ASSERT(code == 1);
	LLR_ASSERT(answer->code == 0);
	hostile->handover.connection = fd;
	LLR_ASSERT(llr_lane_map(&hostile->memory, hostile->handover.fds[LLR_HANDOVER_REQUEST],
				&answer->shape, LLR_LANE_WRITE) == 0);
	hostile->writer = (struct llr_ring_writer){
		.bytes = hostile->memory.ring,
		.key = answer->request_key,
		.position = answer->start,
		.read_seen = answer->start,
		.capacity = answer->shape.capacity,
		.frame_max = answer->shape.frame_max,
	};
}

static void detach(struct hostile *hostile, struct server *server)
{
	llr_lane_unmap(&hostile->memory);
	llr_handover_close_fds(hostile->handover.fds, LLR_HANDOVER_FDS);
	llr_handover_close_fds(&hostile->handover.connection, 1);
	for (int i = 0; i < TURNS_MAX && llr_lane_host_lanes(server->host) > 0; i++)
		turn(server);
	LLR_ASSERT(llr_lane_host_lanes(server->host) == 0);
}

static void put_word(struct hostile *hostile, uint32_t mark, uint32_t size)
{
	uint64_t seal = hostile->writer.key + hostile->writer.position;
	uint8_t *record =
		hostile->memory.ring + (hostile->writer.position & (hostile->writer.capacity - 1));

	memcpy(record + 8, &seal, sizeof(seal));
	atomic_store((_Atomic uint64_t *)(void *)record, size | (uint64_t)mark << 32);
	hostile->writer.position += llr_ring_need(size) % hostile->writer.capacity;
}

static void step(struct hostile *hostile, struct server *server, const uint8_t *bytes)
{
	struct llr_lane_client_page *page = (void *)hostile->memory.page;
	uint32_t where = llr_le32_load(bytes + 4);
	uint32_t what = llr_le32_load(bytes + 8);
	uint32_t odd = (uint32_t)bytes[2] << 8 | bytes[1];

	switch ((enum step)(bytes[0] % STEPS)) {
	case STEP_RECORD:
		put_word(hostile, llr_ring_mark(hostile->writer.position),
			 (bytes[3] & 1) != 0 ? what : what % hostile->writer.frame_max);
		break;
	case STEP_WORD:
		put_word(hostile, llr_ring_mark(hostile->writer.position) + odd % 3 - 1, what);
		break;
	case STEP_STORE:
		memcpy(hostile->memory.page + where % (hostile->memory.size - sizeof(what)), &what,
		       sizeof(what));
		break;
	case STEP_POSITION:
		atomic_store(&page->reply_read, (uint64_t)where << (odd % 64) | what);
		break;
	case STEP_PARKED:
		atomic_store(&page->parked, what);
		break;
	case STEP_TURN:
	case STEPS:
		turn(server);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct server server;
	struct hostile hostile = {0};

	if (server.host == NULL)
		start(&server);
	if (size > STEP_SIZE * STEPS_MAX)
		return 0;
	attach(&hostile, &server);
	for (size_t at = 0; at + STEP_SIZE <= size; at += STEP_SIZE)
		step(&hostile, &server, bytes + at);
	for (int i = 0; i < 4; i++)
		turn(&server);
	detach(&hostile, &server);
	return 0;
}
