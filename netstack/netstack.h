/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netstack: IP packets <-> TCP streams, UDP datagrams, ICMP echo. TCP is lwIP (nobody else sees it); a sanitizer and a
 * bounded reassembler stand in front of it. It answers for whatever destination the packet names: the program decides
 * by the callbacks who is served.
 *
 * Dial first: a SYN is kept in a record and told by ops->tcp_syn; the program dials and then calls netstack_accept() or
 * netstack_reject(). Nothing is answered before. Repeats are ignored; another ISN or a RST cancels (ops->tcp_cancel).
 * lwIP is global: one netstack per process. One thread. Callbacks may call anything here but netstack_free().
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/pkt.h"
#include "base/stream.h"

struct event_base;
struct netstack;
struct netstack_syn;

enum {
	NETSTACK_SYN_PER_PEER = 512,
	NETSTACK_SYN_MAX = 4096,
	NETSTACK_SYN_TTL = 30,	     /* s */
	NETSTACK_REASM_PACKETS = 64, /* inner fragments: packets under assembly */
	NETSTACK_REASM_BYTES = 1 << 20,
	NETSTACK_REASM_TTL = 15, /* s */
};

enum netstack_drop {
	NS_DROP_VERSION,
	NS_DROP_LENGTH,
	NS_DROP_CHECKSUM,
	NS_DROP_FRAGMENT,
	NS_DROP_REASM_FULL,
	NS_DROP_TCP_HEADER,
	NS_DROP_TCP_OPTIONS,
	NS_DROP_SOURCE,
	NS_DROP_PROTO,
	NS_DROP_SYN_LIMIT,
	NS_DROP_CONN_LIMIT,
	NS_DROP_MEMORY,
	NS_DROP_UDP_HEADER,
	NS_DROP_ICMP,
	NS_NUM_DROPS,
};
const char *netstack_drop_name(enum netstack_drop d);

enum netstack_reject {
	REJECT_REFUSED,	    /* RST */
	REJECT_UNREACHABLE, /* ICMP host unreachable */
	REJECT_PROHIBITED,  /* ICMP administratively prohibited */
	REJECT_SILENT,	    /* timed out: nothing */
};

struct netstack_ops {
	/* A packet (maybe a super-packet) leaves; valid during the call; the bytes may be changed. */
	void (*output)(void *arg, struct pkt *pkt);
	/* A new connection is wanted. Later: netstack_accept/reject(syn) exactly once, also from inside this callback,
	 * unless tcp_cancel() came first. `user` is the `peer` given to netstack_input(). */
	void (*tcp_syn)(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer);
	/* The client gave up or the record expired: `syn` is gone after the return. `ctx` is of netstack_syn_set(). */
	void (*tcp_cancel)(void *arg, struct netstack_syn *syn, void *ctx);
	/* The handshake that netstack_accept() started is done: the stream is the program's. */
	void (*tcp_open)(void *arg, struct stream *s, void *ctx);
	/* One whole UDP datagram. */
	void (*udp)(void *arg, const struct flow *flow, const uint8_t *data, size_t len,
		    void *peer);
	/* One ICMP/ICMPv6 echo request: flow->sport is the identifier. */
	void (*echo)(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		     size_t len, void *peer);
	/* A datagram of `flow`, which netstack_udp_send() sent, was refused (ICMP port unreachable). Optional. */
	void (*udp_refused)(void *arg, const struct flow *flow);
	/* What carries packets to `dst` has more than enough: TCP to there waits for netstack_resume(). Whoever drops what
	 * is too much instead has it all sent again, though nothing was lost on any wire. Optional. */
	bool (*full)(void *arg, const struct ipaddr *dst);
};

struct netstack_limits {
	unsigned conns;		 /* TCP connections in all (0 = 16384) */
	unsigned conns_per_peer; /* 0 = 8192 */
	size_t memory; /* bytes of buffered TCP data, both ways, in all (0 = 256 MiB): then windows close */
};

struct netstack_stats {
	uint64_t drops[NS_NUM_DROPS];
	uint64_t rx_packets, tx_packets, tx_super, retransmits;
	unsigned conns, syns;
	size_t memory;
};

int netstack_new(struct netstack **np, struct event_base *base, const struct netstack_ops *ops,
		 void *arg, const struct netstack_limits *limits, struct error *e);
void netstack_free(struct netstack *ns); /* aborts all, no callbacks */
const struct netstack_stats *netstack_stats(const struct netstack *ns);

/* Takes one inner packet or super-packet; copies what it keeps. `peer` is a token for the bounds per peer and is handed to the callbacks. */
void netstack_input(struct netstack *ns, const struct pkt *pkt, void *peer);
/* What was full() may have room again: everything that waits asks again. */
void netstack_resume(struct netstack *ns);
/* Who is at `addr` (NULL = everybody) went away, or is back. Meanwhile established TCP connections with them are suspended: what is written is
 * kept, within the bounds, nothing is sent and nothing given up. At their return, and when one of them is heard, they go on at once, whatever
 * lwIP's timers had backed off to. One that is closed goes on by itself, within
 * lwIP's limits; where memory is short, those that hold some end. */
void netstack_absent(struct netstack *ns, const struct ipaddr *addr, bool absent);
/* The peer token is going away: its SYN records are cancelled, its connections reset. */
void netstack_forget_peer(struct netstack *ns, void *peer);

void netstack_syn_set(struct netstack_syn *syn, void *ctx);
/* Plays the SYN into lwIP: tcp_open() follows with `ctx`, or tcp_cancel() if the client never completes. */
void netstack_accept(struct netstack *ns, struct netstack_syn *syn);
/* Frees `syn`. */
void netstack_reject(struct netstack *ns, struct netstack_syn *syn, enum netstack_reject how);

/* Opens a TCP connection from `src` (an own address; port chosen) to dst:port. The stream is returned at once and becomes WRITABLE when
 * established, or ERROR (-ECONNREFUSED, -ETIMEDOUT after `timeout`, -EHOSTUNREACH). `timeout` 0 = lwIP's: 255 SYNs, some four minutes.
 * While the whole machine stands still a quarter of it passes at most. */
int netstack_connect(struct netstack *ns, const struct ipaddr *src, const struct ipaddr *dst,
		     uint16_t port, void *peer, nsec_t timeout, struct stream **sp);

/* Sends a datagram back to who opened `flow` (from flow->dst:dport to flow->src:sport), in fragments when it is larger than INNER_MTU. */
void netstack_udp_reply(struct netstack *ns, const struct flow *flow, const uint8_t *data,
			size_t len);
/* Sends a datagram of a flow that we opened: from flow->src:sport to flow->dst:dport; else as the reply. */
void netstack_udp_send(struct netstack *ns, const struct flow *flow, const uint8_t *data,
		       size_t len);
void netstack_echo_reply(struct netstack *ns, const struct flow *flow, uint16_t seq,
			 const uint8_t *data, size_t len);
/* ICMP port unreachable about a UDP datagram of `flow`. */
void netstack_udp_refuse(struct netstack *ns, const struct flow *flow);

/* 4-tuple and smoothed round trip of a netstack stream, for status. -EINVAL for other streams. */
int netstack_stream_info(const struct stream *s, struct flow *flow, nsec_t *rtt);
