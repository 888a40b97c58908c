/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport: carries a sealed datagram. Here UDP; streams come later behind the same calls.
 * Batches: GSO on the way out (UDP_SEGMENT, one sendmsg for datagrams of one size to one path), GRO
 * on the way in; both probed and given up when the kernel or device refuses (-EIO, -EINVAL), then
 * sendmmsg/recvmmsg-style loops.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

struct event_base;
struct transport;

enum {
	/* Bytes of a received GRO buffer or a GSO send, at most 64 datagrams. */
	TRANSPORT_BATCH = 65536,
};

struct transport_stats {
	uint64_t rx_datagrams, rx_bytes, rx_calls, tx_datagrams, tx_bytes, tx_calls;
	uint64_t tx_full;    /* socket buffer full: datagrams dropped */
	uint64_t tx_errors;  /* unreachable and the like */
	uint64_t tx_too_big; /* EMSGSIZE: path MTU shrank */
};

struct transport_ops {
	/* A batch came from one path: `n` datagrams of `stride` bytes (the last may be shorter,
	 * `len` bytes in all), valid during the call; 64 bytes before and 576 after it are
	 * readable. */
	void (*receive)(void *arg, const struct path *from, const uint8_t *data, size_t len,
			size_t stride);
	/* All that could be read in this turn has been delivered: flush what you gathered. */
	void (*idle)(void *arg);
	/* The kernel reports that the far end refused or is unreachable (ICMP, IP_RECVERR).
	 * Optional. */
	void (*unreachable)(void *arg, const struct path *to, int error);
};

/* Binds UDP on `bind` (port 0 = any; an IPv6 wildcard takes IPv4 too). `id` goes into every path it
 * makes. */
int transport_udp_new(struct transport **tp, struct event_base *base,
		      const union sockaddr_any *bind, uint32_t id, const struct transport_ops *ops,
		      void *arg, struct error *e);
void transport_free(struct transport *t); /* NULL ok */
int transport_local(const struct transport *t, union sockaddr_any *sa);
const struct transport_stats *transport_stats(const struct transport *t);

/* Sends `len` bytes as datagrams of `stride` (the last may be shorter). The buffer is not kept.
 * Drops are counted. */
void transport_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		    size_t stride);
/* Largest UDP payload that fits the path as the kernel knows it now (IP_MTU less headers). */
size_t transport_mtu(struct transport *t, const struct path *to);
/* The local network changed (new address): forget sticky sources and learned MTUs. */
void transport_rebind(struct transport *t);
