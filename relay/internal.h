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

/* --- half.c: one direction -------------------------------------------------- */

enum half_mode { SPLICE, PEEK, RESERVE, COPY };
enum half_state { EMPTY, BLOCKED, ENDED };

struct half {
	struct stream *in, *out;
	enum half_mode mode;
	enum half_state state;
	uint64_t bytes;	       /* delivered */
	uint64_t left;	       /* to be read; UINT64_MAX = until the end */
	bool drained;	       /* the last read left the source empty, as far as can be told */
	struct pipe_pair pipe; /* SPLICE; rd -1 = none */
	size_t in_pipe;
	uint8_t *
		rest; /* what was read and not yet taken (COPY, or before the join); NULL = nothing */
	size_t rest_off, rest_len;
};

/* -ENOMEM only where bytes are held. */
int half_init(struct half *h, struct stream *in, struct stream *out, uint64_t left,
	      const struct iovec *held);
void half_fini(struct half *h);
/* 0 with h->state set, or what broke. */
int half_pump(struct half *h);

/* Idle times in place of UDP_FLOW_IDLE and UDP_FLOW_IDLE_DNS. For tests. */
void udp_flows_set_idle(struct udp_flows *u, nsec_t idle, nsec_t idle_dns);
