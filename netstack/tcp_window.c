/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much each connection may be sent: its receive window.
 *
 * It starts small and grows when a connection has shown that it uses it, so that what thousands of idle connections
 * could be sent at once stays bounded. Those that have been busy for a moment share TCP_WND, as far as there is more
 * than the first window for each of them. Slow start takes all that is offered, and where the reader is late it lies in
 * the buffer of some socket, which takes 8 MiB at best and loses the rest.
 */
#include "netstack/tcp.h"

#include <lwip_hooks.h>

enum {
	BUSY_TICKS = 8, /* slow ticks of 40 ms in which the busy ones are counted: */
	BUSY_BYTES = 32 << 10,
	WND_SHORT =
		16 << 10, /* what is given back when memory is short and the window nearly closed */
};

void tcp_window_start(struct tcp_pcb *pcb)
{
	if (pcb->flags & TF_WND_SCALE)
		pcb->rcv_wnd = pcb->rcv_ann_wnd = TCP_WINDOW_START;
}

/* lwIP may acknowledge at once, but not send what waits in front of a full carrier: that is send_burst()'s. */
static void recved(struct tcp_pcb *pcb, uint32_t len)
{
	tcpwnd_size_t cwnd = pcb->cwnd;

	pcb->cwnd = 0;
	for (; len > 0xffff; len -= 0xffff)
		tcp_recved(pcb, 0xffff);
	tcp_recved(pcb, (u16_t)len);
	pcb->cwnd = cwnd;
}

/*
 * Gives `len` bytes of window back and says so when that is worth a packet of its own: when the window
 * that the peer knows of would double, as Linux does. Else the next ACK tells.
 */
static void window_update(struct tcp_stream *st, uint32_t len)
{
	struct tcp_pcb *pcb = st->pcb;

	recved(pcb, len);
	uint32_t told = pcb->rcv_ann_right_edge - pcb->rcv_nxt;
	uint32_t now = pcb->rcv_ann_wnd;
	if (now > told && now - told >= told && pcb->state < TIME_WAIT) {
		tcp_ack_now(pcb);
		tcp_stream_dirty(st);
	}
}

/* Who takes so much that its window matters is one of those that share. */
static void count_busy(struct tcp_stream *st, uint32_t len)
{
	struct tcp_layer *t = st->ns->tcp;
	uint32_t epoch = tcp_ticks / BUSY_TICKS;

	if (t->busy_epoch != epoch) {
		t->busy_before = epoch == t->busy_epoch + 1 ? t->busy : 0;
		t->busy = 0;
		t->busy_epoch = epoch;
	}
	if (st->busy_epoch != epoch) {
		st->busy_epoch = epoch;
		st->busy_bytes = 0;
	}
	t->busy += st->busy_bytes < BUSY_BYTES && st->busy_bytes + len >= BUSY_BYTES;
	st->busy_bytes += len;
}

/* What one of the busy streams may be offered. Without window scaling that is 65,535 at most, whatever we want. */
static uint32_t window_share(const struct tcp_stream *st)
{
	const struct tcp_layer *t = st->ns->tcp;
	uint32_t busy = MAX(MAX(t->busy, t->busy_before), 1u);

	return MIN(MAX((uint32_t)TCP_WINDOW_START, TCP_WND / busy), TCP_WND_MAX(st->pcb));
}

/* How much window to give back for `len` bytes consumed. A whole window was used up, promptly: this connection may
 * profit from a larger one. There are more busy ones than before: it has to be content with a smaller one. */
static uint32_t window_for(struct tcp_stream *st, uint32_t len)
{
	const struct netstack *ns = st->ns;
	uint32_t share;

	count_busy(st, len);
	share = window_share(st);
	if (st->wnd_limit > share) {
		uint32_t less = MIN(len, st->wnd_limit - share);
		st->wnd_limit -= less;
		return len - less;
	}
	st->wnd_used += len;
	if (st->wnd_used < st->wnd_limit || st->rx_bytes ||
	    ns->stats.memory > ns->limits.memory / 2)
		return len;
	uint32_t grow = MIN(st->wnd_limit, share - st->wnd_limit);
	st->wnd_limit += grow;
	st->wnd_used = 0;
	return len + grow;
}

void tcp_window_give(struct tcp_stream *st)
{
	uint32_t len = st->held;

	if (!st->pcb || !len)
		return;
	if (tcp_memory_short(st->ns)) {
		uint32_t told = st->pcb->rcv_ann_right_edge - st->pcb->rcv_nxt;
		len = told < WND_SHORT ? MIN(len, WND_SHORT - told) : 0;
	}
	st->held -= len;
	if (st->held)
		tcp_stream_starved(st);
	if (len)
		window_update(st, len);
}

void tcp_window_used(struct tcp_stream *st, uint32_t len)
{
	st->held += window_for(st, len);
	tcp_window_give(st);
}
