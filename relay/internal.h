/* SPDX-License-Identifier: Apache-2.0 */
/* What relay/'s files share, and what its tests may turn. */
#pragma once

#include "relay/relay.h"

/*
 * Pipes for splice(2), pooled. A direction holds one only while bytes are in it, so ten thousand
 * idle joins hold none. pipe_get(): 0 or negative errno (-EMFILE, -ENFILE). pipe_put() takes an
 * empty pipe back, pipe_discard() one with bytes in it.
 */
struct pipe_pair {
	int rd, wr;
};
enum {
	PIPE_SIZE = 256 * 1024,
	PIPE_POOL = 8, /* empty ones kept */
};
int pipe_get(struct pipe_pair *p);
void pipe_put(struct pipe_pair *p);
void pipe_discard(struct pipe_pair *p);

enum { RELAY_BUDGET = 1 << 20 }; /* bytes that one direction moves per event */

/* Idle times in place of UDP_FLOW_IDLE and UDP_FLOW_IDLE_DNS. For tests. */
void udp_flows_set_idle(struct udp_flows *u, nsec_t idle, nsec_t idle_dns);
