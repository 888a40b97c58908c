/* SPDX-License-Identifier: Apache-2.0 */
/* The manager and peers that mean ill: what they may ask, and how much of it. */
enum { FIRST_PORT = 42500 };

#include "tests/unit/manager_program.h"

static unsigned answered, refused;

static void count_answer(void *arg, json_t *result, int code, const char *sentence)
{
	(void)arg;
	(void)sentence;
	answered++;
	refused += !result && code == RPC_FAILED;
}

/* 200 at once and 50 a second, of which hello is 20. */
static void test_calls_per_second_are_bounded(void **unused)
{
	nsec_t from;
	uint64_t served;

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	answered = refused = 0;
	from = clock_boot();
	for (unsigned i = 0; i < RPC_PENDING_MAX; i++)
		assert_int_equal(rpc_call(me.rpc, "workloads", NULL, 0, count_answer, NULL), 0);
	assert_true(member_until(&me, &answered, RPC_PENDING_MAX, 4000));
	served = RPC_PENDING_MAX - refused;
	assert_in_range(served, 200 - 20 - 4, 201 + (clock_boot() - from) * 50 / NSEC_PER_SEC);
	member_run(&me, 200);
	assert_int_equal(member_ask(&me, "ping", NULL), 0);
}

static void never_established(void *arg, struct overlay_peer *p, bool fresh)
{
	(void)arg;
	(void)p;
	(void)fresh;
	fail();
}

/* One initiation with the claim of an invite, and not its secret. */
static void knock(const struct invite *inv)
{
	static const struct node_ops ops = {.inner = member_inner,
					    .established = never_established};
	struct node_config nc = {.base = event_base_new()};
	struct overlay_peer *p = NULL;
	struct node *node = NULL;
	union sockaddr_any at;
	struct path path;

	identity_generate(&nc.identity);
	sockaddr_parse(&nc.bind, "127.0.0.1:0");
	assert_int_equal(node_new(&node, &nc, &ops, NULL, NULL), 0);
	assert_int_equal(
		overlay_peer_add(node_overlay(node), &p, inv->manager, inv->psk, &inv->claim, NULL),
		0);
	sockaddr_parse(&at, inv->endpoint[0]);
	path = node_udp_path(node, &at);
	overlay_peer_set_path(p, &path);
	overlay_peer_initiate(node_overlay(node), p, true, clock_boot());
	event_base_loop(nc.base, EVLOOP_NONBLOCK);
	node_free(node);
	event_base_free(nc.base);
}

static void test_flood_of_false_invites_keeps_nobody_out(void **unused)
{
	struct invite inv;

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	inv = read_invite("ana");
	inv.psk[0] ^= 1;
	for (int i = 0; i < 300; i++)
		knock(&inv);
	join("ana", NULL); /* at once: within 4 s */
	assert_int_equal(hello_laptop(), 0);
}

static void test_avoid_is_bounded(void **unused)
{
	json_t *avoid = json_array();
	char text[32];

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	for (int i = 0; i < 65; i++) {
		snprintf(text, sizeof(text), "198.18.0.%d", i);
		json_array_append_new(avoid, json_string(text));
	}
	assert_int_equal(member_ask(&me, "hello",
				    json_pack("{s:s, s:s, s:O}", "version", CULVERT_VERSION, "role",
					      "laptop", "avoid", avoid)),
			 RPC_BAD_PARAMS);
	json_array_remove(avoid, 64);
	assert_int_equal(member_ask(&me, "hello",
				    json_pack("{s:s, s:s, s:o}", "version", CULVERT_VERSION, "role",
					      "laptop", "avoid", avoid)),
			 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.64");
}

/* A laptop puts it into a process's environment. */
static void test_environment_is_text(void **unused)
{
	(void)unused;
	assert_int_equal(make_invite("agent", "hello-1", "1h"), 0);
	join("hello-1", NULL);
	assert_int_equal(member_ask(&me, "hello",
				    json_pack("{s:s, s:s, s:s, s:s, s:s, s:[], s:{s:[i]}}",
					      "version", CULVERT_VERSION, "role", "agent", "kind",
					      "deployment", "workload", "hello", "namespace",
					      "default", "ports", "environment", "K", 1)),
			 RPC_BAD_PARAMS);
	assert_int_equal(hello_agent("hello"), 0);
}

#define PROGRAM(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_calls_per_second_are_bounded),
		PROGRAM(test_flood_of_false_invites_keeps_nobody_out),
		PROGRAM(test_avoid_is_bounded),
		PROGRAM(test_environment_is_text),
	};

	if (argc > 1)
		return manager_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
