/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over a stream: its life.
 *
 * A stream may end inside of anybody's call: a write at the flush fails, a frame is malformed. It
 * is closed right there, but the owner hears of it from the loop, by an event of our own; so nobody
 * finds his objects changed behind a call to send.
 *
 * Memory. A hub has thousands of streams, most of them silent. So a stream that has nothing queued
 * and nothing half received has no buffers: received bytes land in one buffer that all share (no
 * read leaves anything in it), and chunks of queues come from one small stock.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/stream.h"

enum {
	STOCK_MAX = 8, /* chunks */
	/* What the kernel may hold unsent before it says "full": enough to keep the network busy
	 * until we write again, little enough that what is urgent does not stand behind it. */
	NOTSENT_LOWAT = 128 << 10,
};

/* Of all streams of this process (one thread). Kept as long as there is one. */
static struct {
	unsigned users;
	uint8_t *rx;
	struct chunk *stock;
	unsigned n;
} shared;

static int shared_take(void)
{
	if (!shared.rx)
		shared.rx = calloc(1, TRANSPORT_HEAD + RX_BYTES + TRANSPORT_TAIL);
	if (!shared.rx)
		return -ENOMEM;
	shared.users++;
	return 0;
}

static void shared_release(void)
{
	if (--shared.users)
		return;
	while (shared.stock) {
		struct chunk *c = shared.stock;

		shared.stock = c->next;
		free(c);
	}
	free(shared.rx);
	memset(&shared, 0, sizeof(shared));
}

uint8_t *stream_shared_rx(void)
{
	return shared.rx + TRANSPORT_HEAD;
}

struct chunk *stream_chunk_new(void)
{
	struct chunk *c = shared.stock;

	if (c) {
		shared.stock = c->next;
		shared.n--;
	} else {
		c = malloc(sizeof(*c));
		if (!c)
			return NULL;
	}
	c->next = NULL;
	c->start = c->end = TRANSPORT_HEAD;
	return c;
}

void stream_chunk_free(struct chunk *c)
{
	if (shared.n == STOCK_MAX) {
		free(c);
		return;
	}
	c->next = shared.stock;
	shared.stock = c;
	shared.n++;
}

/* --- events --- */

static void on_later(int fd, short what, void *arg)
{
	struct stream_transport *st = arg;

	(void)fd;
	(void)what;
	if (st->tell_closed) {
		st->tell_closed = st->tell_writable = false;
		st->t.ops->closed(st->t.arg, st->error);
	} else if (st->tell_writable) {
		st->tell_writable = false;
		if (st->t.ops->writable)
			st->t.ops->writable(st->t.arg);
	}
}

void stream_end(struct stream_transport *st, int error)
{
	if (!st->s)
		return;
	if (error)
		st->s->ops->abort(st->s);
	else
		st->s->ops->close(st->s);
	st->s = NULL;
	st->error = error;
	stream_discard(st);
	stream_partial_free(st);
	st->tell_closed = true;
	event_active(st->later, EV_TIMEOUT, 0);
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct stream_transport *st = arg;

	if (ev & STREAM_ERROR) {
		stream_end(st, s->error ? s->error : -EIO);
		return;
	}
	if (ev & STREAM_WRITABLE && st->blocked) {
		st->blocked = false;
		stream_flush(&st->t);
	}
	if (ev & STREAM_READABLE && st->s)
		stream_receive(st);
}

/* --- life --- */

static void close_stream(struct transport *t)
{
	struct stream_transport *st = stream_self(t);

	stream_flush(t);
	stream_end(st, 0);
	st->tell_closed = st->tell_writable = false;
}

static void destroy(struct transport *t)
{
	struct stream_transport *st = stream_self(t);

	close_stream(t);
	event_free(st->later);
	free(st);
	shared_release();
}

static bool full(const struct transport *t)
{
	return container_of(t, const struct stream_transport, t)->full;
}

static size_t mtu(struct transport *t, const struct path *to)
{
	(void)t;
	(void)to;
	return TRANSPORT_FRAME_MAX;
}

static const struct transport_kind stream_kind = {
	.free = destroy,
	.close = close_stream,
	.send = stream_send,
	.flush = stream_flush,
	.full = full,
	.mtu = mtu,
};

/* Where there is a socket at the bottom; another kind of socket than TCP refuses, which is fine. */
static void set_options(struct stream *s)
{
	int fd = s->ops->fd ? s->ops->fd(s) : -1;
	int on = 1, lowat = NOTSENT_LOWAT;

	if (fd < 0)
		return;
	/* Frames gather here: the kernel need not wait for more. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
}

int transport_stream_new(struct transport **tp, struct event_base *base, struct stream *s,
			 uint32_t id, const struct transport_ops *ops, void *arg, struct error *e)
{
	cleanup(free_ptr) struct stream_transport *st = calloc(1, sizeof(*st));

	if (!st)
		return error_errno(e, -ENOMEM, "stream transport");
	st->later = event_new(base, -1, 0, on_later, st);
	if (!st->later)
		return error_errno(e, -ENOMEM, "stream transport");
	if (shared_take()) {
		event_free(st->later);
		return error_errno(e, -ENOMEM, "stream transport");
	}
	st->t = (struct transport){.kind = &stream_kind, .id = id, .ops = ops, .arg = arg};
	st->s = s;
	set_options(s);
	stream_set(s, on_stream, st);
	s->ops->want(s, STREAM_READABLE);
	*tp = &st->t;
	st = NULL;
	return 0;
}
