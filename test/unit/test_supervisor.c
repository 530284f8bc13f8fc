/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor decides before and between workers: which services may be served, which
 * sockets it was handed, which ports are its own, how soon a dead worker is replaced. The processes
 * themselves are tested in test/integration/test_serve*.py.
 */
#include "engine/endpoints.h"
#include "engine/inherit.h"
#include "engine/plugin.h"
#include "engine/restart.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static struct llrph_error error;

static void assert_said(const char *part)
{
	if (strstr(error.text, part) == NULL)
		fail_msg("'%s' is not in: %s", part, error.text);
	assert_null(strchr(error.text, '\n'));
}

/* -- restart -- */

static void test_restart_at_once(void **state)
{
	struct llr_restart restart = {.count = 0};

	(void)state;
	/* Slowly enough, for ever: a death each 250 ms is 4 a second. */
	for (uint64_t i = 1; i < 100; i++)
		assert_int_equal(llr_restart_delay(&restart, (i - 1) * 250 * MS, i * 250 * MS), 0);
}

static void test_restart_pauses(void **state)
{
	struct llr_restart restart = {.count = 0};
	uint64_t now = 5000 * MS;

	(void)state;
	for (unsigned int i = 0; i < 5; i++, now += MS)
		assert_int_equal(llr_restart_delay(&restart, now - MS, now), 0);
	assert_false(restart.paused);
	assert_int_equal(llr_restart_delay(&restart, now - MS, now), LLR_RESTART_PAUSE_NS);
	assert_true(restart.paused);
	/* A successor that dies at once waits again, though deaths are a second apart now. */
	now += 1001 * MS;
	assert_int_equal(llr_restart_delay(&restart, now - MS, now), LLR_RESTART_PAUSE_NS);
	/* One that lived on is replaced at once. */
	now += 5000 * MS;
	assert_int_equal(llr_restart_delay(&restart, now - 2000 * MS, now), 0);
	assert_false(restart.paused);
}

/* -- plugins -- */

static int handler(struct llrph_call *call, void *state)
{
	(void)call;
	(void)state;
	return LLRPH_STATUS_OK;
}

static int recover(void **service_state, const char *options, struct llrph_error *said)
{
	(void)service_state;
	(void)options;
	(void)said;
	return 0;
}

static struct llrph_method method;
static struct llrph_service service;

static const struct llrph_service *builtin_at(unsigned int index)
{
	return index == 0 ? &service : NULL;
}

static int begin(void **state)
{
	(void)state;
	memset(&error, 0, sizeof(error));
	method = (struct llrph_method){.name = "test.Test/Do", .handler = handler};
	service = (struct llrph_service){.abi = LLRPH_SERVICE_ABI,
					 .size = sizeof(service),
					 .name = "test",
					 .method_count = 1,
					 .methods = &method};
	return 0;
}

static void test_plugin_by_name(void **state)
{
	struct llr_plugin plugin;

	(void)state;
	assert_int_equal(llr_plugin_load(&plugin, "test", builtin_at, &error), 0);
	assert_ptr_equal(plugin.service, &service);
	assert_string_equal(plugin.options, "");
	assert_int_equal(llr_plugin_load(&plugin, "test:a=1:b", builtin_at, &error), 0);
	assert_string_equal(plugin.options, "a=1:b");
	assert_int_equal(llr_plugin_load(&plugin, "tset", builtin_at, &error), -ENOENT);
	assert_said("there is test");
}

static void test_plugin_by_path(void **state)
{
	struct llr_plugin plugin;
	char typed[1024];

	(void)state;
	assert_int_equal(llr_plugin_load(&plugin, "./none.so:x", builtin_at, &error), -ENOENT);
	assert_said("./none.so: No such file");
	assert_int_equal(llr_plugin_load(&plugin, "none.so", builtin_at, &error), -ENOENT);
	assert_int_equal(llr_plugin_load(&plugin, "/etc/passwd", builtin_at, &error), -EINVAL);
	assert_said("can't be loaded");
	assert_int_equal(llr_plugin_load(&plugin, "/etc", builtin_at, &error), -EINVAL);
	memset(typed, 'a', sizeof(typed) - 1);
	typed[sizeof(typed) - 1] = '\0';
	assert_int_equal(llr_plugin_load(&plugin, typed, builtin_at, &error), -EINVAL);
	assert_said("too long");
}

static void refuse_table(const char *said)
{
	struct llr_plugin plugin;

	assert_int_equal(llr_plugin_load(&plugin, "test", builtin_at, &error), -EINVAL);
	assert_said(said);
	(void)begin(NULL);
}

static void test_plugin_tables(void **state)
{
	static const uint16_t statuses[] = {422, 200, 0};

	(void)state;
	service.abi = 2;
	refuse_table("ABI 2");
	service.size = sizeof(service) - 8;
	refuse_table("rebuild");
	service.state_kind = 3;
	refuse_table("state_kind 3");
	service.method_count = 0;
	refuse_table("no methods");
	service.method_count = LLR_METHODS_MAX + 1;
	refuse_table("over 256");
	service.methods = NULL;
	refuse_table("no methods");
	method.name = NULL;
	refuse_table("no name");
	method.name = "test.Test";
	refuse_table("package.Service/Method");
	method.name = "/Do";
	refuse_table("package.Service/Method");
	method.name = "test.Test/";
	refuse_table("package.Service/Method");
	method.handler = NULL;
	refuse_table("no handler");
	method.flags = 0x80;
	refuse_table("0x80");
	method.statuses = statuses;
	refuse_table("status 200");
	service.size += 8; /* a newer one, of the same ABI: what we know is there */
	assert_int_equal(
		llr_plugin_load(&(struct llr_plugin){.service = NULL}, "test", builtin_at, &error),
		0);
}

static void test_plugins_together(void **state)
{
	struct llr_plugin plugins[2] = {{.service = &service}, {.service = &service}};
	struct llrph_service other;

	(void)state;
	assert_int_equal(llr_plugins_check(plugins, 1, 64, &error), 0);
	assert_int_equal(llr_plugins_check(plugins, 2, 1, &error), -EINVAL);
	assert_said("given twice");
	other = service;
	other.name = "other";
	plugins[1].service = &other;
	assert_int_equal(llr_plugins_check(plugins, 2, 64, &error), 0);
	other.state_kind = LLRPH_STATE_SINGLE;
	assert_int_equal(llr_plugins_check(plugins, 2, 1, &error), 0);
	assert_int_equal(llr_plugins_check(plugins, 2, 2, &error), -EINVAL);
	assert_said("other");
	assert_said("--workers 1");
	other.method_count = LLR_METHODS_MAX;
	assert_int_equal(llr_plugins_check(plugins, 2, 1, &error), -EINVAL);
	assert_said("257 methods");
}

static void test_plugins_lose_state(void **state)
{
	struct llr_plugin plugin = {.service = &service};

	(void)state;
	assert_false(llr_plugins_lose_state(&plugin, 1));
	service.state_kind = LLRPH_STATE_PER_WORKER;
	assert_true(llr_plugins_lose_state(&plugin, 1));
	service.recover = recover;
	assert_false(llr_plugins_lose_state(&plugin, 1));
}

/* -- sockets that were handed down; each lands on descriptor 3 or 4, as systemd's do -- */

static void hand_down(int fd, int number)
{
	assert_int_equal(dup2(fd, number), number);
	if (fd != number)
		assert_int_equal(close(fd), 0);
}

static void name_them(const char *pid, const char *count)
{
	char own[16];

	(void)snprintf(own, sizeof(own), "%d", (int)getpid());
	assert_int_equal(setenv("LISTEN_PID", pid == NULL ? own : pid, 1), 0);
	assert_int_equal(setenv("LISTEN_FDS", count, 1), 0);
	assert_int_equal(setenv("LISTEN_FDNAMES", "a:b", 1), 0);
}

static int bound_socket(int type)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void test_inherit_nothing(void **state)
{
	struct llr_inheritance inheritance;

	(void)state;
	assert_int_equal(unsetenv("LISTEN_PID"), 0);
	assert_int_equal(unsetenv("LISTEN_FDS"), 0);
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	assert_int_equal(inheritance.count, 0);
	name_them("1", "1");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	assert_int_equal(inheritance.count, 0);
	assert_non_null(getenv("LISTEN_FDS")); /* not ours to take away */
}

static void test_inherit_nonsense(void **state)
{
	static const char *const counts[] = {"", "x", "-1", "1x", "17", "99999999999999999999"};
	struct llr_inheritance inheritance;

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		name_them(NULL, counts[i]);
		assert_int_equal(llr_inherit(&inheritance, &error), -EINVAL);
		assert_said("LISTEN_FDS");
		assert_null(getenv("LISTEN_FDS"));
	}
	(void)close(3);
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), -EINVAL);
	assert_said("descriptor 3");
	hand_down(open("/dev/null", O_RDONLY), 3);
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), -EINVAL);
	assert_said("ListenDatagram=");
	hand_down(bound_socket(SOCK_STREAM), 3); /* it does not listen */
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), -EINVAL);
}

static void test_inherit_internet(void **state)
{
	struct llr_inheritance inheritance;
	struct llr_inherited *found;
	struct llr_uri uri;

	(void)state;
	hand_down(bound_socket(SOCK_DGRAM), 3);
	hand_down(bound_socket(SOCK_STREAM), 4);
	assert_int_equal(listen(4, 1), 0);
	name_them(NULL, "2");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	assert_int_equal(inheritance.count, 2);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDNAMES"));
	assert_int_equal(inheritance.sockets[0].uri.scheme, LLR_SCHEME_UDP);
	assert_int_equal(inheritance.sockets[1].uri.scheme, LLR_SCHEME_TCP);
	assert_true((fcntl(3, F_GETFD) & FD_CLOEXEC) != 0);
	assert_true((fcntl(4, F_GETFL) & O_NONBLOCK) != 0);

	uri = inheritance.sockets[1].uri;
	found = llr_inherit_find(&inheritance, &uri);
	assert_ptr_equal(found, &inheritance.sockets[1]);
	uri = inheritance.sockets[0].uri;
	uri.text[0] = 't'; /* same address, other transport */
	assert_null(llr_inherit_find(&inheritance, &uri));
	llr_inherit_close(&inheritance);
	assert_int_equal(fcntl(3, F_GETFD), -1);
	assert_int_equal(fcntl(4, F_GETFD), -1);
}

static void test_inherit_unix(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct llr_inheritance inheritance;

	(void)state;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/llrph-test-%d.sock",
		       (int)getpid());
	hand_down(socket(AF_UNIX, SOCK_SEQPACKET, 0), 3);
	assert_int_equal(bind(3, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(3, 1), 0);
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	assert_int_equal(inheritance.sockets[0].uri.scheme, LLR_SCHEME_SHM);
	assert_memory_equal(inheritance.sockets[0].uri.name, "llrph-test-", 11);
	assert_null(strstr(inheritance.sockets[0].uri.name, ".sock"));
	llr_inherit_close(&inheritance);
	assert_int_equal(unlink(address.sun_path), 0);
}

/* -- endpoints -- */

static struct llr_config config;
static struct llr_endpoints endpoints;
static struct llr_endpoints second;
static struct llr_inheritance none;

static int open_for(struct llr_endpoints *into, unsigned int workers)
{
	config.workers = workers;
	return llr_endpoints_open_sockets(into, &config, &none, &error);
}

static void listen_on(const char *uri)
{
	llr_config_init(&config);
	assert_int_equal(llr_config_set(&config, "listen", uri, &error), 0);
	memset(&none, 0, sizeof(none));
}

static void test_endpoints_ports(void **state)
{
	static const char *const uris[] = {"udp:127.0.0.1:0", "tcp:127.0.0.1:0"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char uri[LLR_URI_TEXT_SIZE];

		listen_on(uris[i]);
		assert_int_equal(open_for(&endpoints, 3), 0);
		assert_int_equal(endpoints.count, 1);
		assert_true(endpoints.list[0].uri.address.port != 0);
		for (unsigned int w = 0; w < 3; w++)
			assert_true(llr_endpoint_fd(&endpoints.list[0], w) >= 0);
		memcpy(uri, endpoints.list[0].uri.text, sizeof(uri));

		/* The port is ours alone, though SO_REUSEPORT would let others of our user join. */
		listen_on(uri);
		assert_int_equal(open_for(&second, 1), -EADDRINUSE);
		assert_said(uri);
		assert_int_equal(open_for(&second, 3), -EADDRINUSE);
		llr_endpoints_forked(&endpoints, 1);
		assert_int_equal(endpoints.list[0].fds[0], -1);
		assert_true(llr_endpoint_fd(&endpoints.list[0], 1) >= 0);
		llr_endpoints_close(&endpoints);
		assert_int_equal(open_for(&second, 3), 0);
		llr_endpoints_close(&second);
	}
}

static void test_endpoints_none(void **state)
{
	(void)state;
	llr_config_init(&config);
	memset(&none, 0, sizeof(none));
	assert_int_equal(open_for(&endpoints, 1), -EINVAL);
	assert_said("no --listen");
}

static void test_endpoints_handed_down(void **state)
{
	struct llr_inheritance inheritance;

	(void)state;
	hand_down(bound_socket(SOCK_DGRAM), 3);
	hand_down(bound_socket(SOCK_STREAM), 4);
	assert_int_equal(listen(4, 1), 0);
	name_them(NULL, "2");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);

	/* The second is named, the first joins. */
	listen_on(inheritance.sockets[1].uri.text);
	config.workers = 1;
	assert_int_equal(llr_endpoints_open_sockets(&endpoints, &config, &inheritance, &error), 0);
	assert_int_equal(endpoints.count, 2);
	assert_int_equal(llr_endpoint_fd(&endpoints.list[0], 0), 4);
	assert_int_equal(llr_endpoint_fd(&endpoints.list[1], 0), 3);
	assert_int_equal(inheritance.sockets[0].fd, -1);
	assert_int_equal(inheritance.sockets[1].fd, -1);
	llr_endpoints_close(&endpoints);
}

static void test_endpoints_handed_down_to_two(void **state)
{
	struct llr_inheritance inheritance;

	(void)state;
	hand_down(bound_socket(SOCK_STREAM), 3);
	assert_int_equal(listen(3, 1), 0);
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	llr_config_init(&config);
	config.workers = 2;
	assert_int_equal(llr_endpoints_open_sockets(&endpoints, &config, &inheritance, &error), 0);
	assert_int_equal(llr_endpoint_fd(&endpoints.list[0], 0), 3);
	assert_int_equal(llr_endpoint_fd(&endpoints.list[0], 1), 3);
	llr_endpoints_forked(&endpoints, 1);
	assert_int_equal(llr_endpoint_fd(&endpoints.list[0], 1), 3);
	llr_endpoints_close(&endpoints);

	hand_down(bound_socket(SOCK_DGRAM), 3);
	name_them(NULL, "1");
	assert_int_equal(llr_inherit(&inheritance, &error), 0);
	assert_int_equal(llr_endpoints_open_sockets(&endpoints, &config, &inheritance, &error),
			 -EINVAL);
	assert_said("--workers 1");
	llr_inherit_close(&inheritance);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restart_at_once),
		cmocka_unit_test(test_restart_pauses),
		cmocka_unit_test_setup(test_plugin_by_name, begin),
		cmocka_unit_test_setup(test_plugin_by_path, begin),
		cmocka_unit_test_setup(test_plugin_tables, begin),
		cmocka_unit_test_setup(test_plugins_together, begin),
		cmocka_unit_test_setup(test_plugins_lose_state, begin),
		cmocka_unit_test_setup(test_inherit_nothing, begin),
		cmocka_unit_test_setup(test_inherit_nonsense, begin),
		cmocka_unit_test_setup(test_inherit_internet, begin),
		cmocka_unit_test_setup(test_inherit_unix, begin),
		cmocka_unit_test_setup(test_endpoints_ports, begin),
		cmocka_unit_test_setup(test_endpoints_none, begin),
		cmocka_unit_test_setup(test_endpoints_handed_down, begin),
		cmocka_unit_test_setup(test_endpoints_handed_down_to_two, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
