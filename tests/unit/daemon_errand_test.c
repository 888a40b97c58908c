/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked while the manager is away for a moment: it is waited for, and asked again. */
#include "tests/unit/daemon_asked.h"

static struct errand *until_waiting(void)
{
	while (!TAILQ_FIRST(&d.errands) || !TAILQ_FIRST(&d.errands)->waiting)
		event_base_loop(d.base, EVLOOP_ONCE);
	assert_null(manager.cb);
	return TAILQ_FIRST(&d.errands);
}

static void comes_back(void)
{
	away = false;
	method_snapshot(&d);
}

/* Dropped by this end the connection tells nobody; what the other end does is told to who waits first. */
static void breaks(bool by_manager)
{
	rpc_cb *cb = manager.cb;

	manager.cb = NULL;
	if (by_manager && cb)
		cb(manager.arg, NULL, RPC_NOT_CONNECTED, "The connection ended.");
	away = true;
	method_link_down(&d);
}

static void answered(json_t *result, int code)
{
	rpc_cb *cb = manager.cb;

	manager.cb = NULL;
	cb(manager.arg, result, code, "as told");
	json_decref(result);
	event_base_dispatch(d.base);
	assert_true(TAILQ_EMPTY(&d.errands));
}

static void is_refused(int code)
{
	event_base_dispatch(d.base);
	assert_int_equal(refused, code);
	assert_null(manager.cb);
	assert_true(TAILQ_EMPTY(&d.errands));
	refused = 0;
}

/* What is typed meanwhile waits, says so, and is asked when the manager is there. */
static void it_is_waited_for(void **unused)
{
	(void)unused;
	away = true;
	call("intercept", intercept_params(), on_answer);
	until_waiting();
	while (!lines)
		event_base_loop(d.base, EVLOOP_ONCE);
	assert_int_equal(lines, 1);
	comes_back();
	assert_string_equal(manager.method, "intercept");
	assert_string_equal(manager.name, "hello");
	assert_string_equal(
		json_string_value(json_object_get(manager.params, "namespace_connected")), "shop");
	grant();
	method_snapshot(&d);
	event_base_dispatch(d.base);
	assert_non_null(json_object_get(answer, "intercept"));
	json_decref(answer);

	away = true;
	call("leave", json_pack("{s:s}", "name", "hello"), on_answer);
	until_waiting();
	away = false; /* and no snapshot comes */
	until_asked();
	assert_string_equal(manager.method, "leave");
	answered(json_object(), 0);
	json_decref(answer);
}

static void it_is_waited_for_on_kubernetes(void **unused)
{
	static const char *const previews[] = {"preview", "preview_remove", "share", "unshare"};

	(void)unused;
	kubernetes = away = true;
	asked[0] = '\0';
	call("intercept", json_object(), on_answer);
	until_waiting();
	assert_string_equal(asked, "");
	away = false;
	while (!TAILQ_EMPTY(&d.errands))
		event_base_loop(d.base, EVLOOP_ONCE);
	assert_string_equal(asked, "intercept");
	event_base_dispatch(d.base);
	json_decref(answer);
	for (unsigned i = 0; i < ARRAY_SIZE(previews); i++) {
		away = true;
		call(previews[i], json_pack("{s:s}", "uid", "u-1"), on_answer);
		until_waiting();
		comes_back();
		assert_string_equal(manager.method, previews[i]);
		answered(json_object(), 0);
		json_decref(answer);
	}
}

/* It does not come; waiting is of no use; nobody wants to know any more. */
static void it_is_not_waited_for_ever(void **unused)
{
	(void)unused;
	kubernetes = away = true;
	refused = 0;
	call("intercept", json_object(), on_refused);
	until_waiting()->until = 0;
	is_refused(RPC_NOT_CONNECTED);
	call("dashboard", json_object(), on_refused);
	until_waiting();
	api_away = true;
	is_refused(RPC_NOT_CONNECTED);
	assert_int_equal(lines, 0);
	call("dashboard", json_object(), on_refused);
	is_refused(RPC_NOT_CONNECTED);
	api_away = false;
	call("dashboard", json_object(), on_refused);
	until_waiting();
	state = SESSION_CLOSING;
	method_link_down(&d);
	is_refused(RPC_NOT_CONNECTED);
	state = SESSION_CONNECTED;
	kubernetes = false;
	call("list", json_object(), on_refused); /* what it is now is asked */
	is_refused(RPC_NOT_CONNECTED);
	call("intercept", intercept_params(), on_refused);
	until_waiting();
	hang_up();
	assert_true(TAILQ_EMPTY(&d.errands));
	comes_back();
	assert_null(manager.cb);
}

/* The verdict of the manager on a login is waited for where it is wanted. Without the manager what is known here is the answer. */
static void a_login_without_the_manager(void **unused)
{
	(void)unused;
	kubernetes = away = true;
	call("login", json_object(), on_answer);
	event_base_dispatch(d.base);
	assert_non_null(json_object_get(answer, "logged_in"));
	json_decref(answer);
	for (unsigned i = 0; i < 2; i++) {
		struct errand *er;

		away = true;
		call("login", json_pack("{s:b}", "verdict", 1), on_answer);
		er = until_waiting();
		if (i)
			er->until = 0;
		else
			away = false;
		event_base_dispatch(d.base);
		assert_non_null(json_object_get(answer, "logged_in"));
		json_decref(answer);
		assert_true(TAILQ_EMPTY(&d.errands));
	}
}

/* The connection breaks while it is under way: on the next one it is asked again, if asking twice is as asking once. */
static void a_question_whose_answer_is_lost(void **unused)
{
	(void)unused;
	kubernetes = true;
	for (unsigned i = 0; i < 2; i++) {
		call("dashboard", json_object(), on_answer);
		until_asked();
		breaks(i);
		until_waiting();
		comes_back();
		assert_string_equal(manager.method, "dashboard");
		answered(json_object(), 0);
		json_decref(answer);

		for (unsigned j = 0; j < 2; j++) {
			call(j ? "preview" : "share", json_pack("{s:s}", "uid", "u-1"), on_refused);
			until_asked();
			breaks(i);
			is_refused(RPC_NOT_CONNECTED);
			away = false;
		}
	}

	silent = true;
	call("ingress", json_pack("{s:s}", "workload", "hello"), on_answer);
	while (!requests)
		event_base_loop(d.base, EVLOOP_ONCE);
	breaks(false);
	assert_null(requests);
	until_waiting();
	silent = false;
	comes_back();
	until_asked();
	assert_string_equal(manager.method, "ingress");
	answered(json_object(), 0);
	json_decref(answer);
}

/* As long as it takes to find out that the connection is of no use any more. */
static void a_question_that_is_not_answered_in_time(void **unused)
{
	(void)unused;
	kubernetes = true;
	for (unsigned i = 0; i < 2; i++) {
		struct errand *er;
		rpc_cb *cb;

		call("dashboard", json_object(), i ? on_refused : on_answer);
		until_asked();
		cb = manager.cb;
		manager.cb = NULL;
		er = manager.arg;
		if (i)
			er->until = 0;
		cb(er, NULL, RPC_TIMEOUT, "no answer");
		if (i) {
			is_refused(RPC_TIMEOUT);
			continue;
		}
		assert_int_equal(lines, 1);
		until_asked();
		answered(json_object(), 0);
		json_decref(answer);
	}
}

/* The first question to leave it was heard; of what was never there nobody says that it was left. */
static void left_by_the_question_whose_answer_is_lost(void **unused)
{
	(void)unused;
	snapshot = json_pack("[{s:{s:s},s:s}]", "intercept", "name", "hello", "state", "ACTIVE");
	call("leave", json_pack("{s:s}", "name", "hello"), on_answer);
	until_asked();
	breaks(false);
	until_waiting();
	json_array_clear(snapshot);
	comes_back();
	answered(NULL, RPC_NOT_FOUND);
	json_decref(answer);
	assert_int_equal(manager.left, 1);

	call("leave", json_pack("{s:s}", "name", "hello"), on_refused);
	until_asked();
	breaks(false);
	until_waiting();
	comes_back();
	answered(NULL, RPC_NOT_FOUND);
	assert_int_equal(refused, RPC_NOT_FOUND);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(it_is_waited_for),
		CASE(it_is_waited_for_on_kubernetes),
		CASE(it_is_not_waited_for_ever),
		CASE(a_login_without_the_manager),
		CASE(a_question_whose_answer_is_lost),
		CASE(a_question_that_is_not_answered_in_time),
		CASE(left_by_the_question_whose_answer_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
