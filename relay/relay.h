/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay: joins two streams with back-pressure, half-close and reset; dials host sockets; carries
 * UDP flows and pings through host sockets. It knows nothing of the overlay: the exit (manager),
 * the intake (daemon) and the capture (agent) are made of it. One thread; every callback may free
 * its object.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/pkt.h"
#include "base/stream.h"

struct event_base;

/* --- joining two streams --------------------------------------------------- */

struct relay;
struct relay_result {
	uint64_t a_to_b, b_to_a; /* bytes */
	int error; /* 0 = both directions ended in order; else what broke, and both were reset */
};

/*
 * Owns both streams from a successful return on. Bytes flow both ways, at most what the other side
 * takes is read; end of stream on one side becomes shutdown on the other (half-close); an error on
 * one side aborts the other. When all is over both are closed and `done` is called once (may be
 * NULL). Two host sockets are spliced in the kernel; lwIP streams move without a copy of ours.
 * SIGPIPE is ignored from the first join on, unless it has a handler: splice(2) would raise it.
 */
int relay_join(struct event_base *base, struct stream *a, struct stream *b,
	       void (*done)(void *arg, const struct relay_result *res), void *arg,
	       struct relay **rp);
/* The same, where bytes have been read before: held[0] of `a`, which `b` gets first, and held[1] of `b`.
 * They are copied. */
int relay_join_held(struct event_base *base, struct stream *a, struct stream *b,
		    const struct iovec held[2],
		    void (*done)(void *arg, const struct relay_result *res), void *arg,
		    struct relay **rp);
/* Aborts both, no callback. */
void relay_abort(struct relay *r);

/*
 * So many bytes of `in` to `out` (UINT64_MAX: until its end), moved in the same way, for who looks at what is before and behind
 * them. The streams stay the caller's: it asks them for the events, and runs it when they come.
 */
struct relay_part;
enum { PART_DONE, PART_WANTS_IN, PART_WANTS_OUT, PART_CUT /* `in` ended before */ };
int relay_part_new(struct relay_part **pp, struct stream *in, struct stream *out, uint64_t len);
/* One of those, or negative errno; *delivered: how many bytes it was this time. */
int relay_part_run(struct relay_part *p, uint64_t *delivered);
void relay_part_free(struct relay_part *p); /* NULL ok */

/* --- dialling -------------------------------------------------------------- */

struct dial;
/* Connects; the callback gets a stream, or NULL and -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH,
 * -ETIMEDOUT, -EMFILE, ... Never from inside the call. `timeout` 0 = the kernel's. */
int dial_tcp(struct event_base *base, const union sockaddr_any *to, nsec_t timeout,
	     void (*cb)(void *arg, struct stream *s, int error), void *arg, struct dial **dp);
/*
 * The same, but a connection that stands at once, as one to a listener on this machine does, is in *now, and nothing comes later; else
 * *now is NULL. It wants READABLE, and gets stream_tcp_options() when there is more than one short write, or its fd is asked for: many
 * have one, and who is on this machine does not vanish without a word.
 */
int dial_tcp_now(struct event_base *base, const union sockaddr_any *to, nsec_t timeout,
		 void (*cb)(void *arg, struct stream *s, int error), void *arg, struct stream **now,
		 struct dial **dp);
void dial_cancel(struct dial *d); /* no callback; not after the callback */

/* --- UDP flows and pings --------------------------------------------------- */

struct udp_flows;
enum {
	UDP_FLOW_IDLE = 60,	/* s without a datagram either way */
	UDP_FLOW_IDLE_DNS = 10, /* s, when every question to port 53 has its answer */
	UDP_FLOWS_MAX = 16384,
	UDP_FLOWS_PER_PEER = 4096,
};
struct udp_flows_ops {
	void (*reply)(void *arg, const struct flow *flow, const uint8_t *data, size_t len);
	void (*refused)(void *arg, const struct flow *flow);
	void (*echo_reply)(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
			   size_t len);
};
struct udp_flows_stats {
	unsigned flows;
	/* Dropped: */
	uint64_t limit;	  /* a bound was hit */
	uint64_t no_ping; /* ping sockets are not permitted (net.ipv4.ping_group_range) */
	uint64_t errors;  /* else */
};
int udp_flows_new(struct udp_flows **up, struct event_base *base, const struct udp_flows_ops *ops,
		  void *arg);
/* Whose flows are all one party's: at a bound (`most` flows, descriptors) the flow that was idle
 * longest makes room, in place of the new one being refused, and there is none per peer. The kernel
 * counts about 3 KiB for each socket against the container's memory. */
void udp_flows_make_room(struct udp_flows *u, unsigned most);
void udp_flows_free(struct udp_flows *u);
/* A datagram of `flow` goes to `to` (the real target) through the flow's connected socket, made at
 * first use. */
void udp_flows_send(struct udp_flows *u, const struct flow *flow, const union sockaddr_any *to,
		    const uint8_t *data, size_t len, void *peer);
/* An echo request goes to flow->dst, through an unprivileged ping socket. */
void udp_flows_echo(struct udp_flows *u, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer);
void udp_flows_forget_peer(struct udp_flows *u, void *peer);
unsigned udp_flows_of_peer(const struct udp_flows *u, void *peer); /* now */
const struct udp_flows_stats *udp_flows_stats(const struct udp_flows *u);
