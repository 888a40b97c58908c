/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's answer to hello: what is taken, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/hello.h"

static const char good[] =
	"{\"version\":\"0.1.0\",\"name\":\"ana\",\"namespace\":\"shop\",\"address\":\"198.18.0.1\","
	"\"prefixes\":[\"10.96.0.0/16\",\"fd10:244::/64\"],"
	"\"dns\":{\"server\":\"10.96.0.10:53\",\"domains\":[\"cluster.local\"],\"search\":[\"shop."
	"svc.cluster.local\"]},"
	"\"of a later release\":{}}";

static int parse(struct hello *h, const json_t *j, struct error *e)
{
	e->text[0] = 0;
	return hello_parse(h, j, e);
}

static void a_good_one(void **state)
{
	json_t *j = json_loads(good, 0, NULL);
	struct hello h;
	struct error e;

	(void)state;
	assert_int_equal(parse(&h, j, &e), 0);
	assert_string_equal(h.name, "ana");
	assert_int_equal(h.prefixes.n, 2);
	assert_true(h.has_dns);
	assert_int_equal(sockaddr_port(&h.dns_server), 53);
	assert_string_equal(h.domain[0], "cluster.local");
	assert_string_equal(h.search[0], "shop.svc.cluster.local");
	json_object_del(j, "dns");
	assert_int_equal(parse(&h, j, &e), 0);
	assert_false(h.has_dns);
	json_decref(j);
}

/* Sets `path` ("a" or "dns.a") to `value` and expects a refusal that says `says`. */
static void refused(const char *path, json_t *value, const char *says)
{
	json_t *j = json_loads(good, 0, NULL);
	const char *dot = strchr(path, '.');
	struct hello h;
	struct error e;

	json_object_set_new(dot ? json_object_get(j, "dns") : j, dot ? dot + 1 : path, value);
	assert_int_not_equal(parse(&h, j, &e), 0);
	if (!strstr(e.text, says))
		fail_msg("%s: '%s' does not say '%s'", path, e.text, says);
	json_decref(j);
}

static void bad_ones(void **state)
{
	json_t *many = json_array(), *names = json_array();
	char text[300];
	int i;

	(void)state;
	refused("version", json_integer(1), "version");
	refused("name", json_null(), "name");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	refused("name", json_string(text), "name");
	refused("address", json_string("fd00::1"), "IPv4");
	refused("address", json_string("198.18.0.0/15"), "IPv4");
	refused("prefixes", json_pack("[s]", "10.96.0.1/16"), "10.96.0.1/16");
	refused("prefixes", json_pack("[i]", 1), "prefix");
	for (i = 0; i <= PREFIXES_MAX; i++) {
		snprintf(text, sizeof(text), "10.%d.0.0/16", 2 * i);
		json_array_append_new(many, json_string(text));
	}
	refused("prefixes", many, "more than");
	refused("dns.server", json_string("10.96.0.10"), "IP:PORT");
	refused("dns.domains", json_pack("[s]", "evil\nnameserver 6.6.6.6"), "no domain");
	refused("dns.search", json_pack("[s]", "-x"), "no domain");
	refused("dns.search", json_pack("[s]", ""), "no domain");
	for (i = 0; i <= PRIVSEP_SEARCH; i++)
		json_array_append_new(names, json_string("a"));
	refused("dns.search", names, "more than");
}

/* One domain per namespace: what a cluster has too many of is left out, and counted. */
static void more_namespaces_than_domains(void **state)
{
	json_t *domains = json_array(), *dns;
	struct hello h = {0};
	struct error e;
	char text[32];

	(void)state;
	for (int i = 0; i < DNS_DOMAINS + 3; i++) {
		snprintf(text, sizeof(text), "team-%d", i);
		json_array_append_new(domains, json_string(text));
	}
	dns = json_pack("{s:s,s:o}", "server", "10.96.0.10:53", "domains", domains);
	assert_int_equal(hello_set_dns(&h, dns, &e), 0);
	assert_true(h.has_dns);
	assert_int_equal(h.ndomains, DNS_DOMAINS);
	assert_int_equal(h.domains_left_out, 3);
	assert_string_equal(h.domain[1], "team-1");
	hello_search(&h, "cluster.local", "shop");
	assert_int_equal(h.nsearch, 3);
	assert_string_equal(h.search[0], "shop.svc.cluster.local");
	assert_string_equal(h.search[2], "cluster.local");
	json_decref(dns);
	dns = json_pack("{s:s,s:[]}", "server", "", "domains");
	assert_int_equal(hello_set_dns(&h, dns, &e), 0);
	hello_search(&h, "cluster.local", "shop");
	assert_true(!h.has_dns && !h.ndomains && !h.nsearch && !h.domains_left_out);
	json_decref(dns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_good_one), cmocka_unit_test(bad_ones),
					   cmocka_unit_test(more_namespaces_than_domains)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
