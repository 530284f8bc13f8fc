/* SPDX-License-Identifier: MIT */
/*
 * Fuzz: bytes as a stats page. What passes the check is printed both ways, to nowhere.
 *
 * Magic, version and sizes are put right where the first byte is odd, so that the fuzzer need not
 * find them.
 */
#include "observe/page.h"

#include "base/bytes.h"

#include <stdlib.h>

#define SIZE_TRIED_MAX (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static FILE *out;
	uint8_t *page;

	if (out == NULL)
		out = fopen("/dev/null", "w");
	if (out == NULL || size == 0 || size > SIZE_TRIED_MAX)
		return 0;
	/* A block of exactly that size, so that the sanitizer sees one byte too far. */
	page = malloc(size);
	if (page == NULL)
		return 0;
	memcpy(page, bytes, size);
	if (size >= sizeof(struct llr_page_head) && (bytes[0] & 1) != 0) {
		llr_le64_store(page, LLR_PAGE_MAGIC);
		llr_le32_store(page + offsetof(struct llr_page_head, version), LLR_PAGE_VERSION);
		llr_le32_store(page + offsetof(struct llr_page_head, head_size),
			       sizeof(struct llr_page_head));
		llr_le64_store(page + offsetof(struct llr_page_head, total_size), size);
	}
	if (llr_page_check(page, size, NULL) == 0) {
		llr_stats_print_text(out, page, true, true);
		llr_stats_print_json(out, page, false);
	}
	free(page);
	return 0;
}
