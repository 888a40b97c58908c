/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole helper. What counts at each end is the whole state of the machine as `ip` and stat show
 * it: the same as before, within 2 s.
 */
#include "helper_lab.h"

static void everything_works_and_goes(void **test)
{
	int sock = hello(), tun = make_tun(sock);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)}, from;
	socklen_t len = sizeof(from);
	uint8_t packet[2048];

	(void)test;
	assert_int_equal(ROUTES(sock, "10.96.0.0/12", "fd00:10::/32").code, 0);
	assert_true(has_route("10.96.0.0/12"));
	assert_true(has_route("fd00:10::/32"));
	/* A datagram to the cluster comes out of the descriptor, from our address. */
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	to.sin_addr.s_addr = htonl(0x0a600000); /* 10.96.0.0, the first of the prefix */
	assert_int_equal(sendto(udp, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
	struct pollfd p = {.fd = tun, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 1000), 1);
	assert_int_equal(read(tun, packet, sizeof(packet)), 10 + 20 + 8 + 5);
	assert_memory_equal(packet + 10 + 12, "\xc6\x12\0\7\x0a\x60\0\0", 8);
	close(udp);

	struct privsep_answer a = set_dns(sock);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.dns_way, PRIVSEP_DNS_FILE);
	assert_int_equal(a.nresolvers, 1);
	assert_int_equal(sockaddr_port(&a.resolver[0]), 53);
	assert_string_equal(a.search[0], "corp.example");
	assert_int_equal(nfds, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(getsockname(fds[i], (struct sockaddr *)&from, &len), 0);
		assert_int_equal(from.sin_addr.s_addr, htonl(0x7f003535));
		assert_int_equal(ntohs(from.sin_port), 53);
		close(fds[i]);
	}
	char *now = machine();
	assert_non_null(strstr(now, "nameserver " DNS_STUB_ADDR
				    "\nsearch svc.cluster.local corp.example\n"));
	free(now);

	/* Twice is once too often. */
	struct privsep_request again = request(PRIVSEP_TUN);
	assert_int_equal(ask(sock, &again).code, -EEXIST);
	/* DNS may be asked again, for other domains; the sockets are there already. */
	struct privsep_answer same = set_dns(sock);
	assert_int_equal(same.code, 0);
	assert_int_equal(same.dns_way, PRIVSEP_DNS_FILE);
	assert_int_equal(nfds, 0);
	again = request(PRIVSEP_DNS);
	again.dns.nsearch = 1;
	strcpy(again.dns.search[0], "other.cluster.local");
	assert_int_equal(ask(sock, &again).code, -EEXIST);

	close(sock); /* the daemon still has the TUN */
	assert_as_before();
	close(tun);
}

static void undone_on_request(void **test)
{
	struct privsep_request undo = request(PRIVSEP_UNDO);
	int sock = hello(), held[3];

	(void)test;
	for (int i = 0; i < 3; i++) { /* and may be made again */
		set_all(sock, held);
		close_all(held);
		assert_int_equal(ask(sock, &undo).code, 0);
		char *now = machine();
		assert_string_equal(now, before);
		free(now);
	}
	close(sock);
}

/* A daemon of its own, with everything set; ends when the helper does. Returns its pid when all is
 * set. */
static pid_t daemon_start(void)
{
	int ready[2], held[3];
	char c;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int sock = hello();
		set_all(sock, held);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		_exit(read(sock, &c, 1) != 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void daemon_killed(void **test)
{
	pid_t pid = daemon_start();

	(void)test;
	assert_true(has_route("10.96.0.0/12"));
	kill(pid, SIGKILL);
	assert_as_before();
	waitpid(pid, NULL, 0);
	pid = daemon_start(); /* the next one finds the helper free */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_as_before();
}

static void helper_killed(void **test)
{
	pid_t pid = daemon_start(), guard = guard_pid();
	int status;

	(void)test;
	assert_true(guard > 0);
	kill(guard, SIGTERM); /* what a service manager sends to the whole group first */
	kill(guard, SIGINT);
	kill(guard, SIGHUP);
	assert_int_equal(helper_end(SIGKILL), -SIGKILL);
	assert_as_before();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0); /* the daemon has seen the end of the socket */
	helper_start();		     /* in spite of the socket and the lock left */
	pid = daemon_start();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_as_before();
}

static void both_killed(void **test)
{
	pid_t pid = daemon_start();

	(void)test;
	kill(pid, SIGKILL);
	assert_int_equal(helper_end(SIGKILL), -SIGKILL);
	assert_as_before();
	waitpid(pid, NULL, 0);
}

static void helper_ended_by_signal(void **test)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

	(void)test;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = daemon_start();
		assert_int_equal(helper_end(signals[i]), 0);
		char *now = machine(); /* at once: it ends after the undoing */
		assert_string_equal(now, before);
		free(now);
		waitpid(pid, NULL, 0);
		assert_int_equal(access(sock_path, F_OK), -1);
		helper_start();
	}
}

static void power_lost(void **test)
{
	const char *search = "cluster.local";
	struct resolv_conf rc;

	(void)test;
	assert_int_equal(helper_end(SIGTERM), 0);
	assert_int_equal(resolv_install(resolv_path, state_path, &search, 1, 0, &rc, NULL), 0);
	helper_start(); /* listens when it has restored */
	char *now = machine();
	assert_string_equal(now, before);
	free(now);
}

static void resolv_conf_of_somebody_else(void **test)
{
	struct privsep_request undo = request(PRIVSEP_UNDO);
	int sock = hello(), held[3];

	(void)test;
	set_all(sock, held);
	put(resolv_path, "nameserver 203.0.113.9\n");
	struct privsep_answer a = ask(sock, &undo);
	assert_int_equal(a.code, 0);
	assert_non_null(strstr(a.text, "somebody else"));
	char *now = machine();
	assert_non_null(strstr(now, "nameserver 203.0.113.9\n"));
	free(now);
	close_all(held);
	close(sock);
	put(resolv_path, laptop_conf);
	chmod(resolv_path, 0640);
}

static void routes_follow_the_set(void **test)
{
	int sock = hello(), tun;

	(void)test;
	assert_int_equal(ROUTES(sock, "10.96.0.0/12").code, -ENODEV); /* before the TUN */
	tun = make_tun(sock);
	assert_int_equal(ROUTES(sock, "10.96.0.0/12", "10.244.0.0/16", "10.96.0.0/12").code, 0);
	assert_int_equal(ROUTES(sock, "10.244.0.0/16", "fd00:10::/32").code, 0);
	assert_false(has_route("10.96.0.0/12"));
	assert_true(has_route("10.244.0.0/16"));
	assert_true(has_route("fd00:10::/32"));
	/* Somebody flushed it; asking for the set brings it back. */
	assert_int_equal(system("ip route del 10.244.0.0/16"), 0);
	assert_int_equal(ROUTES(sock, "10.244.0.0/16", "fd00:10::/32").code, 0);
	assert_true(has_route("10.244.0.0/16"));
	assert_int_equal(set_routes(sock, (const char *const[]){NULL}).code, 0);
	assert_false(has_route("10.244.0.0/16"));
	close(sock);
	close(tun);
	assert_as_before();
}

static void routes_are_all_or_nothing(void **test)
{
	int sock = hello(), tun = make_tun(sock);

	(void)test;
	assert_int_equal(ROUTES(sock, "10.96.0.0/12").code, 0);
	/* Found by the check, before anything changes. */
	struct privsep_answer a = ROUTES(sock, "10.97.0.0/16", "192.168.7.0/25");
	assert_int_equal(a.code, -EADDRINUSE);
	assert_non_null(strstr(a.text, "192.168.7.0/24"));
	assert_non_null(strstr(a.text, "eth7"));
	assert_true(has_route("10.96.0.0/12"));
	assert_false(has_route("10.97.0.0/16"));
	assert_int_equal(ROUTES(sock, "0.0.0.0/0").code, -EINVAL);
	assert_int_equal(ROUTES(sock, "127.0.0.0/8").code, -EINVAL);

	/* Found by the kernel, half way: a blackhole is no device's route, but it is in the way. */
	assert_int_equal(system("ip route add blackhole 10.251.0.0/16"), 0);
	a = ROUTES(sock, "10.97.0.0/16", "10.251.0.0/16", "10.98.0.0/16");
	assert_int_equal(a.code, -EEXIST);
	assert_non_null(strstr(a.text, "10.251.0.0/16"));
	assert_true(has_route("10.96.0.0/12"));
	assert_false(has_route("10.97.0.0/16"));
	assert_int_equal(system("ip route del blackhole 10.251.0.0/16"), 0);
	close(sock);
	close(tun);
	assert_as_before();
}

static void without_ipv6_it_is_said(void **test)
{
	(void)test;
	private_write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	struct privsep_request q = request(PRIVSEP_TUN);
	int sock = hello();

	ipaddr_parse(&q.tun.addr[0], "198.18.0.7");
	ipaddr_parse(&q.tun.addr[1], "fd12::2");
	struct privsep_answer a = ask(sock, &q);
	assert_int_equal(a.code, 0);
	assert_non_null(strstr(a.text, "IPv6 is switched off"));
	close(fds[0]);
	a = ROUTES(sock, "fd00:10::/32", "10.96.0.0/12");
	assert_int_equal(a.code, 0);
	assert_non_null(strstr(a.text, "1 IPv6 route"));
	assert_true(has_route("10.96.0.0/12"));
	assert_false(has_route("fd00:10::/32"));
	close(sock);
	private_write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0");
	assert_as_before();
}

static void port_53_may_be_taken(void **test)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f003535)};
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), sock = hello();

	(void)test;
	assert_int_equal(bind(other, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(other, 1), 0);
	struct privsep_answer a = set_dns(sock);
	assert_int_equal(a.code, -EADDRINUSE);
	assert_non_null(strstr(a.text, DNS_STUB_ADDR));
	close(other);
	assert_as_before();
	assert_int_equal(set_dns(sock).code, 0);
	close(fds[0]);
	close(fds[1]);
	close(sock);
	assert_as_before();
}

#define test(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(everything_works_and_goes),
		test(undone_on_request),
		test(daemon_killed),
		test(helper_killed),
		test(both_killed),
		test(helper_ended_by_signal),
		test(power_lost),
		test(resolv_conf_of_somebody_else),
		test(routes_follow_the_set),
		test(routes_are_all_or_nothing),
		test(without_ipv6_it_is_said),
		test(port_53_may_be_taken),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
