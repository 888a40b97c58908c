/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The send memory of a stream: chunks that lwIP refers to until they are acknowledged. The program fills
 * them in place (reserve, commit); once per turn of the loop lwIP is told what came (pump).
 */
#include <errno.h>

#include "netstack/tcp.h"

enum {
	CHUNK_SIZE = 64 << 10,
	CHUNK_SMALL = 4 << 10, /* when memory is short: one per stream, so that each gets on */
	TX_MIN = 128 << 10,    /* unacknowledged bytes that are always allowed */
	WRITABLE_ROOM = 32 << 10,
};

static struct tx_chunk *chunk_new(struct tcp_stream *st)
{
	struct netstack *ns = st->ns;
	uint32_t size = CHUNK_SIZE;

	if (tcp_memory_short(ns))
		tcp_stream_drop_absent(ns);
	if (tcp_memory_short(ns)) {
		if (!STAILQ_EMPTY(&st->tx)) {
			tcp_stream_starved(st);
			return NULL;
		}
		size = CHUNK_SMALL;
	}
	struct tx_chunk *c = malloc(sizeof(*c) + size);
	if (!c)
		return NULL;
	*c = (struct tx_chunk){.size = size};
	STAILQ_INSERT_TAIL(&st->tx, c, link);
	ns->stats.memory += sizeof(*c) + size;
	return c;
}

static void chunk_free(struct tcp_stream *st, struct tx_chunk *c)
{
	struct netstack *ns = st->ns;

	STAILQ_REMOVE(&st->tx, c, tx_chunk, link);
	ns->stats.memory -= sizeof(*c) + c->size;
	free(c);
	tcp_stream_memory_freed(ns);
}

/* How much may lie unacknowledged: what the way takes, twice, so that a stalled peer holds little. */
static uint32_t tcp_tx_limit(const struct tcp_stream *st)
{
	uint32_t window = MIN(st->pcb->cwnd, st->pcb->snd_wnd);

	return (uint32_t)MIN(MAX((uint64_t)window * 2 + CHUNK_SIZE, (uint64_t)TX_MIN),
			     (uint64_t)TCP_SND_BUF);
}

/* 0 or why nothing can be written. */
static int tcp_tx_state(const struct tcp_stream *st)
{
	if (st->s.error)
		return st->s.error;
	if (st->shut)
		return -EPIPE;
	if (st->connecting)
		return -EAGAIN;
	if (!st->pcb)
		return -EPIPE;
	return st->tx_bytes < tcp_tx_limit(st) ? 0 : -EAGAIN;
}

int tcp_tx_reserve(struct stream *s, struct iovec *iov, int max)
{
	struct tcp_stream *st = tcp_stream_of(s);
	int err = tcp_tx_state(st), n = 0;

	if (err || max <= 0)
		return err ? err : -EINVAL;
	struct tx_chunk *c;
	for (c = STAILQ_FIRST(&st->tx); c; c = STAILQ_NEXT(c, link))
		if (c->filled < c->size)
			break;
	for (; n < max && n < 2; c = STAILQ_NEXT(c, link)) {
		if (!c && !(c = chunk_new(st)))
			break;
		iov[n].iov_base = c->data + c->filled;
		iov[n++].iov_len = c->size - c->filled;
		if (iov[n - 1].iov_len >= CHUNK_SIZE / 4)
			break;
	}
	if (!n)
		return -EAGAIN;
	tcp_stream_dirty(st); /* gives the chunk back if it stays empty */
	return n;
}

void tcp_tx_commit(struct stream *s, size_t len)
{
	struct tcp_stream *st = tcp_stream_of(s);
	struct tx_chunk *c;

	for (c = STAILQ_FIRST(&st->tx); c; c = STAILQ_NEXT(c, link)) {
		size_t n = MIN(len, c->size - c->filled);
		c->filled += (uint32_t)n;
		st->tx_bytes += (uint32_t)n;
		len -= n;
		if (!len)
			break;
	}
	tcp_stream_dirty(st);
}

ssize_t tcp_tx_writev(struct stream *s, const struct iovec *iov, int n)
{
	size_t total = 0, off = 0;
	struct iovec room = {0};

	while (n) {
		if (off == iov->iov_len) {
			iov++, n--;
			off = 0;
			continue;
		}
		int err = tcp_tx_reserve(s, &room, 1);
		if (err < 1 || !room.iov_base)
			return total ? (ssize_t)total : err;
		size_t len = MIN(room.iov_len, iov->iov_len - off);
		memcpy(room.iov_base, (const uint8_t *)iov->iov_base + off, len);
		tcp_tx_commit(s, len);
		off += len;
		total += len;
	}
	return (ssize_t)total;
}

/* Tells lwIP of what was committed, as far as its queue takes it. */
void tcp_tx_pump(struct tcp_stream *st)
{
	struct tx_chunk *c, *next;

	for (c = STAILQ_FIRST(&st->tx); c; c = next) {
		next = STAILQ_NEXT(c, link);
		while (c->queued < c->filled) {
			uint32_t n = MIN(c->filled - c->queued, 0xffffu);
			n = MIN(n, st->pcb->snd_buf);
			if (!n || tcp_write(st->pcb, c->data + c->queued, (u16_t)n, 0) != ERR_OK)
				return;
			c->queued += n;
			st->tx_queued += n;
		}
		if (!c->filled)
			chunk_free(st, c); /* reserved, not used */
	}
}

err_t tcp_tx_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	struct tcp_stream *st = arg;
	uint32_t left = len;

	(void)pcb;
	st->tx_acked += len;
	st->tx_bytes -= len;
	st->tx_queued -= len;
	while (left) {
		struct tx_chunk *c = STAILQ_FIRST(&st->tx);
		uint32_t n = MIN(left, c->queued - c->acked);
		c->acked += n;
		left -= n;
		if (c->acked == c->filled)
			chunk_free(st, c);
	}
	tcp_stream_dirty(st); /* more of it may fit now, or the orphan is done */
	if (st->want & STREAM_WRITABLE)
		tcp_stream_ready(st);
	return ERR_OK;
}

bool tcp_tx_writable(const struct tcp_stream *st)
{
	int err = tcp_tx_state(st);

	if (err)
		return err != -EAGAIN; /* writing will say what is wrong */
	return st->tx_bytes + WRITABLE_ROOM <= tcp_tx_limit(st) &&
	       (!tcp_memory_short(st->ns) || STAILQ_EMPTY(&st->tx));
}

void tcp_tx_free(struct tcp_stream *st)
{
	struct tx_chunk *c;

	while ((c = STAILQ_FIRST(&st->tx)))
		chunk_free(st, c);
}
