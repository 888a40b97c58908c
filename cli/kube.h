/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster, for commands that need it themselves: one request after the other, on an event loop that Ctrl-C ends. */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "cli/internal.h"
#include "kube/kube.h"
#include "objects/objects.h"

/* Of every command that talks to the API server. */
#define FLAGS_KUBE                                                                                 \
	{"context", 0, FLAG_TEXT, false, "NAME", "the kubeconfig's context", NULL},                \
		{"kubeconfig", 0,      FLAG_FILE,                                                  \
		 false,	       "FILE", "this file, and neither $KUBECONFIG nor ~/.kube/config",    \
		 NULL},                                                                            \
		{"as", 0, FLAG_TEXT, false, "USER", "act as this user (impersonation)", NULL},     \
	{                                                                                          \
		"as-group", 0, FLAG_TEXT, true, "GROUP", "and as of this group", NULL              \
	}

struct cluster {
	struct event_base *base;
	struct kube_client *client;
	struct event *signals[3], *timer;
	bool interrupted;
	char *grant; /* YAML that grants what was denied last; NULL = nothing was, or it is not known */
};

/* Reads the kubeconfig as the flags say; connects to nothing. On failure nothing is to be closed. */
int cluster_open(struct cluster *c, const struct args *a, struct error *e);
void cluster_close(struct cluster *c);
/* The context's name, or the server's URL. */
const char *cluster_name(const struct cluster *c);

/*
 * One request. 0 and the answer (*answer may be NULL: not wanted); a positive enum kube_failure, or -EINTR, with the sentence.
 */
int cluster_call(struct cluster *c, const struct kube_call *call, json_t **answer, struct error *e);
int cluster_get(struct cluster *c, json_t **answer, struct error *e, const char *path,
		const char *query);
/* As cluster_get, but what is not there is no failure: *answer is NULL then. */
int cluster_find(struct cluster *c, json_t **answer, struct error *e, const char *path);
int cluster_post(struct cluster *c, json_t **answer, struct error *e, const char *path,
		 const json_t *body);
int cluster_merge(struct cluster *c, json_t **answer, struct error *e, const char *path,
		  const json_t *patch);
/* Server-side apply as `culvert`, taking what others own. */
int cluster_apply(struct cluster *c, json_t **answer, struct error *e, const char *path,
		  const json_t *object);
/* Not there is fine; *was (may be NULL) tells. */
int cluster_delete(struct cluster *c, struct error *e, const char *path, bool *was);
/* The same POST with each of `bodies`, all at once; the answers in their order, a new array. */
int cluster_post_all(struct cluster *c, json_t **answers, struct error *e, const char *path,
		     const json_t *bodies);
/* -EINTR when a signal came. */
int cluster_sleep(struct cluster *c, unsigned ms, struct error *e);

/* Prints the sentence and, after a denial, the YAML that grants it; EXIT_FAILED. */
int cluster_fail(const struct cluster *c, const struct error *e);
/* Asks on the terminal; "no" without one. */
bool cluster_confirm(struct cluster *c, const char *question);

/* --- rollout.c ------------------------------------------------------------------------------------------- */

/* Are all its pods new and ready? Deployment and StatefulSet. */
bool rollout_done(const json_t *workload);
/* What keeps its pods from being ready, one line out of their states and events; "" = nothing is known. True when waiting will not
 * help: the image is wrong, or the program ends again and again. */
bool rollout_reason(struct cluster *c, const char *ns, const char *name, const json_t *selector,
		    struct error *why);

/* --- rights.c -------------------------------------------------------------------------------------------- */

/* May we do all that applying these objects takes? 0, or KUBE_FORBIDDEN with the sentence and c->grant. */
int rights_check(struct cluster *c, const json_t *objects, const char *ns, struct error *e);
