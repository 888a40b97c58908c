/* SPDX-License-Identifier: Apache-2.0 */
/* The messages between daemon and helper: whole or refused; descriptors travel, none leaks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "privsep/privsep.h"

static int end[2];

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end);
}

static int unpair(void **state)
{
	(void)state;
	close(end[0]);
	close(end[1]);
	return 0;
}

static void request_arrives_whole(void **state)
{
	struct privsep_request out = {.version = PRIVSEP_VERSION, .op = PRIVSEP_ROUTES}, in;

	(void)state;
	out.routes.n = PRIVSEP_PREFIXES;
	for (unsigned i = 0; i < PRIVSEP_PREFIXES; i++)
		out.routes.prefix[i] =
			(struct prefix){.addr = {.family = 4, .b = {10, (uint8_t)i}}, .len = 16};
	assert_int_equal(privsep_send_request(end[0], &out), 0);
	assert_int_equal(privsep_recv_request(end[1], &in), 0);
	assert_memory_equal(&in, &out, sizeof(in));
}

static void other_sizes_and_versions_are_refused(void **state)
{
	struct privsep_request out = {.version = PRIVSEP_VERSION + 1, .op = PRIVSEP_HELLO}, in;
	static char large[sizeof(out) + 1];

	(void)state;
	assert_int_equal(privsep_send_request(end[0], &out), 0);
	assert_int_equal(privsep_recv_request(end[1], &in), -EPROTO);
	out.version = PRIVSEP_VERSION;
	for (size_t len = 1; len < sizeof(out); len += 97) {
		assert_int_equal(send(end[0], &out, len, 0), len);
		assert_int_equal(privsep_recv_request(end[1], &in), -EPROTO);
	}
	memcpy(large, &out, sizeof(out));
	assert_int_equal(send(end[0], large, sizeof(large), 0), sizeof(large));
	assert_int_equal(privsep_recv_request(end[1], &in), -EPROTO);
	assert_int_equal(privsep_send_request(end[0], &out), 0); /* the next one is not harmed */
	assert_int_equal(privsep_recv_request(end[1], &in), 0);
	close(end[0]);
	assert_int_equal(privsep_recv_request(end[1], &in), -EPIPE);
	end[0] = -1;
}

static void descriptors_travel(void **state)
{
	struct privsep_answer out = {.version = PRIVSEP_VERSION, .op = PRIVSEP_DNS, .nfds = 2}, in;
	int pipe_ends[2], got[4];
	unsigned n;
	char c = 'x';

	(void)state;
	assert_int_equal(pipe(pipe_ends), 0);
	int before = open_fds();
	assert_int_equal(privsep_send_answer(end[0], &out, pipe_ends, 2), 0);
	assert_int_equal(privsep_recv_answer(end[1], &in, got, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(write(got[1], &c, 1), 1);
	c = 0;
	assert_int_equal(read(pipe_ends[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	close(got[0]);
	close(got[1]);

	/* Fewer or more than announced: refused, and closed. */
	out.nfds = 1;
	assert_int_equal(privsep_send_answer(end[0], &out, pipe_ends, 2), 0);
	assert_int_equal(privsep_recv_answer(end[1], &in, got, &n), -EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(open_fds(), before);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

/* A client that sends descriptors along wants to fill the helper's table. */
static void helper_takes_no_descriptors(void **state)
{
	struct privsep_request q = {.version = PRIVSEP_VERSION, .op = PRIVSEP_HELLO}, in;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(16 * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = &q, .iov_len = sizeof(q)};

	(void)state;
	for (unsigned count = 1; count <= 16; count *= 4) {
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.buf,
				     .msg_controllen = CMSG_SPACE(count * sizeof(int))};
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memset(CMSG_DATA(c), 0, count * sizeof(int)); /* stdin, many times */
		int before = open_fds();
		assert_int_equal(sendmsg(end[0], &msg, 0), sizeof(q));
		assert_int_equal(privsep_recv_request(end[1], &in), -EPROTO);
		assert_int_equal(open_fds(), before);
	}
}

static void answers_are_bounded(void **state)
{
	struct privsep_answer out = {.version = PRIVSEP_VERSION}, in;
	int got[4];
	unsigned n;

	(void)state;
	memset(out.text, 'a', sizeof(out.text));
	memset(out.tun_name, 'a', sizeof(out.tun_name));
	memset(out.search, 'a', sizeof(out.search));
	assert_int_equal(privsep_send_answer(end[0], &out, NULL, 0), 0);
	assert_int_equal(privsep_recv_answer(end[1], &in, got, &n), 0);
	assert_int_equal(strlen(in.text), sizeof(in.text) - 1);
	assert_int_equal(strlen(in.tun_name), sizeof(in.tun_name) - 1);
	assert_int_equal(strlen(in.search[PRIVSEP_SEARCH - 1]), PRIVSEP_DOMAIN_LEN - 1);
	out.nsearch = PRIVSEP_SEARCH + 1;
	assert_int_equal(privsep_send_answer(end[0], &out, NULL, 0), 0);
	assert_int_equal(privsep_recv_answer(end[1], &in, got, &n), -EPROTO);
	out.nsearch = 0;
	out.nresolvers = PRIVSEP_RESOLVERS + 1;
	assert_int_equal(privsep_send_answer(end[0], &out, NULL, 0), 0);
	assert_int_equal(privsep_recv_answer(end[1], &in, got, &n), -EPROTO);
}

#define test(f) cmocka_unit_test_setup_teardown(f, pair, unpair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(request_arrives_whole), test(other_sizes_and_versions_are_refused),
		test(descriptors_travel),    test(helper_takes_no_descriptors),
		test(answers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
