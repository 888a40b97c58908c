/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream in memory, level-triggered as lwIP's: with peek and reserve (`lwip_like`) or with only
 * readv and writev
 * (`plain`). The test fills rx and empties tx; what the relay does wrong (shutdown or close twice,
 * writing after the end) fails at once. close and abort leave the object, so that the test can
 * look.
 */
#pragma once

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/stream.h"

enum { FAKE_CAP = 100000 };

struct fake {
	struct stream s;
	uint8_t rx[FAKE_CAP], tx[FAKE_CAP]; /* towards the relay, from the relay */
	size_t rx_len, tx_len, tx_room;	    /* tx_room: how much of tx may be used */
	bool rx_end, tx_end;
	int fail; /* what read and write say from now on */
	unsigned wanted;
	struct event tick;
	bool closed, aborted;
	bool nag; /* calls back from inside its operations, which a stream should not do */
};

static struct fake *fake(struct stream *s)
{
	return container_of(s, struct fake, s);
}

static void fake_kick(struct fake *f)
{
	unsigned ready = (f->rx_len || f->rx_end ? STREAM_READABLE : 0) |
			 (f->tx_len < f->tx_room ? STREAM_WRITABLE : 0);

	if (!f->closed && !f->aborted && (f->wanted & ready))
		event_active(&f->tick, EV_TIMEOUT, 1);
}

static void fake_tick(int fd, short what, void *arg)
{
	struct fake *f = arg;
	unsigned ready = (f->rx_len || f->rx_end ? STREAM_READABLE : 0) |
			 (f->tx_len < f->tx_room ? STREAM_WRITABLE : 0);

	(void)fd;
	(void)what;
	if (!(f->wanted & ready))
		return;
	/* Level-triggered; asked before, since the callback may free f. */
	event_active(&f->tick, EV_TIMEOUT, 1);
	f->s.cb(&f->s, f->wanted & ready, f->s.arg);
}

static void fake_break(struct fake *f, int error)
{
	f->s.error = error;
	f->s.cb(&f->s, STREAM_ERROR, f->s.arg);
}

static int fake_peek(struct stream *s, struct iovec *iov, int max)
{
	struct fake *f = fake(s);

	if (f->fail)
		return f->fail;
	if (!f->rx_len)
		return f->rx_end ? 0 : -EAGAIN;
	/* In two pieces, as from a chain of pbufs. */
	size_t first = f->rx_len / 3;
	iov[0] = (struct iovec){f->rx, first ? first : f->rx_len};
	if (!first || max < 2)
		return 1;
	iov[1] = (struct iovec){f->rx + first, f->rx_len - first};
	return 2;
}

static void fake_consume(struct stream *s, size_t len)
{
	struct fake *f = fake(s);

	assert_true(len <= f->rx_len);
	memmove(f->rx, f->rx + len, f->rx_len - len);
	f->rx_len -= len;
	if (f->nag)
		f->s.cb(&f->s, STREAM_READABLE | STREAM_WRITABLE, f->s.arg);
}

static ssize_t fake_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct fake *f = fake(s);
	ssize_t total = 0;

	if (f->fail)
		return f->fail;
	if (!f->rx_len)
		return f->rx_end ? 0 : -EAGAIN;
	for (int i = 0; i < n && f->rx_len; i++) {
		size_t k = MIN(iov[i].iov_len, f->rx_len);
		memcpy(iov[i].iov_base, f->rx, k);
		fake_consume(s, k);
		total += (ssize_t)k;
	}
	return total;
}

static int fake_reserve(struct stream *s, struct iovec *iov, int max)
{
	struct fake *f = fake(s);

	(void)max;
	if (f->fail)
		return f->fail;
	if (f->tx_len >= f->tx_room)
		return -EAGAIN;
	iov[0] = (struct iovec){f->tx + f->tx_len, f->tx_room - f->tx_len};
	return 1;
}

static void fake_commit(struct stream *s, size_t len)
{
	struct fake *f = fake(s);

	f->tx_len += len;
	assert_true(f->tx_len <= f->tx_room);
}

static ssize_t fake_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct fake *f = fake(s);
	ssize_t total = 0;

	assert_false(f->tx_end);
	if (f->fail)
		return f->fail;
	for (int i = 0; i < n; i++) {
		size_t k = MIN(iov[i].iov_len, f->tx_room - f->tx_len);
		memcpy(f->tx + f->tx_len, iov[i].iov_base, k);
		f->tx_len += k;
		total += (ssize_t)k;
	}
	return total ? total : -EAGAIN;
}

static void fake_want(struct stream *s, unsigned ev)
{
	fake(s)->wanted = ev;
	fake_kick(fake(s));
}

static void fake_shutdown(struct stream *s)
{
	assert_false(fake(s)->tx_end); /* once */
	fake(s)->tx_end = true;
}

static void fake_close(struct stream *s)
{
	assert_false(fake(s)->closed || fake(s)->aborted); /* exactly once */
	fake(s)->closed = true;
	event_del(&fake(s)->tick);
}

static void fake_abort(struct stream *s)
{
	assert_false(fake(s)->closed || fake(s)->aborted);
	fake(s)->aborted = true;
	event_del(&fake(s)->tick);
}

static const struct stream_ops lwip_like = {
	.readv = fake_readv,
	.writev = fake_writev,
	.peek = fake_peek,
	.consume = fake_consume,
	.reserve = fake_reserve,
	.commit = fake_commit,
	.want = fake_want,
	.shutdown = fake_shutdown,
	.close = fake_close,
	.abort = fake_abort,
};

static const struct stream_ops plain = {
	.readv = fake_readv,
	.writev = fake_writev,
	.want = fake_want,
	.shutdown = fake_shutdown,
	.close = fake_close,
	.abort = fake_abort,
};
