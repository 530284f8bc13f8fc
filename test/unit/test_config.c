/* SPDX-License-Identifier: MIT */
/*
 * The options of serve: every value that makes no sense is refused with a line that names where it
 * stood and what to do; the file and the command line say the same things; the latter wins.
 */
#include "engine/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct llr_config config;
static struct llrph_error error;

static int set(const char *name, const char *value)
{
	error.text[0] = '\0';
	return llr_config_set(&config, name, value, &error);
}

static void assert_said(const char *part)
{
	if (strstr(error.text, part) == NULL)
		fail_msg("'%s' is not in: %s", part, error.text);
	assert_null(strchr(error.text, '\n'));
}

/* Reads text as a file; its name is in path afterwards, the file is gone. */
static char path[64];

static int read_text(const char *text)
{
	int fd;
	int code;

	(void)snprintf(path, sizeof(path), "/tmp/llrph-config-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
	error.text[0] = '\0';
	code = llr_config_read_file(&config, path, &error);
	assert_int_equal(unlink(path), 0);
	return code;
}

static int begin(void **state)
{
	(void)state;
	llr_config_init(&config);
	return 0;
}

static void test_defaults(void **state)
{
	struct llrph_engine_options engine;

	(void)state;
	assert_int_equal(set("service", "echo"), 0);
	assert_int_equal(llr_config_check(&config, &error), 0);
	assert_int_equal(config.workers, 1);
	assert_string_equal(config.name, "llrph");
	assert_string_equal(config.trust, "own");
	assert_int_equal(config.idle, LLR_IDLE_PARK);
	llr_config_engine_options(&config, &engine);
	assert_int_equal(engine.size, sizeof(engine));
	assert_int_equal(engine.window_max, 0);
	assert_null(engine.allow);
	assert_null(engine.shm_uids);
	assert_int_equal(engine.park, 1);
}

static void test_everything(void **state)
{
	struct llrph_engine_options engine;

	(void)state;
	assert_int_equal(set("listen", "udp:127.0.0.1:7000"), 0);
	assert_int_equal(set("listen", "tcp:[::1]:7000"), 0);
	assert_int_equal(set("listen", "shm:demo"), 0);
	assert_int_equal(set("service", "book:orders=5"), 0);
	assert_int_equal(set("service", "./x.so"), 0);
	assert_int_equal(set("idle", "spin"), 0);
	assert_int_equal(set("name", "my.server-1"), 0);
	assert_int_equal(set("allow", "10.0.0.0/8,::1"), 0);
	assert_int_equal(set("sessionless", NULL), 0);
	assert_int_equal(set("window", "256"), 0);
	assert_int_equal(set("max-message", "16M"), 0);
	assert_int_equal(set("sessions", "7"), 0);
	assert_int_equal(set("session-memory", "1G"), 0);
	assert_int_equal(set("connections", "12"), 0);
	assert_int_equal(set("lanes", "13"), 0);
	assert_int_equal(set("shm-mode", "0660"), 0);
	assert_int_equal(set("shm-uid", "0,1000"), 0);
	assert_int_equal(set("shm-trust", "none"), 0);
	assert_int_equal(set("hugepages", NULL), 0);
	assert_int_equal(llr_config_check(&config, &error), 0);
	llr_config_engine_options(&config, &engine);

	assert_int_equal(config.listen_count, 3);
	assert_string_equal(config.listen[1].text, "tcp:[::1]:7000");
	assert_string_equal(config.listen[2].name, "demo");
	assert_int_equal(config.service_count, 2);
	assert_string_equal(config.services[0], "book:orders=5");
	assert_int_equal(config.allow.count, 2);
	assert_string_equal(config.trust, "none");
	assert_string_equal(engine.name, "my.server-1");
	assert_string_equal(engine.allow, "10.0.0.0/8,::1");
	assert_string_equal(engine.shm_uids, "0,1000");
	assert_int_equal(engine.sessionless, 1);
	assert_int_equal(engine.window_max, 256);
	assert_int_equal(engine.max_message, 16 << 20);
	assert_int_equal(engine.sessions_max, 7);
	assert_int_equal(engine.session_memory, 1 << 30);
	assert_int_equal(engine.connections_max, 12);
	assert_int_equal(engine.lanes_max, 13);
	assert_int_equal(engine.shm_mode, 0660);
	assert_int_equal(engine.hugepages, 1);
	assert_int_equal(engine.park, 0);
}

struct nonsense {
	const char *name;
	const char *value;
	const char *said;
};

static const struct nonsense refused[] = {
	{"listen", "", "--listen"},
	{"listen", "xdp:eth0", "shm:NAME"},
	{"listen", "udp:127.0.0.1", "HOST:PORT"},
	{"listen", "udp:127.0.0.1:65536", "65535"},
	{"listen", "shm:../x", "not a name"},
	{"service", "", "is no service"},
	{"service", ":orders=1", "is no service"},
	{"workers", "", "not a whole number"},
	{"workers", "0", "1 to 64"},
	{"workers", "65", "1 to 64"},
	{"workers", "-1", "not a whole number"},
	{"workers", "+1", "not a whole number"},
	{"workers", " 1", "not a whole number"},
	{"workers", "1x", "not a whole number"},
	{"workers", "99999999999999999999999", "not a whole number"},
	{"cpus", "", "is no list of cpus"},
	{"cpus", "a", "is no list of cpus"},
	{"cpus", "1,", "is no list of cpus"},
	{"cpus", "0 1", "is no list of cpus"},
	{"cpus", "3-1", "is no list of cpus"},
	{"cpus", "1-", "is no list of cpus"},
	{"cpus", "0-4096", "is no list of cpus"},
	{"cpus", "0,0", "cpu 0 twice"},
	{"cpus", "0-3,2", "cpu 2 twice"},
	{"cpus", "0-64", "more than 64"},
	{"idle", "sleep", "spin or park"},
	{"name", "", "is no name"},
	{"name", ".hidden", "is no name"},
	{"name", "a/b", "is no name"},
	{"name", "1234567890123456789012345678901234567890123456789", "is no name"},
	{"allow", "10.0.0.0/33", "10.0.0.0/33"},
	{"allow", "all", "ADDRESS or NETWORK/BITS"},
	{"window", "0", "1 to 1024"},
	{"window", "1025", "1 to 1024"},
	{"max-message", "0", "1 to 16777216"},
	{"max-message", "17M", "1 to 16777216"},
	{"max-message", "1T", "K, M or G"},
	{"max-message", "1KB", "K, M or G"},
	{"sessions", "65537", "1 to 65536"},
	{"session-memory", "1K", "65536 to"},
	{"session-memory", "4G", "65536 to"},
	{"session-memory", "4294967295G", "65536 to"},
	{"connections", "0", "1 to"},
	{"lanes", "x", "not a whole number"},
	{"shm-mode", "0", "0001 to 0777"},
	{"shm-mode", "1000", "0001 to 0777"},
	{"shm-mode", "0888", "octal"},
	{"shm-mode", "rw", "octal"},
	{"shm-uid", "", "user ids"},
	{"shm-uid", "root", "user ids"},
	{"shm-uid", "0,", "user ids"},
	{"shm-uid", "4294967295", "user ids"},
	{"shm-trust", "some", "own, all or none"},
	{"hugepages", "maybe", "yes nor no"},
	{"config", "", "no file's name"},
	{"no-such", "1", "no such option"},
};

static void test_nonsense(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char where[64];

		llr_config_init(&config);
		if (set(refused[i].name, refused[i].value) != -EINVAL)
			fail_msg("--%s '%s' was taken", refused[i].name, refused[i].value);
		(void)snprintf(where, sizeof(where), "--%s", refused[i].name);
		assert_said(where);
		assert_said(refused[i].said);
	}
}

/* The same words in a file: the complaint has its line instead of the dashes. */
static void test_nonsense_in_file(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char text[256];
		char where[100];

		if (refused[i].value[0] == ' ')
			continue; /* a file's blanks mean nothing */
		llr_config_init(&config);
		(void)snprintf(text, sizeof(text), "# first\n[server]\n%s = %s\n", refused[i].name,
			       refused[i].value);
		if (read_text(text) != -EINVAL)
			fail_msg("%s = %s was taken", refused[i].name, refused[i].value);
		(void)snprintf(where, sizeof(where), "%s:3: ", path);
		assert_said(where);
		if (strcmp(refused[i].name, "config") != 0 &&
		    strcmp(refused[i].name, "no-such") != 0)
			assert_null(strstr(error.text, "--"));
	}
}

static void test_long_words(void **state)
{
	char word[4096];

	(void)state;
	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	assert_int_equal(set("service", word), -EINVAL);
	assert_said("too long");
	assert_int_equal(set("listen", word), -EINVAL);
	assert_int_equal(set("name", word), -EINVAL);
	memset(word, '1', sizeof(word) - 1);
	for (size_t i = 1; i < sizeof(word) - 1; i += 2)
		word[i] = ',';
	assert_int_equal(set("shm-uid", word), -EINVAL);
	assert_said("too long");
}

static void test_twice(void **state)
{
	(void)state;
	assert_int_equal(set("workers", "1"), 0);
	assert_int_equal(set("workers", "1"), -EINVAL);
	assert_said("--workers is given twice");
	assert_int_equal(set("listen", "udp:127.0.0.1:7000"), 0);
	assert_int_equal(set("listen", "udp:127.0.0.1:7000"), -EINVAL);
	assert_said("is given twice");
	assert_int_equal(set("listen", "tcp:127.0.0.1:7000"), 0);
	assert_int_equal(set("listen", "udp:127.0.0.1:0"), 0);
	assert_int_equal(set("listen", "udp:127.0.0.1:0"), 0);
}

static void test_too_many(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < LLR_LISTENERS_MAX; i++)
		assert_int_equal(set("listen", "tcp:127.0.0.1:0"), 0);
	assert_int_equal(set("listen", "tcp:127.0.0.1:0"), -EINVAL);
	assert_said("16 are the most");
	for (unsigned int i = 0; i < LLR_SERVICES_MAX; i++)
		assert_int_equal(set("service", "echo"), 0);
	assert_int_equal(set("service", "echo"), -EINVAL);
	assert_said("16 are the most");
}

static void test_whole(void **state)
{
	char cpu[32];

	(void)state;
	assert_int_equal(llr_config_check(&config, &error), -EINVAL);
	assert_said("no --service");

	assert_int_equal(set("service", "echo"), 0);
	(void)snprintf(cpu, sizeof(cpu), "%ld", sysconf(_SC_NPROCESSORS_CONF));
	assert_int_equal(set("cpus", cpu), 0);
	assert_int_equal(llr_config_check(&config, &error), -EINVAL);
	assert_said("there is no cpu");

	llr_config_init(&config);
	assert_int_equal(set("service", "echo"), 0);
	assert_int_equal(set("cpus", "0"), 0);
	assert_int_equal(set("workers", "2"), 0);
	assert_int_equal(llr_config_check(&config, &error), -EINVAL);
	assert_said("--workers 2, but --cpus names 1");
}

static void test_spin_with_cpus(void **state)
{
	(void)state;
	assert_int_equal(set("service", "echo"), 0);
	assert_int_equal(set("cpus", "0"), 0);
	assert_int_equal(llr_config_check(&config, &error), 0);
	assert_int_equal(config.idle, LLR_IDLE_SPIN);

	llr_config_init(&config);
	assert_int_equal(set("service", "echo"), 0);
	assert_int_equal(set("cpus", "0"), 0);
	assert_int_equal(set("idle", "park"), 0);
	assert_int_equal(llr_config_check(&config, &error), 0);
	assert_int_equal(config.idle, LLR_IDLE_PARK);
}

static void test_file(void **state)
{
	(void)state;
	assert_int_equal(read_text("; a comment\n\n[server]\nlisten = udp:127.0.0.1:7000 ; here\n"
				   "listen=shm:demo\nservice: echo\n  workers = 2\r\n"
				   "hugepages = no\nsessionless = yes\n"),
			 0);
	assert_int_equal(config.listen_count, 2);
	assert_string_equal(config.listen[0].text, "udp:127.0.0.1:7000");
	assert_int_equal(config.service_count, 1);
	assert_int_equal(config.workers, 2);
	assert_int_equal(config.hugepages, 0);
	assert_int_equal(config.sessionless, 1);
}

static void test_typed_wins(void **state)
{
	(void)state;
	assert_int_equal(read_text("[server]\nlisten = shm:one\nlisten = shm:two\n"
				   "service = echo\nworkers = 2\nidle = spin\n"),
			 0);
	assert_int_equal(set("listen", "shm:three"), 0);
	assert_int_equal(set("listen", "shm:four"), 0);
	assert_int_equal(set("workers", "3"), 0);
	assert_int_equal(config.listen_count, 2);
	assert_string_equal(config.listen[0].name, "three");
	assert_string_equal(config.listen[1].name, "four");
	assert_int_equal(config.service_count, 1);
	assert_int_equal(config.workers, 3);
	assert_int_equal(config.idle, LLR_IDLE_SPIN);
}

struct broken_file {
	const char *text;
	unsigned int line;
	const char *said;
};

static void test_broken_files(void **state)
{
	static char long_line[1200];
	static const struct broken_file files[] = {
		{"[server]\nlisen = shm:a\n", 2, "did you mean listen?"},
		{"[server]\nmaxmessage = 1\n", 2, "did you mean max-message?"},
		{"[server]\nfrobnicate = 1\n", 2, "--help"},
		{"[sever]\nlisten = shm:a\n", 1, "[server] is the only one"},
		{"[server]\nservice = echo\n[client]\n", 3, "[client]"},
		{"listen = shm:a\n", 1, "write [server] above it"},
		{"[server]\nworkers 2\n", 2, "neither section nor option"},
		{"[server\nlisten = shm:a\n", 1, "no section"},
		{"[server]\nworkers = 1\nworkers = 1\n", 3, "given twice"},
		{"[server]\nworkers =\n", 2, "not a whole number"},
		{"[server]\nconfig = other\n", 2, "can't name another"},
		{long_line, 2, "longer than"},
	};

	(void)state;
	(void)snprintf(long_line, sizeof(long_line), "[server]\nservice = %01000d\n", 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char where[100];

		llr_config_init(&config);
		if (read_text(files[i].text) != -EINVAL)
			fail_msg("taken: %s", files[i].text);
		(void)snprintf(where, sizeof(where), "%s:%u: ", path, files[i].line);
		assert_said(where);
		assert_said(files[i].said);
	}
}

static void test_no_file(void **state)
{
	(void)state;
	assert_int_equal(llr_config_read_file(&config, "/nonexistent/x", &error), -ENOENT);
	assert_said("--config /nonexistent/x");
	assert_int_equal(llr_config_read_file(&config, "/tmp", &error), -EIO);
	assert_said("is it a file?");
}

/* Every prefix of a good file, and it with each byte replaced, is taken or refused: never worse. */
static void test_damaged_files(void **state)
{
	static const char good[] = "[server]\nlisten = udp:127.0.0.1:7000\nservice = echo\n"
				   "cpus = 0-1\nallow = 10.0.0.0/8\nshm-uid = 0,1\n";
	char text[sizeof(good)];

	(void)state;
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		memcpy(text, good, sizeof(good));
		text[i] = '\0';
		llr_config_init(&config);
		(void)read_text(text);
		memcpy(text, good, sizeof(good));
		text[i] = (char)0xff;
		llr_config_init(&config);
		(void)read_text(text);
		text[i] = '\n';
		llr_config_init(&config);
		(void)read_text(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults, begin),
		cmocka_unit_test_setup(test_everything, begin),
		cmocka_unit_test_setup(test_nonsense, begin),
		cmocka_unit_test_setup(test_nonsense_in_file, begin),
		cmocka_unit_test_setup(test_long_words, begin),
		cmocka_unit_test_setup(test_twice, begin),
		cmocka_unit_test_setup(test_too_many, begin),
		cmocka_unit_test_setup(test_whole, begin),
		cmocka_unit_test_setup(test_spin_with_cpus, begin),
		cmocka_unit_test_setup(test_file, begin),
		cmocka_unit_test_setup(test_typed_wins, begin),
		cmocka_unit_test_setup(test_broken_files, begin),
		cmocka_unit_test_setup(test_no_file, begin),
		cmocka_unit_test_setup(test_damaged_files, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
