/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netstack's own object, seen by all its files. Who does what:
 *   netstack.c    the object, and the way of a packet that comes in
 *   sanitize.c    first look at a packet: nothing malformed gets past it
 *   reasm.c       inner fragments, bounded
 *   udp.c         UDP and ICMP: parsed and built here, lwIP never sees them
 *   syn.c         records of SYNs: accept, reject, cancel
 *   tcp.c         whose a segment is, the bounds per peer, connections that we open
 *   tcp_stream.c  base/stream.h over one lwIP connection; tcp_tx.c: its send memory
 *   lwip_ip.c     what stands under lwIP's TCP: packets out, buffers in, clock, timers
 * ip_layer.h is the contract of the IP half, tcp.h that of the TCP half.
 */
#pragma once

#include "base/hash.h"
#include "base/ip.h"
#include "netstack/netstack.h"

struct event;
struct reasm;
struct tcp_layer;

struct netstack {
	struct event_base *base;
	const struct netstack_ops *ops;
	void *arg;
	struct netstack_limits limits; /* no zeros: netstack_new() put the defaults in */
	struct netstack_stats stats;
	struct reasm *reasm; /* owned by reasm.c: reasm_new(), reasm_free() */
	struct tcp_layer *tcp;
};

static inline void netstack_drop(struct netstack *ns, enum netstack_drop why)
{
	ns->stats.drops[why]++;
}

/* Every packet leaves through here: counts, then ops->output(). */
static inline void netstack_output(struct netstack *ns, struct pkt *pkt)
{
	ns->stats.tx_packets++;
	if (pkt->gso)
		ns->stats.tx_super++;
	ns->ops->output(ns->arg, pkt);
}
