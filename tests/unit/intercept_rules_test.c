/* SPDX-License-Identifier: Apache-2.0 */
/* intercept: the rules of the page, one test each (docs/intercepts.md). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "intercept/intercept.h"

static struct error err;

static struct workload hello = {
	.kind = KIND_DEPLOYMENT,
	.name = "hello",
	.ns = "default",
	.nservices = 1,
	.service = {{.name = "hello",
		     .nports = 1,
		     .port = {{.name = "http", .port = 80, .target = 8080}}}},
};
static struct workload shop_hello = {
	.kind = KIND_DEPLOYMENT,
	.name = "hello",
	.ns = "shop",
	.nservices = 1,
	.service = {{.name = "hello",
		     .nports = 1,
		     .port = {{.name = "", .port = 80, .target = 8080}}}},
};
static struct workload multi = {
	.kind = KIND_STATEFULSET,
	.name = "multi",
	.ns = "default",
	.nservices = 1,
	.service = {{.name = "multi",
		     .nports = 3,
		     .port = {{.name = "http", .port = 80, .target = 8080},
			      {.name = "admin", .port = 9000, .target = 9001},
			      {.name = "dns", .port = 53, .target = 53, .udp = true}}}},
};
static struct workload echo = {
	.kind = KIND_REPLICASET,
	.name = "echo",
	.ns = "default",
	.nservices = 2,
	.service = {{.name = "echo-stable", .nports = 1, .port = {{.port = 80, .target = 8080}}},
		    {.name = "echo-canary", .nports = 1, .port = {{.port = 80, .target = 8080}}}},
};
static struct workload lonely = {.kind = KIND_DEPLOYMENT, .name = "lonely", .ns = "default"};
static const struct workload *const all[] = {&hello, &shop_hello, &multi, &echo, &lonely};

static struct intercept_request request(const char *name, const char *port)
{
	struct intercept_request q = {.nports = 0};

	snprintf(q.name, sizeof(q.name), "%s", name);
	if (port)
		assert_int_equal(intercept_port_parse(&q, port, &err), 0);
	return q;
}

static int resolve(struct intercept *i, const struct intercept_request *q)
{
	return intercept_resolve(i, q, all, ARRAY_SIZE(all), "default", &err);
}

static void says(const char *sentence)
{
	if (!strstr(err.text, sentence))
		fail_msg("'%s' is not in: %s", sentence, err.text);
}

static void test_port_flag(void **unused)
{
	struct intercept_request q = {.nports = 0};

	(void)unused;
	assert_int_equal(intercept_port_parse(&q, "3000", &err), 0);
	assert_int_equal(intercept_port_parse(&q, "3001:http", &err), 0);
	assert_int_equal(intercept_port_parse(&q, "65535:80", &err), 0);
	assert_int_equal(q.nports, 3);
	assert_int_equal(q.port[1].local, 3001);
	assert_string_equal(q.port[1].id, "http");
	for (const char *const *bad =
		     (const char *const[]){"", "0", "65536", "http", "80:", ":80", "80:a b",
					   "80:x:y", "-1", "99999999999", NULL};
	     *bad; bad++) {
		assert_int_equal(intercept_port_parse(&q, *bad, &err), -EINVAL);
		says("3000:http");
	}
	assert_int_equal(q.nports, 3);
	while (q.nports < INTERCEPT_PORTS)
		assert_int_equal(intercept_port_parse(&q, "1", &err), 0);
	assert_int_equal(intercept_port_parse(&q, "1", &err), -EINVAL);
}

static void test_on_down_flag(void **unused)
{
	struct intercept_request q = {.nports = 0};

	(void)unused;
	assert_int_equal(intercept_on_down_parse(&q, "hold=2m", &err), 0);
	assert_int_equal(q.on_down, ON_DOWN_HOLD);
	assert_int_equal(q.hold_s, 120);
	assert_int_equal(intercept_on_down_parse(&q, "hold", &err), 0);
	assert_int_equal(q.hold_s, 30);
	assert_int_equal(intercept_on_down_parse(&q, "pod", &err), 0);
	assert_int_equal(q.on_down, ON_DOWN_POD);
	assert_int_equal(q.hold_s, 0);
	assert_int_equal(intercept_on_down_parse(&q, "fail", &err), 0);
	assert_int_equal(q.on_down, ON_DOWN_FAIL);
	assert_int_equal(intercept_on_down_parse(&q, "hold=", &err), -EINVAL);
	assert_int_equal(intercept_on_down_parse(&q, "hold=0", &err), -EINVAL);
	assert_int_equal(intercept_on_down_parse(&q, "hold=25h", &err), -EINVAL);
	assert_int_equal(intercept_on_down_parse(&q, "holdon", &err), -EINVAL);
	assert_int_equal(q.on_down, ON_DOWN_FAIL);
}

static void test_name_is_the_workload(void **unused)
{
	struct intercept_request q = request("hello", "3000");
	struct intercept i;

	(void)unused;
	assert_int_equal(resolve(&i, &q), 0);
	assert_string_equal(i.name, "hello");
	assert_string_equal(i.workload, "hello");
	assert_string_equal(i.ns, "default");
	assert_string_equal(i.service, "hello");
	assert_int_equal(i.nports, 1);
	assert_int_equal(i.port[0].local, 3000);
	assert_int_equal(i.port[0].port, 80);
	assert_int_equal(i.port[0].target, 8080);
	assert_string_equal(i.port[0].name, "http");
}

static void test_namespace_without_workload_makes_the_name(void **unused)
{
	struct intercept_request q = request("hello", "3000");
	struct intercept i;

	(void)unused;
	snprintf(q.ns, sizeof(q.ns), "shop");
	q.ns_given = true;
	assert_int_equal(resolve(&i, &q), 0);
	assert_string_equal(i.name, "hello-shop");
	assert_string_equal(i.ns, "shop");
}

static void test_workload_keeps_the_name(void **unused)
{
	struct intercept_request q = request("myhello", "3000");
	struct intercept i;

	(void)unused;
	snprintf(q.workload, sizeof(q.workload), "hello");
	snprintf(q.ns, sizeof(q.ns), "shop");
	q.ns_given = true;
	assert_int_equal(resolve(&i, &q), 0);
	assert_string_equal(i.name, "myhello");
	assert_string_equal(i.workload, "hello");
	assert_string_equal(i.ns, "shop");
}

static void test_several_ports_need_one(void **unused)
{
	struct intercept_request q = request("multi", "3000");
	struct intercept i;

	(void)unused;
	assert_int_equal(resolve(&i, &q), INTERCEPT_AMBIGUOUS);
	says("http (80), admin (9000), dns (53/udp)");
	says("--port 3000:PORT");
	q = request("multi", "3000:admin");
	assert_int_equal(resolve(&i, &q), 0);
	assert_int_equal(i.port[0].target, 9001);
	q = request("multi", "3000:9000");
	assert_int_equal(resolve(&i, &q), 0);
	assert_string_equal(i.port[0].name, "admin");
	q = request("multi", "3000:nosuch");
	assert_int_equal(resolve(&i, &q), INTERCEPT_NOT_FOUND);
	says("it has: http (80), admin (9000)");
	q = request("multi", "3000:dns");
	assert_int_equal(resolve(&i, &q), 0);
	assert_true(i.port[0].udp);
	q = request("multi", "3000:53/udp");
	assert_int_equal(resolve(&i, &q), 0);
	assert_int_equal(i.port[0].port, 53);
	q = request("multi", "3000:53/tcp");
	assert_int_equal(resolve(&i, &q), INTERCEPT_NOT_FOUND);
}

/* A name server's 53 is two ports: of different names, and no clash to each other. */
static void test_one_number_of_both_protocols(void **unused)
{
	struct workload ns = {.kind = KIND_DEPLOYMENT, .name = "ns", .ns = "default"};
	const struct workload *const one[] = {&ns};
	struct intercept_request q = request("ns", "5353:53");
	struct intercept tcp, udp;
	const struct intercept *others[] = {&tcp};

	(void)unused;
	ns.nservices = 1;
	ns.service[0] = (struct service){
		.name = "ns",
		.nports = 2,
		.port = {{.name = "dns-tcp", .port = 53, .target = 5300},
			 {.name = "dns", .port = 53, .target = 5300, .udp = true}}};
	assert_int_equal(intercept_resolve(&udp, &q, one, 1, "default", &err), INTERCEPT_AMBIGUOUS);
	says("--port 5353:53/tcp or --port 5353:53/udp");
	q = request("ns", "5353:53/udp");
	assert_int_equal(intercept_resolve(&udp, &q, one, 1, "default", &err), 0);
	assert_true(udp.port[0].udp);
	q = request("ns", "5353:dns-tcp");
	assert_int_equal(intercept_resolve(&tcp, &q, one, 1, "default", &err), 0);
	assert_false(tcp.port[0].udp);
	snprintf(tcp.owner, sizeof(tcp.owner), "ana");
	snprintf(udp.owner, sizeof(udp.owner), "ben");
	assert_int_equal(intercept_check(&udp, others, 1, &err), 0);
	tcp.port[0].udp = true;
	assert_int_equal(intercept_check(&udp, others, 1, &err), INTERCEPT_CLASH);
	assert_int_equal(intercept_port_parse(&q, "1:53/sctp", &err), -EINVAL);
	assert_int_equal(intercept_port_parse(&q, "1:/udp", &err), -EINVAL);
}

static void test_two_ports_at_once(void **unused)
{
	struct intercept_request q = request("multi", "3000:http");
	struct intercept i;

	(void)unused;
	assert_int_equal(intercept_port_parse(&q, "3001:admin", &err), 0);
	assert_int_equal(resolve(&i, &q), 0);
	assert_int_equal(i.nports, 2);
	assert_int_equal(intercept_port_parse(&q, "3002:80", &err), 0);
	assert_int_equal(resolve(&i, &q), INTERCEPT_INVALID);
	says("twice");
}

static void test_no_port_flag_takes_the_only_one(void **unused)
{
	struct intercept_request q = request("hello", NULL);
	struct intercept i;

	(void)unused;
	assert_int_equal(resolve(&i, &q), 0);
	assert_int_equal(i.port[0].local, 80);
	q = request("multi", NULL);
	assert_int_equal(resolve(&i, &q), INTERCEPT_AMBIGUOUS);
	says("--port LOCAL:PORT");
}

static void test_several_services_need_one(void **unused)
{
	struct intercept_request q = request("echo", "3000");
	struct intercept i;

	(void)unused;
	assert_int_equal(resolve(&i, &q), INTERCEPT_AMBIGUOUS);
	says("echo-stable, echo-canary");
	says("--service");
	snprintf(q.service, sizeof(q.service), "echo-canary");
	assert_int_equal(resolve(&i, &q), 0);
	assert_string_equal(i.service, "echo-canary");
	snprintf(q.service, sizeof(q.service), "nosuch");
	assert_int_equal(resolve(&i, &q), INTERCEPT_NOT_FOUND);
	says("echo-stable, echo-canary");
}

static void test_not_found(void **unused)
{
	struct intercept_request q = request("nosuch", "3000");
	struct intercept i = {.name = "untouched"};

	(void)unused;
	assert_int_equal(resolve(&i, &q), INTERCEPT_NOT_FOUND);
	says("hello, multi, echo, lonely");
	assert_string_equal(i.name, "untouched");
	q = request("multi", "3000");
	snprintf(q.ns, sizeof(q.ns), "shop");
	q.ns_given = true;
	assert_int_equal(resolve(&i, &q), INTERCEPT_NOT_FOUND);
	says("--namespace default");
	q = request("lonely", "3000");
	assert_int_equal(resolve(&i, &q), INTERCEPT_INVALID);
	says("no service selects its pods");
	q = request("../etc", "3000");
	assert_int_equal(resolve(&i, &q), INTERCEPT_INVALID);
}

static struct intercept make(const char *name, const char *owner, const char *workload,
			     const char *port)
{
	struct intercept_request q = request(name, port);
	struct intercept i;

	snprintf(q.workload, sizeof(q.workload), "%s", workload);
	assert_int_equal(resolve(&i, &q), 0);
	snprintf(i.owner, sizeof(i.owner), "%s", owner);
	return i;
}

static void test_clash_names_the_holder(void **unused)
{
	struct intercept held = make("dbg", "ana@laptop", "multi", "3000:http");
	struct intercept mine = make("multi", "bob@desk", "multi", "4000:80");
	const struct intercept *others[] = {&held};

	(void)unused;
	assert_int_equal(intercept_check(&mine, others, 1, &err), INTERCEPT_CLASH);
	says("ana@laptop");
	says("Port http of StatefulSet multi");
	mine = make("multi", "bob@desk", "multi", "4000:admin");
	assert_int_equal(intercept_check(&mine, others, 1, &err), 0);
	mine = make("hello", "bob@desk", "hello", "4000");
	assert_int_equal(intercept_check(&mine, others, 1, &err), 0);
	mine = make("other", "ana@laptop", "multi", "4000:http");
	assert_int_equal(intercept_check(&mine, others, 1, &err), INTERCEPT_CLASH);
	says("culvert leave dbg");
}

static void test_same_owner_and_name_moves_the_port(void **unused)
{
	struct intercept held = make("dbg", "ana@laptop", "multi", "3000:http");
	struct intercept again = make("dbg", "ana@laptop", "multi", "3500:http");
	const struct intercept *others[] = {&held};

	(void)unused;
	assert_int_equal(intercept_check(&again, others, 1, &err), 0);
	again = make("dbg", "bob@desk", "multi", "3500:http");
	assert_int_equal(intercept_check(&again, others, 1, &err), INTERCEPT_CLASH);
}

static void test_json_there_and_back(void **unused)
{
	struct intercept i = make("dbg", "ana@laptop", "multi", "3000:http"), j;
	struct intercept_request q = request("hello", "3000:http"), p;
	struct workload *w = calloc(1, sizeof(*w));
	json_t *json;

	(void)unused;
	i.port[0].overlay = 20001;
	i.created = 1700000000;
	i.on_down = ON_DOWN_HOLD;
	i.hold_s = 30;
	json = intercept_to_json(&i);
	memset(&j, 0, sizeof(j));
	assert_int_equal(intercept_from_json(&j, json, &err), 0);
	assert_memory_equal(&i, &j, sizeof(i));
	json_decref(json);

	json = intercept_request_to_json(&q);
	memset(&p, 0, sizeof(p));
	assert_int_equal(intercept_request_from_json(&p, json, &err), 0);
	assert_memory_equal(&q, &p, sizeof(q));
	assert_false(p.ns_given);
	json_decref(json);

	json = workload_to_json(&multi);
	assert_int_equal(workload_from_json(w, json, &err), 0);
	assert_memory_equal(&multi, w, sizeof(*w));
	json_decref(json);
	free(w);
}

/* Each value replaced by something wrong must be refused. */
static void test_json_refuses_what_is_out_of_bounds(void **unused)
{
	struct intercept i = make("dbg", "ana@laptop", "multi", "3000:http"), out;
	json_t *good = intercept_to_json(&i);
	const char *key;
	json_t *v;
	char longer[400];

	(void)unused;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	json_object_foreach(good, key, v)
	{
		json_t *bad = json_deep_copy(good);

		json_object_set_new(bad, key, json_true());
		assert_int_equal(intercept_from_json(&out, bad, &err), -EINVAL);
		json_object_set_new(bad, key, json_string(longer));
		assert_int_equal(intercept_from_json(&out, bad, &err), -EINVAL);
		json_object_set_new(bad, key, json_integer(-1));
		assert_int_equal(intercept_from_json(&out, bad, &err), -EINVAL);
		json_decref(bad);
	}
	v = json_object_get(good, "ports");
	while (json_array_size(v) <= INTERCEPT_PORTS)
		json_array_append(v, json_array_get(v, 0));
	assert_int_equal(intercept_from_json(&out, good, &err), -EINVAL);
	json_decref(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_flag),
		cmocka_unit_test(test_on_down_flag),
		cmocka_unit_test(test_name_is_the_workload),
		cmocka_unit_test(test_namespace_without_workload_makes_the_name),
		cmocka_unit_test(test_workload_keeps_the_name),
		cmocka_unit_test(test_several_ports_need_one),
		cmocka_unit_test(test_one_number_of_both_protocols),
		cmocka_unit_test(test_two_ports_at_once),
		cmocka_unit_test(test_no_port_flag_takes_the_only_one),
		cmocka_unit_test(test_several_services_need_one),
		cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_clash_names_the_holder),
		cmocka_unit_test(test_same_owner_and_name_moves_the_port),
		cmocka_unit_test(test_json_there_and_back),
		cmocka_unit_test(test_json_refuses_what_is_out_of_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
