/* SPDX-License-Identifier: Apache-2.0 */
/* tls: both ends against each other, against openssl's programs, and against names, authorities and ends that are wrong. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/file.h"
#include "tests/unit/thin_stream.h"
#include "tls/tls.h"

#define TLS TEST_DATA "/kube/tls"

static struct event_base *base;
static struct ssl_ctx_st *server, *client, *stranger;
static struct error err;

static char *slurp(const char *path)
{
	char *text;
	size_t len;

	if (file_read(path, 1 << 16, &text, &len, &err))
		fail_msg("%s", err.text);
	return text;
}

static int setup(void **unused)
{
	cleanup(free_ptr) char *cert = slurp(TLS "/server.crt");
	cleanup(free_ptr) char *key = slurp(TLS "/server.key");
	cleanup(free_ptr) char *ca = slurp(TLS "/ca.crt");

	(void)unused;
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	assert_int_equal(tls_server(&server, cert, key, &err), 0);
	assert_int_equal(tls_client(&client, ca, false, &err), 0);
	assert_int_equal(tls_client(&stranger, NULL, true, &err), 0);
	assert_int_equal(tls_client(&(struct ssl_ctx_st *){NULL}, "rubbish", false, &err), -EINVAL);
	assert_int_equal(tls_server(&(struct ssl_ctx_st *){NULL}, cert, "rubbish", &err), -EINVAL);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	tls_free(server);
	tls_free(client);
	tls_free(stranger);
	event_base_free(base);
	return 0;
}

/* --- an end that writes `to_send` bytes, counts what comes, and closes its direction ------------------------------- */

struct end {
	struct stream *s;
	size_t to_send, sent, got;
	uint8_t sum;
	bool ended;
	int error;
	char reason[160];
};

static void finish(struct end *e, int error)
{
	e->error = error;
	snprintf(e->reason, sizeof(e->reason), "%s", tls_reason(e->s));
	e->ended = true;
	e->s->ops->abort(e->s);
	e->s = NULL;
}

static void on_end(struct stream *s, unsigned ev, void *arg)
{
	struct end *e = arg;
	uint8_t buf[5000];
	ssize_t n;

	if (ev & STREAM_ERROR) {
		finish(e, s->error);
		return;
	}
	while ((ev & STREAM_WRITABLE) && e->sent < e->to_send) {
		size_t len = MIN(sizeof(buf), e->to_send - e->sent);

		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)((e->sent + i) * 7);
		n = stream_write(s, buf, len);
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			finish(e, (int)n);
			return;
		}
		e->sent += (size_t)n;
		if (e->sent == e->to_send)
			s->ops->shutdown(s);
	}
	s->ops->want(s, STREAM_READABLE | (e->sent < e->to_send ? STREAM_WRITABLE : 0u));
	if (!(ev & STREAM_READABLE))
		return;
	while ((n = stream_read(s, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], (uint8_t)((e->got + (size_t)i) * 7));
		e->got += (size_t)n;
	}
	if (n == 0) {
		e->ended = true;
		s->ops->want(s, e->sent < e->to_send ? STREAM_WRITABLE : 0u);
	} else if (n != -EAGAIN) {
		finish(e, (int)n);
	}
}

static void begin(struct end *e)
{
	stream_set(e->s, on_end, e);
	e->s->ops->want(e->s, STREAM_READABLE | STREAM_WRITABLE);
}

static void join(struct end *a, struct end *b, struct ssl_ctx_st *ctx, const char *name,
		 bool verify)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(tls_accept(&a->s, base, server, fd[0]), 0);
	assert_int_equal(tls_connect(&b->s, base, ctx, fd[1], name, verify), 0);
	begin(a);
	begin(b);
	while (!a->ended || !b->ended)
		event_base_loop(base, EVLOOP_ONCE);
}

static void leave(struct end *e)
{
	if (e->s)
		e->s->ops->close(e->s);
}

static void test_both_ways(void **unused)
{
	struct end a = {.to_send = 3 << 20}, b = {.to_send = 5 << 20};

	(void)unused;
	join(&a, &b, client, "kube.test", true);
	assert_int_equal(a.got, b.to_send);
	assert_int_equal(b.got, a.to_send);
	assert_int_equal(a.error | b.error, 0);
	leave(&a);
	leave(&b);
}

static void test_names(void **unused)
{
	static const struct {
		const char *name, *reason;
		bool stranger, verify;
	} cases[] = {
		{"127.0.0.1", NULL, false, true},
		{"example.com", "hostname mismatch", false, true},
		{"127.0.0.2", "IP address mismatch", false, true},
		{"kube.test", "unable to get local issuer certificate", true, true},
		{"example.com", NULL, true, false},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct end a = {.to_send = 10}, b = {.to_send = 10};

		join(&a, &b, cases[i].stranger ? stranger : client, cases[i].name, cases[i].verify);
		if (cases[i].reason) {
			assert_int_equal(b.error, -EPROTO);
			assert_string_equal(b.reason, cases[i].reason);
			assert_int_equal(b.got, 0);
			assert_int_equal(a.got, 0);
		} else {
			assert_int_equal(a.got, 10);
			assert_int_equal(b.got, 10);
		}
		leave(&a);
		leave(&b);
	}
}

/* A read may end the handshake that a write waited for; of a server without tickets nothing more comes that would wake it. */
static void test_read_ends_the_handshake(void **unused)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	struct stream *s;
	char buf[100];
	SSL *ssl = SSL_new(server);
	int fd[2], n = -1;

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(SSL_set_num_tickets(ssl, 0), 1);
	assert_int_equal(SSL_set_fd(ssl, fd[0]), 1);
	assert_int_equal(tls_connect(&s, base, client, fd[1], "kube.test", true), 0);
	assert_int_equal(stream_write(s, request, sizeof(request)), sizeof(request));
	s->ops->want(s, STREAM_READABLE);
	assert_int_equal(SSL_accept(ssl), -1); /* it answers, and waits */
	assert_int_equal(stream_read(s, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(SSL_accept(ssl), 1);
	for (int turns = 0; turns < 10 && n < 0; turns++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		n = SSL_read(ssl, buf, sizeof(buf));
	}
	assert_int_equal(n, sizeof(request));
	assert_memory_equal(buf, request, sizeof(request));
	s->ops->abort(s);
	SSL_free(ssl);
	close(fd[0]);
}

static void on_first(struct stream *s, unsigned ev, void *arg)
{
	char buf[100];

	assert_int_equal(ev, STREAM_READABLE);
	*(ssize_t *)arg = stream_read(s, buf, sizeof(buf));
}

/* A write that ends the handshake may take in what came behind it. */
static void test_write_ends_the_handshake(void **unused)
{
	struct stream *s;
	ssize_t got = -EAGAIN;
	SSL *ssl = SSL_new(server);
	char buf[100];
	int fd[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(SSL_set_max_proto_version(ssl, TLS1_2_VERSION),
			 1); /* its server ends it */
	assert_int_equal(SSL_set_fd(ssl, fd[0]), 1);
	assert_int_equal(tls_connect(&s, base, client, fd[1], "kube.test", true), 0);
	stream_set(s, on_first, &got);
	assert_int_equal(stream_write(s, "a", 1), 1);
	assert_int_equal(SSL_accept(ssl), -1);
	s->ops->want(s, 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(stream_read(s, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(SSL_accept(ssl), 1);
	assert_int_equal(SSL_write(ssl, "hello", 5), 5);
	assert_int_equal(stream_write(s, "b", 1), 1);
	s->ops->want(s, STREAM_READABLE);
	for (int turns = 0; turns < 10 && got == -EAGAIN; turns++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(got, 5);
	s->ops->abort(s);
	SSL_free(ssl);
	close(fd[0]);
}

/* A client's stream whose handshake with `ssl` is over. */
static struct stream *connected(SSL *ssl, const int fd[2])
{
	struct stream *s;
	char buf[10];

	assert_int_equal(SSL_set_fd(ssl, fd[0]), 1);
	assert_int_equal(tls_connect(&s, base, client, fd[1], "kube.test", true), 0);
	assert_int_equal(stream_write(s, "hello", 5), 5);
	assert_int_equal(SSL_accept(ssl), -1);
	assert_int_equal(stream_read(s, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(SSL_accept(ssl), 1);
	while (SSL_read(ssl, buf, sizeof(buf)) != 5)
		event_base_loop(base, EVLOOP_NONBLOCK);
	while (stream_read(s, buf, sizeof(buf)) != -EAGAIN) /* tickets */
		;
	return s;
}

/* Bytes that went to the socket behind the stream's back, until it was full. */
static size_t fill(int fd)
{
	static const char zeros[4096];
	size_t done = 0;
	ssize_t n;

	for (size_t len = sizeof(zeros); len; len /= 2) {
		while ((n = write(fd, zeros, len)) > 0)
			done += (size_t)n;
	}
	return done;
}

static void drain(int fd, size_t len)
{
	char buf[4096];

	while (len) {
		ssize_t n = read(fd, buf, MIN(len, sizeof(buf)));

		assert_true(n > 0);
		len -= (size_t)n;
	}
}

/* TLS's end waits until the socket takes it, with an owner or without. */
static void test_end_on_a_full_socket(void **unused)
{
	(void)unused;
	for (int owned = 0; owned < 2; owned++) {
		SSL *ssl = SSL_new(server);
		int fd[2], r = SSL_ERROR_WANT_READ;
		struct stream *s;
		size_t len;
		char c;

		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
		SSL_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
		s = connected(ssl, fd);
		len = fill(fd[1]);
		if (owned)
			s->ops->shutdown(s);
		else
			s->ops->close(s);
		event_base_loop(base, EVLOOP_NONBLOCK);
		drain(fd[0], len);
		while (r == SSL_ERROR_WANT_READ) {
			event_base_loop(base, EVLOOP_NONBLOCK);
			r = SSL_get_error(ssl, SSL_read(ssl, &c, 1));
		}
		assert_int_equal(r, SSL_ERROR_ZERO_RETURN);
		if (owned)
			s->ops->abort(s);
		SSL_free(ssl);
		close(fd[0]);
	}
}

struct heard {
	char text[100];
	int error; /* of a read */
};

static void on_early(struct stream *s, unsigned ev, void *arg)
{
	struct heard *h = arg;
	size_t len = strlen(h->text);
	ssize_t n;

	assert_int_equal(ev, STREAM_READABLE);
	n = stream_read(s, h->text + len, sizeof(h->text) - 1 - len);
	if (n < 0 && n != -EAGAIN)
		h->error = (int)n;
}

/* Who refuses may answer and close while the request is being written: the answer comes before the error. */
static void test_answer_before_a_reset(void **unused)
{
	const struct linger reset = {.l_onoff = 1};
	struct heard h = {.error = 0};
	SSL *ssl = SSL_new(server);
	struct stream *s;
	int fd[2];

	(void)unused;
	tcp_pair(fd);
	stream_tcp_options(fd[0]); /* what Nagle holds back is lost by a reset */
	s = connected(ssl, fd);
	stream_set(s, on_early, &h);
	assert_int_equal(SSL_write(ssl, "413", 3), 3);
	assert_int_equal(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd[0]);
	while (stream_write(s, "more", 4) > 0)
		;
	s->ops->want(s, STREAM_READABLE);
	while (!h.error)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal(h.text, "413");
	assert_true(h.error == -ECONNRESET || h.error == -EPIPE);
	s->ops->abort(s);
	SSL_free(ssl);
}

static int no_write(const struct event_base *b, const struct event *ev, void *arg)
{
	(void)b;
	(void)arg;
	assert_false(event_get_events(ev) & EV_WRITE);
	return 0;
}

/* A read that has to write waits for that as long as somebody wants to read: else the loop would turn round and round. */
static void test_read_that_writes_while_paused(void **unused)
{
	struct stream *s;
	char c;
	int fd[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	(void)fill(fd[1]);
	assert_int_equal(tls_connect(&s, base, client, fd[1], "kube.test", true), 0);
	assert_int_equal(stream_read(s, &c, 1), -EAGAIN);
	s->ops->want(s, 0);
	event_base_foreach_event(base, no_write, NULL);
	s->ops->abort(s);
	close(fd[0]);
}

static void on_reset(struct stream *s, unsigned ev, void *arg)
{
	assert_int_equal(ev, STREAM_ERROR);
	*(int *)arg = s->error;
}

/* Who reads nothing and writes nothing learns of a reset all the same, once. */
static void test_reset_while_paused(void **unused)
{
	struct end a = {.to_send = 0}, b = {.to_send = 0};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0, fd, to;

	(void)unused;
	assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)) | listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(to, (struct sockaddr *)&sa, sizeof(sa)), 0);
	fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	fcntl(to, F_SETFL, O_NONBLOCK);
	close(l);
	assert_int_equal(tls_accept(&a.s, base, server, fd), 0);
	assert_int_equal(tls_connect(&b.s, base, client, to, "kube.test", true), 0);
	begin(&a);
	begin(&b);
	assert_int_equal(stream_write(b.s, "", 1), 1);
	while (a.got < 1)
		event_base_loop(base, EVLOOP_ONCE);
	stream_set(a.s, on_reset, &error);
	a.s->ops->want(a.s, STREAM_READABLE);
	a.s->ops->want(a.s, 0);
	b.s->ops->abort(b.s);
	while (!error && !event_base_loop(base, EVLOOP_ONCE))
		;
	assert_int_equal(error, -ECONNRESET);
	assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* nothing is watched */
	a.s->ops->abort(a.s);
}

/* A stream that ends without TLS's own end is cut off, to a client; who sends no TLS at all is told apart. */
static void test_cut_and_rubbish(void **unused)
{
	struct end b = {.to_send = 1};
	int fd[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(tls_connect(&b.s, base, client, fd[1], "kube.test", true), 0);
	begin(&b);
	assert_int_equal(write(fd[0], "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
	while (!b.ended)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(b.error, -EPROTO);
	assert_string_equal(b.reason, "wrong version number");
	close(fd[0]);
}

/* --- other people's programs -------------------------------------------------------------------------------------- */

static int listener(int *port)
{
	union sockaddr_any sa = {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa.in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &sa.sa, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, &sa.sa, &len), 0);
	*port = sockaddr_port(&sa);
	return fd;
}

static void test_s_client(void **unused)
{
	char command[512], out[8192] = "";
	struct end a = {.to_send = 0};
	size_t len = 0;
	int port, l = listener(&port), fd;
	FILE *f;

	(void)unused;
	snprintf(command, sizeof(command),
		 "openssl s_client -connect 127.0.0.1:%d -alpn h2,http/1.1 -CAfile " TLS
		 "/ca.crt -verify_return_error -verify_hostname kube.test </dev/null 2>&1",
		 port);
	f = popen(command, "r");
	assert_non_null(f);
	fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(tls_accept(&a.s, base, server, fd), 0);
	begin(&a);
	fcntl(fileno(f), F_SETFL, O_NONBLOCK);
	for (;;) {
		ssize_t n = read(fileno(f), out + len, sizeof(out) - 1 - len);

		if (n == 0)
			break;
		len += n > 0 ? (size_t)n : 0;
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(500);
	}
	assert_int_equal(pclose(f), 0);
	assert_non_null(strstr(out, "ALPN protocol: http/1.1"));
	assert_non_null(strstr(out, "Verify return code: 0"));
	leave(&a);
	close(l);
}

static void on_answer(struct stream *s, unsigned ev, void *arg)
{
	char *out = arg;
	ssize_t n;

	if (ev & STREAM_ERROR)
		fail_msg("%s", tls_reason(s));
	if (ev & STREAM_WRITABLE) {
		assert_int_equal(stream_write(s, "GET / HTTP/1.0\r\n\r\n", 18), 18);
		s->ops->want(s, STREAM_READABLE);
	}
	if (!(ev & STREAM_READABLE))
		return;
	n = stream_read(s, out + strlen(out), 16000 - strlen(out));
	if (n == 0 || (n < 0 && n != -EAGAIN))
		event_base_loopbreak(base);
}

static void test_s_server(void **unused)
{
	static char out[16384];
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stream *s;
	char accept[32];
	int port, l = listener(&port), fd, status;
	pid_t pid;

	(void)unused;
	close(l);
	snprintf(accept, sizeof(accept), "127.0.0.1:%d", port);
	pid = fork();
	if (pid == 0) {
		execlp("openssl", "openssl", "s_server", "-accept", accept, "-cert",
		       TLS "/server.crt", "-key", TLS "/server.key", "-www", "-quiet", "-naccept",
		       "1", (char *)NULL);
		_exit(127);
	}
	sa.sin_port = htons((uint16_t)port);
	for (;;) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
			break;
		close(fd);
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		usleep(10000);
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_int_equal(tls_connect(&s, base, client, fd, "kube.test", true), 0);
	stream_set(s, on_answer, out);
	s->ops->want(s, STREAM_READABLE | STREAM_WRITABLE);
	event_base_dispatch(base);
	assert_non_null(strstr(out, "HTTP/1.0 200 ok"));
	assert_non_null(strstr(out, "Secure Renegotiation"));
	s->ops->close(s);
	waitpid(pid, &status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_cut_and_rubbish),
		cmocka_unit_test(test_s_client),
		cmocka_unit_test(test_s_server),
		cmocka_unit_test(test_read_ends_the_handshake),
		cmocka_unit_test(test_write_ends_the_handshake),
		cmocka_unit_test(test_reset_while_paused),
		cmocka_unit_test(test_end_on_a_full_socket),
		cmocka_unit_test(test_answer_before_a_reset),
		cmocka_unit_test(test_read_that_writes_while_paused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
