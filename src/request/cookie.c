/* SPDX-License-Identifier: MIT */
/*
 * Cookies: see cookie.h. Pure; any thread; owns nothing.
 */
#include "request/cookie.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <sodium.h>

_Static_assert(crypto_shorthash_siphash24_KEYBYTES == 16, "the secret's key is one of SipHash's");

static uint64_t hash(const uint8_t key[16], const uint8_t *bytes, size_t size)
{
	uint8_t out[crypto_shorthash_siphash24_BYTES];

	(void)crypto_shorthash_siphash24(out, bytes, size, key);
	return llr_le64_load(out);
}

static uint64_t cookie_of(const uint8_t key[16], const struct llr_address *address,
			  uint16_t listener, uint64_t period)
{
	uint8_t bytes[sizeof(*address) + 10];
	uint64_t cookie;

	memcpy(bytes, address, sizeof(*address));
	llr_le16_store(bytes + sizeof(*address), listener);
	llr_le64_store(bytes + sizeof(*address) + 2, period);
	cookie = hash(key, bytes, sizeof(bytes));
	return cookie != 0 ? cookie : 1; /* 0 means "none yet" */
}

uint64_t llr_cookie_make(const uint8_t key[16], const struct llr_address *address,
			 uint16_t listener, uint64_t now_ns)
{
	return cookie_of(key, address, listener, now_ns / LLR_COOKIE_PERIOD_NS);
}

bool llr_cookie_check(const uint8_t key[16], const struct llr_address *address, uint16_t listener,
		      uint64_t now_ns, uint64_t cookie)
{
	uint64_t period = now_ns / LLR_COOKIE_PERIOD_NS;

	if (cookie == 0)
		return false;
	return cookie == cookie_of(key, address, listener, period) ||
	       (period > 0 && cookie == cookie_of(key, address, listener, period - 1));
}

uint64_t llr_cookie_random(const uint8_t key[16], uint64_t now_ns, uint64_t counter)
{
	uint8_t bytes[17];

	bytes[0] = 'r'; /* no cookie has this size: the two uses can't meet */
	llr_le64_store(bytes + 1, now_ns);
	llr_le64_store(bytes + 9, counter);
	return hash(key, bytes, sizeof(bytes));
}
