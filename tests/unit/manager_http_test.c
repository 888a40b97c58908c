/* SPDX-License-Identifier: Apache-2.0 */
/* The manager as a program: intercepts of requests on the static platform, what agents hear of them, and what laptops hear of agents. */
enum { FIRST_PORT = 42700 };

#include "intercept/intercept.h"
#include "tests/unit/manager_program.h"

/* NULL: auto. */
static json_t *by_header(const char *name, const char *header, const char *pattern,
			 const char *path)
{
	json_t *j = request(name, 3000, ""), *list = json_array();

	if (header)
		json_array_append_new(list,
				      json_pack("{s:s, s:s}", "name", header, "pattern", pattern));
	json_object_set_new(j, "mechanism", json_string("http"));
	json_object_set_new(j, "workload", json_string("hello"));
	json_object_set_new(j, "match",
			    json_pack("{s:s, s:o, s:s}", "mode", header ? "headers" : "auto",
				      "conditions", list, "path", path));
	return j;
}

static const json_t *made(void)
{
	return json_object_get(me.result, "intercept");
}

static void test_requests_share_a_port(void **unused)
{
	struct identity ana;
	char id[HTTP_ID_LEN + 1];

	(void)unused;
	identity_generate(&ana);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("laptop", "bob", "1h"), 0);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("a", "x-user", "ana", "")), 0);
	assert_true(http_id_valid(text_of(made(), "id")));
	snprintf(id, sizeof(id), "%s", text_of(made(), "id"));
	assert_int_equal(member_ask(&me, "intercept", by_header("a", "x-user", "ana", "/api")), 0);
	assert_true(json_is_true(json_object_get(me.result, "replaced")));
	assert_string_equal(text_of(made(), "id"), id); /* who sends it goes on to */
	assert_int_equal(member_ask(&me, "intercept", by_header("b", NULL, NULL, "")), 0);
	assert_string_not_equal(text_of(made(), "id"), id);
	assert_int_equal(member_ask(&me, "intercept", by_header("c", "x-user", "(", "")),
			 RPC_BAD_PARAMS);
	says("column 2");
	member_stop(&me);

	join("bob", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("d", "x-user", "ana", "/api/v2")),
			 RPC_CONFLICT);
	says("intercepted by ana, as 'a', for header(\"x-user\") ~= regexp(\"ana\") and "
	     "path-prefix(\"/api\")");
	assert_int_equal(member_ask(&me, "intercept", by_header("d", "x-user", "ana", "/web")), 0);
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "d")), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_CONFLICT);
	says("take some requests only: --http-match");
	member_stop(&me);

	/* A restart forgets none of it. */
	member_end(&manager, SIGTERM);
	manager = member_serve(config);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "workloads", NULL), 0);
	{
		const json_t *w = json_array_get(json_object_get(me.result, "workloads"), 0);
		const json_t *list = json_object_get(w, "intercepts");

		assert_int_equal(json_array_size(list), 2);
		assert_string_equal(text_of(json_array_get(list, 0), "mechanism"), "http");
		assert_string_equal(
			text_of(json_object_get(json_array_get(list, 0), "match"), "path"), "/api");
	}
	assert_int_equal(member_ask(&me, "intercept", by_header("a", "x-user", "ana", "")), 0);
	assert_string_equal(text_of(made(), "id"), id);
}

static int hello_http(bool http)
{
	return member_ask(&me, "hello",
			  json_pack("{s:s, s:s, s:s, s:s, s:s, s:[i], s:b}", "version",
				    CULVERT_VERSION, "role", "agent", "kind", "deployment",
				    "workload", "hello", "namespace", "default", "ports", 8080,
				    "http", http));
}

static const json_t *rules(void)
{
	assert_string_equal(me.note_method, "rules");
	return json_object_get(me.note, "rules");
}

static void test_agents_hear_them_in_order(void **unused)
{
	struct identity ana;
	const json_t *j;

	(void)unused;
	identity_generate(&ana);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("agent", "hello-1", "1h"), 0);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("auto", NULL, NULL, "")), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("path", "x-user", "a", "/api")), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("user", "x-user", "b", "")), 0);
	member_stop(&me);

	join("hello-1", NULL);
	me.notes = 0;
	assert_int_equal(hello_http(false), 0);
	assert_true(member_until(&me, &me.notes, 1, 3000));
	assert_int_equal(json_array_size(rules()), 0); /* it would take the whole port */
	me.notes = 0;
	assert_int_equal(hello_http(true), 0);
	assert_true(member_until(&me, &me.notes, 1, 3000));
	assert_int_equal(json_array_size(rules()), 3);
	j = json_array_get(rules(), 0);
	assert_string_equal(text_of(j, "intercept"), "path"); /* the longer path */
	assert_string_equal(text_of(j, "mechanism"), "http");
	assert_string_equal(text_of(json_object_get(j, "match"), "path"), "/api");
	assert_true(http_id_valid(text_of(j, "id")));
	assert_string_equal(text_of(j, "uid"), "");
	assert_true(json_is_false(json_object_get(j, "preview")));
	assert_true(json_is_false(json_object_get(j, "tag")));
	assert_string_equal(text_of(json_array_get(rules(), 1), "intercept"), "auto");
	assert_string_equal(text_of(json_array_get(rules(), 2), "intercept"), "user");
	assert_false(json_equal(json_object_get(json_array_get(rules(), 1), "port"),
				json_object_get(json_array_get(rules(), 2), "port")));
}

/* --- the other member, in a child: an agent ------------------------------------------------------------------------- */

/* It has met TLS. */
static void tell_traffic(void)
{
	/* What makes no sense is not kept. */
	rpc_notify(me.rpc, "traffic",
		   json_pack("{s:{s:i}, s:{s:{s:i}}, s:{s:{s:i}}}", "requests", "ana/auto", 5,
			     "seen", "8080", "tls", 7, "trouble", "8080", "regex_limits", 2));
	rpc_notify(me.rpc, "traffic",
		   json_pack("{s:{s:i}, s:{s:{s:i}}, s:i}", "requests", "ana/auto", -1, "seen",
			     "8080", "tls", -7, "trouble", 1));
}

/* SIGUSR1 has come. */
static volatile sig_atomic_t mended;

static void on_mended(int signal)
{
	mended = signal;
}

/* On a port that met more before the intercept came. */
static void tell_met(void)
{
	rpc_notify(me.rpc, "traffic",
		   json_pack("{s:{s:{s:i}}, s:{s:{s:i}}, s:{s:{s:{s:i}}}}", "seen", "8080", "tls",
			     7, "trouble", "8080", "bad_heads", 9, "met", "ana/auto", "8080",
			     "slow_heads", 3));
	rpc_notify(me.rpc, "traffic", json_pack("{s:{s:{s:i}}}", "met", "ana/auto", "8080", 1));
}

/* It has said what it leaves out, and then has it all. */
static void tell_left_out(void)
{
	rpc_notify(me.rpc, "traffic",
		   json_pack("{s:{s:s, s:s}}", "left_out", "ana/auto", "it cannot; help it",
			     "ana/other", "no"));
	/* What makes no sense is not kept. */
	rpc_notify(me.rpc, "traffic", json_pack("{s:{s:s}}", "left_out", "ana/auto", "\033[2J"));
	rpc_notify(me.rpc, "traffic", json_pack("{s:{s:i}}", "left_out", "ana/auto", 1));
	while (!mended)
		member_run(&me, 50);
	rpc_notify(me.rpc, "traffic", json_object());
}

static void tell_nothing(void)
{
}

static const struct {
	const char *name;
	bool http;
	void (*tell)(void);
} kinds_of_agent[] = {
	{"--as-agent", true, tell_traffic},
	{"--as-agent-that-met", true, tell_met},
	{"--as-agent-that-leaves-out", true, tell_left_out},
	{"--as-old-agent", false, tell_nothing},
};

static int be_agent(const char *kind, const char *dir)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(kinds_of_agent) - 1 && strcmp(kinds_of_agent[i].name, kind) != 0)
		i++;
	snprintf(member_dir, sizeof(member_dir), "%s", dir);
	signal(SIGUSR1, on_mended);
	join("hello-1", NULL);
	if (hello_http(kinds_of_agent[i].http))
		return 1;
	kinds_of_agent[i].tell();
	for (;;)
		member_run(&me, 50);
}

/* --- what laptops hear of it ------------------------------------------------------------------------------------------ */

static const json_t *told(const char *key)
{
	return json_object_get(json_array_get(json_object_get(me.note, "intercepts"), 0), key);
}

static const char *warning(void)
{
	return json_string_value(json_array_get(told("warnings"), 0));
}

/* We are ana's laptop with the intercept `auto`; that agent comes. Until there are so many warnings. */
static pid_t agent_comes(const char *kind, size_t warnings)
{
	pid_t agent;

	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("agent", "hello-1", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", by_header("auto", NULL, NULL, "")), 0);
	agent = member_spawn((const char *const[]){kind, member_dir, NULL});
	for (int i = 0; i < 200 && json_array_size(told("warnings")) != warnings; i++)
		member_run(&me, 50);
	assert_int_equal(json_array_size(told("warnings")), warnings);
	return agent;
}

static void test_laptops_hear_what_agents_met(void **unused)
{
	pid_t agent = agent_comes("--as-agent", 2);

	(void)unused;
	assert_int_equal(json_integer_value(told("requests")), 5);
	assert_string_equal(
		warning(),
		"7 connections to port 80 began with TLS, where requests cannot be told apart; "
		"they went to the application. Let TLS end before the pod, or use "
		"--mechanism=tcp.");
	member_end(&agent, SIGKILL);
}

static void test_warnings_are_of_the_time_of_the_intercept(void **unused)
{
	pid_t agent = agent_comes("--as-agent-that-met", 1);

	(void)unused;
	assert_string_equal(warning(),
			    "3 connections to port 80 had a request that did not end in time; they "
			    "went to the application.");
	member_end(&agent, SIGKILL);
}

static void test_an_old_agent_takes_no_requests(void **unused)
{
	pid_t agent = agent_comes("--as-old-agent", 1);

	(void)unused;
	assert_string_equal(
		warning(),
		"Of the agents of Deployment hello 1 cannot tell requests apart, being of an "
		"older culvert; update them.");
	assert_string_equal(json_string_value(told("state")), "WAITING");
	assert_int_equal(json_integer_value(told("agents")), 0);
	member_end(&agent, SIGKILL);
}

static void test_an_agent_that_leaves_it_out(void **unused)
{
	pid_t agent = agent_comes("--as-agent-that-leaves-out", 1);

	(void)unused;
	assert_string_equal(
		warning(),
		"Of the agents of Deployment hello 1 does not serve it: it cannot; help it.");
	assert_string_equal(json_string_value(told("state")), "WAITING");
	assert_int_equal(json_integer_value(told("agents")), 0);
	kill(agent, SIGUSR1);
	for (int i = 0; i < 200 && json_array_size(told("warnings")) != 0; i++)
		member_run(&me, 50);
	assert_string_equal(json_string_value(told("state")), "ACTIVE");
	member_end(&agent, SIGKILL);
}

#define PROGRAM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_requests_share_a_port),
		PROGRAM(test_agents_hear_them_in_order),
		PROGRAM(test_laptops_hear_what_agents_met),
		PROGRAM(test_warnings_are_of_the_time_of_the_intercept),
		PROGRAM(test_an_old_agent_takes_no_requests),
		PROGRAM(test_an_agent_that_leaves_it_out),
	};

	if (argc == 3 && !strncmp(argv[1], "--as-", 5))
		return crypto_init() || be_agent(argv[1], argv[2]);
	if (argc > 1)
		return manager_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
