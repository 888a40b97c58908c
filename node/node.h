/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node: one member of the overlay on the event loop: overlay/ + transports + clock + batches.
 *
 * Transports: UDP, and any number of streams (a WebSocket, TCP) that the caller connects or
 * accepts. All carry the same messages; a peer's packets take the path that overlay/ names.
 *
 * Way out: node_send() cuts super-packets to the path's MTU, seals each segment into one arena, and
 * flushes a batch when it is full, when the path changes, or when the loop turn ends. Way in:
 * datagrams are opened, consecutive TCP segments of a flow are coalesced into super-packets again,
 * and ops->inner gets them. A stream carries super-packets whole. One thread.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"
#include "overlay/overlay.h"

struct event_base;
struct node;
struct stream;

enum {
	NODE_STREAMS = 4096, /* at once */
	NODE_UNPROVEN = 256, /* of them, on which nothing authentic has come yet; then the oldest
				of the address that has most goes */
	NODE_PROVE_S = 10,   /* for as long */
	NODE_STREAMS_PER_PEER = 4, /* proven ones; the oldest goes for a new one */
};

struct node_ops {
	/* Inner packets from `p` whose source was accepted; valid during the call; the caller may
	 * change the bytes. */
	void (*inner)(void *arg, struct overlay_peer *p, struct pkt *pkt);
	/* All inner packets of this turn were delivered (flush a TUN batch,
	 * lwIP output). Optional. */
	void (*idle)(void *arg);
	/* As in overlay_ops. Optional each. */
	void (*established)(void *arg, struct overlay_peer *p, bool fresh);
	void (*away)(void *arg, struct overlay_peer *p);
	void (*back)(void *arg, struct overlay_peer *p);
	struct overlay_peer *(*admit)(void *arg, const uint8_t pub[static KEY_LEN],
				      const struct overlay_credential *cred,
				      const struct path *from);
	void (*path_changed)(void *arg, struct overlay_peer *p);
	void (*stamp)(void *arg, nsec_t last);
	/* An inner packet does not fit and may not be cut: the sender should hear Packet Too Big
	 * (len > INNER_MTU). Optional. */
	void (*too_big)(void *arg, const struct pkt *pkt, uint32_t mtu);
	/* A stream has ended (0 = in order), or proved nothing in time (-ETIMEDOUT), or was one too
	 * many of its peer (-ENOSPC). The overlay knows already. From the loop, never from inside a call. Optional. */
	void (*path_gone)(void *arg, const struct path *path, int error);
	/* A peer for which node_ready() was false may be ready again: ask. At the end of a turn.
	 * Optional. */
	void (*writable)(void *arg);
};

struct node_config {
	struct event_base *base;
	struct identity identity;
	nsec_t last_stamp;	     /* persisted TAI64N, 0 = none */
	union sockaddr_any bind;     /* UDP; port 0 = any; family 0 = no UDP, streams alone */
	const struct cipher *cipher; /* outlives the node; NULL = libsodium's */
};

struct node_stats {
	uint64_t super_in, super_out; /* super-packets delivered / cut */
	uint64_t inner_in, inner_out; /* inner packets (segments) */
	uint64_t too_big;
	uint64_t no_route;    /* no peer for the destination, or no path to the peer */
	uint64_t oversize_in; /* a peer sent more than INNER_MTU where that may not be */
};

int node_new(struct node **np, const struct node_config *cfg, const struct node_ops *ops, void *arg,
	     struct error *e);
void node_free(struct node *n);
/* Peers and routes are managed there. */
struct overlay *node_overlay(struct node *n);
int node_local(const struct node *n, union sockaddr_any *sa); /* of UDP; -ENOTSUP without */
/* A path over this node's UDP transport to `remote`. */
struct path node_udp_path(const struct node *n, const union sockaddr_any *remote);

/*
 * From now on messages come and go over `s`, too, which must be connected; owned on success. *path
 * is the token for it, unique in the node's life. It is closed if nothing authentic comes within
 * NODE_PROVE_S. `from`: whose it is, when many may connect; NULL = ours. -ENOSPC above NODE_STREAMS,
 * -ENOMEM.
 */
int node_add_stream(struct node *n, struct stream *s, const struct ipaddr *from, struct path *path,
		    struct error *e);
/* Closes it at the end of the turn, after what is queued as far as that goes at once; the overlay
 * is told then. No path_gone(). From any callback; a path that is gone is ignored. */
void node_drop_stream(struct node *n, const struct path *path);
/* overlay_peer_remove(), and the streams that it proved itself on are closed. From any callback that may remove it. */
void node_remove_peer(struct node *n, struct overlay_peer *p);
/* Back-pressure: false = what carries this peer's packets has more than enough to send. Who can
 * (the TUN's reader) waits for writable(); packets sent all the same are queued up to a bound. */
bool node_ready(const struct node *n, const struct overlay_peer *p);

/* Routes by the destination, or sends to `p`. The packet is consumed during the call; its bytes may
 * be changed. */
void node_send(struct node *n, struct pkt *pkt);
void node_send_to(struct node *n, struct overlay_peer *p, struct pkt *pkt);
void node_flush(struct node *n);
/* The network or the power state changed: handshakes with all persistent peers start at once. */
void node_kick(struct node *n);
const struct node_stats *node_stats(const struct node *n);
/* Summed up over all transports there have been; valid until the next call. */
const struct transport_stats *node_transport_stats(const struct node *n);
/* Of the one that `path` names; NULL = gone. */
const struct transport_stats *node_path_stats(const struct node *n, const struct path *path);
