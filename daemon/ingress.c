/* SPDX-License-Identifier: Apache-2.0 */
/* What leads to a workload: several questions at once, and of their answers what the manager is told. */
#include "daemon/ingress.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/gather.h"
#include "objects/objects.h"

/* The kinds come first, each at its own number. */
enum look_part {
	LOOK_SERVICES = KIND_STATEFULSET + 1,
	LOOK_INGRESSES,
	LOOK_ROUTES,
	LOOK_GATEWAYS,	   /* of all namespaces, if the user may */
	LOOK_OWN_GATEWAYS, /* else those of this one */
};

enum {
	LOOK_ROOM = 192 << 10, /* bytes of one list: all of them go into one message */
	TELL_MAX = 32,	       /* of one list: the manager looks at no more */
	WITHIN_MAX = 64,       /* nor at more members of a list in one of them */
};

struct ingress_look {
	struct gather g;
	char ns[K8S_NAME_MAX + 1], service[K8S_NAME_MAX + 1];
	void (*done)(void *arg, const struct error *why);
	void *arg;
};

/* --- what was found ------------------------------------------------------------------------------------------------ */

/* Is one of `names` said anywhere in it? What is meant by it the manager sees. */
static bool mentions(const json_t *j, const json_t *names)
{
	const char *key, *text = json_string_value(j);
	json_t *v;
	size_t i;

	if (text) {
		json_array_foreach(names, i, v)
		{
			if (!strcmp(text, json_string_value(v)))
				return true;
		}
	}
	json_array_foreach(j, i, v)
	{
		if (mentions(v, names))
			return true;
	}
	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		if (mentions(v, names))
			return true;
	}
	return false;
}

/* A list longer than the manager looks at: of it what says one of the names, or else its first members. */
static json_t *trimmed(json_t *j, const json_t *names)
{
	const bool choose = json_array_size(j) > WITHIN_MAX && mentions(j, names);
	json_t *out, *v;
	const char *key;
	size_t i;

	if (!json_is_array(j) && !json_is_object(j))
		return json_incref(j);
	out = json_is_array(j) ? json_array() : json_object();
	json_object_foreach(j, key, v)
	{
		json_object_set_new(out, key, trimmed(v, names));
	}
	json_array_foreach(j, i, v)
	{
		if (json_array_size(out) < WITHIN_MAX && (!choose || mentions(v, names)))
			json_array_append_new(out, trimmed(v, names));
	}
	return out;
}

/* The names, and the hosts of an Ingress's rules that say one of them: its TLS does not say them, but the hosts. */
static json_t *names_and_hosts(const json_t *o, const json_t *names)
{
	json_t *all = json_copy((json_t *)(uintptr_t)names), *rule;
	size_t i;

	json_array_foreach(object_get(o, "spec", "rules", NULL), i, rule)
	{
		const char *host = object_text(rule, "host", NULL);

		if (*host && mentions(rule, names))
			json_array_append_new(all, json_string(host));
	}
	return all;
}

/* Without what others have written on it, which may be long. */
static json_t *shortened(const json_t *o, const json_t *names)
{
	static const char class[] = "kubernetes.io/ingress.class";
	json_t *notes = json_object(), *keep = names_and_hosts(o, names), *out;
	const char *is = object_text(o, "metadata", "annotations", class, NULL);

	if (*is)
		json_object_set_new(notes, class, json_string(is));
	out = json_pack("{s:{s:s, s:s, s:o}, s:o?, s:o?}", "metadata", "name",
			object_text(o, "metadata", "name", NULL), "namespace",
			object_text(o, "metadata", "namespace", NULL), "annotations", notes, "spec",
			trimmed(json_object_get(o, "spec"), keep), "status",
			trimmed(json_object_get(o, "status"), keep));
	json_decref(keep);
	return out;
}

/* Those of which `part` (NULL = the spec) says one of the names, as many as are of use. */
static json_t *pick(const json_t *list, const char *part, const json_t *names, const char *what)
{
	json_t *out = json_array(), *o;
	size_t i, size = 0;

	json_array_foreach(list, i, o)
	{
		json_t *one = NULL;

		if (!mentions(part ? object_get(o, "metadata", part, NULL)
				   : json_object_get(o, "spec"),
			      names))
			continue;
		one = shortened(o, names);
		size += one ? json_dumpb(one, NULL, 0, JSON_COMPACT) : 0;
		if (json_array_size(out) == TELL_MAX || size > LOOK_ROOM) {
			log_warn("ingress: more %s lead there than are looked at", what);
			json_decref(one);
			break;
		}
		json_array_append_new(out, one);
	}
	return out;
}

static json_t *service_names(const struct ingress_look *l)
{
	json_t *names = json_array();
	struct workload w;
	struct error e;

	if (*l->service)
		json_array_append_new(names, json_string(l->service));
	for (unsigned k = 0; !*l->service && k < LOOK_SERVICES; k++) {
		if (!l->g.answer[k].object ||
		    workload_from_object(&w, l->g.answer[k].object,
					 l->g.answer[LOOK_SERVICES].object, &e))
			continue;
		for (unsigned i = 0; i < w.nservices && json_array_size(names) < TELL_MAX; i++)
			json_array_append_new(names, json_string(w.service[i].name));
	}
	return names;
}

/* The names of the Gateways that routes are of. */
static json_t *gateway_names(const json_t *routes)
{
	json_t *names = json_array(), *route, *ref;
	size_t i, k;

	json_array_foreach(routes, i, route)
	{
		json_array_foreach(object_get(route, "spec", "parentRefs", NULL), k, ref)
		{
			json_array_append_new(names, json_string(object_text(ref, "name", NULL)));
		}
	}
	return names;
}

void ingress_look_tell(const struct ingress_look *l, json_t *params)
{
	const struct answer *a = l->g.answer;
	const json_t *gateways =
		a[LOOK_GATEWAYS].object ? a[LOOK_GATEWAYS].object : a[LOOK_OWN_GATEWAYS].object;
	json_t *names = service_names(l);
	json_t *routes = pick(a[LOOK_ROUTES].object, NULL, names, "HTTPRoutes");
	json_t *of = gateway_names(routes);

	json_object_set_new(params, "ingresses",
			    pick(a[LOOK_INGRESSES].object, NULL, names, "Ingresses"));
	json_object_set_new(params, "gateways", pick(gateways, "name", of, "Gateways"));
	json_object_set_new(params, "routes", routes);
	json_object_set_new(params, "services", names);
	json_decref(of);
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static void on_looked(void *arg)
{
	struct ingress_look *l = arg;
	const struct error *why = NULL;

	/* What is not there, or not for the user to see, leads nowhere. */
	for (unsigned i = 0; i < GATHER_MAX && !why; i++) {
		const struct answer *a = &l->g.answer[i];

		if (a->failure && a->failure != KUBE_NOT_FOUND && a->failure != KUBE_FORBIDDEN)
			why = &a->why;
	}
	l->done(l->arg, why);
}

static int ask(struct ingress_look *l, const json_t *params)
{
	enum workload_kind only = NUM_KINDS;
	const char *kind = object_text(params, "kind", NULL);
	char path[256];

	if (*kind && workload_kind_parse(&only, kind))
		return -EINVAL;
	for (unsigned k = 0; !*l->service && k < LOOK_SERVICES; k++) {
		if (*kind && k != (unsigned)only)
			continue;
		if (workload_path(path, sizeof(path), (enum workload_kind)k, l->ns,
				  object_text(params, "workload", NULL)))
			return -EINVAL;
		gather_object(&l->g, k, path);
	}
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/services", l->ns);
	gather_list(&l->g, LOOK_SERVICES, path, NULL);
	snprintf(path, sizeof(path), "/apis/networking.k8s.io/v1/namespaces/%s/ingresses", l->ns);
	gather_list(&l->g, LOOK_INGRESSES, path, NULL);
	snprintf(path, sizeof(path), "/apis/gateway.networking.k8s.io/v1/namespaces/%s/httproutes",
		 l->ns);
	gather_list(&l->g, LOOK_ROUTES, path, NULL);
	gather_list(&l->g, LOOK_GATEWAYS, "/apis/gateway.networking.k8s.io/v1/gateways", NULL);
	snprintf(path, sizeof(path), "/apis/gateway.networking.k8s.io/v1/namespaces/%s/gateways",
		 l->ns);
	gather_list(&l->g, LOOK_OWN_GATEWAYS, path, NULL);
	return gather_asked(&l->g) ? 0 : -ENOMEM;
}

static bool take_name(char *to, const json_t *params, const char *key)
{
	const char *s = object_text(params, key, NULL);

	if (*s && !object_name_valid(s, K8S_NAME_MAX))
		return false;
	snprintf(to, K8S_NAME_MAX + 1, "%s", s);
	return true;
}

int ingress_look_new(struct ingress_look **lp, struct kube_client *client, const json_t *params,
		     void (*done)(void *arg, const struct error *why), void *arg, struct error *e)
{
	struct ingress_look *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return error_set(e, -ENOMEM, "out of memory");
	l->done = done;
	l->arg = arg;
	gather_init(&l->g, client, on_looked, l);
	r = take_name(l->ns, params, "namespace") && *l->ns &&
			    take_name(l->service, params, "service")
		    ? ask(l, params)
		    : -EINVAL;
	if (r == 0) {
		*lp = l;
		return 0;
	}
	ingress_look_free(l);
	return error_set(e, r,
			 r == -ENOMEM ? "out of memory"
				      : "that cannot be the name of a workload or a namespace");
}

void ingress_look_free(struct ingress_look *l)
{
	if (!l)
		return;
	gather_clear(&l->g);
	free(l);
}
