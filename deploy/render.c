/* SPDX-License-Identifier: Apache-2.0 */
/* The filled manifests as objects, and where the API server has each. */
#include <errno.h>
#include <stdio.h>

#include "conf/conf.h"
#include "deploy/internal.h"

int deploy_render_yaml(const struct deploy_values *v, char **text, struct error *e)
{
	int err = deploy_check(v, e);

	return err ? err : deploy_fill(v, deploy_manifests, strlen(deploy_manifests), text, e);
}

/* The next document behind a line "---"; NULL = none. */
static const char *next_document(const char *text, const char **end)
{
	static const char line[] = "---\n";

	if (strncmp(text, line, strlen(line)) != 0)
		return NULL;
	text += strlen(line);
	*end = strstr(text, "\n---\n");
	*end = *end ? *end + 1 : text + strlen(text);
	return text;
}

int deploy_render(const struct deploy_values *v, json_t **objects, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	const char *at, *end;
	json_t *all;
	int err = deploy_render_yaml(v, &text, e);

	if (err)
		return err;
	all = json_array();
	for (end = text; !err && (at = next_document(end, &end));) {
		struct conf *c = NULL;

		err = conf_parse(&c, "manifests", at, (size_t)(end - at), e);
		if (!err && json_array_append_new(all, conf_json(conf_root(c))))
			err = error_errno(e, -ENOMEM, "manifests");
		conf_free(c);
	}
	if (err)
		json_decref(all);
	else
		*objects = all;
	return err;
}

/* Where the API server has them. */
static const struct {
	const char *kind, *api, *plural;
	bool cluster;
} kinds[] = {
	{"Namespace", "/api/v1", "namespaces", true},
	{"ServiceAccount", "/api/v1", "serviceaccounts", false},
	{"Secret", "/api/v1", "secrets", false},
	{"ConfigMap", "/api/v1", "configmaps", false},
	{"Service", "/api/v1", "services", false},
	{"Deployment", "/apis/apps/v1", "deployments", false},
	{"ClusterRole", "/apis/rbac.authorization.k8s.io/v1", "clusterroles", true},
	{"ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", true},
	{"Role", "/apis/rbac.authorization.k8s.io/v1", "roles", false},
	{"RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings", false},
	{"CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1", "customresourcedefinitions",
	 true},
	{"ValidatingAdmissionPolicy", "/apis/admissionregistration.k8s.io/v1",
	 "validatingadmissionpolicies", true},
	{"ValidatingAdmissionPolicyBinding", "/apis/admissionregistration.k8s.io/v1",
	 "validatingadmissionpolicybindings", true},
	{"MutatingWebhookConfiguration", "/apis/admissionregistration.k8s.io/v1",
	 "mutatingwebhookconfigurations", true},
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int deploy_place(const json_t *object, struct deploy_place *p)
{
	const json_t *meta = json_object_get(object, "metadata");
	const char *slash;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].kind, text_of(object, "kind")) != 0)
			continue;
		p->api = kinds[i].api;
		p->plural = kinds[i].plural;
		p->ns = kinds[i].cluster ? "" : text_of(meta, "namespace");
		p->name = text_of(meta, "name");
		slash = strchr(p->api + 1, '/');
		snprintf(p->group, sizeof(p->group), "%.*s",
			 strncmp(p->api, "/apis/", 6) ? 0 : (int)strcspn(slash + 1, "/"),
			 slash + 1);
		return 0;
	}
	return -EINVAL;
}

int deploy_path(const json_t *object, char *buf, size_t size)
{
	struct deploy_place p;
	int n;

	if (deploy_place(object, &p))
		return -EINVAL;
	n = snprintf(buf, size, "%s%s%s/%s/%s", p.api, *p.ns ? "/namespaces/" : "", p.ns, p.plural,
		     p.name);
	return n < (int)size ? 0 : -EINVAL;
}
