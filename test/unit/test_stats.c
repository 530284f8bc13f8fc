/* SPDX-License-Identifier: MIT */
/*
 * The stats page: what writers write is what readers read; names are taken by one server alone;
 * pages that were cut short, damaged or forged are refused or printed harmlessly.
 */
#include "observe/stats.h"

#include "base/bytes.h"
#include "observe/page.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static const char *const listeners[] = {"shm:demo", "udp:[::1]:7000"};
static const char *const methods[] = {"llrph.Echo/Echo", "llrph.Book/Apply", "llrph.Book/Top"};

static struct llr_stats_shape shape_of(const char *name)
{
	return (struct llr_stats_shape){
		.name = name,
		.worker_count = 2,
		.listener_count = 2,
		.listeners = listeners,
		.method_count = 3,
		.methods = methods,
	};
}

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/llrph-stats-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	return setenv("LLRPH_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static void path_of(char *path, size_t size, const char *name)
{
	(void)snprintf(path, size, "%s/%s.stats", folder, name);
}

static struct llr_stats *create(const char *name)
{
	struct llr_stats_shape shape = shape_of(name);
	struct llrph_error error = {{0}};
	struct llr_stats *stats = NULL;

	assert_int_equal(llr_stats_create(&stats, &shape, &error), 0);
	assert_string_equal(error.text, "");
	return stats;
}

/* Prints into memory, which the caller frees. */
static char *print(const struct llr_stats *stats, enum llr_stats_format format)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	llr_stats_print(stats, out, format);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect_text(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void test_what_is_written_is_read(void **state)
{
	struct llr_stats *writer = create("written");
	struct llr_stats *reader = NULL;
	struct llrph_error error = {{0}};
	char *text;

	(void)state;
	llr_stats_counters(writer, 0)->requests = 7;
	llr_stats_counters(writer, 1)->requests = 5;
	llr_stats_counters(writer, 1)->recovered_500 = 3; /* the last of the table */
	llr_stats_transport(writer, 0, 1)->evicted = 11;
	llr_stats_method(writer, 1, 2)->failed = 13;
	for (unsigned int i = 0; i < 100; i++)
		llr_histogram_record(llr_stats_method(writer, 0, 1)->latency, LLR_STATS_BITS, 500);
	*llr_stats_word(writer, 0, "book.unknown_ref") = 17;
	llr_stats_fallback(writer, "no hugepages: 4 KiB pages");

	assert_int_equal(llr_stats_open(&reader, "written", &error), 0);
	assert_true(llr_stats_is_live(reader));
	text = print(reader, LLR_STATS_JSON);
	expect_text(text, "\"name\": \"written\"");
	expect_text(text, "\"live\": true");
	expect_text(text, "\"requests\": 12,");
	expect_text(text, "\"recovered_500\": 3}");
	expect_text(text, "{\"uri\": \"udp:[::1]:7000\"");
	expect_text(text, "\"evicted\": 11}");
	expect_text(text, "{\"name\": \"llrph.Book/Top\", \"requests\": 0, \"failed\": 13");
	expect_text(text, "\"latency_ns\": {\"count\": 100, \"min\": 496, \"p50\": 503");
	expect_text(text, "\"service\": {\"book.unknown_ref\": 17}");
	expect_text(text, "\"fallbacks\": [\"no hugepages: 4 KiB pages\"]");
	free(text);

	text = print(reader, LLR_STATS_TEXT);
	expect_text(text, "server written: running, pid ");
	expect_text(text, "requests                         12              7              5");
	expect_text(text, "p50 0.50");
	expect_text(text, "no hugepages: 4 KiB pages");
	assert_null(strstr(text, "reject_magic"));
	free(text);
	text = print(reader, LLR_STATS_TEXT_ALL);
	expect_text(text, "reject_magic");
	free(text);
	llr_stats_close(reader);
	llr_stats_close(writer);
}

static void test_no_two_writers_share_a_word(void **state)
{
	struct llr_stats_shape shape = shape_of("-");
	struct llr_stats *stats = NULL;
	struct llr_method_stats *last;

	(void)state;
	assert_int_equal(llr_stats_create_private(&stats, &shape, NULL), 0);
	/* Each fills its own with ones; a neighbour that is touched shows it. */
	memset(llr_stats_counters(stats, 0), 0xff, sizeof(struct llr_counters));
	assert_int_equal(llr_stats_transport(stats, 0, 0)->rx_spans, 0);
	memset(llr_stats_transport(stats, 0, 1), 0xff, sizeof(struct llr_transport_counters));
	assert_int_equal(llr_stats_method(stats, 0, 0)->requests, 0);
	last = llr_stats_method(stats, 0, 2);
	memset(last, 0xff, sizeof(*last));
	assert_int_equal(*llr_stats_word(stats, 0, "first"), 0);
	assert_int_equal(llr_stats_counters(stats, 1)->turns, 0);
	assert_int_equal(llr_stats_method(stats, 0, 1)->requests, 0);
	assert_int_equal((uintptr_t)llr_stats_counters(stats, 1) % 64, 0);
	assert_int_equal((uintptr_t)llr_stats_transport(stats, 1, 1) % 64, 0);
	assert_int_equal((uintptr_t)llr_stats_method(stats, 1, 1) % 64, 0);
	llr_stats_close(stats);
}

static void test_service_words_are_claimed_by_name(void **state)
{
	struct llr_stats_shape shape = shape_of("-");
	struct llr_stats *stats = NULL;
	uint64_t *first;
	char name[16];

	(void)state;
	assert_int_equal(llr_stats_create_private(&stats, &shape, NULL), 0);
	first = llr_stats_word(stats, 0, "word0");
	assert_non_null(first);
	for (unsigned int i = 1; i < LLR_PAGE_SERVICE_WORDS; i++) {
		(void)snprintf(name, sizeof(name), "word%u", i);
		assert_non_null(llr_stats_word(stats, 0, name));
		assert_ptr_not_equal(llr_stats_word(stats, 0, name), first);
	}
	assert_null(llr_stats_word(stats, 0, "one too many"));
	assert_ptr_equal(llr_stats_word(stats, 0, "word0"), first);
	assert_ptr_not_equal(llr_stats_word(stats, 1, "word0"), first);
	llr_stats_close(stats);
}

static void test_children_write_the_same_page(void **state)
{
	struct llr_stats *stats = create("children");
	struct llr_stats *reader = NULL;
	int status = 0;
	pid_t child;
	char *text;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		llr_stats_counters(stats, 1)->executed = 42;
		*llr_stats_word(stats, 1, "child's") = 43;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	*llr_stats_word(stats, 0, "child's") += 1;
	assert_int_equal(llr_stats_open(&reader, "children", NULL), 0);
	text = print(reader, LLR_STATS_JSON);
	expect_text(text, "\"executed\": 42");
	expect_text(text, "\"service\": {\"child's\": 44}");
	free(text);
	llr_stats_close(reader);
	llr_stats_close(stats);
}

static void test_fallbacks(void **state)
{
	struct llr_stats *stats = create("fallbacks");
	struct llr_stats *reader = NULL;
	char line[300];
	char *text;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	llr_stats_fallback(stats, line);
	llr_stats_fallback(stats, line); /* the same once more: kept once, cut as it was */
	llr_stats_fallback(stats, "a\033[2Jb");
	for (unsigned int i = 0; i < 20; i++) {
		(void)snprintf(line, sizeof(line), "step %u.", i);
		llr_stats_fallback(stats, line);
		llr_stats_fallback(stats, "step 0.");
	}
	assert_int_equal(llr_stats_open(&reader, "fallbacks", NULL), 0);
	text = print(reader, LLR_STATS_TEXT);
	expect_text(text, "a?[2Jb");
	expect_text(text, "step 13.");
	assert_null(strstr(text, "step 14."));
	expect_text(text, "and 6 more");
	free(text);
	text = print(reader, LLR_STATS_JSON);
	expect_text(text, "\"a\\u001b[2Jb\"");
	expect_text(text, "\"fallbacks_not_kept\": 6");
	free(text);
	llr_stats_close(reader);
	llr_stats_close(stats);
}

static void test_a_living_servers_name_is_taken(void **state)
{
	struct llr_stats *stats = create("taken");
	struct llr_stats_shape shape = shape_of("taken");
	struct llr_stats *second = NULL;
	struct llrph_error error;
	char pid[32];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	assert_int_equal(llr_stats_create(&second, &shape, &error), -EEXIST);
	assert_null(second);
	expect_text(error.text, pid);
	expect_text(error.text, "--name");
	llr_stats_close(stats);
	stats = create("taken");
	llr_stats_close(stats);
}

static void test_the_lock_lasts_as_long_as_any_process(void **state)
{
	struct llr_stats *stats = create("workers");
	struct llr_stats_shape shape = shape_of("workers");
	struct llr_stats *reader = NULL;
	struct llr_stats *second = NULL;
	struct llrph_error error;
	pid_t child;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		for (;;) /* until it is killed below */
			(void)pause();
	llr_stats_counters(stats, 0)->turns = 99;
	llr_stats_close(stats);
	assert_int_equal(llr_stats_create(&second, &shape, &error), -EEXIST);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);

	/* The page outlives them all. */
	assert_int_equal(llr_stats_open(&reader, "workers", &error), 0);
	assert_false(llr_stats_is_live(reader));
	llr_stats_close(reader);
	second = create("workers");
	assert_int_equal(llr_stats_counters(second, 0)->turns, 0);
	llr_stats_close(second);
}

static void test_a_reader_does_not_hinder_a_start(void **state)
{
	struct llr_stats *stats = create("reader");
	struct llr_stats *reader = NULL;

	(void)state;
	llr_stats_counters(stats, 0)->turns = 1;
	llr_stats_close(stats);
	assert_int_equal(llr_stats_open(&reader, "reader", NULL), 0);
	stats = create("reader");
	llr_stats_close(stats);
	llr_stats_close(reader);
}

/* Of many that start at once under the name of a dead server, one wins. */
static void test_one_of_many_wins(void **state)
{
	enum { STARTERS = 8, ROUNDS = 25 };
	struct llr_stats_shape shape = shape_of("race");
	int go[2];
	int done[2];

	(void)state;
	(void)alarm(60); /* two winners would wait for each other */
	for (unsigned int round = 0; round < ROUNDS; round++) {
		int status;

		assert_int_equal(pipe(go), 0);
		assert_int_equal(pipe(done), 0);
		for (unsigned int i = 0; i < STARTERS; i++) {
			struct llr_stats *stats = NULL;
			char byte;
			int code;

			if (fork() != 0)
				continue;
			(void)close(go[1]);
			(void)close(done[1]);
			(void)!read(go[0], &byte, 1); /* ends when all are there */
			code = llr_stats_create(&stats, &shape, NULL);
			if (code == 0) /* keeps it until all have tried */
				(void)!read(done[0], &byte, 1);
			_exit(code == 0 ? 10 : code == -EEXIST ? 20 : 30);
		}
		(void)close(go[0]);
		(void)close(done[0]);
		(void)close(go[1]);
		for (unsigned int i = 0; i < STARTERS - 1; i++) {
			assert_true(wait(&status) > 0);
			assert_int_equal(WEXITSTATUS(status), 20);
		}
		(void)close(done[1]);
		assert_true(wait(&status) > 0);
		assert_int_equal(WEXITSTATUS(status), 10);
	}
	(void)alarm(0);
}

static void test_bad_names_and_folders(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", "../a", "-a", "a b", "a\n"};
	struct llr_stats *stats = NULL;
	struct llrph_error error;
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct llr_stats_shape shape = shape_of(names[i]);

		assert_int_equal(llr_stats_create(&stats, &shape, &error), -EINVAL);
		assert_int_equal(llr_stats_open(&stats, names[i], &error), -EINVAL);
	}
	assert_int_equal(llr_stats_open(&stats, "nobody", &error), -ENOENT);
	expect_text(error.text, "nobody.stats");
	path_of(path, sizeof(path), "directory");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(llr_stats_open(&stats, "directory", &error), -EPROTO);
	path_of(path, sizeof(path), "fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(llr_stats_open(&stats, "fifo", &error), -EPROTO);
	path_of(path, sizeof(path), "link");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(llr_stats_open(&stats, "link", &error) < 0);
	for (size_t i = 0; i < 3; i++) {
		static const char *const others[] = {"directory", "fifo", "link"};
		struct llr_stats_shape shape = shape_of(others[i]);

		assert_true(llr_stats_create(&stats, &shape, &error) < 0);
		expect_text(error.text, "--name");
	}
	assert_null(stats);
}

static size_t file_size(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return (size_t)status.st_size;
}

static void test_every_truncation_is_an_error(void **state)
{
	struct llr_stats *stats = create("short");
	struct llrph_error error;
	char path[128];
	size_t size;

	(void)state;
	llr_stats_close(stats);
	path_of(path, sizeof(path), "short");
	size = file_size(path);
	while (size > 0) {
		size = size > 4096 ? size - 4096 : size > 300 ? 300 : size - 1;
		assert_int_equal(truncate(path, (off_t)size), 0);
		assert_int_equal(llr_stats_open(&stats, "short", &error), -EPROTO);
		expect_text(error.text, "truncated");
	}
	/* What is left is no hindrance either. */
	stats = create("short");
	llr_stats_close(stats);
}

/* Two copies of one page, so that a change can be made and undone. */
struct forgery {
	uint8_t *bytes;
	const uint8_t *good;
	size_t size;
};

static int setup_forgery(void **state)
{
	static struct forgery forgery;
	struct llr_stats_shape shape = shape_of("forgery");
	uint8_t *good;

	forgery.size = llr_page_size(&shape);
	good = aligned_alloc(4096, forgery.size);
	forgery.bytes = aligned_alloc(4096, forgery.size);
	if (good == NULL || forgery.bytes == NULL)
		return -1;
	memset(good, 0, forgery.size);
	llr_page_lay_out(good, &shape, 1, 1);
	llr_le64_store(good, LLR_PAGE_MAGIC);
	memcpy(forgery.bytes, good, forgery.size);
	forgery.good = good;
	*state = &forgery;
	return 0;
}

static int teardown_forgery(void **state)
{
	struct forgery *forgery = *state;

	free(forgery->bytes);
	free((void *)(uintptr_t)forgery->good);
	return 0;
}

/* Whatever passes the check can be printed; the sanitizers see if it can't. */
static int check_and_print(const struct forgery *forgery)
{
	int code = llr_page_check(forgery->bytes, forgery->size, NULL);
	FILE *out;

	if (code != 0)
		return code;
	out = fopen("/dev/null", "w");
	assert_non_null(out);
	llr_stats_print_text(out, forgery->bytes, true, true);
	llr_stats_print_json(out, forgery->bytes, false);
	assert_int_equal(fclose(out), 0);
	return 0;
}

static void expect_refused(struct forgery *forgery, size_t offset, uint64_t value, size_t size)
{
	memcpy(forgery->bytes + offset, &value, size);
	if (check_and_print(forgery) != -EPROTO)
		fail_msg("%llu at %zu passes", (unsigned long long)value, offset);
	memcpy(forgery->bytes + offset, forgery->good + offset, size);
}

#define HEAD(field)  offsetof(struct llr_page_head, field)
#define ENTRY(field) (sizeof(struct llr_page_head) + offsetof(struct llr_page_entry, field))

static void test_lies_in_the_head(void **state)
{
	static const uint64_t offsets[] = {1, UINT64_MAX, UINT64_MAX - 7, INT64_MAX, 1U << 31};
	struct forgery *forgery = *state;

	assert_int_equal(check_and_print(forgery), 0);
	expect_refused(forgery, HEAD(magic), 0, 8);
	expect_refused(forgery, HEAD(version), 2, 4);
	expect_refused(forgery, HEAD(head_size), 255, 4);
	expect_refused(forgery, HEAD(head_size), UINT32_MAX, 4);
	expect_refused(forgery, HEAD(worker_count), 0, 4);
	expect_refused(forgery, HEAD(worker_count), 3, 4);
	expect_refused(forgery, HEAD(worker_count), UINT32_MAX, 4);
	expect_refused(forgery, HEAD(listener_count), 17, 4);
	expect_refused(forgery, HEAD(listener_count), UINT32_MAX, 4);
	expect_refused(forgery, HEAD(method_count), UINT32_MAX, 4);
	expect_refused(forgery, HEAD(entry_count), UINT32_MAX, 4);
	expect_refused(forgery, HEAD(entry_count), LLR_PAGE_ENTRIES_MAX, 4);
	expect_refused(forgery, HEAD(entry_size), 0, 4);
	expect_refused(forgery, HEAD(entry_size), 63, 4);
	expect_refused(forgery, HEAD(entry_size), 65, 4);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		expect_refused(forgery, HEAD(entry_offset), offsets[i], 8);
		expect_refused(forgery, HEAD(owner_offset), offsets[i], 8);
		expect_refused(forgery, HEAD(fallback_offset), offsets[i], 8);
		expect_refused(forgery, HEAD(worker_offset), offsets[i], 8);
		expect_refused(forgery, HEAD(worker_size), offsets[i], 8);
		if (i > 0)
			expect_refused(forgery, HEAD(total_size), offsets[i], 8);
	}
	expect_refused(forgery, HEAD(worker_size), 8, 8);
	memset(forgery->bytes + HEAD(name), 'x', 64);
	assert_int_equal(check_and_print(forgery), -EPROTO);
	memcpy(forgery->bytes, forgery->good, sizeof(struct llr_page_head));
	assert_int_equal(check_and_print(forgery), 0);
}

static void test_lies_in_the_directory(void **state)
{
	struct forgery *forgery = *state;
	const struct llr_page_head *head = llr_page_head(forgery->good);
	struct llr_page_line *lines =
		(struct llr_page_line *)(void *)(forgery->bytes + head->fallback_offset);

	expect_refused(forgery, ENTRY(offset), 4, 8);
	expect_refused(forgery, ENTRY(offset), head->worker_size, 8);
	expect_refused(forgery, ENTRY(offset), UINT64_MAX - 7, 8);
	expect_refused(forgery, ENTRY(kind), 0, 2);
	expect_refused(forgery, ENTRY(kind), 5, 2);
	expect_refused(forgery, ENTRY(kind), LLR_PAGE_METHOD, 2); /* not sorted any more */
	expect_refused(forgery, ENTRY(owner), 1, 2);
	expect_refused(forgery, ENTRY(bits), 1, 2);
	expect_refused(forgery, ENTRY(bits), 9, 2);
	expect_refused(forgery, ENTRY(bits), UINT16_MAX, 2);
	memset(forgery->bytes + ENTRY(name), 'x', 40);
	assert_int_equal(check_and_print(forgery), -EPROTO);
	memcpy(forgery->bytes, forgery->good, 4096);
	memset(forgery->bytes + head->owner_offset, 'x', LLR_PAGE_OWNER_SIZE);
	assert_int_equal(check_and_print(forgery), -EPROTO);
	memcpy(forgery->bytes, forgery->good, forgery->size);
	memset(lines->text, 'x', sizeof(lines->text));
	assert_int_equal(check_and_print(forgery), -EPROTO);
	memcpy(forgery->bytes, forgery->good, forgery->size);
	/* A word may be printed as a histogram where one fits; and counts may be anything. */
	llr_le16_store(forgery->bytes + ENTRY(bits), LLR_PAGE_BITS_MAX);
	memset(forgery->bytes + head->worker_offset, 0xff, head->worker_size);
	assert_int_equal(check_and_print(forgery), 0);
	memcpy(forgery->bytes, forgery->good, forgery->size);
}

/* Random damage: refused or printed, never a crash. The seed is fixed, so a failure comes back. */
static void test_random_damage(void **state)
{
	struct forgery *forgery = *state;
	size_t meta = llr_page_head(forgery->good)->fallback_offset;
	uint64_t random = 88172645463325252U;

	for (unsigned int round = 0; round < 2000; round++) {
		for (unsigned int i = 0; i < 4; i++) {
			size_t reach = i % 2 == 0 ? sizeof(struct llr_page_head) : meta;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			forgery->bytes[8 + random % (reach - 8)] = (uint8_t)(random >> 56);
		}
		(void)check_and_print(forgery);
		memcpy(forgery->bytes, forgery->good, meta);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_no_two_writers_share_a_word),
		cmocka_unit_test(test_service_words_are_claimed_by_name),
		cmocka_unit_test(test_children_write_the_same_page),
		cmocka_unit_test(test_fallbacks),
		cmocka_unit_test(test_a_living_servers_name_is_taken),
		cmocka_unit_test(test_the_lock_lasts_as_long_as_any_process),
		cmocka_unit_test(test_a_reader_does_not_hinder_a_start),
		cmocka_unit_test(test_one_of_many_wins),
		cmocka_unit_test(test_bad_names_and_folders),
		cmocka_unit_test(test_every_truncation_is_an_error),
		cmocka_unit_test_setup_teardown(test_lies_in_the_head, setup_forgery,
						teardown_forgery),
		cmocka_unit_test_setup_teardown(test_lies_in_the_directory, setup_forgery,
						teardown_forgery),
		cmocka_unit_test_setup_teardown(test_random_damage, setup_forgery,
						teardown_forgery),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
