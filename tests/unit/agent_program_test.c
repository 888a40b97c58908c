/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a program on the static platform: configured by a file, admitted by an invite. */
#include "tests/unit/agent_world.h"

static char config[128];

static const char config_text[] =
	"invite: %s/invite\n"
	"state: %s/state\n"
	"workload: hello\n"
	"ports:\n"
	"  - {listen: '127.0.0.1:%u', application: '127.0.0.1:%u', target: 8080}\n"
	"environment: {GREETING: hi, PORT: '80'}\n"
	"environment-file: %s/env\n";

/* --- setup ---------------------------------------------------------------------------------------------------- */

static void start_agent(void)
{
	unlink(member_path("log"));
	agent = member_serve(config);
	assert_true(member_logged(me.base ? &me : NULL, "stands for port 8080", 10000));
}

static int setup(void **unused)
{
	char text[1024];

	if (world_setup(unused))
		return -1;
	laptop = LAPTOP_REFUSES;
	write_invite();
	snprintf(text, sizeof(text), config_text, member_dir, member_dir, base_port + 1,
		 base_port + 2, member_dir);
	member_write("a.yaml", text);
	member_write("env",
		     "# comment\nFROM_FILE=1\nPORT=ignored: the configuration wins\nno variable\n");
	snprintf(config, sizeof(config), "%s/a.yaml", member_dir);
	return 0;
}

static void push_rules(const char *on_down, int hold_s, bool online)
{
	assert_non_null(me.rpc);
	rpc_notify(me.rpc, "rules", rules_json(on_down, hold_s, online));
	member_run(&me, 100);
}

static void push_no_rules(void)
{
	rpc_notify(me.rpc, "rules", json_pack("{s:i, s:[]}", "epoch", 2, "rules"));
	member_run(&me, 100);
}

/* What the manager is told of rules that it sent. */
static json_t *confirmation;
static unsigned confirmed;

static void on_confirmed(void *arg, json_t *result, int code, const char *sentence)
{
	(void)arg;
	(void)sentence;
	assert_int_equal(code, 0);
	json_decref(confirmation);
	confirmation = json_incref(result);
	confirmed++;
}

static void connected(void)
{
	start_manager();
	start_agent();
	assert_true(member_until(&me, &hellos, 1, 4000));
	member_run(&me, 50);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_passes_through_with_no_manager(void **unused)
{
	(void)unused;
	start_agent();
	assert_string_equal(who_serves(), "pod");
	member_end(&agent, SIGTERM);
	unlink(member_path("invite"));
	start_agent();
	assert_string_equal(who_serves(), "pod");
	assert_true(member_logged(NULL, "passing traffic through, trying again", 1000));
	member_end(&agent, SIGTERM);
	member_write("invite", "culvert-invite-1.trunc");
	start_agent();
	assert_string_equal(who_serves(), "pod");
}

static void call_rules(const char *pattern)
{
	char address[ADDR_STRLEN];
	unsigned want = confirmed + 1;

	ipaddr_format(&me.address, address);
	assert_int_equal(
		rpc_call(me.rpc, "rules",
			 json_pack("{s:i, s:[{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:b, s:s, s:s, "
				   "s:{s:s, s:[{s:s, s:s}], s:s}}]}",
				   "epoch", 1, "rules", "intercept", "hello", "owner", "ana",
				   "target", 8080, "address", address, "port", 20000, "on_down",
				   "pod", "hold_s", 0, "online", true, "mechanism", "http", "id",
				   "00112233445566778899aabbccddeeff", "match", "mode", "headers",
				   "conditions", "name", "x-user", "pattern", pattern, "path", ""),
			 5 * NSEC_PER_SEC, on_confirmed, NULL),
		0);
	assert_true(member_until(&me, &confirmed, want, 5000));
}

/* A snapshot is confirmed though nobody serves one of its rules: the answer names it, and so do the figures. */
static void test_rules_that_are_left_out(void **unused)
{
	const char *why;

	(void)unused;
	connected();
	call_rules("ana");
	assert_int_equal(json_object_size(confirmation), 0);
	call_rules("ana(");
	why = json_string_value(
		json_object_get(json_object_get(confirmation, "left_out"), "ana/hello"));
	assert_non_null(why);
	assert_non_null(strstr(why, "is wrong at column 5"));
	json_decref(confirmation);
	confirmation = NULL;
}

/* In the kernel's table: does the agent's end of a client's connection run the keepalive timer? */
static bool asks_whether_the_client_lives(void)
{
	FILE *table = fopen("/proc/self/net/tcp", "r");
	unsigned port, state, timer;
	bool asks = false;
	char line[256];

	assert_non_null(table);
	while (fgets(line, sizeof(line), table)) {
		if (sscanf(line, " %*d: %*x:%x %*x:%*x %x %*x:%*x %x:", &port, &state, &timer) ==
			    3 &&
		    port == base_port + 1u && state == TCP_ESTABLISHED)
			asks = timer == 2;
	}
	fclose(table);
	return asks;
}

/* The application would, but what it sees is the agent, which always answers. */
static void test_clients_that_vanish_are_noticed(void **unused)
{
	int fd;

	(void)unused;
	start_agent();
	fd = client();
	assert_true(asks_whether_the_client_lives());
	close(fd);
}

static void test_hello_tells_what_it_is(void **unused)
{
	json_t *env;

	(void)unused;
	connected();
	assert_string_equal(json_string_value(json_object_get(me.note, "role")), "agent");
	assert_string_equal(json_string_value(json_object_get(me.note, "kind")), "deployment");
	assert_string_equal(json_string_value(json_object_get(me.note, "workload")), "hello");
	assert_string_equal(json_string_value(json_object_get(me.note, "namespace")), "default");
	assert_int_equal(json_integer_value(json_array_get(json_object_get(me.note, "ports"), 0)),
			 8080);
	env = json_object_get(me.note, "environment");
	assert_int_equal(json_object_size(env), 3);
	assert_string_equal(json_string_value(json_object_get(env, "GREETING")), "hi");
	assert_string_equal(json_string_value(json_object_get(env, "FROM_FILE")), "1");
	assert_string_equal(json_string_value(json_object_get(env, "PORT")), "80");
	assert_string_equal(who_serves(), "pod");
}

/* 400 KB of control characters are 2.4 MB of JSON: no message. The agent says hello without them. */
static void test_environment_too_large_for_a_message(void **unused)
{
	static char text[400000];

	(void)unused;
	memset(text, '\x01', sizeof(text) - 1);
	memcpy(text, "BIG=", 4);
	member_write("env", text);
	connected();
	assert_int_equal(json_object_size(json_object_get(me.note, "environment")), 0);
	assert_true(member_logged(&me, "more than a message holds", 1000));
}

static void test_hang_up_changes_nothing(void **unused)
{
	(void)unused;
	connected();
	kill(agent, SIGHUP);
	member_run(&me, 100);
	assert_string_equal(who_serves(), "pod");
}

static void test_rule_sends_to_the_laptop(void **unused)
{
	json_t *totals;

	(void)unused;
	connected();
	laptop = LAPTOP_SERVES;
	push_rules("pod", 0, true);
	assert_string_equal(who_serves(), "laptop");
	assert_string_equal(who_serves(), "laptop");
	me.notes = 0;
	assert_true(member_until(&me, &me.notes, 1, 3000));
	assert_string_equal(me.note_method, "traffic");
	totals = json_object_get(me.note, "connections");
	assert_int_equal(json_integer_value(json_object_get(totals, "ana/hello")), 2);
	push_no_rules();
	assert_string_equal(who_serves(), "pod");
}

static void test_pod_takes_over(void **unused)
{
	nsec_t start;

	(void)unused;
	connected();
	push_rules("pod", 0, true);
	assert_string_equal(who_serves(), "pod"); /* nothing listens on the laptop */
	assert_int_equal(syns, 1);
	laptop = LAPTOP_SILENT;
	assert_string_equal(who_serves(), "pod");
	start = clock_boot();
	assert_string_equal(who_serves(), "pod"); /* suspect now: no wait */
	assert_true(clock_boot() - start < 500 * NSEC_PER_MSEC);
	laptop = LAPTOP_SERVES;
	member_run(&me, 2100);
	assert_string_equal(who_serves(), "laptop");
	syns = 0;
	push_rules("pod", 0, false);
	assert_string_equal(who_serves(), "pod");
	assert_int_equal(syns, 0); /* away: not even asked */
}

static void test_rule_that_ends_takes_its_connections_along(void **unused)
{
	nsec_t start;
	int fd;

	(void)unused;
	connected();
	laptop = LAPTOP_SERVES;
	push_rules("pod", 0, true);
	fd = client();
	assert_string_equal(client_reads(fd, 2000), "laptop");
	push_rules("fail", 0, true); /* the same intake: goes on */
	assert_string_equal(client_reads(fd, 200), "nothing");
	push_no_rules();
	assert_string_equal(client_reads(fd, 1000), "reset");
	close(fd);
	/* One that still waits for the laptop's answer does not wait for the time-out. */
	laptop = LAPTOP_SILENT;
	push_rules("pod", 0, true);
	fd = client();
	start = clock_boot();
	assert_string_equal(client_reads(fd, 200), "nothing");
	push_no_rules();
	assert_string_equal(client_reads(fd, 1000), "pod");
	assert_true(clock_boot() - start < 1400 * NSEC_PER_MSEC); /* of 1500 */
	close(fd);
}

static void test_same_rules_again_are_no_news(void **unused)
{
	(void)unused;
	connected();
	push_rules("pod", 0, true);
	assert_true(member_logged(&me, "rules: 1 in force", 1000));
	assert_int_equal(truncate(member_path("log"), 0), 0);
	push_rules("pod", 0, true);
	assert_false(member_logged(&me, "in force", 300));
	push_rules("pod", 0, false);
	assert_true(member_logged(&me, "rules: 1 in force", 1000));
}

static void test_fail_resets(void **unused)
{
	(void)unused;
	connected();
	push_rules("fail", 0, true);
	assert_string_equal(who_serves(), "reset");
	push_rules("fail", 0, false);
	assert_string_equal(who_serves(), "reset");
}

static void test_hold_waits_for_the_laptop(void **unused)
{
	(void)unused;
	connected();
	push_rules("hold", 30, true);
	assert_string_equal(who_serves_in(700), "nothing");
	laptop = LAPTOP_SERVES;
	assert_string_equal(who_serves(), "laptop");
	laptop = LAPTOP_REFUSES;
	push_rules("hold", 1, true);
	assert_string_equal(who_serves(), "reset");
}

static void test_keeps_rules_over_its_own_and_the_managers_end(void **unused)
{
	(void)unused;
	connected();
	laptop = LAPTOP_SERVES;
	push_rules("fail", 0, true);
	assert_true(member_logged(&me, "rules: 1 in force", 1000));
	member_end(&agent, SIGKILL);
	stop_manager();
	start_agent();
	/* No manager at all: the rule still holds, so its policy does. */
	assert_string_equal(who_serves(), "reset");
	start_manager();
	hellos = 0;
	assert_true(member_until(&me, &hellos, 1, 6000));
	assert_string_equal(who_serves(), "laptop");
}

static void test_refusal_is_logged_once_and_traffic_passes(void **unused)
{
	(void)unused;
	refuse_with = "This invite has expired.";
	connected();
	assert_true(member_logged(&me, "refuses this agent: This invite has expired.", 1000));
	assert_string_equal(who_serves(), "pod");
	member_run(&me, 1500);
	assert_int_equal(hellos, 1);
}

static void test_rules_that_make_no_sense_change_nothing(void **unused)
{
	(void)unused;
	connected();
	laptop = LAPTOP_SERVES;
	push_rules("pod", 0, true);
	rpc_notify(me.rpc, "rules",
		   json_pack("{s:i, s:[{s:s}]}", "epoch", 2, "rules", "intercept", "x"));
	member_run(&me, 100);
	assert_string_equal(who_serves(), "laptop");
	assert_true(member_logged(&me, "not understood", 500));
}

static void test_bad_configuration_names_the_place(void **unused)
{
	int status;

	(void)unused;
	member_write("a.yaml", "invite: a\nstate: b\nworkload: hello\nports:\n  - {listen: "
			       "'1.2.3.4:80', aplication: x}\n");
	agent = member_serve(config);
	assert_int_equal(waitpid(agent, &status, 0), agent);
	agent = 0;
	assert_int_equal(WEXITSTATUS(status), 2);
	assert_true(member_logged(
		NULL, "a.yaml:5:28: unknown key 'aplication'; did you mean 'application'?", 0));
}

#define PROGRAM(t) cmocka_unit_test_setup_teardown(t, setup, world_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_passes_through_with_no_manager),
		PROGRAM(test_rules_that_are_left_out),
		PROGRAM(test_clients_that_vanish_are_noticed),
		PROGRAM(test_hello_tells_what_it_is),
		PROGRAM(test_environment_too_large_for_a_message),
		PROGRAM(test_hang_up_changes_nothing),
		PROGRAM(test_rule_sends_to_the_laptop),
		PROGRAM(test_pod_takes_over),
		PROGRAM(test_rule_that_ends_takes_its_connections_along),
		PROGRAM(test_same_rules_again_are_no_news),
		PROGRAM(test_fail_resets),
		PROGRAM(test_hold_waits_for_the_laptop),
		PROGRAM(test_keeps_rules_over_its_own_and_the_managers_end),
		PROGRAM(test_refusal_is_logged_once_and_traffic_passes),
		PROGRAM(test_rules_that_make_no_sense_change_nothing),
		PROGRAM(test_bad_configuration_names_the_place),
	};

	if (argc > 1)
		return agent_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, alone, NULL);
}
