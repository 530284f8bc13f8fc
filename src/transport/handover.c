/* SPDX-License-Identifier: MIT */
/*
 * Messages with descriptors on UNIX sockets, and the client's side of asking for a lane.
 *
 * Thread: any; no state. What is received is bounded and checked for its size here; what it says
 * is checked by who asked for it.
 */
#include "transport/handover.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/runtime.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A call that a signal or want of memory ends is made again so often at once. */
#define REPEATS_MAX 16U

union control {
	struct cmsghdr header; /* for its alignment */
	uint8_t bytes[CMSG_SPACE(sizeof(int) * LLR_HANDOVER_FDS)];
};

/* Whether a call that failed is worth another try at once: a signal, or the kernel short of memory.
 */
static bool should_repeat(unsigned int *repeats)
{
	return (errno == EINTR || errno == ENOBUFS || errno == ENOMEM) && ++*repeats < REPEATS_MAX;
}

/* What the last of them says: -EAGAIN where it is worth one later. */
static int explain_failure(void)
{
	bool later = errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS || errno == ENOMEM;

	return later ? -EAGAIN : -errno;
}

int llr_handover_send(int socket, const void *message, size_t size, const int *fds,
		      unsigned int fd_count)
{
	/* sendmsg does not write to it. */
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union control control = {0};
	unsigned int repeats = 0;
	ssize_t sent;

	LLR_ASSERT(fd_count <= LLR_HANDOVER_FDS);
	if (fd_count > 0) {
		struct cmsghdr *rights;

		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
	}
	do
		sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && should_repeat(&repeats));
	return sent < 0 ? explain_failure() : 0;
}

void llr_handover_close_fds(int *fds, unsigned int fd_count)
{
	for (unsigned int i = 0; i < fd_count; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
		fds[i] = -1;
	}
}

/* Moves up to fd_count descriptors out of header and closes any others; returns how many came. */
static unsigned int take_fds(struct msghdr *header, int *fds, unsigned int fd_count)
{
	unsigned int came = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
	     part = CMSG_NXTHDR(header, part)) {
		size_t size;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		size = part->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + at, sizeof(fd));
			if (came < fd_count)
				fds[came] = fd;
			else
				(void)close(fd);
			came++;
		}
	}
	return came;
}

int llr_handover_receive(int socket, void *message, size_t size, int *fds, unsigned int fd_count)
{
	union control control;
	struct iovec part = {.iov_base = message, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	unsigned int repeats = 0;
	unsigned int came;
	ssize_t received;

	LLR_ASSERT(fd_count <= LLR_HANDOVER_FDS);
	for (unsigned int i = 0; i < fd_count; i++)
		fds[i] = -1;
	if (fd_count > 0) { /* without it the kernel throws away what the sender attached */
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	do
		received = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (received < 0 && should_repeat(&repeats));
	if (received < 0)
		return explain_failure();
	came = take_fds(&header, fds, fd_count);
	if (received == 0 && came == 0)
		return 0;
	if (came != fd_count || (header.msg_flags & MSG_CTRUNC) != 0)
		llr_handover_close_fds(fds, fd_count); /* too many, or this process has none left */
	if ((size_t)received == size && (header.msg_flags & MSG_TRUNC) == 0)
		return 1;
	llr_handover_close_fds(fds, fd_count);
	return -EPROTO;
}

static int wait_readable(int socket, uint64_t deadline_ns)
{
	uint64_t now_ns = llr_clock_gettime_ns();
	struct pollfd waiting = {.fd = socket, .events = POLLIN};
	uint64_t left_ms;

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	left_ms = llr_min_u64((deadline_ns - now_ns + 999999) / 1000000, 60000);
	if (poll(&waiting, 1, (int)left_ms) < 0 && errno != EINTR)
		return -errno;
	return 0; /* the caller looks, and comes back */
}

/* A connected socket, or a negative errno code. */
static int connect_socket(const char *path, uint64_t deadline_ns)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int code = 0;

	if (fd < 0)
		return -errno;
	LLR_ASSERT(strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		static const struct timespec pause = {.tv_nsec = 1000000};

		code = -errno;
		if (code != -EAGAIN && code != -EINTR)
			break;
		/* Its queue is full: there is no event to wait for. */
		code = -ETIMEDOUT;
		if (llr_clock_gettime_ns() >= deadline_ns)
			break;
		(void)nanosleep(&pause, NULL);
		code = 0;
	}
	if (code == 0)
		return fd;
	(void)close(fd);
	return code;
}

static int receive_answer(struct llr_handover *handover, uint64_t deadline_ns)
{
	for (;;) { /* until an answer or the deadline */
		int code = llr_handover_receive(handover->connection, &handover->answer,
						sizeof(handover->answer), handover->fds,
						LLR_HANDOVER_FDS);

		if (code == 1)
			return 0;
		if (code == 0)
			return -ECONNREFUSED;
		if (code != -EAGAIN)
			return code;
		code = wait_readable(handover->connection, deadline_ns);
		if (code != 0)
			return code;
	}
}

/* Whether the answer is one that a lane can be made from. */
static int check_answer(struct llr_handover *handover, struct llrph_error *error)
{
	struct llr_handover_answer *answer = &handover->answer;
	size_t file_size;

	if (answer->magic != LLR_HANDOVER_MAGIC || answer->version != LLR_HANDOVER_VERSION)
		return llr_error_set(error, -EPROTO,
				     "the server's shared memory has another version: use the same "
				     "release on both sides");
	answer->text[sizeof(answer->text) - 1] = '\0';
	if (answer->code < 0)
		return llr_error_set(error, answer->code, "%s", answer->text);
	file_size = llr_lane_file_size(&answer->shape);
	if (handover->fds[LLR_HANDOVER_LAST] < 0)
		return llr_error_set(error, -EMFILE,
				     "no descriptors left for a lane: raise the limit (ulimit -n)");
	if (answer->code != 0 || answer->start % LLR_LANE_UNIT != 0 ||
	    !llr_lane_shape_is_good(&answer->shape) ||
	    !llr_lane_is_sealed(handover->fds[LLR_HANDOVER_REQUEST], file_size) ||
	    !llr_lane_is_sealed(handover->fds[LLR_HANDOVER_REPLY], file_size))
		return llr_error_set(error, -EPROTO, "the server handed over a broken lane");
	return 0;
}

static int explain(struct llrph_error *error, int code, const char *name)
{
	if (code == -ENOENT || code == -ECONNREFUSED)
		return llr_error_set(error, -ECONNREFUSED,
				     "nobody serves shm:%s: start the server, or check "
				     "LLRPH_RUNTIME_DIR",
				     name);
	if (code == -EACCES || code == -EPERM)
		return llr_error_set(error, -EACCES,
				     "the mode of shm:%s's socket keeps this user out: start the "
				     "server with a wider mode",
				     name);
	if (code == -ETIMEDOUT)
		return llr_error_set(error, code, "the server of shm:%s does not answer", name);
	return llr_error_set(error, code, "can't get a lane of shm:%s: %s", name, strerror(-code));
}

int llr_handover_connect(struct llr_handover *handover, const char *name,
			 const struct llr_handover_hello *hello, uint64_t deadline_ns,
			 struct llrph_error *error)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int code = llr_runtime_path(path, sizeof(path), name, ".sock", error);

	if (code != 0)
		return code;
	handover->connection = connect_socket(path, deadline_ns);
	if (handover->connection < 0)
		return explain(error, handover->connection, name);
	for (unsigned int i = 0; i < LLR_HANDOVER_FDS; i++)
		handover->fds[i] = -1;
	code = llr_handover_send(handover->connection, hello, sizeof(*hello), NULL, 0);
	if (code == 0)
		code = receive_answer(handover, deadline_ns);
	if (code != 0)
		explain(error, code == -EPIPE || code == -ECONNRESET ? -ECONNREFUSED : code, name);
	else
		code = check_answer(handover, error);
	if (code == 0)
		return 0;
	llr_handover_close_fds(handover->fds, LLR_HANDOVER_FDS);
	llr_handover_close_fds(&handover->connection, 1);
	return code == -EPIPE || code == -ECONNRESET ? -ECONNREFUSED : code;
}
