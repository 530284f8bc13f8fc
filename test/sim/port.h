/* SPDX-License-Identifier: MIT */
/*
 * A port: the transport (ops table) through which engine and client send datagrams into the
 * network. It keeps the contract of src/transport/transport.h and udp.h, and asserts that its user
 * does: one room at a time, released bursts, sizes in range.
 *
 * Each room and each span lies in memory of exactly its size, so that a sanitizer sees any step
 * beyond it.
 *
 * Thread: the simulator's only one.
 */
#ifndef SIM_PORT_H
#define SIM_PORT_H

#include "network.h"

#include "transport/transport.h"

struct sim_port;

/* listen: the peers are whoever sends; else `to` is the one peer, and nobody else is heard. */
struct sim_port *sim_port_open(struct sim_network *network, struct sim_node *node,
			       const struct llr_address *to,
			       struct llr_transport_counters *counters);
struct llr_transport *sim_port_transport(struct sim_port *port);
/* The connect role's one peer. */
struct llr_peer *sim_port_peer(struct sim_port *port);
/* Its datagrams come from another node from now on; the one before is closed. */
void sim_port_bind(struct sim_port *port, struct sim_node *node);
/*
 * The port as its process leaves it when it dies: nothing unsent is sent, a room may be open.
 * The node stays. Never after ops->close, which frees the port.
 */
void sim_port_abandon(struct sim_port *port);
/* Called at quiet moments: no room is open, no burst unreleased, nothing unsent. */
bool sim_port_is_idle(const struct sim_port *port);

#endif
