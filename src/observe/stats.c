/* SPDX-License-Identifier: MIT */
/*
 * The stats page as a file: who may create it, where its writers write, and how a tool gets a copy.
 *
 * Thread: create, close and word: set-up's, of the supervisor or a worker. Where counters,
 * transport and method point, one worker writes alone, with plain increments. A handle is owned by
 * who created it and inherited by fork.
 *
 * Whose name it is: a server holds an open file description lock (F_OFD_SETLK) on the page that
 * lies at NAME.stats. Such a lock belongs to the open file, so it is inherited by fork and ends
 * with the last process that holds it; and unlike one of flock(2) it can be looked at without being
 * taken, so that a reader who asks whether the server lives never stands in the way of a start.
 *
 * Invariant: only who holds the lock of the file at NAME.stats removes it from there. So after
 * taking a lock one looks whether the file is still there: if not, another server was faster, and
 * one begins again. No other file is ever made, so that none is left behind, whenever one dies.
 */
#include "observe/stats.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "observe/page.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLAIM_ATTEMPTS 16U /* rounds lost to others who start or end at the same moment */

struct llr_stats {
	uint8_t *page;  /* owns; a mapping of the file, or memory */
	size_t size;    /* bytes of page */
	int fd;         /* owns; keeps the lock; -1: in memory alone */
	bool is_live;   /* a reader's: whether somebody held the lock */
	bool is_mapped; /* page maps the file */
	/* The writer's own copy, so that nothing on the page leads it astray. */
	unsigned int worker_count;
	unsigned int listener_count;
	unsigned int method_count;
	uint64_t worker_offset;
	uint64_t worker_size;
	struct llr_page_entry *service; /* borrows from page; LLR_PAGE_SERVICE_WORDS of them */
	struct llr_page_line *lines;    /* borrows from page; LLR_PAGE_FALLBACKS of them */
};

static struct llr_page_head *head_of(struct llr_stats *stats)
{
	return (struct llr_page_head *)(void *)stats->page;
}

/* 0: taken; -EAGAIN: another holds it; else what fcntl says. */
static int lock_page(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static bool is_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* True if the open file is the one at path. */
static bool is_at(const char *path, const struct stat *opened)
{
	struct stat there;

	return lstat(path, &there) == 0 && there.st_ino == opened->st_ino &&
	       there.st_dev == opened->st_dev;
}

static int name_taken(int fd, const char *name, struct llrph_error *error)
{
	uint32_t pid = 0;
	ssize_t size = pread(fd, &pid, sizeof(pid), offsetof(struct llr_page_head, pid));

	if (size != (ssize_t)sizeof(pid) || pid == 0)
		return llr_error_set(error, -EEXIST,
				     "a server named '%s' is just starting: give this one "
				     "another --name",
				     name);
	return llr_error_set(error, -EEXIST,
			     "a server named '%s' is running (pid %u): stop it, or give this one "
			     "another --name",
			     name, pid);
}

/*
 * One round for the name: *fd is an empty file at path that is locked by us, or -1 if the round was
 * lost, or spent on clearing a dead server's page away.
 */
static int claim_once(const char *path, const char *name, int *fd, struct llrph_error *error)
{
	struct stat status;
	int code;
	int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);

	*fd = -1;
	if (opened < 0)
		return llr_error_set(error, -errno,
				     "can't open the stats page %s: %s; remove it if it is not "
				     "yours, or give another --name",
				     path, strerror(errno));
	code = lock_page(opened);
	if (code == -EAGAIN) {
		code = name_taken(opened, name, error);
		goto fail_claim;
	}
	if (code == 0 && fstat(opened, &status) != 0)
		code = -errno;
	if (code != 0) {
		llr_error_set(error, code, "can't lock the stats page %s: %s", path,
			      strerror(-code));
		goto fail_claim;
	}
	if (!S_ISREG(status.st_mode)) {
		code = llr_error_set(error, -EEXIST,
				     "%s is no file of ours: remove it, or give another --name",
				     path);
		goto fail_claim;
	}
	if (is_at(path, &status) && status.st_size == 0) {
		*fd = opened;
		return 0;
	}
	/* Its lock is ours and so is the right to remove it, if it still lies there. */
	if (is_at(path, &status) && unlink(path) != 0)
		code = llr_error_set(error, -errno,
				     "can't replace the stats page %s: %s; remove it, or give "
				     "another --name",
				     path, strerror(errno));
fail_claim:
	(void)close(opened);
	return code;
}

static int claim_name(const char *path, const char *name, int *fd, struct llrph_error *error)
{
	for (unsigned int i = 0; i < CLAIM_ATTEMPTS; i++) {
		int code = claim_once(path, name, fd, error);

		if (code != 0 || *fd >= 0)
			return code;
	}
	return llr_error_set(error, -EEXIST,
			     "others keep starting as '%s': give this one another --name", name);
}

static void keep_shape(struct llr_stats *stats, const struct llr_stats_shape *shape)
{
	const struct llr_page_head *head = head_of(stats);

	stats->worker_count = shape->worker_count;
	stats->listener_count = shape->listener_count;
	stats->method_count = shape->method_count;
	stats->worker_offset = head->worker_offset;
	stats->worker_size = head->worker_size;
	stats->lines = (struct llr_page_line *)(void *)(stats->page + head->fallback_offset);
	stats->service = (struct llr_page_entry *)(void *)(stats->page + head->entry_offset);
	stats->service += head->entry_count - LLR_PAGE_SERVICE_WORDS;
}

/* Lays the page out and shows it to readers. */
static void publish(struct llr_stats *stats, const struct llr_stats_shape *shape)
{
	llr_page_lay_out(stats->page, shape, (uint32_t)getpid(), llr_clock_wall_ns());
	keep_shape(stats, shape);
	/* Pairs with copy_page(): who sees the magic sees all that was laid out before. */
	atomic_store_explicit(&head_of(stats)->magic, LLR_PAGE_MAGIC, memory_order_release);
}

static struct llr_stats *new_handle(size_t size, struct llrph_error *error)
{
	struct llr_stats *stats = calloc(1, sizeof(*stats));

	if (stats == NULL) {
		(void)llr_error_set(error, -ENOMEM, "out of memory for the stats page");
		return NULL;
	}
	stats->size = size;
	stats->fd = -1;
	return stats;
}

/* Gives the file its size and maps it. */
static int map_page(struct llr_stats *stats, const char *path, struct llrph_error *error)
{
	int code = posix_fallocate(stats->fd, 0, (off_t)stats->size);
	void *page;

	if (code != 0)
		return llr_error_set(error, -code,
				     "no room for the stats page %s of %zu bytes: %s; free some, "
				     "or set LLRPH_RUNTIME_DIR to another folder",
				     path, stats->size, strerror(code));
	/* Populated, so that no first increment on a request's path meets a page fault. */
	page = mmap(NULL, stats->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, stats->fd,
		    0);
	if (page == MAP_FAILED)
		return llr_error_set(error, -errno, "can't map the stats page %s: %s", path,
				     strerror(errno));
	stats->page = page;
	stats->is_mapped = true;
	return 0;
}

int llr_stats_create(struct llr_stats **stats, const struct llr_stats_shape *shape,
		     struct llrph_error *error)
{
	char path[PATH_MAX];
	struct llr_stats *made;
	int code = llr_runtime_path(path, sizeof(path), shape->name, ".stats", error);

	if (code != 0)
		return code;
	made = new_handle(llr_page_size(shape), error);
	if (made == NULL)
		return -ENOMEM;
	code = claim_name(path, shape->name, &made->fd, error);
	if (code != 0)
		goto fail_claim;
	code = map_page(made, path, error);
	if (code != 0)
		goto fail_map;
	publish(made, shape);
	*stats = made;
	return 0;
fail_map:
	(void)unlink(path);
fail_claim:
	llr_stats_close(made);
	return code;
}

int llr_stats_create_private(struct llr_stats **stats, const struct llr_stats_shape *shape,
			     struct llrph_error *error)
{
	struct llr_stats *made = new_handle(llr_page_size(shape), error);

	if (made == NULL)
		return -ENOMEM;
	made->page = llr_memory_map_shared(made->size, "stats page");
	if (made->page == NULL) {
		int code = llr_error_set(error, -errno, "no memory for a stats page of %zu bytes",
					 made->size);

		llr_stats_close(made);
		return code;
	}
	publish(made, shape);
	*stats = made;
	return 0;
}

void llr_stats_close(struct llr_stats *stats)
{
	if (stats == NULL)
		return;
	if (stats->is_mapped)
		LLR_MUST(munmap(stats->page, stats->size) == 0);
	else
		llr_memory_unmap(stats->page, stats->size);
	if (stats->fd >= 0)
		(void)close(stats->fd);
	free(stats);
}

static void *at(struct llr_stats *stats, unsigned int worker, size_t offset)
{
	LLR_ASSERT(worker < stats->worker_count);
	LLR_ASSERT(offset < stats->worker_size);
	return stats->page + stats->worker_offset + worker * stats->worker_size + offset;
}

struct llr_counters *llr_stats_counters(struct llr_stats *stats, unsigned int worker)
{
	return at(stats, worker, 0);
}

struct llr_transport_counters *llr_stats_transport(struct llr_stats *stats, unsigned int worker,
						   unsigned int listener)
{
	LLR_ASSERT(listener < stats->listener_count);
	return at(stats, worker, llr_page_transport_offset(listener));
}

struct llr_method_stats *llr_stats_method(struct llr_stats *stats, unsigned int worker,
					  unsigned int method)
{
	LLR_ASSERT(method < stats->method_count);
	return at(stats, worker, llr_page_method_offset(stats->listener_count, method));
}

static uint64_t key_of(const char *name)
{
	uint64_t key = UINT64_C(14695981039346656037);

	for (; *name != '\0'; name++)
		key = (key ^ (uint8_t)*name) * UINT64_C(1099511628211);
	return key != 0 ? key : 1;
}

/*
 * Workers claim at the same time, and may die between any two steps: the key is claimed by one
 * compare-and-swap, and whoever finds its own key there writes the same name again, which changes
 * nothing. (Two names with one 64-bit key would share a word.)
 */
static bool claim_entry(struct llr_page_entry *entry, uint64_t key, const char *name)
{
	uint64_t there = 0;

	/* Relaxed: the key publishes nothing, ready does. */
	if (!atomic_compare_exchange_strong_explicit(&entry->key, &there, key, memory_order_relaxed,
						     memory_order_relaxed) &&
	    there != key)
		return false;
	if (atomic_load_explicit(&entry->ready, memory_order_relaxed) == 0) {
		memcpy(entry->name, name, strlen(name));
		/* Pairs with copy_page(): who sees ready sees the name. */
		atomic_store_explicit(&entry->ready, 1, memory_order_release);
	}
	return true;
}

uint64_t *llr_stats_word(struct llr_stats *stats, unsigned int worker, const char *name)
{
	size_t offset = llr_page_method_offset(stats->listener_count, stats->method_count);
	uint64_t key = key_of(name);

	LLR_ASSERT(name[0] != '\0');
	LLR_ASSERT(strlen(name) < sizeof(stats->service->name));
	for (unsigned int i = 0; i < LLR_PAGE_SERVICE_WORDS; i++)
		if (claim_entry(&stats->service[i], key, name))
			return at(stats, worker, offset + i * sizeof(uint64_t));
	return NULL;
}

void llr_stats_fallback(struct llr_stats *stats, const char *text)
{
	struct llr_page_line *lines = stats->lines;
	size_t kept = strnlen(text, sizeof(lines->text) - 1);
	uint32_t index;

	for (uint32_t i = 0; i < LLR_PAGE_FALLBACKS; i++)
		/* Acquire: pairs with the release below. */
		if (atomic_load_explicit(&lines[i].ready, memory_order_acquire) != 0 &&
		    strncmp(lines[i].text, text, kept) == 0 && lines[i].text[kept] == '\0')
			return;
	index = atomic_fetch_add_explicit(&head_of(stats)->fallback_count, 1, memory_order_relaxed);
	if (index >= LLR_PAGE_FALLBACKS)
		return;
	memcpy(lines[index].text, text, kept);
	/* Publishes the text to copy_page() and to the look above. */
	atomic_store_explicit(&lines[index].ready, 1, memory_order_release);
}

/* Reads size bytes, or as many as there are; returns their number or a negative errno code. */
static ssize_t read_all(int fd, uint8_t *bytes, size_t size, size_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = pread(fd, bytes + done, size - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/*
 * Copies by pread and not from a mapping: a file that is cut short meanwhile gives fewer bytes
 * instead of SIGBUS. The head comes first, so that its magic (see publish) vouches for the rest.
 */
static int copy_page(struct llr_stats *stats, struct llrph_error *error)
{
	size_t head_size = sizeof(struct llr_page_head);
	ssize_t size = read_all(stats->fd, stats->page, head_size, 0);

	if (size == (ssize_t)head_size) {
		size = read_all(stats->fd, stats->page + head_size, stats->size - head_size,
				head_size);
		size = size < 0 ? size : size + (ssize_t)head_size;
	}
	if (size < 0)
		return llr_error_set(error, (int)size, "can't be read: %s", strerror((int)-size));
	return llr_page_check(stats->page, (size_t)size, error);
}

static int open_page(struct llr_stats *stats, const char *path, struct llrph_error *error)
{
	struct stat status;

	stats->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (stats->fd < 0 && errno == ENOENT)
		return llr_error_set(error, -ENOENT,
				     "not there: is the server's --name right, and "
				     "LLRPH_RUNTIME_DIR the same?");
	if (stats->fd < 0 || fstat(stats->fd, &status) != 0)
		return llr_error_set(error, -errno, "can't be opened: %s", strerror(errno));
	if (!S_ISREG(status.st_mode))
		return llr_error_set(error, -EPROTO, "no stats page: it is not a file");
	if (status.st_size > LLR_PAGE_SIZE_MAX)
		return llr_error_set(error, -EPROTO, "no stats page: %lld bytes are too many",
				     (long long)status.st_size);
	stats->size = (size_t)status.st_size;
	if (stats->size < sizeof(struct llr_page_head))
		stats->size = sizeof(struct llr_page_head);
	stats->page = llr_memory_map(stats->size, "copy of a stats page");
	if (stats->page == NULL)
		return llr_error_set(error, -ENOMEM, "no memory for a copy of %zu bytes",
				     stats->size);
	stats->is_live = is_locked(stats->fd);
	return copy_page(stats, error);
}

int llr_stats_open(struct llr_stats **stats, const char *name, struct llrph_error *error)
{
	char path[PATH_MAX];
	struct llrph_error why = {{0}};
	struct llr_stats *opened;
	int code = llr_runtime_path(path, sizeof(path), name, ".stats", error);

	if (code != 0)
		return code;
	opened = new_handle(0, error);
	if (opened == NULL)
		return -ENOMEM;
	code = open_page(opened, path, &why);
	if (code != 0) {
		(void)llr_error_set(error, code, "%.120s: %.120s", path, why.text);
		llr_stats_close(opened);
		return code;
	}
	*stats = opened;
	return 0;
}

bool llr_stats_is_live(const struct llr_stats *stats)
{
	return stats->is_live;
}

void llr_stats_print(const struct llr_stats *stats, FILE *out, enum llr_stats_format format)
{
	if (format == LLR_STATS_JSON)
		llr_stats_print_json(out, stats->page, stats->is_live);
	else
		llr_stats_print_text(out, stats->page, stats->is_live,
				     format == LLR_STATS_TEXT_ALL);
}
