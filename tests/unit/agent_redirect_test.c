/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The redirect of a pod's ports, in two network namespaces:
 *
 *     client 10.7.0.2 fd07::2  eth1 --- eth0  10.7.0.1 fd07::1 pod: application :8080, agent :9900 (UDP 9000, 9901)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/redirect.h"
#include "base/addr.h"
#include "private_net.h"

static struct error err;
static int pod, client; /* namespaces */

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static int this_namespace(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void run(const char *fmt, ...)
{
	char command[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("%s", command);
}

static int begin(void **unused)
{
	(void)unused;
	if (private_net() < 0)
		return -1;
	client = this_namespace();
	if (private_net() < 0)
		return -1;
	pod = this_namespace();
	run("ip link add eth0 type veth peer name eth1");
	run("ip link set eth1 netns /proc/%d/fd/%d", getpid(), client);
	run("ip addr add 10.7.0.1/24 dev eth0 && ip addr add fd07::1/64 dev eth0 nodad");
	run("ip link set eth0 up");
	enter(client);
	run("ip addr add 10.7.0.2/24 dev eth1 && ip addr add fd07::2/64 dev eth1 nodad");
	run("ip link set eth1 up");
	enter(pod);
	return 0;
}

static int end(void **unused)
{
	(void)unused;
	close(client);
	close(pod);
	return 0;
}

static void set(const char *args)
{
	struct redirects r = {.n = 0};
	char text[4096], *save = NULL;

	snprintf(text, sizeof(text), "%s", args);
	for (char *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save))
		assert_int_equal(redirect_parse(&r, one, &err), 0);
	if (redirect_set(&r, &err))
		fail_msg("%s", err.text);
}

/* A socket of the pod at [::]:PORT, for IPv4 too. */
static int serve(int type, uint16_t port)
{
	const struct ipaddr any = {.family = 6};
	union sockaddr_any sa = sockaddr_from(&any, port);
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(fd, &sa.sa, sockaddr_len(&sa)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int dial(int ns, int type, const char *to)
{
	union sockaddr_any sa;
	int fd;

	assert_int_equal(sockaddr_parse(&sa, to), 0);
	enter(ns);
	fd = socket(sa.sa.sa_family, type | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (connect(fd, &sa.sa, sockaddr_len(&sa)) < 0)
		fail_msg("%s: %s", to, strerror(errno));
	enter(pod);
	return fd;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 5000) == 1;
}

/* Who of the two gets a connection from `ns` to `to`: 'a'pplication or 'A'gent. */
static char who(int ns, const char *to, int application, int agent)
{
	int fd = dial(ns, SOCK_STREAM, to);
	struct pollfd p[] = {{.fd = application, .events = POLLIN},
			     {.fd = agent, .events = POLLIN}};
	char got;

	assert_int_equal(poll(p, 2, 5000), 1);
	got = p[0].revents ? 'a' : 'A';
	close(accept(p[0].revents ? application : agent, NULL, NULL));
	close(fd);
	return got;
}

static void test_tcp(void **unused)
{
	int application = serve(SOCK_STREAM, 8080), agent = serve(SOCK_STREAM, 9900);

	(void)unused;
	set("8080:9900 9910:8080");
	assert_int_equal(who(client, "10.7.0.1:8080", application, agent), 'A');
	assert_int_equal(who(client, "[fd07::1]:8080", application, agent), 'A');
	/* the pod's own processes, and the agent among them */
	assert_int_equal(who(pod, "127.0.0.1:8080", application, agent), 'a');
	assert_int_equal(who(pod, "[::1]:8080", application, agent), 'a');
	assert_int_equal(who(pod, "10.7.0.1:8080", application, agent), 'a');
	assert_int_equal(who(pod, "[fd07::1]:8080", application, agent), 'a');
	/* a probe's way past the agent */
	assert_int_equal(who(client, "10.7.0.1:9910", application, agent), 'a');
	assert_int_equal(who(client, "10.7.0.1:9900", application, agent), 'A');
	close(application);
	close(agent);
}

/* What is set again is all there is then; the tables of others stay. */
static void test_replaced(void **unused)
{
	int application = serve(SOCK_STREAM, 8080), agent = serve(SOCK_STREAM, 9900);

	(void)unused;
	set("8080:9900");
	set("8080:9900");
	assert_int_equal(who(client, "10.7.0.1:8080", application, agent), 'A');
	set("8081:9900");
	assert_int_equal(who(client, "10.7.0.1:8080", application, agent), 'a');
	assert_int_equal(who(client, "10.7.0.1:8081", application, agent), 'A');
	close(application);
	close(agent);
}

static void test_udp(void **unused)
{
	int application = serve(SOCK_DGRAM, 9000), agent = serve(SOCK_DGRAM, 9901);
	const char *const remote[] = {"10.7.0.1:9000", "[fd07::1]:9000"};
	union sockaddr_any from;
	socklen_t len;
	char buf[16];

	(void)unused;
	set("9000:9901/udp 9000:9902/tcp");
	for (size_t i = 0; i < ARRAY_SIZE(remote); i++) {
		int fd = dial(client, SOCK_DGRAM, remote[i]);

		len = sizeof(from);
		assert_int_equal(send(fd, "ask", 3, 0), 3);
		assert_true(readable(agent));
		assert_int_equal(recvfrom(agent, buf, sizeof(buf), 0, &from.sa, &len), 3);
		/* The client's socket takes it only from whom it asked: port 9000. */
		assert_int_equal(sendto(agent, "say", 3, 0, &from.sa, len), 3);
		assert_true(readable(fd));
		assert_int_equal(recv(fd, buf, sizeof(buf), 0), 3);
		close(fd);
	}
	int fd = dial(pod, SOCK_DGRAM, "10.7.0.1:9000");

	assert_int_equal(send(fd, "own", 3, 0), 3);
	assert_true(readable(application));
	close(fd);
	close(application);
	close(agent);
}

static void test_many(void **unused)
{
	struct redirects r = {.n = 0};
	int agent = serve(SOCK_STREAM, 20063), application = serve(SOCK_STREAM, 10063);
	char text[32];

	(void)unused;
	for (unsigned i = 0; i < REDIRECTS_MAX; i++) {
		snprintf(text, sizeof(text), "%u:%u", 10000 + i, 20000 + i);
		assert_int_equal(redirect_parse(&r, text, &err), 0);
	}
	assert_int_equal(redirect_parse(&r, "1:2", &err), -EINVAL);
	assert_string_equal(err.text, "more than 64 redirects");
	if (redirect_set(&r, &err))
		fail_msg("%s", err.text);
	assert_int_equal(who(client, "10.7.0.1:10063", application, agent), 'A');
	close(agent);
	close(application);
}

/* As a user without capabilities: a child, since there is no way back. */
static void test_no_right(void **unused)
{
	struct redirects r = {.n = 1, .r = {{.from = 8080, .to = 9900}}};
	int status;
	pid_t child;

	(void)unused;
	if (getuid() != 0)
		skip();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (setgid(65532) || setuid(65532))
			_exit(2);
		_exit(redirect_set(&r, &err) == -EPERM &&
				      strstr(err.text, "needs the capability NET_ADMIN") &&
				      strstr(err.text, "name the port")
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_words(void **unused)
{
	static const char *const wrong[] = {
		"",	   "8080",	   ":",	       "8080:",	   ":80",
		"0:80",	   "80:0",	   "65536:80", "80:65536", "80:81/sctp",
		"80:81/",  "80:81 ",	   "-1:80",    "80:81:82", "4294967376:80",
		"0x50:80", "80:81/udp/tcp"};
	struct redirects r = {.n = 0};
	char *usage[] = {(char[]){"redirect"}, NULL};
	char *bad[] = {(char[]){"redirect"}, (char[]){"80"}, NULL};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (redirect_parse(&r, wrong[i], &err) == 0)
			fail_msg("'%s' is taken", wrong[i]);
	}
	assert_int_equal(r.n, 0);
	assert_int_equal(redirect_parse(&r, "65535:1", &err), 0);
	assert_int_equal(redirect_parse(&r, "65535:1/udp", &err), 0);
	assert_int_equal(redirect_parse(&r, "65535:2/tcp", &err), -EINVAL);
	assert_non_null(strstr(err.text, "port 65535 is redirected twice"));
	assert_int_equal(redirect_main(1, usage), 2);
	assert_int_equal(redirect_main(2, bad), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),	 cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_replaced), cmocka_unit_test(test_udp),
		cmocka_unit_test(test_many),	 cmocka_unit_test(test_no_right),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
