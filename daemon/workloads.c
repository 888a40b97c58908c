/* SPDX-License-Identifier: Apache-2.0 */
/* What this session has intercepted on a Kubernetes: made by take.c, watched and ended here. */
#include "daemon/workloads.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/link.h"
#include "daemon/refusal.h"
#include "daemon/workloads_internal.h"

enum { DROP_AGAIN_S = 2, LEAVE_WAIT_S = 2 };

#define INTERCEPTS_PATH "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION "/namespaces/%s/intercepts"

static struct workloads *workloads_of(struct daemon *d)
{
	if (!d->workloads) {
		d->workloads = calloc(1, sizeof(*d->workloads));
		if (d->workloads)
			d->workloads->d = d;
	}
	return d->workloads;
}

struct cluster *workloads_cluster(const struct workloads *w)
{
	return session_cluster(w->d->session);
}

struct kube_client *workloads_client(const struct workloads *w)
{
	return cluster_client(workloads_cluster(w));
}

const json_t *snapshot_find(const struct workloads *w, const char *uid)
{
	const json_t *item;
	size_t i;

	json_array_foreach(session_intercepts(w->d->session), i, item)
	{
		if (!strcmp(object_text(item, "uid", NULL), uid))
			return item;
	}
	return NULL;
}

int check_namespace(const struct workloads *w, const char *ns, enum kube_failure failure,
		    struct error *why)
{
	const struct hello *h = session_hello(w->d->session);

	/* Without names, or not with all of them, the manager says nothing about it. */
	if (failure != KUBE_FORBIDDEN || !h->ndomains || h->domains_left_out)
		return 0;
	for (unsigned i = 0; i < h->ndomains; i++) {
		if (!strcasecmp(h->domain[i], ns))
			return 0;
	}
	return error_set(why, -ENOENT,
			 "There is no namespace %s, as far as the manager knows; `culvert list -A` "
			 "shows those of which you may list the workloads.",
			 ns);
}

/* --- an Intercept of ours --------------------------------------------------------------------------------- */

static void leavings_forget(struct workloads *w, const struct taken *t);

static void taken_end(struct taken *t)
{
	takes_lost(t->w, t);
	leavings_forget(t->w, t);
	LIST_REMOVE(t, entry);
	kube_watch_stop(t->watch);
	kube_cancel(t->deletion);
	kube_cancel(t->look);
	if (t->again)
		event_free(t->again);
	free(t);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	taken_drop(arg);
}

static struct taken *taken_add(struct workloads *w, const char *object, const char *uid)
{
	struct taken *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->w = w;
	t->again = evtimer_new(w->d->base, on_again, t);
	if (!t->again) {
		free(t);
		return NULL;
	}
	snprintf(t->object, sizeof(t->object), "%s", object);
	snprintf(t->uid, sizeof(t->uid), "%s", uid);
	LIST_INSERT_HEAD(&w->taken, t, entry);
	return t;
}

struct taken *taken_new(struct workloads *w, const json_t *object)
{
	struct intercept_object o;
	struct error e;
	struct taken *t;

	if (intercept_from_object(&o, object, &e)) {
		log_warn("%s", e.text);
		return NULL;
	}
	t = taken_add(w, o.object, o.uid);
	if (t)
		t->in = o.in;
	return t;
}

static void on_dropped(void *arg, const struct kube_reply *reply)
{
	const struct timeval later = {.tv_sec = DROP_AGAIN_S};
	struct taken *t = arg;

	t->deletion = NULL;
	if (reply->failure == KUBE_OK || reply->failure == KUBE_NOT_FOUND) {
		t->deleted = true;
		if (!snapshot_find(t->w, t->uid))
			taken_end(t);
		return;
	}
	log_warn("intercept %s: %s; it is tried again", t->in.name, reply->sentence);
	evtimer_add(t->again, &later);
}

static int delete_object(struct taken *t, kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	char path[512];
	struct kube_call call = {.method = "DELETE", .path = path, .patience = KUBE_PATIENCE};

	snprintf(path, sizeof(path), INTERCEPTS_PATH "/%s", t->in.ns, t->object);
	return kube_request(workloads_client(t->w), &call, cb, arg, rp);
}

void taken_drop(struct taken *t)
{
	const struct timeval later = {.tv_sec = DROP_AGAIN_S};

	t->unwanted = true;
	kube_watch_stop(t->watch);
	t->watch = NULL;
	if (!t->deletion && !t->deleted && delete_object(t, on_dropped, t, &t->deletion))
		evtimer_add(t->again, &later);
}

/* --- its mark --------------------------------------------------------------------------------------------- */

static void on_watched(void *arg, enum kube_change change, json_t *object)
{
	struct taken *t = arg;
	struct error e;
	struct mark m;

	if (change == KUBE_DELETED)
		return;
	t->mark_lost = mark_of(&m, object, &e) != 1;
}

static void on_watch_step(void *arg)
{
	(void)arg;
}

void taken_watch(struct taken *t)
{
	static const struct kube_watch_ops ops = {
		.begin = on_watch_step, .object = on_watched, .complete = on_watch_step};
	char path[256], name[128], query[256] = "";

	snprintf(name, sizeof(name), "metadata.name=%s", t->in.workload);
	if (t->watch || workload_path(path, sizeof(path), t->in.kind, t->in.ns, NULL) ||
	    kube_query(query, sizeof(query), "fieldSelector", name))
		return;
	if (kube_watch_start(&t->watch, workloads_client(t->w), path, query, &ops, t))
		log_warn("intercept %s: its workload cannot be watched", t->in.name);
}

void workloads_warnings(struct daemon *d, json_t *warnings)
{
	const struct taken *t;
	char text[1024];

	if (!d->workloads)
		return;
	for (t = LIST_FIRST(&d->workloads->taken); t; t = LIST_NEXT(t, entry)) {
		const char *kind = workload_kind_name(t->in.kind);

		if (!t->mark_lost || t->unwanted)
			continue;
		snprintf(text, sizeof(text),
			 "%s/%s in namespace %s has lost the annotation " MARK_ANNOTATION
			 " (a rollout undo, or what deploys it took it away): its new pods have no "
			 "agent, and intercept %s misses their connections. Run the same `culvert "
			 "intercept` again",
			 kind, t->in.workload, t->in.ns, t->in.name);
		json_array_append_new(warnings, json_string(text));
	}
}

/* --- leave -------------------------------------------------------------------------------------------------- */

struct departure {
	struct leaving *l;
	struct taken *t;
	struct kube_request *call;
	char uid[64];
};

/* Objects of one name that are being deleted; answered when the manager's snapshot names them no more. */
struct leaving {
	LIST_ENTRY(leaving) entry;
	struct workloads *w;
	struct rpc_request *req;
	struct event *limit;
	unsigned open, n;
	struct departure one[4];
};

static void leaving_free(struct leaving *l)
{
	LIST_REMOVE(l, entry);
	for (unsigned i = 0; i < l->n; i++)
		kube_cancel(l->one[i].call);
	if (l->limit)
		event_free(l->limit);
	free(l);
}

static void leaving_answer(struct leaving *l)
{
	rpc_reply(l->req, json_object());
	leaving_free(l);
}

static void leaving_check(struct leaving *l)
{
	bool up = link_up(session_link(l->w->d->session));

	if (l->open)
		return;
	for (unsigned i = 0; i < l->n && up; i++) {
		if (snapshot_find(l->w, l->one[i].uid))
			return;
	}
	leaving_answer(l);
}

static void on_leave_limit(evutil_socket_t fd, short what, void *arg)
{
	struct leaving *l = arg;

	(void)fd;
	(void)what;
	if (!l->open)
		leaving_answer(l);
}

/* With a namespace the rights in it go: that we may not delete what the manager knows no more says nothing. */
static bool is_over(const struct workloads *w, const char *uid, const struct kube_reply *reply)
{
	return reply->failure == KUBE_FORBIDDEN && link_up(session_link(w->d->session)) &&
	       !snapshot_find(w, uid);
}

static void on_left(void *arg, const struct kube_reply *reply)
{
	const struct timeval limit = {.tv_sec = LEAVE_WAIT_S};
	struct departure *one = arg;
	struct leaving *l = one->l;
	struct error e;

	one->call = NULL;
	if (reply->failure && reply->failure != KUBE_NOT_FOUND && !is_over(l->w, one->uid, reply)) {
		reply_sentence(&e, reply);
		rpc_fail(l->req, refusal_code(reply->failure), "%s", e.text);
		leaving_free(l);
		return;
	}
	if (one->t)
		taken_end(one->t);
	one->t = NULL;
	/* The manager hears of it by its watch; when it is down, what agents do is up to them. */
	if (--l->open == 0 && evtimer_add(l->limit, &limit) == 0)
		leaving_check(l);
}

static bool is_being_left(const struct workloads *w, const struct taken *t)
{
	const struct leaving *l;

	for (l = LIST_FIRST(&w->leavings); l; l = LIST_NEXT(l, entry)) {
		for (unsigned i = 0; i < l->n; i++) {
			if (l->one[i].t == t)
				return true;
		}
	}
	return false;
}

/* Whoever waited for it has deleted it as well, and was first. */
static void leavings_forget(struct workloads *w, const struct taken *t)
{
	struct leaving *l;

	for (l = LIST_FIRST(&w->leavings); l; l = LIST_NEXT(l, entry)) {
		for (unsigned i = 0; i < l->n; i++) {
			if (l->one[i].t == t)
				l->one[i].t = NULL;
		}
	}
}

/* `uid` NULL = all of that name. */
static void leave_all(struct leaving *l, const char *name, const char *uid)
{
	struct taken *t;

	for (t = LIST_FIRST(&l->w->taken); t; t = LIST_NEXT(t, entry)) {
		if (l->n == ARRAY_SIZE(l->one) || strcmp(t->in.name, name) != 0 || t->unwanted ||
		    (uid && strcmp(t->uid, uid) != 0) || is_being_left(l->w, t))
			continue;
		l->one[l->n].l = l;
		if (delete_object(t, on_left, &l->one[l->n], &l->one[l->n].call))
			continue;
		l->one[l->n].t = t;
		memcpy(l->one[l->n].uid, t->uid, sizeof(t->uid));
		l->open++;
		l->n++;
	}
}

void workloads_leave(struct daemon *d, struct control_client *cl, json_t *params,
		     struct rpc_request *req)
{
	const char *name = json_string_value(json_object_get(params, "name"));
	const char *uid = json_string_value(json_object_get(params, "uid"));
	struct workloads *w = workloads_of(d);
	struct leaving *l = w ? calloc(1, sizeof(*l)) : NULL;

	(void)cl;
	if (!name || !l) {
		rpc_fail(req, name ? RPC_INTERNAL : RPC_BAD_PARAMS,
			 name ? "out of memory" : "leave needs a name");
		free(l);
		return;
	}
	l->w = w;
	l->req = req;
	l->limit = evtimer_new(d->base, on_leave_limit, l);
	LIST_INSERT_HEAD(&w->leavings, l, entry);
	leave_all(l, name, uid);
	if (l->open && l->limit)
		return;
	rpc_fail(req, RPC_NOT_FOUND,
		 "You have no intercept '%.127s'; 'culvert status' lists yours.", name);
	leaving_free(l);
}

/* --- what methods.c calls ------------------------------------------------------------------------------------- */

void workloads_list(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req)
{
	struct workloads *w = workloads_of(d);

	(void)cl;
	if (w)
		listing_start(w, params, req);
	else
		rpc_fail(req, RPC_INTERNAL, "out of memory");
}

void workloads_intercept(struct daemon *d, struct control_client *cl, json_t *params,
			 struct rpc_request *req)
{
	struct workloads *w = workloads_of(d);

	if (w)
		take_start(w, cl, params, req);
	else
		rpc_fail(req, RPC_INTERNAL, "out of memory");
}

static struct taken *taken_find(const struct workloads *w, const char *uid)
{
	struct taken *t;

	for (t = LIST_FIRST(&w->taken); t; t = LIST_NEXT(t, entry)) {
		if (!strcmp(t->uid, uid))
			return t;
	}
	return NULL;
}

/* What the manager knows of this session, and we do not: made by a POST whose answer was lost. Nobody waits for it. */
static void drop_stray(struct workloads *w, const json_t *item)
{
	const char *object = object_text(item, "object", NULL);
	struct intercept in;
	struct taken *t;
	struct error e;

	if (!*object || intercept_from_json(&in, json_object_get(item, "intercept"), &e))
		return;
	t = taken_add(w, object, object_text(item, "uid", NULL));
	if (!t)
		return;
	log_warn("intercept %s: nobody waits for %s any more; it is deleted", in.name, object);
	t->in = in;
	t->seen = true;
	taken_drop(t);
}

/* A snapshot of a manager that has just started may lack what is there: the API server is asked. */
static void on_looked(void *arg, const struct kube_reply *reply)
{
	struct taken *t = arg;

	t->look = NULL;
	if (reply->failure == KUBE_NOT_FOUND && !t->unwanted && !is_being_left(t->w, t)) {
		log_info("intercept %s: its object %s was deleted", t->in.name, t->object);
		taken_end(t);
	}
}

static void look(struct taken *t)
{
	char path[512];
	const struct kube_call call = {.path = path};

	if (t->look)
		return;
	snprintf(path, sizeof(path), INTERCEPTS_PATH "/%s", t->in.ns, t->object);
	(void)kube_request(workloads_client(t->w), &call, on_looked, t, &t->look);
}

static void compare_snapshot(struct workloads *w)
{
	const json_t *item;
	struct taken *t, *next;
	size_t i;

	for (t = LIST_FIRST(&w->taken); t; t = next) {
		next = LIST_NEXT(t, entry);
		if (snapshot_find(w, t->uid))
			t->seen = true;
		else if (t->deleted)
			taken_end(t);
		else if (t->seen && !t->unwanted && !is_being_left(w, t))
			look(t); /* by somebody else */
	}
	json_array_foreach(session_intercepts(w->d->session), i, item)
	{
		if (!taken_find(w, object_text(item, "uid", NULL)))
			drop_stray(w, item);
	}
}

void workloads_snapshot(struct daemon *d)
{
	struct workloads *w = workloads_of(d);
	struct take *t, *next;
	struct leaving *l, *after;

	if (!w || session_state(d->session) != SESSION_CONNECTED)
		return;
	for (t = LIST_FIRST(&w->takes); t; t = next) {
		next = take_next(t);
		take_snapshot(t);
	}
	for (l = LIST_FIRST(&w->leavings); l; l = after) {
		after = LIST_NEXT(l, entry);
		leaving_check(l);
	}
	if (!takes_posting(w) && LIST_EMPTY(&w->leavings))
		compare_snapshot(w);
}

void workloads_link_down(struct daemon *d)
{
	struct take *t, *next;

	if (!d->workloads)
		return;
	for (t = LIST_FIRST(&d->workloads->takes); t; t = next) {
		next = take_next(t);
		take_link_down(t);
	}
}

void workloads_client_gone(struct daemon *d, struct control_client *cl)
{
	struct take *t, *next;

	if (!d->workloads)
		return;
	for (t = LIST_FIRST(&d->workloads->takes); t; t = next) {
		next = take_next(t);
		take_client_gone(t, cl);
	}
}

void workloads_session_end(struct daemon *d)
{
	static const char ended[] = "the session with the cluster has ended";
	struct workloads *w = steal_ptr(d->workloads);

	if (!w)
		return;
	while (!LIST_EMPTY(&w->takes))
		take_fail(LIST_FIRST(&w->takes), RPC_NOT_CONNECTED, ended);
	while (!LIST_EMPTY(&w->listings))
		listing_fail(LIST_FIRST(&w->listings), RPC_NOT_CONNECTED, ended);
	while (!LIST_EMPTY(&w->leavings)) {
		rpc_fail(LIST_FIRST(&w->leavings)->req, RPC_NOT_CONNECTED, "%s", ended);
		leaving_free(LIST_FIRST(&w->leavings));
	}
	while (!LIST_EMPTY(&w->taken))
		taken_end(LIST_FIRST(&w->taken));
	free(w);
}
