/* SPDX-License-Identifier: MIT */
/*
 * See address.h. Text to addresses and back; no state.
 *
 * Thread: any. Owns nothing. Everything parsed here comes from a user: no assertion on it.
 */
#include "transport/address.h"

#include "base/assert.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_SIZE 256U

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool llr_address_equal(const struct llr_address *a, const struct llr_address *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void llr_address_from_sockaddr(struct llr_address *address, const struct sockaddr_storage *from)
{
	memset(address, 0, sizeof(*address));
	if (from->ss_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, from, sizeof(in));
		memcpy(address->ip, mapped_prefix, sizeof(mapped_prefix));
		memcpy(address->ip + 12, &in.sin_addr, 4);
		address->port = ntohs(in.sin_port);
		address->family = AF_INET;
	} else if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, from, sizeof(in6));
		memcpy(address->ip, &in6.sin6_addr, 16);
		address->port = ntohs(in6.sin6_port);
		address->family = AF_INET6;
		if (memcmp(address->ip, mapped_prefix, sizeof(mapped_prefix)) == 0)
			address->family = AF_INET;
		else
			address->scope = in6.sin6_scope_id;
	}
}

socklen_t llr_address_to_sockaddr(struct sockaddr_storage *into, const struct llr_address *address,
				  sa_family_t family)
{
	LLR_ASSERT(family == AF_INET || family == AF_INET6);
	LLR_ASSERT(address->family == AF_INET || address->family == AF_INET6);
	if (family == AF_INET) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(address->port)};

		if (address->family != AF_INET)
			return 0;
		memcpy(&in.sin_addr, address->ip + 12, 4);
		memcpy(into, &in, sizeof(in));
		return sizeof(in);
	}

	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(address->port),
				   .sin6_scope_id = address->scope};

	memcpy(&in6.sin6_addr, address->ip, 16);
	memcpy(into, &in6, sizeof(in6));
	return sizeof(in6);
}

static const char *scheme_text(enum llr_scheme scheme)
{
	return scheme == LLR_SCHEME_UDP ? "udp" : scheme == LLR_SCHEME_TCP ? "tcp" : "shm";
}

void llr_uri_format(char *text, size_t size, enum llr_scheme scheme,
		    const struct llr_address *address)
{
	char host[INET6_ADDRSTRLEN] = "";
	char zone[IF_NAMESIZE + 1] = "";
	char name[IF_NAMESIZE];
	bool is_ipv4 = address->family == AF_INET;

	LLR_ASSERT(size >= LLR_URI_TEXT_SIZE);
	LLR_ASSERT(scheme != LLR_SCHEME_SHM);
	(void)inet_ntop(is_ipv4 ? AF_INET : AF_INET6, address->ip + (is_ipv4 ? 12 : 0), host,
			sizeof(host));
	if (address->scope != 0) {
		if (if_indextoname(address->scope, name) != NULL)
			(void)snprintf(zone, sizeof(zone), "%%%s", name);
		else
			(void)snprintf(zone, sizeof(zone), "%%%u", address->scope);
	}
	(void)snprintf(text, size, "%s:%s%s%s%s:%u", scheme_text(scheme), is_ipv4 ? "" : "[", host,
		       zone, is_ipv4 ? "" : "]", (unsigned int)address->port);
}

int llr_uri_of_socket(struct llr_uri *uri, enum llr_scheme scheme, int fd)
{
	struct sockaddr_storage storage = {0};
	socklen_t size = sizeof(storage);

	LLR_ASSERT(scheme != LLR_SCHEME_SHM);
	if (getsockname(fd, (struct sockaddr *)&storage, &size) != 0)
		return -errno;
	if (storage.ss_family != AF_INET && storage.ss_family != AF_INET6)
		return -EAFNOSUPPORT;
	memset(uri, 0, sizeof(*uri));
	uri->scheme = scheme;
	llr_address_from_sockaddr(&uri->address, &storage);
	llr_uri_format(uri->text, sizeof(uri->text), scheme, &uri->address);
	return 0;
}

static bool is_shm_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static int parse_shm(struct llr_uri *uri, const char *name, struct llrph_error *error)
{
	size_t size = strlen(name);
	bool good = size >= 1 && size <= LLR_SHM_NAME_MAX && name[0] != '.';

	for (size_t i = 0; good && i < size; i++)
		good = is_shm_char(name[i]);
	if (!good)
		return llr_error_set(error, -EINVAL,
				     "shm:%.60s: not a name: use 1 to %u of A-Z a-z 0-9 . _ - and "
				     "no leading dot, for example shm:demo",
				     name, LLR_SHM_NAME_MAX);

	memset(uri, 0, sizeof(*uri));
	uri->scheme = LLR_SCHEME_SHM;
	memcpy(uri->name, name, size);
	(void)snprintf(uri->text, sizeof(uri->text), "shm:%s", uri->name);
	return 0;
}

/* Digits alone, at most maximum; -1 otherwise. */
static long parse_number(const char *text, long maximum)
{
	long value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > maximum)
			return -1;
	}
	return value;
}

/* Splits "HOST:PORT" or "[HOST]:PORT"; host has HOST_SIZE bytes. NULL: fine, else what is wrong. */
static const char *split_host_port(const char *rest, char *host, long *port)
{
	const char *colon = strrchr(rest, ':');
	const char *start = rest;
	const char *end = colon;

	if (colon == NULL)
		return "no port";
	if (*rest == '[') {
		if (colon == rest + 1 || colon[-1] != ']')
			return "no \"]:PORT\" after \"[\"";
		start = rest + 1;
		end = colon - 1;
	} else if (memchr(rest, ':', (size_t)(colon - rest)) != NULL) {
		return "an IPv6 address goes in brackets";
	}
	if (end == start)
		return "no host";
	if ((size_t)(end - start) >= HOST_SIZE)
		return "the host is too long";
	*port = parse_number(colon + 1, 65535);
	if (*port < 0)
		return "the port is not a number from 0 to 65535";
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	return NULL;
}

static int resolve(struct llr_uri *uri, const char *text, const char *host, long port,
		   struct llrph_error *error)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC};
	struct addrinfo *found = NULL;
	struct sockaddr_storage storage = {0};
	int code;

	hints.ai_socktype = uri->scheme == LLR_SCHEME_UDP ? SOCK_DGRAM : SOCK_STREAM;
	code = getaddrinfo(host, NULL, &hints, &found);
	if (code != 0)
		return llr_error_set(error, -EINVAL,
				     "%.120s: cannot resolve the host: %s; check its spelling, or "
				     "give its address",
				     text, gai_strerror(code));

	memcpy(&storage, found->ai_addr,
	       found->ai_addrlen < sizeof(storage) ? found->ai_addrlen : sizeof(storage));
	freeaddrinfo(found);
	llr_address_from_sockaddr(&uri->address, &storage);
	uri->address.port = (uint16_t)port;
	llr_uri_format(uri->text, sizeof(uri->text), uri->scheme, &uri->address);
	return 0;
}

int llr_uri_parse(struct llr_uri *uri, const char *text, struct llrph_error *error)
{
	char host[HOST_SIZE];
	long port = 0;
	struct llr_uri parsed = {0};
	const char *wrong;
	int code;

	LLR_ASSERT(uri != NULL);
	LLR_ASSERT(text != NULL);
	if (strncmp(text, "shm:", 4) == 0)
		return parse_shm(uri, text + 4, error);
	if (strncmp(text, "udp:", 4) == 0)
		parsed.scheme = LLR_SCHEME_UDP;
	else if (strncmp(text, "tcp:", 4) == 0)
		parsed.scheme = LLR_SCHEME_TCP;
	else
		return llr_error_set(error, -EINVAL,
				     "%.80s: not an endpoint: use shm:NAME, udp:HOST:PORT or "
				     "tcp:HOST:PORT",
				     text);

	wrong = split_host_port(text + 4, host, &port);
	if (wrong != NULL)
		return llr_error_set(
			error, -EINVAL,
			"%.80s: %s: use %.3s:HOST:PORT, for example %.3s:127.0.0.1:9000 "
			"or %.3s:[::1]:9000",
			text, wrong, text, text, text);
	code = resolve(&parsed, text, host, port, error);
	if (code == 0)
		*uri = parsed;
	return code;
}

/* Keeps the first bits of ip; true if the others were 0 already. */
static bool mask_ip(uint8_t *ip, unsigned int bits)
{
	bool clean = true;

	for (unsigned int i = 0; i < 16; i++) {
		unsigned int kept = bits >= 8 * (i + 1) ? 8 : bits <= 8 * i ? 0 : bits - 8 * i;
		uint8_t masked = (uint8_t)(ip[i] & (uint8_t)(0xff00U >> kept));

		clean = clean && masked == ip[i];
		ip[i] = masked;
	}
	return clean;
}

/* One network of size bytes; NULL: fine, else what is wrong with it. */
static const char *parse_network(struct llr_allow_entry *entry, const char *text, size_t size)
{
	char network[INET6_ADDRSTRLEN + 8];
	char *slash;
	bool is_ipv4;
	long bits;

	if (size == 0 || size >= sizeof(network))
		return "not a network";
	memcpy(network, text, size);
	network[size] = '\0';
	slash = strchr(network, '/');
	if (slash != NULL)
		*slash = '\0';

	memset(entry, 0, sizeof(*entry));
	is_ipv4 = inet_pton(AF_INET, network, entry->ip + 12) == 1;
	if (is_ipv4)
		memcpy(entry->ip, mapped_prefix, sizeof(mapped_prefix));
	else if (inet_pton(AF_INET6, network, entry->ip) != 1)
		return "not a network";

	bits = slash == NULL ? (is_ipv4 ? 32 : 128) : parse_number(slash + 1, is_ipv4 ? 32 : 128);
	if (bits < 0)
		return is_ipv4 ? "bits are not a number from 0 to 32"
			       : "bits are not a number from 0 to 128";
	entry->bits = (uint8_t)(bits + (is_ipv4 ? 96 : 0));
	if (!mask_ip(entry->ip, entry->bits))
		return "bits beyond the prefix are set";
	return NULL;
}

int llr_allow_parse(struct llr_allow *allow, const char *list, struct llrph_error *error)
{
	struct llr_allow parsed = {.count = 0};

	LLR_ASSERT(allow != NULL);
	while (list != NULL && *list != '\0') {
		size_t size = strcspn(list, ",");
		const char *wrong;

		if (parsed.count == LLR_ALLOW_COUNT_MAX)
			return llr_error_set(error, -EINVAL,
					     "allow: more than %u networks: join neighbours, or "
					     "filter in the firewall",
					     LLR_ALLOW_COUNT_MAX);
		wrong = parse_network(&parsed.entries[parsed.count], list, size);
		if (wrong != NULL)
			return llr_error_set(error, -EINVAL,
					     "allow: %.*s: %s: use ADDRESS or NETWORK/BITS with "
					     "commas between, for example 10.0.0.0/8,::1",
					     (int)(size < 60 ? size : 60), list, wrong);
		parsed.count++;
		list += size;
		if (*list == ',' && list[1] == '\0')
			return llr_error_set(error, -EINVAL,
					     "allow: a network is missing after the last comma");
		list += *list == ',';
	}
	*allow = parsed;
	return 0;
}

static bool entry_match(const struct llr_allow_entry *entry, const struct llr_address *address)
{
	unsigned int whole = entry->bits / 8U;
	unsigned int rest = entry->bits % 8U;
	uint8_t mask = (uint8_t)(0xff00U >> rest);

	/* ::/0 and its like must not let IPv4 in by way of its mapped form. */
	if (entry->bits < 96 && address->family == AF_INET)
		return false;
	if (memcmp(entry->ip, address->ip, whole) != 0)
		return false;
	return rest == 0 || (address->ip[whole] & mask) == entry->ip[whole];
}

bool llr_allow_match(const struct llr_allow *allow, const struct llr_address *address)
{
	if (allow == NULL || allow->count == 0)
		return true;
	LLR_ASSERT(allow->count <= LLR_ALLOW_COUNT_MAX);
	for (unsigned int i = 0; i < allow->count; i++) {
		if (entry_match(&allow->entries[i], address))
			return true;
	}
	return false;
}
