/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WebSocket (RFC 6455, by wslay) as a stream.
 *
 * In:  connection -> wslay -> `rx`. wslay asks for bytes only while rx has room for what it may get; so a slow reader
 *      fills rx, then TLS's buffer, then the peer's window. TLS may hold bytes that epoll does not see: so reading goes on
 *      until -EAGAIN, and a pause for want of room is remembered (`stalled`).
 * Out: one message a time -> wslay -> `out` -> connection. The next is taken when `out` is empty, so its memory stays where
 *      it is while a TLS record is half sent. Pings and pongs queue in wslay behind it.
 *
 * Readiness is told from a timer of no length, level-triggered: never from within the owner's call, and in turns with
 * everything else in the loop.
 *
 * Port-forward (v4.channel.k8s.io): the first byte of each message is its channel, 0 data and 1 error; the first message of
 * each channel holds the port. What the error channel says afterwards is the end of the stream and its reason.
 *
 * close() sends what is left and a close frame, for at most LINGER_SECONDS, without an owner.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "base/clock.h"
#include "kube/internal.h"

enum {
	RX_MAX = 256 * 1024,
	MESSAGE_MAX = 60 * 1024,
	OUT_MAX = 64 * 1024,
	REASON_MAX = 256,
	PING_SECONDS = 10,
	DEAD_SECONDS = 25,
	LINGER_SECONDS = 5,
	CHANNELS = 2,
};

struct websocket {
	struct stream s;
	struct kube_connection *connection;
	wslay_event_context_ptr ws;
	struct event *readable, *writable, *tell, *tick;
	unsigned wanted;
	bool stalled, ended, broken, told, closing, orphan;
	nsec_t heard, lingering;
	/* in */
	uint8_t *early; /* bytes that came with the handshake */
	size_t early_len, early_off;
	uint8_t rx[RX_MAX];
	size_t rx_off, rx_len;
	uint8_t opcode; /* of the frame that comes */
	/* port-forward */
	uint16_t port;
	size_t message_pos; /* bytes of this message so far */
	uint8_t channel;
	unsigned messages[CHANNELS]; /* seen begin, per channel */
	/* out */
	uint8_t message[MESSAGE_MAX];
	uint8_t out[OUT_MAX];
	size_t out_off, out_len;
	char reason[REASON_MAX];
};

static const struct stream_ops websocket_ops;

static struct websocket *self(const struct stream *s)
{
	return container_of((struct stream *)(uintptr_t)s, struct websocket, s);
}

static void destroy(struct websocket *w)
{
	struct event *const events[] = {w->readable, w->writable, w->tell, w->tick};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (events[i])
			event_free(events[i]);
	}
	if (w->ws)
		wslay_event_context_free(w->ws);
	kube_connection_free(w->connection);
	free(w->early);
	free(w);
}

/* --- readiness ------------------------------------------------------------------------------------------ */

static void tell_soon(struct websocket *w)
{
	struct timeval now = {.tv_sec = 0};

	event_add(w->tell, &now);
}

static void break_off(struct websocket *w, int error)
{
	if (w->broken)
		return;
	w->broken = true;
	w->s.error = error;
	event_del(w->readable);
	event_del(w->writable);
	tell_soon(w);
}

static bool can_write(const struct websocket *w)
{
	return w->out_len == 0 && !wslay_event_want_write(w->ws);
}

static unsigned ready(const struct websocket *w)
{
	unsigned ev = 0;

	/* What has come is read before the error behind it is told. */
	if ((w->wanted & STREAM_READABLE) && (w->rx_len || (w->ended && !w->broken)))
		ev |= STREAM_READABLE;
	if ((w->wanted & STREAM_WRITABLE) && !w->broken && !w->closing && can_write(w))
		ev |= STREAM_WRITABLE;
	if (w->broken && !w->told && !w->rx_len)
		ev = STREAM_ERROR;
	return ev;
}

static void pump(struct websocket *w);

static void on_tell(int fd, short what, void *arg)
{
	struct websocket *w = arg;
	unsigned ev;

	(void)fd;
	(void)what;
	if (w->orphan) {
		destroy(w);
		return;
	}
	if (w->stalled && w->rx_len <= RX_MAX / 2)
		pump(w);
	ev = ready(w);
	if (!ev || w->told || !w->s.cb)
		return;
	if (ev & STREAM_ERROR)
		w->told = true;
	else
		tell_soon(w); /* before the callback, which may free us */
	w->s.cb(&w->s, ev, w->s.arg);
}

/* --- wslay's callbacks ---------------------------------------------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *buf, size_t len, int flags, void *arg)
{
	struct websocket *w = arg;
	ssize_t n;

	(void)flags;
	if (RX_MAX - w->rx_len < len) {
		w->stalled = true;
		wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	if (w->early_off < w->early_len) {
		n = (ssize_t)MIN(len, w->early_len - w->early_off);
		memcpy(buf, w->early + w->early_off, (size_t)n);
		w->early_off += (size_t)n;
		return n;
	}
	n = kube_connection_read(w->connection, buf, len);
	if (n > 0) {
		w->heard = clock_boot();
		return n;
	}
	if (n != -EAGAIN && !w->ended)
		break_off(w, n == 0 ? -ECONNRESET : (int)n);
	wslay_event_set_error(ws, n == -EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *data, size_t len, int flags,
		       void *arg)
{
	struct websocket *w = arg;
	size_t end = w->out_off + w->out_len, n = MIN(len, OUT_MAX - end);

	(void)flags;
	if (n == 0) {
		wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(w->out + end, data, n);
	w->out_len += n;
	return (ssize_t)n;
}

static int on_mask(wslay_event_context_ptr ws, uint8_t *buf, size_t len, void *arg)
{
	(void)ws;
	(void)arg;
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -1;
}

static void on_frame(wslay_event_context_ptr ws,
		     const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
	struct websocket *w = arg;

	(void)ws;
	w->opcode = f->opcode;
	if (!wslay_is_ctrl_frame(f->opcode) && f->opcode != WSLAY_CONTINUATION_FRAME)
		w->message_pos = 0;
}

static void take_data(struct websocket *w, const uint8_t *data, size_t len)
{
	if (w->rx_off + w->rx_len + len > RX_MAX) {
		memmove(w->rx, w->rx + w->rx_off, w->rx_len);
		w->rx_off = 0;
	}
	memcpy(w->rx + w->rx_off + w->rx_len, data, len);
	w->rx_len += len;
}

static void add_reason(struct websocket *w, const uint8_t *data, size_t len)
{
	size_t n = strlen(w->reason);

	for (size_t i = 0; i < len && n < REASON_MAX - 1; i++)
		w->reason[n++] = (char)(data[i] < ' ' || data[i] == 0x7f ? ' ' : data[i]);
	w->reason[n] = '\0';
}

/* One piece of a port-forward message. */
static void take_channel(struct websocket *w, const uint8_t *data, size_t len)
{
	for (; len && w->message_pos < 3; data++, len--, w->message_pos++) {
		if (w->message_pos == 0) {
			w->channel = *data;
			if (w->channel < CHANNELS && w->messages[w->channel] < 2)
				w->messages[w->channel]++;
			continue;
		}
		/* The first message is the port, little end first. */
		if (w->channel >= CHANNELS || w->messages[w->channel] > 1)
			break;
		if (*data != (uint8_t)(w->message_pos == 1 ? w->port : w->port >> 8))
			break_off(w, -EPROTO);
	}
	if (!len || w->broken)
		return;
	w->message_pos += len;
	if (w->channel == 0 && w->messages[0] > 1)
		take_data(w, data, len);
	else if (w->channel == 1 && w->messages[1] > 1)
		add_reason(w, data, len);
}

static void on_chunk(wslay_event_context_ptr ws,
		     const struct wslay_event_on_frame_recv_chunk_arg *c, void *arg)
{
	struct websocket *w = arg;

	(void)ws;
	if (wslay_is_ctrl_frame(w->opcode))
		return;
	if (w->port)
		take_channel(w, c->data, c->data_length);
	else
		take_data(w, c->data, c->data_length);
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *m,
		       void *arg)
{
	struct websocket *w = arg;

	(void)ws;
	if (m->opcode == WSLAY_CONNECTION_CLOSE) {
		w->ended = true;
		if (m->msg_length > 2 && !*w->reason)
			add_reason(w, m->msg + 2, m->msg_length - 2);
		/* 0 = a close frame without a code */
		if (m->status_code && m->status_code != WSLAY_CODE_NORMAL_CLOSURE)
			break_off(w, -ECONNRESET);
	} else if (w->port && w->channel == 1 && *w->reason && !wslay_is_ctrl_frame(m->opcode)) {
		break_off(w, -ECONNREFUSED);
	}
}

static const struct wslay_event_callbacks callbacks = {
	.recv_callback = on_recv,
	.send_callback = on_send,
	.genmask_callback = on_mask,
	.on_frame_recv_start_callback = on_frame,
	.on_frame_recv_chunk_callback = on_chunk,
	.on_msg_recv_callback = on_message,
};

/* --- moving --------------------------------------------------------------------------------------------- */

static int send_out(struct websocket *w)
{
	while (w->out_len) {
		ssize_t n = kube_connection_write(w->connection, w->out + w->out_off, w->out_len);

		if (n < 0)
			return (int)n;
		w->out_off += (size_t)n;
		w->out_len -= (size_t)n;
	}
	w->out_off = 0;
	return 0;
}

/* Until all is sent, or the socket is full. */
static void flush(struct websocket *w)
{
	int r = send_out(w);

	while (r == 0 && wslay_event_want_write(w->ws)) {
		if (wslay_event_send(w->ws))
			r = -EPROTO;
		else if (w->out_len == 0)
			break;
		else
			r = send_out(w);
	}
	if (r == -EAGAIN) {
		if (event_add(w->writable, NULL))
			break_off(w, -ENOMEM);
		return;
	}
	event_del(w->writable);
	if (r < 0)
		break_off(w, r);
}

/* Reads what there is, into rx; answers pings. */
static void pump(struct websocket *w)
{
	if (w->broken || w->ended)
		return;
	w->stalled = false;
	if (wslay_event_recv(w->ws) && !w->broken && !w->ended)
		break_off(w, -EPROTO);
	/* A frame that broke the rules: wslay has queued the close frame that says so. */
	if (!w->broken && !w->ended && !wslay_event_get_read_enabled(w->ws))
		break_off(w, -EPROTO);
	if (!w->broken || w->ended)
		flush(w);
	if (w->ended || w->stalled || w->broken)
		event_del(w->readable);
	else if (event_add(w->readable, NULL))
		break_off(w, -ENOMEM);
}

static void on_readable(int fd, short what, void *arg)
{
	struct websocket *w = arg;

	(void)fd;
	(void)what;
	pump(w);
	if (ready(w))
		tell_soon(w);
}

static void end_orphan(struct websocket *w)
{
	if (w->orphan && (w->broken || (!w->out_len && !wslay_event_want_write(w->ws))))
		tell_soon(w); /* which destroys it */
}

static void on_writable(int fd, short what, void *arg)
{
	struct websocket *w = arg;

	(void)fd;
	(void)what;
	flush(w);
	end_orphan(w);
	if (ready(w))
		tell_soon(w);
}

static void on_tick(int fd, short what, void *arg)
{
	struct websocket *w = arg;
	struct wslay_event_msg ping = {.opcode = WSLAY_PING};
	struct timeval tv = {.tv_sec = PING_SECONDS / 2};
	nsec_t now = clock_boot();

	(void)fd;
	(void)what;
	if (w->orphan && now - w->lingering >= LINGER_SECONDS * NSEC_PER_SEC) {
		destroy(w);
		return;
	}
	event_add(w->tick, &tv);
	if (w->broken || w->ended || w->orphan)
		return;
	/* While we do not read, its silence means nothing. */
	if (w->stalled)
		w->heard = now;
	if (now - w->heard > DEAD_SECONDS * NSEC_PER_SEC) {
		snprintf(w->reason, sizeof(w->reason), "nothing was heard for %d s", DEAD_SECONDS);
		break_off(w, -ETIMEDOUT);
	} else if (now - w->heard >= PING_SECONDS / 2 * NSEC_PER_SEC &&
		   wslay_event_get_queued_msg_count(w->ws) == 0) {
		wslay_event_queue_msg(w->ws, &ping);
		flush(w);
	}
}

/* --- the stream ----------------------------------------------------------------------------------------- */

static ssize_t ws_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct websocket *w = self(s);
	size_t done = 0;

	for (int i = 0; i < n && w->rx_len; i++) {
		size_t len = MIN(iov[i].iov_len, w->rx_len);

		memcpy(iov[i].iov_base, w->rx + w->rx_off, len);
		w->rx_off += len;
		w->rx_len -= len;
		done += len;
	}
	if (!w->rx_len)
		w->rx_off = 0;
	if (w->broken || (w->stalled && w->rx_len <= RX_MAX / 2))
		tell_soon(w);
	if (done)
		return (ssize_t)done;
	if (w->broken)
		return w->s.error;
	return w->ended ? 0 : -EAGAIN;
}

static ssize_t ws_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct websocket *w = self(s);
	struct wslay_event_msg msg = {.opcode = WSLAY_BINARY_FRAME, .msg = w->message};
	size_t len = 0;

	if (w->broken)
		return w->s.error;
	if (w->closing || w->ended)
		return -EPIPE;
	if (!can_write(w))
		return -EAGAIN;
	if (w->port)
		w->message[len++] = 0;
	for (int i = 0; i < n && len < MESSAGE_MAX; i++) {
		size_t take = MIN(iov[i].iov_len, MESSAGE_MAX - len);

		memcpy(w->message + len, iov[i].iov_base, take);
		len += take;
	}
	msg.msg_length = len;
	len -= w->port ? 1 : 0;
	if (!len)
		return 0;
	if (wslay_event_queue_msg(w->ws, &msg))
		return -ENOMEM;
	flush(w);
	return (ssize_t)len;
}

static void ws_want(struct stream *s, unsigned ev)
{
	struct websocket *w = self(s);

	w->wanted = ev;
	if (ready(w))
		tell_soon(w);
}

static void ws_shutdown(struct stream *s)
{
	struct websocket *w = self(s);

	if (w->closing || w->broken)
		return;
	w->closing = true;
	wslay_event_queue_close(w->ws, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
	flush(w);
}

static void ws_close(struct stream *s)
{
	struct websocket *w = self(s);

	ws_shutdown(s);
	w->s.cb = NULL;
	w->orphan = true;
	w->lingering = clock_boot();
	event_del(w->tell);
	event_del(w->readable);
	if (w->broken || (!w->out_len && !wslay_event_want_write(w->ws)))
		destroy(w);
}

static void ws_abort(struct stream *s)
{
	struct websocket *w = self(s);
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(w->connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	destroy(w);
}

static int ws_fd(struct stream *s)
{
	(void)s;
	return -1; /* the bytes on the socket are not ours alone */
}

static const struct stream_ops websocket_ops = {
	.readv = ws_readv,
	.writev = ws_writev,
	.want = ws_want,
	.shutdown = ws_shutdown,
	.close = ws_close,
	.abort = ws_abort,
	.fd = ws_fd,
};

const char *kube_stream_reason(const struct stream *s)
{
	return s->ops == &websocket_ops ? self(s)->reason : "";
}

/* --- start ---------------------------------------------------------------------------------------------- */

static int setup(struct websocket *w, struct event_base *base, const void *early, size_t len)
{
	struct timeval tv = {.tv_sec = PING_SECONDS / 2}, now = {.tv_sec = 0};
	int fd = w->connection->fd;

	if (wslay_event_context_client_init(&w->ws, &callbacks, w))
		return -ENOMEM;
	wslay_event_config_set_no_buffering(w->ws, 1);
	w->early = malloc(len + 1);
	if (!w->early)
		return -ENOMEM;
	memcpy(w->early, early, len);
	w->early_len = len;
	w->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, w);
	w->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, w);
	w->tell = event_new(base, -1, 0, on_tell, w);
	w->tick = event_new(base, -1, 0, on_tick, w);
	if (!w->readable || !w->writable || !w->tell || !w->tick || event_add(w->tick, &tv) ||
	    event_add(w->readable, NULL))
		return -ENOMEM;
	/* The first look is at what came with the handshake, which no socket will show. */
	w->stalled = true;
	return event_add(w->tell, &now) ? -ENOMEM : 0;
}

int kube_websocket_new(struct stream **sp, struct event_base *base, struct kube_connection *c,
		       const void *early, size_t early_len, uint16_t port)
{
	struct websocket *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->s.ops = &websocket_ops;
	w->connection = c;
	w->port = port;
	w->heard = clock_boot();
	if (setup(w, base, early, early_len)) {
		w->connection = NULL; /* stays the caller's */
		destroy(w);
		return -ENOMEM;
	}
	*sp = &w->s;
	return 0;
}
