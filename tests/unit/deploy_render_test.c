/* SPDX-License-Identifier: Apache-2.0 */
/* deploy: what the manifests become, what the manager may do with them, and values that are refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "deploy/deploy.h"

static struct error err;

static json_t *render(const struct deploy_values *v)
{
	json_t *objects = NULL;

	if (deploy_render(v, &objects, &err))
		fail_msg("%s", err.text);
	return objects;
}

static const json_t *get(const json_t *o, const char *path)
{
	char word[64];

	while (o && *path) {
		size_t len = strcspn(path, "/");

		snprintf(word, sizeof(word), "%.*s", (int)len, path);
		o = json_is_array(o) ? json_array_get(o, strtoul(word, NULL, 10))
				     : json_object_get(o, word);
		path += len + (path[len] == '/');
	}
	return o;
}

static const char *text(const json_t *o, const char *path)
{
	const char *s = json_string_value(get(o, path));

	return s ? s : "";
}

static const json_t *find(const json_t *objects, const char *kind, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)objects, i, o)
	{
		if (!strcmp(text(o, "kind"), kind) && !strcmp(text(o, "metadata/name"), name))
			return o;
	}
	return NULL;
}

static bool has(const json_t *list, const char *word)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		if (!strcmp(json_string_value(v), word))
			return true;
	}
	return false;
}

static void every_object_has_a_place_and_labels(void **state)
{
	struct deploy_values v = {.ns = "tools", .ngroups = 1, .group = {"devs"}};
	json_t *objects = render(&v), *o;
	char path[320];
	size_t i;

	(void)state;
	assert_int_equal(json_array_size(objects), 23);
	assert_string_equal(text(json_array_get(objects, 0), "kind"), "Namespace");
	json_array_foreach(objects, i, o)
	{
		struct deploy_place p;

		assert_int_equal(deploy_path(o, path, sizeof(path)), 0);
		assert_int_equal(deploy_place(o, &p), 0);
		assert_string_equal(p.ns, text(o, "metadata/namespace"));
		assert_true(!*p.ns || !strcmp(p.ns, "tools"));
		assert_int_equal(strncmp(path, *p.group ? "/apis/" : "/api/v1/", *p.group ? 6 : 8),
				 0);
		o = json_object_get(json_object_get(o, "metadata"), "labels");
		assert_string_equal(
			json_string_value(json_object_get(o, "app.kubernetes.io/managed-by")),
			"culvert");
		assert_string_equal(
			json_string_value(json_object_get(o, "app.kubernetes.io/part-of")),
			"culvert");
	}
	json_decref(objects);
}

static void check_no_null(const json_t *j, const char *where)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_null(j))
		fail_msg("'%s' has no value: a comma in a text that is not quoted?", where);
	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		check_no_null(v, key);
	}
	json_array_foreach((json_t *)(uintptr_t)j, i, v)
	{
		check_no_null(v, where);
	}
}

static void everything_has_a_value(void **state)
{
	struct deploy_values v = {.preview_host = "a.b",
				  .oidc_issuer = "https://c.d",
				  .oidc_client_id = "e",
				  .nallow = 1,
				  .allow = {"f=g"},
				  .ngroups = 1,
				  .group = {"devs"}};
	json_t *objects = render(&v);

	(void)state;
	check_no_null(objects, "objects");
	json_decref(objects);
}

static void paths(void **state)
{
	struct deploy_values v = {.ns = ""};
	json_t *objects = render(&v), *other = json_pack("{s:s}", "kind", "Pod");
	char path[320];

	(void)state;
	deploy_path(find(objects, "Deployment", "culvert-manager"), path, sizeof(path));
	assert_string_equal(path, "/apis/apps/v1/namespaces/culvert/deployments/culvert-manager");
	deploy_path(find(objects, "Namespace", "culvert"), path, sizeof(path));
	assert_string_equal(path, "/api/v1/namespaces/culvert");
	deploy_path(find(objects, "ClusterRole", "culvert-view"), path, sizeof(path));
	assert_string_equal(path, "/apis/rbac.authorization.k8s.io/v1/clusterroles/culvert-view");
	assert_int_equal(deploy_path(other, path, sizeof(path)), -EINVAL);
	json_decref(other);
	json_decref(objects);
}

/* --- what the manager may do ------------------------------------------------------------------------------- */

static void check_rule(const json_t *rule)
{
	static const char *const never[] = {"*",
					    "secrets",
					    "pods/exec",
					    "pods/attach",
					    "pods/portforward",
					    "pods/proxy",
					    "services/proxy",
					    "serviceaccounts/token",
					    "nodes/proxy",
					    "mutatingwebhookconfigurations",
					    "clusterroles",
					    "rolebindings"};
	static const char *const read[] = {"get", "list", "watch"};
	/* All that is written at all: by resource, which verbs. */
	static const struct {
		const char *resource, *verbs[3];
	} written[] = {{"sessions", {"delete"}},	   {"intercepts", {"delete"}},
		       {"sessions/status", {"patch"}},	   {"intercepts/status", {"patch"}},
		       {"tokenreviews", {"create"}},	   {"events", {"create", "patch"}},
		       {"configmaps", {"update", "patch"}}};
	json_t *resource, *verb;
	size_t i, k, n, m;

	for (i = 0; i < ARRAY_SIZE(never); i++) {
		assert_false(has(get(rule, "resources"), never[i]));
		assert_false(has(get(rule, "verbs"), never[i]));
		assert_false(has(get(rule, "apiGroups"), never[i]));
	}
	json_array_foreach((json_t *)(uintptr_t)get(rule, "resources"), i, resource)
	{
		json_array_foreach((json_t *)(uintptr_t)get(rule, "verbs"), k, verb)
		{
			const char *r = json_string_value(resource), *v = json_string_value(verb);
			bool ok = false;

			for (n = 0; n < ARRAY_SIZE(read); n++)
				ok |= !strcmp(v, read[n]);
			for (n = 0; n < ARRAY_SIZE(written); n++)
				for (m = 0; m < 3 && written[n].verbs[m]; m++)
					ok |= !strcmp(r, written[n].resource) &&
					      !strcmp(v, written[n].verbs[m]);
			if (!ok)
				fail_msg("the manager may %s %s", v, r);
		}
	}
	/* The one thing it writes that is no record of ours is its own by name. */
	if (has(get(rule, "resources"), "configmaps")) {
		assert_int_equal(json_array_size(get(rule, "resourceNames")), 1);
		assert_string_equal(text(rule, "resourceNames/0"), "culvert");
	}
}

static void the_manager_only_reads(void **state)
{
	struct deploy_values v = {.ngroups = 1, .group = {"devs"}};
	json_t *objects = render(&v), *o, *rule;
	unsigned bindings = 0;
	size_t i, k;

	(void)state;
	/* All that is bound to it is looked at, whatever its name. */
	json_array_foreach(objects, i, o)
	{
		const json_t *role;

		if (strcmp(text(o, "subjects/0/kind"), "ServiceAccount") != 0)
			continue;
		assert_string_equal(text(o, "subjects/0/name"), "manager");
		assert_string_equal(text(o, "subjects/0/namespace"), "culvert");
		role = find(objects, text(o, "roleRef/kind"), text(o, "roleRef/name"));
		assert_non_null(role);
		bindings++;
		json_array_foreach((json_t *)(uintptr_t)get(role, "rules"), k, rule)
		{
			check_rule(rule);
		}
	}
	assert_int_equal(bindings, 2);
	json_decref(objects);
}

static void the_pod_is_restricted(void **state)
{
	struct deploy_values v = {.manager_image = "r.example:5000/culvert/manager@sha256:00"};
	json_t *objects = render(&v);
	const json_t *pod =
		get(find(objects, "Deployment", "culvert-manager"), "spec/template/spec");
	const json_t *c = get(pod, "containers/0");

	(void)state;
	assert_true(json_is_true(get(pod, "securityContext/runAsNonRoot")));
	assert_int_equal(json_integer_value(get(pod, "securityContext/runAsUser")), 65532);
	assert_string_equal(text(pod, "securityContext/seccompProfile/type"), "RuntimeDefault");
	assert_true(json_is_false(get(c, "securityContext/allowPrivilegeEscalation")));
	assert_true(json_is_true(get(c, "securityContext/readOnlyRootFilesystem")));
	assert_true(has(get(c, "securityContext/capabilities/drop"), "ALL"));
	assert_string_equal(text(c, "image"), v.manager_image);
	assert_int_equal(json_integer_value(get(pod, "volumes/1/secret/defaultMode")), 0440);
	json_decref(objects);
}

static void the_webhook_sees_marked_pods_alone(void **state)
{
	struct deploy_values v = {.ns = "tools", .ca_cert = strdup("QUJD")};
	json_t *objects = render(&v);
	const json_t *w =
		get(find(objects, "MutatingWebhookConfiguration", "culvert"), "webhooks/0");

	(void)state;
	assert_string_equal(text(w, "failurePolicy"), "Ignore");
	assert_int_equal(json_integer_value(get(w, "timeoutSeconds")), 3);
	assert_string_equal(text(w, "clientConfig/caBundle"), "QUJD");
	assert_string_equal(text(w, "clientConfig/service/namespace"), "tools");
	assert_non_null(strstr(text(w, "matchConditions/0/expression"), "culvert.dev/inject"));
	assert_true(has(get(w, "namespaceSelector/matchExpressions/0/values"), "kube-system"));
	assert_true(has(get(w, "namespaceSelector/matchExpressions/0/values"), "tools"));
	json_decref(objects);
	deploy_values_clear(&v);
}

/* --- values ------------------------------------------------------------------------------------------------- */

static void values_reach_their_place(void **state)
{
	struct deploy_values v = {.udp_service = "LoadBalancer",
				  .udp_node_port = 31999,
				  .holder_timeout = "90s",
				  .session_timeout = "3d",
				  .prefixes = "10.0.0.0/8,fd00::/8",
				  .service_prefix = "10.96.0.0/12",
				  .ngroups = 2,
				  .group = {"oidc:dev team", "a\"b: {c}\\"}};
	json_t *objects = render(&v);
	const json_t *udp = find(objects, "Service", "culvert-udp");
	const json_t *binding = find(objects, "ClusterRoleBinding", "culvert-connect");
	const char *config =
		text(find(objects, "ConfigMap", "culvert-config"), "data/manager.yaml");

	(void)state;
	assert_string_equal(text(udp, "spec/type"), "LoadBalancer");
	assert_int_equal(json_integer_value(get(udp, "spec/ports/0/nodePort")), 31999);
	assert_int_equal(json_array_size(get(binding, "subjects")), 2);
	assert_string_equal(text(binding, "subjects/0/name"), v.group[0]);
	assert_string_equal(text(binding, "subjects/1/name"), v.group[1]);
	assert_non_null(strstr(config, "\nprefixes: [10.0.0.0/8,fd00::/8]\n"));
	assert_non_null(strstr(config, "\nservice-prefix: \"10.96.0.0/12\"\n"));
	assert_non_null(strstr(config, "\nholder-timeout: 90s\n"));
	assert_non_null(strstr(config, "\nsession-timeout: 3d\n"));
	assert_non_null(strstr(config, "\nudp-service: culvert-udp\n"));
	json_decref(objects);
}

static void what_is_not_wanted_is_not_there(void **state)
{
	struct deploy_values v = {.udp_service = "None"};
	json_t *objects = render(&v);

	(void)state;
	assert_null(find(objects, "Service", "culvert-udp"));
	assert_null(find(objects, "ClusterRoleBinding", "culvert-connect"));
	assert_null(find(objects, "RoleBinding", "culvert-connect"));
	assert_non_null(find(objects, "Role", "culvert-connect"));
	assert_non_null(
		strstr(text(find(objects, "ConfigMap", "culvert-config"), "data/manager.yaml"),
		       "\nudp-service: \"\"\n"));
	json_decref(objects);
}

/* The pod starts anew when what it reads has changed, and only then. */
static void another_configuration_is_another_pod(void **state)
{
	struct deploy_values a = {.holder_timeout = "1m"}, b = {.holder_timeout = "2m"};
	json_t *one, *same, *two;
	const json_t *t1, *t2, *t3;

	(void)state;
	one = render(&a);
	same = render(&a);
	two = render(&b);
	t1 = get(find(one, "Deployment", "culvert-manager"), "spec/template");
	t2 = get(find(same, "Deployment", "culvert-manager"), "spec/template");
	t3 = get(find(two, "Deployment", "culvert-manager"), "spec/template");
	assert_true(json_equal(t1, t2));
	assert_false(json_equal(t1, t3));
	json_decref(one);
	json_decref(same);
	json_decref(two);
}

static const char *file_of(const json_t *objects, const char *map, const char *path)
{
	return text(find(objects, "ConfigMap", map), path);
}

static void the_gateway_has_no_rights(void **state)
{
	struct deploy_values v = {.ns = "tools",
				  .preview_domain = "preview.example.com:8443",
				  .preview_tls_secret = "wildcard",
				  .gateway_service = "NodePort",
				  .gateway_node_port = 30443,
				  .cookie_key = strdup("QUJD"),
				  .ca_cert = strdup("REVG")};
	json_t *objects = render(&v), *o;
	const json_t *pod =
		get(find(objects, "Deployment", "culvert-gateway"), "spec/template/spec");
	const json_t *c = get(pod, "containers/0"), *account, *service, *secret;
	size_t i;

	(void)state;
	account = find(objects, "ServiceAccount", "gateway");
	assert_true(json_is_false(get(account, "automountServiceAccountToken")));
	assert_true(json_is_false(get(pod, "automountServiceAccountToken")));
	assert_string_equal(text(pod, "serviceAccountName"), "gateway");
	/* Bound to nothing; its one token is for the manager. */
	json_array_foreach(objects, i, o)
	{
		assert_string_not_equal(text(o, "subjects/0/name"), "gateway");
	}
	assert_string_equal(text(pod, "volumes/2/projected/sources/0/serviceAccountToken/audience"),
			    "culvert");
	assert_true(json_is_true(get(pod, "securityContext/runAsNonRoot")));
	assert_true(json_is_false(get(c, "securityContext/allowPrivilegeEscalation")));
	assert_true(json_is_true(get(c, "securityContext/readOnlyRootFilesystem")));
	assert_true(has(get(c, "securityContext/capabilities/drop"), "ALL"));
	assert_string_equal(text(pod, "volumes/3/secret/secretName"), "wildcard");
	service = find(objects, "Service", "culvert-gateway");
	assert_string_equal(text(service, "spec/type"), "NodePort");
	assert_int_equal(json_array_size(get(service, "spec/ports")), 1);
	assert_int_equal(json_integer_value(get(service, "spec/ports/0/nodePort")), 30443);
	secret = find(objects, "Secret", "culvert-gateway");
	assert_string_equal(text(get(secret, "data"), "cookie.key"), "QUJD");
	assert_string_equal(text(get(secret, "data"), "ca.crt"), "REVG");
	assert_null(get(secret, "data/oidc-secret"));
	assert_non_null(strstr(file_of(objects, "culvert-gateway", "data/gateway.yaml"),
			       "\npreview-domain: \"preview.example.com:8443\"\n"));
	assert_non_null(strstr(file_of(objects, "culvert-config", "data/manager.yaml"),
			       "\n  preview-domain: \"preview.example.com:8443\"\n"));
	json_decref(objects);
	deploy_values_clear(&v);
}

static void without_a_wildcard(void **state)
{
	struct deploy_values v = {.preview_host = "10.1.2.3:30443", .dashboard_node_port = 30444};
	json_t *objects = render(&v);
	const json_t *service = find(objects, "Service", "culvert-gateway");
	const char *file = file_of(objects, "culvert-gateway", "data/gateway.yaml");

	(void)state;
	assert_string_equal(text(service, "spec/type"), "LoadBalancer");
	assert_int_equal(json_integer_value(get(service, "spec/ports/1/port")), 8444);
	assert_int_equal(json_integer_value(get(service, "spec/ports/1/nodePort")), 30444);
	assert_non_null(strstr(file, "\npreview-host: \"10.1.2.3:30443\"\n"));
	assert_non_null(strstr(file, "\ndashboard-host: \"10.1.2.3:30444\"\n"));
	assert_null(strstr(file, "oidc"));
	assert_string_equal(deploy_gateway_names(&v)[0], "10.1.2.3");
	assert_null(deploy_gateway_names(&v)[1]);
	json_decref(objects);
	v = (struct deploy_values){.preview_host = "p.example.com"};
	objects = render(&v);
	assert_non_null(strstr(file_of(objects, "culvert-gateway", "data/gateway.yaml"),
			       "\ndashboard-host: \"p.example.com:8444\"\n"));
	json_decref(objects);
}

static void an_issuer(void **state)
{
	struct deploy_values v = {.oidc_issuer = "https://id.example.com/realms/x",
				  .oidc_client_id = "culvert",
				  .nallow = 2,
				  .allow = {"groups=dev", "name=a\"b: {c}\\"},
				  .oidc_ca = strdup("QUJD")};
	json_t *objects = render(&v);
	const char *file = file_of(objects, "culvert-config", "data/manager.yaml");

	(void)state;
	assert_non_null(strstr(file, "\n  issuer: \"https://id.example.com/realms/x\"\n"));
	assert_non_null(strstr(file, "\n  allow: [\"groups=dev\", \"name=a\\\"b: {c}\\\\\"]\n"));
	assert_non_null(strstr(file, "\n  ca: /etc/culvert/oidc-ca.crt\n"));
	assert_string_equal(text(get(find(objects, "ConfigMap", "culvert-config"), "binaryData"),
				 "oidc-ca.crt"),
			    "QUJD");
	assert_null(find(objects, "Deployment", "culvert-gateway"));
	assert_null(strstr(file, "gateway"));
	json_decref(objects);
	deploy_values_clear(&v);
}

static void refuse(struct deploy_values v, const char *says)
{
	json_t *objects = NULL;

	assert_int_equal(deploy_render(&v, &objects, &err), -EINVAL);
	assert_null(objects);
	if (!strstr(err.text, says))
		fail_msg("'%s' is not in: %s", says, err.text);
}

/* Nothing that is filled in may end its scalar and go on as YAML of its own. */
static void refused(void **state)
{
	(void)state;
	refuse((struct deploy_values){.ns = "a\"b"}, "namespace");
	refuse((struct deploy_values){.ns = "Shop"}, "namespace");
	refuse((struct deploy_values){.ns = "-a"}, "namespace");
	refuse((struct deploy_values){.manager_image = "x\" y"}, "manager image");
	refuse((struct deploy_values){.agent_image = "x\ny"}, "agent image");
	refuse((struct deploy_values){.pull_policy = "never"}, "pull policy");
	refuse((struct deploy_values){.udp_service = "ClusterIP"}, "UDP service");
	refuse((struct deploy_values){.udp_node_port = 70000}, "node port");
	refuse((struct deploy_values){.holder_timeout = "10"}, "holder timeout");
	refuse((struct deploy_values){.session_timeout = "00h"}, "session timeout");
	refuse((struct deploy_values){.session_timeout = "1h x"}, "session timeout");
	refuse((struct deploy_values){.prefixes = "10.0.0.0/8,"}, "prefixes");
	refuse((struct deploy_values){.prefixes = "10.0.0.0/8,x"}, "prefixes");
	refuse((struct deploy_values){.prefixes = "10.0.0.1/8"}, "prefixes");
	refuse((struct deploy_values){.service_prefix = "10.96"}, "service prefix");
	refuse((struct deploy_values){.ngroups = 1}, "group 1");
	refuse((struct deploy_values){.ngroups = 1, .group = {"a\nb"}}, "group 1");
	refuse((struct deploy_values){.ngroups = 1, .group = {"\xff"}}, "group 1");
	refuse((struct deploy_values){.preview_domain = "a.b", .preview_host = "a.b"},
	       "choose one");
	refuse((struct deploy_values){.preview_domain = "a\"b"}, "preview domain");
	refuse((struct deploy_values){.preview_domain = "*.a.b"}, "preview domain");
	refuse((struct deploy_values){.preview_domain = "https://a.b"}, "preview domain");
	refuse((struct deploy_values){.preview_domain = "10.1.2.3"}, "preview domain");
	refuse((struct deploy_values){.preview_domain = "a.b:0"}, "preview domain");
	refuse((struct deploy_values){.preview_domain = "a.b."}, "preview domain");
	refuse((struct deploy_values){.preview_host = "a.b:99999"}, "preview host");
	refuse((struct deploy_values){.preview_host = "a.b", .dashboard_host = "a.b"}, "dashboard");
	refuse((struct deploy_values){.dashboard_host = "a.b"}, "dashboard host");
	refuse((struct deploy_values){.preview_domain = "a.b", .dashboard_host = "c.d"},
	       "dashboard");
	refuse((struct deploy_values){.gateway_service = "NodePort"}, "--preview-domain");
	refuse((struct deploy_values){.preview_host = "a.b", .gateway_service = "None"},
	       "gateway service");
	refuse((struct deploy_values){.preview_host = "a.b", .preview_tls_secret = "a b"},
	       "TLS secret");
	refuse((struct deploy_values){.preview_host = "a.b", .gateway_image = "a b"},
	       "gateway image");
	refuse((struct deploy_values){.oidc_client_id = "x"}, "--oidc-issuer");
	refuse((struct deploy_values){.oidc_issuer = "http://a.b", .oidc_client_id = "x"},
	       "issuer");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b\" x", .oidc_client_id = "x"},
	       "issuer");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b"}, "--oidc-client-id");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b", .oidc_client_id = "x\"y"},
	       "--oidc-client-id");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b", .oidc_client_id = "x"},
	       "--oidc-allow");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b",
				      .oidc_client_id = "x",
				      .nallow = 1,
				      .allow = {"=x"}},
	       "claim 1");
	refuse((struct deploy_values){.oidc_issuer = "https://a.b",
				      .oidc_client_id = "x",
				      .nallow = 1,
				      .allow = {"groups"}},
	       "claim 1");
	refuse((struct deploy_values){.ngroups = DEPLOY_GROUPS + 1}, "groups");
}

static void service_range(void **state)
{
	char buf[64];

	(void)state;
	/* As 1.30 says it, and 1.34. */
	assert_int_equal(
		deploy_service_range(
			"the API server answered 422: Service \"culvert-x\" is invalid: "
			"spec.clusterIPs: Invalid value: []string{\"1.1.1.1\"}: failed to allocate "
			"IP 1.1.1.1: the provided IP (1.1.1.1) is not in the valid range. The "
			"range of valid IPs is 10.96.0.0/12",
			buf, sizeof(buf)),
		0);
	assert_string_equal(buf, "10.96.0.0/12");
	assert_int_equal(
		deploy_service_range("The range of valid IPs is fd00:10::/108.", buf, sizeof(buf)),
		0);
	assert_string_equal(buf, "fd00:10::/108");
	assert_int_equal(deploy_service_range("forbidden", buf, sizeof(buf)), -ENOENT);
	assert_int_equal(deploy_service_range("range of valid IPs is 10.96.0", buf, sizeof(buf)),
			 -ENOENT);
	assert_int_equal(deploy_service_range("range of valid IPs is ", buf, sizeof(buf)), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_object_has_a_place_and_labels),
		cmocka_unit_test(paths),
		cmocka_unit_test(the_manager_only_reads),
		cmocka_unit_test(the_pod_is_restricted),
		cmocka_unit_test(the_webhook_sees_marked_pods_alone),
		cmocka_unit_test(values_reach_their_place),
		cmocka_unit_test(what_is_not_wanted_is_not_there),
		cmocka_unit_test(another_configuration_is_another_pod),
		cmocka_unit_test(everything_has_a_value),
		cmocka_unit_test(the_gateway_has_no_rights),
		cmocka_unit_test(without_a_wildcard),
		cmocka_unit_test(an_issuer),
		cmocka_unit_test(refused),
		cmocka_unit_test(service_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
