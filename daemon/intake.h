/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intake: connections that an agent took for an intercept arrive at our stack, each intercepted
 * port at an overlay port of its own, and go on to 127.0.0.1:LOCAL. The process is dialled before
 * the agent is answered, so that "nothing listens" reaches the agent as a refusal and the
 * application can serve instead. A UDP port's datagrams go to 127.0.0.1:LOCAL, each flow by a socket of
 * its own; what the kernel says about one that nobody took reaches the agent as an ICMP error.
 */
#pragma once

#include "base/addr.h"
#include "base/error.h"
#include "base/pkt.h"
#include "base/stream.h"

struct event_base;
struct intake;
struct netstack;
struct netstack_syn;

enum { INTAKE_PORTS = 256 };

struct intake_port {
	char intercept[128]; /* whose; one may have several */
	uint16_t overlay;    /* port at our stack address */
	uint16_t local;	     /* port on 127.0.0.1, or, TCP, [::1] if refused there */
	bool udp;
};

struct intake_stats {
	unsigned open;	  /* connections now */
	uint64_t total;	  /* accepted, UDP flows among them */
	uint64_t refused; /* nothing listened, or the dial failed otherwise */
	uint64_t unknown; /* no such port, or not from an agent */
};

int intake_new(struct intake **ip, struct event_base *base, struct netstack *stack,
	       struct error *e);
void intake_free(struct intake *in); /* resets all connections; the netstack still lives */
/* Replaces the set. Connections of ports that are no longer in it are reset. -ENOSPC above
 * INTAKE_PORTS. */
int intake_set(struct intake *in, const struct intake_port *ports, unsigned n);
const struct intake_stats *intake_stats(const struct intake *in);
/* Connections and UDP flows open now and accepted in all for one intercept. */
void intake_count(const struct intake *in, const char *intercept, unsigned *open, uint64_t *total);

/* From the netstack's callbacks. `ctx` is what intake_syn() hung on the record. */
void intake_syn(struct intake *in, struct netstack_syn *syn, const struct flow *flow);
void intake_cancel(void *ctx);
void intake_open(void *ctx, struct stream *s);
void intake_udp(struct intake *in, const struct flow *flow, const uint8_t *data, size_t len);
