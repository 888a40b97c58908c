/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as its files see it: one object, one loop, at most one session. */
#pragma once

#include <jansson.h>
#include <sys/queue.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/userdir.h"
#include "rpc/rpc.h"

struct account;
struct control;
struct control_client;
struct event_base;
struct netwatch;
struct session;
struct workloads;

enum { QUITS_MAX = 16 };

struct daemon {
	struct event_base *base;
	struct userdir dir;
	struct control *control;
	struct netwatch *netwatch;
	struct session *session; /* NULL = neither connected nor about to be */
	nsec_t started;
	bool exit_idle; /* ends when nobody is connected and nothing is to be kept up */
	bool stopping;
	/* Why the last session ended without our doing; "" = it did not. A daemon stays to tell it. */
	char ended[512];
	char left_behind[768]; /* what quit could not undo, for its answer */

	/* The connect under way: its caller gets the progress lines and the answer. */
	struct control_client *connecting; /* NULL = none, or the caller went away */
	struct rpc_request *connect_req;
	unsigned nquits;
	struct rpc_request *quit_req[QUITS_MAX]; /* all are answered at the end */
	TAILQ_HEAD(errand_list, errand)
	errands; /* questions under way at the manager */
	struct workloads
		*workloads;	 /* on Kubernetes: what this session does with them; may be NULL */
	struct account *account; /* on Kubernetes, once connected; may be NULL */
};

/* control.c: the Unix socket. */
int control_new(struct control **cp, struct daemon *d, struct error *e);
void control_free(struct control *c); /* removes the socket */
unsigned control_clients(const struct control *c);
void control_progress(struct control_client *cl, const char *text);

/* methods.c: what the command line may ask. Answers now or later. */
void method_call(struct daemon *d, struct control_client *cl, const char *method, json_t *params,
		 struct rpc_request *req);
/* The client is gone: what it was waiting for is undone. */
void method_client_gone(struct daemon *d, struct control_client *cl);
/* The manager's intercepts came anew: who waits for that is answered. */
void method_snapshot(struct daemon *d);
/* The manager will not answer what it was asked: who waits is told. */
void method_link_down(struct daemon *d);

/* connect.c: from the request to a session, and back to nothing. */
void daemon_connect(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req);
void daemon_connect_abandoned(struct daemon *d);
void daemon_quit(struct daemon *d, struct rpc_request *req); /* `req` may be NULL: a signal */
void daemon_check_idle(struct daemon *d);

/* status.c: the path in use as text, into `remote` (an address, or ""), and its transport's name. */
const char *path_text(struct session *s, char remote[static ADDR_STRLEN]);
/* status.c: what is so now, each line measured. `round_trip` of a ping to the manager, 0 = no
 * answer. */
json_t *status_json(struct daemon *d, nsec_t round_trip);
void status_warn(json_t *warnings, const char *fmt, ...) printf_like(2, 3);
/* status_intercepts.c: what this laptop has intercepted, and what is in the way of it. */
json_t *status_intercepts(struct session *s, json_t *warnings);
