/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: pods before and after, in tests/unit/data/inject/: NAME.json is {"pod", "config", "patched"} or, left alone, {"pod", "config",
 * "says"}. Run with UPDATE=1 it writes what it got into "patched", to be looked at.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/base64.h"
#include "inject/inject.h"

static struct error err;

static const struct inject_config plain = {
	.image = "registry.example.org/culvert-agent:1",
	.pull_policy = "IfNotPresent",
	.manager_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	.nendpoints = 2,
	.endpoint = {"10.96.5.6:31820", "[fd00::5]:31820"},
	.cpu_request = "10m",
	.memory_request = "16Mi",
	.memory_limit = "64Mi",
	.sidecar = true,
};

/* --- RFC 6902, as much of it as is needed ------------------------------------------------------------------ */

static json_t *step_into(json_t *at, const char *key)
{
	json_t *next = json_is_array(at) ? json_array_get(at, (size_t)atoi(key))
					 : json_object_get(at, key);

	if (!next)
		fail_msg("the patch goes to '%s', which is not there", key);
	return next;
}

static void apply(json_t *pod, const json_t *op)
{
	char path[256], *save = NULL, *key, *next;
	bool replace = !strcmp(object_text(op, "op", NULL), "replace");
	json_t *value = json_object_get(op, "value"), *at = pod;

	assert_non_null(value);
	assert_true(replace || !strcmp(object_text(op, "op", NULL), "add"));
	assert_int_equal(object_text(op, "path", NULL)[0], '/');
	snprintf(path, sizeof(path), "%s", object_text(op, "path", NULL) + 1);
	key = strtok_r(path, "/", &save);
	while ((next = strtok_r(NULL, "/", &save))) {
		at = step_into(at, key);
		key = next;
	}
	if (json_is_array(at) && !replace) {
		assert_string_equal(key, "-");
		assert_int_equal(json_array_append(at, value), 0);
		return;
	}
	assert_true(json_is_object(at));
	if (replace)
		step_into(at, key);
	json_object_set(at, key, value);
}

static json_t *patched(const json_t *pod, const json_t *patch)
{
	json_t *p = json_deep_copy(pod);

	for (size_t i = 0; i < json_array_size(patch); i++)
		apply(p, json_array_get(patch, i));
	return p;
}

/* --- the pods ------------------------------------------------------------------------------------------------- */

static void look(void *arg, const char *ns, struct inject_namespace *to)
{
	const json_t *config = arg;

	assert_string_equal(ns, "shop");
	snprintf(to->pod_security, sizeof(to->pod_security), "%s",
		 object_text(config, "podSecurity", NULL));
	to->opted_out = json_is_true(object_get(config, "optedOut", NULL));
}

static void read_config(struct inject_config *cfg, json_t *config)
{
	*cfg = plain;
	if (json_is_true(json_object_get(config, "container")))
		cfg->sidecar = false;
	if (*object_text(config, "cpuLimit", NULL))
		snprintf(cfg->cpu_limit, sizeof(cfg->cpu_limit), "%s",
			 object_text(config, "cpuLimit", NULL));
	cfg->look = look;
	cfg->arg = config;
}

/* The mark stands as JSON in the file, and as text in the annotation. */
static json_t *read_pod(const json_t *file)
{
	json_t *pod = json_deep_copy(json_object_get(file, "pod"));
	json_t *notes = json_object_get(json_object_get(pod, "metadata"), "annotations");
	json_t *mark = json_object_get(notes, MARK_ANNOTATION);
	char *text;

	if (json_is_object(mark)) {
		text = json_dumps(mark, JSON_COMPACT);
		json_object_set_new(notes, MARK_ANNOTATION, json_string(text));
		free(text);
	}
	return pod;
}

static void compare(const char *path, json_t *file, json_t *got)
{
	const json_t *wanted = json_object_get(file, "patched");
	json_t *spec = json_object_get(got, "spec");
	char *text;

	if (getenv("UPDATE")) {
		json_object_set(file, "patched", spec);
		json_dump_file(file, path, JSON_INDENT(1));
	} else if (!json_equal(wanted, spec)) {
		text = json_dumps(spec, JSON_INDENT(1));
		fail_msg("%s: became\n%s", path, text);
	}
}

static void one_pod(const char *name)
{
	char path[512];
	struct inject_config cfg;
	struct error why;
	json_error_t where;
	json_t *file, *pod, *patch, *got, *again;
	const char *says;

	snprintf(path, sizeof(path), "%s/inject/%s.json", TEST_DATA, name);
	file = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
	if (!file)
		fail_msg("%s:%d: %s", path, where.line, where.text);
	read_config(&cfg, json_object_get(file, "config"));
	pod = read_pod(file);
	assert_int_equal(inject_patch(&cfg, pod, "shop", &patch, &why), 0);
	says = object_text(file, "says", NULL);
	if (strcmp(why.text, says) != 0)
		fail_msg("%s: says '%s'", path, why.text);
	if (json_object_get(file, "patched")) {
		if (!json_array_size(patch))
			fail_msg("%s: unchanged", path);
		got = patched(pod, patch);
		compare(path, file, got);
		json_decref(patch);
		/* Whoever comes again, a reinvocation say, finds nothing to do. */
		assert_int_equal(inject_patch(&cfg, got, "shop", &patch, &why), 0);
		assert_string_equal(why.text, "has an agent already");
		again = patched(got, patch);
		assert_true(json_equal(again, got));
		json_decref(again);
		json_decref(got);
	}
	assert_int_equal(json_array_size(patch), 0);
	json_decref(patch);
	json_decref(pod);
	json_decref(file);
}

#define POD(name)                                                                                  \
	static void test_##name(void **unused)                                                     \
	{                                                                                          \
		(void)unused;                                                                      \
		one_pod(#name);                                                                    \
	}
POD(named)
POD(numbered)
POD(container)
POD(guaranteed)
POD(limits)
POD(pod_level)
POD(shared_name)
POD(long_name)
POD(native_sidecar)
POD(some_gone)
POD(both_protocols)
POD(gone)
POD(damaged)
POD(unmarked)
POD(opted_out)
POD(opted_out_namespace)
POD(host_network)
POD(windows)
POD(restricted)
POD(restricted_number)
POD(empty)
POD(windows_node)
POD(taken_volume)
POD(taken_container)
POD(probe_host)
POD(moved_number)

/* --- hostile pods ------------------------------------------------------------------------------------------------ */

static json_t *marked_pod(json_t *containers)
{
	return json_pack("{s:{s:{s:s}}, s:{s:o}}", "metadata", "annotations", MARK_ANNOTATION,
			 "{\"kind\":\"deployment\",\"name\":\"cart\",\"ports\":[{\"name\":\"http\","
			 "\"target\":8080,\"how\":\"rename\"}]}",
			 "spec", "containers", containers);
}

static void test_too_much(void **unused)
{
	json_t *ports = json_array(), *containers = json_array(), *pod, *patch;

	(void)unused;
	for (int i = 0; i < 20000; i++) {
		json_array_append_new(
			ports, json_pack("{s:s, s:i}", "name", "http", "containerPort", 1 + i));
		json_array_append_new(containers, json_pack("{s:s}", "name", "c"));
	}
	pod = marked_pod(json_pack("[{s:s, s:o}]", "name", "app", "ports", ports));
	assert_int_equal(inject_patch(&plain, pod, "shop", &patch, &err), 0);
	assert_int_equal(json_array_size(patch), 0);
	assert_non_null(strstr(err.text, "more than 256 containers or 512 ports"));
	json_decref(patch);
	json_decref(pod);
	pod = marked_pod(containers);
	assert_int_equal(inject_patch(&plain, pod, "shop", &patch, &err), 0);
	assert_int_equal(json_array_size(patch), 0);
	assert_non_null(strstr(err.text, "more than 256 containers or 512 ports"));
	json_decref(patch);
	json_decref(pod);
}

/* As many as are allowed, all of the same name, and the new names taken as well. */
static void test_full(void **unused)
{
	json_t *ports = json_array(), *pod, *patch, *got, *names = json_object();
	char name[32];

	(void)unused;
	for (int i = 0; i < 512; i++) {
		snprintf(name, sizeof(name), "culvert-http-%d", 2 + i / 2);
		name[15] = '\0';
		json_array_append_new(ports, json_pack("{s:s, s:i}", "name", i % 2 ? name : "http",
						       "containerPort", 9900 + i));
	}
	pod = marked_pod(json_pack("[{s:s, s:o}]", "name", "app", "ports", ports));
	assert_int_equal(inject_patch(&plain, pod, "shop", &patch, &err), 0);
	assert_string_equal(err.text, "");
	got = patched(pod, patch);
	ports = json_object_get(
		json_array_get(json_object_get(json_object_get(got, "spec"), "containers"), 0),
		"ports");
	for (size_t i = 0; i < json_array_size(ports); i++) {
		const char *new = object_text(json_array_get(ports, i), "name", NULL);

		assert_true(strlen(new) <= PORT_NAME_MAX);
		assert_string_not_equal(new, "http");
		if (i % 2 == 0 && json_object_get(names, new))
			fail_msg("%s is given out twice", new);
		json_object_set_new(names, new, json_true());
	}
	json_decref(names);
	json_decref(got);
	json_decref(patch);
	json_decref(pod);
}

/* --- reviews -------------------------------------------------------------------------------------------------------- */

static char *review(const char *operation, const char *kind, const char *sub, json_t *pod)
{
	json_t *j =
		json_pack("{s:s, s:s, s:{s:s, s:{s:s}, s:s, s:s, s:s, s:o}}", "apiVersion",
			  "admission.k8s.io/v1", "kind", "AdmissionReview", "request", "uid",
			  "705ab4f5-6393-11e8-b7cc-42010a800002", "kind", "kind", kind, "operation",
			  operation, "subResource", sub, "namespace", "shop", "object", pod);
	char *text = json_dumps(j, 0);

	json_decref(j);
	return text;
}

static json_t *answer_to(char *body, struct error *what)
{
	char *answer = NULL;
	json_t *j;

	if (inject_review(&plain, body, strlen(body), &answer, what))
		fail_msg("%s", what->text);
	j = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	assert_string_equal(object_text(j, "apiVersion", NULL), "admission.k8s.io/v1");
	assert_string_equal(object_text(j, "kind", NULL), "AdmissionReview");
	assert_string_equal(object_text(j, "response", "uid", NULL),
			    "705ab4f5-6393-11e8-b7cc-42010a800002");
	assert_true(json_is_true(object_get(j, "response", "allowed", NULL)));
	free(answer);
	free(body);
	return j;
}

static json_t *cart(const char *port)
{
	json_t *pod = marked_pod(json_pack("[{s:s, s:[{s:s, s:i}]}]", "name", "app", "ports",
					   "name", port, "containerPort", 8080));

	json_object_set_new(json_object_get(pod, "metadata"), "generateName",
			    json_string("cart-5d4f-"));
	return pod;
}

static void test_review(void **unused)
{
	json_t *j = answer_to(review("CREATE", "Pod", "", cart("http")), &err), *patch;
	char *text = NULL;
	size_t len;

	(void)unused;
	assert_string_equal(err.text, "pod shop/cart-5d4f-: agent added for 1 port");
	assert_string_equal(object_text(j, "response", "patchType", NULL), "JSONPatch");
	assert_null(object_get(j, "response", "warnings", NULL));
	assert_int_equal(base64_decode(object_text(j, "response", "patch", NULL), &text, &len), 0);
	patch = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_array_size(patch) > 2);
	json_decref(patch);
	free(text);
	json_decref(j);
}

static void test_review_warns(void **unused)
{
	json_t *j = answer_to(review("CREATE", "Pod", "", cart("web")), &err);

	(void)unused;
	assert_null(object_get(j, "response", "patch", NULL));
	assert_int_equal(json_array_size(object_get(j, "response", "warnings", NULL)), 2);
	assert_string_equal(
		err.text,
		"pod shop/cart-5d4f-: culvert: no container of this pod has a TCP port named http; "
		"it is not intercepted in this pod. culvert: no port of the mark is in this pod; "
		"no "
		"agent was added.");
	json_decref(j);
}

static void unchanged(const char *operation, const char *kind, const char *sub, json_t *pod)
{
	json_t *j = answer_to(review(operation, kind, sub, pod), &err);

	assert_null(object_get(j, "response", "patch", NULL));
	assert_null(object_get(j, "response", "warnings", NULL));
	json_decref(j);
}

static void test_review_of_others(void **unused)
{
	(void)unused;
	unchanged("UPDATE", "Pod", "", cart("http"));
	unchanged("CREATE", "Pod", "ephemeralcontainers", cart("http"));
	unchanged("CREATE", "Deployment", "", cart("http"));
	unchanged("DELETE", "Pod", "", json_null());
	unchanged("CREATE", "Pod", "", json_null());
	unchanged("CREATE", "Pod", "", json_object());
}

static void test_no_review(void **unused)
{
	static const char *const bodies[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"apiVersion\":\"admission.k8s.io/"
		"v1beta1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":\"1\"}}",
		"{\"apiVersion\":\"admission.k8s.io/"
		"v1\",\"kind\":\"Pod\",\"request\":{\"uid\":\"1\"}}",
		"{\"apiVersion\":\"admission.k8s.io/"
		"v1\",\"kind\":\"AdmissionReview\",\"request\":{}}",
		"{\"apiVersion\":\"admission.k8s.io/"
		"v1\",\"kind\":\"AdmissionReview\",\"request\":[]}",
	};
	char *answer = NULL;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		assert_int_equal(inject_review(&plain, bodies[i], strlen(bodies[i]), &answer, &err),
				 -EINVAL);
		assert_null(answer);
		assert_non_null(strstr(err.text, "AdmissionReview"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_numbered),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_guaranteed),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_pod_level),
		cmocka_unit_test(test_shared_name),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_native_sidecar),
		cmocka_unit_test(test_some_gone),
		cmocka_unit_test(test_both_protocols),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_unmarked),
		cmocka_unit_test(test_opted_out),
		cmocka_unit_test(test_opted_out_namespace),
		cmocka_unit_test(test_host_network),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_restricted),
		cmocka_unit_test(test_restricted_number),
		cmocka_unit_test(test_windows_node),
		cmocka_unit_test(test_taken_volume),
		cmocka_unit_test(test_taken_container),
		cmocka_unit_test(test_probe_host),
		cmocka_unit_test(test_moved_number),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_review),
		cmocka_unit_test(test_review_warns),
		cmocka_unit_test(test_review_of_others),
		cmocka_unit_test(test_no_review),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
