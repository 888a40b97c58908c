/* SPDX-License-Identifier: Apache-2.0 */
/* Where no gateway may be sent to, and the tickets and secrets of previews. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "manager/kubernetes.h"

static struct own_targets own = {
	.naddresses = 3,
	.nnames = 4,
	.address = {{.port = 0}, {.port = 0}, {.port = 6443}},
	.name = {"kubernetes.default", "culvert-gateway.tools", "culvert.tools", ""},
	.domain = "cluster.local",
};

static int check(const char *host, uint16_t port, const char *l5, struct error *e)
{
	struct preview_ingress i = {.port = port};

	ipaddr_parse(&own.address[0].ip, "10.96.0.1");
	ipaddr_parse(&own.address[1].ip, "fd00::7");
	ipaddr_parse(&own.address[2].ip, "192.0.2.1");
	snprintf(i.host, sizeof(i.host), "%s", host);
	snprintf(i.l5, sizeof(i.l5), "%s", l5);
	return target_check(&own, &i, e);
}

static void good_ones(void **state)
{
	static const char *const hosts[] = {"ingress-nginx-controller.ingress-nginx",
					    "traefik.kube-system.svc",
					    "envoy.contour.svc.cluster.local",
					    "shop.example.com",
					    "Shop.Example.COM.",
					    "10.96.3.4",
					    "fd00::8",
					    "203.0.113.1",
					    "a_b.c",
					    "xn--bcher-kva.example",
					    "7-eleven.com",
					    "culvert.shop",
					    "culvert.example.com",
					    "kubernetes.shop"};
	struct error e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (check(hosts[i], 443, "shop.example.com", &e))
			fail_msg("%s: %s", hosts[i], e.text);
	}
	assert_int_equal(check("a.b", 80, "", &e), 0);
	assert_int_equal(check("a.b", 80, "10.1.2.3", &e), 0);
	/* The node of the API server may have an ingress controller, too. */
	assert_int_equal(check("192.0.2.1", 443, "", &e), 0);
}

static void bad_ones(void **state)
{
	static const struct {
		const char *host, *says;
	} bad[] = {{"127.0.0.1", "loopback"},
		   {"127.9.9.9", "loopback"},
		   {"::1", "loopback"},
		   {"0.0.0.0", "loopback"},
		   {"0.1.2.3", "loopback"},
		   {"::", "loopback"},
		   {"::ffff:127.0.0.1", "loopback"},
		   {"::ffff:169.254.169.254", "link-local"},
		   {"169.254.169.254", "link-local"},
		   {"fe80::1", "link-local"},
		   {"224.0.0.1", "multicast"},
		   {"255.255.255.255", "multicast"},
		   {"127.0.0.1.", "loopback"},
		   {"127.1", "neither a name nor an address"},
		   {"2130706433", "neither a name nor an address"},
		   {"0x7f000001", "neither a name nor an address"},
		   {"0177.0.0.1.", "neither a name nor an address"},
		   {"localhost", "the gateway itself"},
		   {"x.LOCALHOST.", "the gateway itself"},
		   {"kubernetes", "the API server"},
		   {"kubernetes.default", "the API server"},
		   {"KUBERNETES.default.svc", "the API server"},
		   {"kubernetes.default.svc.cluster.local.", "the API server"},
		   {"10.96.0.1", "API server"},
		   {"::ffff:10.96.0.1", "API server"},
		   {"fd00:0::7", "API server"},
		   {"192.0.2.1", "API server"},
		   {"culvert", "culvert itself"},
		   {"culvert.tools.svc", "culvert itself"},
		   {"culvert-gateway.tools", "culvert itself"},
		   {"", "no host name"},
		   {"a b", "no host name"},
		   {"a\r\nx: y", "no host name"},
		   {"a..b", "no host name"},
		   {".a", "no host name"},
		   {"-a", "no host name"},
		   {"a:80", "no host name"},
		   {"[::1]", "no host name"},
		   {"user@host", "no host name"}};
	struct error e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (check(bad[i].host, 6443, "", &e) != -EINVAL)
			fail_msg("'%s' is taken", bad[i].host);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s': %s", bad[i].host, e.text);
	}
	assert_int_equal(check("a.b", 0, "", &e), -EINVAL);
	assert_int_equal(check("a.b", 80, "x\ny", &e), -EINVAL);
	assert_int_equal(check("a.b", 80, "x:80", &e), -EINVAL);
}

static void tickets_are_good_once(void **state)
{
	char first[TICKET_LEN + 1], ticket[TICKET_LEN + 1], *user = NULL, *login = NULL;
	const nsec_t then = 1000 * NSEC_PER_SEC;
	struct tickets *t;

	(void)state;
	assert_int_equal(tickets_new(&t), 0);
	assert_int_equal(ticket_make(t, "ana", "sub-1", then, first), 0);
	assert_int_equal(ticket_make(t, "ben", "", then, ticket), 0);
	assert_int_equal(strlen(first), TICKET_LEN);
	assert_string_not_equal(first, ticket);
	assert_false(ticket_redeem(t, "", then, &user, &login));
	assert_true(ticket_redeem(t, first, then + 60 * NSEC_PER_SEC, &user, &login));
	assert_string_equal(user, "ana");
	assert_string_equal(login, "sub-1");
	free(user);
	free(login);
	user = login = NULL;
	assert_false(ticket_redeem(t, first, then, &user, &login));
	/* Too late, and then it is gone. */
	assert_false(ticket_redeem(t, ticket, then + 61 * NSEC_PER_SEC, &user, &login));
	assert_false(ticket_redeem(t, ticket, then, &user, &login));
	assert_null(user);
	/* The oldest goes where there is no room. */
	ticket_make(t, "ana", "", then, first);
	for (int i = 0; i < TICKETS_MAX; i++)
		ticket_make(t, "ben", "", then, ticket);
	assert_false(ticket_redeem(t, first, then, &user, &login));
	assert_true(ticket_redeem(t, ticket, then, &user, &login));
	free(user);
	free(login);
	tickets_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(tickets_are_good_once),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
