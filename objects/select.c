/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which services select a workload's pods, and where a port of theirs arrives in the pod. As the endpoints controller
 * decides it, from the pod template.
 */
#include <stdio.h>

#include "objects/internal.h"

/* "db-12" is a pod of StatefulSet db. */
static bool is_pod_of(const char *pod, const char *set)
{
	size_t len = strlen(set);

	return !strncmp(pod, set, len) && pod[len] == '-' && pod[len + 1] &&
	       strspn(pod + len + 1, "0123456789") == strlen(pod + len + 1);
}

/*
 * Labels that a controller gives to its pods beside the template's: a selector with them means some of the pods. *alone:
 * the label by itself says whose pods they are.
 */
static bool controller_label(const struct workload *w, const char *key, const char *value,
			     bool *alone)
{
	*alone = false;
	if (w->kind == KIND_DEPLOYMENT)
		return !strcmp(key, "pod-template-hash");
	if (w->kind != KIND_STATEFULSET)
		return false;
	if (!strcmp(key, "statefulset.kubernetes.io/pod-name"))
		return *alone = is_pod_of(value, w->name);
	return !strcmp(key, "controller-revision-hash") ||
	       !strcmp(key, "apps.kubernetes.io/pod-index");
}

static bool selects(const json_t *service, const struct workload *w, const json_t *labels)
{
	/* jansson has no iteration over const objects; nothing is changed */
	json_t *selector = (json_t *)object_get(service, "spec", "selector", NULL);
	const char *key, *ns = object_text(service, "metadata", "namespace", NULL);
	json_t *value;
	bool sure = false;

	if (!strcmp(object_text(service, "spec", "type", NULL), "ExternalName") ||
	    (*ns && strcmp(ns, w->ns) != 0))
		return false;
	json_object_foreach(selector, key, value)
	{
		const char *wanted = json_string_value(value);
		const char *has = json_string_value(json_object_get(labels, key));
		bool alone = true;

		if (!wanted || !((has && !strcmp(wanted, has)) ||
				 (!has && controller_label(w, key, wanted, &alone))))
			return false;
		sure |= alone;
	}
	return sure;
}

static const char *service_name(const json_t *service)
{
	return object_text(service, "metadata", "name", NULL);
}

/* Keeps the list sorted, and the first ones when there are too many, so that the order in which they came changes nothing. */
static void insert(struct selected *s, const json_t *service)
{
	unsigned at = s->n;

	if (at == WORKLOAD_SERVICES) {
		if (strcmp(service_name(service), service_name(s->service[at - 1])) >= 0)
			return;
		at--;
	}
	s->n = at + 1;
	for (; at && strcmp(service_name(service), service_name(s->service[at - 1])) < 0; at--)
		s->service[at] = s->service[at - 1];
	s->service[at] = service;
}

void select_services(struct selected *s, const struct workload *w, const json_t *object,
		     const json_t *services)
{
	const json_t *labels = object_get(object, "spec", "template", "metadata", "labels", NULL);
	const json_t *list =
		json_is_array(services) ? services : object_get(services, "items", NULL);

	s->n = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *service = json_array_get(list, i);

		if (object_name_valid(service_name(service), K8S_NAME_MAX) &&
		    selects(service, w, labels))
			insert(s, service);
	}
}

bool service_headless(const json_t *service)
{
	return !strcmp(object_text(service, "spec", "clusterIP", NULL), "None");
}

/* The number of the port of that name in one container, or 0. */
static uint16_t container_port(const json_t *container, const char *name, bool udp)
{
	const json_t *ports = json_object_get(container, "ports");
	uint16_t number;

	for (size_t i = 0; i < json_array_size(ports); i++) {
		const json_t *p = json_array_get(ports, i);
		const char *protocol = object_text(p, "protocol", NULL);

		if (!strcmp(object_text(p, "name", NULL), name) &&
		    !strcmp(*protocol ? protocol : "TCP", udp ? "UDP" : "TCP") &&
		    take_port(p, "containerPort", &number, NULL) == 0)
			return number;
	}
	return 0;
}

/* The containers in their order, then the native sidecars: the first that has the name. */
static uint16_t named_port(const json_t *pod_spec, const char *name, bool udp)
{
	const json_t *list = json_object_get(pod_spec, "containers");
	uint16_t number = 0;

	for (size_t i = 0; !number && i < json_array_size(list); i++)
		number = container_port(json_array_get(list, i), name, udp);
	list = json_object_get(pod_spec, "initContainers");
	for (size_t i = 0; !number && i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i);

		if (!strcmp(object_text(c, "restartPolicy", NULL), "Always"))
			number = container_port(c, name, udp);
	}
	return number;
}

bool service_arrival(struct arrival *a, const json_t *port, const json_t *pod_spec)
{
	const char *protocol = object_text(port, "protocol", NULL);
	const json_t *target = json_object_get(port, "targetPort");
	struct service_port *p = &a->port;

	*a = (struct arrival){.by_name = json_string_value(target)};
	p->udp = !strcmp(protocol, "UDP");
	if ((*protocol && !p->udp && strcmp(protocol, "TCP") != 0) ||
	    take_text(port, "name", p->name, sizeof(p->name), true, NULL) ||
	    (*p->name && !object_name_valid(p->name, K8S_NAME_MAX)) ||
	    take_port(port, "port", &p->port, NULL))
		return false;
	if (a->by_name) {
		if (!port_name_valid(a->by_name))
			return false;
		p->target = named_port(pod_spec, a->by_name, p->udp);
	} else if (!target || json_equal(target, json_null()) ||
		   (json_is_integer(target) && json_integer_value(target) == 0)) {
		p->target = p->port; /* the default */
	} else if (take_port(port, "targetPort", &p->target, NULL)) {
		return false;
	}
	return p->target != 0;
}
