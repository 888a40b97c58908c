/* SPDX-License-Identifier: Apache-2.0 */
/* Inside transport/: the UDP transport's state, shared by its setup, sending, receiving and MTU
 * parts. */
#pragma once

#include "base/clock.h"
#include "transport/transport.h"

struct event;

enum {
	RX_HEAD = 64,	   /* readable before a received batch ... */
	RX_TAIL = 576,	   /* ... and after it: what AEAD code may touch */
	RX_BUDGET = 32,	   /* reads per wake-up, so that timers and other sockets get their turn */
	ERROR_BUDGET = 64, /* entries of the error queue per wake-up */
	SOCKET_BUFFER = 7 << 20,
	GSO_MAX_DATAGRAMS = 64, /* UDP_MAX_SEGMENTS of older kernels */
	GSO_MAX_BYTES = 65000,	/* a super-datagram and its headers stay below 64 KiB */
	BACKLOG_MAX = 1 << 20,	/* see udp_send.c */
	SOURCES_MAX = 8,
	MTU_SLOTS = 4096, /* a hub of 1000 peers asks for few of them twice */
};

/* What the kernel said about the way to one address. One slot per hash: a collision asks again. */
struct mtu_slot {
	union sockaddr_any remote;
	size_t payload;
	nsec_t expires; /* 0 = empty */
};

/* A part of a batch that did not fit the socket buffer. */
struct backlog_entry {
	struct backlog_entry *next;
	struct path to;
	size_t len, stride, done;
	uint8_t data[];
};

struct transport {
	int fd;
	bool v6;  /* an AF_INET6 socket: IPv4 goes through it as mapped addresses */
	bool gso; /* until the kernel or a device refuses */
	uint32_t id;
	struct event *read_event, *write_event;
	const struct transport_ops *ops;
	void *arg;
	struct transport_stats stats;
	uint8_t *rx; /* RX_HEAD, TRANSPORT_BATCH, RX_TAIL */

	/* Own addresses that datagrams came to since the last rebind:
	 * the only ones we answer from. */
	struct ipaddr sources[SOURCES_MAX];
	unsigned next_source;

	struct backlog_entry *backlog, **backlog_end;
	size_t backlog_bytes;

	uint64_t mtu_key[2];
	nsec_t mtu_stale; /* what expires until then was asked before the last rebind */
	struct mtu_slot mtu[MTU_SLOTS]; /* memory is given only to those that are used */
};

/* udp.c */
bool udp_source_known(const struct transport *t, const struct ipaddr *a);
void udp_source_learn(struct transport *t, const struct ipaddr *a);
void udp_source_forget(struct transport *t, const struct ipaddr *a);

/* udp_receive.c: event callback of the socket */
void udp_on_readable(int fd, short what, void *arg);

/* udp_send.c: event callback while there is a backlog */
void udp_on_writable(int fd, short what, void *arg);
void udp_backlog_free(struct transport *t);

/* udp_mtu.c */
void udp_mtu_forget_all(struct transport *t);
void udp_mtu_forget(struct transport *t, const struct path *to);
