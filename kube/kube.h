/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube: a client of the Kubernetes API: kubeconfig with all its ways to authenticate, requests, watches, server-side
 * apply, and upgrades (services/proxy, pods/portforward) as base/ streams.
 *
 * One event loop, one thread. A callback comes from the loop, never from within the call that asked for it, and may
 * free or cancel anything, its own object and the client too; after cancel, stop and free none comes. The program
 * ignores SIGPIPE, and has called curl_global_init() if it has threads.
 */
#pragma once

#include <jansson.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/stream.h"

struct event_base;
struct kube_config;
struct kube_client;
struct kube_request;
struct kube_watch;
struct kube_upgrade;

enum {
	KUBE_CONTEXTS_MAX = 1024,   /* entries of one kind, over all files */
	KUBE_FILES_MAX = 64,	    /* in $KUBECONFIG */
	KUBE_ANSWER_MAX = 16 << 20, /* bytes of one answer, unless the call says otherwise */
	KUBE_LINE_MAX =
		4 << 20, /* bytes of one watch event: etcd holds objects of 1.5 MiB at most */
	KUBE_PAGE = 500, /* objects asked for at a time by the list of a watch */
	KUBE_CREDENTIAL_MAX = 1 << 20, /* bytes an exec plugin may print */
	KUBE_ADDRESSES = 4	       /* of the server that are remembered */
};

/* --- configuration ------------------------------------------------------------------------------------ */

/* What the command line says; NULL and 0 = not said. */
struct kube_flags {
	const char *kubeconfig;		/* then this file alone, and it must exist */
	const char *environment, *home; /* what counts as $KUBECONFIG and $HOME; "" = unset */
	const char *context, *cluster, *user, *namespace;
	const char *server, *token, *tls_server_name, *certificate_authority;
	bool insecure_skip_tls_verify;
	const char *as, *as_uid;
	const char *const *as_groups; /* NULL-ended */
	const char *service_account;  /* folder of token, ca.crt, namespace; for tests */
};

/*
 * As kubectl finds it: flags.kubeconfig, else the files of $KUBECONFIG (of each map key the first file's entry wins whole;
 * files that are missing are skipped), else ~/.kube/config, else the pod's service account. Takes the chosen context
 * out, with the contents of the certificate files and with absolute paths. Errors are one sentence, with
 * FILE:LINE:COL where they are about a file's text:
 *   -ENOENT   no configuration anywhere, or a named file, context, cluster or user that is not there
 *   -EINVAL   a mistake in it
 */
int kube_config_load(struct kube_config **cp, const struct kube_flags *flags, struct error *e);
/* The same from text, for fuzzing and tests: no file but those the text names is read. */
int kube_config_parse(struct kube_config **cp, const char *name, const char *text, size_t len,
		      const struct kube_flags *flags, struct error *e);
void kube_config_free(struct kube_config *c); /* NULL ok */

const char *kube_config_context(const struct kube_config *c); /* "" in a pod */
const char *kube_config_cluster(const struct kube_config *c);
const char *kube_config_user(const struct kube_config *c);	/* the entry's name */
const char *kube_config_namespace(const struct kube_config *c); /* "default" when not said */
const char *kube_config_server(const struct kube_config *c);	/* URL without a slash at the end */
/* Name of context `i` of all files, in their order, or NULL behind the last: for completion. */
const char *kube_config_context_at(const struct kube_config *c, size_t i);
/* The cluster entry's extension of that name (client settings of a program), borrowed, or NULL. */
const json_t *kube_config_extension(const struct kube_config *c, const char *name);
/* What `kubectl config view --flatten --minify -o json` prints, secrets and all; a new reference, NULL = no memory. */
json_t *kube_config_view(const struct kube_config *c);

/* --- client ------------------------------------------------------------------------------------------- */

struct kube_options {
	bool interactive;    /* an exec plugin may use our standard input */
	nsec_t exec_timeout; /* 0 = 60 s */
	const char *agent;   /* User-Agent; NULL = culvert/VERSION */
};

/* Takes the config on success. Connects to nothing yet. `options` may be NULL. */
int kube_client_new(struct kube_client **cp, struct event_base *base, struct kube_config *config,
		    const struct kube_options *options, struct error *e);
/* Cancels all requests, watches and upgrades under way (their handles are void then); streams handed over live on. */
void kube_client_free(struct kube_client *c); /* NULL ok */
const struct kube_config *kube_client_config(const struct kube_client *c);
/* Where its connections went, the latest first (the proxy, where there is one): what must stay outside of a tunnel that leads
 * into the cluster. How many of `max` were filled. */
unsigned kube_client_addresses(const struct kube_client *c, struct ipaddr *out, unsigned max);

/* --- requests ----------------------------------------------------------------------------------------- */

/* Why there is no 2xx answer. */
enum kube_failure {
	KUBE_OK = 0,
	KUBE_UNREACHABLE,  /* name, route, refused, connection lost */
	KUBE_TIMEOUT,	   /* no answer in time */
	KUBE_TLS,	   /* its certificate, or ours, was not accepted */
	KUBE_CREDENTIALS,  /* the exec plugin or the token file gave none */
	KUBE_UNAUTHORIZED, /* 401, after new credentials were tried */
	KUBE_FORBIDDEN,	   /* 403; `denied` says what is missing when the server said it */
	KUBE_NOT_FOUND,	   /* 404 */
	KUBE_CONFLICT,	   /* 409 */
	KUBE_EXPIRED,	   /* 410: the resourceVersion is too old */
	KUBE_INVALID,	   /* 422, or 400 */
	KUBE_TOO_LARGE,	   /* the answer */
	KUBE_PROTOCOL,	   /* the answer is not what the API gives, or an upgrade was refused */
	KUBE_SERVER,	   /* any other status */
};

/* The right that a 403 says is missing; empty strings where it did not say. */
struct kube_denied {
	char user[256];
	char verb[32], resource[128];		    /* "pods/portforward" */
	char group[128], name[256], namespace[128]; /* namespace "" = cluster scope */
};

struct kube_reply {
	enum kube_failure failure;
	int status;	  /* of HTTP; 0 = none came */
	const char *body; /* NUL-terminated, of any status; borrowed for the callback */
	size_t len;
	const char *sentence; /* failure: what happened, and the remedy where there is one */
	const char *reason;   /* of a Status object ("AlreadyExists"), else "" */
	struct kube_denied denied;
	double retry_after; /* seconds the server asks for; 0 = did not say */
};

struct kube_call {
	const char *method; /* NULL = GET */
	const char *path;   /* "/api/v1/namespaces" */
	const char *query;  /* "a=b&c=d", escaped; NULL = none. kube_query() makes it. */
	const void *body;   /* copied */
	size_t len;
	const char *content_type;   /* NULL = application/json */
	const char *accept;	    /* NULL = application/json */
	const char *const *headers; /* more "Name: value", NULL-ended, copied; may be NULL */
	size_t max;		    /* bytes of the answer; 0 = KUBE_ANSWER_MAX */
	nsec_t timeout;		    /* 0 = 30 s; without the time an exec plugin takes */
	nsec_t patience; /* 0 = all of that; from then on it fails if the server does not even acknowledge */
};

/* Of a call for somebody at a terminal. */
#define KUBE_PATIENCE (3 * NSEC_PER_SEC)

typedef void kube_reply_cb(void *arg, const struct kube_reply *reply);

/* Exactly one callback, unless cancelled. 0, or -ENOMEM or -EINVAL, then there is none. `rp` may be NULL. */
int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp);
void kube_cancel(struct kube_request *r); /* NULL ok */

/* Server-side apply of `object` (borrowed); `force` takes fields that others manage. As kube_request. */
int kube_apply(struct kube_client *c, const char *path, const json_t *object, const char *manager,
	       bool force, kube_reply_cb *cb, void *arg, struct kube_request **rp);
/* JSON merge patch (null removes a field). */
int kube_merge(struct kube_client *c, const char *path, const json_t *patch, const char *manager,
	       kube_reply_cb *cb, void *arg, struct kube_request **rp);

/* Appends key=value, escaped, to the query in `query` (a string of at most `room` bytes); -ENOSPC. */
int kube_query(char *query, size_t room, const char *key, const char *value);

/* YAML of the Role and RoleBinding (ClusterRole... at cluster scope) that grant what was denied, to be printed; malloc'ed,
 * NULL when the server did not say enough. */
char *kube_denied_yaml(const struct kube_denied *d);

/* --- watches ------------------------------------------------------------------------------------------ */

enum kube_change { KUBE_PRESENT, KUBE_DELETED };

/*
 * A watch lives until it is stopped: it lists, says so, follows the changes, resumes after every interruption (0.2 to
 * 5 s, jittered, for ever) and lists anew when the server has forgotten where it was. Between `begin` and `complete` a
 * whole snapshot comes as KUBE_PRESENT: what it did not name is gone.
 */
struct kube_watch_ops {
	void (*begin)(void *arg);
	void (*object)(void *arg, enum kube_change change, json_t *object); /* borrowed */
	void (*complete)(void *arg);
	/* Told at each failed try; NULL ok. It goes on by itself. */
	void (*trouble)(void *arg, const struct kube_reply *why);
};

int kube_watch_start(struct kube_watch **wp, struct kube_client *c, const char *path,
		     const char *query, const struct kube_watch_ops *ops, void *arg);
void kube_watch_stop(struct kube_watch *w); /* NULL ok */

/* One line of a watch's answer: its type is one of ADDED MODIFIED DELETED BOOKMARK ERROR, else -EPROTO. A new reference in
 * *op. For the watch itself, fuzzing and tests. */
enum kube_line { KUBE_LINE_PRESENT, KUBE_LINE_DELETED, KUBE_LINE_BOOKMARK, KUBE_LINE_ERROR };
int kube_watch_line(const char *line, size_t len, enum kube_line *kind, json_t **op);

/* --- upgrades ----------------------------------------------------------------------------------------- */

/*
 * A stream through the API server, over TLS and WebSocket (websocket/websocket.h), with the credentials of the client. Streams
 * outlive it.
 */
typedef void kube_upgrade_cb(void *arg, struct stream *s, const struct kube_reply *failure);

/* GET of a path that answers 101 to a WebSocket, such as /api/v1/namespaces/NS/services/NAME:PORT/proxy/x. Exactly one
 * callback: a stream, owned by the caller, or NULL and why. `protocol` may be NULL. `timeout` 0 = 30 s. */
int kube_upgrade(struct kube_client *c, const char *path, const char *query, const char *protocol,
		 nsec_t timeout, kube_upgrade_cb *cb, void *arg, struct kube_upgrade **up);
/* A stream to a pod's port by pods/portforward (v4.channel.k8s.io): a TCP connection inside the pod. What its error
 * channel says becomes -ECONNREFUSED and kube_stream_reason(). */
int kube_port_forward(struct kube_client *c, const char *namespace, const char *pod, uint16_t port,
		      nsec_t timeout, kube_upgrade_cb *cb, void *arg, struct kube_upgrade **up);
void kube_upgrade_cancel(struct kube_upgrade *u); /* NULL ok; before its callback only */
/* Of a stream made here: why it ended, in words, or "". */
const char *kube_stream_reason(const struct stream *s);
