/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster: a session's half at the API server (docs/kubernetes.md). It learns the manager's key, makes the Session object
 * and keeps it alive, and opens streams through the API server to the manager, again and again for as long as the
 * session lasts.
 *
 *   asking --+-- ConfigMap: the manager's key --+
 *            +-- who am I -- POST Session ------+--> ready --> hand over streams, renew, watch the Session
 *            +-- the namespace is there --------+
 *            +-- a stream (ways.h), held until then
 *
 * All are asked at once: each waits for none but those left of it.
 */
#pragma once

#include "base/error.h"
#include "base/stream.h"
#include "daemon/told.h"
#include "daemon/ways.h"

struct cluster;
struct event_base;
struct identity;
struct kube_client;

struct cluster_config {
	char kubeconfig[1024];		    /* --kubeconfig, absolute; "" = as kubectl finds it */
	bool has_environment;		    /* of who asks, else ours counts: */
	char environment[4096], home[1024]; /* $KUBECONFIG, $HOME; "" = unset */
	char context[256], as[256];
	char ns[64];	     /* "" = the context's */
	char manager_ns[64]; /* "" = culvert */
	char state_dir[256]; /* for orphans.h; "" = none */
	enum ways_allowed allowed;
};

struct cluster_ops {
	void (*progress)(void *arg, const char *text);
	/* The manager's key is known and the Session is there: call it. Once. */
	void (*ready)(void *arg);
	/* A stream of overlay messages to the manager, the callee's; what it got before is replaced. After `ready`. */
	void (*stream)(void *arg, struct stream *s, enum way way);
	/* There is no stream for now: what else may lead to the manager is needed. After `ready`. */
	void (*no_stream)(void *arg);
	/* No use to go on: `code` of rpc. The callee ends it, not in here. */
	void (*failed)(void *arg, int code, const char *text);
	/* The Session is gone: somebody deleted it. After `ready`. Not in here. */
	void (*ended)(void *arg, const char *text);
};

/* Reads the kubeconfig and begins to ask. The sentence of an error names the remedy. */
int cluster_new(struct cluster **cp, struct event_base *base, const struct cluster_config *cfg,
		const struct identity *self, const struct cluster_ops *ops, void *arg,
		struct error *e);
void cluster_free(struct cluster *c); /* NULL ok; a Session stays: see cluster_end() */
/* Deletes the Session, if one may be there, and calls `done` once from the loop; a few seconds at most. `left_behind`:
 * why it could not, or "". No other callback comes from now on. */
void cluster_end(struct cluster *c, void (*done)(void *arg, const char *left_behind), void *arg);

/* The stream that was given last has ended: another is made. */
void cluster_stream_gone(struct cluster *c, const char *why);
/* The network changed or the laptop slept: renews, and makes a new stream now rather than wait for a time-out. */
void cluster_kick(struct cluster *c);

/* --- for what writes and reads Kubernetes' objects --- */

struct kube_client *cluster_client(struct cluster *c);
const char *cluster_session_name(const struct cluster *c); /* of the Session: our key in hex */
const char *cluster_session_uid(const struct cluster *c);  /* "" before `ready` */
const char *cluster_user(const struct cluster *c);	   /* who the API server says we are */
const char *cluster_manager_namespace(const struct cluster *c);
const char *cluster_namespace(const struct cluster *c); /* connected to */

/* --- for status --- */

/* Why the manager's key may not have answered in `seconds`, and what to do. */
void cluster_explain_silence(const struct cluster *c, unsigned seconds, struct error *e);
/* By which the cluster is reached, the API server's and the manager's: how many of `max` were filled. */
unsigned cluster_addresses(const struct cluster *c, struct ipaddr *out, unsigned max);
const struct told *cluster_told(const struct cluster *c);
const char *cluster_context(const struct cluster *c);
const char *cluster_server(const struct cluster *c); /* URL */
enum way cluster_way(const struct cluster *c);	     /* of the stream in use; WAY_NONE */
/* What the API server does not let us do at the moment, or "". */
const char *cluster_trouble(const struct cluster *c);
/* It is the API server that does not answer, or lets nobody in: the manager alone cannot change that. */
bool cluster_api_away(const struct cluster *c);
/* 0: what `want` asks for is this; 1: another cluster, user or namespace; 2: only other settings; negative errno: it cannot be
 * read. */
int cluster_compare(const struct cluster *c, const struct cluster_config *want, struct error *e);
