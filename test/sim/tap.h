/* SPDX-License-Identifier: MIT */
/*
 * A listener on the callers' line: what a client sends must keep the protocol, not only come out
 * right in the end.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_TAP_H
#define SIM_TAP_H

#include <stdint.h>

struct sim_world;

/* A datagram that a caller sends now. */
void sim_tap(struct sim_world *world, const uint8_t *bytes, uint32_t size);

#endif
