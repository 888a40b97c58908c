/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line asks, with a manager that answers when the test says so. */
#include "tests/unit/daemon_asked.h"

/* The client asks for an intercept; the question is at the manager. */
static void ask(void)
{
	call("intercept", intercept_params(), on_answer);
	until_asked();
	assert_string_equal(manager.method, "intercept");
}

static void the_answer_waits_for_the_snapshot(void **unused)
{
	(void)unused;
	ask();
	grant();
	assert_int_equal(manager.granted, 1);
	method_snapshot(&d);
	event_base_dispatch(d.base);
	assert_non_null(json_object_get(answer, "intercept"));
	json_decref(answer);
	hang_up(); /* it has been told: the intercept is the user's */
	assert_int_equal(manager.left, 0);
	assert_true(TAILQ_EMPTY(&d.errands));
}

static void interrupted_before_the_grant(void **unused)
{
	(void)unused;
	ask();
	hang_up();
	grant();
	assert_string_equal(manager.method, "leave");
	assert_string_equal(manager.name, "hello");
	assert_true(TAILQ_EMPTY(&d.errands));
}

static void interrupted_before_the_snapshot(void **unused)
{
	(void)unused;
	ask();
	grant();
	hang_up();
	assert_string_equal(manager.method, "leave");
	assert_string_equal(manager.name, "hello");
	assert_int_equal(manager.left, 1);
	assert_true(TAILQ_EMPTY(&d.errands));
}

/* On Kubernetes the manager is not asked. */
static void objects_in_place_of_the_manager(void **unused)
{
	static const char *const methods[] = {"list", "intercept", "leave"};

	(void)unused;
	kubernetes = true;
	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
		call(methods[i], json_object(), on_answer);
		event_base_dispatch(d.base);
		json_decref(answer);
		assert_string_equal(asked, methods[i]);
	}
	method_snapshot(&d);
	assert_string_equal(asked, "snapshot");
	assert_null(manager.cb);
	kubernetes = false;
}

/* The answer of the manager is the client's. */
static const char *asks(const char *method, json_t *params, const char *key)
{
	json_t *result = json_pack("{s:s}", "url", "https://x/");
	rpc_cb *cb;

	call(method, params, on_answer);
	until_asked();
	assert_string_equal(manager.method, method);
	cb = manager.cb;
	manager.cb = NULL;
	cb(manager.arg, result, 0, NULL);
	json_decref(result);
	event_base_dispatch(d.base);
	assert_string_equal(json_string_value(json_object_get(answer, "url")), "https://x/");
	json_decref(answer);
	return json_string_value(json_object_get(manager.params, key));
}

static void previews_by_name(void **unused)
{
	(void)unused;
	kubernetes = true;
	snapshot = json_pack("[{s:{s:s},s:s}]", "intercept", "name", "hello", "uid", "u-1");
	assert_string_equal(
		asks("share", json_pack("{s:s,s:i}", "name", "hello", "expires_s", 60), "uid"),
		"u-1");
	assert_int_equal(json_integer_value(json_object_get(manager.params, "expires_s")), 60);
	assert_null(json_object_get(manager.params, "name"));
	assert_string_equal(asks("preview", json_pack("{s:s}", "uid", "u-2"), "uid"), "u-2");
	assert_string_equal(asks("ingress", json_pack("{s:s}", "workload", "hello"), "namespace"),
			    "shop");
	assert_string_equal(json_string_value(json_object_get(manager.params, "kind")), "");
	assert_string_equal(asks("ingress",
				 json_pack("{s:s,s:s}", "workload", "hello", "namespace", "b"),
				 "namespace"),
			    "b");
	(void)asks("dashboard", json_object(), "uid");

	call("unshare", json_pack("{s:s}", "name", "other"), on_refused);
	event_base_dispatch(d.base);
	assert_int_equal(refused, RPC_NOT_FOUND);
	assert_null(manager.cb);
	kubernetes = false;
	call("dashboard", json_object(), on_refused);
	event_base_dispatch(d.base);
	assert_int_equal(refused, RPC_FAILED);
	assert_null(manager.cb);
	assert_true(TAILQ_EMPTY(&d.errands));
}

static size_t told(const char *list)
{
	return json_array_size(json_object_get(manager.params, list));
}

static const char *told_name(const char *list)
{
	const json_t *first = json_array_get(json_object_get(manager.params, list), 0);

	return json_string_value(json_object_get(json_object_get(first, "metadata"), "name"));
}

/* What leads to the workload the manager is told: it is read with the user's rights, and what they do not allow is not. */
static void what_leads_there(void **unused)
{
	(void)unused;
	kubernetes = true;
	(void)asks("ingress", json_pack("{s:s}", "workload", "hello"), "kind");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(manager.params, "services"), 0)),
		"web");
	assert_int_equal(told("ingresses"), 1);
	assert_string_equal(told_name("ingresses"), "b.test");
	assert_int_equal(told("routes"), 1);
	assert_int_equal(told("gateways"), 1);
	assert_string_equal(told_name("gateways"), "outer");
	forbidden = "ingresses";
	(void)asks("ingress", json_pack("{s:s}", "workload", "hello"), "kind");
	assert_int_equal(told("ingresses"), 0);
	assert_int_equal(told("routes"), 1);
	forbidden = "gateways";
	(void)asks("ingress", json_pack("{s:s}", "workload", "hello"), "kind");
	assert_int_equal(told("gateways"), 0);
	forbidden = NULL;
	assert_null(requests);
	kubernetes = false;
}

/* The session ends while the API server is asked. */
static void nothing_leads_there_yet(void **unused)
{
	(void)unused;
	kubernetes = silent = true;
	refused = 0;
	call("ingress", json_pack("{s:s}", "workload", "hello"), on_refused);
	while (!requests)
		event_base_loop(d.base, EVLOOP_ONCE);
	state = SESSION_CLOSING;
	method_link_down(&d);
	assert_null(requests);
	event_base_dispatch(d.base);
	assert_int_equal(refused, RPC_NOT_CONNECTED);
	assert_true(TAILQ_EMPTY(&d.errands));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(the_answer_waits_for_the_snapshot),
		CASE(interrupted_before_the_grant),
		CASE(interrupted_before_the_snapshot),
		CASE(objects_in_place_of_the_manager),
		CASE(previews_by_name),
		CASE(what_leads_there),
		CASE(nothing_leads_there_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
