/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out over a stream. Messages are sealed straight into the queue, each behind its length,
 * and lie there as they will be on the wire: a flush is one writev of a few large pieces, and what
 * the stream does not take stays where it is.
 *
 * A flush comes at the end of the turn, or when FLUSH_BYTES have gathered. A stream may take a
 * piece at a time (a WebSocket: a message). Once it takes no more, only its own WRITABLE starts the
 * next one.
 */
#include <errno.h>
#include <event2/event.h>

#include "transport/stream.h"

enum {
	FLUSH_BYTES = 256 << 10,
	PIECES_MAX = 16, /* a full queue, if its frames are large */
	WRITES_MAX = 16, /* of a flush: a full queue, in messages of 64 KiB */
};

static void want(struct stream_transport *st)
{
	st->s->ops->want(st->s, STREAM_READABLE | (st->blocked ? STREAM_WRITABLE : 0));
}

/* The first `n` bytes are written. */
static void take(struct stream_transport *st, size_t n)
{
	st->queued -= n;
	while (n && st->first) {
		struct chunk *c = st->first;
		size_t here = MIN(n, c->end - c->start);

		c->start += here;
		n -= here;
		if (c->start < c->end)
			break;
		st->first = c->next;
		stream_chunk_free(c);
	}
	if (!st->first)
		st->last = NULL;
}

/* Writes once: 0, -EAGAIN when it takes no more, or what ended it. */
static int write_once(struct stream_transport *st)
{
	struct iovec iov[PIECES_MAX];
	ssize_t r;
	int n = 0;

	for (struct chunk *c = st->first; c && n < PIECES_MAX; c = c->next) {
		iov[n].iov_base = c->mem + c->start;
		iov[n++].iov_len = c->end - c->start;
	}
	st->t.stats.tx_calls++;
	r = st->s->ops->writev(st->s, iov, n);
	if (r < 0)
		return (int)r;
	take(st, (size_t)r);
	return r ? 0 : -EAGAIN;
}

void stream_flush(struct transport *t)
{
	struct stream_transport *st = stream_self(t);
	int err = 0;

	if (!st->s || st->blocked)
		return;
	for (int i = 0; i < WRITES_MAX && st->queued && !err; i++)
		err = write_once(st);
	if (err && err != -EAGAIN) {
		stream_end(st, err);
		return;
	}
	st->blocked = st->queued != 0;
	want(st);
	if (st->full && st->queued <= TRANSPORT_LOW) {
		st->full = false;
		st->tell_writable = true;
		event_active(st->later, EV_TIMEOUT, 0);
	}
}

static bool fits(const struct chunk *c, size_t len)
{
	return c && c->end + FRAME_HEAD + len + TRANSPORT_TAIL <= CHUNK_BYTES;
}

uint8_t *transport_stream_reserve(struct transport *t, size_t len)
{
	struct stream_transport *st = stream_self(t);
	struct chunk *c = st->last;

	if (!st->s || len > TRANSPORT_FRAME_MAX) {
		t->stats.tx_errors++;
		return NULL;
	}
	if (st->queued + FRAME_HEAD + len > TRANSPORT_QUEUE_MAX) {
		t->stats.tx_full++;
		return NULL;
	}
	if (!fits(c, len)) {
		c = stream_chunk_new();
		if (!c) {
			t->stats.tx_full++;
			return NULL;
		}
		*(st->last ? &st->last->next : &st->first) = c;
		st->last = c;
	}
	return c->mem + c->end + FRAME_HEAD;
}

void transport_stream_commit(struct transport *t, size_t len)
{
	struct stream_transport *st = stream_self(t);
	struct chunk *c = st->last;

	if (!len)
		return;
	put_le32(c->mem + c->end, (uint32_t)len);
	c->end += FRAME_HEAD + len;
	st->queued += FRAME_HEAD + len;
	t->stats.tx_datagrams++;
	t->stats.tx_bytes += len;
	if (st->queued >= FLUSH_BYTES)
		stream_flush(t);
	if (st->queued >= TRANSPORT_HIGH)
		st->full = true;
}

void stream_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		 size_t stride)
{
	(void)to;
	for (size_t at = 0; at < len; at += stride) {
		size_t n = MIN(stride, len - at);
		uint8_t *room = transport_stream_reserve(t, n);

		if (!room)
			continue;
		memcpy(room, data + at, n);
		transport_stream_commit(t, n);
	}
}

void stream_discard(struct stream_transport *st)
{
	while (st->first) {
		struct chunk *c = st->first;
		size_t at = TRANSPORT_HEAD;

		while (at < c->end) {
			at += FRAME_HEAD + get_le32(c->mem + at);
			st->t.stats.tx_errors += at > c->start;
		}
		st->first = c->next;
		stream_chunk_free(c);
	}
	st->last = NULL;
	st->queued = 0;
	st->full = false;
}
