/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a program in a pod: configured by the environment, admitted by its token alone. */
#include "tests/unit/agent_world.h"

static void start_agent(void)
{
	unlink(member_path("log"));
	agent = member_spawn((const char *const[]){"--kubernetes", NULL});
}

static bool agent_serves(void)
{
	return member_logged(me.base ? &me : NULL, "stands for port 8080", 10000);
}

static int setup(void **unused)
{
	if (world_setup(unused))
		return -1;
	set_pod();
	return 0;
}

static void start_manager_for(const char *token)
{
	start_manager();
	me.token = token;
}

static void connected(void)
{
	start_manager_for(POD_TOKEN);
	start_agent();
	assert_true(member_until(&me, &hellos, 1, 5000));
	assert_true(agent_serves());
	member_run(&me, 50);
}

static void rules(bool online)
{
	assert_int_equal(member_ask(&me, "rules", rules_json("pod", 0, online)), 0);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_hello_tells_what_it_is(void **unused)
{
	json_t *env;

	(void)unused;
	connected();
	assert_string_equal(json_string_value(json_object_get(me.note, "role")), "agent");
	assert_string_equal(json_string_value(json_object_get(me.note, "kind")), "deployment");
	assert_string_equal(json_string_value(json_object_get(me.note, "workload")), "hello");
	assert_null(json_object_get(me.note, "namespace"));
	env = json_object_get(me.note, "environment");
	assert_string_equal(json_string_value(json_object_get(env, "DATABASE_URL")),
			    "postgres://db/shop");
	assert_null(json_object_get(env, "CULVERT_AGENT"));
	assert_null(json_object_get(env, "CULVERT_POD_IP"));
	assert_null(json_object_get(env, "PATH"));
	assert_null(json_object_get(env, "HOME"));
	assert_string_equal(who_serves(), "pod");
}

static void test_rules_are_in_force_when_the_call_is_answered(void **unused)
{
	(void)unused;
	connected();
	rules(true);
	assert_string_equal(who_serves(), "laptop");
	assert_int_equal(member_ask(&me, "rules", json_pack("{s:[{}]}", "rules")), RPC_BAD_PARAMS);
	assert_string_equal(who_serves(), "laptop"); /* those of before */
	assert_int_equal(member_ask(&me, "rules", json_pack("{s:[]}", "rules")), 0);
	assert_string_equal(who_serves(), "pod");
	assert_int_equal(member_ask(&me, "nonsense", NULL), RPC_NO_METHOD);
}

static void test_passes_through_whatever_it_is_told(void **unused)
{
	char port[160];

	(void)unused;
	unlink(member_path("token")); /* and no manager */
	start_agent();
	assert_true(agent_serves());
	assert_string_equal(who_serves(), "pod");
	assert_true(member_logged(NULL, "the manager will not know this pod", 1000));
	member_end(&agent, SIGTERM);

	/* Damaged: one port of three makes sense. */
	snprintf(port, sizeof(port),
		 "{\"listen\":0},7,{\"listen\":%u,\"application\":%u,\"target\":8080}",
		 base_port + 1, base_port + 2);
	set_agent(port);
	start_agent();
	assert_true(agent_serves());
	assert_string_equal(who_serves(), "pod");
	assert_true(member_logged(NULL, "CULVERT_AGENT: port 2: needs two port numbers", 0));
	member_end(&agent, SIGTERM);

	snprintf(port, sizeof(port),
		 "{\"ports\":[{\"listen\":%u,\"application\":%u,\"target\":8080}]}", base_port + 1,
		 base_port + 2);
	setenv("CULVERT_AGENT", port, 1);
	start_agent();
	assert_true(agent_serves());
	assert_string_equal(who_serves(), "pod");
	assert_true(member_logged(NULL, "'manager' is no key", 0));
}

/* It says what is wrong before it listens to signals. */
static bool listens_to(int sig)
{
	char path[40], line[256];
	unsigned long long caught = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", agent);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "SigCgt: %llx", &caught);
	if (f)
		fclose(f);
	return caught >> (sig - 1) & 1;
}

/* Nothing can be made of it: it says so and stays, since a sidecar that ends stops its pod. */
static void test_nonsense_is_told_and_stays(void **unused)
{
	int status;

	(void)unused;
	for (const char *const *s = (const char *const[]){"{", "[]", "", NULL}; *s; s++) {
		setenv("CULVERT_AGENT", *s, 1);
		start_agent();
		assert_true(member_logged(NULL, "waiting to be replaced", 3000));
		for (int i = 0; i < 600 && !listens_to(SIGTERM); i++)
			poll(NULL, 0, 5);
		assert_int_equal(waitpid(agent, &status, WNOHANG), 0);
		member_end(&agent, SIGTERM);
	}
	unsetenv("CULVERT_AGENT");
	unsetenv("CULVERT_POD_IP");
	start_agent();
	assert_true(member_logged(NULL, "CULVERT_AGENT: not set", 3000));
}

static void test_wrong_token_is_not_admitted_until_it_is_renewed(void **unused)
{
	(void)unused;
	member_write("token", "eyJhbGciOiJSUzI1NiJ9.expired");
	start_manager_for(POD_TOKEN);
	start_agent();
	assert_true(agent_serves());
	assert_string_equal(who_serves(), "pod");
	assert_false(member_until(&me, &hellos, 1, 1000));
	member_write("token", POD_TOKEN);
	assert_true(member_until(&me, &hellos, 1, 15000));
}

/* The new one has the same key and knows nobody. */
static void test_a_replaced_manager_is_found(void **unused)
{
	json_t *before;

	(void)unused;
	connected();
	before = json_object_get(me.note, "workload");
	assert_non_null(before);
	rules(true);
	stop_manager();
	assert_string_equal(who_serves(), "pod"); /* the laptop does not answer */
	hellos = 0;
	start_manager_for(POD_TOKEN);
	assert_true(member_until(&me, &hellos, 1, 20000));
	member_run(&me, 50);
	assert_string_equal(who_serves(), "laptop"); /* its rules stayed */
}

static void test_asks_from_another_port_while_nobody_answers(void **unused)
{
	(void)unused;
	start_agent();
	assert_true(member_logged(NULL, "asking from another port", 15000));
	start_manager_for(POD_TOKEN);
	assert_true(member_until(&me, &hellos, 1, 15000));
}

/* SIGTERM: nobody new, what the laptop serves may finish, the manager hears of the end. */
static void test_ends_in_order(void **unused)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)(base_port + 1)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd, other, status;

	(void)unused;
	connected();
	rules(true);
	fd = client();
	assert_string_equal(client_reads(fd, 2000), "laptop");
	kill(agent, SIGTERM);
	assert_true(member_logged(&me, "ending on SIGTERM", 2000));
	other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(other, (struct sockaddr *)&sin, sizeof(sin)), -1);
	close(other);
	assert_int_equal(me.closed, 0);
	assert_int_equal(stream_write(served[0], "bye", 3), 3);
	assert_string_equal(client_reads(fd, 2000), "bye");
	served[0]->ops->close(served[0]);
	nserved = 0;
	assert_string_equal(client_reads(fd, 2000), "");
	close(fd);
	assert_true(member_until(&me, &me.closed, 1, 3000));
	assert_int_equal(waitpid(agent, &status, 0), agent);
	agent = 0;
	assert_int_equal(status, 0);
}

#define PROGRAM(t) cmocka_unit_test_setup_teardown(t, setup, world_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_hello_tells_what_it_is),
		PROGRAM(test_rules_are_in_force_when_the_call_is_answered),
		PROGRAM(test_passes_through_whatever_it_is_told),
		PROGRAM(test_nonsense_is_told_and_stays),
		PROGRAM(test_wrong_token_is_not_admitted_until_it_is_renewed),
		PROGRAM(test_a_replaced_manager_is_found),
		PROGRAM(test_asks_from_another_port_while_nobody_answers),
		PROGRAM(test_ends_in_order),
	};

	if (argc > 1)
		return agent_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, alone, NULL);
}
