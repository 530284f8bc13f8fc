/* SPDX-License-Identifier: MIT */
/*
 * See socket.h. Set-up alone; owns nothing but the descriptor that it is about to hand out.
 */
#include "transport/socket.h"

#include "base/assert.h"
#include "base/log.h"

#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

struct remedy {
	int code;
	const char *text;
};

static const struct remedy remedies[] = {
	{EADDRINUSE,
	 "address in use: another process listens there; choose another port or stop it"},
	{EACCES, "not permitted: ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"},
	{EPERM, "not permitted: a firewall or sandbox forbids it; allow it or choose another port"},
	{EADDRNOTAVAIL, "no such address on this host: give one that `ip address` lists"},
	{EAFNOSUPPORT, "this kernel has no such address family: enable IPv6 or use IPv4"},
	{EMFILE, "out of descriptors: raise the limit (ulimit -n) or open fewer endpoints"},
	{ENFILE, "the system is out of descriptors: raise fs.file-max or close some elsewhere"},
	{ENOBUFS, "the kernel is out of memory for sockets: free some, then try again"},
	{ENOMEM, "out of memory: lower the sizes or raise the limit"},
	{ENETUNREACH, "no route to that network: check the address and `ip route`"},
	{EHOSTUNREACH, "no route to that host: check the address and `ip route`"},
	{ECONNREFUSED, "nobody listens there: start the server or check the port"},
	{ETIMEDOUT, "no answer in time: check the address and the firewalls on the way"},
};

int llr_socket_explain(struct llrph_error *error, const char *uri, int code)
{
	LLR_ASSERT(code < 0);
	for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++) {
		if (remedies[i].code == -code)
			return llr_error_set(error, code, "%s: %s", uri, remedies[i].text);
	}
	return llr_error_set(error, code, "%s: %s", uri, strerror(-code));
}

static int open_socket(const struct llr_uri *uri)
{
	int type = uri->scheme == LLR_SCHEME_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(uri->address.family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* 0 or -errno. */
static int bind_socket(int fd, const struct llr_uri *uri, bool reuse_port)
{
	struct sockaddr_storage storage;
	socklen_t size = llr_address_to_sockaddr(&storage, &uri->address, uri->address.family);
	int on = 1;

	LLR_ASSERT(size > 0);
	if (uri->address.family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
		return -errno;
	/* A listener that comes back must not wait for its predecessor's TIME_WAIT. */
	if (uri->scheme == LLR_SCHEME_TCP &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		return -errno;
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		return -errno;
	return bind(fd, (const struct sockaddr *)&storage, size) == 0 ? 0 : -errno;
}

int llr_socket_bind(const struct llr_uri *uri, bool reuse_port, int *fd, struct llrph_error *error)
{
	int opened;
	int code;

	LLR_ASSERT(uri->scheme != LLR_SCHEME_SHM);
	LLR_ASSERT(fd != NULL);
	opened = open_socket(uri);
	if (opened < 0)
		return llr_socket_explain(error, uri->text, opened);
	code = bind_socket(opened, uri, reuse_port);
	if (code != 0) {
		(void)close(opened);
		return llr_socket_explain(error, uri->text, code);
	}
	*fd = opened;
	return 0;
}

int llr_socket_open(const struct llr_uri *uri, int *fd, struct llrph_error *error)
{
	int opened;

	LLR_ASSERT(uri->scheme != LLR_SCHEME_SHM);
	LLR_ASSERT(fd != NULL);
	if (uri->address.port == 0)
		return llr_error_set(error, -EINVAL,
				     "%s: port 0: give the port that the server printed",
				     uri->text);
	opened = open_socket(uri);
	if (opened < 0)
		return llr_socket_explain(error, uri->text, opened);
	*fd = opened;
	return 0;
}

int llr_socket_family(int fd, int type)
{
	int value = 0;
	socklen_t size = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) != 0 || value != type)
		return -EINVAL;
	size = sizeof(value);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) != 0)
		return -EINVAL;
	return value == AF_INET || value == AF_INET6 ? value : -EINVAL;
}
