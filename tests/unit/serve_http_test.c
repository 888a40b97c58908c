/* SPDX-License-Identifier: Apache-2.0 */
/* serve: real sockets, clients that are right, slow, greedy and hostile; curl and openssl as clients of its TLS. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "serve/internal.h"
#include "websocket/websocket.h"

#define TLS TEST_DATA "/kube/tls"

static struct event_base *base;
static struct serve *server, *secure;
static struct error err;
static int port, port_tls;
static struct serve_request *kept;
static struct stream *upgraded;
static unsigned handled;

static void on_ws(struct stream *s, unsigned ev, void *arg)
{
	char buf[65536];
	ssize_t n;

	(void)arg;
	if (ev & STREAM_ERROR) {
		s->ops->abort(s);
		upgraded = NULL;
		return;
	}
	while ((n = stream_read(s, buf, sizeof(buf))) > 0)
		assert_int_equal(stream_write(s, buf, (size_t)n), n);
	if (n == 0) {
		s->ops->close(s);
		upgraded = NULL;
	}
}

/* Answers with what it saw. */
static void on_request(void *arg, struct serve_request *r)
{
	cleanup(free_ptr) char *text = NULL;
	const char *name = serve_header(r, "x-name"), *body;
	size_t len;
	int n;

	(void)arg;
	handled++;
	if (!strcmp(serve_path(r), "/keep")) {
		kept = r;
		return;
	}
	if (!strcmp(serve_path(r), "/free")) {
		serve_free(server);
		server = NULL;
		return;
	}
	if (!strcmp(serve_path(r), "/large")) {
		text = calloc(1, 8 << 20);
		memset(text, 'x', 8 << 20);
		serve_reply(r, 200, "text/plain", text, 8 << 20);
		return;
	}
	if (serve_websocket(r, &upgraded) == 0) {
		stream_set(upgraded, on_ws, NULL);
		upgraded->ops->want(upgraded, STREAM_READABLE);
		return;
	}
	body = serve_body(r, &len);
	n = asprintf(&text, "%s %s [%s] %zu %.20s", serve_method(r), serve_path(r),
		     name ? name : "-", len, body);
	serve_reply(r, 200, "text/plain", text, (size_t)n);
}

static const struct serve_ops ops = {.request = on_request};

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 20000);

	assert_non_null(f);
	assert_true(fread(text, 1, 19999, f) > 0);
	fclose(f);
	return text;
}

static int listen_on(struct serve **sp, const char *cert, const char *key)
{
	union sockaddr_any sa;

	assert_int_equal(sockaddr_parse(&sa, "127.0.0.1:0"), 0);
	if (serve_new(sp, base, &sa, cert, key, &ops, NULL, &err))
		fail_msg("%s", err.text);
	assert_int_equal(serve_local(*sp, &sa), 0);
	return sockaddr_port(&sa);
}

static int setup(void **unused)
{
	cleanup(free_ptr) char *cert = slurp(TLS "/server.crt");
	cleanup(free_ptr) char *key = slurp(TLS "/server.key");

	(void)unused;
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	port = listen_on(&server, NULL, NULL);
	port_tls = listen_on(&secure, cert, key);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	serve_free(server);
	serve_free(secure);
	event_base_free(base);
	return 0;
}

/* --- clients --------------------------------------------------------------------------------------------- */

static int dial(void)
{
	union sockaddr_any sa;
	char text[32];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	assert_int_equal(sockaddr_parse(&sa, text), 0);
	assert_int_equal(connect(fd, &sa.sa, sockaddr_len(&sa)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Reads into buf until `enough` is in it, or the end; turns the loop. true = the end. */
static bool hear(int fd, char *buf, size_t room, const char *enough)
{
	size_t len = strlen(buf);

	for (unsigned i = 0; i < 5000; i++) {
		ssize_t n = read(fd, buf + len, room - 1 - len);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
		len += n > 0 ? (size_t)n : 0;
		buf[len] = '\0';
		if (*enough && strstr(buf, enough))
			return false;
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (n < 0)
			usleep(1000);
	}
	fail_msg("no '%s' in: %s", enough, buf);
	return true;
}

static void say(int fd, const char *text, size_t len)
{
	assert_int_equal(write(fd, text, len), len);
}

#define assert_contains(text, part)                                                                \
	do {                                                                                       \
		if (!strstr(text, part))                                                           \
			fail_msg("'%s' is not in: %s", part, text);                                \
	} while (0)

/* One request on a connection of its own, which the server must end. */
static void expect_refused(const char *request, size_t len, const char *status)
{
	char buf[8192] = "";
	int fd = dial();
	unsigned before = handled;

	say(fd, request, len);
	shutdown(fd, SHUT_WR);
	assert_true(hear(fd, buf, sizeof(buf), ""));
	if (strncmp(buf, status, strlen(status)))
		fail_msg("not %s: %s\n<- %s", status, buf, request);
	assert_contains(buf, "Connection: close");
	assert_int_equal(handled, before);
	close(fd);
}

#define REFUSED(status, text) expect_refused(text, sizeof(text) - 1, "HTTP/1.1 " status)

/* --- tests ----------------------------------------------------------------------------------------------- */

static void test_keep_alive(void **unused)
{
	static const char get[] = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Name:  v w \r\n\r\n";
	static const char post[] = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
	static const char chunks[] = "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
				     "\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
	static const char head[] = "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n";
	static const struct {
		const char *text, *answer;
	} cases[] = {
		{get, "GET /a?b=c [v w] 0 "},
		{post, "POST /p [-] 5 hello"},
		{chunks, "POST /c [-] 5 abcde"},
		{get, "GET /a?b=c [v w] 0 "},
	};
	char buf[4096];
	int fd = dial();

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		*buf = '\0';
		say(fd, cases[i].text, strlen(cases[i].text));
		assert_false(hear(fd, buf, sizeof(buf), cases[i].answer));
		assert_contains(buf, "HTTP/1.1 200 OK\r\n");
		assert_contains(buf, "Connection: keep-alive\r\n");
	}
	/* A byte at a time. */
	*buf = '\0';
	for (const char *p = chunks; *p; p++) {
		say(fd, p, 1);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_false(hear(fd, buf, sizeof(buf), "POST /c [-] 5 abcde"));
	*buf = '\0';
	say(fd, head, strlen(head));
	assert_false(hear(fd, buf, sizeof(buf), "\r\n\r\n"));
	assert_contains(buf, "Content-Length: 14\r\n");
	assert_true(strlen(strstr(buf, "\r\n\r\n")) == 4);
	close(fd);
}

static void test_no_keep_alive(void **unused)
{
	static const char *const requests[] = {
		"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		/* pipelined: the first is answered, the second is told that it was not */
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		char buf[4096] = "";
		int fd = dial();

		say(fd, requests[i], strlen(requests[i]));
		assert_true(hear(fd, buf, sizeof(buf), ""));
		assert_contains(buf, "HTTP/1.1 200 OK\r\n");
		assert_contains(buf, "Connection: close\r\n");
		assert_null(strstr(buf, "/2"));
		close(fd);
	}
}

static void test_expect(void **unused)
{
	static const char head[] =
		"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
	char buf[4096] = "";
	int fd = dial();

	(void)unused;
	say(fd, head, strlen(head));
	assert_false(hear(fd, buf, sizeof(buf), "100 Continue\r\n\r\n"));
	say(fd, "ok", 2);
	assert_false(hear(fd, buf, sizeof(buf), "POST /e [-] 2 ok"));
	close(fd);
	REFUSED("417", "GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n");
	/* One that is too large is told before it comes. */
	REFUSED("413", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3145729\r\nExpect: "
		       "100-continue\r\n\r\n");
}

static void test_hostile(void **unused)
{
	uint64_t malformed = serve_stats(server)->malformed;

	(void)unused;
	REFUSED("400", "GET / HTTP/1.1\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n");
	/* A header without a value hides none behind it. */
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA:\r\nHost: y\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA: \r\nHost: y\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\nHost: x\n\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n");
	REFUSED("400", "GET / HTTP/1.1\r\n Host: x\r\n\r\n");
	REFUSED("400", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n");
	REFUSED("400", "G@T / HTTP/1.1\r\nHost: x\r\n\r\n");
	REFUSED("400", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n");
	REFUSED("400", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n");
	REFUSED("400",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\na");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
		       "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
		       "Content-Length: 1\r\n\r\n0\r\n\r\n");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, x\r\n\r\n");
	REFUSED("400", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	REFUSED("400", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
	REFUSED("400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	REFUSED("505", "GET / HTTP/1.2\r\nHost: x\r\n\r\n");
	assert_true(serve_stats(server)->malformed > malformed);
}

static void test_bounds(void **unused)
{
	char text[SERVE_HEAD_MAX + 100] = "GET / HTTP/1.1\r\nHost: x\r\n", *end;
	uint64_t refused = serve_stats(server)->refused;

	(void)unused;
	end = text + strlen(text);
	for (unsigned i = 0; i < SERVE_HEADERS_MAX; i++)
		end += sprintf(end, "A: b\r\n");
	end += sprintf(end, "\r\n");
	expect_refused(text, (size_t)(end - text), "HTTP/1.1 431");
	memset(text + 16, 'a', SERVE_HEAD_MAX);
	expect_refused(text, SERVE_HEAD_MAX + 16, "HTTP/1.1 431");
	assert_int_equal(serve_stats(server)->refused, refused + 2);
}

/* A body over the bound, in chunks; the answer arrives although the client still sends. */
static void test_endless_body(void **unused)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
	static char chunk[0x8000 + 8];
	char buf[4096] = "";
	int fd = dial();
	ssize_t n;

	(void)unused;
	say(fd, head, strlen(head));
	memset(chunk, 'x', sizeof(chunk));
	memcpy(chunk, "8000\r\n", 6);
	memcpy(chunk + 0x8006, "\r\n", 2);
	for (size_t sent = 0; !*buf; sent += n > 0 ? (size_t)n : 0) {
		size_t at = sent % sizeof(chunk);

		n = send(fd, chunk + at, sizeof(chunk) - at, MSG_NOSIGNAL);
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (read(fd, buf, sizeof(buf) - 1) > 0)
			break;
		assert_true(sent < 8 << 20);
	}
	assert_contains(buf, "HTTP/1.1 413 ");
	close(fd);
}

static void test_late_answers(void **unused)
{
	static const char get[] = "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[4096] = "";
	int fd = dial();

	(void)unused;
	/* Answered later. */
	kept = NULL;
	say(fd, get, strlen(get));
	while (!kept)
		event_base_loop(base, EVLOOP_ONCE);
	serve_reply(kept, 403, NULL, "no", 2);
	assert_false(hear(fd, buf, sizeof(buf), "\r\n\r\nno"));
	assert_contains(buf, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n");
	/* Its client goes before. */
	kept = NULL;
	say(fd, get, strlen(get));
	while (!kept)
		event_base_loop(base, EVLOOP_ONCE);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(fd);
	while (serve_stats(server)->conns)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal(serve_path(kept), "/keep");
	serve_reply(kept, 200, NULL, "", 0);
}

/* Who reads slowly gets all of it. */
static void test_large(void **unused)
{
	static const char get[] = "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	cleanup(free_ptr) char *buf = calloc(1, 9 << 20);
	int fd = dial();

	(void)unused;
	say(fd, get, strlen(get));
	assert_true(hear(fd, buf, 9 << 20, ""));
	assert_int_equal(strlen(strstr(buf, "\r\n\r\n")), 4 + (8 << 20));
	close(fd);
}

/* One more than there may be: the longest idle one goes. */
static void test_many(void **unused)
{
	int fds[SERVE_CONNS_MAX + 1];
	char c;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial();
		while (serve_stats(server)->conns < MIN(i + 1, SERVE_CONNS_MAX))
			event_base_loop(base, EVLOOP_ONCE);
	}
	for (unsigned i = 0; i < 5000 && read(fds[0], &c, 1) < 0 && errno == EAGAIN; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	assert_true(read(fds[0], &c, 1) <= 0 && errno != EAGAIN);
	assert_int_equal(read(fds[1], &c, 1), -1);
	assert_int_equal(serve_stats(server)->conns, SERVE_CONNS_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	while (serve_stats(server)->conns)
		event_base_loop(base, EVLOOP_ONCE);
}

/* POST with a body of `len` bytes, of which one is sent. */
static int begin_post(size_t len)
{
	char head[128];
	int fd = dial(),
	    n = snprintf(head, sizeof(head),
			 "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\nx", len);

	say(fd, head, (size_t)n);
	return fd;
}

static void pour(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		assert_true(n > 0 || errno == EAGAIN);
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

static void settle(unsigned conns)
{
	while (serve_stats(server)->conns != conns)
		event_base_loop(base, EVLOOP_ONCE);
	for (unsigned i = 0; i < 100; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void expect_served(size_t len)
{
	cleanup(free_ptr) char *body = malloc(len);
	char head[128], buf[4096] = "";
	int fd = dial(),
	    n = snprintf(head, sizeof(head),
			 "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len);

	memset(body, 'y', len);
	say(fd, head, (size_t)n);
	pour(fd, body, len);
	snprintf(head, sizeof(head), "POST /p [-] %zu yyyy", len);
	assert_false(hear(fd, buf, sizeof(buf), head));
	close(fd);
}

/* Clients that are slow, or do not end, take nobody's place: the oldest of them go. */
static void test_slow_bodies(void **unused)
{
	enum { MOST = SERVE_BODY_MAX - 10, EACH = 5 };
	cleanup(free_ptr) char *body = calloc(1, MOST);
	int fds[SERVE_CONNS_MAX];

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = begin_post(10);
		settle((unsigned)i + 1);
	}
	expect_served(10);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(0);
	for (unsigned i = 0; i < EACH; i++) {
		fds[i] = begin_post(SERVE_BODY_MAX);
		pour(fds[i], body, MOST);
	}
	settle(EACH);
	expect_served(MOST);
	for (unsigned i = 0; i < EACH; i++)
		close(fds[i]);
	settle(0);
}

/* --- upgrades --------------------------------------------------------------------------------------------- */

#define HANDSHAKE(key)                                                                             \
	"GET /overlay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"        \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " key "\r\n"

static void test_upgrade(void **unused)
{
	/* The first frame comes with the head. */
	static const char get[] = HANDSHAKE("dGhlIHNhbXBsZSBub25jZQ==") "Sec-WebSocket-Protocol: "
									"other, culvert.v1\r\n\r\n"
									"\x82\x82\0\0\0\0hi";
	static const char bad[] = HANDSHAKE("short") "\r\n";
	char buf[4096] = "";
	int fd = dial();

	(void)unused;
	say(fd, get, sizeof(get) - 1);
	assert_false(hear(fd, buf, sizeof(buf), "\x82\x02hi"));
	assert_contains(buf, "HTTP/1.1 101 Switching Protocols\r\n");
	assert_contains(buf, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	assert_contains(buf, "Sec-WebSocket-Protocol: culvert.v1\r\n");
	assert_int_equal(serve_stats(server)->conns, 0);
	close(fd);
	while (upgraded)
		event_base_loop(base, EVLOOP_ONCE);
	/* No handshake: an ordinary request, and the connection goes on. */
	fd = dial();
	for (unsigned i = 0; i < 2; i++) {
		*buf = '\0';
		say(fd, bad, sizeof(bad) - 1);
		assert_false(hear(fd, buf, sizeof(buf), "GET /overlay"));
		assert_contains(buf, "200 OK");
	}
	close(fd);
}

/* --- TLS as a stream -------------------------------------------------------------------------------------- */

/* A reader of small pieces of what TLS holds already, and something else that is ready. */
struct turns {
	int pipe[2];
	unsigned reads, reads_before_other;
	bool other;
};

static void on_piece(struct stream *s, unsigned ev, void *arg)
{
	struct turns *t = arg;
	char piece[64];

	assert_int_equal(ev, STREAM_READABLE);
	if (stream_read(s, piece, sizeof(piece)) > 0 && !t->reads++)
		assert_int_equal(write(t->pipe[1], "x", 1), 1);
}

static void on_other(int fd, short what, void *arg)
{
	struct turns *t = arg;

	(void)fd;
	(void)what;
	t->other = true;
	t->reads_before_other = t->reads;
}

static void test_others_get_their_turn(void **unused)
{
	static char data[16000];
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	struct turns t = {.reads = 0};
	struct event *other;
	struct stream *s;
	size_t n;
	int fd[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(pipe(t.pipe), 0);
	assert_int_equal(tls_accept(&s, base, secure->ctx, fd[0]), 0);
	other = event_new(base, t.pipe[0], EV_READ, on_other, &t);
	event_add(other, NULL);
	stream_set(s, on_piece, &t);
	s->ops->want(s, STREAM_READABLE);
	assert_int_equal(SSL_set_fd(ssl, fd[1]), 1);
	while (SSL_connect(ssl) != 1)
		event_base_loop(base, EVLOOP_NONBLOCK);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(SSL_write_ex(ssl, data, sizeof(data), &n), 1);
	while (!t.other)
		event_base_loop(base, EVLOOP_ONCE);
	assert_in_range(t.reads_before_other, 1, 4);
	s->ops->abort(s);
	event_free(other);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd[1]);
	close(t.pipe[0]);
	close(t.pipe[1]);
}

/* --- TLS, by other people's clients ----------------------------------------------------------------------- */

static char *run(const char *fmt, ...) printf_like(1, 2);
static char *run(const char *fmt, ...)
{
	char command[1024], *out = calloc(1, 1 << 16);
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	assert_non_null(f);
	fcntl(fileno(f), F_SETFL, O_NONBLOCK);
	for (;;) {
		size_t len = strlen(out);
		ssize_t n = read(fileno(f), out + len, (1 << 16) - 1 - len);

		if (n == 0)
			break;
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(500);
	}
	pclose(f);
	return out;
}

#define CURL "curl -sS --noproxy '*' --max-time 20 --cacert " TLS "/ca.crt "

static void test_tls(void **unused)
{
	cleanup(free_ptr) char *two = NULL;
	cleanup(free_ptr) char *large = NULL;
	cleanup(free_ptr) char *old = NULL;
	cleanup(free_ptr) char *plain = NULL;
	cleanup(free_ptr) char *posted = NULL;

	(void)unused;
	two = run(CURL "https://127.0.0.1:%d/a https://127.0.0.1:%d/b -w '[%%{num_connects}]' 2>&1",
		  port_tls, port_tls);
	assert_string_equal(two, "GET /a [-] 0 [1]GET /b [-] 0 [0]");
	large = run(CURL "https://127.0.0.1:%d/large | wc -c", port_tls);
	assert_int_equal(atoi(large), 8 << 20);
	posted = run("head -c 3000000 /dev/zero | tr '\\0' x | " CURL
		     "--data-binary @- https://127.0.0.1:%d/p 2>&1",
		     port_tls);
	assert_string_equal(posted, "POST /p [-] 3000000 xxxxxxxxxxxxxxxxxxxx");
	old = run("openssl s_client -connect 127.0.0.1:%d -tls1_1 </dev/null 2>&1", port_tls);
	assert_contains(old, "alert");
	plain = run(
		"printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | timeout 20 openssl s_client "
		"-quiet -ign_eof -connect 127.0.0.1:%d -tls1_2 2>/dev/null | head -1",
		port_tls);
	assert_string_equal(plain, "HTTP/1.1 200 OK\r\n");
	/* What is no TLS ends the connection, and nothing else. */
	free(plain);
	plain = run(CURL "http://127.0.0.1:%d/ 2>&1", port_tls);
	assert_contains(plain, "curl: (");
}

static void test_certificates(void **unused)
{
	cleanup(free_ptr) char *cert = slurp(TLS "/server.crt");
	cleanup(free_ptr) char *key = slurp(TLS "/server.key");
	cleanup(free_ptr) char *other = slurp(TLS "/client.key");
	cleanup(free_ptr) char *still = NULL;

	(void)unused;
	assert_int_equal(serve_set_cert(secure, cert, other, &err), -EINVAL);
	assert_contains(err.text, "key");
	assert_int_equal(serve_set_cert(secure, "x", key, &err), -EINVAL);
	still = run(CURL "https://127.0.0.1:%d/still 2>&1", port_tls);
	assert_string_equal(still, "GET /still [-] 0 ");
	assert_int_equal(serve_set_cert(secure, cert, key, &err), 0);
	free(still);
	still = run(CURL "https://127.0.0.1:%d/still 2>&1", port_tls);
	assert_string_equal(still, "GET /still [-] 0 ");
}

/* The last: a request's owner frees the server in it. */
static void test_owner_frees(void **unused)
{
	static const char get[] = "GET /free HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[64] = "";
	int fd = dial();

	(void)unused;
	say(fd, get, strlen(get));
	assert_true(hear(fd, buf, sizeof(buf), ""));
	assert_null(server);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_alive),   cmocka_unit_test(test_no_keep_alive),
		cmocka_unit_test(test_expect),	     cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_bounds),	     cmocka_unit_test(test_endless_body),
		cmocka_unit_test(test_late_answers), cmocka_unit_test(test_large),
		cmocka_unit_test(test_many),	     cmocka_unit_test(test_slow_bodies),
		cmocka_unit_test(test_upgrade),	     cmocka_unit_test(test_others_get_their_turn),
		cmocka_unit_test(test_tls),	     cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_owner_frees),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
