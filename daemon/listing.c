/* SPDX-License-Identifier: Apache-2.0 */
/* culvert list on a Kubernetes: what can be intercepted, why not, and who does. */
#include <stdio.h>

#include "daemon/link.h"
#include "daemon/refusal.h"
#include "daemon/workloads_internal.h"

enum list_part {
	LIST_DEPLOYMENTS,
	LIST_REPLICASETS,
	LIST_STATEFULSETS,
	LIST_SERVICES,
	LIST_INTERCEPTS,
	LIST_SESSIONS,
	LIST_NAMESPACES, /* of one namespace its object */
};

struct listing {
	LIST_ENTRY(listing) entry;
	struct workloads *w;
	struct rpc_request *req;
	bool all;
	char ns[K8S_NAME_MAX + 1]; /* "" = all at once */
	struct gather g;
	json_t *out;
	/* Who may not list the whole cluster is shown the namespaces of which they may, one after the other. */
	bool one_by_one, listed;
	unsigned next; /* of the names that the manager told */
	struct error refused;
};

static void listing_end(struct listing *l)
{
	LIST_REMOVE(l, entry);
	gather_clear(&l->g);
	json_decref(l->out);
	free(l);
}

void listing_fail(struct listing *l, int code, const char *text)
{
	rpc_fail(l->req, code, "%s", text);
	listing_end(l);
}

bool is_uncontrolled(const json_t *object)
{
	return !workload_controller(object);
}

const json_t *session_object_find(const json_t *sessions, const char *name)
{
	const json_t *s;
	size_t i;

	json_array_foreach(sessions, i, s)
	{
		if (!strcmp(object_text(s, "metadata", "name", NULL), name))
			return s;
	}
	return NULL;
}

void holder_name(char *to, size_t size, const struct intercept_object *o, const json_t *sessions)
{
	const char *client =
		object_text(session_object_find(sessions, o->session), "spec", "client", NULL);

	snprintf(to, size, "%.200s%s%.63s", o->user, *client ? "@" : "", client);
}

static bool is_there(const struct intercept_object *o)
{
	return !o->deleting && strcmp(o->phase, "Conflict") != 0 && strcmp(o->phase, "Failed") != 0;
}

static json_t *holder_json(const struct intercept_object *o, const char *owner, json_t *ports)
{
	bool http = o->in.mechanism == MECHANISM_HTTP;
	json_t *j =
		json_pack("{s:s, s:s, s:o, s:s, s:s}", "name", o->in.name, "owner", owner, "ports",
			  ports, "mechanism", http ? "http" : "tcp", "phase", o->phase);

	if (http)
		json_object_set_new(j, "match", http_match_to_json(&o->in.match));
	return j;
}

static json_t *holders(const struct listing *l, const struct workload *w)
{
	json_t *out = json_array(), *ports;
	char owner[300];
	struct intercept_object o;
	const json_t *item;
	size_t i;

	json_array_foreach(l->g.answer[LIST_INTERCEPTS].object, i, item)
	{
		if (intercept_from_object(&o, item, NULL) || !is_there(&o) ||
		    o.in.kind != w->kind || strcmp(o.in.workload, w->name) != 0 ||
		    strcmp(o.in.ns, w->ns) != 0)
			continue;
		ports = json_array();
		for (unsigned k = 0; k < o.in.nports; k++)
			json_array_append_new(ports, *o.in.port[k].name
							     ? json_string(o.in.port[k].name)
							     : json_integer(o.in.port[k].port));
		holder_name(owner, sizeof(owner), &o, l->g.answer[LIST_SESSIONS].object);
		json_array_append_new(out, holder_json(&o, owner, ports));
	}
	return out;
}

static const json_t *namespace_of(const struct listing *l, const struct workload *w)
{
	const json_t *a = l->g.answer[LIST_NAMESPACES].object, *item;
	size_t i;

	if (!json_is_array(a))
		return a;
	json_array_foreach(a, i, item)
	{
		if (!strcmp(object_text(item, "metadata", "name", NULL), w->ns))
			return item;
	}
	return NULL;
}

/* The sentence's cause alone: who reads a list sees kind and name beside it. */
static const char *cause(const struct error *why)
{
	static const char common[] = " cannot be intercepted: ";
	const char *at = strstr(why->text, common);

	return at ? at + strlen(common) : why->text;
}

static void add(const struct listing *l, json_t *out, const json_t *object)
{
	struct workload w;
	struct error why;
	struct mark m;
	const char *agent;

	if (workload_from_object(&w, object, l->g.answer[LIST_SERVICES].object, &why))
		return;
	workload_obstacle(&w, object, namespace_of(l, &w),
			  cluster_manager_namespace(workloads_cluster(l->w)), &why);
	agent = mark_of(&m, object, NULL) == 1 ? "installed" : "not installed";
	json_array_append_new(out, json_pack("{s:o, s:s, s:b, s:s, s:o}", "workload",
					     workload_to_json(&w), "agent", agent, "ready",
					     *why.text == '\0', "reason", cause(&why), "intercepts",
					     holders(l, &w)));
}

/* What the answer cannot do without. */
static const struct answer *missing(const struct listing *l)
{
	for (unsigned i = 0; i <= LIST_SERVICES; i++) {
		if (l->g.answer[i].failure)
			return &l->g.answer[i];
	}
	return NULL;
}

static void add_all(const struct listing *l)
{
	json_t *item;
	size_t i;

	for (unsigned k = LIST_DEPLOYMENTS; k <= LIST_STATEFULSETS; k++) {
		json_array_foreach(l->g.answer[k].object, i, item)
		{
			add(l, l->out, item);
		}
	}
}

static void listing_answer(struct listing *l)
{
	rpc_reply(l->req,
		  json_pack("{s:s, s:O}", "namespace", l->all ? "" : l->ns, "workloads", l->out));
	listing_end(l);
}

static void ask(struct listing *l);

/* The names that the manager gives to resolvers are the namespaces' and a few others. */
static bool is_namespace(const struct listing *l, const char *domain)
{
	char path[256];

	return !strchr(domain, '.') && strlen(domain) < sizeof(l->ns) &&
	       strcmp(domain, "svc") != 0 &&
	       workload_path(path, sizeof(path), KIND_DEPLOYMENT, domain, NULL) == 0;
}

static void ask_next(struct listing *l)
{
	const struct hello *h = session_hello(l->w->d->session);

	while (l->next < h->ndomains && !is_namespace(l, h->domain[l->next]))
		l->next++;
	if (l->next < h->ndomains) {
		snprintf(l->ns, sizeof(l->ns), "%.63s", h->domain[l->next++]);
		ask(l);
	} else if (l->listed) {
		listing_answer(l);
	} else {
		listing_fail(l, RPC_FORBIDDEN, l->refused.text);
	}
}

static void on_listed(void *arg)
{
	struct listing *l = arg;
	const struct answer *bad = missing(l);
	struct error e;

	if (!bad) {
		add_all(l);
		l->listed = true;
	}
	if (l->one_by_one) {
		ask_next(l);
	} else if (bad && l->all && bad->failure == KUBE_FORBIDDEN) {
		l->refused = bad->why;
		l->one_by_one = true;
		ask_next(l);
	} else if (bad && check_namespace(l->w, l->ns, bad->failure, &e)) {
		listing_fail(l, RPC_NOT_FOUND, e.text);
	} else if (bad) {
		listing_fail(l, refusal_code(bad->failure), bad->why.text);
	} else if (*l->ns && l->g.answer[LIST_NAMESPACES].failure == KUBE_NOT_FOUND) {
		error_set(&e, 0, "There is no namespace %s; `kubectl get namespaces` lists them.",
			  l->ns);
		listing_fail(l, RPC_NOT_FOUND, e.text);
	} else {
		listing_answer(l);
	}
}

static void ask(struct listing *l)
{
	static const enum workload_kind kinds[] = {[LIST_DEPLOYMENTS] = KIND_DEPLOYMENT,
						   [LIST_REPLICASETS] = KIND_REPLICASET,
						   [LIST_STATEFULSETS] = KIND_STATEFULSET};
	const char *ns = *l->ns ? l->ns : NULL;
	char path[256], within[128] = "";

	gather_clear(&l->g);
	gather_init(&l->g, workloads_client(l->w), on_listed, l);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (workload_path(path, sizeof(path), kinds[i], ns, NULL) == 0)
			gather_list(&l->g, i, path, is_uncontrolled);
	}
	if (ns)
		snprintf(within, sizeof(within), "namespaces/%s/", ns);
	snprintf(path, sizeof(path), "/api/v1/%sservices", within);
	gather_list(&l->g, LIST_SERVICES, path, NULL);
	snprintf(path, sizeof(path), "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION "/%sintercepts",
		 within);
	gather_list(&l->g, LIST_INTERCEPTS, path, NULL);
	gather_list(&l->g, LIST_SESSIONS, "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION "/sessions",
		    NULL);
	if (ns) {
		snprintf(path, sizeof(path), "/api/v1/namespaces/%s", ns);
		gather_object(&l->g, LIST_NAMESPACES, path);
	} else {
		gather_list(&l->g, LIST_NAMESPACES, "/api/v1/namespaces", NULL);
	}
	if (!gather_asked(&l->g))
		listing_fail(l, RPC_INTERNAL, "out of memory");
}

void listing_start(struct workloads *w, json_t *params, struct rpc_request *req)
{
	const char *ns = json_string_value(json_object_get(params, "namespace"));
	struct listing *l = calloc(1, sizeof(*l));
	char path[256];

	if (!l) {
		rpc_fail(req, RPC_INTERNAL, "out of memory");
		return;
	}
	l->w = w;
	l->req = req;
	l->all = json_is_true(json_object_get(params, "all"));
	l->out = json_array();
	LIST_INSERT_HEAD(&w->listings, l, entry);
	if (!l->all) {
		ns = ns ? ns : session_namespace(w->d->session);
		if (strlen(ns) >= sizeof(l->ns) ||
		    workload_path(path, sizeof(path), KIND_DEPLOYMENT, ns, NULL)) {
			listing_fail(l, RPC_USAGE, "that cannot be the name of a namespace");
			return;
		}
		snprintf(l->ns, sizeof(l->ns), "%s", ns);
	}
	ask(l);
}
