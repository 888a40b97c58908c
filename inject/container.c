/* SPDX-License-Identifier: Apache-2.0 */
/* What is new in the pod: the agent's container, the redirect's, and the volume with the agent's token. */
#include <stdio.h>

#include "inject/internal.h"

/*
 * Limits where the pod asks for some and the configuration names none. The agent carries the application's traffic: its
 * request, which is small, would not do as its limit.
 */
#define GUARANTEED_CPU "100m" /* reserved as well */
#define LIMIT_CPU      "500m"
#define MEMORY	       "64Mi"

/* Both start as anybody but root may, and neither writes to its file system. */
static json_t *security(bool root)
{
	json_t *s = json_pack("{s:b, s:b, s:b, s:i, s:i, s:{s:[s]}, s:{s:s}}",
			      "allowPrivilegeEscalation", 0, "readOnlyRootFilesystem", 1,
			      "runAsNonRoot", !root, "runAsUser", root ? 0 : 65532, "runAsGroup",
			      root ? 0 : 65532, "capabilities", "drop", "ALL", "seccompProfile",
			      "type", "RuntimeDefault");

	if (root)
		json_object_set_new(json_object_get(s, "capabilities"), "add",
				    json_pack("[s]", "NET_ADMIN"));
	return s;
}

/* --- resources ---------------------------------------------------------------------------------------------- */

static bool has_limit(const json_t *c, const char *what)
{
	return *object_text(c, "resources", "limits", what, NULL) != '\0';
}

/* A limit, and no smaller request: one that is missing is the limit. The API server writes equal amounts alike. */
static bool fixed(const json_t *c, const char *what)
{
	const char *request = object_text(c, "resources", "requests", what, NULL);

	return has_limit(c, what) &&
	       (!*request || !strcmp(request, object_text(c, "resources", "limits", what, NULL)));
}

static bool all_containers(const json_t *spec, bool (*is)(const json_t *c, const char *what),
			   const char *what)
{
	static const char *const lists[] = {"containers", "initContainers"};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const json_t *list = json_object_get(spec, lists[i]);

		for (size_t k = 0; k < json_array_size(list); k++) {
			if (!is(json_array_get(list, k), what))
				return false;
		}
	}
	return true;
}

static void set_amount(json_t *to, const char *what, const char *amount)
{
	if (*amount)
		json_object_set_new(to, what, json_string(amount));
}

static const char *first_of(const char *a, const char *b)
{
	return *a ? a : b;
}

/* NULL where the pod as a whole has resources: those of its containers must not exceed them. */
static json_t *resources(const struct plan *p)
{
	const struct inject_config *cfg = p->cfg;
	json_t *requests, *limits;

	if (json_object_get(p->spec, "resources"))
		return NULL;
	requests = json_object();
	limits = json_object();
	if (all_containers(p->spec, fixed, "cpu") && all_containers(p->spec, fixed, "memory")) {
		/* Else the pod would be Guaranteed no more. */
		set_amount(limits, "cpu", first_of(cfg->cpu_limit, GUARANTEED_CPU));
		set_amount(limits, "memory", first_of(cfg->memory_limit, MEMORY));
		json_object_update(requests, limits);
	} else {
		/* Where each container has a limit, a quota may demand it. */
		set_amount(requests, "cpu", cfg->cpu_request);
		set_amount(requests, "memory", cfg->memory_request);
		set_amount(limits, "cpu",
			   first_of(cfg->cpu_limit,
				    all_containers(p->spec, has_limit, "cpu") ? LIMIT_CPU : ""));
		set_amount(limits, "memory",
			   first_of(cfg->memory_limit,
				    all_containers(p->spec, has_limit, "memory") ? MEMORY : ""));
	}
	return json_pack("{s:o, s:o}", "requests", requests, "limits", limits);
}

/* --- environment ---------------------------------------------------------------------------------------------- */

static json_t *agent_ports(const struct plan *p)
{
	json_t *ports = json_array();

	for (unsigned i = 0; i < p->nports; i++) {
		const struct plan_port *q = &p->port[i];

		json_array_append_new(ports, json_pack("{s:i, s:i, s:i, s:s}", "listen", q->listen,
						       "application", q->application, "target",
						       q->application, "protocol",
						       q->udp ? "udp" : "tcp"));
	}
	return ports;
}

/* CULVERT_AGENT, docs/kubernetes.md. */
static json_t *agent_config(const struct plan *p)
{
	json_t *endpoints = json_array(), *j;
	char *text;

	for (unsigned i = 0; i < p->cfg->nendpoints; i++)
		json_array_append_new(endpoints, json_string(p->cfg->endpoint[i]));
	j = json_pack("{s:s, s:o, s:s, s:s, s:o, s:s}", "manager", p->cfg->manager_key, "endpoints",
		      endpoints, "kind", workload_kind_name(p->mark.kind), "workload",
		      p->mark.workload, "ports", agent_ports(p), "container",
		      object_text(p->app, "name", NULL));
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	j = text ? json_string(text) : NULL;
	free(text);
	return j;
}

static void append_field(json_t *env, const char *name, const char *field)
{
	json_array_append_new(env, json_pack("{s:s, s:{s:{s:s}}}", "name", name, "valueFrom",
					     "fieldRef", "fieldPath", field));
}

/* What the application's container sees, in its order, since a value may name those before it: $(NAME). */
static void append_copy(json_t *env, const json_t *app)
{
	const json_t *list = json_object_get(app, "env");

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *v = json_deep_copy(json_array_get(list, i));
		json_t *own = json_object_get(json_object_get(v, "valueFrom"), "resourceFieldRef");

		if (!strncmp(object_text(v, "name", NULL), "CULVERT_", 8)) {
			json_decref(v);
			continue;
		}
		/* limits.cpu and its like: the application's, not the agent's */
		if (own && !*object_text(own, "containerName", NULL))
			json_object_set(own, "containerName", json_object_get(app, "name"));
		json_array_append_new(env, v);
	}
}

static json_t *environment(const struct plan *p)
{
	json_t *env = json_array();

	json_array_append_new(
		env, json_pack("{s:s, s:o}", "name", "CULVERT_AGENT", "value", agent_config(p)));
	append_field(env, "CULVERT_POD_IP", "status.podIP");
	append_field(env, "CULVERT_POD_NAME", "metadata.name");
	append_field(env, "CULVERT_POD_NAMESPACE", "metadata.namespace");
	append_copy(env, p->app);
	return env;
}

/* --- containers ------------------------------------------------------------------------------------------------- */

static json_t *container(const struct plan *p, const char *name, bool root)
{
	json_t *c = json_pack("{s:s, s:s, s:o}", "name", name, "image", p->cfg->image,
			      "securityContext", security(root));
	json_t *r = resources(p);

	if (*p->cfg->pull_policy)
		json_object_set_new(c, "imagePullPolicy", json_string(p->cfg->pull_policy));
	if (r)
		json_object_set_new(c, "resources", r);
	return c;
}

/* One for the agent, and one in the place where the API server would mount the pod's own token: the agent has no business there. */
static json_t *mounts(bool agent)
{
	static const char *const paths[] = {TOKEN_FOLDER, API_TOKEN_FOLDER};
	json_t *list = json_array();

	for (size_t i = !agent; i < ARRAY_SIZE(paths); i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "name", TOKEN_VOLUME,
						      "mountPath", paths[i], "readOnly", 1));
	return list;
}

static json_t *named_ports(const struct plan *p)
{
	json_t *ports = json_array();

	for (unsigned i = 0; i < p->nports; i++) {
		const struct plan_port *q = &p->port[i];

		if (*q->name)
			json_array_append_new(ports, json_pack("{s:s, s:i, s:s}", "name", q->name,
							       "containerPort", q->listen,
							       "protocol", q->udp ? "UDP" : "TCP"));
	}
	return ports;
}

static json_t *agent_container(const struct plan *p)
{
	json_t *c = container(p, AGENT_CONTAINER, false);
	json_t *from = json_object_get(p->app, "envFrom");

	json_object_set_new(c, "args", json_pack("[s]", "--kubernetes"));
	if (p->cfg->sidecar)
		json_object_set_new(c, "restartPolicy", json_string("Always"));
	json_object_set_new(c, "ports", named_ports(p));
	json_object_set_new(c, "env", environment(p));
	if (json_array_size(from))
		json_object_set_new(c, "envFrom", json_deep_copy(from));
	json_object_set_new(c, "volumeMounts", mounts(true));
	return c;
}

static json_t *redirect_container(const struct plan *p)
{
	json_t *c = container(p, REDIRECT_CONTAINER, true), *args = json_pack("[s]", "redirect");

	json_array_extend(args, p->redirects);
	json_object_set_new(c, "args", args);
	json_object_set_new(c, "volumeMounts", mounts(false));
	return c;
}

static json_t *token_volume(void)
{
	return json_pack("{s:s, s:{s:[{s:{s:s, s:s, s:i}}]}}", "name", TOKEN_VOLUME, "projected",
			 "sources", "serviceAccountToken", "path", "token", "audience", "culvert",
			 "expirationSeconds", 3600);
}

/* Behind the last of a list of the pod's, which may not be there. */
static void append(struct plan *p, const char *list, json_t *items)
{
	char path[64];

	if (!json_array_size(json_object_get(p->spec, list))) {
		snprintf(path, sizeof(path), "/spec/%s", list);
		patch_add(p, "add", path, items);
		return;
	}
	snprintf(path, sizeof(path), "/spec/%s/-", list);
	for (size_t i = 0; i < json_array_size(items); i++)
		patch_add(p, "add", path, json_incref(json_array_get(items, i)));
	json_decref(items);
}

void plan_containers(struct plan *p)
{
	json_t *init = json_array();

	/* Behind the application's own, which have the pod's network as it was. */
	if (json_array_size(p->redirects))
		json_array_append_new(init, redirect_container(p));
	if (p->cfg->sidecar)
		json_array_append_new(init, agent_container(p));
	else
		append(p, "containers", json_pack("[o]", agent_container(p)));
	if (json_array_size(init))
		append(p, "initContainers", init);
	else
		json_decref(init);
	append(p, "volumes", json_pack("[o]", token_volume()));
}
