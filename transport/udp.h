/* SPDX-License-Identifier: Apache-2.0 */
/* Inside transport/: the UDP transport's state, shared by its setup, sending, receiving and MTU
 * parts. */
#pragma once

#include "base/clock.h"
#include "transport/internal.h"

struct event;

enum {
	RX_BUDGET = 32,	   /* reads per wake-up, so that timers and other sockets get their turn */
	ERROR_BUDGET = 64, /* entries of the error queue per wake-up */
	SOCKET_BUFFER = 7 << 20,
	GSO_MAX_DATAGRAMS = 64, /* UDP_MAX_SEGMENTS of older kernels */
	GSO_MAX_BYTES = 65000,	/* a super-datagram and its headers stay below 64 KiB */
	BACKLOG_MAX = 1 << 20,	/* see udp_send.c */
	UDP_SOURCES_MAX = 8,
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

struct udp {
	struct transport t;
	int fd;
	bool v6;  /* an AF_INET6 socket: IPv4 goes through it as mapped addresses */
	bool gso; /* until the kernel or a device refuses */
	struct event *read_event, *write_event;
	uint8_t *rx; /* TRANSPORT_HEAD, TRANSPORT_BATCH, TRANSPORT_TAIL */

	/* Own addresses that datagrams came to since the last rebind:
	 * the only ones we answer from. */
	struct ipaddr sources[UDP_SOURCES_MAX];
	unsigned next_source;

	struct backlog_entry *backlog, **backlog_end;
	size_t backlog_bytes;

	uint64_t mtu_key[2];
	nsec_t mtu_stale; /* what expires until then was asked before the last rebind */
	struct mtu_slot mtu[MTU_SLOTS]; /* memory is given only to those that are used */
};

static inline struct udp *udp_self(struct transport *t)
{
	return container_of(t, struct udp, t);
}

/* udp.c */
bool udp_source_known(const struct udp *u, const struct ipaddr *a);
void udp_source_learn(struct udp *u, const struct ipaddr *a);
void udp_source_forget(struct udp *u, const struct ipaddr *a);

/* udp_receive.c: event callback of the socket */
void udp_on_readable(int fd, short what, void *arg);

/* udp_send.c: event callback while there is a backlog */
void udp_on_writable(int fd, short what, void *arg);
void udp_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
	      size_t stride);
void udp_backlog_free(struct udp *u);

/* udp_mtu.c */
size_t udp_mtu(struct transport *t, const struct path *to);
void udp_mtu_forget_all(struct udp *u);
void udp_mtu_forget(struct udp *u, const struct path *to);
