/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the stub between real dig and real dnsmasq, in a network of its own:
 *
 *   dig -> 127.0.53.53:53 stub -> 127.0.0.10:53 dnsmasq, the cluster's   (cluster.local)
 *                              -> 127.0.0.20:53 dnsmasq, the laptop's    (all else)
 *
 * Nobody listens at 127.0.0.30; sockets of the test at 127.0.0.40 say nothing, or what a test
 * wants.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dns/internal.h"
#include "private_net.h"

enum { CLUSTER = 10, LOCAL = 20, NOBODY = 30, TEST = 40 };

static struct event_base *base;
static struct dns_stub *stub;
static pid_t servers[2];

static inline union sockaddr_any at(int last, uint16_t port)
{
	struct ipaddr a = {.family = 4, .b = {127, 0, 0, (uint8_t)last}};

	return sockaddr_from(&a, port);
}

static inline int bound(int type, union sockaddr_any sa)
{
	int one = 1, fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, &sa.sa, sizeof(sa.in)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static inline union sockaddr_any stub_addr(void)
{
	union sockaddr_any sa;

	assert_int_equal(sockaddr_parse(&sa, DNS_STUB_ADDR ":53"), 0);
	return sa;
}

/* The stub with these servers; `second` of the laptop's may be 0. */
static inline void stub_start(int cluster, int first, int second)
{
	struct dns_config cfg = {.cluster = at(cluster, 53),
				 .ndomains = 2,
				 .domain = {"example.test", "Cluster.Local"}};
	struct error e;

	if (first)
		cfg.resolver[cfg.nresolvers++] = at(first, 53);
	if (second)
		cfg.resolver[cfg.nresolvers++] = at(second, 53);
	assert_int_equal(dns_stub_new(&stub, base, bound(SOCK_DGRAM, stub_addr()),
				      bound(SOCK_STREAM, stub_addr()), &cfg, &e),
			 0);
}

static inline int stub_stop(void **state)
{
	(void)state;
	dns_stub_free(stub);
	stub = NULL;
	return 0;
}

static inline void run_for(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static const uint8_t question[] =
	"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\3web\7cluster\5local\0\0\1\0\1";
enum { QUESTION = sizeof(question) - 1 };

static inline int client_udp(void)
{
	union sockaddr_any sa = stub_addr();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, &sa.sa, sizeof(sa.in)), 0);
	return fd;
}

/* --- dig -------------------------------------------------------------------------------------- */

struct output {
	char text[65536 * 2];
	size_t len;
	bool ended;
};

static inline void output_readable(evutil_socket_t fd, short what, void *arg)
{
	struct output *out = arg;
	ssize_t n = read(fd, out->text + out->len, sizeof(out->text) - 1 - out->len);

	(void)what;
	if (n > 0) {
		out->len += (size_t)n;
		return;
	}
	out->ended = true;
	event_base_loopbreak(base);
}

/* Runs dig against the stub while the stub's loop runs; its output. */
static inline const char *dig(const char *args)
{
	static struct output out;
	char cmd[512];

	memset(&out, 0, sizeof(out));
	snprintf(cmd, sizeof(cmd), "dig @" DNS_STUB_ADDR " +tries=1 %s 2>&1", args);
	FILE *p = popen(cmd, "r");
	assert_non_null(p);
	struct event *ev = event_new(base, fileno(p), EV_READ | EV_PERSIST, output_readable, &out);
	event_add(ev, NULL);
	while (!out.ended)
		event_base_dispatch(base);
	event_free(ev);
	pclose(p);
	return out.text;
}

#define assert_has(text, part)                                                                     \
	do {                                                                                       \
		const char *text_ = (text);                                                        \
		if (!strstr(text_, part))                                                          \
			fail_msg("\"%s\" is not in: %s", part, text_);                             \
	} while (0)

/* --- the servers ------------------------------------------------------------------------------ */

static inline pid_t dnsmasq(int last, const char *const *records)
{
	const char *argv[64] = {"dnsmasq",
				"-d",
				"--conf-file=/dev/null",
				"--bind-interfaces",
				"--no-resolv",
				"--no-hosts",
				"--edns-packet-max=4096",
				"--local=/cluster.local/lan/"};
	char listen_at[64];
	int n = 8;

	snprintf(listen_at, sizeof(listen_at), "--listen-address=127.0.0.%d", last);
	argv[n++] = listen_at;
	while (*records)
		argv[n++] = *records++;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execvp("dnsmasq", (char **)(uintptr_t)argv);
		execv("/usr/sbin/dnsmasq", (char **)(uintptr_t)argv);
		_exit(127);
	}
	/* Ready when its TCP port answers. */
	for (int i = 0; i < 200; i++) {
		union sockaddr_any sa = at(last, 53);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int r = connect(fd, &sa.sa, sizeof(sa.in));

		close(fd);
		if (r == 0)
			return pid;
		usleep(20000);
	}
	kill(pid, SIGKILL);
	return -1;
}

static inline int setup(void **state)
{
	static char big[12][256], big2[12][256];
	const char *cluster[32] = {
		"--host-record=web.shop.svc.cluster.local,10.96.1.5,fd00:10::5",
		"--host-record=web.cluster.local,10.96.1.6",
		"--srv-host=_http._tcp.web.shop.svc.cluster.local,web.shop.svc.cluster.local,80"};
	static char fits[600] = "--txt-record=fits.svc.cluster.local,";
	const char *local[] = {"--host-record=printer.lan,192.0.2.7",
			       "--host-record=go.dev,192.0.2.8",
			       "--host-record=big.example.test,192.0.2.9", NULL};

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	if (private_net() < 0)
		return -1;
	memset(fits + strlen(fits), 'f', 230);
	strcat(fits, ",");
	memset(fits + strlen(fits), 'f', 210);
	cluster[3] = fits;
	for (int i = 0; i < 12; i++) {
		int n = snprintf(big[i], sizeof(big[i]), "--txt-record=big.cluster.local,%02d", i);
		memset(big[i] + n, 'a' + i, 198);
		cluster[4 + i] = big[i];
		snprintf(big2[i], sizeof(big2[i]), "--txt-record=big.svc%s", strchr(big[i], '.'));
		cluster[16 + i] = big2[i];
	}
	servers[0] = dnsmasq(CLUSTER, cluster);
	servers[1] = dnsmasq(LOCAL, local);
	base = event_base_new();
	return servers[0] > 0 && servers[1] > 0 && base ? 0 : -1;
}

static inline int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	for (int i = 0; i < 2; i++) {
		kill(servers[i], SIGKILL);
		waitpid(servers[i], NULL, 0);
	}
	return 0;
}

#define test(f) cmocka_unit_test_teardown(f, stub_stop)
