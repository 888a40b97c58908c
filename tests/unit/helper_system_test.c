/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole helper, in a network and mounts of its own; the test plays the daemon.
 *
 *   test ---- helper.sock ---- helper (a child) ---- guard (its child)
 *     \__ the TUN, port 53        |
 *                                 culvert0, routes, FOLDER/etc/resolv.conf
 *
 * What counts at each end is the whole state of the machine as `ip` and stat show it: the same as
 * before, within 2 s.
 */
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "dns/dns.h"
#include "helper/helper.h"
#include "private_net.h"
#include "privsep/privsep.h"

enum { ALLOWED = 12345, STRANGER = 54321 };

static char folder[32], sock_path[64], state_path[64], resolv_path[64], log_path[64];
static char *before;
static pid_t test_pid, helper;

static const char laptop_conf[] = "nameserver 192.0.2.1\nsearch corp.example\n";

/* --- the machine ------------------------------------------------------------------------------ */

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Everything that must be as before, as text. */
static char *machine(void)
{
	char cmd[512], *text = NULL;
	size_t len;
	int c;

	/* Without lifetimes and counters, which move by themselves. */
	snprintf(cmd, sizeof(cmd),
		 "ip -o link | cut -d: -f2,3; ip -o addr | cut -d' ' -f2-7; ip route show table "
		 "all; "
		 "ip -6 route show table all; ip rule; ss -H -ltun src 127.0.53.53; "
		 "cat %s; stat -c '%%A %%u %%g %%F' %s; ls -A %s/etc",
		 resolv_path, resolv_path, folder);
	FILE *p = popen(cmd, "r"), *out = open_memstream(&text, &len);
	while ((c = getc(p)) != EOF)
		putc(c, out);
	pclose(p);
	fclose(out);
	return text;
}

static void assert_as_before(void)
{
	nsec_t end = clock_boot() + 2 * NSEC_PER_SEC;
	char *now = machine();

	while (strcmp(now, before) != 0 && clock_boot() < end) {
		free(now);
		usleep(10000);
		now = machine();
	}
	assert_string_equal(now, before);
	free(now);
}

static bool has_route(const char *route)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "(ip route; ip -6 route) | grep -q '^%s dev culvert0 proto 77'",
		 route);
	return system(cmd) == 0;
}

/* --- the helper ------------------------------------------------------------------------------- */

static int daemon_socket(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, sock_path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void helper_start(void)
{
	helper = fork();
	if (helper == 0) {
		char *argv[] = {"culvert-helper", "--socket",  sock_path, "--state", state_path,
				"--resolv-conf",  resolv_path, "--allow", "12345",   NULL};
		if (!getenv("VERBOSE"))
			dup2(open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
		_exit(helper_main((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv));
	}
	for (int i = 0; i < 500; i++) {
		int fd = daemon_socket();
		close(fd);
		if (fd >= 0)
			return;
		usleep(10000);
	}
	fail_msg("the helper does not listen");
}

/* Its exit status, or minus the signal that ended it. */
static int helper_end(int signal)
{
	int status;

	kill(helper, signal);
	assert_int_equal(waitpid(helper, &status, 0), helper);
	helper = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static pid_t guard_pid(void)
{
	char path[64];
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", helper, helper);
	FILE *f = fopen(path, "r");
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid;
}

/* --- the daemon's side ------------------------------------------------------------------------ */

static int fds[4];
static unsigned nfds;

static struct privsep_answer ask(int sock, const struct privsep_request *q)
{
	struct privsep_answer a;

	assert_int_equal(privsep_send_request(sock, q), 0);
	assert_int_equal(privsep_recv_answer(sock, &a, fds, &nfds), 0);
	assert_int_equal(a.op, q->op);
	return a;
}

static struct privsep_request request(enum privsep_op op)
{
	return (struct privsep_request){.version = PRIVSEP_VERSION, .op = op};
}

static int hello(void)
{
	struct privsep_request q = request(PRIVSEP_HELLO);
	int sock = daemon_socket();

	assert_int_equal(ask(sock, &q).code, 0);
	return sock;
}

static int make_tun(int sock)
{
	struct privsep_request q = request(PRIVSEP_TUN);

	ipaddr_parse(&q.tun.addr[0], "198.18.0.7");
	ipaddr_parse(&q.tun.addr[1], "fd12::2");
	struct privsep_answer a = ask(sock, &q);
	if (a.code)
		fail_msg("%s", a.text);
	assert_string_equal(a.tun_name, "culvert0");
	assert_int_equal(nfds, 1);
	return fds[0];
}

static struct privsep_answer set_routes(int sock, const char *const *prefixes)
{
	struct privsep_request q = request(PRIVSEP_ROUTES);

	while (*prefixes)
		assert_int_equal(prefix_parse(&q.routes.prefix[q.routes.n++], *prefixes++), 0);
	return ask(sock, &q);
}

#define ROUTES(sock, ...) set_routes(sock, (const char *const[]){__VA_ARGS__, NULL})

static struct privsep_answer set_dns(int sock)
{
	struct privsep_request q = request(PRIVSEP_DNS);

	q.dns.nsearch = 1;
	strcpy(q.dns.search[0], "svc.cluster.local");
	return ask(sock, &q);
}

static void set_all(int sock, int held[static 3])
{
	held[0] = make_tun(sock);
	assert_int_equal(ROUTES(sock, "10.96.0.0/12", "fd00:10::/32").code, 0);
	assert_int_equal(set_dns(sock).code, 0);
	assert_int_equal(nfds, 2);
	held[1] = fds[0];
	held[2] = fds[1];
}

static void close_all(const int held[static 3])
{
	for (int i = 0; i < 3; i++)
		close(held[i]);
}

/* --- tests ------------------------------------------------------------------------------------ */

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
	assert_int_equal(set_dns(sock).code, -EEXIST);

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

static void strangers_are_refused(void **test)
{
	static const uid_t uids[] = {STRANGER, ALLOWED};

	(void)test;
	if (access("/proc/self/setgroups", F_OK) == 0 && setegid(ALLOWED) < 0)
		skip(); /* in a user namespace there is only one user */
	assert_int_equal(setegid(0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(uids); i++) {
		struct privsep_request q = request(PRIVSEP_HELLO);

		assert_int_equal(seteuid(uids[i]), 0);
		int sock = daemon_socket();
		struct privsep_answer a = ask(sock, &q);
		assert_int_equal(seteuid(0), 0);
		if (uids[i] == ALLOWED) {
			assert_int_equal(a.code, 0);
			close(make_tun(sock));
		} else {
			assert_int_equal(a.code, -EPERM);
			assert_non_null(strstr(a.text, "user 54321"));
			q.op = PRIVSEP_TUN; /* asking on does not help */
			assert_int_equal(ask(sock, &q).code, -EPERM);
		}
		close(sock);
	}
	assert_as_before();
}

static void one_daemon_at_a_time(void **test)
{
	struct privsep_request q = request(PRIVSEP_HELLO), early = request(PRIVSEP_TUN);
	char pid[32];

	(void)test;
	int second = daemon_socket();
	assert_int_equal(ask(second, &early).code, -EPROTO); /* before hello */
	int first = hello();
	struct privsep_answer a = ask(second, &q);
	assert_int_equal(a.code, -EBUSY);
	snprintf(pid, sizeof(pid), "process %d ", getpid());
	assert_non_null(strstr(a.text, pid));
	assert_int_equal(ask(second, &early).code, -EBUSY);
	close(first);
	for (int i = 0; i < 200 && (a = ask(second, &q)).code; i++)
		usleep(5000);
	assert_int_equal(a.code, 0);
	close(second);
}

static void idle_clients_keep_nobody_out(void **test)
{
	int idle[30], sock = hello();

	(void)test;
	for (int i = 0; i < 30; i++)
		assert_true((idle[i] = daemon_socket()) >= 0);
	int tun = make_tun(sock); /* the holder stays */
	struct privsep_request q = request(PRIVSEP_HELLO);
	int late = daemon_socket();
	assert_int_equal(ask(late, &q).code, -EBUSY);
	for (int i = 0; i < 30; i++)
		close(idle[i]);
	close(late);
	close(tun);
	close(sock);
	assert_as_before();
}

static void strangers_crowd_nobody_out(void **test)
{
	struct privsep_request q = request(PRIVSEP_HELLO);
	int crowd[30], sock = daemon_socket(); /* no hello yet: it holds nothing */
	unsigned lines = 0;

	(void)test;
	if (seteuid(STRANGER) < 0)
		skip(); /* in a user namespace there is only one user */
	for (int i = 0; i < 30; i++)
		assert_true((crowd[i] = daemon_socket()) >= 0);
	int one = daemon_socket();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(ask(sock, &q).code, 0);
	/* Nor do they fill the log. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(ask(one, &q).code, -EPERM);
	FILE *f = fopen(log_path, "r");
	for (int c = f ? getc(f) : EOF; c != EOF; c = getc(f))
		lines += c == '\n';
	if (f)
		fclose(f);
	assert_in_range(lines, 0, 6);
	for (int i = 0; i < 30; i++)
		close(crowd[i]);
	close(one);
	close(sock);
	assert_as_before();
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

static void malformed_requests_are_refused(void **test)
{
	static const char *const bad_addr[] = {"127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::1",
					       "::1"};
	int sock = hello();

	(void)test;
	for (size_t i = 0; i < ARRAY_SIZE(bad_addr); i++) {
		struct privsep_request q = request(PRIVSEP_TUN);
		ipaddr_parse(&q.tun.addr[0], bad_addr[i]);
		assert_int_equal(ask(sock, &q).code, -EINVAL);
	}
	struct privsep_request q = request(PRIVSEP_TUN);
	q.tun.addr[1].family = 77;
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	int tun = make_tun(sock);

	q = request(PRIVSEP_ROUTES);
	q.routes.n = PRIVSEP_PREFIXES + 1;
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	q.routes.n = 1;
	q.routes.prefix[0] = (struct prefix){.addr = {.family = 4, .b = {10, 96, 0, 1}},
					     .len = 12}; /* host bits */
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	q.routes.prefix[0] = (struct prefix){.addr = {.family = 4, .b = {10, 96}}, .len = 33};
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	q.routes.prefix[0] = (struct prefix){.addr = {.family = 9, .b = {10, 96}}, .len = 12};
	assert_int_equal(ask(sock, &q).code, -EINVAL);

	q = request(PRIVSEP_DNS);
	q.dns.nsearch = PRIVSEP_SEARCH + 1;
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	q.dns.nsearch = 1;
	strcpy(q.dns.search[0], "x\nnameserver 192.0.2.66");
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	memset(q.dns.search[0], 'a', PRIVSEP_DOMAIN_LEN); /* no end */
	assert_int_equal(ask(sock, &q).code, -EINVAL);

	q = request(99);
	assert_int_equal(ask(sock, &q).code, -EPROTO);
	close(tun);
	close(sock);
	assert_as_before();
}

static void another_version_is_told(void **test)
{
	struct privsep_request q = {.version = PRIVSEP_VERSION + 1, .op = PRIVSEP_HELLO};
	struct privsep_answer a;
	int sock = daemon_socket();

	(void)test;
	assert_int_equal(privsep_send_request(sock, &q), 0);
	assert_int_equal(privsep_recv_answer(sock, &a, fds, &nfds), 0);
	assert_int_equal(a.code, -EPROTO);
	assert_non_null(strstr(a.text, "different versions"));
	assert_int_equal(privsep_recv_answer(sock, &a, fds, &nfds), -EPIPE);
	close(sock);
	/* Noise of any length does no harm. */
	for (size_t n = 1; n < 4096; n *= 2) {
		char noise[4096];
		memset(noise, (int)n, sizeof(noise));
		sock = daemon_socket();
		assert_int_equal(send(sock, noise, n, 0), n);
		close(sock);
	}
	close(hello());
}

/* A TCP connection whose data nobody takes, and whose end waits 30 s for that to change. */
static int lingering(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {.l_onoff = 1, .l_linger = 30};
	static const char data[65536];
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(listener, 1), 0); /* stays open to the end of the test program */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

static void send_with_fd(int sock, const void *data, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	assert_int_equal(sendmsg(sock, &msg, 0), len);
	close(fd); /* the one in the queue is the last */
}

static void descriptors_make_nobody_wait(void **test)
{
	struct privsep_request q = request(PRIVSEP_HELLO);
	nsec_t start = clock_boot();
	int sock;

	(void)test;
	for (int behind = 0; behind < 2; behind++) {
		int fd = lingering();

		sock = daemon_socket();
		/* With a request, or behind one for which the socket is closed. */
		if (behind)
			assert_int_equal(send(sock, "noise", 5, 0), 5);
		send_with_fd(sock, &q, sizeof(q), fd);
		usleep(50000); /* the helper has seen it */
		close(hello());
		close(sock);
	}
	/* Of the daemon that holds the helper: all is undone all the same. */
	sock = hello();
	int tun = make_tun(sock);
	send_with_fd(sock, &q, sizeof(q), lingering());
	close(sock);
	close(tun);
	assert_as_before();
	assert_true(clock_boot() - start < 5 * NSEC_PER_SEC);
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

static void status_line(pid_t pid, const char *key, char line[static 128])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, 128, f) && strncmp(line, key, strlen(key)) != 0)
		;
	fclose(f);
}

static void few_privileges_few_descriptors(void **test)
{
	int sock = hello(), held[3];
	char line[128], path[64];

	(void)test;
	set_all(sock, held);
	pid_t who[] = {helper, guard_pid()};
	for (int i = 0; i < 2; i++) {
		status_line(who[i], "NoNewPrivs:", line);
		assert_string_equal(line, "NoNewPrivs:\t1\n");
		status_line(who[i],
			    "CapPrm:", line); /* chown, dac_override, net_bind_service, net_admin */
		assert_string_equal(line, "CapPrm:\t0000000000001403\n");
	}
	/* The guard: its socket and the lock, and nothing that keeps a TUN or a socket open. */
	snprintf(path, sizeof(path), "/proc/%d/fd", who[1]);
	DIR *d = opendir(path);
	unsigned n = 0;
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(n, 2);
	close_all(held);
	close(sock);
	assert_as_before();
}

static void second_helper_is_refused(void **test)
{
	int status;

	(void)test;
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = {"culvert-helper", "--socket", sock_path,
				"--state",	  state_path, NULL};
		dup2(open("/dev/null", O_WRONLY), 2);
		_exit(helper_main(5, argv));
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 1);
	close(hello()); /* the first is not disturbed */
}

static void only_a_socket_is_replaced(void **test)
{
	char state[64], file[64];
	int status;

	(void)test;
	snprintf(state, sizeof(state), "%s/state2", folder);
	snprintf(file, sizeof(file), "%s/precious", folder);
	put(file, "not a socket\n");
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = {"culvert-helper", "--socket", file, "--state", state, NULL};
		alarm(5);
		dup2(open("/dev/null", O_WRONLY), 2);
		_exit(helper_main(5, argv));
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(access(file, F_OK), 0);
}

/* --- around each test ------------------------------------------------------------------------- */

static int fresh(void **test)
{
	(void)test;
	helper_start();
	return 0;
}

static int done(void **test)
{
	(void)test;
	if (getpid() != test_pid) /* a daemon of daemon_start() whose assertion failed */
		_exit(1);
	if (helper)
		helper_end(SIGTERM);
	return 0;
}

static int setup(void **test)
{
	char etc[64];

	(void)test;
	test_pid = getpid();
	if (private_net() < 0 || private_folder(folder, "1m") < 0)
		return -1;
	snprintf(etc, sizeof(etc), "%s/etc", folder);
	snprintf(resolv_path, sizeof(resolv_path), "%s/etc/resolv.conf", folder);
	snprintf(sock_path, sizeof(sock_path), "%s/run/helper.sock", folder);
	snprintf(state_path, sizeof(state_path), "%s/state", folder);
	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	mkdir(etc, 0755);
	put(resolv_path, laptop_conf);
	chmod(resolv_path, 0640);
	if (system("ip link add eth7 type veth peer name eth8 && ip link set eth8 up && "
		   "ip addr add 192.168.7.20/24 dev eth7 && ip link set eth7 up && "
		   "ip route add default via 192.168.7.1"))
		return -1;
	/* Until the kernel has given the link-local addresses that it gives by itself. */
	for (int i = 0; i < 300 && system("ip -6 addr | grep -q tentative") == 0; i++)
		usleep(20000);
	before = machine();
	return 0;
}

static int teardown(void **test)
{
	(void)test;
	free(before);
	private_folder_end(folder);
	return 0;
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
		test(strangers_are_refused),
		test(one_daemon_at_a_time),
		test(idle_clients_keep_nobody_out),
		test(strangers_crowd_nobody_out),
		test(only_a_socket_is_replaced),
		test(routes_follow_the_set),
		test(routes_are_all_or_nothing),
		test(without_ipv6_it_is_said),
		test(malformed_requests_are_refused),
		test(another_version_is_told),
		test(descriptors_make_nobody_wait),
		test(port_53_may_be_taken),
		test(few_privileges_few_descriptors),
		test(second_helper_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
