/* SPDX-License-Identifier: MIT */
/*
 * Payloads that say whose they are. The pattern is cut from one table of dice, at a place that
 * depends on the id, so that two ids share no run of bytes that a check would take for its own.
 * Runs on the simulator's only thread; the table is filled once and constant then.
 */
#include "request.h"

#include "random.h"

#include "base/bytes.h"

#include <llrph/service.h>

#define PLACE_COUNT 32768U /* places where a pattern may begin */

static uint8_t table[PLACE_COUNT + SIM_PAYLOAD_SIZE_MAX];

static const uint8_t *pattern(uint32_t id, uint32_t salt)
{
	uint64_t state = ((uint64_t)id << 8) | salt;

	if (llr_all_zero(table, 64)) {
		struct sim_random random;

		sim_random_init(&random, 0, 0);
		for (uint32_t i = 0; i < sizeof(table); i++)
			table[i] = (uint8_t)sim_random_next(&random);
	}
	return table + sim_splitmix64(&state) % PLACE_COUNT;
}

static void fill(uint8_t *bytes, uint32_t size, uint32_t id, uint32_t salt)
{
	LLR_ASSERT(size <= SIM_PAYLOAD_SIZE_MAX);
	if (size > 0)
		memcpy(bytes, pattern(id, salt), size);
	if (size >= SIM_ID_SIZE)
		llr_le32_store(bytes, id);
}

static bool check(const uint8_t *bytes, uint32_t size, uint32_t id, uint32_t salt)
{
	const uint8_t *expected = pattern(id, salt);
	uint32_t skip = size >= SIM_ID_SIZE ? SIM_ID_SIZE : 0;

	if (skip > 0 && llr_le32_load(bytes) != id)
		return false;
	return size == skip || memcmp(bytes + skip, expected + skip, size - skip) == 0;
}

void sim_payload_fill(uint8_t *bytes, uint32_t size, uint32_t id)
{
	fill(bytes, size, id, 1);
}

bool sim_payload_check(const uint8_t *bytes, uint32_t size, uint32_t id)
{
	return check(bytes, size, id, 1);
}

void sim_reply_fill(uint8_t *bytes, uint32_t size, uint32_t id)
{
	fill(bytes, size, id, 2);
}

bool sim_reply_check(const uint8_t *bytes, uint32_t size, uint32_t id)
{
	return check(bytes, size, id, 2);
}

const char *sim_method_name(enum sim_method method)
{
	static const char *const names[SIM_METHOD_COUNT] = {
		[SIM_METHOD_ONCE] = "sim.Test/Once",
		[SIM_METHOD_AGAIN] = "sim.Test/Again",
		[SIM_METHOD_MISSING] = "sim.Test/Missing",
	};

	LLR_ASSERT(method < SIM_METHOD_COUNT);
	return names[method];
}

uint32_t sim_method_route(enum sim_method method)
{
	return llrph_route(sim_method_name(method));
}
