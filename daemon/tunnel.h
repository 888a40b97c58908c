/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The laptop's packets: joins the TUN, the overlay node and the user-space stack. An inner packet
 * is told apart by its destination alone: our ::1 is the stack's (intake, control connection), our
 * IPv4 address and
 * ::2 are the kernel's.
 *
 *   kernel --TUN--> tunnel --node--> manager        node --> tunnel --+--> TUN (kernel)
 *                                                                     +--> netstack --> intake,
 * control netstack --> tunnel --node--> manager
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/stream.h"
#include "crypto/crypto.h"
#include "daemon/prefixes.h"

struct event_base;
struct intake;
struct node;
struct overlay_peer;
struct tunnel;

struct tunnel_ops {
	void (*established)(void *arg, bool fresh); /* a session with the manager is confirmed */
	void (*away)(void *arg);		    /* the manager has been silent too long */
	void (*back)(void *arg);
	void (*stamp)(void *arg, nsec_t last);
	void (*tun_gone)(void *arg); /* the device was taken away; not from inside another call */
	/* The stream that tunnel_add_stream() got last has ended. */
	void (*stream_gone)(void *arg, const char *why);
};

struct tunnel_config {
	const struct identity *identity;
	nsec_t last_stamp;
};

struct tunnel_stats {
	uint64_t tun_foreign;	/* from the TUN with a source that is not ours: the kernel's own
				   chatter */
	uint64_t inner_foreign; /* from the overlay for an address that is not ours */
	/* While the manager is away (daemon/hold.h): */
	unsigned held;		/* the kernel's connections that something is kept of now */
	uint64_t hold_answered; /* segments answered in its place */
	uint64_t hold_full;	/* segments of connections above the bound */
};

int tunnel_new(struct tunnel **tp, struct event_base *base, const struct tunnel_config *cfg,
	       const struct tunnel_ops *ops, void *arg, struct error *e);
/* Not from inside a callback of the tunnel. */
void tunnel_free(struct tunnel *t);
struct intake *tunnel_intake(struct tunnel *t);
struct node *tunnel_node(struct tunnel *t);
/* Whom we talk to, by its key; once. `psk`, `claim`: of an invite, or NULL. */
int tunnel_set_manager(struct tunnel *t, const uint8_t key[static KEY_LEN], const uint8_t *psk,
		       const struct invite_claim *claim, struct error *e);
struct overlay_peer *tunnel_manager(struct tunnel *t); /* NULL = not known yet */
struct tunnel_stats tunnel_stats(const struct tunnel *t);

/* Handshakes go there from now on, until the manager is heard from elsewhere. Starts one at once.
 */
void tunnel_set_endpoint(struct tunnel *t, const union sockaddr_any *endpoint);
/* A stream to the manager, taken also on error; one that was there before is closed. */
int tunnel_add_stream(struct tunnel *t, struct stream *s, struct error *e);
/* It may be reached there, too. */
void tunnel_add_udp(struct tunnel *t, const union sockaddr_any *endpoint);
/* Is it the stream that was added last? */
bool tunnel_is_stream(const struct tunnel *t, const struct path *path);
/* Handshakes begin, on whatever ways there are or will be. */
void tunnel_call(struct tunnel *t);
/* The network changed or the laptop woke up. */
void tunnel_kick(struct tunnel *t);
/* What the manager may send from and be sent to: replaces the set. */
int tunnel_set_prefixes(struct tunnel *t, const struct prefixes *set, struct error *e);
/* Takes the descriptor of a TUN with these host addresses; family 0 = none. `fd` is closed on
 * error. */
int tunnel_set_tun(struct tunnel *t, int fd, const struct ipaddr *v4, const struct ipaddr *v6,
		   struct error *e);
void tunnel_drop_tun(struct tunnel *t);
/* The manager may have been restarted: has the kernel's connections into the cluster show themselves (daemon/flows.h). How many. */
unsigned tunnel_ask_flows(struct tunnel *t);
/* A TCP connection from our stack to the manager's. */
int tunnel_connect(struct tunnel *t, uint16_t port, nsec_t timeout, struct stream **sp);
