/* SPDX-License-Identifier: MIT */
/*
 * Around lanes: names, who gets in, hostile connections, and the death of a client, a worker or a
 * whole server at any instant: what was taken comes back, and the other side hears of it.
 */
#include "test/support/shm_server.h"

#include "transport/handover.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static const struct llr_shm_wish spinning = {.spin = true};

static int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/test.sock", runtime_folder);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int open_host(const char *name, const char *uids, uint32_t mode, struct llrph_error *error)
{
	struct llr_lane_host_setup setup = {
		.name = name,
		.clock = &test_clock,
		.uids = uids,
		.mode = mode,
		.worker_count = 1,
		.inherited_fd = -1,
	};
	struct llr_lane_host *host = NULL;
	int code = llr_lane_host_open(&host, &setup, error);

	llr_lane_host_close(host);
	return code;
}

static void test_setup_is_checked(void **state)
{
	static const char *const wrong[] = {
		"x", ",", "1,", "1,,2", "-1", "1 ", " 1", "4294967295", "99999999999999999999"};
	struct llrph_error error = {{0}};
	uint32_t fds = count_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(open_host("test", wrong[i], 0, &error), -EINVAL);
	assert_int_equal(open_host("../test", NULL, 0, &error), -EINVAL);
	assert_int_equal(open_host("", NULL, 0, &error), -EINVAL);
	assert_int_equal(
		open_host("a234567890123456789012345678901234567890123456789", NULL, 0, &error),
		-EINVAL);
	assert_int_equal(open_host("test", NULL, 04600, &error), -EINVAL);
	assert_int_equal(open_host("test", "0,1,4294967294", 0660, &error), 0);
	assert_int_equal(count_fds(), fds);
}

static void test_names(void **state)
{
	struct server server = {0};
	struct test_client client;
	struct llrph_error error = {{0}};

	(void)state;
	assert_int_equal(client_open(&client, "test", &spinning), -ECONNREFUSED);
	assert_non_null(strstr(client.error.text, "shm:test"));
	start_server(&server);
	assert_int_equal(open_host("test", NULL, 0, &error), -EEXIST);
	assert_non_null(strstr(error.text, "'test'"));
	assert_int_equal(open_host("other", NULL, 0, &error), 0);
	assert_int_equal(client_open(&client, "test", &spinning), 0); /* still the first's */
	client_close(&client);
	kill_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), -ECONNREFUSED);
	start_server(&server); /* the dead one's socket gives way */
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	client_echo(&client, 112);
	client_close(&client);
	stop_server(&server);
}

static void test_mode(void **state)
{
	struct server server = {.setup = {.mode = 0640, .worker_count = 1, .inherited_fd = -1}};
	struct stat status;
	char path[128];

	(void)state;
	start_server(&server);
	(void)snprintf(path, sizeof(path), "%s/test.sock", runtime_folder);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_true(S_ISSOCK(status.st_mode));
	stop_server(&server);
}

/* Connects as somebody else; returns what connect returned, negated. */
static int connect_as(uid_t uid)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		struct test_client client;
		int code;

		if (setuid(uid) != 0)
			_exit(0);
		code = client_open(&client, "test", &spinning);
		if (code == -EACCES && strstr(client.error.text, "mode") == NULL &&
		    strstr(client.error.text, "65534") == NULL)
			_exit(1); /* the text names what to mend */
		_exit(-code);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_uids(void **state)
{
	struct server server = {
		.setup = {.uids = "1234", .mode = 0666, .worker_count = 1, .inherited_fd = -1}};

	(void)state;
	if (geteuid() != 0)
		skip(); /* it takes other users */
	start_server(&server);
	assert_int_equal(connect_as(1234), 0);
	assert_int_equal(connect_as(0), 0); /* the server's own */
	assert_int_equal(connect_as(65534), EACCES);
	stop_server(&server);
	server.setup.mode = 0600;
	server.setup.uids = NULL;
	start_server(&server);
	assert_int_equal(connect_as(65534), EACCES);
	stop_server(&server);
}

static void test_hugepages(void **state)
{
	struct llr_shm_wish wish = {.hugepages = true};
	struct llr_lane_host_setup setup = {.name = "test",
					    .clock = &test_clock,
					    .worker_count = 1,
					    .inherited_fd = -1,
					    .hugepages = true};
	struct llr_lane_host *host = NULL;
	struct server server = {0};
	struct test_client client;
	struct llrph_error error = {{0}};
	int code = llr_lane_host_open(&host, &setup, &error);

	(void)state;
	if (code == 0) { /* this machine has some */
		llr_lane_host_close(host);
		server.setup = setup;
		start_server(&server);
		assert_int_equal(client_open(&client, "test", &wish), 0);
		client_echo(&client, 60000);
		client_close(&client);
	} else {
		assert_non_null(strstr(error.text, "vm.nr_hugepages"));
		start_server(&server);
		assert_int_equal(client_open(&client, "test", &wish), code);
		assert_non_null(strstr(client.error.text, "vm.nr_hugepages"));
	}
	stop_server(&server);
}

/* ---- hostile connections ---- */

static void send_fds(int fd, const void *bytes, size_t size, unsigned int fd_count)
{
	uint8_t control[CMSG_SPACE(sizeof(int) * 250)] = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
	for (unsigned int i = 0; i < fd_count; i++)
		memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof(int));
	assert_true(sendmsg(fd, &header, MSG_NOSIGNAL) >= 0);
}

static int32_t answer_code(int fd)
{
	struct llr_handover_answer answer;
	ssize_t size = recv(fd, &answer, sizeof(answer), 0);

	assert_int_equal(size, sizeof(answer));
	assert_int_equal(answer.magic, LLR_HANDOVER_MAGIC);
	assert_true(answer.code == 0 || strlen(answer.text) > 0);
	return answer.code;
}

static void test_hostile_hello(void **state)
{
	struct llr_handover_hello hello = {.magic = LLR_HANDOVER_MAGIC,
					   .version = LLR_HANDOVER_VERSION + 1};
	struct server server = {0};
	struct test_client client;
	uint8_t garbage[4096];
	uint32_t fds;
	int fd;

	(void)state;
	start_server(&server);
	fds = server.page->fds;
	memset(garbage, 0xa5, sizeof(garbage));
	for (size_t size = 1; size <= sizeof(garbage); size = size * 2 + 1) {
		fd = raw_connect();
		assert_int_equal(send(fd, garbage, size, MSG_NOSIGNAL), (ssize_t)size);
		assert_int_equal(answer_code(fd), -EPROTO);
		(void)close(fd);
	}
	fd = raw_connect();
	assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
	assert_int_equal(answer_code(fd), -EPROTO);
	(void)close(fd);
	/* A message full of descriptors: not one of them is kept. */
	hello.version = LLR_HANDOVER_VERSION;
	for (int i = 0; i < 20; i++) {
		fd = raw_connect();
		send_fds(fd, &garbage, 7, 250);
		assert_int_equal(answer_code(fd), -EPROTO);
		(void)close(fd);
		fd = raw_connect();
		send_fds(fd, &hello, sizeof(hello), 250);
		assert_int_equal(answer_code(fd), 0);
		(void)close(fd);
	}
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	client_echo(&client, 112);
	client_close(&client);
	wait_for_lanes(&server, 0);
	assert_int_equal(server.page->fds, fds);
	stop_server(&server);
}

/* Hundreds that connect and say nothing: honest clients get in, and the silent ones are put out. */
static void test_silent_connections(void **state)
{
	enum { SILENT = 500 };
	struct server server = {.is_supervised = true};
	struct test_client client;
	uint64_t start_ns = now();
	uint32_t fds;
	int silent[SILENT];
	char byte;

	(void)state;
	start_server(&server);
	wait_for_lanes(&server, 0);
	fds = server.page->fds;
	for (int i = 0; i < SILENT; i++) {
		silent[i] = raw_connect();
		if (i % 100 == 99) {
			assert_int_equal(client_open(&client, "test", &spinning), 0);
			client_echo(&client, 112);
			client_close(&client);
		}
	}
	for (int i = 0; i < SILENT; i++) { /* a refusal, or the end alone */
		while (recv(silent[i], &byte, 1, 0) > 0)
			;
		(void)close(silent[i]);
	}
	while (server.page->fds != fds) {
		assert_true(now() - start_ns < PATIENCE);
		pause_ms(1);
	}
	stop_server(&server);
}

/* Fewer descriptors than clients want: accept pauses and goes on. */
static void test_few_descriptors(void **state)
{
	struct server server = {0};
	struct test_client clients[12];
	int opened = 0;

	(void)state;
	start_server(&server);
	assert_int_equal(prlimit(server.pid, RLIMIT_NOFILE,
				 &(struct rlimit){.rlim_cur = 25, .rlim_max = 20000}, NULL),
			 0);
	while (opened < 12 && client_open(&clients[opened], "test", &spinning) == 0)
		client_echo(&clients[opened++], 112);
	assert_true(opened > 0);
	assert_true(opened < 12);
	for (int i = 0; i < opened; i++) {
		client_echo(&clients[i], 112);
		client_close(&clients[i]);
	}
	wait_for_lanes(&server, 0);
	assert_int_equal(client_open(&clients[0], "test", &spinning), 0);
	client_echo(&clients[0], 112);
	client_close(&clients[0]);
	stop_server(&server);
}

/* ---- death ---- */

static void keep_calling(void)
{
	struct test_client client;
	uint32_t size = 32;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) { /* until it is killed */
		if (client_open(&client, "test", &spinning) != 0)
			_exit(1);
		for (int i = 0; i < 50; i++) {
			size = size * 7 % 5003 + 32;
			if (client_send(&client, size) && i % 3 == 0)
				client.transport->ops->tx_flush(client.transport);
			client_receive(&client, 0);
		}
		client_close(&client);
	}
}

static void kill_clients(bool is_supervised)
{
	struct server server = {.is_supervised = is_supervised};
	struct test_client witness;
	uint32_t random = 1;
	uint32_t fds;

	start_server(&server);
	wait_for_lanes(&server, 0);
	fds = server.page->fds;
	assert_int_equal(client_open(&witness, "test", &spinning), 0);
	for (int round = 0; round < 200; round++) {
		struct timespec pause = {0};
		int status = 0;
		pid_t child = fork();

		if (child == 0)
			keep_calling();
		random = random * 1664525 + 1013904223;
		pause.tv_nsec = (random >> 8) % 4000000;
		(void)nanosleep(&pause, NULL);
		(void)kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		if (round % 20 == 0)
			client_echo(&witness, 1000);
	}
	client_close(&witness);
	wait_for_lanes(&server, 0);
	assert_int_equal(server.page->fds, fds);
	assert_int_equal(server.page->mappings, 0);
	assert_int_equal(server.page->counters.rx_broken, 0);
	assert_int_equal(server.page->counters.accepted, server.page->counters.closed);
	stop_server(&server);
}

static void test_clients_killed(void **state)
{
	(void)state;
	kill_clients(false);
	kill_clients(true);
}

static void wait_for_end(struct test_client *client)
{
	uint64_t start_ns = now();

	while (!client->is_closed) {
		client_receive(client, 0);
		assert_true(now() - start_ns < PATIENCE);
		pause_ms(0);
	}
}

static void test_server_killed(void **state)
{
	char path[128];

	(void)state;
	for (int supervised = 0; supervised < 2; supervised++) {
		struct server server = {.is_supervised = supervised == 1};
		struct test_client client;
		struct llr_room room = {0};

		start_server(&server);
		assert_int_equal(client_open(&client, "test", &spinning), 0);
		client_echo(&client, 112);
		kill_server(&server);
		wait_for_end(&client);
		assert_int_equal(client.transport->ops->tx_reserve(client.transport, client.peer,
								   112, &room),
				 -ECONNRESET);
		client_close(&client);
		(void)snprintf(path, sizeof(path), "%s/test.sock", runtime_folder);
		assert_int_equal(unlink(path), 0);
	}
}

/* In order: the client hears of it as well, and nothing is left. */
static void test_server_closed(void **state)
{
	struct server server = {0};
	struct test_client client;

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	client_echo(&client, 112);
	stop_server(&server);
	wait_for_end(&client);
	client_close(&client);
}

/* A sleeping client is woken by its server's end. */
static void test_sleeping_client_hears(void **state)
{
	static const struct llr_shm_wish parking = {.spin = false};
	struct server server = {.is_supervised = true};
	struct test_client client;
	struct pollfd waiting = {.events = POLLIN};

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &parking), 0);
	client_echo(&client, 112);
	waiting.fd = client.transport->ops->wait_fd(client.transport);
	assert_false(client.transport->ops->wait_prepare(client.transport));
	kill_server(&server);
	assert_int_equal(poll(&waiting, 1, 20000), 1);
	client.transport->ops->wait_done(client.transport);
	wait_for_end(&client);
	client_close(&client);
	server.is_supervised = false; /* somebody has to clean the name */
	start_server(&server);
	stop_server(&server);
}

/* A worker dies in the middle of things; its successor goes on with the lane. */
static void test_worker_killed(void **state)
{
	struct server server = {.is_supervised = true};
	struct test_client client;
	struct test_client other;
	uint32_t fds;

	(void)state;
	start_server(&server);
	wait_for_lanes(&server, 0);
	fds = server.page->fds;
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	for (int round = 0; round < 20; round++) {
		pid_t worker = (pid_t)server.page->worker;

		for (int i = 0; i < 100; i++)
			assert_true(client_send(&client, 600));
		(void)kill(worker, SIGKILL);
		/* What was answered but not released is answered again here; LLRP's slots know. */
		for (uint64_t start_ns = now(); client.received < client.sent;) {
			client_receive(&client, 0);
			assert_false(client.is_closed);
			assert_true(now() - start_ns < PATIENCE);
		}
		while ((pid_t)server.page->worker == worker)
			pause_ms(1);
		for (int i = 0; i < 20; i++) { /* repeats that are still on their way */
			client_receive(&client, 0);
			pause_ms(1);
		}
		client.received = client.sent;
		assert_int_equal(client_open(&other, "test", &spinning), 0);
		client_echo(&other, 112);
		client_close(&other);
	}
	client_echo(&client, 112);
	client_close(&client);
	wait_for_lanes(&server, 0);
	assert_int_equal(server.page->fds, fds);
	assert_int_equal(server.page->mappings, 0);
	stop_server(&server);
}

/* A worker dies behind a commit: its successor sees the request again, and that reply. */
static void test_last_reply_is_known(void **state)
{
	struct server server = {.is_supervised = true};
	struct test_client client;

	(void)state;
	start_server(&server);
	assert_int_equal(client_open(&client, "test", &spinning), 0);
	for (uint32_t round = 1; round <= 20; round++) {
		struct llr_room room = {0};
		uint32_t word = DIE_AFTER;
		uint64_t start_ns = now();

		assert_int_equal(client.transport->ops->tx_reserve(client.transport, client.peer,
								   600, &room),
				 0);
		memset(room.bytes, (int)round, 600);
		memcpy(room.bytes + HEADER, &word, sizeof(word));
		client.transport->ops->tx_commit(client.transport, &room, 600);
		client.sent++;
		while (server.page->repeats < round) {
			client_receive(&client, 0);
			assert_true(now() - start_ns < PATIENCE);
			pause_ms(0);
		}
		client_receive(&client, 0);
		assert_int_equal(client.received, client.sent);
		client_echo(&client, 700);
	}
	client_close(&client);
	stop_server(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_setup_is_checked, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_names, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_mode, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_uids, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_hugepages, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_hostile_hello, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_silent_connections, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(test_few_descriptors, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_clients_killed, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_server_killed, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_server_closed, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_sleeping_client_hears, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(test_worker_killed, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_last_reply_is_known, make_folder,
						remove_folder),
	};

	llr_clock_init(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
