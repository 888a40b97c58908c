/* SPDX-License-Identifier: Apache-2.0 */
/* The whole helper among strangers, and with a daemon that means ill. */
#include "helper_lab.h"

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
	q.dns.nsearch = 0;
	q.dns.ndomains = PRIVSEP_DOMAINS + 1;
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	q.dns.ndomains = 2;
	strcpy(q.dns.domain[0], "shop");
	strcpy(q.dns.domain[1], "~.");
	assert_int_equal(ask(sock, &q).code, -EINVAL);
	memset(q.dns.domain[1], 'a', PRIVSEP_ROUTED_LEN);
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

/* Listens and never accepts, to the end of the test program. */
static struct sockaddr_in deaf(void)
{
	static struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	if (!sa.sin_port) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		sa = (struct sockaddr_in){.sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
		assert_int_equal(listen(fd, 8), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	}
	return sa;
}

/* A TCP connection whose data nobody takes, and whose end waits 30 s for that to change. */
static int lingering(const struct sockaddr_in *to)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 30};
	static const char data[65536];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		_exit(1);
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		_exit(2);
	return fd;
}

static void send_fd(int sock, const void *data, size_t len, int fd)
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
	/* Behind noise the helper may have closed already: then there is nothing to hold it up. */
	_exit(sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)len || errno == EPIPE ? 0 : 3);
}

/* By a child, whose end lingers for nobody, should the helper be done with it first: then ours would be the last close. */
static void send_with_fd(int sock, bool behind_noise, const void *data, size_t len)
{
	struct sockaddr_in to = deaf();
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = lingering(&to);

		if (behind_noise)
			send(sock, "noise", 5, 0);
		send_fd(sock, data, len, fd);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void descriptors_make_nobody_wait(void **test)
{
	struct privsep_request q = request(PRIVSEP_HELLO);
	nsec_t start = clock_boot();
	int sock;

	(void)test;
	for (int behind = 0; behind < 2; behind++) {
		sock = daemon_socket();
		/* With a request, or behind one for which the socket is closed. */
		send_with_fd(sock, behind, &q, sizeof(q));
		usleep(50000); /* the helper has seen it */
		close(hello());
		close(sock);
	}
	/* Of the daemon that holds the helper: all is undone all the same. */
	sock = hello();
	int tun = make_tun(sock);
	send_with_fd(sock, false, &q, sizeof(q));
	close(sock);
	close(tun);
	assert_as_before();
	assert_true(clock_boot() - start < 5 * NSEC_PER_SEC);
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

#define test(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(strangers_are_refused),	      test(one_daemon_at_a_time),
		test(idle_clients_keep_nobody_out),   test(strangers_crowd_nobody_out),
		test(only_a_socket_is_replaced),      test(malformed_requests_are_refused),
		test(another_version_is_told),	      test(descriptors_make_nobody_wait),
		test(few_privileges_few_descriptors), test(second_helper_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
