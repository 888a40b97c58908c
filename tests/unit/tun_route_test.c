/* SPDX-License-Identifier: Apache-2.0 */
/* The making half of tun/, in a network of its own: device, addresses, routes, conflicts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "private_net.h"
#include "tun/tun.h"

static char name[TUN_NAME_LEN];
static int fd;

static struct prefix P(const char *text) {
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text), 0);
	return p;
}

static struct ipaddr
A(const char *text) {
	struct ipaddr a;

	assert_int_equal(ipaddr_parse(&a, text), 0);
	return a;
}

static int
ip(const char *args)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "ip %s", args);
	return system(cmd);
}

/* What `ip` prints, with `grep`'s line only. */
static const char *ip_line(const char *args, const char *grep)
{
	static char out[512];
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "ip %s | grep -F '%s' | head -1", args, grep);
	FILE *p = popen(cmd, "r");
	out[0] = '\0';
	if (!fgets(out, sizeof(out), p))
		out[0] = '\0';
	pclose(p);
	return out;
}

static int make(void **state)
{
	struct error e;

	(void)state;
	strcpy(name, "culvert%d");
	fd = tun_create(name, &e);
	if (fd < 0)
		print_error("%s\n", e.text);
	return fd < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	if (fd >= 0)
		close(fd);
	return 0;
}

static void device_is_up_and_quiet(void **state)
{
	uint8_t buf[65536];

	(void)state;
	assert_string_equal(name, "culvert0");
	assert_non_null(strstr(ip_line("-o link show dev culvert0", "culvert0"), "mtu 1420"));
	assert_non_null(strstr(ip_line("-o link show dev culvert0", "culvert0"), "UP"));
	assert_string_equal(ip_line("-o addr show dev culvert0", "inet"),
			    ""); /* no link-local address */
	usleep(200000);
	assert_int_equal(read(fd, buf, sizeof(buf)), -1); /* and nothing sent into it */
	assert_int_equal(errno, EAGAIN);
	/* A second one gets the next name. */
	char other[TUN_NAME_LEN] = "culvert%d";
	int second = tun_create(other, NULL);
	assert_true(second >= 0);
	assert_string_equal(other, "culvert1");
	close(second);
	assert_int_equal(if_nametoindex("culvert1"), 0);
}

static void gone_with_its_descriptor(void **state)
{
	struct prefix p = P("10.96.0.0/12");

	(void)state;
	assert_int_equal(tun_add_route(name, &p, NULL, NULL), 0);
	close(fd);
	fd = -1;
	assert_int_equal(if_nametoindex(name), 0);
	assert_string_equal(ip_line("route", "10.96.0.0"), "");
}

static void removed_while_held(void **state)
{
	uint8_t buf[2048];

	(void)state;
	assert_int_equal(tun_remove(name, NULL), 0);
	assert_int_equal(if_nametoindex(name), 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), -1);
	assert_int_not_equal(errno, EAGAIN);
	assert_int_equal(tun_remove(name, NULL), 0);
}

static void addresses_bring_no_prefix(void **state)
{
	struct ipaddr v4 = A("198.18.0.7"), v6 = A("fd12::2");
	struct error e;

	(void)state;
	assert_false(tun_ipv6_off(name));
	assert_int_equal(tun_add_addr(name, &v4, &e), 0);
	assert_int_equal(tun_add_addr(name, &v6, &e), 0);
	assert_non_null(strstr(ip_line("-o addr show dev culvert0", "inet "), "198.18.0.7/32"));
	const char *line = ip_line("-o addr show dev culvert0", "inet6");
	assert_non_null(strstr(line, "fd12::2/128"));
	assert_null(strstr(line, "tentative"));
	assert_string_equal(ip_line("route show dev culvert0", "198.18"), "");
	assert_string_equal(ip_line("-6 route show dev culvert0", "fd12"), "");
	assert_int_equal(tun_add_addr(name, &v4, &e), -EEXIST);
	assert_non_null(strstr(e.text, "198.18.0.7"));
}

static void routes_come_and_go(void **state)
{
	struct ipaddr v4 = A("198.18.0.7"), v6 = A("fd12::2");
	struct prefix p4 = P("10.96.0.0/12"), p6 = P("fd00:10::/32");
	struct error e;

	(void)state;
	assert_int_equal(tun_add_addr(name, &v4, &e), 0);
	assert_int_equal(tun_add_addr(name, &v6, &e), 0);
	assert_int_equal(tun_add_route(name, &p4, &v4, &e), 0);
	assert_int_equal(tun_add_route(name, &p6, &v6, &e), 0);
	assert_non_null(strstr(ip_line("route", "10.96.0.0/12"),
			       "dev culvert0 proto 77 scope link src 198.18.0.7"));
	assert_non_null(
		strstr(ip_line("-6 route", "fd00:10::/32"), "dev culvert0 proto 77 src fd12::2"));
	/* First and last address are hosts like any other. */
	assert_non_null(strstr(ip_line("route get 10.96.0.0", "10.96.0.0"), "dev culvert0"));
	assert_non_null(
		strstr(ip_line("route get 10.111.255.255", "10.111.255.255"), "dev culvert0"));

	assert_int_equal(tun_add_route(name, &p4, &v4, &e), -EEXIST);
	assert_non_null(strstr(e.text, "10.96.0.0/12"));
	assert_int_equal(tun_del_route(name, &p4, &e), 0);
	assert_int_equal(tun_del_route(name, &p4, &e), -ESRCH);
	assert_int_equal(tun_del_route(name, &p6, &e), 0);
	assert_string_equal(ip_line("route", "culvert0"), "");
	assert_int_equal(tun_add_route("nothere0", &p4, &v4, &e), -ENODEV);
}

static void ipv6_may_be_off(void **state)
{
	(void)state;
	private_write("/proc/sys/net/ipv6/conf/culvert0/disable_ipv6", "1");
	assert_true(tun_ipv6_off(name));
}

/* --- conflicts -------------------------------------------------------------------------------- */

static struct {
	unsigned n;
	struct tun_route r[32];
} seen;

static void see(void *arg, const struct tun_route *r)
{
	(void)arg;
	if (seen.n < ARRAY_SIZE(seen.r))
		seen.r[seen.n++] = *r;
}

static const struct tun_route *seen_route(const char *dst)
{
	struct prefix p = P(dst);

	for (unsigned i = 0; i < seen.n; i++)
		if (prefix_equal(&seen.r[i].dst, &p))
			return &seen.r[i];
	fail_msg("no route to %s", dst);
	return NULL;
}

/* The laptop's network, a VPN's route through it, a default route,
 * and one in a table of its own. */
static int laptop(void **state)
{
	if (ip("link add eth7 type veth peer name eth8") || ip("link set eth8 up") ||
	    ip("addr add 192.168.7.20/24 dev eth7") || ip("addr add fd77::20/64 dev eth7 nodad") ||
	    ip("link set eth7 up") || ip("route add default via 192.168.7.1") ||
	    ip("route add 172.30.0.0/16 via 192.168.7.9") ||
	    ip("route add 10.200.0.0/16 nexthop via 192.168.7.2 nexthop dev eth7") ||
	    ip("route add 10.250.0.0/16 dev eth7 table 99") ||
	    /* A VPN device, its own network, and the company's behind it. */
	    ip("tuntap add vpn0 mode tun") || ip("link set vpn0 up") ||
	    ip("addr add 10.8.0.6/16 dev vpn0") || ip("route add 10.0.0.0/8 dev vpn0") ||
	    ip("-6 route add fd00::/16 dev vpn0") || ip("route add blackhole 10.251.0.0/16") ||
	    ip("-6 route add default via fd77::1") || ip("route add 0.0.0.0/1 dev eth7"))
		return -1;
	return make(state);
}

static int no_laptop(void **state)
{
	end(state);
	ip("route del blackhole 10.251.0.0/16");
	ip("link del vpn0");
	return ip("link del eth7");
}

static void routes_are_read(void **state)
{
	(void)state;
	seen.n = 0;
	assert_int_equal(tun_each_route(see, NULL, NULL), 0);
	assert_false(seen_route("192.168.7.0/24")->gateway);
	assert_string_equal(seen_route("192.168.7.0/24")->dev, "eth7");
	assert_int_equal(seen_route("192.168.7.0/24")->proto, 2 /* kernel */);
	assert_true(seen_route("172.30.0.0/16")->gateway);
	assert_true(seen_route("0.0.0.0/0")->gateway);
	assert_true(seen_route("::/0")->gateway);
	assert_false(seen_route("fd77::/64")->gateway);
	assert_false(seen_route("10.250.0.0/16")->gateway);
	struct prefix multi = P("10.200.0.0/16"), black = P("10.251.0.0/16"),
		      self = P("192.168.7.20/32");
	unsigned hops = 0, gateways = 0;
	for (unsigned i = 0; i < seen.n; i++) {
		hops += prefix_equal(&seen.r[i].dst, &multi);
		gateways += prefix_equal(&seen.r[i].dst, &multi) && seen.r[i].gateway;
		assert_false(prefix_equal(&seen.r[i].dst, &black));
		assert_false(prefix_equal(&seen.r[i].dst, &self));
	}
	assert_int_equal(hops, 2);
	assert_int_equal(gateways, 1);
}

static void conflicts_are_named(void **state)
{
	static const struct {
		const char *prefix;
		int code;
		const char *says[2];
	} cases[] = {
		{"10.96.0.0/12", 0, {NULL}},
		{"100.64.0.0/10",
		 0,
		 {NULL}}, /* within the default route and a VPN's half of it: those give way */
		{"0.0.0.0/0", -EINVAL, {"default route", "0.0.0.0/0"}},
		{"0.0.0.0/1", -EINVAL, {"default route", "0.0.0.0/1"}},
		{"::/0", -EINVAL, {"default route", "::/0"}},
		{"fd00::/8", -EINVAL, {"default route", "fd00::/8"}},
		{"127.0.0.0/8", -EINVAL, {"loopback", "127.0.0.0/8"}},
		{"127.0.53.53/32", -EINVAL, {"loopback", "127.0.53.53/32"}},
		{"::1/128", -EINVAL, {"loopback", "::1"}},
		{"169.254.169.254/32", -EINVAL, {"link-local", "169.254.169.254"}},
		{"fe80::/64", -EINVAL, {"link-local", "fe80::/64"}},
		{"239.1.0.0/16", -EINVAL, {"multicast", "239.1.0.0/16"}},
		{"ff02::/16", -EINVAL, {"multicast", "ff02::/16"}},
		{"255.255.255.255/32", -EINVAL, {"reserved", "255.255.255.255"}},
		{"192.168.7.0/24", -EADDRINUSE, {"192.168.7.0/24, the network of", "eth7"}},
		{"192.168.0.0/16",
		 -EADDRINUSE,
		 {"192.168.7.0/24, the network of eth7", "--never-proxy 192.168.7.0/24 "}},
		{"192.168.7.128/25", -EADDRINUSE, {"192.168.7.0/24, the network of", "eth7"}},
		{"fd77::/64", -EADDRINUSE, {"fd77::/64, the network of", "eth7"}},
		{"172.30.0.0/16",
		 -EADDRINUSE,
		 {"172.30.0.0/16, routed through a gateway by", "eth7"}},
		/* A wider way to somewhere gives way, by a gateway or into a VPN device... */
		{"172.30.4.0/24", 0, {NULL}},
		{"fd00:10::/32", 0, {NULL}},
		/* ...but not what is as narrow as ours, nor the network that the VPN is on. */
		{"fd00::/16",
		 -EADDRINUSE,
		 {"fd00::/16, routed into vpn0", "--never-proxy fd00::/16 "}},
		{"10.8.4.0/24",
		 -EADDRINUSE,
		 {"10.8.0.0/16, the network of vpn0", "--never-proxy 10.8.4.0/24 "}},
		{"172.16.0.0/12",
		 -EADDRINUSE,
		 {"172.30.0.0/16, routed through a gateway by", "eth7"}},
		{"10.250.1.0/24",
		 -EADDRINUSE,
		 {"10.250.0.0/16, the network of", "eth7"}}, /* of any table */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix p = P(cases[i].prefix);
		struct error e = {""};

		int r = tun_check_route(&p, name, &e);
		if (r != cases[i].code)
			fail_msg("%s: %d, %s", cases[i].prefix, r, e.text);
		for (int j = 0; j < 2 && cases[i].says[j]; j++)
			if (!strstr(e.text, cases[i].says[j]))
				fail_msg("%s: \"%s\" is not in: %s", cases[i].prefix,
					 cases[i].says[j], e.text);
	}
	/* Our own routes are no conflict. */
	struct prefix ours = P("10.96.0.0/12");
	assert_int_equal(tun_add_route(name, &ours, NULL, NULL), 0);
	assert_int_equal(tun_check_route(&ours, name, NULL), 0);
	assert_int_equal(tun_check_route(&ours, "other0", NULL), -EADDRINUSE);
}

static int setup(void **state)
{
	(void)state;
	return private_net();
}

#define test(f) cmocka_unit_test_setup_teardown(f, make, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(device_is_up_and_quiet),
		test(gone_with_its_descriptor),
		test(removed_while_held),
		test(addresses_bring_no_prefix),
		test(routes_come_and_go),
		test(ipv6_may_be_off),
		cmocka_unit_test_setup_teardown(routes_are_read, laptop, no_laptop),
		cmocka_unit_test_setup_teardown(conflicts_are_named, laptop, no_laptop),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
