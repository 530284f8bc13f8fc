/* SPDX-License-Identifier: MIT */
/*
 * A listener on the line: what a client and a server send must keep the protocol, not only come out
 * right in the end. What it hears it also tries to misuse.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_TAP_H
#define SIM_TAP_H

#include <stdint.h>

struct sim_node;
struct sim_world;

/* A datagram that a caller, or the server, sends now. */
void sim_tap_caller(struct sim_world *world, const uint8_t *bytes, uint32_t size);
void sim_tap_server(struct sim_world *world, struct sim_node *to, const uint8_t *bytes,
		    uint32_t size);
/* Cookies of before are worth nothing: another server with another secret. */
void sim_tap_restart(struct sim_world *world);

#endif
