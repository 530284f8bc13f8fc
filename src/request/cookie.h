/* SPDX-License-Identifier: MIT */
/*
 * Cookies: a keyed hash of who asks, so that a datagram's sender proves its address before the
 * server keeps anything for it; and ids and nonces from the same key. SipHash-2-4 is libsodium's.
 * The period of the clock is hashed in, so the cookie changes every 10 s; the one of the period
 * before is good too, so each is good for 10 s to 20 s. Pure.
 */
#ifndef LLR_REQUEST_COOKIE_H
#define LLR_REQUEST_COOKIE_H

#include "base/span.h"

uint64_t llr_cookie_make(const uint8_t key[16], const struct llr_address *address,
			 uint16_t listener, uint64_t now_ns);
bool llr_cookie_check(const uint8_t key[16], const struct llr_address *address, uint16_t listener,
		      uint64_t now_ns, uint64_t cookie);
/* An unpredictable number for each different (now_ns, counter). */
uint64_t llr_cookie_random(const uint8_t key[16], uint64_t now_ns, uint64_t counter);

#endif
