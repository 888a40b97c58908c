/* SPDX-License-Identifier: Apache-2.0 */
/* A workload from the API's objects. */
#include <errno.h>
#include <stdio.h>

#include "objects/internal.h"

static const char *const plurals[] = {
	[KIND_DEPLOYMENT] = "deployments",
	[KIND_REPLICASET] = "replicasets",
	[KIND_STATEFULSET] = "statefulsets",
};

int workload_path(char *buf, size_t size, enum workload_kind kind, const char *ns, const char *name)
{
	int n;

	if (kind >= ARRAY_SIZE(plurals) || (ns && !object_name_valid(ns, K8S_NAME_MAX)) ||
	    (name && (!ns || !object_name_valid(name, OBJECT_NAME_MAX))))
		return -EINVAL;
	if (ns)
		n = snprintf(buf, size, "/apis/apps/v1/namespaces/%s/%s%s%s", ns, plurals[kind],
			     name ? "/" : "", name ? name : "");
	else
		n = snprintf(buf, size, "/apis/apps/v1/%s", plurals[kind]);
	return n < 0 || (size_t)n >= size ? -ENOSPC : 0;
}

static int take_kind(const json_t *object, enum workload_kind *kind, struct error *e)
{
	const char *title = object_text(object, "kind", NULL);
	const json_t *spec = object_get(object, "spec", NULL);

	if (!*title) {
		*kind = json_object_get(spec, "updateStrategy") ||
					json_object_get(spec, "podManagementPolicy") ||
					json_object_get(spec, "serviceName")
				? KIND_STATEFULSET
			: json_object_get(spec, "strategy") ||
					json_object_get(spec, "progressDeadlineSeconds")
				? KIND_DEPLOYMENT
				: KIND_REPLICASET;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(plurals); i++) {
		if (!strcmp(title, workload_kind_title((enum workload_kind)i))) {
			*kind = (enum workload_kind)i;
			return 0;
		}
	}
	return error_set(e, -EINVAL,
			 "a %.60s is no workload: Deployments, ReplicaSets and StatefulSets are",
			 title);
}

int workload_identity(struct workload *w, const json_t *object, struct error *e)
{
	const json_t *meta = object_get(object, "metadata", NULL);
	int r = take_kind(object, &w->kind, e);

	if (r)
		return r;
	r = take_name(meta, "name", w->name, sizeof(w->name), e);
	if (r == 0)
		r = take_name(meta, "namespace", w->ns, sizeof(w->ns), e);
	return r ? error_wrap(e, r, "%s %.100s", workload_kind_title(w->kind),
			      object_text(meta, "name", NULL))
		 : 0;
}

static void fill_service(struct service *to, const json_t *service, const json_t *pod_spec)
{
	const json_t *ports = object_get(service, "spec", "ports", NULL);
	struct arrival a;

	copy_text(to->name, sizeof(to->name), object_text(service, "metadata", "name", NULL));
	to->nports = 0;
	for (size_t i = 0; i < json_array_size(ports) && to->nports < WORKLOAD_PORTS; i++) {
		if (service_arrival(&a, json_array_get(ports, i), pod_spec))
			to->port[to->nports++] = a.port;
	}
}

/* Where one service has ports, those without are no choice; if none has, they tell that the pods are selected. */
static void drop_portless(struct workload *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->nservices; i++) {
		if (!w->service[i].nports)
			continue;
		if (n != i)
			w->service[n] = w->service[i];
		n++;
	}
	if (n)
		w->nservices = n;
}

int workload_from_object(struct workload *w, const json_t *object, const json_t *services,
			 struct error *e)
{
	const json_t *pod_spec = object_get(object, "spec", "template", "spec", NULL);
	struct selected selected;
	int r = workload_identity(w, object, e);

	w->nservices = 0;
	if (r)
		return r;
	if (!json_is_object(pod_spec))
		return error_set(e, -EINVAL, "%s %s has no pod template",
				 workload_kind_title(w->kind), w->name);
	select_services(&selected, w, object, services);
	for (unsigned i = 0; i < selected.n; i++)
		fill_service(&w->service[w->nservices++], selected.service[i], pod_spec);
	drop_portless(w);
	return 0;
}

const char *workload_controller(const json_t *object)
{
	const json_t *owners = object_get(object, "metadata", "ownerReferences", NULL);

	for (size_t i = 0; i < json_array_size(owners); i++) {
		const json_t *o = json_array_get(owners, i);
		const char *name = object_text(o, "name", NULL);

		if (json_is_true(json_object_get(o, "controller")) &&
		    !strcmp(object_text(o, "kind", NULL), "Deployment") &&
		    !strncmp(object_text(o, "apiVersion", NULL), "apps/", 5))
			return object_name_valid(name, K8S_NAME_MAX) ? name : NULL;
	}
	return NULL;
}
