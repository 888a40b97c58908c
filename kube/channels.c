/* SPDX-License-Identifier: Apache-2.0 */
/*
 * v4.channel.k8s.io of pods/portforward, on top of a WebSocket's messages: the first byte of each is its channel, 0 data and
 * 1 error; the first message of each channel holds the port, little end first. What the error channel says afterwards is the
 * end of the stream and its reason.
 */
#include <errno.h>
#include <event2/event.h>

#include "kube/internal.h"
#include "websocket/websocket.h"

enum { CHANNELS = 2, CHANNEL_DATA = 0, CHANNEL_ERROR = 1, PORT_LEN = 2, IOVS = 16, REASON = 512 };

struct channels {
	struct stream s;
	struct stream *messages;
	struct event *tell;
	uint16_t port;
	uint8_t channel;
	unsigned seen[CHANNELS]; /* messages begun, at most 2 */
	unsigned port_got;	 /* bytes of it, in this message */
	bool told;
	char reason[REASON];
};

static const struct stream_ops channels_ops;

static struct channels *self(const struct stream *s)
{
	return container_of((struct stream *)(uintptr_t)s, struct channels, s);
}

static void on_tell(int fd, short what, void *arg)
{
	struct channels *c = arg;

	(void)fd;
	(void)what;
	if (c->told || !c->s.cb)
		return;
	c->told = true;
	c->s.cb(&c->s, STREAM_ERROR, c->s.arg);
}

static void on_messages(struct stream *messages, unsigned ev, void *arg)
{
	struct channels *c = arg;

	if (ev & STREAM_ERROR) {
		c->s.error = c->s.error ? c->s.error : messages->error;
		on_tell(-1, 0, c);
	} else if (c->s.cb && !c->s.error) {
		c->s.cb(&c->s, ev, c->s.arg);
	}
}

static int break_off(struct channels *c, int error)
{
	c->s.error = error;
	c->messages->ops->want(c->messages, 0);
	event_active(c->tell, EV_TIMEOUT, 1);
	return error;
}

static void add_reason(struct channels *c, const uint8_t *data, size_t len)
{
	size_t n = strlen(c->reason);

	for (size_t i = 0; i < len && n < REASON - 1; i++)
		c->reason[n++] = (char)(data[i] < ' ' || data[i] == 0x7f ? ' ' : data[i]);
	c->reason[n] = '\0';
}

/* A piece of a message; how many bytes of it are data, from *data on. */
static ssize_t take(struct channels *c, bool begin, const uint8_t **data, size_t len)
{
	const uint8_t *p = *data, *end = p + len;

	if (begin) {
		c->channel = *p++;
		c->port_got = 0;
		if (c->channel < CHANNELS && c->seen[c->channel] < 2)
			c->seen[c->channel]++;
	}
	if (c->channel >= CHANNELS)
		return 0;
	if (c->seen[c->channel] == 1) {
		for (; p < end && c->port_got < PORT_LEN; p++) {
			if (*p != (uint8_t)(c->port >> (8 * c->port_got++)))
				return break_off(c, -EPROTO);
		}
		return 0;
	}
	if (c->channel == CHANNEL_ERROR && p < end) {
		add_reason(c, p, (size_t)(end - p));
		return break_off(c, -ECONNREFUSED);
	}
	*data = p;
	return end - p;
}

static ssize_t channels_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct channels *c = self(s);
	bool begin;
	ssize_t r;

	while (n && !iov->iov_len) {
		iov++;
		n--;
	}
	if (c->s.error || !n)
		return c->s.error;
	for (;;) {
		const uint8_t *data = iov->iov_base;

		r = websocket_receive(c->messages, iov, 1, &begin);
		if (r <= 0)
			return r;
		r = take(c, begin, &data, (size_t)r);
		if (r > 0 && data != iov->iov_base)
			memmove(iov->iov_base, data, (size_t)r);
		if (r)
			return r;
	}
}

static ssize_t channels_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct channels *c = self(s);
	uint8_t channel = CHANNEL_DATA;
	struct iovec v[IOVS] = {{&channel, 1}};
	size_t len = 0;
	ssize_t r;
	int k = 1;

	if (c->s.error)
		return c->s.error;
	for (int i = 0; i < n && k < IOVS; i++) {
		v[k++] = iov[i];
		len += iov[i].iov_len;
	}
	if (!len)
		return 0;
	r = c->messages->ops->writev(c->messages, v, k);
	return r > 0 ? r - 1 : r;
}

static void channels_want(struct stream *s, unsigned ev)
{
	struct channels *c = self(s);

	if (!c->s.error)
		c->messages->ops->want(c->messages, ev);
}

static void channels_shutdown(struct stream *s)
{
	self(s)->messages->ops->shutdown(self(s)->messages);
}

static void end(struct channels *c, void (*how)(struct stream *))
{
	how(c->messages);
	event_free(c->tell);
	free(c);
}

static void channels_close(struct stream *s)
{
	end(self(s), self(s)->messages->ops->close);
}

static void channels_abort(struct stream *s)
{
	end(self(s), self(s)->messages->ops->abort);
}

static int channels_fd(struct stream *s)
{
	(void)s;
	return -1;
}

static const struct stream_ops channels_ops = {
	.readv = channels_readv,
	.writev = channels_writev,
	.want = channels_want,
	.shutdown = channels_shutdown,
	.close = channels_close,
	.abort = channels_abort,
	.fd = channels_fd,
};

int kube_channels_new(struct stream **sp, struct event_base *base, struct stream *messages,
		      uint16_t port)
{
	struct channels *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->tell = event_new(base, -1, 0, on_tell, c);
	if (!c->tell) {
		free(c);
		return -ENOMEM;
	}
	c->s.ops = &channels_ops;
	c->messages = messages;
	c->port = port;
	stream_set(messages, on_messages, c);
	*sp = &c->s;
	return 0;
}

const char *kube_stream_reason(const struct stream *s)
{
	if (s->ops != &channels_ops)
		return websocket_reason(s);
	return *self(s)->reason ? self(s)->reason : websocket_reason(self(s)->messages);
}
