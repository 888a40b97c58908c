/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling: every outcome is told once, later, as errno has it. In a network namespace of its own,
 * loopback only. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/addr.h"
#include "relay/internal.h"
#include "tests/unit/relay_netns.h"

static struct event_base *base;
static bool in_netns;

struct outcome {
	unsigned calls;
	struct stream *s;
	int error;
	bool close_inside;
};

static void on_dialled(void *arg, struct stream *s, int error)
{
	struct outcome *o = arg;

	o->calls++;
	o->s = s;
	o->error = error;
	if (o->close_inside && s) {
		s->ops->close(s);
		o->s = NULL;
	}
}

static void run_ms(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static void wait_for(struct outcome *o)
{
	for (int i = 0; i < 300 && !o->calls; i++)
		run_ms(10);
	assert_int_equal(o->calls, 1);
}

/* A listener on a free port of `host`. */
static int listener(const char *host, int backlog, union sockaddr_any *sa)
{
	struct ipaddr ip;
	socklen_t len = sizeof(*sa);

	assert_int_equal(ipaddr_parse(&ip, host), 0);
	*sa = sockaddr_from(&ip, 0);
	int fd = socket(sa->sa.sa_family, SOCK_STREAM, 0);
	assert_return_code(bind(fd, &sa->sa, sockaddr_len(sa)), errno);
	assert_return_code(listen(fd, backlog), errno);
	getsockname(fd, &sa->sa, &len);
	return fd;
}

static void dial_text(const char *to, nsec_t timeout, struct outcome *o)
{
	union sockaddr_any sa;
	struct dial *d;

	assert_int_equal(sockaddr_parse(&sa, to), 0);
	assert_int_equal(dial_tcp(base, &sa, timeout, on_dialled, o, &d), 0);
	assert_int_equal(o->calls, 0); /* never from inside the call */
}

static void connects(void **state)
{
	(void)state;
	static const char *const hosts[] = {"127.0.0.1", "::1"};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		union sockaddr_any sa;
		struct outcome o = {0};
		struct dial *d;
		int nodelay = 0;
		socklen_t len = sizeof(nodelay);
		char buf[8];
		int l = listener(hosts[i], 1, &sa);

		assert_int_equal(dial_tcp(base, &sa, NSEC_PER_SEC, on_dialled, &o, &d), 0);
		assert_int_equal(o.calls, 0);
		wait_for(&o);
		assert_int_equal(o.error, 0);
		assert_non_null(o.s);
		int fd = o.s->ops->fd(o.s);
		assert_return_code(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), errno);
		assert_int_equal(nodelay, 1);
		int peer = accept(l, NULL, NULL);
		assert_int_equal(stream_write(o.s, "hello", 5), 5);
		assert_int_equal(recv(peer, buf, 5, MSG_WAITALL), 5);
		o.s->ops->close(o.s);
		close(peer);
		close(l);
	}
}

static void refused(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome o = {0};
	struct dial *d;

	close(listener("127.0.0.1", 1, &sa)); /* nobody there now */
	assert_int_equal(dial_tcp(base, &sa, NSEC_PER_SEC, on_dialled, &o, &d), 0);
	assert_int_equal(o.calls, 0);
	wait_for(&o);
	assert_null(o.s);
	assert_int_equal(o.error, -ECONNREFUSED);
}

static void unreachable(void **state)
{
	(void)state;
	struct outcome net = {0}, host = {0}, prohibited = {0};

	if (!in_netns)
		skip();
	dial_text("192.0.2.1:80", NSEC_PER_SEC, &net); /* no route there */
	wait_for(&net);
	assert_int_equal(net.error, -ENETUNREACH);
	if (system("ip route add unreachable 198.51.100.0/25 && "
		   "ip route add prohibit 198.51.100.128/25") != 0)
		skip();
	dial_text("198.51.100.1:80", NSEC_PER_SEC, &host);
	wait_for(&host);
	assert_int_equal(host.error, -EHOSTUNREACH);
	dial_text("198.51.100.129:80", NSEC_PER_SEC, &prohibited);
	wait_for(&prohibited);
	assert_int_equal(prohibited.error, -EACCES);
}

/* A listener whose queue is full drops SYNs. */
static void times_out(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome o = {0};
	struct dial *d;
	int fill[3];
	int l = listener("127.0.0.1", 0, &sa);

	for (size_t i = 0; i < ARRAY_SIZE(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], &sa.sa, sockaddr_len(&sa));
	}
	nsec_t start = clock_boot();
	assert_int_equal(dial_tcp(base, &sa, 100 * NSEC_PER_MSEC, on_dialled, &o, &d), 0);
	wait_for(&o);
	assert_int_equal(o.error, -ETIMEDOUT);
	assert_true(clock_boot() - start >= 90 * NSEC_PER_MSEC);
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++)
		close(fill[i]);
	close(l);
}

static void cancelled(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome o = {0};
	struct dial *d;
	int l = listener("127.0.0.1", 4, &sa);

	assert_int_equal(dial_tcp(base, &sa, NSEC_PER_SEC, on_dialled, &o, &d), 0);
	dial_cancel(d);
	/* Also when the outcome is already on its way to the callback. */
	close(l);
	assert_int_equal(dial_tcp(base, &sa, NSEC_PER_SEC, on_dialled, &o, &d), 0);
	dial_cancel(d);
	run_ms(30);
	assert_int_equal(o.calls, 0);
}

static void out_of_descriptors(void **state)
{
	(void)state;
	struct outcome o = {0};
	struct rlimit old, none;

	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	dial_text("127.0.0.1:9", 0, &o);
	setrlimit(RLIMIT_NOFILE, &old);
	wait_for(&o);
	assert_int_equal(o.error, -EMFILE);
}

static void freed_in_callback(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome o = {.close_inside = true};
	struct dial *d;
	int l = listener("127.0.0.1", 1, &sa);

	assert_int_equal(dial_tcp(base, &sa, 0, on_dialled, &o, &d), 0);
	wait_for(&o);
	assert_int_equal(o.error, 0);
	run_ms(10);
	assert_int_equal(o.calls, 1);
	close(l);
}

/* Of the descriptor that is made next: the stream's own fd() would change what is looked at. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static bool set_up(int fd)
{
	int nodelay = -1, keepalive = -1;
	socklen_t len = sizeof(int);

	assert_return_code(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), errno);
	assert_return_code(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &len), errno);
	assert_int_equal(nodelay, keepalive);
	return nodelay;
}

static struct stream *dial_now(const union sockaddr_any *sa, struct outcome *o, int *fd)
{
	struct stream *now;
	struct dial *d;

	*fd = next_fd();
	assert_int_equal(dial_tcp_now(base, sa, NSEC_PER_SEC, on_dialled, o, &now, &d), 0);
	assert_non_null(now);
	return now;
}

static void on_readable(struct stream *s, unsigned ev, void *arg)
{
	char c;

	*(unsigned *)arg |= ev;
	assert_int_equal(stream_read(s, &c, 1), 1);
}

/* To a listener of this machine; who greets first is heard without a word of ours. */
static void stands_at_once(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome o = {0};
	unsigned seen = 0;
	int l = listener("127.0.0.1", 1, &sa), fd;
	struct stream *s = dial_now(&sa, &o, &fd);
	int peer = accept(l, NULL, NULL);

	stream_set(s, on_readable, &seen);
	assert_int_equal(write(peer, "g", 1), 1);
	for (int i = 0; i < 300 && !seen; i++)
		run_ms(10);
	assert_int_equal(seen, STREAM_READABLE);
	assert_int_equal(o.calls, 0);
	s->ops->close(s);
	close(peer);
	close(l);
}

/* One short write needs no options. What waits for an acknowledgement otherwise is a second one, or the end of a long one. */
static void options_come_with_the_second_write(void **state)
{
	(void)state;
	static const char some[4096];
	union sockaddr_any sa;
	struct outcome o = {0};
	int l = listener("127.0.0.1", 8, &sa), fd;
	struct stream *s = dial_now(&sa, &o, &fd);

	assert_int_equal(stream_write(s, some, 100), 100);
	assert_false(set_up(fd));
	assert_int_equal(stream_write(s, some, 100), 100);
	assert_true(set_up(fd));
	s->ops->close(s);
	s = dial_now(&sa, &o, &fd);
	assert_int_equal(stream_write(s, some, sizeof(some)), sizeof(some));
	assert_true(set_up(fd));
	s->ops->close(s);
	s = dial_now(&sa, &o, &fd);
	assert_false(set_up(fd));
	assert_int_equal(s->ops->fd(s), fd); /* whoever asks may write by it */
	assert_true(set_up(fd));
	s->ops->close(s);
	close(l);
}

/* What does not stand at once, or never will, is told as by dial_tcp(). */
static void not_at_once(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct outcome late = {0}, never = {0};
	struct stream *now;
	struct dial *d;
	int fill[3], l = listener("127.0.0.1", 0, &sa);

	for (size_t i = 0; i < ARRAY_SIZE(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], &sa.sa, sockaddr_len(&sa));
	}
	assert_int_equal(dial_tcp_now(base, &sa, 100 * NSEC_PER_MSEC, on_dialled, &late, &now, &d),
			 0);
	assert_null(now);
	assert_int_equal(late.calls, 0);
	wait_for(&late);
	assert_int_equal(late.error, -ETIMEDOUT);
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++)
		close(fill[i]);
	close(l);
	assert_int_equal(dial_tcp_now(base, &sa, NSEC_PER_SEC, on_dialled, &never, &now, &d), 0);
	assert_null(now);
	assert_int_equal(never.calls, 0);
	wait_for(&never);
	assert_int_equal(never.error, -ECONNREFUSED);
}

static int setup(void **state)
{
	(void)state;
	in_netns = netns_enter();
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connects),
		cmocka_unit_test(refused),
		cmocka_unit_test(unreachable),
		cmocka_unit_test(times_out),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(freed_in_callback),
		cmocka_unit_test(stands_at_once),
		cmocka_unit_test(not_at_once),
		cmocka_unit_test(options_come_with_the_second_write),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
