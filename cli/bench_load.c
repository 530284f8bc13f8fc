/* SPDX-License-Identifier: MIT */
/*
 * What the bench sends: a pattern of one size, or the messages of a file.
 *
 * Thread: set-up's. Owns the bytes and the list of messages, which is made before the first request
 * so that the loop only looks up, and so that a malformed file is refused before anything is sent.
 */
#include "bench.h"
#include "cli.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX ((off_t)UINT32_MAX * 16) /* 64 GiB: more is no file for a replay */

/* Finds the message at offset. 1: found, next is where the one after it starts; 0: the end. */
typedef int (*next_fn)(const uint8_t *bytes, size_t size, size_t offset,
		       struct llr_bench_message *message, size_t *next);

static int malformed(size_t offset, const char *what)
{
	return -llr_cli_fail("--data is malformed at offset %zu: %s; is --framing right?", offset,
			     what);
}

static int next_itch(const uint8_t *bytes, size_t size, size_t offset,
		     struct llr_bench_message *message, size_t *next)
{
	if (offset == size)
		return 0;
	if (size - offset < 2)
		return malformed(offset, "half a length");
	message->size = llr_be16_load(bytes + offset);
	if (message->size == 0)
		return 0;
	if (size - offset - 2 < message->size)
		return malformed(offset, "a message that is longer than the rest of the file");
	message->bytes = bytes + offset + 2;
	*next = offset + 2 + message->size;
	return 1;
}

static int next_line(const uint8_t *bytes, size_t size, size_t offset,
		     struct llr_bench_message *message, size_t *next)
{
	const uint8_t *end;
	size_t length;

	if (offset == size)
		return 0;
	end = memchr(bytes + offset, '\n', size - offset);
	length = end == NULL ? size - offset : (size_t)(end - (bytes + offset));
	if (length > LLR_PAYLOAD_SIZE_MAX)
		return malformed(offset, "a line of more than 16 MiB");
	message->bytes = bytes + offset;
	message->size = (uint32_t)length;
	*next = offset + length + (end != NULL);
	return 1;
}

static int next_length32(const uint8_t *bytes, size_t size, size_t offset,
			 struct llr_bench_message *message, size_t *next)
{
	if (offset == size)
		return 0;
	if (size - offset < 4)
		return malformed(offset, "half a length");
	message->size = llr_le32_load(bytes + offset);
	if (message->size > LLR_PAYLOAD_SIZE_MAX)
		return malformed(offset, "a message of more than 16 MiB");
	if (size - offset - 4 < message->size)
		return malformed(offset, "a message that is longer than the rest of the file");
	message->bytes = bytes + offset + 4;
	*next = offset + 4 + message->size;
	return 1;
}

static const next_fn next_of[] = {
	[LLR_BENCH_ITCH] = next_itch,
	[LLR_BENCH_LINES] = next_line,
	[LLR_BENCH_LENGTH32] = next_length32,
};

/* Counts the messages, and lists them where load->messages is there already. */
static int walk(struct llr_bench_load *load, size_t size, next_fn next)
{
	struct llr_bench_message message = {0};
	size_t offset = 0;
	int found;

	load->count = 0;
	load->total_size = 0;
	while ((found = next(load->bytes, size, offset, &message, &offset)) > 0) {
		if (load->messages != NULL)
			load->messages[load->count] = message;
		load->count++;
		load->total_size += message.size;
		if (message.size > load->size_max)
			load->size_max = message.size;
	}
	return -found;
}

static int take_messages(struct llr_bench_load *load)
{
	load->messages_size = load->count * sizeof(*load->messages);
	load->messages = llr_memory_map(load->messages_size, "list of messages");
	if (load->messages == NULL)
		return llr_cli_fail("no memory for a list of %llu messages",
				    (unsigned long long)load->count);
	return 0;
}

/* Reads the whole file: a mapping would end the process if somebody cut the file short. */
static int read_file(struct llr_bench_load *load, const char *path, size_t *size)
{
	struct stat status = {0};
	size_t done = 0;
	int code = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0) {
		code = llr_cli_fail("can't open --data %s: %s", path, strerror(errno));
		goto fail_open;
	}
	if (!S_ISREG(status.st_mode) || status.st_size > FILE_SIZE_MAX) {
		code = llr_cli_fail("--data %s is %s: copy what is to be sent into a file first",
				    path, S_ISREG(status.st_mode) ? "too large" : "no file");
		goto fail_open;
	}
	load->bytes_size = (size_t)status.st_size + 1; /* so that an empty file has a page too */
	load->bytes = llr_memory_map(load->bytes_size, "data to send");
	if (load->bytes == NULL) {
		code = llr_cli_fail("no memory for the %zu bytes of --data %s",
				    load->bytes_size - 1, path);
		goto fail_open;
	}
	while (done < load->bytes_size - 1) {
		ssize_t got = read(fd, load->bytes + done, load->bytes_size - 1 - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			code = llr_cli_fail("can't read --data %s: %s", path, strerror(errno));
			goto fail_open;
		}
		if (got == 0)
			break;
		done += (size_t)got;
	}
	*size = done;
fail_open:
	if (fd >= 0)
		(void)close(fd);
	return code;
}

static int open_file(struct llr_bench_load *load, const struct llr_bench_plan *plan)
{
	next_fn next = next_of[plan->framing];
	size_t size = 0;
	int code = read_file(load, plan->data, &size);

	if (code != 0)
		return code;
	if (size >= 2 && load->bytes[0] == 0x1f && load->bytes[1] == 0x8b)
		return llr_cli_fail("--data %s is compressed: gunzip it first", plan->data);
	code = walk(load, size, next);
	if (code != 0)
		return code;
	if (load->count == 0)
		return llr_cli_fail("--data %s holds no message", plan->data);
	code = take_messages(load);
	return code != 0 ? code : walk(load, size, next);
}

static int make_pattern(struct llr_bench_load *load, uint32_t size)
{
	int code;

	load->bytes_size = (size_t)size + 1;
	load->bytes = llr_memory_map(load->bytes_size, "data to send");
	if (load->bytes == NULL)
		return llr_cli_fail("no memory for a payload of %u bytes", size);
	/* No two neighbours equal, no short period: a shifted or cut echo is seen. */
	for (uint32_t i = 0; i < size; i++)
		load->bytes[i] = (uint8_t)(i * 167U + (i >> 8) * 13U + 1U);
	load->count = 1;
	load->total_size = size;
	load->size_max = size;
	load->stamped = size >= sizeof(uint64_t);
	code = take_messages(load);
	if (code == 0)
		load->messages[0] = (struct llr_bench_message){load->bytes, size};
	return code;
}

int llr_bench_load_open(struct llr_bench_load *load, const struct llr_bench_plan *plan)
{
	int code;

	LLR_ASSERT(plan->size <= LLR_PAYLOAD_SIZE_MAX);
	*load = (struct llr_bench_load){0};
	code = plan->data != NULL ? open_file(load, plan)
				  : make_pattern(load, (uint32_t)plan->size);
	if (code != 0)
		llr_bench_load_close(load);
	return code;
}

void llr_bench_load_close(struct llr_bench_load *load)
{
	llr_memory_unmap(load->messages, load->messages_size);
	llr_memory_unmap(load->bytes, load->bytes_size);
	*load = (struct llr_bench_load){0};
}
