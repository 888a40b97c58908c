/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of TCP connections whose peer is away: asleep, or on its way from one network to another. lwIP would retransmit to its
 * twelfth attempt and give up, or, were the peer back before that, wait for a timer that has backed off to a minute.
 */
#include "netstack/tcp.h"

enum { RESTART_SEGMENTS = 10 }; /* RFC 6928 */

/*
 * lwIP's timers of it stand still: nothing is sent, and nothing counted that would end it. What is on its way may have been lost, but
 * the peer does not say so before it is back.
 */
static void freeze(struct tcp_stream *st)
{
	struct tcp_layer *t = st->ns->tcp;

	if (st->dirty)
		TAILQ_REMOVE(&t->dirty, st, dirty_link);
	if (st->blocked)
		TAILQ_REMOVE(&t->blocked, st, dirty_link);
	st->dirty = st->blocked = false;
	st->absent = true;
	if (st->pcb->flags & TF_ACK_DELAY) {
		tcp_clear_flags(st->pcb, TF_ACK_DELAY);
		tcp_ack_now(st->pcb); /* with whatever is sent next */
	}
	tcp_stream_stop_timers(st->pcb);
}

void tcp_stream_stop_timers(struct tcp_pcb *pcb)
{
	pcb->rtime = -1;
	pcb->persist_backoff = 0;
	pcb->persist_probe = 0;
}

/*
 * As after a timeout (RFC 5681, section 3.1: the window is the loss window or, after a long pause, the restart window of 4.1), but at once,
 * and with the timeout of before the absence (RFC 6298, 5.7 is about packets that were sent).
 */
static void thaw(struct tcp_stream *st)
{
	struct tcp_pcb *pcb = st->pcb;

	st->absent = false;
	pcb->nrtx = 0;
	pcb->rto = tcp_calc_rto(pcb, 0);
	pcb->cwnd = MIN(pcb->cwnd, (tcpwnd_size_t)(RESTART_SEGMENTS * pcb->mss));
	if (pcb->unacked && tcp_rexmit_rto_prepare(pcb) != ERR_OK) {
		pcb->rtime = pcb->rto; /* with the next tick, as the probe is */
	} else if (!pcb->unacked && pcb->unsent && !pcb->snd_wnd) {
		pcb->persist_backoff = 1;
		pcb->persist_cnt = UINT8_MAX;
	}
	lwip_timer_start();
	tcp_stream_dirty(st);
}

/* Not one that is being opened, or was closed: they have limits of their own. */
static bool may_freeze(const struct tcp_stream *st)
{
	return st->pcb && !st->connecting && !st->orphan && st->pcb->state >= ESTABLISHED &&
	       st->pcb->state != TIME_WAIT;
}

void tcp_stream_rouse(struct tcp_stream *st)
{
	if (unlikely(st->absent))
		thaw(st);
}

static bool is_with(const struct tcp_stream *st, const struct ipaddr *addr)
{
	const struct ipaddr remote = lwip_addr_of(&st->pcb->remote_ip);

	return !addr || ipaddr_equal(addr, &remote);
}

void netstack_absent(struct netstack *ns, const struct ipaddr *addr, bool absent)
{
	struct tcp_stream *st;

	for (st = TAILQ_FIRST(&ns->tcp->all); st; st = TAILQ_NEXT(st, link)) {
		if (st->absent == absent || !may_freeze(st) || !is_with(st, addr))
			continue;
		if (absent)
			freeze(st);
		else
			thaw(st);
	}
}

void tcp_stream_drop_absent(struct netstack *ns)
{
	struct tcp_stream *st, *next;

	for (st = TAILQ_FIRST(&ns->tcp->all); st; st = next) {
		next = TAILQ_NEXT(st, link);
		if (!st->absent || !st->tx_bytes)
			continue;
		lwip_enter();
		tcp_abort(st->pcb);
		lwip_leave();
		tcp_tx_free(st);
		st->tx_bytes = st->tx_queued = 0;
	}
}
