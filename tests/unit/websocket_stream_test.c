/* SPDX-License-Identifier: Apache-2.0 */
/* websocket: two of them over a socketpair, what is forbidden, messages with borders, and a client's handshake. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/thin_stream.h"
#include "websocket/internal.h"

static struct event_base *base;

struct end {
	struct stream *s;
	uint8_t *out, *in;
	size_t out_len, out_sent, in_room, in_len, step;
	bool ended, failed, shut_when_sent;
};

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct end *e = arg;
	ssize_t n;

	if (ev & STREAM_ERROR) {
		e->failed = true;
		return;
	}
	if ((ev & STREAM_READABLE) && !e->ended) {
		n = stream_read(s, e->in + e->in_len, MIN(e->step, e->in_room - e->in_len));
		if (n > 0)
			e->in_len += (size_t)n;
		else if (n == 0) {
			e->ended = true;
			s->ops->want(s, 0);
		}
	}
	if (ev & STREAM_WRITABLE) {
		n = stream_write(s, e->out + e->out_sent, MIN(e->step, e->out_len - e->out_sent));
		if (n > 0)
			e->out_sent += (size_t)n;
		if (e->out_sent == e->out_len) {
			if (!e->ended)
				s->ops->want(s, STREAM_READABLE);
			if (e->shut_when_sent)
				s->ops->shutdown(s);
		}
	}
}

static void pair(int fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
}

static struct stream *over(int fd, enum websocket_role role, const void *early, size_t len)
{
	struct stream *carrier, *s;

	assert_int_equal(stream_from_fd(base, fd, &carrier), 0);
	assert_int_equal(websocket_new(&s, base, carrier, role, early, len), 0);
	return s;
}

static void use(struct end *e, struct stream *s, size_t out, size_t in, size_t step)
{
	*e = (struct end){.s = s, .out_len = out, .in_room = in, .step = step};
	e->out = malloc(out + 1);
	e->in = calloc(1, in + 1);
	for (size_t i = 0; i < out; i++)
		e->out[i] = (uint8_t)(i * 7 + i / 251);
	stream_set(s, on_event, e);
	s->ops->want(s, STREAM_READABLE | (out ? STREAM_WRITABLE : 0));
}

static void done(struct end *e, bool keep_stream)
{
	free(e->out);
	free(e->in);
	if (!keep_stream)
		e->s->ops->close(e->s);
}

/* Both ways at once, in steps of every kind: smaller than a head, not of the word, larger than a message. */
static void test_both_ways(void **unused)
{
	static const size_t steps[] = {1, 13, 125, 126, 4096, 65535, 65536, 65537, 300000};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		size_t all = MIN(steps[i] * 1000, 4u << 20) + 5;
		struct end a, b;
		int fd[2];

		pair(fd);
		use(&a, over(fd[0], WEBSOCKET_CLIENT, "", 0), all, all + 100, steps[i]);
		use(&b, over(fd[1], WEBSOCKET_SERVER, "", 0), all + 100, all,
		    steps[ARRAY_SIZE(steps) - 1 - i]);
		while (a.in_len < all + 100 || b.in_len < all) {
			assert_false(a.failed || b.failed);
			event_base_loop(base, EVLOOP_ONCE);
		}
		assert_memory_equal(a.out, b.in, all);
		assert_memory_equal(b.out, a.in, all + 100);
		/* The end goes both ways. */
		a.s->ops->shutdown(a.s);
		assert_int_equal(stream_write(a.s, "x", 1), -EPIPE);
		while (!a.ended || !b.ended)
			event_base_loop(base, EVLOOP_ONCE);
		done(&a, false);
		done(&b, false);
	}
}

/* A reader that does not read: the writer is told so, and nothing is lost. */
static void test_full(void **unused)
{
	enum role_pair { CLIENT_WRITES, SERVER_WRITES };

	(void)unused;
	for (int way = CLIENT_WRITES; way <= SERVER_WRITES; way++) {
		enum { ALL = 8 << 20 };
		struct end a, b;
		size_t taken = 0;
		ssize_t n;
		int fd[2];

		pair(fd);
		use(&a,
		    over(fd[0], way == CLIENT_WRITES ? WEBSOCKET_CLIENT : WEBSOCKET_SERVER, "", 0),
		    ALL, 1, 100000);
		use(&b,
		    over(fd[1], way == CLIENT_WRITES ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT, "", 0),
		    0, ALL, 100000);
		while ((n = stream_write(a.s, a.out + taken, ALL - taken)) > 0)
			taken += (size_t)n;
		assert_int_equal(n, -EAGAIN);
		assert_in_range(taken, 1, 2 << 20);
		a.out_sent = taken;
		a.shut_when_sent = true;
		while (!b.ended)
			event_base_loop(base, EVLOOP_ONCE);
		assert_int_equal(b.in_len, ALL);
		assert_memory_equal(a.out, b.in, ALL);
		done(&a, false);
		done(&b, false);
	}
}

/* close() with a full carrier: all of it still arrives, and the end behind it. */
static void test_close_delivers(void **unused)
{
	enum { ROOM = 4 << 20 };
	struct end a, b;
	size_t taken = 0;
	ssize_t n;
	int fd[2];

	(void)unused;
	pair(fd);
	use(&a, over(fd[0], WEBSOCKET_CLIENT, "", 0), ROOM, 1, 1);
	use(&b, over(fd[1], WEBSOCKET_SERVER, "", 0), 0, ROOM, 4096);
	while ((n = stream_write(a.s, a.out + taken, ROOM - taken)) > 0)
		taken += (size_t)n;
	a.s->ops->close(a.s);
	while (!b.ended)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(b.in_len, taken);
	assert_memory_equal(a.out, b.in, taken);
	done(&a, true);
	done(&b, false);
}

/* --- borders ---------------------------------------------------------------------------------------------- */

static ssize_t receive_now(struct stream *s, void *buf, size_t len, bool *begin)
{
	struct iovec v = {buf, len};

	return websocket_receive(s, &v, 1, begin);
}

static void test_messages(void **unused)
{
	/* Fragments with a ping between them, an empty message, an empty last fragment. */
	static const uint8_t bytes[] = {0x02, 2,   'a',	 'b', 0x89, 1, 'p', 0x80,
					1,    'c', 0x82, 0,   0x82, 1, 'd', 0x02,
					1,    'e', 0x80, 0,   0x82, 1, 'f'};
	char text[16] = "", buf[8];
	uint8_t answer[32];
	struct stream *s;
	bool begin;
	ssize_t n;
	int fd[2];

	(void)unused;
	pair(fd);
	s = over(fd[0], WEBSOCKET_CLIENT, bytes, 4);
	assert_int_equal(write(fd[1], bytes + 4, sizeof(bytes) - 4), sizeof(bytes) - 4);
	while ((n = receive_now(s, buf, sizeof(buf), &begin)) > 0) {
		strcat(text, begin ? "|" : "");
		strncat(text, buf, (size_t)n);
	}
	assert_int_equal(n, -EAGAIN);
	assert_string_equal(text, "|abc|d|e|f");
	/* The pong: masked, with the ping's payload. */
	assert_int_equal(read(fd[1], answer, sizeof(answer)), 7);
	assert_int_equal(answer[0], 0x8a);
	assert_int_equal(answer[1], 0x81);
	assert_int_equal(answer[6] ^ answer[2], 'p');
	s->ops->abort(s);
	close(fd[1]);
}

/* --- what is forbidden ------------------------------------------------------------------------------------ */

static void expect(enum websocket_role role, const void *bytes, size_t len, int error,
		   const char *reason)
{
	struct end e;
	int fd[2];

	pair(fd);
	use(&e, over(fd[0], role, "", 0), 0, 100, 100);
	assert_int_equal(write(fd[1], bytes, len), len);
	if (error == -ECONNRESET && !*reason)
		shutdown(fd[1], SHUT_WR);
	while (!e.failed && !e.ended)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(e.failed ? e.s->error : 0, error);
	assert_string_equal(websocket_reason(e.s), reason);
	done(&e, false);
	close(fd[1]);
}

#define CLIENT_GETS(error, reason, ...)                                                            \
	do {                                                                                       \
		static const uint8_t bytes_[] = {__VA_ARGS__};                                     \
		expect(WEBSOCKET_CLIENT, bytes_, sizeof(bytes_), error, reason);                   \
	} while (0)

static void test_forbidden(void **unused)
{
	static const uint8_t unmasked[] = {0x82, 1, 'a'};

	(void)unused;
	CLIENT_GETS(-EPROTO, "", 0x82, 0x81, 1, 2, 3, 4, 5); /* masked by a server */
	expect(WEBSOCKET_SERVER, unmasked, 3, -EPROTO, "");  /* not by a client */
	CLIENT_GETS(-EPROTO, "", 0xc2, 1, 'a');		     /* a reserved bit */
	CLIENT_GETS(-EPROTO, "", 0x83, 1, 'a');		     /* an opcode without a meaning */
	CLIENT_GETS(-EPROTO, "", 0x8b, 0);		     /* the same, control */
	CLIENT_GETS(-EPROTO, "", 0x09, 0);		     /* a ping in parts */
	CLIENT_GETS(-EPROTO, "", 0x89, 126, 0, 126);	     /* a long ping */
	CLIENT_GETS(-EPROTO, "", 0x82, 126, 0, 125);	     /* not the shortest length */
	CLIENT_GETS(-EPROTO, "", 0x82, 127, 0, 0, 0, 0, 0, 0, 1, 0); /* the same */
	CLIENT_GETS(-EPROTO, "", 0x82, 127, 128, 0, 0, 0, 0, 1, 0, 0);
	CLIENT_GETS(-EPROTO, "", 0x80, 1, 'a');		      /* goes on with nothing */
	CLIENT_GETS(-EPROTO, "", 0x02, 1, 'a', 0x82, 1, 'b'); /* begins before the end */
	CLIENT_GETS(-ECONNRESET, "", 0x82, 5, 'a');	      /* an end inside */
	CLIENT_GETS(-ECONNRESET, "go away", 0x88, 9, 0x03, 0xf3, 'g', 'o', ' ', 'a', 'w', 'a', 'y');
	CLIENT_GETS(0, "", 0x88, 2, 0x03, 0xe8);
	CLIENT_GETS(0, "", 0x88, 0);
}

static void test_handshake(void **unused)
{
	char accept[WEBSOCKET_ACCEPT_LEN + 1], key[WEBSOCKET_KEY_LEN + 1], other[sizeof(key)];

	(void)unused;
	/* The RFC's own example. */
	websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	websocket_key(key);
	websocket_key(other);
	assert_int_equal(strlen(key), WEBSOCKET_KEY_LEN);
	assert_string_not_equal(key, other);
	assert_true(websocket_has_word("keep-alive, Upgrade", "upgrade"));
	assert_false(websocket_has_word("keep-alive, Upgraded", "upgrade"));
}

/* --- dialling --------------------------------------------------------------------------------------------- */

struct dialled {
	struct stream *s;
	bool done;
	int error, status;
	char body[64];
};

static void on_dialled(void *arg, struct stream *s, const struct websocket_refusal *why)
{
	struct dialled *d = arg;

	d->done = true;
	d->s = s;
	if (!s) {
		d->error = why->error;
		d->status = why->status;
		snprintf(d->body, sizeof(d->body), "%s", why->body);
	}
}

static struct dialled dial(const char *answer, char *request, size_t room)
{
	struct websocket_call call = {.host = "h:1",
				      .path = "/p?q",
				      .protocol = "culvert.v1",
				      .headers = "X-A: b\r\n",
				      .timeout = NSEC_PER_SEC};
	struct dialled d = {.done = false};
	struct stream *carrier;
	char accept[WEBSOCKET_ACCEPT_LEN + 1], head[512], *key;
	ssize_t n;
	int fd[2];

	pair(fd);
	assert_int_equal(stream_from_fd(base, fd[0], &carrier), 0);
	assert_int_equal(websocket_dial(NULL, base, carrier, &call, on_dialled, &d), 0);
	event_base_loop(base, EVLOOP_ONCE);
	n = read(fd[1], request, room - 1);
	assert_true(n > 0);
	request[n] = '\0';
	key = strstr(request, "Sec-WebSocket-Key: ");
	assert_non_null(key);
	websocket_accept(key + strlen("Sec-WebSocket-Key: "), accept);
	snprintf(head, sizeof(head), answer, accept);
	/* A byte at a time. */
	for (char *p = head; *p && !d.done; p++) {
		assert_int_equal(write(fd[1], p, 1), 1);
		event_base_loop(base, EVLOOP_ONCE);
	}
	if (!*answer)
		close(fd[1]);
	while (!d.done)
		event_base_loop(base, EVLOOP_ONCE);
	if (*answer)
		close(fd[1]);
	return d;
}

#define SWITCHING                                                                                  \
	"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: upgrade\r\n"

static void test_dial(void **unused)
{
	char request[1024];
	struct dialled d;

	(void)unused;
	d = dial(SWITCHING "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n",
		 request, sizeof(request));
	assert_non_null(d.s);
	d.s->ops->abort(d.s);
	assert_non_null(strstr(request, "GET /p?q HTTP/1.1\r\nHost: h:1\r\n"));
	assert_non_null(strstr(request, "\r\nX-A: b\r\n\r\n"));
	d = dial(SWITCHING "Sec-WebSocket-Accept: %s\r\n\r\n", request, sizeof(request));
	assert_int_equal(d.error, -EPROTO);
	d = dial(SWITCHING "Sec-WebSocket-Accept: x\r\n\r\n", request, sizeof(request));
	assert_int_equal(d.error, -ECONNREFUSED);
	assert_int_equal(d.status, 101);
	d = dial("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", request, sizeof(request));
	assert_int_equal(d.status, 403);
	assert_string_equal(d.body, "no");
	d = dial("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n2\r\noh\r\n0\r\n\r\n",
		 request, sizeof(request));
	assert_int_equal(d.status, 500);
	assert_string_equal(d.body, "oh");
	d = dial("SSH-2.0-x\r\n\r\n", request, sizeof(request));
	assert_int_equal(d.error, -EPROTO);
	d = dial("HTTP/1.1 101 Sw", request, sizeof(request));
	assert_int_equal(d.error, -ETIMEDOUT);
	d = dial("", request, sizeof(request));
	assert_int_equal(d.error, -ECONNRESET);
}

/* Its peer has gone, with a reset, before the first byte is written. */
static struct dialled dial_broken(const char *answer, bool told)
{
	const struct websocket_call call = {.host = "h:1", .path = "/", .timeout = NSEC_PER_SEC};
	const struct linger reset = {.l_onoff = 1};
	struct dialled d = {.done = false};
	struct stream *carrier;
	int fd[2];

	tcp_pair(fd);
	assert_int_equal(stream_from_fd(base, fd[0], &carrier), 0);
	assert_int_equal(write(fd[1], answer, strlen(answer)), strlen(answer));
	assert_int_equal(setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd[1]);
	while (told && !carrier->error)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(websocket_dial(NULL, base, carrier, &call, on_dialled, &d), 0);
	assert_false(d.done);
	while (!d.done)
		event_base_loop(base, EVLOOP_ONCE);
	assert_null(d.s);
	return d;
}

static void test_dial_broken(void **unused)
{
	struct dialled d;

	(void)unused;
	d = dial_broken("", true);
	assert_int_equal(d.error, -ECONNRESET);
	d = dial_broken("", false);
	assert_int_equal(d.error, -ECONNRESET);
	d = dial_broken("HTTP/1.1 413 Oh\r\nContent-Length: 2\r\n\r\nno", false);
	assert_int_equal(d.error, -ECONNREFUSED);
	assert_int_equal(d.status, 413);
	assert_string_equal(d.body, "no");
}

static int setup(void **unused)
{
	(void)unused;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),      cmocka_unit_test(test_full),
		cmocka_unit_test(test_close_delivers), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_forbidden),      cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_dial),	       cmocka_unit_test(test_dial_broken),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
