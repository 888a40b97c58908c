/* SPDX-License-Identifier: Apache-2.0 */
/* A client's handshake: our request, the head of the answer. What is no 101 is read to its end (bounded), since it says why. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "websocket/internal.h"

enum { DIAL_SECONDS = 30, IN_MAX = 48 * 1024 };

struct websocket_dial {
	struct event_base *base;
	struct stream *carrier;
	struct event *late;
	char *protocol;
	char key[WEBSOCKET_KEY_LEN + 1];
	char *out;
	size_t out_len, out_sent;
	char in[IN_MAX + 1];
	size_t in_len;
	unsigned seconds;
	websocket_dial_cb *cb;
	void *arg;
};

static void dial_free(struct websocket_dial *d)
{
	if (d->late)
		event_free(d->late);
	if (d->out)
		explicit_bzero(d->out, d->out_len); /* there may be a token in it */
	free(d->out);
	free(d->protocol);
	free(d);
}

void websocket_dial_cancel(struct websocket_dial *d)
{
	if (!d)
		return;
	d->carrier->ops->abort(d->carrier);
	dial_free(d);
}

/* The one callback; what `why` points to lives until it returns. */
static void refuse(struct websocket_dial *d, struct websocket_refusal *why)
{
	why->carrier = d->carrier;
	event_del(d->late);
	stream_set(d->carrier, NULL, NULL);
	d->cb(d->arg, NULL, why);
	d->carrier->ops->abort(d->carrier);
	dial_free(d);
}

static void fail(struct websocket_dial *d, int error, const char *why)
{
	struct websocket_refusal r = {.error = error, .body = "", .why = why};

	refuse(d, &r);
}

static void refused(struct websocket_dial *d, const struct handshake_answer *a)
{
	struct websocket_refusal r = {.error = -ECONNREFUSED, .status = a->status};
	char *body = d->in + a->head_len, why[64];

	r.len = d->in_len - a->head_len;
	body[r.len] = '\0';
	if (a->chunked)
		r.len = handshake_unchunk(body, r.len);
	r.body = body;
	snprintf(why, sizeof(why), "the upgrade to a WebSocket was answered %d", a->status);
	r.why = why;
	refuse(d, &r);
}

static void upgraded(struct websocket_dial *d, const struct handshake_answer *a)
{
	struct stream *s;

	if (d->protocol && strcmp(a->protocol, d->protocol)) {
		fail(d, -EPROTO, "the WebSocket does not speak the protocol asked for");
		return;
	}
	if (websocket_new(&s, d->base, d->carrier, WEBSOCKET_CLIENT, d->in + a->head_len,
			  d->in_len - a->head_len)) {
		fail(d, -ENOMEM, "out of memory");
		return;
	}
	d->cb(d->arg, s, NULL);
	dial_free(d);
}

static bool body_complete(const struct websocket_dial *d, const struct handshake_answer *a)
{
	size_t len = d->in_len - a->head_len;

	if (a->chunked)
		return memmem(d->in + a->head_len, len, "0\r\n\r\n", 5) != NULL;
	return a->body_len >= 0 && (long long)len >= a->body_len;
}

/* false = decided, `d` is gone. */
static bool look(struct websocket_dial *d, int ended)
{
	struct handshake_answer a;
	int r = handshake_answer(d->in, d->in_len, d->key, &a);

	if (r == -EAGAIN && !ended)
		return true;
	if (r == -EAGAIN)
		fail(d, ended, "the connection ended before the upgrade was answered");
	else if (r)
		fail(d, r, "the upgrade was answered by something that is no HTTP");
	else if (a.upgraded)
		upgraded(d, &a);
	else if (ended || a.status < 200 || body_complete(d, &a) || d->in_len == IN_MAX)
		refused(d, &a);
	else
		return true;
	return false;
}

/* Likewise. */
static bool read_answer(struct websocket_dial *d)
{
	for (;;) {
		ssize_t n = stream_read(d->carrier, d->in + d->in_len, IN_MAX - d->in_len);

		if (n == -EAGAIN)
			return true;
		if (n > 0)
			d->in_len += (size_t)n;
		if (!look(d, n > 0 ? 0 : n ? (int)n : -ECONNRESET))
			return false;
	}
}

static void on_carrier(struct stream *carrier, unsigned ev, void *arg)
{
	struct websocket_dial *d = arg;

	if (ev & STREAM_ERROR) {
		(void)look(d, carrier->error);
		return;
	}
	while ((ev & STREAM_WRITABLE) && d->out_sent < d->out_len) {
		ssize_t n = stream_write(carrier, d->out + d->out_sent, d->out_len - d->out_sent);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {
			/* It may have answered before it closed. */
			if (read_answer(d))
				(void)look(d, (int)n);
			return;
		}
		d->out_sent += (size_t)n;
	}
	if (d->out_sent == d->out_len)
		carrier->ops->want(carrier, STREAM_READABLE);
	if (ev & STREAM_READABLE)
		(void)read_answer(d);
}

static void on_late(int fd, short what, void *arg)
{
	struct websocket_dial *d = arg;
	char why[64];

	(void)fd;
	(void)what;
	if (d->carrier->error) {
		(void)look(d, d->carrier->error);
		return;
	}
	snprintf(why, sizeof(why), "no answer to the upgrade came within %u s", d->seconds);
	fail(d, -ETIMEDOUT, why);
}

static bool is_line(const char *s)
{
	return !s || !strpbrk(s, "\r\n");
}

int websocket_dial(struct websocket_dial **dp, struct event_base *base, struct stream *carrier,
		   const struct websocket_call *call, websocket_dial_cb *cb, void *arg)
{
	struct timeval tv = {.tv_sec = DIAL_SECONDS};
	struct websocket_dial *d;

	if (!is_line(call->host) || !is_line(call->protocol) || *call->path != '/' ||
	    strpbrk(call->path, " \r\n#"))
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	if (call->timeout) {
		tv.tv_sec = (time_t)(call->timeout / NSEC_PER_SEC);
		tv.tv_usec = (suseconds_t)(call->timeout % NSEC_PER_SEC / 1000);
	}
	d->base = base;
	d->seconds = (unsigned)tv.tv_sec;
	d->cb = cb;
	d->arg = arg;
	websocket_key(d->key);
	d->protocol = call->protocol ? strdup(call->protocol) : NULL;
	d->out = handshake_request(call, d->key);
	d->out_len = d->out ? strlen(d->out) : 0;
	d->late = event_new(base, -1, 0, on_late, d);
	if (!d->out || (call->protocol && !d->protocol) || !d->late || event_add(d->late, &tv)) {
		dial_free(d);
		return -ENOMEM;
	}
	d->carrier = carrier;
	stream_set(carrier, on_carrier, d);
	carrier->ops->want(carrier, STREAM_READABLE | STREAM_WRITABLE);
	if (carrier->error) /* broken before we heard: it says so once only */
		event_active(d->late, EV_TIMEOUT, 1);
	if (dp)
		*dp = d;
	return 0;
}
