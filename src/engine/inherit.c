/* SPDX-License-Identifier: MIT */
/*
 * systemd's socket activation, read by hand: the protocol is documented as stable
 * (sd_listen_fds(3)), and two numbers and a loop are no reason to link a library.
 *
 * Thread: set-up's. Owns the descriptors until they are taken.
 */
#include "engine/inherit.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_SUFFIX ".sock"

/* A number of digits alone; false: unset or anything else. */
static bool read_variable(const char *name, unsigned long *value)
{
	const char *text = getenv(name);
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoul(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* "/run/llrph/NAME.sock" → shm:NAME. */
static int name_unix(struct llr_uri *uri, int fd)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);
	char text[sizeof(address.sun_path) + sizeof("shm:")];
	char *name;
	size_t name_size;

	memset(&address, 0, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
		return -errno;
	if (address.sun_path[0] != '/')
		return -EINVAL;
	address.sun_path[sizeof(address.sun_path) - 1] = '\0';
	name = strrchr(address.sun_path, '/') + 1;
	name_size = strlen(name);
	if (name_size > sizeof(SOCKET_SUFFIX) - 1 &&
	    strcmp(name + name_size - (sizeof(SOCKET_SUFFIX) - 1), SOCKET_SUFFIX) == 0)
		name[name_size - (sizeof(SOCKET_SUFFIX) - 1)] = '\0';
	(void)snprintf(text, sizeof(text), "shm:%s", name);
	return llr_uri_parse(uri, text, NULL);
}

/* Says what the socket serves; -EINVAL: nothing that we speak. */
static int identify(struct llr_uri *uri, int fd)
{
	int domain = socket_option(fd, SO_DOMAIN);
	int type = socket_option(fd, SO_TYPE);
	bool listening = socket_option(fd, SO_ACCEPTCONN) == 1;
	bool internet = domain == AF_INET || domain == AF_INET6;

	if (internet && type == SOCK_DGRAM)
		return llr_uri_of_socket(uri, LLR_SCHEME_UDP, fd);
	if (internet && type == SOCK_STREAM && listening)
		return llr_uri_of_socket(uri, LLR_SCHEME_TCP, fd);
	if (domain == AF_UNIX && type == SOCK_SEQPACKET && listening)
		return name_unix(uri, fd);
	return -EINVAL;
}

static int take(struct llr_inherited *inherited, int fd, struct llrph_error *error)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return llr_error_set(error, -EINVAL,
				     "descriptor %d, which LISTEN_FDS promises, is not open: start "
				     "llrph from its socket unit",
				     fd);
	if (identify(&inherited->uri, fd) != 0)
		return llr_error_set(error, -EINVAL,
				     "the socket handed down as descriptor %d is none of ours: "
				     "use ListenDatagram= (udp) or ListenStream= (tcp) with "
				     "HOST:PORT, or ListenSequentialPacket= with /PATH/NAME.sock",
				     fd);
	inherited->fd = fd;
	return 0;
}

int llr_inherit(struct llr_inheritance *inheritance, struct llrph_error *error)
{
	unsigned long pid;
	unsigned long count;
	bool ours = read_variable("LISTEN_PID", &pid) && pid == (unsigned long)getpid();
	bool sane = read_variable("LISTEN_FDS", &count);
	int code;

	memset(inheritance, 0, sizeof(*inheritance));
	if (!ours)
		return 0;
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (!sane || count > LLR_LISTENERS_MAX)
		return llr_error_set(error, -EINVAL,
				     "LISTEN_FDS is no number from 0 to %u: hand fewer sockets "
				     "down",
				     LLR_LISTENERS_MAX);
	for (unsigned int i = 0; i < count; i++) {
		code = take(&inheritance->sockets[i], LLR_INHERIT_FIRST_FD + (int)i, error);
		if (code != 0) {
			llr_inherit_close(inheritance);
			return code;
		}
		inheritance->count++;
	}
	return 0;
}

struct llr_inherited *llr_inherit_find(struct llr_inheritance *inheritance,
				       const struct llr_uri *uri)
{
	LLR_ASSERT(inheritance->count <= LLR_LISTENERS_MAX);
	for (unsigned int i = 0; i < inheritance->count; i++) {
		struct llr_inherited *inherited = &inheritance->sockets[i];

		if (inherited->fd >= 0 && strcmp(inherited->uri.text, uri->text) == 0)
			return inherited;
	}
	return NULL;
}

void llr_inherit_close(struct llr_inheritance *inheritance)
{
	for (unsigned int i = 0; i < inheritance->count; i++) {
		if (inheritance->sockets[i].fd >= 0)
			(void)close(inheritance->sockets[i].fd);
		inheritance->sockets[i].fd = -1;
	}
}
