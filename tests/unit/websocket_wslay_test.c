/* SPDX-License-Identifier: Apache-2.0 */
/* websocket against wslay, which did not learn the RFC from us: both ways, both roles, pings, and the end. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <wslay/wslay.h>

#include "websocket/websocket.h"

enum { ALL = 3 << 20 };

struct other {
	int fd;
	wslay_event_context_ptr ws;
	uint8_t *in;
	size_t in_len, pongs;
	uint16_t closed;
};

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *buf, size_t len, int flags, void *arg)
{
	struct other *o = arg;
	ssize_t n = recv(o->fd, buf, len, flags);

	if (n <= 0)
		wslay_event_set_error(ws, n ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return n > 0 ? n : -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *data, size_t len, int flags,
		       void *arg)
{
	struct other *o = arg;
	ssize_t n = send(o->fd, data, len,
			 flags & WSLAY_MSG_MORE ? MSG_MORE | MSG_NOSIGNAL : MSG_NOSIGNAL);

	if (n < 0)
		wslay_event_set_error(ws, errno == EAGAIN ? WSLAY_ERR_WOULDBLOCK
							  : WSLAY_ERR_CALLBACK_FAILURE);
	return n;
}

static int on_mask(wslay_event_context_ptr ws, uint8_t *buf, size_t len, void *arg)
{
	(void)ws;
	(void)arg;
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(0x5a + 37 * i);
	return 0;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *m,
		       void *arg)
{
	struct other *o = arg;

	(void)ws;
	if (m->opcode == WSLAY_BINARY_FRAME) {
		assert_true(o->in_len + m->msg_length <= ALL);
		memcpy(o->in + o->in_len, m->msg, m->msg_length);
		o->in_len += m->msg_length;
	} else if (m->opcode == WSLAY_PONG) {
		assert_int_equal(m->msg_length, 4);
		assert_memory_equal(m->msg, "ping", 4);
		o->pongs++;
	} else if (m->opcode == WSLAY_CONNECTION_CLOSE) {
		o->closed = m->status_code;
	}
}

struct ours {
	struct stream *s;
	const uint8_t *out;
	uint8_t *in;
	size_t out_sent, in_len;
	bool ended;
};

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct ours *u = arg;
	ssize_t n;

	assert_false(ev & STREAM_ERROR);
	if ((ev & STREAM_READABLE) && !u->ended) {
		n = stream_read(s, u->in + u->in_len, ALL + 1 - u->in_len);
		u->in_len += n > 0 ? (size_t)n : 0;
		u->ended = n == 0;
	}
	if (ev & STREAM_WRITABLE) {
		n = stream_write(s, u->out + u->out_sent, ALL - u->out_sent);
		u->out_sent += n > 0 ? (size_t)n : 0;
	}
	s->ops->want(s, (u->ended ? 0 : STREAM_READABLE) |
				(u->out_sent < ALL && !u->ended ? STREAM_WRITABLE : 0));
}

/* Messages of all sizes around the borders of the length's three forms, and a ping between them. */
static void queue(struct other *o, const uint8_t *data)
{
	static const size_t sizes[] = {1, 125, 126, 127, 65535, 65536, 200000, 7};
	struct wslay_event_msg ping = {WSLAY_PING, (const uint8_t *)"ping", 4};

	for (size_t at = 0, i = 0; at < ALL; i++) {
		size_t len = MIN(sizes[i % ARRAY_SIZE(sizes)], ALL - at);
		struct wslay_event_msg m = {WSLAY_BINARY_FRAME, data + at, len};

		assert_int_equal(wslay_event_queue_msg(o->ws, &m), 0);
		assert_int_equal(wslay_event_queue_msg(o->ws, &ping), 0);
		at += len;
	}
}

static void converse(enum websocket_role role)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = on_recv,
		.send_callback = on_send,
		.genmask_callback = on_mask,
		.on_msg_recv_callback = on_message,
	};
	struct event_base *base = event_base_new();
	uint8_t *data = malloc(ALL);
	struct other o = {.in = malloc(ALL)};
	struct ours u = {.out = data, .in = malloc(ALL + 1)};
	struct stream *carrier;
	int fd[2];

	for (size_t i = 0; i < ALL; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(stream_from_fd(base, fd[0], &carrier), 0);
	assert_int_equal(websocket_new(&u.s, base, carrier, role, "", 0), 0);
	o.fd = fd[1];
	if (role == WEBSOCKET_CLIENT)
		assert_int_equal(wslay_event_context_server_init(&o.ws, &callbacks, &o), 0);
	else
		assert_int_equal(wslay_event_context_client_init(&o.ws, &callbacks, &o), 0);
	queue(&o, data);
	stream_set(u.s, on_stream, &u);
	u.s->ops->want(u.s, STREAM_READABLE | STREAM_WRITABLE);
	while (u.in_len < ALL || o.in_len < ALL || !o.pongs) {
		assert_int_equal(wslay_event_send(o.ws), 0);
		assert_int_equal(wslay_event_recv(o.ws), 0);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_memory_equal(u.in, data, ALL);
	assert_memory_equal(o.in, data, ALL);
	/* Its end is answered. */
	wslay_event_queue_close(o.ws, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
	while (!u.ended || !o.closed) {
		wslay_event_send(o.ws);
		event_base_loop(base, EVLOOP_NONBLOCK);
		wslay_event_recv(o.ws);
	}
	assert_int_equal(o.closed, WSLAY_CODE_NORMAL_CLOSURE);
	u.s->ops->close(u.s);
	wslay_event_context_free(o.ws);
	close(fd[1]);
	event_base_free(base);
	free(data);
	free(o.in);
	free(u.in);
}

static void test_client(void **unused)
{
	(void)unused;
	converse(WEBSOCKET_CLIENT);
}

static void test_server(void **unused)
{
	(void)unused;
	converse(WEBSOCKET_SERVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
