/* SPDX-License-Identifier: MIT */
/*
 * URIs, addresses and lists of networks: what is taken, what is refused and with which words.
 */
#include "transport/address.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void parse_good(const char *text, const char *canonical)
{
	struct llrph_error error = {.text = ""};
	struct llr_uri uri;

	assert_int_equal(llr_uri_parse(&uri, text, &error), 0);
	assert_string_equal(uri.text, canonical);
	assert_string_equal(error.text, "");
}

static void test_uri_good(void **state)
{
	struct llr_uri uri;

	(void)state;
	parse_good("udp:127.0.0.1:9000", "udp:127.0.0.1:9000");
	parse_good("tcp:0.0.0.0:0", "tcp:0.0.0.0:0");
	parse_good("tcp:[::1]:65535", "tcp:[::1]:65535");
	parse_good("udp:[0:0::1]:7", "udp:[::1]:7");
	parse_good("udp:[::ffff:10.1.2.3]:7", "udp:10.1.2.3:7");
	parse_good("shm:a.b-c_D9", "shm:a.b-c_D9");
	parse_good("shm:123456789012345678901234567890123456789012345678",
		   "shm:123456789012345678901234567890123456789012345678");
	assert_int_equal(llr_uri_parse(&uri, "tcp:localhost:80", NULL), 0);
	assert_int_equal(uri.address.port, 80);
	assert_int_equal(llr_uri_parse(&uri, "tcp:1.2.3.4:80", NULL), 0);
	assert_int_equal(uri.address.family, AF_INET);
	assert_memory_equal(uri.address.ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04", 16);
	assert_int_equal(uri.scheme, LLR_SCHEME_TCP);
}

static void test_uri_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"9000",
		"http://x:1",
		"udp",
		"udp:",
		"udp:127.0.0.1",
		"udp::9000",
		"udp:127.0.0.1:",
		"udp:127.0.0.1:65536",
		"udp:127.0.0.1:-1",
		"udp:127.0.0.1:+1",
		"udp:127.0.0.1: 1",
		"udp:127.0.0.1:9x",
		"udp:::1:9000",
		"udp:[::1:9000",
		"udp:[::1]9000",
		"udp:[]:9000",
		"udp:[:9000",
		"tcp:no.such.host.invalid:9000",
		"tcp:127.0.0.1:99999999999999999999999",
		"shm:",
		"shm:.hidden",
		"shm:..",
		"shm:a/b",
		"shm:a b",
		"shm:1234567890123456789012345678901234567890123456789",
		"SHM:x",
	};
	char host[600];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct llrph_error error = {.text = ""};
		struct llr_uri uri;
		struct llr_uri before;

		memset(&uri, 0x5a, sizeof(uri));
		before = uri;
		assert_int_equal(llr_uri_parse(&uri, bad[i], &error), -EINVAL);
		assert_true(strlen(error.text) > 10);
		assert_null(strchr(error.text, '\n'));
		assert_memory_equal(&uri, &before, sizeof(uri));
	}
	memset(host, 'a', sizeof(host));
	memcpy(host, "tcp:", 4);
	memcpy(host + sizeof(host) - 4, ":80", 4);
	struct llr_uri uri;
	assert_int_equal(llr_uri_parse(&uri, host, NULL), -EINVAL);
}

static void test_uri_of_socket(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct llr_uri uri;

	(void)state;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(llr_uri_of_socket(&uri, LLR_SCHEME_UDP, fd), 0);
	assert_int_not_equal(uri.address.port, 0);
	assert_int_equal(strncmp(uri.text, "udp:127.0.0.1:", 14), 0);
	close(fd);
	assert_int_equal(llr_uri_of_socket(&uri, LLR_SCHEME_UDP, fd), -EBADF);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(llr_uri_of_socket(&uri, LLR_SCHEME_UDP, fd), -EAFNOSUPPORT);
	close(fd);
}

static struct llr_address address_of(const char *host)
{
	char text[128];
	struct llr_uri uri;

	(void)snprintf(text, sizeof(text), strchr(host, ':') ? "udp:[%s]:1" : "udp:%s:1", host);
	assert_int_equal(llr_uri_parse(&uri, text, NULL), 0);
	return uri.address;
}

static void test_sockaddr(void **state)
{
	static const char *const hosts[] = {"1.2.3.4", "fe80::7", "::", "0.0.0.0"};
	struct sockaddr_storage storage;

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct llr_address address = address_of(hosts[i]);
		struct llr_address back;

		address.scope = address.family == AF_INET6 ? 3 : 0;
		assert_true(llr_address_to_sockaddr(&storage, &address, AF_INET6) > 0);
		llr_address_from_sockaddr(&back, &storage);
		assert_true(llr_address_equal(&address, &back));
		if (address.family == AF_INET6) {
			assert_int_equal(llr_address_to_sockaddr(&storage, &address, AF_INET), 0);
			continue;
		}
		assert_true(llr_address_to_sockaddr(&storage, &address, AF_INET) > 0);
		llr_address_from_sockaddr(&back, &storage);
		assert_true(llr_address_equal(&address, &back));
		back.port++;
		assert_false(llr_address_equal(&address, &back));
	}
}

static bool allows(const char *list, const char *host)
{
	struct llr_allow allow;
	struct llr_address address = address_of(host);

	assert_int_equal(llr_allow_parse(&allow, list, NULL), 0);
	return llr_allow_match(&allow, &address);
}

static void test_allow(void **state)
{
	struct llr_address address = address_of("9.9.9.9");

	(void)state;
	assert_true(llr_allow_match(NULL, &address));
	assert_true(allows("", "1.2.3.4"));
	assert_true(allows(NULL, "::1"));
	assert_true(allows("10.0.0.0/8", "10.255.1.2"));
	assert_false(allows("10.0.0.0/8", "11.0.0.0"));
	assert_true(allows("10.128.0.0/9", "10.128.0.0"));
	assert_false(allows("10.128.0.0/9", "10.127.255.255"));
	assert_true(allows("1.2.3.4", "1.2.3.4"));
	assert_false(allows("1.2.3.4", "1.2.3.5"));
	assert_true(allows("1.2.3.4", "::ffff:1.2.3.4"));
	assert_true(allows("::1/128,10.0.0.0/8", "10.1.1.1"));
	assert_true(allows("::1/128,10.0.0.0/8", "::1"));
	assert_false(allows("::1/128,10.0.0.0/8", "::2"));
	assert_true(allows("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(allows("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(allows("0.0.0.0/0", "8.8.8.8"));
	assert_false(allows("0.0.0.0/0", "::1"));
	assert_true(allows("::/0", "::1"));
	assert_false(allows("::/0", "8.8.8.8"));
}

static void test_allow_bad(void **state)
{
	static const char *const bad[] = {
		",",
		"10.0.0.0/8,",
		",10.0.0.0/8",
		"10.0.0.0/33",
		"10.0.0.0/",
		"10.0.0.1/8",
		"::1/129",
		"::1/-1",
		"::1/64",
		"host",
		"10.0.0",
		"10.0.0.0/8 ",
		"1.2.3.4/32/1",
		"::1,,::1",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc/128",
	};
	char many[2048] = "";
	struct llr_allow allow = {.count = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct llrph_error error = {.text = ""};

		assert_int_equal(llr_allow_parse(&allow, bad[i], &error), -EINVAL);
		assert_true(strlen(error.text) > 10);
		assert_int_equal(allow.count, 0);
	}
	for (unsigned int i = 0; i < LLR_ALLOW_COUNT_MAX; i++)
		(void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s10.0.0.%u",
			       i == 0 ? "" : ",", i);
	assert_int_equal(llr_allow_parse(&allow, many, NULL), 0);
	assert_int_equal(allow.count, LLR_ALLOW_COUNT_MAX);
	strcat(many, ",10.1.0.0");
	assert_int_equal(llr_allow_parse(&allow, many, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uri_good),      cmocka_unit_test(test_uri_bad),
		cmocka_unit_test(test_uri_of_socket), cmocka_unit_test(test_sockaddr),
		cmocka_unit_test(test_allow),         cmocka_unit_test(test_allow_bad),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
