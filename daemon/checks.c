/* SPDX-License-Identifier: Apache-2.0 */
/* What is found before a workload is changed: what would keep its agents from coming up or from being of use. */
#include <stdio.h>

#include "daemon/workloads_internal.h"

enum { MANAGER_PORT = 31820 };

static const char MANAGER_APP[] = "culvert-manager"; /* label `app` of its pods */

/* --- Pod Security --------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct intercept *in, const struct mark_port *p)
{
	for (unsigned i = 0; i < in->nports; i++) {
		if (in->port[i].target == p->target && in->port[i].udp == p->udp)
			return true;
	}
	return false;
}

int check_pod_security(struct mark *m, const struct intercept *in, const json_t *ns,
		       struct error *why)
{
	const char *level =
		object_text(ns, "metadata", "labels", "pod-security.kubernetes.io/enforce", NULL);
	unsigned n = 0;

	if (!mark_needs_redirect(m) ||
	    (strcmp(level, "baseline") != 0 && strcmp(level, "restricted") != 0))
		return 0;
	for (unsigned i = 0; i < m->nports; i++) {
		const struct mark_port *p = &m->port[i];

		if (p->how == MARK_RENAME) {
			m->port[n++] = *p;
			continue;
		}
		if (is_wanted(in, p))
			return error_set(
				why, 1,
				"Port %u of %s %s is reached by its number (by targetPort, or "
				"through "
				"a headless service), for which the agent needs an init container "
				"with NET_ADMIN; namespace %s enforces Pod Security '%s', which "
				"forbids that. Give the container's port a name, and have every "
				"service's targetPort say that name.",
				p->target, workload_kind_title(m->kind), m->workload, in->ns,
				level);
	}
	m->nports = n;
	return 0;
}

/* --- NetworkPolicies ------------------------------------------------------------------------------------------ */

static bool has_value(const json_t *values, const char *text)
{
	const json_t *v;
	size_t i;

	json_array_foreach(values, i, v)
	{
		if (json_is_string(v) && !strcmp(json_string_value(v), text))
			return true;
	}
	return false;
}

static bool expression_matches(const json_t *x, const json_t *labels)
{
	const char *key = object_text(x, "key", NULL), *op = object_text(x, "operator", NULL);
	const char *value = json_string_value(json_object_get(labels, key));
	const json_t *values = json_object_get(x, "values");

	if (!strcmp(op, "In"))
		return value && has_value(values, value);
	if (!strcmp(op, "NotIn"))
		return !value || !has_value(values, value);
	return !strcmp(op, "Exists") ? value != NULL : !value;
}

static bool selector_matches(const json_t *selector, const json_t *labels)
{
	/* jansson has no iteration over const objects; nothing is changed */
	json_t *want = (json_t *)object_get(selector, "matchLabels", NULL), *v;
	const json_t *x;
	const char *key;
	size_t i;

	json_object_foreach(want, key, v)
	{
		const char *has = json_string_value(json_object_get(labels, key));

		if (!has || strcmp(has, json_string_value(v) ? json_string_value(v) : "") != 0)
			return false;
	}
	json_array_foreach(json_object_get(selector, "matchExpressions"), i, x)
	{
		if (!expression_matches(x, labels))
			return false;
	}
	return true;
}

static bool has_type(const json_t *policy, const char *type)
{
	const json_t *types = object_get(policy, "spec", "policyTypes", NULL);

	if (!types) /* as the API server fills it in */
		return !strcmp(type, "Ingress") || object_get(policy, "spec", "egress", NULL);
	return has_value(types, type);
}

static bool number_in(const json_t *port, uint16_t number)
{
	json_int_t first = json_integer_value(json_object_get(port, "port"));
	json_int_t last = json_integer_value(json_object_get(port, "endPort"));

	return first == number || (last && first <= number && number <= last);
}

static bool protocol_is(const json_t *port, bool udp)
{
	return !strcmp(object_text(port, "protocol", NULL), "UDP") == udp;
}

/* Whether a rule lets packets to our manager's pod out, as far as it can be told: an address block may hold it. */
static bool lets_out(const json_t *rule, const json_t *ns_labels, const json_t *pod_labels)
{
	const json_t *ports = json_object_get(rule, "ports"), *to = json_object_get(rule, "to"), *x;
	bool port = json_array_size(ports) == 0, peer = json_array_size(to) == 0;
	size_t i;

	json_array_foreach(ports, i, x)
	{
		port |= protocol_is(x, true) &&
			(!json_object_get(x, "port") || number_in(x, MANAGER_PORT) ||
			 !strcmp(object_text(x, "port", NULL), "udp"));
	}
	json_array_foreach(to, i, x)
	{
		const json_t *ns = json_object_get(x, "namespaceSelector");

		peer |= json_object_get(x, "ipBlock") ||
			(ns && selector_matches(ns, ns_labels) &&
			 selector_matches(json_object_get(x, "podSelector"), pod_labels));
	}
	return port && peer;
}

struct policy_check {
	const struct mark *m;
	const struct workload *w;
	const json_t *labels, *policies; /* the pods' labels */
};

static bool selects(const struct policy_check *c, const json_t *policy, const char *type)
{
	return has_type(policy, type) &&
	       selector_matches(object_get(policy, "spec", "podSelector", NULL), c->labels);
}

static int check_egress(const struct policy_check *c, const char *manager_ns, struct error *why)
{
	json_t *ns = json_pack("{s:s}", "kubernetes.io/metadata.name", manager_ns);
	json_t *pod = json_pack("{s:s}", "app", MANAGER_APP);
	const char *denies = NULL;
	const json_t *p, *rule;
	bool allowed = false;
	size_t i, k;

	json_array_foreach(c->policies, i, p)
	{
		if (!selects(c, p, "Egress"))
			continue;
		denies = object_text(p, "metadata", "name", NULL);
		json_array_foreach(object_get(p, "spec", "egress", NULL), k, rule)
		{
			allowed |= lets_out(rule, ns, pod);
		}
	}
	json_decref(ns);
	json_decref(pod);
	if (!denies || allowed)
		return 0;
	return error_set(
		why, 1,
		"NetworkPolicy %s keeps the pods of %s %s from the manager: their agents could not "
		"reach it. Allow egress to namespace %s (namespaceSelector: matchLabels: "
		"kubernetes.io/metadata.name: %s), UDP port %d.",
		denies, workload_kind_title(c->w->kind), c->w->name, manager_ns, manager_ns,
		MANAGER_PORT);
}

/* Allows the port by its number alone: then not the agent's, which has the name now. */
static bool numbers_only(const json_t *rule, const struct mark_port *m)
{
	bool number = false, named = false;
	const json_t *x;
	size_t i;

	json_array_foreach(json_object_get(rule, "ports"), i, x)
	{
		number |= protocol_is(x, m->udp) && number_in(x, m->target);
		named |= !strcmp(object_text(x, "port", NULL), m->name) ||
			 (protocol_is(x, m->udp) && !json_object_get(x, "port"));
	}
	return number && !named;
}

static int check_ingress(const struct policy_check *c, const struct mark_port *m, struct error *why)
{
	const char *by_number = NULL;
	const json_t *p, *rule;
	size_t i, k;

	json_array_foreach(c->policies, i, p)
	{
		if (!selects(c, p, "Ingress"))
			continue;
		json_array_foreach(object_get(p, "spec", "ingress", NULL), k, rule)
		{
			if (!json_array_size(json_object_get(rule, "ports")) &&
			    !json_array_size(json_object_get(rule, "from")))
				return 0; /* all may come */
			if (numbers_only(rule, m))
				by_number = object_text(p, "metadata", "name", NULL);
		}
	}
	if (!by_number)
		return 0;
	return error_set(
		why, 1,
		"NetworkPolicy %s lets clients of %s %s in by port number %u, but with the agent "
		"they come to its port of the name '%s': write 'port: %s' there instead of the "
		"number (it means the same without the agent), then intercept.",
		by_number, workload_kind_title(c->w->kind), c->w->name, m->target, m->name,
		m->name);
}

int check_policies(const struct mark *m, const struct workload *w, const json_t *object,
		   const json_t *policies, const char *manager_ns, struct error *why)
{
	const struct policy_check c = {
		.m = m,
		.w = w,
		.labels = object_get(object, "spec", "template", "metadata", "labels", NULL),
		.policies = policies};
	int r = check_egress(&c, manager_ns, why);

	for (unsigned i = 0; i < m->nports && !r; i++) {
		if (m->port[i].how == MARK_RENAME)
			r = check_ingress(&c, &m->port[i], why);
	}
	return r;
}

/* --- who holds a port ------------------------------------------------------------------------------------------- */

/* A holder that is away may have to give way, which the manager decides; one whose Session is gone is no holder. */
static bool holds(const struct intercept_object *o, const char *session, const json_t *sessions)
{
	const json_t *s = session_object_find(sessions, o->session);

	if (o->deleting || !strcmp(o->phase, "Conflict") || !strcmp(o->phase, "Failed"))
		return false;
	if (!strcmp(o->session, session) || !sessions)
		return true;
	return s && strcmp(object_text(s, "status", "phase", NULL), "Away") != 0 &&
	       strcmp(object_text(s, "status", "phase", NULL), "Expired") != 0;
}

/* A daemon that was killed has left its Session, which counts as there until its silence was noticed and has lasted. */
static void explain_own(const struct intercept_object *o, const char *session,
			const json_t *sessions, struct error *why)
{
	const char *me = object_text(session_object_find(sessions, session), "spec", "user", NULL);
	struct error said = *why;

	if (*me && !strcmp(me, o->user))
		error_set(why, 0,
			  "%.600s It is yours: if no laptop of yours has it any more, end it with: "
			  "kubectl delete session %s",
			  said.text, o->session);
}

int check_holders(const struct intercept *in, const char *session, const json_t *intercepts,
		  const json_t *sessions, struct error *why)
{
	struct intercept mine = *in;
	struct intercept_object o;
	const json_t *item;
	size_t i;

	snprintf(mine.owner, sizeof(mine.owner), "me");
	json_array_foreach(intercepts, i, item)
	{
		const struct intercept *other = &o.in;

		if (intercept_from_object(&o, item, NULL) || !holds(&o, session, sessions))
			continue;
		if (!strcmp(o.session, session)) {
			memcpy(o.in.owner, mine.owner, sizeof(mine.owner));
		} else {
			char name[300];

			holder_name(name, sizeof(name), &o, sessions);
			snprintf(o.in.owner, sizeof(o.in.owner), "%.*s", INTERCEPT_NAME_MAX, name);
		}
		if (intercept_check(&mine, &other, 1, why)) {
			if (strcmp(o.session, session) != 0)
				explain_own(&o, session, sessions, why);
			return RPC_CONFLICT;
		}
	}
	return 0;
}
