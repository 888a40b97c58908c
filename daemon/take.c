/* SPDX-License-Identifier: Apache-2.0 */
/*
 * culvert intercept on a Kubernetes, with the user's own rights:
 *
 *   look     the workload of each kind, services, intercepts, ... all asked for at once
 *   check    which one, which ports, what stands in the way: until here nothing has changed
 *   post     the Intercept
 *   mark     the pod template, if it has not the right mark already: this restarts the pods
 *   wait     until the manager says that it is in force
 *   ask      for the environment, and answer
 */
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/intercepts.h"
#include "daemon/link.h"
#include "daemon/refusal.h"
#include "daemon/rollout.h"
#include "daemon/workloads_internal.h"

enum { TIMEOUT_S = 120, TIMEOUT_MAX_S = 86400, ROLLOUT_AFTER_MS = 500 };

#define ENVIRONMENT_TIMEOUT (5 * NSEC_PER_SEC)
#define OBJECTS_PATH	    "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION

/* The kinds come first, each at its own number. */
enum take_part {
	TAKE_SERVICES = KIND_STATEFULSET + 1,
	TAKE_INTERCEPTS,
	TAKE_SESSIONS,
	TAKE_NAMESPACE,
	TAKE_POLICIES,
};

enum take_step { TAKE_LOOK, TAKE_POST, TAKE_MARK, TAKE_WAIT, TAKE_ASK };

struct take {
	LIST_ENTRY(take) entry;
	struct workloads *w;
	struct control_client
		*client; /* NULL = it went away: end it when the answer under way has come */
	struct rpc_request *req;
	struct intercept_request want;
	bool kind_given, yes;
	bool only_look; /* would it be granted? */
	enum workload_kind kind;
	char ns[K8S_NAME_MAX + 1];
	enum take_step step;
	struct gather look;
	struct workload workload;
	const json_t *object; /* the workload's; of `look` */
	struct intercept in;
	char *mark;	   /* what the template is to carry */
	bool marked;	   /* it does */
	struct error note; /* why the rollout does not come by itself, or "" */
	struct kube_request *call;
	struct taken *taken;
	bool replaced;
	char phase[16], message[512]; /* as the manager said last */
	unsigned timeout_s;
	struct event *limit, *soon;
	struct rollout *rollout;
};

struct take *take_next(const struct take *t)
{
	return LIST_NEXT(t, entry);
}

bool takes_posting(const struct workloads *w)
{
	const struct take *t;

	for (t = LIST_FIRST(&w->takes); t; t = LIST_NEXT(t, entry)) {
		if (t->step == TAKE_POST)
			return true;
	}
	return false;
}

static void take_end(struct take *t)
{
	LIST_REMOVE(t, entry);
	rollout_free(t->rollout);
	kube_cancel(t->call);
	gather_clear(&t->look);
	if (t->limit)
		event_free(t->limit);
	if (t->soon)
		event_free(t->soon);
	free(t->mark);
	free(t);
}

void take_fail(struct take *t, int code, const char *text)
{
	rpc_fail(t->req, code, "%s", text);
	if (t->taken)
		taken_drop(t->taken);
	take_end(t);
}

void takes_lost(struct workloads *w, const struct taken *gone)
{
	struct take *t;

	for (t = LIST_FIRST(&w->takes); t; t = LIST_NEXT(t, entry)) {
		if (t->taken != gone)
			continue;
		t->taken = NULL;
		if (t->step == TAKE_ASK) /* the manager's answer comes yet */
			return;
		take_fail(
			t, RPC_CONFLICT,
			"its Intercept was deleted while it was waited for: by `culvert leave`, by "
			"`kubectl delete`, or by a later `culvert intercept` of the same name");
		return;
	}
}

static void fail_reply(struct take *t, const struct kube_reply *reply)
{
	struct error e;

	reply_sentence(&e, reply);
	take_fail(t, refusal_code(reply->failure), e.text);
}

static void say(const struct take *t, const char *text)
{
	if (t->client && *text)
		control_progress(t->client, text);
}

void take_client_gone(struct take *t, const struct control_client *cl)
{
	if (t->client != cl)
		return;
	t->client = NULL;
	/* The answer to a POST names what has to be deleted; that to a question to the manager comes in any case. */
	if (t->step != TAKE_POST && t->step != TAKE_ASK)
		take_fail(t, RPC_FAILED, "interrupted");
}

/* --- ask, and answer ---------------------------------------------------------------------------------------- */

/* The list has the newest first: what stands behind is older, and what stands before takes its place in its turn. */
static void drop_older(const struct take *t)
{
	struct taken *o, *next;

	for (o = LIST_NEXT(t->taken, entry); o; o = next) {
		next = LIST_NEXT(o, entry);
		if (!o->unwanted && !strcmp(o->in.name, t->in.name))
			taken_drop(o);
	}
}

static void answer(struct take *t, json_t *environment)
{
	bool partial = !strcmp(t->phase, "Partial");
	json_t *j = json_pack("{s:o, s:b, s:O, s:s, s:s, s:s, s:s}", "intercept",
			      intercept_to_json(&t->in), "replaced", t->replaced, "environment",
			      environment, "state", partial ? "PARTIAL" : "ACTIVE", "phase",
			      t->phase, "message", partial ? t->message : "", "uid", t->taken->uid);

	intercepts_set_header(j, json_object_get(j, "intercept"));
	rpc_reply(t->req, j);
	take_end(t);
}

static void on_environment(void *arg, json_t *result, int code, const char *message)
{
	struct take *t = arg;
	json_t *env = json_object_get(result, "environment"), *none = NULL;

	if (!t->client || !t->taken) {
		take_fail(t, RPC_FAILED, t->taken ? "interrupted" : "its Intercept was deleted");
		return;
	}
	if (!result)
		log_warn("environment of %s: %s (%d)", t->in.workload, message, code);
	if (!json_is_object(env)) {
		say(t, "The environment of its pods could not be read: it is left empty");
		env = none = json_object();
	}
	answer(t, env);
	json_decref(none);
}

void take_link_down(struct take *t)
{
	if (t->step == TAKE_ASK)
		on_environment(t, NULL, RPC_NOT_CONNECTED, "the connection to the manager broke");
}

static void in_force(struct take *t)
{
	t->step = TAKE_ASK;
	rollout_free(t->rollout);
	t->rollout = NULL;
	evtimer_del(t->soon);
	evtimer_del(t->limit);
	drop_older(t);
	taken_watch(t->taken);
	if (link_call(session_link(t->w->d->session), "environment",
		      json_pack("{s:s}", "uid", t->taken->uid), ENVIRONMENT_TIMEOUT, on_environment,
		      t))
		on_environment(t, NULL, RPC_NOT_CONNECTED, "the manager is not connected");
}

/*
 * Times of the API server are whole seconds: of two of the same one the manager may take the older for the newer. We know which
 * it is.
 */
static bool drop_same_age(const struct take *t)
{
	struct taken *o, *next;
	bool found = false;

	for (o = LIST_NEXT(t->taken, entry); o; o = next) {
		next = LIST_NEXT(o, entry);
		if (strcmp(o->in.name, t->in.name) != 0 || o->in.created < t->taken->in.created ||
		    (o->deleted && !snapshot_find(t->w, o->uid)))
			continue;
		found = true;
		taken_drop(o);
	}
	return found;
}

/* --- wait --------------------------------------------------------------------------------------------------- */

/* What is said when its only pod would go before another comes. */
static void lone_pod(const struct take *t, struct error *e)
{
	const char *kind = workload_kind_name(t->in.kind), *title = workload_kind_title(t->in.kind);
	const char *name = t->in.workload, *ns = t->in.ns;

	if (t->in.kind == KIND_REPLICASET)
		error_set(
			e, 0,
			"%s %s has a single pod, which has to be replaced to get the agent: "
			"until the new one is ready nobody serves. Say --yes if that is all right, "
			"or scale it up first: kubectl scale %s/%s -n %s --replicas=2",
			title, name, kind, name, ns);
	else
		error_set(
			e, 0,
			"%s %s has a single pod, which was let in without the agent, since the API "
			"server did not reach port 8443 of the manager then. Run kubectl rollout "
			"restart %s/%s -n %s and intercept again, or say --yes: that evicts the "
			"pod, and until the new one is ready nobody serves",
			title, name, kind, name, ns);
}

/* Nobody replaces a bare ReplicaSet's pods but we: 1 and the sentence, unless the user wants that. */
static int check_outage(const struct take *t, struct error *e)
{
	const json_t *replicas = object_get(t->object, "spec", "replicas", NULL);

	if (t->in.kind != KIND_REPLICASET || t->yes ||
	    (json_is_integer(replicas) && json_integer_value(replicas) > 1))
		return 0;
	lone_pod(t, e);
	return 1;
}

void take_snapshot(struct take *t)
{
	const json_t *item = t->step == TAKE_WAIT ? snapshot_find(t->w, t->taken->uid) : NULL;

	if (!item)
		return;
	snprintf(t->phase, sizeof(t->phase), "%s", object_text(item, "phase", NULL));
	snprintf(t->message, sizeof(t->message), "%s", object_text(item, "message", NULL));
	if (!strcmp(t->phase, "Active")) {
		in_force(t);
	} else if (!strcmp(t->phase, "Conflict") || !strcmp(t->phase, "Failed")) {
		if (!drop_same_age(t))
			take_fail(t, *t->phase == 'C' ? RPC_CONFLICT : RPC_FAILED, t->message);
	}
}

static void on_rollout_progress(void *arg, const char *text)
{
	say(arg, text);
}

static void on_rollout_failed(void *arg, const char *text)
{
	take_fail(arg, RPC_FAILED, text);
}

/* No pod is on its way any more: what is missing now stays missing. */
static void on_rollout_settled(void *arg)
{
	struct take *t = arg;

	if (t->step == TAKE_WAIT && !strcmp(t->phase, "Partial"))
		in_force(t);
}

static void watch_rollout(struct take *t)
{
	static const struct rollout_ops ops = {.progress = on_rollout_progress,
					       .failed = on_rollout_failed,
					       .settled = on_rollout_settled};
	struct error outage = {""};
	const struct rollout_config cfg = {.kind = t->in.kind,
					   .ns = t->in.ns,
					   .name = t->in.workload,
					   .object = t->object,
					   .mark = t->mark,
					   .no_evictions = t->yes ? NULL : outage.text};

	lone_pod(t, &outage);
	say(t, t->note.text);
	if (!t->rollout &&
	    rollout_new(&t->rollout, t->w->d->base, workloads_client(t->w), &cfg, &ops, t))
		log_warn("intercept %s: its pods cannot be watched", t->in.name);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	watch_rollout(arg);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct take *t = arg;
	const char *why = t->rollout ? rollout_held_by(t->rollout) : "";
	struct error e;

	(void)fd;
	(void)what;
	if (t->step == TAKE_WAIT && !strcmp(t->phase, "Partial")) {
		in_force(t); /* better than nothing: which pods are without is said */
		return;
	}
	if (!*why)
		why = *t->note.text ? t->note.text : t->message;
	if (!*why)
		why = "the API server or the manager did not answer";
	error_set(&e, 0, "After %u s the intercept is not in force, and was taken back: %.700s%s",
		  t->timeout_s, why, strchr(".!?", why[strlen(why) - 1]) ? "" : ".");
	take_fail(t, RPC_TIMEOUT, e.text);
}

static void begin_wait(struct take *t)
{
	const struct timeval soon = {.tv_usec = ROLLOUT_AFTER_MS * 1000};

	t->step = TAKE_WAIT;
	if (t->marked) /* then it is a matter of milliseconds, as a rule */
		evtimer_add(t->soon, &soon);
	else
		watch_rollout(t);
	take_snapshot(t); /* it may be faster than the API server's answer */
}

/* --- mark --------------------------------------------------------------------------------------------------- */

/* An apply to what is not there would make it, and what we send does not make one: 422 about fields that we never named. */
static void fail_mark(struct take *t, const struct kube_reply *reply)
{
	struct error e;

	error_set(&e, 0, "%s %s could not be marked, was it deleted meanwhile? %s",
		  workload_kind_title(t->in.kind), t->in.workload, reply->sentence);
	take_fail(t, RPC_FAILED, e.text);
}

static void on_marked(void *arg, const struct kube_reply *reply)
{
	struct take *t = arg;

	t->call = NULL;
	if (reply->failure == KUBE_INVALID)
		fail_mark(t, reply);
	else if (reply->failure)
		fail_reply(t, reply);
	else
		begin_wait(t);
}

static void mark(struct take *t)
{
	char path[256];
	json_t *body;
	int r;

	if (t->marked) {
		begin_wait(t);
		return;
	}
	t->step = TAKE_MARK;
	body = mark_apply_body(t->in.kind, t->in.ns, t->in.workload, t->mark);
	r = workload_path(path, sizeof(path), t->in.kind, t->in.ns, t->in.workload);
	if (r == 0)
		r = kube_apply(workloads_client(t->w), path, body, "culvert", true, on_marked, t,
			       &t->call);
	json_decref(body);
	if (r)
		take_fail(t, RPC_INTERNAL, "out of memory");
}

/* --- post --------------------------------------------------------------------------------------------------- */

static void on_posted(void *arg, const struct kube_reply *reply)
{
	struct take *t = arg;
	json_t *object = NULL;

	t->call = NULL;
	t->step = TAKE_MARK;
	if (reply->failure) {
		fail_reply(t, reply);
		return;
	}
	object = json_loadb(reply->body, reply->len, 0, NULL);
	t->taken = object ? taken_new(t->w, object) : NULL;
	json_decref(object);
	if (!t->taken)
		take_fail(t, RPC_FAILED, "the API server's answer is no Intercept");
	else if (!t->client)
		take_fail(t, RPC_FAILED, "interrupted");
	else
		mark(t);
}

static void post(struct take *t)
{
	struct cluster *c = workloads_cluster(t->w);
	json_t *object = intercept_to_object(&t->in, cluster_user(c), cluster_session_name(c),
					     cluster_session_uid(c));
	cleanup(free_ptr) char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	char path[256];
	const struct kube_call call = {
		.method = "POST", .path = path, .body = text, .len = text ? strlen(text) : 0};

	json_decref(object);
	snprintf(path, sizeof(path), OBJECTS_PATH "/namespaces/%s/intercepts", t->in.ns);
	t->step = TAKE_POST;
	if (!text || kube_request(workloads_client(t->w), &call, on_posted, t, &t->call))
		take_fail(t, RPC_INTERNAL, "out of memory");
}

/* --- check -------------------------------------------------------------------------------------------------- */

static bool has_mark(const json_t *object, const char *text)
{
	return !strcmp(object_text(object, "spec", "template", "metadata", "annotations",
				   MARK_ANNOTATION, NULL),
		       text);
}

static int check_mark(struct take *t, struct error *e)
{
	const json_t *ns = t->look.answer[TAKE_NAMESPACE].object;
	const char *manager_ns = cluster_manager_namespace(workloads_cluster(t->w));
	struct mark m;

	if (mark_from_workload(&m, &t->workload, t->object, t->look.answer[TAKE_SERVICES].object,
			       e) ||
	    check_pod_security(&m, &t->in, ns, e))
		return RPC_FAILED;
	t->mark = mark_format(&m);
	if (!t->mark)
		return error_set(e, RPC_INTERNAL, "out of memory");
	t->marked = has_mark(t->object, t->mark);
	workload_rollout_note(&t->workload, t->object, &t->note);
	if (t->marked)
		return 0;
	if (check_policies(&m, &t->workload, t->object, t->look.answer[TAKE_POLICIES].object,
			   manager_ns, e))
		return RPC_FAILED;
	return check_outage(t, e) ? RPC_FAILED : 0;
}

/* Who sends the header of the older one goes on to. */
static void take_place_of(struct take *t, const struct taken *old)
{
	if (old->unwanted || strcmp(old->in.name, t->in.name) != 0)
		return;
	t->replaced = true;
	if (t->in.mechanism == MECHANISM_HTTP && *old->in.id)
		memcpy(t->in.id, old->in.id, sizeof(t->in.id));
}

static int check(struct take *t, struct error *e)
{
	const struct workload *all[] = {&t->workload};
	const struct gather *g = &t->look;
	struct cluster *c = workloads_cluster(t->w);
	const struct taken *o;
	int r;

	if (g->answer[TAKE_INTERCEPTS].failure == KUBE_NOT_FOUND)
		return error_set(
			e, RPC_FAILED,
			"The API server knows no Intercepts of version " OBJECTS_VERSION
			": culvert is not installed in this cluster, or another version is. An "
			"administrator runs `culvert install`");
	t->object = g->answer[t->kind].object;
	if (workload_from_object(&t->workload, t->object, g->answer[TAKE_SERVICES].object, e))
		return RPC_FAILED;
	workload_obstacle(&t->workload, t->object, g->answer[TAKE_NAMESPACE].object,
			  cluster_manager_namespace(c), e);
	if (*e->text)
		return RPC_FAILED;
	r = intercept_resolve(&t->in, &t->want, all, 1, t->ns, e);
	if (r)
		return r == INTERCEPT_NOT_FOUND ? RPC_NOT_FOUND : RPC_USAGE;
	if (t->in.mechanism == MECHANISM_HTTP)
		http_id_make(t->in.id);
	for (o = LIST_FIRST(&t->w->taken); o; o = LIST_NEXT(o, entry))
		take_place_of(t, o);
	r = check_holders(&t->in, cluster_session_name(c), g->answer[TAKE_INTERCEPTS].object,
			  g->answer[TAKE_SESSIONS].object, e);
	return r ? r : check_mark(t, e);
}

/* --- look --------------------------------------------------------------------------------------------------- */

static void look(struct take *t);

static const char *wanted_name(const struct take *t)
{
	return *t->want.workload ? t->want.workload : t->want.name;
}

/* NAME stays the intercept's, by the page's rule, when another workload turns out to be meant. */
static int mean_deployment(struct take *t, const char *name, struct error *e)
{
	struct intercept_request *r = &t->want;
	char text[256], called[INTERCEPT_NAME_MAX + 1];

	snprintf(text, sizeof(text), "ReplicaSet %s belongs to Deployment %s: that is intercepted",
		 wanted_name(t), name);
	say(t, text);
	if (r->ns_given && !*r->workload) {
		if (snprintf(called, sizeof(called), "%s-%s", r->name, t->ns) >=
		    (int)sizeof(called))
			return error_set(e, RPC_USAGE,
					 "'%s-%s' is too long for the name of an intercept",
					 r->name, t->ns);
		memcpy(r->name, called, sizeof(called));
	}
	snprintf(r->workload, sizeof(r->workload), "%s", name);
	t->kind = KIND_DEPLOYMENT;
	t->kind_given = true;
	return 0;
}

static int not_found(const struct take *t, struct error *e)
{
	if (t->look.answer[TAKE_NAMESPACE].failure == KUBE_NOT_FOUND)
		return error_set(e, RPC_NOT_FOUND,
				 "There is no namespace %s; `kubectl get namespaces` lists them.",
				 t->ns);
	if (t->kind_given)
		return error_set(e, RPC_NOT_FOUND,
				 "There is no %s %s in namespace %s; `culvert list -n %s` shows "
				 "what there is.",
				 workload_kind_title(t->kind), wanted_name(t), t->ns, t->ns);
	return error_set(e, RPC_NOT_FOUND,
			 "There is no Deployment, StatefulSet or ReplicaSet %s in namespace %s; "
			 "`culvert list -n %s` shows what there is.",
			 wanted_name(t), t->ns, t->ns);
}

/* Which of the kinds has it: *again = another has to be looked at. */
static int find_kind(struct take *t, bool *again, struct error *e)
{
	const struct gather *g = &t->look;
	const json_t *set = g->answer[KIND_REPLICASET].object;
	unsigned n = 0;
	char names[200] = "";
	size_t len = 0;

	for (unsigned k = 0; k < TAKE_SERVICES; k++) {
		const struct answer *a = &g->answer[k];

		if (check_namespace(t->w, t->ns, a->failure, e))
			return RPC_NOT_FOUND;
		if (a->failure && a->failure != KUBE_NOT_FOUND)
			return error_set(e, refusal_code(a->failure), "%s", a->why.text);
		if (!a->object)
			continue;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s/%s",
					n ? " or " : "", workload_kind_name((enum workload_kind)k),
					wanted_name(t));
		t->kind = (enum workload_kind)k;
		n++;
	}
	if (n > 1)
		return error_set(e, RPC_USAGE,
				 "In namespace %s several are called %s: say "
				 "--workload %s.",
				 t->ns, wanted_name(t), names);
	if (n == 0)
		return not_found(t, e);
	*again = t->kind == KIND_REPLICASET && workload_controller(set);
	return *again ? mean_deployment(t, workload_controller(set), e) : 0;
}

static void answer_look(struct take *t)
{
	rpc_reply(t->req, json_object());
	take_end(t);
}

static void on_looked(void *arg)
{
	const struct answer *services;
	struct take *t = arg;
	bool again = false;
	struct error e;
	int r;

	services = &t->look.answer[TAKE_SERVICES];
	r = find_kind(t, &again, &e);
	if (!r && !again && services->failure)
		r = error_set(&e, refusal_code(services->failure), "%s", services->why.text);
	if (!r && !again)
		r = check(t, &e);
	if (r)
		take_fail(t, r, e.text);
	else if (again)
		look(t);
	else if (t->only_look)
		answer_look(t);
	else
		post(t);
}

static void look(struct take *t)
{
	struct gather *g = &t->look;
	char path[512];

	gather_clear(g);
	gather_init(g, workloads_client(t->w), on_looked, t);
	for (unsigned k = 0; k < TAKE_SERVICES; k++) {
		if ((!t->kind_given || k == (unsigned)t->kind) &&
		    workload_path(path, sizeof(path), (enum workload_kind)k, t->ns,
				  wanted_name(t)) == 0)
			gather_object(g, k, path);
	}
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/services", t->ns);
	gather_list(g, TAKE_SERVICES, path, NULL);
	snprintf(path, sizeof(path), OBJECTS_PATH "/namespaces/%s/intercepts", t->ns);
	gather_list(g, TAKE_INTERCEPTS, path, NULL);
	gather_list(g, TAKE_SESSIONS, OBJECTS_PATH "/sessions", NULL);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", t->ns);
	gather_object(g, TAKE_NAMESPACE, path);
	snprintf(path, sizeof(path), "/apis/networking.k8s.io/v1/namespaces/%s/networkpolicies",
		 t->ns);
	gather_list(g, TAKE_POLICIES, path, NULL);
	if (!gather_asked(g))
		take_fail(t, RPC_INTERNAL, "out of memory");
}

/* --- start -------------------------------------------------------------------------------------------------- */

static int take_params(struct take *t, json_t *params, struct error *e)
{
	const char *kind = json_string_value(json_object_get(params, "kind"));
	const json_t *timeout = json_object_get(params, "timeout_s");
	json_int_t s = json_is_integer(timeout) ? json_integer_value(timeout) : TIMEOUT_S;

	if (intercept_request_from_json(&t->want, params, e))
		return RPC_USAGE;
	if (kind && (workload_kind_parse(&t->kind, kind) || t->kind > KIND_STATEFULSET))
		return error_set(e, RPC_USAGE,
				 "'%.60s' is no kind of workload: deployment, statefulset and "
				 "replicaset are",
				 kind);
	t->kind_given = kind != NULL;
	t->yes = json_is_true(json_object_get(params, "yes"));
	t->only_look = json_is_true(json_object_get(params, "check"));
	t->timeout_s = s < 1 || s > TIMEOUT_MAX_S ? TIMEOUT_S : (unsigned)s;
	snprintf(t->ns, sizeof(t->ns), "%s",
		 *t->want.ns ? t->want.ns : session_namespace(t->w->d->session));
	return 0;
}

static bool check_path(const struct take *t)
{
	char path[512];

	return workload_path(path, sizeof(path), KIND_DEPLOYMENT, t->ns, wanted_name(t)) == 0;
}

void take_start(struct workloads *w, struct control_client *cl, json_t *params,
		struct rpc_request *req)
{
	struct take *t = calloc(1, sizeof(*t));
	struct timeval limit = {0};
	struct error e;
	int r;

	if (!t) {
		rpc_fail(req, RPC_INTERNAL, "out of memory");
		return;
	}
	t->w = w;
	t->client = cl;
	t->req = req;
	LIST_INSERT_HEAD(&w->takes, t, entry);
	t->limit = evtimer_new(w->d->base, on_limit, t);
	t->soon = evtimer_new(w->d->base, on_soon, t);
	r = take_params(t, params, &e);
	limit.tv_sec = t->timeout_s;
	if (r)
		take_fail(t, r, e.text);
	else if (!check_path(t))
		take_fail(t, RPC_USAGE, "that cannot be the name of a workload or a namespace");
	else if (!t->limit || !t->soon || evtimer_add(t->limit, &limit))
		take_fail(t, RPC_INTERNAL, "out of memory");
	else
		look(t);
}
