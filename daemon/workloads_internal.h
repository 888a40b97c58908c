/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files about Kubernetes' workloads share.
 *
 *   workloads.c  what methods.c calls, and what this session has intercepted
 *   listing.c    culvert list
 *   take.c       culvert intercept, step by step         checks.c  what is found before anything changes
 *   rollout.c    pods that come with the agent, and what keeps them from coming
 *   gather.c     several questions to the API server at once
 */
#pragma once

#include <sys/queue.h>

#include "daemon/cluster.h"
#include "daemon/gather.h"
#include "daemon/internal.h"
#include "daemon/session.h"
#include "daemon/workloads.h"
#include "objects/objects.h"

struct listing;
struct take;
struct kube_watch;

/* --- workloads.c ------------------------------------------------------------------------------------------ */

/* An Intercept that this session made. */
struct taken {
	LIST_ENTRY(taken) entry;
	struct workloads *w;
	struct intercept in;
	char object[OBJECT_NAME_MAX + 1], uid[64];
	bool seen;		  /* a snapshot named it */
	bool unwanted;		  /* it is being deleted, however often that takes */
	bool deleted;		  /* the manager does not know yet */
	bool mark_lost;		  /* its workload's template has the mark no more */
	struct kube_watch *watch; /* of the workload, once it is in force */
	struct kube_request *deletion, *look;
	struct event *again;
};

struct workloads {
	struct daemon *d;
	LIST_HEAD(listing_list, listing)
	listings;
	LIST_HEAD(take_list, take)
	takes;
	LIST_HEAD(taken_list, taken)
	taken;
	LIST_HEAD(leaving_list, leaving)
	leavings;
};

struct kube_client *workloads_client(const struct workloads *w);
struct cluster *workloads_cluster(const struct workloads *w);
/* The snapshot's item of that Intercept, or NULL. Borrowed. */
const json_t *snapshot_find(const struct workloads *w, const char *uid);
/* Of a refusal that is due to a namespace that is not there, -ENOENT and the sentence: who may not look is told of a mistyped name, not
 * of rights. Else 0. */
int check_namespace(const struct workloads *w, const char *ns, enum kube_failure failure,
		    struct error *why);
/* From the API server's answer to the POST. NULL = it cannot be read. */
struct taken *taken_new(struct workloads *w, const json_t *object);
/* It is in force: from now on a mark that is lost is noticed. */
void taken_watch(struct taken *t);
/* Deletes it, again and again until it is gone. */
void taken_drop(struct taken *t);

/* --- listing.c ------------------------------------------------------------------------------------------------ */

void listing_start(struct workloads *w, json_t *params, struct rpc_request *req);
void listing_fail(struct listing *l, int code, const char *text);

/* "ana@laptop" of an Intercept; `sessions` may be NULL. */
void holder_name(char *to, size_t size, const struct intercept_object *o, const json_t *sessions);
/* The Session of that name, or NULL. Borrowed. */
const json_t *session_object_find(const json_t *sessions, const char *name);
bool is_uncontrolled(const json_t *object); /* a ReplicaSet that no Deployment made */

/* --- take.c --------------------------------------------------------------------------------------------------- */

void take_start(struct workloads *w, struct control_client *cl, json_t *params,
		struct rpc_request *req);
void take_snapshot(struct take *t);
/* If it is this client's: what was made for it is taken back. */
void take_client_gone(struct take *t, const struct control_client *cl);
void take_fail(struct take *t, int code, const char *text);
/* Calls to the manager that were under way get no answer. */
void take_link_down(struct take *t);
/* This Intercept is no more: who waits for it is told. */
void takes_lost(struct workloads *w, const struct taken *gone);
struct take *take_next(const struct take *t);
bool takes_posting(const struct workloads *w); /* an Intercept may be there that nobody knows yet */

/* --- checks.c -------------------------------------------------------------------------------------------------- */

/* What stands in the way of injecting `m`, in one sentence with the remedy; 0 = nothing. Ports that a restricted namespace
 * does not allow, and that are not wanted, are taken out of the mark. */
int check_pod_security(struct mark *m, const struct intercept *in, const json_t *ns,
		       struct error *why);
/* NetworkPolicies (an array) that keep the agent from the manager, or clients from the agent. */
int check_policies(const struct mark *m, const struct workload *w, const json_t *object,
		   const json_t *policies, const char *manager_ns, struct error *why);
/* Who has one of these ports: an enum of rpc codes with the sentence. */
int check_holders(const struct intercept *in, const char *session, const json_t *intercepts,
		  const json_t *sessions, struct error *why);
