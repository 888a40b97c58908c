/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Kubernetes platform share. The API server's objects are the record; here is kept of them what is
 * needed to admit, to route and to tell, and nothing that could not be had again by listing.
 *
 *   kubernetes.c  the platform: start, end, what peers hear      feeds.c      watches, each a feed into the files below
 *   sessions.c    laptops: Session objects                       pods.c       pods with the mark, and who is ready
 *   agents.c      tokens become agents (jwt.c reads a token)     cluster.c    prefixes, endpoints, names; the ConfigMap
 *   records.c     Intercept objects, their status and Events     reconcile.c  what follows from them; sans-IO
 *   web.c         WebSockets, probes and the webhook             status.c    how often a status is written
 *   previews.c    previews of Intercepts and their links         ingress.c   where a workload's HTTP comes in; sans-IO
 *   lookup.c      asks the API server what ingress.c needs       gateways.c  the links of the gateways
 *   tickets.c     one-time tickets for the dashboard             login.c     ID tokens of laptops
 *   target.c      where no gateway may be sent to; sans-IO       review.c    TokenReviews
 *   prefixes.c    lists of prefixes
 */
#pragma once

#include "base/hash.h"
#include "base/log.h"
#include "kube/kube.h"
#include "manager/internal.h"
#include "manager/reconcile.h"
#include "objects/objects.h"

struct serve;
struct serve_request;
struct login;
struct gateways;
struct tickets;
struct lookup;
struct token_call;
struct own_targets;

enum {
	SESSIONS_MAX = 4096,
	SESSIONS_PER_USER = 256,     /* one name may be many: that of a build server */
	PODS_MAX = 16384,	     /* with the mark */
	SLICES_MAX = 65536,	     /* EndpointSlices of services */
	RECORDS_MAX = RECONCILE_MAX, /* Intercepts */
	RECORDS_PER_USER = 128,
	REFUSALS_IN_FLIGHT = 16, /* objects above these bounds, which are told so */
	ANNOUNCEMENTS_MAX = 64,	 /* Events under way */
	NAMESPACES_MAX = 10000,
	NODES_MAX = 5000,
	STRANGERS = 64, /* plain initiations remembered, until their Session appears */
	STRANGER_TTL_S = 10,
	REVIEWS_IN_FLIGHT = 16, /* TokenReviews */
	REVIEWS_QUEUE = 256,
	REVIEWS_PER_SOURCE = 8, /* of one address, waiting or in flight */
	REVIEWS_PER_S = 100,
	REFUSED_KEYS = 256, /* whose token was refused: not asked about again for a while */
	REFUSED_KEY_TTL_S = 60,
	VERIFIED_TTL_S = 30, /* a token was good, but its pod has not been seen yet */
	LAST_SEEN_EVERY_S = 300,
	/* An endpoint without an agent that is no more ready gets connections until every node's proxy knows; a proxy
	 * writes its rules once a second at most. */
	LEAVING_MS = 1000,
	SESSION_WAIT_S = 5, /* an Intercept may be heard of before its Session */
	PREVIEWS_MAX = 512,
	PREVIEW_SHARES = 16, /* links of one preview */
	PREVIEW_URL_MAX = 400,
	SHARE_DEFAULT_S = 24 * 3600,
	SHARE_MAX_S = 30 * 24 * 3600,
	SHARE_HASH_LEN = 64, /* hex of BLAKE2b-256 */
	GATEWAYS_MAX = 4,
	TICKETS_MAX = 256,
	TICKET_TTL_S = 60,
	LOOKUPS_MAX = 16, /* under way: each asks the API server several times */
	LOOKUPS_PER_LAPTOP = 2,
	LOOKUPS_PER_USER = 8, /* of many laptops */
};

/* --- feeds.c: watches ------------------------------------------------------------------------------------- */

enum feed_id {
	FEED_SESSIONS,
	FEED_INTERCEPTS,
	FEED_PODS,
	FEED_SLICES,
	FEED_NAMESPACES,
	FEED_NODES,
	FEED_SERVICES, /* of our own namespace */
	FEED_SERVICE_CIDRS,
	NUM_FEEDS
};

/* What a feed feeds. An object that was not named again between two lists goes: its generation is old. */
struct feed_kind {
	const char *name, *path;
	bool own_namespace; /* %s in path */
	bool optional;	    /* an API server may not have it */
	void (*object)(struct kubernetes *k, const json_t *o, bool deleted);
	void (*sweep)(struct kubernetes *k, unsigned generation); /* forget what is older */
	void (*complete)(struct kubernetes *k);			  /* NULL ok */
};

struct feed {
	struct kubernetes *k;
	const struct feed_kind *kind;
	struct kube_watch *watch;
	unsigned generation;
	bool complete; /* at least once */
	struct log_limit limit;
};

int feeds_start(struct kubernetes *k, struct error *e);
void feeds_stop(struct kubernetes *k);
bool feeds_complete(const struct kubernetes *k);
unsigned feed_generation(const struct kubernetes *k, enum feed_id id);

/* --- status.c ------------------------------------------------------------------------------------------------ */

/* What is known of writing one object's status. */
struct writer {
	struct kube_request *request; /* under way */
	nsec_t retry_at;	      /* the last one failed */
	nsec_t until;		      /* grows with each write: a bound on writes per second */
	unsigned failures;	      /* in a row */
};

/* May it be written now? True takes one from the budget; false: ask again at the next tick. */
bool writer_ready(struct writer *w);
/* False: it failed, and is to be written again. */
bool writer_answered(struct kubernetes *k, struct writer *w, const struct kube_reply *reply);
/* The status of an object that is not kept says why, if that goes at once. `path` is the object's. */
void status_refuse(struct kubernetes *k, const json_t *object, const char *path, const char *phase,
		   const char *why);

/* --- what is kept ------------------------------------------------------------------------------------------ */

struct session {
	struct hash_node node; /* by key */
	struct session *next;
	struct kubernetes *k;
	struct session_object o;
	struct peer
		*peer; /* NULL only before the first list is complete, or without a free address */
	unsigned generation;
	nsec_t seen_written; /* when lastSeen was */
	int64_t renewed;     /* by our clock, in s: the laptop's may say anything */
	struct writer status;
	bool dirty;
	uint64_t told; /* hash of the snapshot sent last */
	char *login; /* subject of the ID token that login.c has verified, malloc'ed; NULL = none */
	int64_t login_until; /* seconds since 1970 */
};

struct pod {
	struct hash_node node; /* by uid */
	struct pod *next;
	char uid[40];
	char *name;
	char ns[K8S_NAME_MAX + 1];
	enum workload_kind kind; /* of the mark */
	char workload[K8S_NAME_MAX + 1];
	struct pod_port {
		uint16_t target;
		bool udp;
		bool served; /* as far as we know: its agent has said otherwise */
	} port[MARK_PORTS];
	unsigned nports;
	struct peer *peer;
	unsigned generation;
	/* what its agent was told */
	uint64_t sent_epoch, confirmed_epoch;
	uint64_t rules_hash; /* of the snapshot sent last */
	bool told, calling;  /* a rules call is under way */
};

struct slice {
	struct hash_node node; /* by namespace/name */
	struct slice *next;
	char *key;
	char ns[K8S_NAME_MAX + 1], service[K8S_NAME_MAX + 1];
	unsigned generation, n;
	struct slice_pod {
		char uid[40];
		char *name;
		nsec_t left; /* no more ready since; 0 = ready */
	} * pod;
};

/* status.preview of an Intercept (docs/previews.md); its URL follows from the Intercept's id and the configuration. */
struct preview {
	struct preview_ingress {
		char host[DOMAIN_MAX_LEN + 1], l5[DOMAIN_MAX_LEN + 1];
		uint16_t port;
		bool tls, verify;
	} ingress;
	unsigned nshares;
	struct preview_share {
		char hash[SHARE_HASH_LEN + 1];
		int64_t expires; /* seconds since 1970 */
	} share[PREVIEW_SHARES];
};

struct record {
	struct record *next;
	struct kubernetes *k;
	struct intercept_object o; /* in.owner is the laptop's name */
	struct preview *preview;   /* NULL = none; o.in.preview says the same */
	struct verdict verdict;
	struct coverage coverage;
	char rules_key[SESSION_NAME_LEN + 6 * INTERCEPT_PORTS + 1]; /* what rules_epoch is about */
	uint64_t rules_epoch;
	unsigned generation;
	struct writer status;
	uint64_t written; /* hash of the status that was written last; 0 = none */
	bool dirty;
	bool announced; /* InterceptStarted was said */
	bool damaged; /* the object does not parse: only its names are set, and its verdict is final */
	bool waiting;	/* for its Session */
	bool stale;	/* its laptop has been away for holder-timeout */
	nsec_t since;	/* we know of it */
	nsec_t settles; /* coverage changes by itself then; 0 = never */
};

struct kubernetes {
	struct manager *m;
	struct kube_client *client;
	char ns[K8S_NAME_MAX + 1];
	struct feed feed[NUM_FEEDS];
	bool settled; /* sessions, intercepts, pods and slices are known: agents may be told */
	struct hash_table session_table, pod_table, slice_table;
	struct session *sessions;
	struct pod *pods;
	struct slice *slices;
	struct record *records;
	struct announcement *announcements; /* Events under way */
	unsigned nrecords, nannouncements, refusing;
	struct event *work;  /* reconcile at the end of this turn */
	struct event *later; /* the same, when an endpoint has left for good */
	struct agents *agents;
	struct cluster *cluster;
	struct web *web;
	struct login *login; /* NULL: no issuer */
	struct gateways *gateways;
	struct tickets *tickets;
	struct lookup *lookups; /* under way */
	struct settling *settling;
	unsigned nlookups, nsettling;
	struct stranger {
		uint8_t pub[KEY_LEN];
		struct path from;
		nsec_t at;
		uint8_t message[MSG_INITIATION_LEN];
	} stranger[STRANGERS];
	unsigned next_stranger;
	nsec_t sessions_swept;
	bool dns_stale;
	struct log_limit full; /* a bound was hit */
	struct log_limit odd, refused, status_trouble;
};

/* --- sessions.c -------------------------------------------------------------------------------------------- */

void sessions_object(struct kubernetes *k, const json_t *o, bool deleted);
void sessions_sweep(struct kubernetes *k, unsigned generation);
void sessions_complete(struct kubernetes *k);
struct session *session_find(const struct kubernetes *k, const char *name);
void session_touch(struct session *s); /* its status may have to be written */
void sessions_tick(struct kubernetes *k, nsec_t now);
void sessions_free(struct kubernetes *k);
/* A plain initiation of an unknown key: its Session may be on its way to us. */
void stranger_remember(struct kubernetes *k, const struct knock *knock);

/* --- pods.c ------------------------------------------------------------------------------------------------- */

void pods_object(struct kubernetes *k, const json_t *o, bool deleted);
void pods_sweep(struct kubernetes *k, unsigned generation);
struct pod *pod_find(const struct kubernetes *k, const char *uid);
void pods_free(struct kubernetes *k);
/* `ports` of an agent's hello: the targets that it takes. */
void pod_serves(struct pod *p, const json_t *ports);
void slices_object(struct kubernetes *k, const json_t *o, bool deleted);
void slices_sweep(struct kubernetes *k, unsigned generation);
void slices_free(struct kubernetes *k);

/* --- agents.c ----------------------------------------------------------------------------------------------- */

int agents_new(struct kubernetes *k);
void agents_free(struct agents *a);
void agents_knock(struct kubernetes *k, const struct knock *knock);
void agents_pod_seen(struct kubernetes *k, struct pod *pod); /* a verified token may wait for it */
void agents_tick(struct agents *a, nsec_t now);

/* --- records.c ---------------------------------------------------------------------------------------------- */

void records_object(struct kubernetes *k, const json_t *o, bool deleted);
void records_sweep(struct kubernetes *k, unsigned generation);
void records_free(struct kubernetes *k);
/* Something changed that intercepts depend on: reconciled at the end of this turn. */
void records_changed(struct kubernetes *k);
void records_reconcile(struct kubernetes *k);
void records_tick(struct kubernetes *k);
/* Does one ask about this service? */
bool records_name(const struct kubernetes *k, const char *ns, const char *service);
uint64_t hash_json(const struct kubernetes *k, const json_t *j);
struct record *record_find(const struct kubernetes *k, const char *uid);
/* Is it of the workload this agent stands for? */
bool record_is_of(const struct record *r, const struct pod *pod);
/* ... and is each of its ports one that the agent takes? A mark may be older than a port. */
bool record_is_served(const struct record *r, const struct pod *pod);

/* --- cluster.c ---------------------------------------------------------------------------------------------- */

int cluster_new(struct kubernetes *k, struct error *e);
void cluster_free(struct cluster *c);
void namespaces_object(struct kubernetes *k, const json_t *o, bool deleted);
void namespaces_sweep(struct kubernetes *k, unsigned generation);
void nodes_object(struct kubernetes *k, const json_t *o, bool deleted);
void nodes_sweep(struct kubernetes *k, unsigned generation);
void services_object(struct kubernetes *k, const json_t *o, bool deleted);
void services_sweep(struct kubernetes *k, unsigned generation);
void service_cidrs_object(struct kubernetes *k, const json_t *o, bool deleted);
void service_cidrs_sweep(struct kubernetes *k, unsigned generation);
/* A fact may have changed: prefixes are computed and the ConfigMap written soon. */
void cluster_changed(struct kubernetes *k);
bool cluster_published(const struct kubernetes *k); /* the ConfigMap is written */
/* Where neither nodes nor the file name the pods' network, it is learnt from their addresses. */
void cluster_pod_seen(struct kubernetes *k, const char *ip, bool host_network);
json_t *cluster_dns(const struct kubernetes *k, const char *connected_ns);
/* What a pod's agent is given. */
const struct inject_config *cluster_inject(const struct kubernetes *k);
const char *cluster_domain(const struct kubernetes *k);
void cluster_tick(struct cluster *c, nsec_t now);
/* An EndpointSlice of the API server. */
void cluster_apiserver(struct kubernetes *k, const json_t *slice);
void cluster_own(const struct kubernetes *k, struct own_targets *to);

/* --- web.c -------------------------------------------------------------------------------------------------- */

int web_new(struct kubernetes *k, struct error *e);
void web_free(struct web *w);
void web_tick(struct web *w, nsec_t now);

/* --- prefixes.c ------------------------------------------------------------------------------------------------------ */

/* The network that a pod of this address is taken to be of. */
struct prefix prefix_around(const struct ipaddr *ip);
/* False: it is there, or there is no room. */
bool prefixes_add(struct config_prefixes *l, const struct prefix *p);
/* Sorted, less those that lie in another, and of two halves one. How many are left. */
size_t prefixes_merge(struct prefix *p, size_t n);

/* --- review.c: what the API server says of a service account's token ------------------------------------------------ */

struct token_review {
	const char *
		user; /* "system:serviceaccount:NS:NAME"; NULL = the token is not accepted, or not for us */
	const char *pod_uid; /* "" = bound to none */
};
/* `why` is NULL, or the sentence why there is no answer (then the review is empty). All borrowed. */
typedef void token_review_cb(void *arg, const struct token_review *t, const char *why);
/* Exactly one callback, unless cancelled. 0, or -ENOMEM, then there is none. */
int token_review(struct kubernetes *k, const char *token, size_t len, token_review_cb *cb,
		 void *arg, struct token_call **tp);
void token_cancel(struct token_call *t); /* NULL ok; also when the client has gone */

/* --- previews.c ----------------------------------------------------------------------------------------------------- */

/* As its status has it; what is damaged is left out. */
void preview_restore(struct record *r, const json_t *object);
void preview_drop(struct record *r);
/* With its links; not to one that has its own, or takes no requests. */
void preview_move(struct record *from, struct record *to);
/* status.preview, JSON's null without one. */
json_t *preview_status(const struct record *r);
json_t *preview_ingress_json(const struct preview_ingress *i);
json_t *preview_shares_json(const struct preview *p);
/* "" where there is no gateway. */
void preview_url(char *to, size_t size, const struct record *r);
void previews_tick(struct kubernetes *k); /* links expire */
void preview_call(struct control_conn *c, const json_t *params, struct rpc_request *req);
void preview_remove_call(struct control_conn *c, const json_t *params, struct rpc_request *req);
void share_call(struct control_conn *c, const json_t *params, struct rpc_request *req);
void unshare_call(struct control_conn *c, const json_t *params, struct rpc_request *req);

/* --- settle.c --------------------------------------------------------------------------------------------------------- */

/* Something of the record's preview was changed: answers when that is in force, or in a few seconds with a `warning`. */
void settle_answer(struct record *r, struct rpc_request *req, json_t *answer);
void settle_told(struct kubernetes *k);	 /* everybody is being told, as of this epoch */
void settle_check(struct kubernetes *k); /* somebody has confirmed, or time has gone by */
void settle_free(struct kubernetes *k);

/* --- target.c: sans-IO ---------------------------------------------------------------------------------------------- */

enum { OWN_ADDRESSES = 32, OWN_NAMES = 4 };

/* Where no gateway may be sent to: the manager, the gateway, the API server. */
struct own_targets {
	unsigned naddresses, nnames;
	struct own_address {
		struct ipaddr ip;
		uint16_t port; /* 0 = any */
	} address[OWN_ADDRESSES];
	char name[OWN_NAMES][2 * K8S_NAME_MAX + 2]; /* SERVICE.NAMESPACE */
	const char *domain;			    /* the cluster's */
};
/* May a gateway dial it for a visitor, and ask for that layer-5 host? -EINVAL with the sentence. */
int target_check(const struct own_targets *own, const struct preview_ingress *i, struct error *e);

/* --- lookup.c ------------------------------------------------------------------------------------------------------- */

void ingress_call(struct control_conn *c, const json_t *params, struct rpc_request *req);
void lookups_free(struct kubernetes *k);

/* --- tickets.c ------------------------------------------------------------------------------------------------------ */

enum { TICKET_LEN = 43 }; /* base64url of 32 bytes */

int tickets_new(struct tickets **tp);
void tickets_free(struct tickets *t);
/* The oldest goes where there is no room. */
int ticket_make(struct tickets *t, const char *user, const char *login, nsec_t now,
		char ticket[static TICKET_LEN + 1]);
/* Good once. False: unknown, used or too old. `user` and `login`: malloc'ed. */
bool ticket_redeem(struct tickets *t, const char *ticket, nsec_t now, char **user, char **login);
/* 32 random bytes as base64url, and the hash by which they are known. */
void secret_make(char text[static TICKET_LEN + 1], char hash[static SHARE_HASH_LEN + 1]);
void secret_hash(const char *text, char hash[static SHARE_HASH_LEN + 1]);

/* --- gateways.c ----------------------------------------------------------------------------------------------------- */

int gateways_new(struct kubernetes *k);
void gateways_free(struct gateways *g);
/* GET /gateway */
void gateways_request(struct kubernetes *k, struct serve_request *r);
/* What gateways are told has changed, or may have: told at the end of this turn, or within a second. */
void gateways_changed(struct kubernetes *k);
/* Has each that is connected taken what it was told as of that epoch? */
bool gateways_have(const struct kubernetes *k, uint64_t epoch);
bool gateways_watch(const struct kubernetes *k); /* somebody looks at the live list */
/* An agent's `requests`. */
void gateways_requests(struct kubernetes *k, const struct peer *agent, const json_t *params);
void dashboard_call(struct control_conn *c, const json_t *params, struct rpc_request *req);

/* --- login.c -------------------------------------------------------------------------------------------------------- */

/* k->login stays NULL where no issuer is configured (m->cfg->oidc). */
int login_new(struct kubernetes *k, struct error *e);
void login_free(struct login *l); /* NULL ok */
/* Answers `login`; sets session->login. */
void login_call(struct control_conn *c, const json_t *params, struct rpc_request *req);
/* Ends those whose token has expired. */
void logins_tick(struct kubernetes *k, int64_t today);
