/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon as its command line meets it: a client over a socket pair, with a session, a manager and an API server that answer when the test
 * says so.
 */
#pragma once

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/stream.h"
#include "daemon/cluster.h"
#include "daemon/errand.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/session.h"
#include "daemon/workloads.h"
#include "kube/kube.h"

/* --- the session, as far as methods.c sees it ------------------------------------------------- */

static struct {
	char method[32], name[64]; /* the last call */
	json_t *params;
	rpc_cb *cb;
	void *arg;
	unsigned granted, left;
} manager;

static enum session_state state;
static bool away, api_away; /* the manager; the API server */

enum session_state session_state(const struct session *s)
{
	(void)s;
	return state;
}

bool cluster_api_away(const struct cluster *c)
{
	(void)c;
	return api_away;
}

static bool kubernetes;

struct cluster *session_cluster(const struct session *s)
{
	return kubernetes ? (struct cluster *)(uintptr_t)s : NULL;
}

struct link *session_link(struct session *s)
{
	return (struct link *)s;
}

const char *session_namespace(const struct session *s)
{
	(void)s;
	return "shop";
}

static json_t *snapshot;

json_t *session_intercepts(const struct session *s)
{
	(void)s;
	return snapshot;
}

void session_granted(struct session *s, const json_t *intercept)
{
	(void)s;
	(void)intercept;
	manager.granted++;
}

void session_left(struct session *s, const char *name)
{
	(void)s;
	assert_string_equal(name, "hello");
	manager.left++;
}

bool link_up(const struct link *l)
{
	(void)l;
	return !away;
}

void link_kick(struct link *l)
{
	(void)l;
}

int link_call(struct link *l, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	      void *arg)
{
	const char *name = json_string_value(json_object_get(params, "name"));

	(void)l;
	(void)timeout;
	snprintf(manager.method, sizeof(manager.method), "%s", method);
	snprintf(manager.name, sizeof(manager.name), "%s", name ? name : "");
	manager.cb = cb;
	manager.arg = arg;
	json_decref(manager.params);
	manager.params = params;
	return 0;
}

json_t *status_json(struct daemon *d, nsec_t round_trip)
{
	(void)d;
	(void)round_trip;
	return json_object();
}

void daemon_connect(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req)
{
	(void)d;
	(void)cl;
	(void)params;
	rpc_fail(req, RPC_FAILED, "not here");
}

void daemon_connect_abandoned(struct daemon *d)
{
	(void)d;
}

void daemon_quit(struct daemon *d, struct rpc_request *req)
{
	(void)d;
	rpc_fail(req, RPC_FAILED, "not here");
}

/* --- workloads.c, as far as methods.c sees it ------------------------------------------------- */

static char asked[32];

static void ask_workloads(const char *what, struct rpc_request *req)
{
	snprintf(asked, sizeof(asked), "%s", what);
	rpc_reply(req, json_object());
}

void workloads_list(struct daemon *dd, struct control_client *cl, json_t *params,
		    struct rpc_request *req)
{
	(void)dd;
	(void)cl;
	(void)params;
	ask_workloads("list", req);
}

void workloads_intercept(struct daemon *dd, struct control_client *cl, json_t *params,
			 struct rpc_request *req)
{
	(void)dd;
	(void)cl;
	(void)params;
	ask_workloads("intercept", req);
}

void workloads_leave(struct daemon *dd, struct control_client *cl, json_t *params,
		     struct rpc_request *req)
{
	(void)dd;
	(void)cl;
	(void)params;
	ask_workloads("leave", req);
}

void workloads_snapshot(struct daemon *dd)
{
	(void)dd;
	snprintf(asked, sizeof(asked), "snapshot");
}

void workloads_link_down(struct daemon *dd)
{
	(void)dd;
}

void workloads_client_gone(struct daemon *dd, struct control_client *cl)
{
	(void)dd;
	(void)cl;
}

/* --- the API server, as far as what leads to a workload is read from it ------------------------ */

struct kube_request {
	struct kube_request *next;
	char path[160];
	kube_reply_cb *cb;
	void *arg;
};

static struct kube_request *requests;
static bool silent;	      /* it answers nothing */
static const char *forbidden; /* what the user may not read */

struct kube_client *cluster_client(struct cluster *c)
{
	return (struct kube_client *)c;
}

/* Not asked for here, but by what is linked with methods.c. */
#define NO_TEXT(name)                                                                              \
	const char *name(const struct cluster *c)                                                  \
	{                                                                                          \
		(void)c;                                                                           \
		return "";                                                                         \
	}
NO_TEXT(cluster_trouble)
NO_TEXT(cluster_context)
NO_TEXT(cluster_manager_namespace)
NO_TEXT(cluster_server)
NO_TEXT(cluster_user)

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	struct kube_request *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	(void)c;
	assert_null(call->method); /* it is only read */
	*r = (struct kube_request){.next = requests, .cb = cb, .arg = arg};
	snprintf(r->path, sizeof(r->path), "%s", call->path);
	requests = r;
	*rp = r;
	return 0;
}

void kube_cancel(struct kube_request *r)
{
	struct kube_request **at = &requests;

	if (!r)
		return;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	free(r);
}

int kube_query(char *query, size_t room, const char *key, const char *value)
{
	snprintf(query, room, "%s=%s", key, value);
	return 0;
}

char *kube_denied_yaml(const struct kube_denied *denied)
{
	(void)denied;
	return NULL;
}

#define INGRESS(name, service)                                                                     \
	"{\"metadata\":{\"name\":\"" name                                                          \
	"\",\"namespace\":\"shop\"},\"spec\":{\"rules\":[{\"host\":\"" name                        \
	"\",\"http\":{\"paths\":[{\"backend\":{\"service\":{\"name\":\"" service "\"}}}]}}]}}"

static const struct {
	const char *end, *body;
} objects[] = {
	{"deployments/hello",
	 "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"hello\",\"namespace\":\"shop\"},"
	 "\"spec\":{"
	 "\"selector\":{\"matchLabels\":{\"app\":\"hello\"}},\"template\":{\"metadata\":{"
	 "\"labels\":{"
	 "\"app\":\"hello\"}},\"spec\":{\"containers\":[{\"name\":\"web\"}]}}}}"},
	{"shop/services", "{\"items\":[{\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\"},"
			  "\"spec\":{\"selector\":{"
			  "\"app\":\"hello\"},\"ports\":[{\"port\":80,\"protocol\":\"TCP\"}]}}]}"},
	{"shop/ingresses",
	 "{\"items\":[" INGRESS("a.test", "other") "," INGRESS("b.test", "web") "]}"},
	{"shop/httproutes", "{\"items\":[{\"metadata\":{\"name\":\"r\",\"namespace\":\"shop\"},"
			    "\"spec\":{\"parentRefs\":[{"
			    "\"name\":\"outer\",\"namespace\":\"infra\"}],\"rules\":[{"
			    "\"backendRefs\":[{\"name\":\"web\"}]}]"
			    "}}]}"},
	{"v1/gateways",
	 "{\"items\":[{\"metadata\":{\"name\":\"outer\",\"namespace\":\"infra\"},\"spec\":{}},{"
	 "\"metadata\":{\"name\":\"inner\",\"namespace\":\"infra\"},\"spec\":{}}]}"},
};

/* Of one question; what is not there is not found. */
static void api_answers(struct kube_request *r)
{
	struct kube_reply reply = {
		.failure = KUBE_NOT_FOUND, .body = "", .sentence = "It is not there."};
	kube_reply_cb *cb = r->cb;
	void *arg = r->arg;
	size_t len = strlen(r->path);

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		size_t n = strlen(objects[i].end);

		if (len < n || strcmp(r->path + len - n, objects[i].end) != 0)
			continue;
		reply.failure = KUBE_OK;
		reply.body = objects[i].body;
		reply.len = strlen(reply.body);
	}
	if (forbidden && strstr(r->path, forbidden))
		reply = (struct kube_reply){
			.failure = KUBE_FORBIDDEN, .body = "", .sentence = "You may not."};
	kube_cancel(r);
	cb(arg, &reply);
}

/* --- a client over a socket pair -------------------------------------------------------------- */

static struct daemon d;
static struct rpc *ours, *theirs;
static struct control_client *const client = (struct control_client *)&ours;
static json_t *answer;

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	(void)arg;
	(void)r;
	method_call(&d, client, method, params, req);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	(void)arg;
	(void)r;
	(void)error;
	method_client_gone(&d, client);
	rpc_free(ours);
	ours = NULL;
	event_base_loopbreak(d.base);
}

static void on_answer(void *arg, json_t *result, int code, const char *message)
{
	(void)arg;
	if (!result)
		fail_msg("%d: %s", code, message);
	answer = json_incref(result);
	event_base_loopbreak(d.base);
}

static unsigned lines; /* of progress */

void control_progress(struct control_client *cl, const char *text)
{
	assert_ptr_equal(cl, client);
	assert_non_null(strstr(text, "Waiting for the manager"));
	lines++;
}

static const struct rpc_ops callbacks = {.call = on_call, .closed = on_closed};

static int set_up(void **unused)
{
	struct stream *s[2];
	int fd[2];

	(void)unused;
	memset(&manager, 0, sizeof(manager));
	memset(&d, 0, sizeof(d));
	state = SESSION_CONNECTED;
	away = api_away = kubernetes = silent = false;
	lines = 0;
	TAILQ_INIT(&d.errands);
	d.base = event_base_new();
	d.session = (struct session *)&manager;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) ||
	    stream_from_fd(d.base, fd[0], &s[0]) || stream_from_fd(d.base, fd[1], &s[1]))
		return -1;
	return rpc_new(&ours, d.base, s[0], &callbacks, NULL) ||
	       rpc_new(&theirs, d.base, s[1], &callbacks, NULL);
}

static int tear_down(void **unused)
{
	(void)unused;
	if (ours)
		rpc_free(ours);
	if (theirs)
		rpc_free(theirs);
	event_base_free(d.base);
	json_decref(manager.params);
	json_decref(snapshot);
	snapshot = NULL;
	return 0;
}

static void call(const char *method, json_t *params, rpc_cb *cb)
{
	assert_int_equal(rpc_call(theirs, method, params, 0, cb, NULL), 0);
}

static void until_asked(void)
{
	while (!manager.cb) {
		if (requests && !silent)
			api_answers(requests);
		else
			event_base_loop(d.base, EVLOOP_ONCE);
	}
}

static json_t *intercept_params(void)
{
	return json_pack("{s:s,s:[{s:i,s:s}],s:s,s:i}", "name", "hello", "ports", "local", 3000,
			 "port", "http", "on_down", "pod", "hold_s", 30);
}

static void grant(void)
{
	json_t *result = json_pack("{s:{s:s}}", "intercept", "name", "hello");
	rpc_cb *cb = manager.cb;

	manager.cb = NULL;
	cb(manager.arg, result, 0, NULL);
	json_decref(result);
}

static void hang_up(void)
{
	rpc_free(theirs);
	theirs = NULL;
	event_base_dispatch(d.base);
	assert_null(ours);
}

static int refused;

static void on_refused(void *arg, json_t *result, int code, const char *message)
{
	(void)arg;
	assert_null(result);
	assert_true(*message);
	refused = code;
	event_base_loopbreak(d.base);
}
