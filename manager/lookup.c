/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ingress`: where a workload's requests come in. The laptop says which Ingresses, HTTPRoutes and Gateways lead to it: it reads them
 * with its user's rights, and we, who may read more, tell nobody of what he may not see. We add the ingress controllers: their
 * classes, and their Services, which are asked for now and not kept: most clusters' Services are many, and nobody looks at them but
 * for the moment in which a preview is made.
 */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/ingress.h"
#include "manager/kubernetes.h"

enum {
	SERVICE_PAGE = 500,
	SERVICES_KEPT = 4096,
	NAMES_MAX = WORKLOAD_SERVICES,
	TOLD_MAX = 32,	/* objects of a kind that a laptop tells */
	WITHIN_MAX = 64 /* members of each list in one: ours is the time in which it is looked at */
};

struct lookup;

struct ask {
	struct lookup *l;
	struct kube_request *request;
	json_t *items;
};

struct lookup {
	struct lookup *next;
	struct kubernetes *k;
	struct rpc_request *req;
	char session[SESSION_NAME_LEN + 1]; /* the laptop's */
	char user[USER_NAME_MAX + 1];
	unsigned pending;
	struct ask classes, services;
	json_t *told; /* the call's params */
	char ns[K8S_NAME_MAX + 1];
	struct error failed; /* "" = nothing has */
};

static void lookup_free(struct lookup *l)
{
	struct lookup **at = &l->k->lookups;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->k->nlookups--;
	json_decref(l->classes.items);
	json_decref(l->services.items);
	json_decref(l->told);
	free(l);
}

void lookups_free(struct kubernetes *k)
{
	while (k->lookups)
		lookup_free(k->lookups);
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

/* An older laptop tells of none, and at most of one service. */
static size_t services_of(const struct lookup *l, const char **names)
{
	const char *one = json_string_value(json_object_get(l->told, "service"));
	const json_t *name;
	size_t n = 0, i;

	if (one && *one)
		names[n++] = one;
	json_array_foreach(json_object_get(l->told, "services"), i, name)
	{
		if (json_is_string(name) && n < NAMES_MAX)
			names[n++] = json_string_value(name);
	}
	return n;
}

static void answer(struct lookup *l)
{
	const struct ingress_world world = {.ingresses = json_object_get(l->told, "ingresses"),
					    .classes = l->classes.items,
					    .routes = json_object_get(l->told, "routes"),
					    .gateways = json_object_get(l->told, "gateways"),
					    .services = l->services.items};
	const char *names[NAMES_MAX];
	struct ingress_guess g;

	if (*l->failed.text) {
		rpc_fail(l->req, RPC_FAILED, "The ingress cannot be found: %s", l->failed.text);
		return;
	}
	ingress_guess(&g, &world, l->ns, names, services_of(l, names));
	rpc_reply(l->req, json_pack("{s:s, s:i, s:b, s:s, s:o}", "host", g.host, "port", g.port,
				    "tls", g.tls, "l5", g.l5, "why", rpc_sentence(g.why)));
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

static void on_classes(void *arg, const struct kube_reply *reply)
{
	struct ask *a = arg;
	json_t *whole = items_of(a, reply);

	a->items = json_incref(json_object_get(whole, "items"));
	json_decref(whole);
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
		if (json_array_size(a->items) < SERVICES_KEPT && ingress_may_use(s))
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

static int ask_all(struct lookup *l)
{
	int r = ask(&l->classes, "/apis/networking.k8s.io/v1/ingressclasses", NULL, on_classes);

	l->services.items = json_array();
	return r ? r : ask_services(&l->services, "");
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

/* --- what the laptop tells ------------------------------------------------------------------------------------------- */

static bool lists_within(const json_t *j, size_t max)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_array_size(j) > max)
		return false;
	json_array_foreach(j, i, v)
	{
		if (!lists_within(v, WITHIN_MAX))
			return false;
	}
	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		if (!lists_within(v, WITHIN_MAX))
			return false;
	}
	return true;
}

static bool is_usable(const json_t *params)
{
	static const char *const lists[] = {"services", "ingresses", "routes", "gateways"};
	const char *ns = json_string_value(json_object_get(params, "namespace"));

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		if (!lists_within(json_object_get(params, lists[i]), TOLD_MAX))
			return false;
	}
	return ns && object_name_valid(ns, K8S_NAME_MAX);
}

void ingress_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct lookup *l = NULL;

	if (!is_usable(params)) {
		rpc_fail(req, RPC_BAD_PARAMS,
			 "'namespace' must be a name, and of a kind at most %d objects with lists "
			 "of at most %d are told",
			 TOLD_MAX, WITHIN_MAX);
		return;
	}
	l = lookup_new(c, req);
	if (!l) {
		rpc_fail(
			req, RPC_FAILED,
			"The manager looks for ingresses already, for you or for as many others as "
			"it can; try again.");
		return;
	}
	l->classes.l = l->services.l = l;
	l->told = json_incref((json_t *)(uintptr_t)params);
	snprintf(l->ns, sizeof(l->ns), "%s", object_text(params, "namespace", NULL));
	if (ask_all(l)) {
		kube_cancel(l->classes.request);
		kube_cancel(l->services.request);
		rpc_fail(req, RPC_FAILED, "The API server cannot be asked.");
		lookup_free(l);
	}
}
