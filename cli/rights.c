/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before anything is changed: may we do all of it? Each right is a SelfSubjectAccessReview, all of them under way at once.
 */
#include "cli/kube.h"
#include "deploy/deploy.h"

static const char *const verbs[] = {"get", "create", "patch"};

static void ask(json_t *bodies, const char *group, const char *resource, const char *verb,
		const char *ns)
{
	json_t *body = json_pack("{s:s,s:s,s:{s:{s:s,s:s,s:s,s:s}}}", "apiVersion",
				 "authorization.k8s.io/v1", "kind", "SelfSubjectAccessReview",
				 "spec", "resourceAttributes", "group", group, "resource", resource,
				 "verb", verb, "namespace", ns);
	json_t *other;
	size_t i;

	json_array_foreach(bodies, i, other)
	{
		if (!json_equal(other, body))
			continue;
		json_decref(body);
		return;
	}
	json_array_append_new(bodies, body);
}

static json_t *questions(const json_t *objects, const char *ns)
{
	json_t *bodies = json_array(), *object;
	struct deploy_place p;
	size_t i, k;

	json_array_foreach((json_t *)(uintptr_t)objects, i, object)
	{
		if (deploy_place(object, &p))
			continue;
		for (k = 0; k < ARRAY_SIZE(verbs); k++)
			ask(bodies, p.group, p.plural, verbs[k], p.ns);
	}
	ask(bodies, "", "pods", "list", ns); /* what the manager's pod waits for */
	ask(bodies, "", "events", "list", ns);
	return bodies;
}

/* Adds a right to the list of a role's rules. */
static void add_rule(json_t *rules, const json_t *right)
{
	const char *group = get_text(right, "group"), *resource = get_text(right, "resource");
	const json_t *verb = json_object_get(right, "verb");
	json_t *rule;
	size_t i;

	json_array_foreach(rules, i, rule)
	{
		const json_t *g = json_array_get(json_object_get(rule, "apiGroups"), 0);
		const json_t *r = json_array_get(json_object_get(rule, "resources"), 0);

		if (strcmp(json_string_value(g), group) || strcmp(json_string_value(r), resource))
			continue;
		json_array_append(json_object_get(rule, "verbs"), (json_t *)(uintptr_t)verb);
		return;
	}
	rule = json_pack("{s:[s],s:[s],s:[O]}", "apiGroups", group, "resources", resource, "verbs",
			 verb);
	/* Who gives a right must have it, or have these two verbs. */
	if (!strcmp(resource, "clusterroles") || !strcmp(resource, "roles")) {
		json_array_append_new(json_object_get(rule, "verbs"), json_string("escalate"));
		json_array_append_new(json_object_get(rule, "verbs"), json_string("bind"));
	}
	json_array_append_new(rules, rule);
}

/* The ClusterRole that has these rules, and its binding to us. */
static char *grant_text(struct cluster *c, json_t *rules)
{
	static const char api[] = "rbac.authorization.k8s.io";
	json_t *review = json_pack("{s:s,s:s}", "apiVersion", "authentication.k8s.io/v1", "kind",
				   "SelfSubjectReview");
	json_t *me = NULL, *role, *binding;
	char *text = NULL;
	size_t size;
	FILE *out;

	if (!cluster_post(c, &me, NULL, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			  review) &&
	    (out = open_memstream(&text, &size))) {
		role = json_pack("{s:s,s:s,s:{s:s},s:O}", "apiVersion",
				 "rbac.authorization.k8s.io/v1", "kind", "ClusterRole", "metadata",
				 "name", "culvert-installer", "rules", rules);
		binding =
			json_pack("{s:s,s:s,s:{s:s},s:{s:s,s:s,s:s},s:[{s:s,s:s,s:s}]}",
				  "apiVersion", "rbac.authorization.k8s.io/v1", "kind",
				  "ClusterRoleBinding", "metadata", "name", "culvert-installer",
				  "roleRef", "apiGroup", api, "kind", "ClusterRole", "name",
				  "culvert-installer", "subjects", "apiGroup", api, "kind", "User",
				  "name", text_at(me, "status", "userInfo", "username", NULL));
		output_yaml(role, out);
		fputs("---\n", out);
		output_yaml(binding, out);
		fclose(out);
		json_decref(role);
		json_decref(binding);
	}
	json_decref(review);
	json_decref(me);
	return text;
}

int rights_check(struct cluster *c, const json_t *objects, const char *ns, struct error *e)
{
	json_t *bodies = questions(objects, ns), *rules = json_array(), *answers = NULL, *answer;
	const json_t *first = NULL;
	unsigned missing = 0;
	size_t i;
	int err = cluster_post_all(
		c, &answers, e, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", bodies);

	json_array_foreach(answers, i, answer)
	{
		const json_t *right =
			member(json_array_get(bodies, i), "spec", "resourceAttributes", NULL);

		if (json_is_true(member(answer, "status", "allowed", NULL)))
			continue;
		first = first ? first : right;
		missing++;
		add_rule(rules, right);
	}
	if (missing) {
		free(c->grant);
		c->grant = grant_text(c, rules);
		err = error_set(e, KUBE_FORBIDDEN,
				"you may not %s %s%s%s (%u of the %zu rights that an installation "
				"takes are missing); nothing was changed. An administrator of the "
				"cluster may, or can grant it",
				get_text(first, "verb"), get_text(first, "resource"),
				*get_text(first, "group") ? "." : "", get_text(first, "group"),
				missing, json_array_size(bodies));
	}
	json_decref(bodies);
	json_decref(rules);
	json_decref(answers);
	return err;
}
