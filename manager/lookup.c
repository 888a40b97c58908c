/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ingress`: lists what ingress.c needs, when a laptop asks and not before: most clusters' Services and Ingresses are many, and
 * nobody looks at them but for the moment in which a preview is made. API groups that are not there are no error.
 */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/ingress.h"
#include "manager/kubernetes.h"

enum list_id { INGRESSES, CLASSES, ROUTES, GATEWAYS, NUM_LISTS };
enum { SERVICE_PAGE = 500, SERVICES_KEPT = 4096, NAMES_MAX = WORKLOAD_SERVICES };

struct lookup;

struct ask {
	struct lookup *l;
	struct kube_request *request;
	json_t *items; /* or the object */
};

struct lookup {
	struct lookup *next;
	struct kubernetes *k;
	struct rpc_request *req;
	char session[SESSION_NAME_LEN + 1]; /* the laptop's */
	char user[USER_NAME_MAX + 1];
	unsigned pending;
	struct ask list[NUM_LISTS], services, workload[KIND_HOST];
	char ns[K8S_NAME_MAX + 1], name[K8S_NAME_MAX + 1], service[K8S_NAME_MAX + 1];
	struct error failed; /* "" = nothing has */
};

static void lookup_free(struct lookup *l)
{
	struct lookup **at = &l->k->lookups;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->k->nlookups--;
	for (int i = 0; i < NUM_LISTS; i++)
		json_decref(l->list[i].items);
	for (int i = 0; i < KIND_HOST; i++)
		json_decref(l->workload[i].items);
	json_decref(l->services.items);
	free(l);
}

void lookups_free(struct kubernetes *k)
{
	while (k->lookups)
		lookup_free(k->lookups);
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

/* The services of the workload that has the name; of several kinds, all. */
static size_t services_of(const struct lookup *l, struct workload *w, const char **names)
{
	size_t n = 0;
	struct error e;

	if (*l->service) {
		names[0] = l->service;
		return 1;
	}
	for (int i = 0; i < KIND_HOST; i++) {
		json_t *of_ns = json_array(), *s;
		size_t k;

		json_array_foreach(l->services.items, k, s)
		{
			if (!strcmp(object_text(s, "metadata", "namespace", NULL), l->ns))
				json_array_append(of_ns, s);
		}
		if (l->workload[i].items &&
		    workload_from_object(&w[i], l->workload[i].items, of_ns, &e) == 0) {
			for (unsigned m = 0; m < w[i].nservices && n < NAMES_MAX; m++)
				names[n++] = w[i].service[m].name;
		}
		json_decref(of_ns);
	}
	return n;
}

static void answer(struct lookup *l)
{
	cleanup(free_ptr) struct workload *w = calloc(KIND_HOST, sizeof(*w));
	const struct ingress_world world = {l->list[INGRESSES].items, l->list[CLASSES].items,
					    l->list[ROUTES].items, l->list[GATEWAYS].items,
					    l->services.items};
	const char *names[NAMES_MAX];
	struct ingress_guess g;

	if (*l->failed.text || !w) {
		rpc_fail(l->req, RPC_FAILED, "The ingress cannot be found: %s",
			 w ? l->failed.text : "the manager has no memory");
		return;
	}
	ingress_guess(&g, &world, l->ns, names, services_of(l, w, names));
	rpc_reply(l->req, json_pack("{s:s, s:i, s:b, s:s, s:s}", "host", g.host, "port", g.port,
				    "tls", g.tls, "l5", g.l5, "why", g.why));
}

static void done(struct lookup *l)
{
	if (--l->pending)
		return;
	answer(l);
	lookup_free(l);
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

/* The items of a list, or NULL; *whole the list. Which are not there are none. */
static json_t *items_of(struct ask *a, const struct kube_reply *reply)
{
	a->request = NULL;
	if (reply->failure && reply->failure != KUBE_NOT_FOUND && !*a->l->failed.text)
		error_set(&a->l->failed, -EIO, "%s", reply->sentence);
	return reply->failure ? NULL : json_loadb(reply->body, reply->len, 0, NULL);
}

static void on_list(void *arg, const struct kube_reply *reply)
{
	struct ask *a = arg;
	json_t *whole = items_of(a, reply);

	a->items = json_incref(json_object_get(whole, "items"));
	json_decref(whole);
	done(a->l);
}

static void on_workload(void *arg, const struct kube_reply *reply)
{
	struct ask *a = arg;

	a->items = items_of(a, reply);
	done(a->l);
}

static int ask(struct ask *a, const char *path, const char *query, kube_reply_cb *cb)
{
	const struct kube_call call = {.path = path, .query = query};
	int r = kube_request(a->l->k->client, &call, cb, a, &a->request);

	a->l->pending += r == 0;
	return r;
}

static int ask_services(struct ask *a, const char *more);

static void on_services(void *arg, const struct kube_reply *reply)
{
	struct ask *a = arg;
	json_t *whole = items_of(a, reply), *s;
	const char *more = object_text(whole, "metadata", "continue", NULL);
	size_t i;

	json_array_foreach(json_object_get(whole, "items"), i, s)
	{
		/* Those of its own namespace may be the workload's. */
		if (json_array_size(a->items) < SERVICES_KEPT &&
		    (ingress_may_use(s) ||
		     !strcmp(object_text(s, "metadata", "namespace", NULL), a->l->ns)))
			json_array_append(a->items, s);
	}
	if (*more && ask_services(a, more) && !*a->l->failed.text)
		error_set(&a->l->failed, -ENOMEM, "the manager has no memory");
	json_decref(whole);
	done(a->l);
}

static int ask_services(struct ask *a, const char *more)
{
	char query[4096];

	snprintf(query, sizeof(query), "limit=%d", SERVICE_PAGE);
	if (*more && kube_query(query, sizeof(query), "continue", more))
		return -ENOSPC;
	return ask(a, "/api/v1/services", query, on_services);
}

static int ask_workloads(struct lookup *l, const char *kind)
{
	enum workload_kind only = NUM_KINDS;
	char path[256];
	int r = 0;

	if (*l->service)
		return 0;
	workload_kind_parse(&only, kind);
	for (int i = 0; r == 0 && i < KIND_HOST; i++) {
		if (*kind && only != (enum workload_kind)i)
			continue;
		r = workload_path(path, sizeof(path), (enum workload_kind)i, l->ns, l->name);
		if (r == 0)
			r = ask(&l->workload[i], path, NULL, on_workload);
	}
	return r;
}

static int ask_all(struct lookup *l, const char *kind)
{
	char path[NUM_LISTS][160];
	int r = 0;

	snprintf(path[INGRESSES], sizeof(path[0]),
		 "/apis/networking.k8s.io/v1/namespaces/%s/ingresses", l->ns);
	snprintf(path[CLASSES], sizeof(path[0]), "/apis/networking.k8s.io/v1/ingressclasses");
	snprintf(path[ROUTES], sizeof(path[0]),
		 "/apis/gateway.networking.k8s.io/v1/namespaces/%s/httproutes", l->ns);
	snprintf(path[GATEWAYS], sizeof(path[0]), "/apis/gateway.networking.k8s.io/v1/gateways");
	l->services.items = json_array();
	for (int i = 0; r == 0 && i < NUM_LISTS; i++)
		r = ask(&l->list[i], path[i], NULL, on_list);
	if (r == 0)
		r = ask_services(&l->services, "");
	return r ? r : ask_workloads(l, kind);
}

static void cancel(struct lookup *l)
{
	for (int i = 0; i < NUM_LISTS; i++)
		kube_cancel(l->list[i].request);
	for (int i = 0; i < KIND_HOST; i++)
		kube_cancel(l->workload[i].request);
	kube_cancel(l->services.request);
}

static bool take_name(char *to, const json_t *params, const char *key)
{
	const char *s = json_string_value(json_object_get(params, key));

	if (s && *s && !object_name_valid(s, K8S_NAME_MAX))
		return false;
	snprintf(to, K8S_NAME_MAX + 1, "%s", s ? s : "");
	return true;
}

/* One laptop, or one user by many, does not keep the others from theirs. */
static bool may_look(const struct kubernetes *k, const struct session *s)
{
	unsigned mine = 0, users = 0;

	for (const struct lookup *l = k->lookups; l; l = l->next) {
		mine += !strcmp(l->session, s->o.name);
		users += !strcmp(l->user, s->o.user);
	}
	return k->nlookups < LOOKUPS_MAX && mine < LOOKUPS_PER_LAPTOP && users < LOOKUPS_PER_USER;
}

static struct lookup *lookup_new(struct control_conn *c, struct rpc_request *req)
{
	const struct session *s = c->peer->session;
	struct kubernetes *k = c->m->kube;
	struct lookup *l = may_look(k, s) ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	*l = (struct lookup){.k = k, .req = req, .next = k->lookups};
	memcpy(l->session, s->o.name, sizeof(l->session));
	memcpy(l->user, s->o.user, sizeof(l->user));
	k->lookups = l;
	k->nlookups++;
	return l;
}

void ingress_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	const char *kind = json_string_value(json_object_get(params, "kind"));
	struct lookup *l = lookup_new(c, req);

	if (!l) {
		rpc_fail(
			req, RPC_FAILED,
			"The manager looks for ingresses already, for you or for as many others as "
			"it can; try again.");
		return;
	}
	for (int i = 0; i < NUM_LISTS; i++)
		l->list[i].l = l;
	for (int i = 0; i < KIND_HOST; i++)
		l->workload[i].l = l;
	l->services.l = l;
	if (!take_name(l->ns, params, "namespace") || !*l->ns ||
	    !take_name(l->name, params, "workload") || !*l->name ||
	    !take_name(l->service, params, "service")) {
		rpc_fail(req, RPC_BAD_PARAMS, "'namespace' and 'workload' must be names");
		lookup_free(l);
	} else if (ask_all(l, kind ? kind : "")) {
		cancel(l);
		rpc_fail(req, RPC_FAILED, "The API server cannot be asked.");
		lookup_free(l);
	}
}
