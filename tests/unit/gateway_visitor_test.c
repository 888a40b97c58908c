/* SPDX-License-Identifier: Apache-2.0 */
/* Visitors that do not finish a head: how long they may stay, how much they may send, and how many there may be. */
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "gateway/visitor.h"
#include "serve/serve.h"
#include "tls/tls.h"

enum { FIRST_S = 20, REST_S = 30, NEXT_S = 75, LINGER_S = 3, DRIP_S = 5 };

/* --- what visitor.c and listen.c ask of others ----------------------------------------------------------------------- */

static time_t ahead;
static bool hold; /* requests wait for something */
static unsigned held;

/* In libc's place, for libevent, too. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (r == 0)
		ts->tv_sec += ahead;
	return r;
}

int64_t now_seconds(void)
{
	return 0;
}

static void on_cancel(void *arg)
{
	(void)arg;
	held--;
}

void site_request(struct visitor *v, bool dashboard_port)
{
	const struct answer a = {.status = 200, .type = "text/plain", .body = "hello", .len = 5};

	(void)dashboard_port;
	held += hold;
	if (hold)
		visitor_wait(v, on_cancel, NULL);
	else
		visitor_answer(v, &a);
}

bool site_allows(const struct gateway *g, const struct grant *grant, const struct preview *p)
{
	(void)g;
	(void)grant;
	(void)p;
	return false;
}

const struct preview *told_find(const struct told *t, struct http_text id)
{
	(void)t;
	(void)id;
	return NULL;
}

const char *serve_status_text(int status)
{
	(void)status;
	return "As told";
}

/* Without an ingress, and without TLS. */
void ingress_drop(struct visitor *v)
{
	assert_null(v->up);
}

void ingress_watch(struct visitor *v)
{
	assert_null(v->up);
}

enum went ingress_write(struct visitor *v)
{
	(void)v;
	fail();
	return STUCK;
}

enum went ingress_head(struct visitor *v, size_t n, bool tunnel)
{
	(void)n;
	(void)tunnel;
	return ingress_write(v);
}

enum went ingress_failed(struct visitor *v, const char *why)
{
	(void)why;
	return ingress_write(v);
}

void ingress_fails(struct visitor *v, const char *why)
{
	(void)ingress_failed(v, why);
}

bool ingress_begins(const struct visitor *v)
{
	return v->up;
}

int tls_accept(struct stream **sp, struct event_base *base, struct ssl_ctx_st *ctx, int fd)
{
	(void)ctx;
	return stream_from_fd(base, fd, sp);
}

/* --- a gateway and its visitors ------------------------------------------------------------------------------------------ */

static struct gateway g;

static int set_up(void **unused)
{
	(void)unused;
	memset(&g, 0, sizeof(g));
	ahead = 0;
	hold = false;
	held = 0;
	TAILQ_INIT(&g.visitors);
	LIST_INIT(&g.watchers);
	g.base = event_base_new();
	return g.base ? 0 : -1;
}

static int tear_down(void **unused)
{
	(void)unused;
	while (!TAILQ_EMPTY(&g.visitors))
		visitor_abort(TAILQ_FIRST(&g.visitors));
	assert_int_equal(g.nvisitors, 0);
	assert_int_equal(held, 0);
	event_base_free(g.base);
	return 0;
}

/* What can be done now is done. */
static void run(void)
{
	for (int i = 0; i < 8; i++)
		event_base_loop(g.base, EVLOOP_NONBLOCK);
}

static void later(int seconds)
{
	ahead += seconds;
	run();
}

/* Its end of the connection. */
static int visitor(void)
{
	const struct ipaddr from = {.family = AF_INET};
	struct stream *s;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(stream_from_fd(g.base, fd[0], &s), 0);
	assert_int_equal(visitor_new(&g, s, &from, false), 0);
	return fd[1];
}

static void says(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	run();
}

/* All that has come; it begins so. */
static void hears(int fd, const char *begin)
{
	char buf[2048];
	size_t have = 0;
	ssize_t n;

	while ((n = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT)) > 0)
		have += (size_t)n;
	assert_true(have >= strlen(begin));
	assert_memory_equal(buf, begin, strlen(begin));
}

static bool is_open(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static bool has_ended(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void is_gone(int fd)
{
	assert_true(has_ended(fd));
	assert_int_equal(g.nvisitors, 0);
	close(fd);
}

/* --- time ------------------------------------------------------------------------------------------------------------------- */

static void test_one_that_says_nothing(void **unused)
{
	int fd = visitor();

	(void)unused;
	later(FIRST_S - 1);
	assert_true(is_open(fd));
	later(1);
	is_gone(fd);
}

/* Each byte more does not make the time begin anew; what comes after the answer is thrown away, for a moment. */
static void test_a_head_that_does_not_end(void **unused)
{
	int fd = visitor();

	(void)unused;
	later(FIRST_S - 1);
	says(fd, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	for (int i = DRIP_S; i < REST_S; i += DRIP_S) {
		later(DRIP_S);
		says(fd, "x");
		assert_true(is_open(fd));
	}
	later(DRIP_S);
	hears(fd, "HTTP/1.1 408 ");
	assert_int_equal(g.nvisitors, 1);
	for (int i = 1; i < LINGER_S; i++) {
		says(fd, "x");
		later(1);
	}
	assert_int_equal(g.nvisitors, 1);
	later(1);
	is_gone(fd);
}

/* A connection that is kept waits longer for the next head, and no longer than for the first one for the rest of it. */
static void test_the_next_head(void **unused)
{
	int fd = visitor();

	(void)unused;
	for (int i = 0; i < 2; i++) {
		says(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		hears(fd, "HTTP/1.1 200 ");
		later(NEXT_S - 1);
		assert_true(is_open(fd));
	}
	says(fd, "G");
	later(REST_S - 1);
	assert_true(is_open(fd));
	later(1);
	hears(fd, "HTTP/1.1 408 ");
	later(LINGER_S);
	is_gone(fd);

	fd = visitor();
	says(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	hears(fd, "HTTP/1.1 200 ");
	later(NEXT_S);
	is_gone(fd);
}

/* --- bytes ------------------------------------------------------------------------------------------------------------------ */

static void test_a_head_without_end(void **unused)
{
	char line[1024 + 1];
	int fd = visitor(), n = 0;

	(void)unused;
	snprintf(line, sizeof(line), "X: %0*d\r\n", (int)sizeof(line) - 6, 0);
	says(fd, "GET / HTTP/1.1\r\nHost: a\r\n");
	while (is_open(fd) && n++ < 2 * HTTP_HEAD_MAX / (int)strlen(line))
		says(fd, line);
	hears(fd, "HTTP/1.1 431 ");
	assert_true((size_t)n * strlen(line) <= HTTP_HEAD_MAX + strlen(line));
	assert_true(TAILQ_FIRST(&g.visitors)->in.len <= HTTP_HEAD_MAX);
	later(LINGER_S);
	is_gone(fd);
}

/* --- number ------------------------------------------------------------------------------------------------------------------ */

static union sockaddr_any gate;

static int listening(void **unused)
{
	struct rlimit limit;
	socklen_t len = sizeof(gate);
	struct error e;

	if (set_up(unused) || getrlimit(RLIMIT_NOFILE, &limit))
		return -1;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) || sockaddr_parse(&g.config.listen, "127.0.0.1:0") ||
	    listen_start(&g, &e))
		return -1;
	return getsockname(evconnlistener_get_fd(g.listener), &gate.sa, &len);
}

static int end_listening(void **unused)
{
	listen_stop(&g);
	return tear_down(unused);
}

static int comes_from(const char *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union sockaddr_any from;

	assert_true(fd >= 0);
	assert_int_equal(sockaddr_parse(&from, address), 0);
	assert_int_equal(bind(fd, &from.sa, sockaddr_len(&from)), 0);
	assert_int_equal(connect(fd, &gate.sa, sockaddr_len(&gate)), 0);
	run();
	return fd;
}

static bool is_refused(const char *address)
{
	int fd = comes_from(address);
	bool refused = has_ended(fd);

	close(fd);
	run();
	return refused;
}

/* One address has a share; where all are taken the oldest that has no request under way makes room, and only that. */
static void test_very_many(void **unused)
{
	static int fd[VISITORS_MAX];
	int i;

	(void)unused;
	for (i = 0; i < VISITORS_PER_ADDRESS; i++)
		fd[i] = comes_from("127.0.0.1:0");
	assert_int_equal(g.nvisitors, VISITORS_PER_ADDRESS);
	assert_true(is_refused("127.0.0.1:0"));
	assert_int_equal(g.nvisitors, VISITORS_PER_ADDRESS);
	for (; i < VISITORS_MAX; i++)
		fd[i] = comes_from("127.0.0.2:0");
	assert_int_equal(g.nvisitors, VISITORS_MAX);

	hold = true;
	says(fd[0], "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	says(fd[1], "GET / HTTP/1.1\r\nHo");
	assert_int_equal(held, 1);
	assert_false(is_refused("127.0.0.3:0"));
	assert_int_equal(g.nvisitors, VISITORS_MAX - 1); /* that has gone by itself */
	assert_true(is_open(fd[0]));
	assert_true(has_ended(fd[1]));
	assert_true(is_open(fd[2]));

	close(fd[1]);
	fd[1] = comes_from("127.0.0.3:0");
	for (i = 1; i < VISITORS_MAX; i++)
		says(fd[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(held, VISITORS_MAX);
	assert_true(is_refused("127.0.0.4:0"));
	for (i = 0; i < VISITORS_MAX; i++) {
		assert_true(is_open(fd[i]));
		close(fd[i]);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_one_that_says_nothing),
		CASE(test_a_head_that_does_not_end),
		CASE(test_the_next_head),
		CASE(test_a_head_without_end),
		cmocka_unit_test_setup_teardown(test_very_many, listening, end_listening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
