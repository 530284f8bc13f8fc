/* SPDX-License-Identifier: MIT */
/*
 * Keeping replies on disk in the order of their requests, while they come in any order.
 *
 * Thread: the process's only one. Owns the file and one slot for each request that may be
 * outstanding; a request is begun only when its slot, number mod count, is written.
 *
 * Invariant: requests below next are written; none at or above next + slot_count has been begun.
 */
#include "bench.h"
#include "cli.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAVE_MEMORY_MAX (UINT64_C(1) << 30)
#define NO_REPLY        UINT32_MAX

struct slot {
	uint32_t size; /* gathered so far; NO_REPLY: not 2xx */
	uint16_t status;
	bool done;
};

struct llr_bench_save {
	FILE *file;         /* owns */
	const char *path;   /* borrows */
	uint8_t *bytes;     /* owns; slot_count times slot_size */
	struct slot *slots; /* owns */
	size_t slot_size;
	uint64_t slot_count;
	uint64_t next; /* the first request that is not written */
	bool too_large;
};

int llr_bench_save_open(struct llr_bench_save **save, const struct llr_bench_plan *plan,
			uint32_t reply_size_max)
{
	struct llr_bench_save *made;

	if (plan->outstanding * reply_size_max > SAVE_MEMORY_MAX)
		return llr_cli_fail("--save keeps up to %llu replies of %u bytes in memory: give a "
				    "smaller --outstanding",
				    (unsigned long long)plan->outstanding, reply_size_max);
	made = calloc(1, sizeof(*made));
	if (made == NULL)
		return llr_cli_fail("out of memory for --save");
	made->path = plan->save;
	made->slot_size = reply_size_max;
	made->slot_count = plan->outstanding;
	made->slots = calloc(made->slot_count, sizeof(*made->slots));
	made->bytes = llr_memory_map(made->slot_count * made->slot_size + 1, "replies to save");
	if (made->slots == NULL || made->bytes == NULL) {
		(void)llr_cli_fail("out of memory for --save: give a smaller --outstanding");
		goto fail_open;
	}
	made->file = fopen(plan->save, "we");
	if (made->file == NULL) {
		(void)llr_cli_fail("can't write --save %s: %s", plan->save, strerror(errno));
		goto fail_open;
	}
	*save = made;
	return 0;
fail_open:
	llr_memory_unmap(made->bytes, made->slot_count * made->slot_size + 1);
	free(made->slots);
	free(made);
	return LLR_CLI_FAILED;
}

uint64_t llr_bench_save_limit(const struct llr_bench_save *save)
{
	return save->next + save->slot_count;
}

/* Errors stick to the stream: close reports them. */
static void write_slot(struct llr_bench_save *save, const struct slot *slot, const uint8_t *bytes)
{
	uint8_t size[4];
	uint8_t status[2];

	llr_le32_store(size, slot->size);
	llr_le16_store(status, slot->status);
	(void)fwrite(size, sizeof(size), 1, save->file);
	if (slot->size == NO_REPLY)
		(void)fwrite(status, sizeof(status), 1, save->file);
	else
		(void)fwrite(bytes, 1, slot->size, save->file);
}

void llr_bench_save_reply(struct llr_bench_save *save, uint64_t number,
			  const struct llrph_completion *completion)
{
	uint64_t index = number % save->slot_count;
	struct slot *slot = &save->slots[index];
	uint8_t *bytes = save->bytes + index * save->slot_size;

	LLR_ASSERT(number >= save->next);
	LLR_ASSERT(number < save->next + save->slot_count);
	LLR_ASSERT(!slot->done);
	if (completion->error != 0 || completion->status / 100 != 2) {
		slot->size = NO_REPLY;
		slot->status = completion->error != 0 ? 0 : completion->status;
	} else if (slot->size != NO_REPLY) {
		/* Parts (MORE) can add up to more than a message. */
		if (completion->size > save->slot_size - slot->size) {
			save->too_large = true;
			slot->size = NO_REPLY;
			slot->status = completion->status;
		} else {
			memcpy(bytes + slot->size, completion->payload, completion->size);
			slot->size += completion->size;
		}
	}
	slot->done = completion->more == 0;
	while (save->slots[save->next % save->slot_count].done) {
		index = save->next % save->slot_count;
		write_slot(save, &save->slots[index], save->bytes + index * save->slot_size);
		save->slots[index] = (struct slot){0};
		save->next++;
	}
}

int llr_bench_save_close(struct llr_bench_save *save)
{
	int code = 0;
	bool failed;

	if (save == NULL)
		return 0;
	failed = ferror(save->file) != 0;
	if (fclose(save->file) != 0 || failed)
		code = llr_cli_fail("can't write --save %s: %s", save->path, strerror(errno));
	else if (save->too_large)
		code = llr_cli_fail("a reply in parts was larger than --save keeps: %zu bytes",
				    save->slot_size);
	llr_memory_unmap(save->bytes, save->slot_count * save->slot_size + 1);
	free(save->slots);
	free(save);
	return code;
}
