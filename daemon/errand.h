/* SPDX-License-Identifier: Apache-2.0 */
/* errand: a question that the manager is asked on behalf of a client. */
#pragma once

#include "daemon/internal.h"

struct event;
struct ingress_look;

#define ERRAND_TIMEOUT (5 * NSEC_PER_SEC)

struct errand {
	TAILQ_ENTRY(errand) entry;
	struct daemon *daemon;
	struct control_client *client; /* NULL = it went away */
	struct rpc_request *req;
	char ns[64];
	bool all;
	bool pinging; /* status: since `sent` */
	nsec_t sent;
	char name[128];		   /* leave: whose */
	json_t *granted;	   /* intercept: what the manager said */
	struct ingress_look *look; /* ingress: the API server is asked before the manager */
	json_t *params;		   /* and then it is asked this */
	struct event *limit;	   /* and how long its snapshot is waited for */
};

/* NULL: out of memory, and `req` is answered. */
struct errand *errand_new(struct daemon *d, struct control_client *cl, struct rpc_request *req);
void errand_end(struct errand *er);
/* Answers, and ends it. */
void errand_fail(struct errand *er, int code, const char *message);
/* `params` is consumed. The callback gets the errand; when the connection breaks there is none, but method_link_down(). */
void errand_ask(struct errand *er, const char *method, json_t *params, rpc_cb *cb);
/* Can the manager be asked? Else `req` is answered. */
bool errand_connected(struct daemon *d, struct rpc_request *req);
