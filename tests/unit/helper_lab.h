/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a helper of our own, in a network and mounts of its own; the test plays the daemon.
 *
 *   test ---- helper.sock ---- helper (a child) ---- guard (its child)
 *     \__ the TUN, port 53        |
 *                                 culvert0, routes, FOLDER/etc/resolv.conf
 */
#pragma once

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

static inline void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Everything that must be as before, as text. */
static inline char *machine(void)
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

static inline void assert_as_before(void)
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

static inline bool has_route(const char *route)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "(ip route; ip -6 route) | grep -q '^%s dev culvert0 proto 77'",
		 route);
	return system(cmd) == 0;
}

/* --- the helper ------------------------------------------------------------------------------- */

static inline int daemon_socket(void)
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

static inline void helper_start(void)
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
static inline int helper_end(int signal)
{
	int status;

	kill(helper, signal);
	assert_int_equal(waitpid(helper, &status, 0), helper);
	helper = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline pid_t guard_pid(void)
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

static inline struct privsep_answer ask(int sock, const struct privsep_request *q)
{
	struct privsep_answer a;

	assert_int_equal(privsep_send_request(sock, q), 0);
	assert_int_equal(privsep_recv_answer(sock, &a, fds, &nfds), 0);
	assert_int_equal(a.op, q->op);
	return a;
}

static inline struct privsep_request request(enum privsep_op op)
{
	return (struct privsep_request){.version = PRIVSEP_VERSION, .op = op};
}

static inline int hello(void)
{
	struct privsep_request q = request(PRIVSEP_HELLO);
	int sock = daemon_socket();

	assert_int_equal(ask(sock, &q).code, 0);
	return sock;
}

static inline int make_tun(int sock)
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

static inline struct privsep_answer set_routes(int sock, const char *const *prefixes)
{
	struct privsep_request q = request(PRIVSEP_ROUTES);

	while (*prefixes)
		assert_int_equal(prefix_parse(&q.routes.prefix[q.routes.n++], *prefixes++), 0);
	return ask(sock, &q);
}

#define ROUTES(sock, ...) set_routes(sock, (const char *const[]){__VA_ARGS__, NULL})

static inline struct privsep_answer set_dns(int sock)
{
	struct privsep_request q = request(PRIVSEP_DNS);

	q.dns.nsearch = 1;
	strcpy(q.dns.search[0], "svc.cluster.local");
	return ask(sock, &q);
}

static inline void set_all(int sock, int held[static 3])
{
	held[0] = make_tun(sock);
	assert_int_equal(ROUTES(sock, "10.96.0.0/12", "fd00:10::/32").code, 0);
	assert_int_equal(set_dns(sock).code, 0);
	assert_int_equal(nfds, 2);
	held[1] = fds[0];
	held[2] = fds[1];
}

static inline void close_all(const int held[static 3])
{
	for (int i = 0; i < 3; i++)
		close(held[i]);
}

/* --- around each test ------------------------------------------------------------------------- */

static inline int fresh(void **test)
{
	(void)test;
	helper_start();
	return 0;
}

static inline int done(void **test)
{
	(void)test;
	if (getpid() != test_pid) /* a daemon of daemon_start() whose assertion failed */
		_exit(1);
	if (helper)
		helper_end(SIGTERM);
	return 0;
}

static inline int setup(void **test)
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

static inline int teardown(void **test)
{
	(void)test;
	free(before);
	private_folder_end(folder);
	return 0;
}
