/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line may ask of the daemon (docs/control.md). */
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/account.h"
#include "daemon/errand.h"
#include "daemon/intercepts.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/previews.h"
#include "daemon/session.h"
#include "daemon/workloads.h"
#include "intercept/intercept.h"

enum { SNAPSHOT_LIMIT = 1 /* s */ };

#define PING_TIMEOUT (1 * NSEC_PER_SEC) /* status waits no longer */

/* --- list --- */

static void on_workloads(void *arg, json_t *result, int code, const char *message)
{
	struct errand *er = arg;
	json_t *list = json_object_get(result, "workloads"), *out, *v;
	size_t i;

	if (!result) {
		errand_refused(er, code, message);
		return;
	}
	out = json_array();
	json_array_foreach(list, i, v)
	{
		const json_t *w = json_object_get(v, "workload");
		const char *ns = json_string_value(json_object_get(w, "namespace"));

		if (er->all || (ns && !strcmp(ns, er->ns)))
			json_array_append(out, v);
	}
	rpc_reply(er->req,
		  json_pack("{s:s,s:o}", "namespace", er->all ? "" : er->ns, "workloads", out));
	errand_end(er);
}

static void list(struct daemon *d, struct control_client *cl, json_t *params,
		 struct rpc_request *req)
{
	const char *ns = json_string_value(json_object_get(params, "namespace"));
	struct errand *er;

	if (!errand_connected(d, req))
		return;
	er = errand_new(d, cl, req);
	if (!er)
		return;
	er->all = json_is_true(json_object_get(params, "all"));
	snprintf(er->ns, sizeof(er->ns), "%s", ns ? ns : session_namespace(d->session));
	errand_ask(er, "workloads", json_object(), on_workloads);
}

/* --- intercept and leave --- */

static void on_stray_left(void *arg, json_t *result, int code, const char *message)
{
	(void)arg;
	if (!result)
		log_warn("leave: %s (%d)", message, code);
}

/* What the last snapshot says of this intercept, or NULL. Borrowed. */
static const json_t *find_told(struct daemon *d, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(session_intercepts(d->session), i, item)
	{
		const char *has = json_string_value(
			json_object_get(json_object_get(item, "intercept"), "name"));

		if (has && !strcmp(has, name))
			return item;
	}
	return NULL;
}

static const char *state_of(struct daemon *d, const char *name)
{
	const json_t *item = find_told(d, name);

	return item ? json_string_value(json_object_get(item, "state")) : "";
}

static void answer_granted(struct errand *er)
{
	const char *name = json_string_value(
		json_object_get(json_object_get(er->granted, "intercept"), "name"));
	json_t *answer = json_copy(er->granted);

	json_object_set_new(answer, "state", json_string(state_of(er->daemon, name)));
	intercepts_set_header(answer, json_object_get(answer, "intercept"));
	rpc_reply(er->req, answer);
	errand_end(er);
}

static void on_no_snapshot(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	answer_granted(arg);
}

static bool on_kubernetes(const struct daemon *d)
{
	return d->session && session_cluster(d->session);
}

void method_snapshot(struct daemon *d)
{
	struct errand *er, *next;

	if (on_kubernetes(d))
		workloads_snapshot(d);
	account_link_up(d);
	for (er = TAILQ_FIRST(&d->errands); er; er = next) {
		next = TAILQ_NEXT(er, entry);
		if (er->granted)
			answer_granted(er);
		else if (er->waiting)
			errand_resume(er);
	}
}

/* Nobody was told of it: nobody would ever leave it. */
static void undo_grant(struct daemon *d, const json_t *in)
{
	json_t *name = json_object_get(in, "name");

	(void)link_call(session_link(d->session), "leave", json_pack("{s:O}", "name", name),
			ERRAND_TIMEOUT, on_stray_left, NULL);
	session_left(d->session, json_string_value(name));
}

/* The answer waits for the manager's snapshot, which says whether an agent is there to act on it.
 */
static void on_intercepted(void *arg, json_t *result, int code, const char *message)
{
	const struct timeval limit = {.tv_sec = SNAPSHOT_LIMIT};
	struct errand *er = arg;
	json_t *in = json_object_get(result, "intercept");

	if (!result) {
		errand_refused(er, code, message);
		return;
	}
	if (er->client) {
		session_granted(er->daemon->session, in);
		er->granted = json_incref(result);
		er->limit = evtimer_new(er->daemon->base, on_no_snapshot, er);
		if (!er->limit || evtimer_add(er->limit, &limit))
			answer_granted(er);
		return;
	}
	undo_grant(er->daemon, in); /* Ctrl-C while the manager was asked */
	errand_fail(er, RPC_FAILED, "interrupted");
}

static void ask_intercept(struct errand *er)
{
	json_t *call = json_copy(er->params);

	json_object_set_new(call, "namespace_connected",
			    json_string(session_namespace(er->daemon->session)));
	errand_ask(er, "intercept", call, on_intercepted);
}

static void intercept(struct daemon *d, struct control_client *cl, json_t *params,
		      struct rpc_request *req)
{
	struct intercept_request r;
	struct error e;
	struct errand *er;

	if (intercept_request_from_json(&r, params, &e)) {
		rpc_fail(req, RPC_USAGE, "%s", e.text);
		return;
	}
	er = errand_new(d, cl, req);
	if (er)
		errand_begin(er, intercept_request_to_json(&r), ask_intercept, NULL);
}

static void on_left(void *arg, json_t *result, int code, const char *message)
{
	struct errand *er = arg;
	/* The question whose answer was lost was heard. */
	bool gone = code == RPC_NOT_FOUND && er->asked_again && er->known;

	if (!result && !gone) {
		errand_refused(er, code, message);
		return;
	}
	session_left(er->daemon->session, er->name);
	rpc_reply(er->req, json_object());
	errand_end(er);
}

static void ask_leave(struct errand *er)
{
	if (!er->asked_again)
		er->known = find_told(er->daemon, er->name);
	errand_ask(er, "leave", json_incref(er->params), on_left);
}

static void leave(struct daemon *d, struct control_client *cl, json_t *params,
		  struct rpc_request *req)
{
	json_t *name = json_object_get(params, "name");
	struct errand *er;

	if (!json_is_string(name)) {
		rpc_fail(req, RPC_BAD_PARAMS, "leave needs a name");
		return;
	}
	er = errand_new(d, cl, req);
	if (!er)
		return;
	snprintf(er->name, sizeof(er->name), "%s", json_string_value(name));
	errand_begin(er, json_pack("{s:O}", "name", name), ask_leave, NULL);
}

/* --- status --- */

static void on_pong(void *arg, json_t *result, int code, const char *message)
{
	struct errand *er = arg;

	(void)code;
	(void)message;
	rpc_reply(er->req, status_json(er->daemon, result ? clock_boot() - er->sent : 0));
	errand_end(er);
}

static void status(struct daemon *d, struct control_client *cl, struct rpc_request *req)
{
	struct errand *er;

	if (!d->session || !link_up(session_link(d->session))) {
		rpc_reply(req, status_json(d, 0));
		return;
	}
	er = errand_new(d, cl, req);
	if (!er)
		return;
	er->pinging = true;
	er->sent = clock_boot();
	if (link_call(session_link(d->session), "ping", json_object(), PING_TIMEOUT, on_pong, er))
		on_pong(er, NULL, 0, NULL);
}

/* --- the table --- */

/* What differs by platform: the manager is asked, or Kubernetes' objects. */
struct platform {
	void (*list)(struct daemon *, struct control_client *, json_t *, struct rpc_request *);
	void (*intercept)(struct daemon *, struct control_client *, json_t *, struct rpc_request *);
	void (*leave)(struct daemon *, struct control_client *, json_t *, struct rpc_request *);
};

static const struct platform static_platform = {list, intercept, leave};

/* The API server alone is asked: the manager may be down. */
static void list_workloads(struct daemon *d, struct control_client *cl, json_t *params,
			   struct rpc_request *req)
{
	if (session_state(d->session) == SESSION_CONNECTED)
		workloads_list(d, cl, params, req);
	else
		rpc_fail(req, RPC_NOT_CONNECTED, "not connected; run `culvert connect` first");
}

static void take_workload(struct errand *er)
{
	workloads_intercept(er->daemon, er->client, er->params, er->req);
	errand_end(er);
}

static void intercept_workload(struct daemon *d, struct control_client *cl, json_t *params,
			       struct rpc_request *req)
{
	struct errand *er = errand_new(d, cl, req);

	if (er)
		errand_begin(er, json_incref(params), take_workload, NULL);
}

/* The API server alone is asked: the manager may be down. */
static void leave_workload(struct daemon *d, struct control_client *cl, json_t *params,
			   struct rpc_request *req)
{
	if (session_state(d->session) == SESSION_CONNECTED)
		workloads_leave(d, cl, params, req);
	else
		rpc_fail(req, RPC_NOT_CONNECTED, "not connected; run `culvert connect` first");
}

/* --- login --- */

static void look_at_login(struct errand *er)
{
	account_call(er->daemon, er->req);
	errand_end(er);
}

/* The manager's verdict is waited for where it is asked for; without one what is known here counts. */
static void login(struct daemon *d, struct control_client *cl, json_t *params,
		  struct rpc_request *req)
{
	bool verdict = json_is_true(json_object_get(params, "verdict"));
	struct errand *er = verdict ? errand_new(d, cl, req) : NULL;

	if (er)
		errand_begin(er, NULL, look_at_login, look_at_login);
	else if (!verdict)
		account_call(d, req);
}

static const struct platform kubernetes = {list_workloads, intercept_workload, leave_workload};

void method_call(struct daemon *d, struct control_client *cl, const char *method, json_t *params,
		 struct rpc_request *req)
{
	const struct platform *p = on_kubernetes(d) ? &kubernetes : &static_platform;

	if (!strcmp(method, "version"))
		rpc_reply(req, json_pack("{s:s}", "version", CULVERT_VERSION));
	else if (!strcmp(method, "connect"))
		daemon_connect(d, cl, params, req);
	else if (!strcmp(method, "status"))
		status(d, cl, req);
	else if (!strcmp(method, "list"))
		p->list(d, cl, params, req);
	else if (!strcmp(method, "intercept"))
		p->intercept(d, cl, params, req);
	else if (!strcmp(method, "leave"))
		p->leave(d, cl, params, req);
	else if (!strcmp(method, "login"))
		login(d, cl, params, req);
	else if (!strcmp(method, "quit"))
		daemon_quit(d, req);
	else if (!previews_call(d, cl, method, params, req))
		rpc_fail(req, RPC_NO_METHOD, "this daemon (%s) knows no method %s", CULVERT_VERSION,
			 method);
}

void method_client_gone(struct daemon *d, struct control_client *cl)
{
	struct errand *er, *next;

	for (er = TAILQ_FIRST(&d->errands); er; er = next) {
		next = TAILQ_NEXT(er, entry);
		if (er->client != cl)
			continue;
		er->client = NULL;
		if (er->granted) /* before the snapshot */
			undo_grant(d, json_object_get(er->granted, "intercept"));
		if (er->granted || er->waiting)
			errand_fail(er, RPC_FAILED, "interrupted");
	}
	workloads_client_gone(d, cl);
	if (d->connecting == cl)
		daemon_connect_abandoned(d);
}

void method_link_down(struct daemon *d)
{
	struct errand *er, *next;

	account_link_down(d);
	for (er = TAILQ_FIRST(&d->errands); er; er = next) {
		next = TAILQ_NEXT(er, entry);
		if (er->pinging)
			on_pong(er, NULL, 0, NULL);
		else if (er->granted)
			answer_granted(er);
		else
			errand_interrupted(er);
	}
	workloads_link_down(d);
}
