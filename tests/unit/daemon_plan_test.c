/* SPDX-License-Identifier: Apache-2.0 */
/* What is routed, from the manager's word and the user's flags. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/plan.h"

static struct hello hello;
static struct prefixes also, never;
static struct plan_input in = {.hello = &hello, .also = &also, .never = &never};
static struct hostnet_config out;
static struct plan_spared spared;

static void add(struct prefixes *set, const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text), 0);
	assert_int_equal(prefixes_add(set, &p), 0);
}

static int start(void **state)
{
	(void)state;
	memset(&hello, 0, sizeof(hello));
	also.n = never.n = 0;
	add(&hello.prefixes, "10.96.0.0/16");
	add(&hello.prefixes, "fd10:244::/64");
	ipaddr_parse(&hello.address, "198.18.0.1");
	in.nspare = 1;
	ipaddr_parse(&in.spare[0], "192.0.2.1");
	return ipaddr_parse(&in.kernel_v6, "fd00::2");
}

static bool routed(const char *text)
{
	struct ipaddr a;

	assert_int_equal(ipaddr_parse(&a, text), 0);
	return prefixes_find(&out.routes, &a) != NULL;
}

static void plan(void)
{
	struct error e;

	assert_int_equal(plan_hostnet(&out, &in, &spared, &e), 0);
}

static void as_the_manager_says(void **state)
{
	(void)state;
	plan();
	assert_int_equal(out.routes.n, 2);
	assert_int_equal(out.dns.ndomains, 0);
	assert_int_equal(spared.n, 0);
}

static void flags_add_and_take(void **state)
{
	(void)state;
	add(&also, "172.20.0.0/24");
	add(&never, "10.96.5.0/24");
	add(&never, "172.20.0.9/32"); /* never is stronger than also */
	plan();
	assert_true(routed("172.20.0.8") && !routed("172.20.0.9") && routed("10.96.6.1") &&
		    !routed("10.96.5.1"));
}

static void a_dns_server_outside_is_reached(void **state)
{
	(void)state;
	hello.has_dns = true;
	hello.ndomains = 1;
	snprintf(hello.domain[0], sizeof(hello.domain[0]), "cluster.local");
	sockaddr_parse(&hello.dns_server, "172.30.0.10:53");
	plan();
	assert_true(routed("172.30.0.10") && !routed("172.30.0.11"));
	assert_string_equal(out.dns.domain[0], "cluster.local");
}

static void never_is_never_for_the_dns_server_too(void **state)
{
	(void)state;
	hello.has_dns = true;
	sockaddr_parse(&hello.dns_server, "10.96.0.10:53");
	add(&never, "10.96.0.0/24");
	plan();
	assert_true(!routed("10.96.0.10") && routed("10.96.1.1"));
}

/* But not when one of them is the cluster's. */
static void the_laptops_resolvers_stay_outside(void **state)
{
	struct resolv_conf own = {.nresolvers = 3};

	(void)state;
	hello.has_dns = true;
	sockaddr_parse(&hello.dns_server, "10.96.0.10:53");
	sockaddr_parse(&own.resolver[0], "10.96.3.3:53");
	sockaddr_parse(&own.resolver[1], "10.96.0.10:53");
	sockaddr_parse(&own.resolver[2], "192.0.2.1:53");
	in.own = &own;
	plan();
	in.own = NULL;
	assert_true(!routed("10.96.3.3") && routed("10.96.3.4") && routed("10.96.0.10"));
	assert_int_equal(spared.n, 0); /* nothing of what the user has to be told */
}

static void short_names_are_of_the_search_list(void **state)
{
	static const char *const domains[] = {"cluster.local", "svc", "dev", "shop"};

	(void)state;
	hello.has_dns = true;
	sockaddr_parse(&hello.dns_server, "10.96.0.10:53");
	for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
		strcpy(hello.domain[hello.ndomains++], domains[i]);
	plan();
	assert_string_equal(out.dns.zone, "");
	hello_search(&hello, "cluster.local", "shop");
	plan();
	assert_string_equal(out.dns.zone, "cluster.local");
	assert_string_equal(out.dns.ns, "shop");
	/* Of too many domains the last are left out, but never the user's own namespace. */
	assert_string_equal(out.dns.domain[0], "cluster.local");
	assert_string_equal(out.dns.domain[1], "shop");
	assert_string_equal(out.dns.domain[2], "svc");
	assert_string_equal(out.dns.domain[3], "dev");
	assert_int_equal(out.dns.ndomains, 4);
}

static void the_manager_stays_outside(void **state)
{
	(void)state;
	ipaddr_parse(&in.spare[0], "10.96.0.200");
	plan();
	assert_true(!routed("10.96.0.200") && routed("10.96.0.199") && routed("10.96.0.201"));
	assert_int_equal(spared.n, 1);
	assert_int_equal(spared.from[0].len, 16);
}

/* The API server and the nodes: one of them twice, one of them nowhere near. */
static void so_do_all_ways_to_it(void **state)
{
	(void)state;
	in.nspare = 4;
	ipaddr_parse(&in.spare[0], "10.96.0.1");
	ipaddr_parse(&in.spare[1], "10.96.7.7");
	ipaddr_parse(&in.spare[2], "10.96.0.1");
	ipaddr_parse(&in.spare[3], "192.0.2.1");
	plan();
	assert_true(!routed("10.96.0.1") && !routed("10.96.7.7") && routed("10.96.7.8"));
	assert_int_equal(spared.n, 2);
}

/* Cut up, nobody would know it again: the helper refuses it by the name the user gave it. */
static void the_default_route_keeps_its_name(void **state)
{
	(void)state;
	add(&also, "0.0.0.0/0");
	plan();
	assert_true(routed("192.0.2.1"));
	assert_int_equal(spared.n, 0);
}

static void without_ipv6(void **state)
{
	(void)state;
	in.kernel_v6 = (struct ipaddr){0};
	plan();
	assert_int_equal(out.routes.n, 1);
	assert_int_equal(out.v6.family, 0);
}

static void too_many_are_said(void **state)
{
	struct error e;
	char text[32];
	int i;

	(void)state;
	for (i = 0; i < PREFIXES_MAX - 1; i++) {
		snprintf(text, sizeof(text), "172.16.%d.0/24", 2 * i);
		add(&also, text);
	}
	assert_int_equal(plan_hostnet(&out, &in, &spared, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "--also-proxy"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(as_the_manager_says, start),
		cmocka_unit_test_setup(flags_add_and_take, start),
		cmocka_unit_test_setup(a_dns_server_outside_is_reached, start),
		cmocka_unit_test_setup(never_is_never_for_the_dns_server_too, start),
		cmocka_unit_test_setup(the_laptops_resolvers_stay_outside, start),
		cmocka_unit_test_setup(short_names_are_of_the_search_list, start),
		cmocka_unit_test_setup(the_manager_stays_outside, start),
		cmocka_unit_test_setup(so_do_all_ways_to_it, start),
		cmocka_unit_test_setup(the_default_route_keeps_its_name, start),
		cmocka_unit_test_setup(without_ipv6, start),
		cmocka_unit_test_setup(too_many_are_said, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
