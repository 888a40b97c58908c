/* SPDX-License-Identifier: Apache-2.0 */
/* An ingress that does not do its part of TLS's handshake, and one that takes its time for an answer. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "gateway/visitor.h"
#include "serve/serve.h"
#include "tls/tls.h"

#define TLS TEST_DATA "/kube/tls"

enum { HANDSHAKE_S = 20, LONG_S = 100000 };

/* --- what visitor.c and ingress.c ask of others ------------------------------------------------------------------ */

static struct gateway g;
static struct ssl_ctx_st *server;
static time_t ahead;
static int ingress; /* its end of the connection */

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

void site_request(struct visitor *v, bool dashboard_port)
{
	static const struct preview p = {.host = "ingress", .port = 443, .l5 = "a", .tls = true};
	static const struct grant grant = {.user = ""};

	(void)dashboard_port;
	visitor_proxy(v, &p, &grant);
}

void site_away(struct visitor *v)
{
	(void)v;
	fail();
}

bool site_allows(const struct gateway *gw, const struct grant *grant, const struct preview *p)
{
	(void)gw;
	(void)grant;
	(void)p;
	return true;
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

void page_answer(struct visitor *v, const struct page *p)
{
	const struct answer a = {
		.status = p->status, .type = "text/plain", .body = p->text, .len = strlen(p->text)};

	visitor_answer(v, &a);
}

static struct event *connected;
static called *tell;
static void *teller;

static void on_connected(int fd, short what, void *arg)
{
	struct stream *s;
	int pair[2];

	(void)fd;
	(void)what;
	(void)arg;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	assert_int_equal(tls_connect(&s, g.base, g.to_ingress, pair[0], "a", false), 0);
	ingress = pair[1];
	tell(teller, s, NULL);
}

int call_start(struct caller **cp, struct resolver *r, const struct call *call, called *cb,
	       void *arg)
{
	(void)r;
	assert_ptr_equal(call->tls, g.to_ingress);
	*cp = NULL;
	tell = cb;
	teller = arg;
	event_active(connected, EV_TIMEOUT, 1);
	return 0;
}

void call_cancel(struct caller *c)
{
	assert_null(c);
}

/* --- a visitor ------------------------------------------------------------------------------------------------------- */

static char *slurp(const char *path)
{
	struct error e;
	char *text;
	size_t len;

	if (file_read(path, 1 << 16, &text, &len, &e))
		fail_msg("%s", e.text);
	return text;
}

static int set_up(void **unused)
{
	cleanup(free_ptr) char *cert = slurp(TLS "/server.crt");
	cleanup(free_ptr) char *key = slurp(TLS "/server.key");
	struct error e;

	(void)unused;
	memset(&g, 0, sizeof(g));
	TAILQ_INIT(&g.visitors);
	LIST_INIT(&g.watchers);
	g.base = event_base_new();
	connected = event_new(g.base, -1, 0, on_connected, NULL);
	return tls_server(&server, cert, key, &e) || tls_client(&g.to_ingress, NULL, true, &e);
}

static int tear_down(void **unused)
{
	(void)unused;
	while (!TAILQ_EMPTY(&g.visitors))
		visitor_abort(TAILQ_FIRST(&g.visitors));
	event_free(connected);
	tls_free(server);
	tls_free(g.to_ingress);
	event_base_free(g.base);
	return 0;
}

static void later(int seconds)
{
	ahead += seconds;
	for (int i = 0; i < 20; i++)
		event_base_loop(g.base, EVLOOP_NONBLOCK);
}

/* Its end of the connection, on which it has asked. */
static int visitor(void)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	const struct ipaddr from = {.family = AF_INET};
	struct stream *s;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(stream_from_fd(g.base, fd[0], &s), 0);
	assert_int_equal(visitor_new(&g, s, &from, false), 0);
	assert_int_equal(write(fd[1], request, strlen(request)), strlen(request));
	later(0);
	return fd[1];
}

/* What has come, as text. */
static const char *heard(int fd)
{
	static char buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	if (n < 0)
		assert_int_equal(errno, EAGAIN);
	buf[n < 0 ? 0 : n] = '\0';
	return buf;
}

static void test_no_handshake(void **unused)
{
	int fd = visitor();
	const char *text;

	(void)unused;
	later(HANDSHAKE_S - 1);
	assert_string_equal(heard(fd), "");
	later(1);
	text = heard(fd);
	assert_int_equal(strncmp(text, "HTTP/1.1 502 ", 13), 0);
	assert_non_null(strstr(text, "`ingress:443` of this preview gives no answer: TLS's "
				     "handshake was not over within 20 s."));
	assert_int_equal(g.nvisitors, 1);
	close(ingress);
	close(fd);
}

static void on_request(struct stream *s, unsigned ev, void *arg)
{
	char buf[1000];

	assert_int_equal(ev, STREAM_READABLE);
	*(bool *)arg |= stream_read(s, buf, sizeof(buf)) > 0;
}

static void test_a_late_answer(void **unused)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
	int fd = visitor();
	bool asked = false;
	struct stream *s;

	(void)unused;
	later(HANDSHAKE_S - 1);
	assert_int_equal(tls_accept(&s, g.base, server, ingress), 0);
	stream_set(s, on_request, &asked);
	s->ops->want(s, STREAM_READABLE);
	later(0);
	assert_true(asked);
	later(LONG_S);
	assert_string_equal(heard(fd), "");
	assert_int_equal(stream_write(s, answer, strlen(answer)), strlen(answer));
	later(0);
	assert_int_equal(strncmp(heard(fd), "HTTP/1.1 200 ", 13), 0);
	s->ops->abort(s);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_handshake, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_late_answer, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
