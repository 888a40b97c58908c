/* SPDX-License-Identifier: Apache-2.0 */
/* What is found before a workload is changed: Pod Security, NetworkPolicies, who holds a port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/workloads_internal.h"

#define SESSION_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SESSION_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static json_t *parse(const char *text)
{
	json_error_t e;
	json_t *j = json_loads(text, 0, &e);

	if (!j)
		fail_msg("%s: %s", e.text, text);
	return j;
}

static const struct intercept cart = {
	.name = "cart",
	.kind = KIND_DEPLOYMENT,
	.workload = "cart",
	.ns = "shop",
	.service = "cart",
	.nports = 1,
	.port = {{.local = 1, .name = "http", .port = 80, .target = 8080}}};

static struct mark mark(void)
{
	struct mark m = {.kind = KIND_DEPLOYMENT, .workload = "cart", .nports = 2};

	m.port[0] = (struct mark_port){.name = "http", .target = 8080, .how = MARK_RENAME};
	m.port[1] = (struct mark_port){.target = 9090, .how = MARK_REDIRECT};
	return m;
}

static json_t *ns_with(const char *level)
{
	return json_pack("{s:{s:{s:s}}}", "metadata", "labels",
			 "pod-security.kubernetes.io/enforce", level);
}

static void test_pod_security(void **state)
{
	json_t *ns = ns_with("restricted"), *open = ns_with("privileged");
	struct intercept in = cart;
	struct mark m = mark();
	struct error e;

	(void)state;
	assert_int_equal(check_pod_security(&m, &in, NULL, &e), 0);
	assert_int_equal(check_pod_security(&m, &in, open, &e), 0);
	assert_int_equal(m.nports, 2);
	/* What is not wanted does not stand in the way: it is left out. */
	assert_int_equal(check_pod_security(&m, &in, ns, &e), 0);
	assert_int_equal(m.nports, 1);
	assert_int_equal(m.port[0].target, 8080);
	m = mark();
	in.port[0].target = 9090;
	assert_int_not_equal(check_pod_security(&m, &in, ns, &e), 0);
	assert_non_null(strstr(e.text, "Port 9090 of Deployment cart"));
	assert_non_null(strstr(e.text, "'restricted'"));
	json_decref(ns);
	json_decref(open);
}

/* 0, or the sentence in *e, of a policy with this spec. */
static int policy(const char *spec, struct error *e)
{
	static const char head[] = "[{\"metadata\":{\"name\":\"wall\"},\"spec\":";
	const struct workload w = {.kind = KIND_DEPLOYMENT, .name = "cart", .ns = "shop"};
	json_t *object = parse("{\"spec\":{\"template\":{\"metadata\":{\"labels\":"
			       "{\"app\":\"cart\",\"tier\":\"web\"}}}}}");
	const struct mark m = mark();
	char text[2048];
	json_t *list;
	int r;

	snprintf(text, sizeof(text), "%s%s}]", head, spec);
	list = parse(text);
	r = check_policies(&m, &w, object, list, "culvert", e);
	json_decref(list);
	json_decref(object);
	return r;
}

#define FOR_CART "{\"podSelector\":{\"matchLabels\":{\"app\":\"cart\"}},"

static void test_egress(void **state)
{
	static const char *const fine[] = {
		/* of other pods; by each operator */
		"{\"podSelector\":{\"matchLabels\":{\"app\":\"other\"}},\"policyTypes\":["
		"\"Egress\"]}",
		"{\"podSelector\":{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"NotIn\","
		"\"values\":[\"cart\"]}]},\"policyTypes\":[\"Egress\"]}",
		"{\"podSelector\":{\"matchExpressions\":[{\"key\":\"tier\",\"operator\":"
		"\"DoesNotExist\"}]},\"policyTypes\":[\"Egress\"]}",
		/* about ingress alone, where all may come */
		FOR_CART "\"ingress\":[{}]}",
		FOR_CART "\"policyTypes\":[\"Egress\"],\"egress\":[{}]}",
		FOR_CART "\"egress\":[{\"ports\":[{\"protocol\":\"UDP\"}]}],\"ingress\":[{}]}",
		FOR_CART
		"\"policyTypes\":[\"Egress\"],\"egress\":[{\"ports\":[{\"port\":30000,\"endPort\":"
		"32767,\"protocol\":\"UDP\"}],\"to\":[{\"namespaceSelector\":{\"matchLabels\":{"
		"\"kubernetes.io/metadata.name\":\"culvert\"}}}]}]}",
		FOR_CART "\"policyTypes\":[\"Egress\"],\"egress\":[{\"to\":[{\"ipBlock\":{\"cidr\":"
			 "\"10.0.0.0/8\"}}]}]}",
	};
	static const char *const cut[] = {
		FOR_CART "\"policyTypes\":[\"Egress\"]}",
		"{\"podSelector\":{},\"policyTypes\":[\"Egress\",\"Ingress\"],\"ingress\":[{}]}",
		"{\"podSelector\":{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\","
		"\"values\":["
		"\"a\",\"cart\"]},{\"key\":\"tier\",\"operator\":\"Exists\"}]},\"policyTypes\":["
		"\"Egress\"]}",
		FOR_CART
		"\"policyTypes\":[\"Egress\"],\"egress\":[{\"ports\":[{\"port\":31820}]}]}",
		FOR_CART
		"\"policyTypes\":[\"Egress\"],\"egress\":[{\"to\":[{\"podSelector\":{}}]}]}",
		FOR_CART
		"\"policyTypes\":[\"Egress\"],\"egress\":[{\"to\":[{\"namespaceSelector\":{"
		"\"matchLabels\":{\"kubernetes.io/metadata.name\":\"db\"}}}]}]}",
	};
	struct error e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fine); i++) {
		if (policy(fine[i], &e))
			fail_msg("%s: %s", fine[i], e.text);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cut); i++) {
		if (!policy(cut[i], &e))
			fail_msg("allowed: %s", cut[i]);
		assert_non_null(
			strstr(e.text, "NetworkPolicy wall keeps the pods of Deployment cart"));
	}
}

static void test_ingress(void **state)
{
	static const char *const fine[] = {
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":\"http\"}]}]}",
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":8080},{\"port\":\"http\"}]}]}",
		FOR_CART
		"\"ingress\":[{\"ports\":[{\"port\":9090}]}]}", /* redirected: its number stays */
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":8080}]},{}]}",
		FOR_CART "\"ingress\":[]}", /* nobody may come, as before */
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":8080,\"protocol\":\"UDP\"}]}]}",
	};
	static const char *const lost[] = {
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":8080}]}]}",
		FOR_CART "\"ingress\":[{\"ports\":[{\"port\":8000,\"endPort\":9000}]}]}",
		FOR_CART
		"\"ingress\":[{\"from\":[{\"podSelector\":{}}],\"ports\":[{\"port\":8080}]}]}",
	};
	struct error e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fine); i++) {
		if (policy(fine[i], &e))
			fail_msg("%s: %s", fine[i], e.text);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(lost); i++) {
		if (!policy(lost[i], &e))
			fail_msg("allowed: %s", lost[i]);
		assert_non_null(strstr(e.text, "'port: http'"));
	}
}

static json_t *held(const char *session, const char *name, const char *phase)
{
	struct intercept in = cart;
	json_t *o;

	snprintf(in.name, sizeof(in.name), "%s", name);
	o = intercept_to_object(&in, "ben", session, "uid-of-session");
	json_object_set_new(json_object_get(o, "metadata"), "name", json_string("x-1"));
	json_object_set_new(json_object_get(o, "metadata"), "uid", json_string("uid-1"));
	json_object_set_new(json_object_get(o, "metadata"), "resourceVersion", json_string("1"));
	json_object_set_new(json_object_get(o, "metadata"), "creationTimestamp",
			    json_string("2026-11-23T05:00:00Z"));
	json_object_set_new(o, "status", json_pack("{s:s}", "phase", phase));
	return o;
}

static json_t *session_in(const char *phase)
{
	return json_pack("[{s:{s:s},s:{s:s},s:{s:s}}]", "metadata", "name", SESSION_B, "spec",
			 "client", "desk", "status", "phase", phase);
}

/* Who asks with session A finds this one. */
static int holders(const char *session, const char *name, const char *phase, json_t *sessions,
		   struct error *e)
{
	json_t *list = json_pack("[o]", held(session, name, phase));
	int r = check_holders(&cart, SESSION_A, list, sessions, e);

	json_decref(list);
	json_decref(sessions);
	return r;
}

static void test_holders(void **state)
{
	struct error e;

	(void)state;
	assert_int_equal(holders(SESSION_B, "cart", "Active", session_in("Connected"), &e),
			 RPC_CONFLICT);
	assert_non_null(strstr(e.text, "ben@desk"));
	assert_int_equal(holders(SESSION_B, "cart", "Active", NULL, &e), RPC_CONFLICT);
	assert_null(strstr(e.text, "kubectl delete session"));
	/* Left by a daemon of the same user that was killed: how to end it. */
	assert_int_equal(holders(SESSION_B, "cart", "Active",
				 json_pack("[{s:{s:s},s:{s:s}},{s:{s:s},s:{s:s}}]", "metadata",
					   "name", SESSION_A, "spec", "user", "ben", "metadata",
					   "name", SESSION_B, "spec", "user", "ben"),
				 &e),
			 RPC_CONFLICT);
	assert_non_null(strstr(e.text, "kubectl delete session " SESSION_B));
	/* Who holds nothing, and those of whom the manager decides. */
	assert_int_equal(holders(SESSION_B, "cart", "Conflict", session_in("Connected"), &e), 0);
	assert_int_equal(holders(SESSION_B, "cart", "Failed", session_in("Connected"), &e), 0);
	assert_int_equal(holders(SESSION_B, "cart", "Active", session_in("Away"), &e), 0);
	assert_int_equal(holders(SESSION_B, "cart", "Active", json_array(), &e), 0);
	/* Our own of this name is moved, of another name it is in the way. */
	assert_int_equal(holders(SESSION_A, "cart", "Active", json_array(), &e), 0);
	assert_int_equal(holders(SESSION_A, "mine", "Active", json_array(), &e), RPC_CONFLICT);
	assert_non_null(strstr(e.text, "culvert leave mine"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pod_security),
		cmocka_unit_test(test_egress),
		cmocka_unit_test(test_ingress),
		cmocka_unit_test(test_holders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
