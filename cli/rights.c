/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before anything is changed: may we do all of it? Each right is a SelfSubjectAccessReview, all of them under way at once.
 */
#include "cli/kube.h"
#include "deploy/deploy.h"

#define RBAC "rbac.authorization.k8s.io"

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

/* One rule with all missing verbs of a resource, at the first of them. */
static void put_rule(FILE *out, const json_t *missing, size_t index)
{
	const json_t *right = json_array_get(missing, index);
	const char *resource = get_text(right, "resource"), *group = get_text(right, "group");
	json_t *other;
	char known[256] = "", list[96] = "";
	size_t i, len = 0;

	json_array_foreach((json_t *)(uintptr_t)missing, i, other)
	{
		char verb[16];

		if (strcmp(get_text(other, "resource"), resource) != 0 ||
		    strcmp(get_text(other, "group"), group) != 0)
			continue;
		if (i < index)
			return;
		snprintf(verb, sizeof(verb), "|%s|", get_text(other, "verb"));
		if (strstr(known, verb)) /* in another namespace */
			continue;
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s", verb);
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
					get_text(other, "verb"));
	}
	/* Who gives a right must have it, or have these two verbs. */
	fprintf(out, "- {apiGroups: [\"%s\"], resources: [%s], verbs: [%s%s]}\n", group, resource,
		list, !strcmp(group, RBAC) ? ", escalate, bind" : "");
}

/* A ClusterRole that has these rights, and its binding to us; NULL when it is not known who we are. */
static char *grant_text(struct cluster *c, const json_t *missing)
{
	json_t *review = json_pack("{s:s,s:s}", "apiVersion", "authentication.k8s.io/v1", "kind",
				   "SelfSubjectReview");
	cleanup(free_ptr) char *user = NULL;
	json_t *me = NULL;
	char *text = NULL;
	size_t size, i;
	FILE *out;

	if (!cluster_post(c, &me, NULL, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			  review))
		user = json_dumps(object_get(me, "status", "userInfo", "username"),
				  JSON_ENCODE_ANY);
	json_decref(review);
	json_decref(me);
	out = user ? open_memstream(&text, &size) : NULL;
	if (!out)
		return NULL;
	fputs("apiVersion: " RBAC "/v1\n"
	      "kind: ClusterRole\n"
	      "metadata: {name: culvert-installer}\n"
	      "rules:\n",
	      out);
	for (i = 0; i < json_array_size(missing); i++)
		put_rule(out, missing, i);
	fprintf(out,
		"---\n"
		"apiVersion: " RBAC "/v1\n"
		"kind: ClusterRoleBinding\n"
		"metadata: {name: culvert-installer}\n"
		"roleRef: {apiGroup: " RBAC ", kind: ClusterRole, name: culvert-installer}\n"
		"subjects:\n"
		"- {apiGroup: " RBAC ", kind: User, name: %s}\n",
		user);
	if (fclose(out)) {
		free(text);
		text = NULL;
	}
	return text;
}

int rights_check(struct cluster *c, const json_t *objects, const char *ns, struct error *e)
{
	json_t *bodies = questions(objects, ns), *missing = json_array(), *answers = NULL, *answer;
	size_t i, n;
	int err = cluster_post_all(
		c, &answers, e, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", bodies);

	json_array_foreach(answers, i, answer)
	{
		if (!json_is_true(object_get(answer, "status", "allowed")))
			json_array_append(missing, (json_t *)(uintptr_t)object_get(
							   json_array_get(bodies, i), "spec",
							   "resourceAttributes"));
	}
	n = json_array_size(missing);
	if (n) {
		const json_t *first = json_array_get(missing, 0);

		free(c->grant);
		c->grant = grant_text(c, missing);
		err = error_set(e, KUBE_FORBIDDEN,
				"you may not %s %s%s%s (%zu of the %zu rights that an installation "
				"takes are missing); nothing was changed. An administrator of the "
				"cluster may, or can grant it",
				get_text(first, "verb"), get_text(first, "resource"),
				*get_text(first, "group") ? "." : "", get_text(first, "group"), n,
				json_array_size(bodies));
	}
	json_decref(bodies);
	json_decref(missing);
	json_decref(answers);
	return err;
}
