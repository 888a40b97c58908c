/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in over a stream. Reads are large and go into the buffer that all streams share; frames
 * are delivered where they lie. Only what a read ends in the middle of is moved, once, into memory
 * of its own, and the next read puts the rest of that frame behind it.
 */
#include <errno.h>

#include "transport/stream.h"

enum { RX_BUDGET = 4 /* reads per wake-up, so that others get their turn */ };

void stream_partial_free(struct stream_transport *st)
{
	if (st->partial)
		free(st->partial - TRANSPORT_HEAD);
	st->partial = NULL;
	st->head_len = 0;
}

static void deliver(struct stream_transport *st, const uint8_t *data, size_t len)
{
	struct path from = {.transport = st->t.id};

	st->t.stats.rx_datagrams++;
	st->t.stats.rx_bytes += len;
	st->t.ops->receive(st->t.arg, &from, data, len, len);
}

/* The first `have` bytes of a frame have come. */
static int begin_partial(struct stream_transport *st, const uint8_t *data, size_t have, size_t len)
{
	uint8_t *mem = malloc(TRANSPORT_HEAD + len + TRANSPORT_TAIL);

	if (!mem)
		return -ENOMEM;
	memcpy(mem + TRANSPORT_HEAD, data, have);
	st->partial = mem + TRANSPORT_HEAD;
	st->partial_len = len;
	st->partial_have = have;
	return 0;
}

/* Takes the frames out of `data`, and keeps what remains. 0, or why the stream must end. */
static int split(struct stream_transport *st, const uint8_t *data, size_t len)
{
	st->head_len = 0;
	while (len >= FRAME_HEAD) {
		size_t n = get_le32(data);

		if (!n || n > TRANSPORT_FRAME_MAX)
			return -EBADMSG;
		data += FRAME_HEAD;
		len -= FRAME_HEAD;
		if (n > len)
			return begin_partial(st, data, len, n);
		deliver(st, data, n);
		if (!st->s)
			return 0;
		data += n;
		len -= n;
	}
	memcpy(st->head, data, len);
	st->head_len = len;
	return 0;
}

/* The rest of the partial frame, or a part of that, has been read behind it. */
static void complete_partial(struct stream_transport *st, size_t n)
{
	uint8_t *frame = st->partial;

	st->partial_have += n;
	if (st->partial_have < st->partial_len)
		return;
	st->partial = NULL;
	deliver(st, frame, st->partial_len);
	free(frame - TRANSPORT_HEAD);
}

/* Reads once. 1: there may be more; 0: none now, or it ended. */
static int receive_once(struct stream_transport *st)
{
	uint8_t *rx = stream_shared_rx();
	size_t need = st->partial ? st->partial_len - st->partial_have : 0, ahead = st->head_len;
	struct iovec iov[2] = {
		{.iov_base = need ? st->partial + st->partial_have : NULL, .iov_len = need},
		{.iov_base = rx + ahead, .iov_len = RX_BYTES - ahead}};
	size_t most = need + RX_BYTES - ahead, n, first;
	ssize_t r = need ? st->s->ops->readv(st->s, iov, 2) : st->s->ops->readv(st->s, iov + 1, 1);
	int err = 0;

	if (r == -EAGAIN)
		return 0;
	if (r <= 0) {
		/* in the middle of a frame it is no orderly end */
		stream_end(st, r || need || ahead ? (r ? (int)r : -ECONNRESET) : 0);
		return 0;
	}
	st->t.stats.rx_calls++;
	n = (size_t)r;
	first = MIN(n, need);
	if (need)
		complete_partial(st, first);
	if (n > first && st->s) {
		memcpy(rx, st->head, ahead);
		err = split(st, rx, ahead + n - first);
	}
	if (err)
		stream_end(st, err);
	return st->s && n == most;
}

void stream_receive(struct stream_transport *st)
{
	for (int i = 0; i < RX_BUDGET && st->s && receive_once(st); i++)
		;
	if (st->t.ops->idle)
		st->t.ops->idle(st->t.arg);
}
