/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: this laptop in one cluster, from `connect` to `quit`. It owns the keys, the tunnel,
 * the control connection and what the helper set up, and brings each back when it breaks. Losing
 * the manager or the helper never ends it once it was connected.
 */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "crypto/crypto.h"
#include "daemon/cluster.h"
#include "daemon/hello.h"
#include "daemon/prefixes.h"
#include "rpc/rpc.h"

struct event_base;
struct hostnet;
struct link;
struct session;
struct tunnel;

/* Each leads to the next; CONNECTED stays until session_close(). A failure before it ends the
 * session. */
enum session_state {
	SESSION_HELPER,	   /* asks culvert-helper whether it is there */
	SESSION_CLUSTER,   /* Kubernetes: waits for the API server, asked since the start */
	SESSION_HANDSHAKE, /* waits for the manager's key to answer */
	SESSION_HELLO,	   /* control connection, hello */
	SESSION_HOSTNET,   /* TUN, routes, DNS */
	SESSION_CONNECTED,
	SESSION_CLOSING, /* leaves the intercepts, undoes */
	SESSION_FAILED,	 /* ops->failed comes next */
};

struct session_config {
	bool kubernetes; /* then `cluster` counts, else the next four */
	struct cluster_config cluster;
	struct invite invite;
	bool manager_given; /* else the invite's endpoints */
	union sockaddr_any manager;
	char ns[64]; /* "" = the manager's */
	struct prefixes also, never;
	char state_dir[256];
};

struct session_ops {
	void (*progress)(void *arg, const char *text); /* one line each */
	void (*connected)(void *arg);
	/* It could not connect: `code` of rpc. Free it; not from inside any of its parts. */
	void (*failed)(void *arg, int code, const char *text);
	void (*tun)(void *arg, const char *ifname); /* a TUN of ours was made */
	/* The control connection ended; calls that were under way on it stay without an answer. */
	void (*link_down)(void *arg);
	void (*snapshot)(void *arg); /* session_intercepts() is new, from the manager */
	/* The cluster ended this session; close it. */
	void (*ended)(void *arg, const char *text);
};

int session_new(struct session **sp, struct event_base *base, const struct session_config *cfg,
		const struct session_ops *ops, void *arg, struct error *e);
/* At once; the helper undoes by itself. NULL ok. */
void session_free(struct session *s);
/* In order: leaves all intercepts (on Kubernetes: deletes the Session), has the helper undo, then calls `done` once; then
 * free it. Bounded (a few seconds). */
void session_close(struct session *s, void (*done)(void *arg), void *arg);
/* After session_close(): what could not be undone and what to do about it, or "". */
const char *session_left_behind(const struct session *s);
void session_network_changed(struct session *s, const char *why);

enum session_state session_state(const struct session *s);
const struct session_config *session_config(const struct session *s);
const struct hello *session_hello(const struct session *s); /* the last one; empty before */
const char *session_namespace(const struct session *s);
struct cluster *session_cluster(const struct session *s); /* NULL = the static platform */
struct link *session_link(struct session *s);
struct tunnel *session_tunnel(struct session *s);
struct hostnet *session_hostnet(struct session *s);
bool session_ipv6(const struct session *s);	 /* the laptop has IPv6 */
nsec_t session_elapsed(const struct session *s); /* from start to connected */
json_t *
session_intercepts(const struct session *s); /* borrowed: the manager's snapshot, an array */
/* The manager granted this one: taken in before its snapshot comes. Borrowed. */
void session_granted(struct session *s, const json_t *intercept);
/* And this one was left. */
void session_left(struct session *s, const char *name);
