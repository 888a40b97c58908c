/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errand: a question that the manager is asked on behalf of a client.
 *
 * A manager that is restarted is away for a few seconds: who asks then waits for it, unless waiting is of no use. So does who
 * had asked already and has no answer, since the connection broke or is of no use any more: the question is asked again.
 */
#pragma once

#include "daemon/internal.h"

struct event;
struct ingress_look;

enum { ERRAND_PATIENCE_S = 10 /* that a manager is waited for that does not answer */ };

#define ERRAND_TIMEOUT (5 * NSEC_PER_SEC)

/* Asks, or answers and ends it. */
typedef void errand_go(struct errand *er);

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
	bool known;		   /* and the manager knew it */
	json_t *granted;	   /* intercept: what the manager said */
	struct event *limit;	   /* and how long its snapshot is waited for */
	struct ingress_look *look; /* ingress: the API server is asked before the manager */
	json_t *call;		   /* and then it is asked this */
	const struct preview_method *preview;

	/* Of errand_begin(). */
	json_t *params;
	errand_go *go, *in_vain;
	nsec_t until;		/* it is waited for */
	struct event *patience; /* ticks while it is; NULL = never */
	bool waiting, said;
	bool asked_again; /* the first question may have been heard, its answer was lost */
	bool once;	  /* it may not be asked again */
};

/* NULL: out of memory, and `req` is answered. */
struct errand *errand_new(struct daemon *d, struct control_client *cl, struct rpc_request *req);
void errand_end(struct errand *er);
/* Answers, and ends it. */
void errand_fail(struct errand *er, int code, const char *message);
/* The manager's answer is no: the client's, too. Where there was none (the connection ended, or in time) it is asked again. */
void errand_refused(struct errand *er, int code, const char *message);
/* `params` is consumed. The callback gets the errand; when the connection breaks there is none, but method_link_down(). */
void errand_ask(struct errand *er, const char *method, json_t *params, rpc_cb *cb);
/* Can the manager be asked? Else `req` is answered. */
bool errand_connected(struct daemon *d, struct rpc_request *req);
/* Calls `go` when the manager can be asked, from here if it can be now; `in_vain` if it does not answer, where NULL is to refuse.
 * `params` is consumed: it is go's. */
void errand_begin(struct errand *er, json_t *params, errand_go *go, errand_go *in_vain);
/* The manager answers again. */
void errand_resume(struct errand *er);
/* The connection broke while it was under way: it waits for the next one, or is answered. */
void errand_interrupted(struct errand *er);
