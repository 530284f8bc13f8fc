/* SPDX-License-Identifier: MIT */
/*
 * The listening socket of a host: made under a name in the runtime folder, or taken from systemd.
 *
 * Nothing but the socket itself marks a name as taken, so that a server that was killed leaves one
 * stale file and no lock. Whether it is stale is asked by connecting to it; that question and the
 * rename that follows are one step under a lock on the folder, which dies with its process.
 *
 * Thread: set-up's.
 */
#include "transport/host_table.h"

#include "base/log.h"
#include "base/runtime.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG      1024
#define LOCK_TRIES   1000 /* of 1 ms: others hold the lock for as long as a connect takes */
#define MODE_DEFAULT 0600U

static int set_address(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, strlen(path) + 1);
	return 0;
}

/* Locks the folder that path lies in. A descriptor whose close unlocks, or a negative code. */
static int lock_folder(const char *path)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;

	memcpy(folder, path, strlen(path) + 1);
	fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		(void)nanosleep(&pause, NULL);
	}
	(void)close(fd);
	return -EBUSY;
}

/* True if a process listens there: it answers, or is too busy to. */
static bool is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool alive;

	if (fd < 0)
		return true; /* not known: then better leave it */
	alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		(errno != ENOENT && errno != ECONNREFUSED);
	(void)close(fd);
	return alive;
}

/* Binds beside the name first, so that it never shows a socket with another mode or no listener. */
static int bind_and_rename(int fd, const char *path, uint32_t mode)
{
	struct sockaddr_un address;
	char beside[sizeof(address.sun_path) + 1];
	int code;

	(void)snprintf(beside, sizeof(beside), "%s~", path);
	code = set_address(&address, beside);
	if (code != 0)
		return code;
	(void)unlink(beside); /* of one that was killed right here */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	if (chmod(beside, mode) == 0 && listen(fd, BACKLOG) == 0 && rename(beside, path) == 0)
		return 0;
	code = -errno;
	(void)unlink(beside);
	return code;
}

static int take_inherited(struct llr_lane_host *host, int fd, struct llrph_error *error)
{
	int type = 0;
	int listens = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
		return llr_error_set(error, -EINVAL,
				     "descriptor %d is no listening SOCK_SEQPACKET socket: use "
				     "ListenSequentialPacket= in the socket unit",
				     fd);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return llr_error_set(error, -errno, "descriptor %d: %s", fd, strerror(errno));
	host->listener = fd;
	return 0;
}

int llr_host_listen(struct llr_lane_host *host, const struct llr_lane_host_setup *setup,
		    struct llrph_error *error)
{
	uint32_t mode = setup->mode == 0 ? MODE_DEFAULT : setup->mode;
	char path[sizeof(host->path)];
	struct sockaddr_un address;
	int folder;
	int code;

	if (setup->inherited_fd >= 0)
		return take_inherited(host, setup->inherited_fd, error);
	/* One shorter than there is room for: the name beside it has one more. */
	code = llr_runtime_path(path, sizeof(path) - 1, setup->name, ".sock", error);
	if (code != 0)
		return code;
	folder = lock_folder(path);
	if (folder < 0)
		return llr_error_set(error, folder, "can't lock the runtime folder of %s: %s", path,
				     strerror(-folder));
	code = set_address(&address, path);
	LLR_ASSERT(code == 0);
	host->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (host->listener < 0)
		code = -errno;
	else if (is_alive(&address))
		code = -EEXIST;
	else
		code = bind_and_rename(host->listener, path, mode);
	(void)close(folder);
	if (code == 0)
		memcpy(host->path, path, strlen(path) + 1);
	else if (code == -EEXIST)
		llr_error_set(error, code,
			      "a living server has the name '%s': stop it, or choose another",
			      setup->name);
	else
		llr_error_set(error, code, "can't listen on %s: %s", path, strerror(-code));
	return code; /* host_close closes the listener */
}
