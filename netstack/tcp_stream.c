/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/stream.h over one lwIP connection.
 *
 * Sending: tcp_tx.c.
 * Receiving: lwIP's buffers as they came, in a list; the window is given back as the program consumes,
 * which is the back-pressure: tcp_window.c.
 * Memory short (limits.memory): windows are held back and new chunks are small, until some is freed.
 *
 * Closing leaves an orphan while there are bytes to deliver: the stream without its owner.
 */
#include <errno.h>

#include "netstack/tcp.h"

#include <lwip_hooks.h>

enum {
	BURST = 256 << 10,   /* bytes of one stream between two questions whether there is room */
	RX_MERGE_COUNT = 16, /* from so many buffers on, small ones are copied together: */
	RX_MERGE_MAX = 2048,
	RX_MERGE_SIZE = 16 << 10,
	POLL_INTERVAL = 250, /* slow ticks of 40 ms: 10 s */
	ORPHAN_POLLS = 12,   /* without progress: 2 min */
};

static const struct stream_ops tcp_stream_ops;

/* --- lists --- */

void tcp_stream_ready(struct tcp_stream *st)
{
	if (st->ready || st->orphan)
		return;
	st->ready = true;
	st->turn = st->ns->tcp->turn;
	TAILQ_INSERT_TAIL(&st->ns->tcp->ready, st, ready_link);
	tcp_kick(st->ns);
}

void tcp_stream_dirty(struct tcp_stream *st)
{
	if (st->dirty || st->blocked || st->absent)
		return;
	st->dirty = true;
	TAILQ_INSERT_TAIL(&st->ns->tcp->dirty, st, dirty_link);
	tcp_kick(st->ns);
}

void tcp_stream_starved(struct tcp_stream *st)
{
	if (st->starved)
		return;
	st->starved = true;
	TAILQ_INSERT_TAIL(&st->ns->tcp->starved, st, starved_link);
}

static void unlist(struct tcp_stream *st)
{
	struct tcp_layer *t = st->ns->tcp;

	if (st->ready)
		TAILQ_REMOVE(&t->ready, st, ready_link);
	if (st->dirty)
		TAILQ_REMOVE(&t->dirty, st, dirty_link);
	if (st->blocked)
		TAILQ_REMOVE(&t->blocked, st, dirty_link);
	if (st->starved)
		TAILQ_REMOVE(&t->starved, st, starved_link);
	st->ready = st->dirty = st->starved = st->blocked = false;
}

/* --- receive memory --- */

/* lwIP may not send what waits in front of a full carrier: that is send_burst()'s. */
static void send_fin(struct tcp_pcb *pcb)
{
	tcpwnd_size_t cwnd = pcb->cwnd;

	pcb->cwnd = 0;
	tcp_shutdown(pcb, 0, 1);
	pcb->cwnd = cwnd;
}

static void rx_append(struct tcp_stream *st, struct pbuf *p)
{
	st->rx_bytes += p->len;
	if (st->rx_last)
		st->rx_last->next = p;
	else
		st->rx_first = p;
	st->rx_last = p;
	st->rx_count++;
}

/* A peer that sends single bytes must not make us keep a buffer for each. */
static bool rx_merge(struct tcp_stream *st, struct pbuf *p)
{
	if (st->rx_count < RX_MERGE_COUNT || p->len > RX_MERGE_MAX)
		return false;
	if (rx_pbuf_room(st->rx_last) < p->len) {
		struct pbuf *big = rx_pbuf_new(st->ns, RX_MERGE_SIZE);
		if (!big)
			return false;
		big->len = big->tot_len = 0;
		rx_append(st, big);
	}
	memcpy((uint8_t *)st->rx_last->payload + st->rx_last->len, p->payload, p->len);
	st->rx_last->len = st->rx_last->tot_len = (u16_t)(st->rx_last->len + p->len);
	st->rx_bytes += p->len;
	pbuf_free(p);
	return true;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct tcp_stream *st = arg;

	(void)err;
	if (!p)
		st->eof = true;
	if (p && st->orphan) {
		/* Nobody reads it; what was written before the close still has to get out. */
		for (const struct pbuf *q = p; q; q = q->next)
			tcp_recved(pcb, q->len);
		pbuf_free(p);
		return ERR_OK;
	}
	while (p) {
		struct pbuf *next = p->next;
		p->next = NULL;
		p->tot_len = p->len;
		if (!p->len)
			pbuf_free(p);
		else if (!rx_merge(st, p))
			rx_append(st, p);
		p = next;
	}
	if (st->want & STREAM_READABLE)
		tcp_stream_ready(st);
	return ERR_OK;
}

static int rx_state(const struct tcp_stream *st)
{
	if (st->s.error)
		return st->s.error;
	return st->eof || !st->pcb ? 0 : -EAGAIN;
}

static int op_peek(struct stream *s, struct iovec *iov, int max)
{
	struct tcp_stream *st = tcp_stream_of(s);
	int n = 0;

	if (!st->rx_first || st->s.error)
		return rx_state(st);
	for (struct pbuf *p = st->rx_first; p && n < max; p = p->next)
		iov[n++] = (struct iovec){.iov_base = p->payload, .iov_len = p->len};
	return n;
}

static void op_consume(struct stream *s, size_t len)
{
	struct tcp_stream *st = tcp_stream_of(s);
	uint32_t taken = (uint32_t)MIN(len, st->rx_bytes);

	struct pbuf *p;
	for (uint32_t left = taken; left && (p = st->rx_first);) {
		u16_t n = (u16_t)MIN(left, p->len);
		left -= n;
		st->rx_bytes -= n;
		p->payload = (uint8_t *)p->payload + n;
		p->len = p->tot_len = (u16_t)(p->len - n);
		if (p->len)
			break;
		st->rx_first = p->next;
		if (!st->rx_first)
			st->rx_last = NULL;
		st->rx_count--;
		p->next = NULL;
		pbuf_free(p);
	}
	if (!st->pcb || st->pcb->state == TIME_WAIT)
		return;
	tcp_window_used(st, taken);
}

static ssize_t op_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct tcp_stream *st = tcp_stream_of(s);
	struct pbuf *p = st->rx_first;
	size_t total = 0, off = 0;

	if (!p || st->s.error)
		return rx_state(st);
	for (; n && p; iov++, n--) {
		size_t at = 0;
		while (p && at < iov->iov_len) {
			size_t len = MIN(iov->iov_len - at, p->len - off);
			memcpy((uint8_t *)iov->iov_base + at, (const uint8_t *)p->payload + off,
			       len);
			at += len;
			off += len;
			total += len;
			if (off == p->len) {
				p = p->next;
				off = 0;
			}
		}
	}
	op_consume(s, total);
	return (ssize_t)total;
}

/* --- events --- */

static unsigned level(const struct tcp_stream *st)
{
	unsigned ev = 0;

	if (st->rx_first || st->eof || (!st->pcb && !st->connecting))
		ev |= STREAM_READABLE;
	if (tcp_tx_writable(st))
		ev |= STREAM_WRITABLE;
	return ev & st->want;
}

static void op_want(struct stream *s, unsigned ev)
{
	struct tcp_stream *st = tcp_stream_of(s);

	st->want = ev & (STREAM_READABLE | STREAM_WRITABLE);
	if (level(st) || (st->s.error && !st->error_told))
		tcp_stream_ready(st);
	else if ((st->want & STREAM_WRITABLE) && tcp_memory_short(st->ns))
		tcp_stream_starved(st);
}

/* Memory was freed: whoever waited for it looks again. */
void tcp_stream_memory_freed(struct netstack *ns)
{
	struct tcp_stream *st;

	if (!ns->tcp || tcp_memory_short(ns))
		return;
	while ((st = TAILQ_FIRST(&ns->tcp->starved))) {
		TAILQ_REMOVE(&ns->tcp->starved, st, starved_link);
		st->starved = false;
		tcp_stream_ready(st);
		tcp_stream_dirty(st);
	}
}

static void tell_open(struct tcp_stream *st)
{
	struct netstack *ns = st->ns;
	struct netstack_syn *syn = st->syn;

	st->syn = NULL;
	ns->ops->tcp_open(ns->arg, &st->s, syn->ctx);
	syn_free(syn);
}

/* Delivers to one stream, which may go in the process. */
static void deliver(struct tcp_stream *st)
{
	/* cppcheck-suppress nullPointerRedundantCheck */
	struct tcp_layer *t = st->ns->tcp;

	t->current = st; /* unset by whoever frees it in the callbacks below */
	if (st->syn)
		tell_open(st);
	if (!t->current || !st->s.cb)
		return;
	unsigned ev = level(st);
	if (st->s.error) {
		ev = st->error_told ? 0 : STREAM_ERROR;
		st->error_told = true;
	}
	if (ev)
		st->s.cb(&st->s, ev, st->s.arg);
	if (t->current && !st->s.error && level(st))
		tcp_stream_ready(st);
}

/* lwIP goes on alone: it winds up the connection, and answers data with a reset. */
static void let_go(struct tcp_stream *st)
{
	struct tcp_pcb *pcb = st->pcb;

	tcp_arg(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_sent(pcb, NULL);
	tcp_err(pcb, NULL);
	tcp_poll(pcb, NULL, 0);
	tcp_ext_arg_set(pcb, EXT_STREAM, NULL);
	st->pcb = NULL;
}

/* Lets lwIP send, but no more at once than a carrier takes above its mark for "full". True: there is more. */
static bool send_burst(struct tcp_pcb *pcb)
{
	u32_t before = pcb->snd_nxt, most = before - pcb->lastack + BURST;
	tcpwnd_size_t cwnd = pcb->cwnd;

	if (cwnd <= most) {
		tcp_output(pcb);
		return false;
	}
	pcb->cwnd = most;
	tcp_output(pcb);
	pcb->cwnd = cwnd;
	return pcb->unsent && pcb->snd_nxt != before;
}

static bool is_full(const struct tcp_stream *st)
{
	const struct netstack *ns = st->ns;

	if (!st->pcb || !ns->ops->full)
		return false;
	struct ipaddr to = lwip_addr_of(&st->pcb->remote_ip);
	return ns->ops->full(ns->arg, &to);
}

static void mark_dirty(struct tcp_stream *st)
{
	st->dirty = true;
	TAILQ_INSERT_TAIL(&st->ns->tcp->dirty, st, dirty_link);
}

static void send_dirty(struct tcp_stream *st)
{
	struct tcp_pcb *pcb = st->pcb;

	if (st->held)
		tcp_window_give(st);
	if (pcb && !st->connecting && !st->fin_queued) {
		tcp_tx_pump(st);
		if (st->shut && st->tx_queued == st->tx_bytes) {
			st->fin_queued = true;
			send_fin(pcb);
		}
	}
	/* In TIME-WAIT, too: the peer's FIN is to be acknowledged. */
	if (pcb && send_burst(pcb))
		mark_dirty(st); /* behind the others */
	if (!st->orphan)
		return;
	if (pcb && !st->tx_bytes) {
		pcb->rcv_wnd = TCP_WND_MAX(pcb); /* nothing is unread: no reset for that */
		let_go(st);
		tcp_close(pcb);
	}
	if (!st->pcb)
		tcp_stream_free(st);
}

void tcp_stream_flush(struct netstack *ns)
{
	struct tcp_layer *t = ns->tcp;
	struct tcp_stream *st;

	/* Those that become ready meanwhile have their turn next time. */
	t->turn++;
	while ((st = TAILQ_FIRST(&t->ready)) && st->turn != t->turn) {
		TAILQ_REMOVE(&t->ready, st, ready_link);
		st->ready = false;
		deliver(st);
	}
	if (TAILQ_EMPTY(&t->dirty))
		return;
	lwip_timer_start();
	lwip_enter();
	while ((st = TAILQ_FIRST(&t->dirty))) {
		TAILQ_REMOVE(&t->dirty, st, dirty_link);
		st->dirty = false;
		if (is_full(st)) {
			st->blocked = true;
			TAILQ_INSERT_TAIL(&t->blocked, st, dirty_link);
			continue;
		}
		send_dirty(st);
		lwip_leave(); /* now: the next one asks whether there is room */
		lwip_enter();
	}
	lwip_leave();
}

void netstack_resume(struct netstack *ns)
{
	struct tcp_layer *t = ns->tcp;
	struct tcp_stream *st;

	if (TAILQ_EMPTY(&t->blocked))
		return;
	while ((st = TAILQ_FIRST(&t->blocked))) {
		TAILQ_REMOVE(&t->blocked, st, dirty_link);
		st->blocked = false;
		mark_dirty(st);
	}
	tcp_kick(ns);
}

/*
 * lwIP's timers send by themselves, and as much as the window takes. Of those that wait they may send acknowledgements
 * alone; and what stands in a queue of ours is not lost, so the clock of its retransmission does not run. */
static void hold(struct stream_list *list)
{
	struct tcp_stream *st;

	for (st = TAILQ_FIRST(list); st; st = TAILQ_NEXT(st, dirty_link)) {
		if (!st->pcb)
			continue;
		if (st->blocked && st->pcb->rtime > 0)
			st->pcb->rtime = 0;
		st->cwnd = st->pcb->cwnd;
		st->pcb->cwnd = 0;
	}
}

static void release(struct stream_list *list)
{
	struct tcp_stream *st;

	for (st = TAILQ_FIRST(list); st; st = TAILQ_NEXT(st, dirty_link))
		if (st->pcb && !st->pcb->cwnd)
			st->pcb->cwnd = st->cwnd;
}

void tcp_stream_hold_timers(struct netstack *ns)
{
	hold(&ns->tcp->dirty);
	hold(&ns->tcp->blocked);
}

void tcp_stream_release_timers(struct netstack *ns)
{
	release(&ns->tcp->dirty);
	release(&ns->tcp->blocked);
	netstack_resume(ns); /* the path may be another one by now */
}

int netstack_output_later(struct tcp_pcb *pcb)
{
	struct tcp_stream *st = tcp_ext_arg_get(pcb, EXT_STREAM);

	if (!st)
		return 0;
	tcp_stream_dirty(st);
	return 1;
}

/* --- life --- */

static void lost_pcb(struct tcp_stream *st)
{
	st->pcb = NULL;
	st->absent = false;
}

static void on_destroy(u8_t id, void *data)
{
	struct tcp_stream *st = data;

	(void)id;
	if (st)
		lost_pcb(st);
}

void tcp_stream_fail(struct tcp_stream *st, int error)
{
	st->absent = false;
	st->s.error = error;
	st->connecting = false;
	if (st->orphan)
		tcp_stream_dirty(st);
	else
		tcp_stream_ready(st);
}

static void on_error(void *arg, err_t err)
{
	struct tcp_stream *st = arg;

	lost_pcb(st);
	if (err == ERR_RST)
		tcp_stream_fail(st, st->connecting ? -ECONNREFUSED : -ECONNRESET);
	else if (err == ERR_ABRT)
		tcp_stream_fail(st, st->ns->tcp->abort_error);
	else if (st->orphan) /* ERR_CLSD: both directions have ended */
		tcp_stream_dirty(st);
	else if (st->want)
		tcp_stream_ready(st);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
	struct tcp_stream *st = arg;

	if (st->absent) { /* the program read something, and a window update started them */
		tcp_stream_stop_timers(pcb);
		return ERR_INPROGRESS; /* lwIP sends nothing then */
	}
	if (!st->orphan || st->tx_acked != st->tx_seen) {
		st->idle_polls = 0;
		st->tx_seen = st->tx_acked;
		return ERR_OK;
	}
	if (++st->idle_polls < ORPHAN_POLLS)
		return ERR_OK;
	tcp_abort(pcb); /* on_error() */
	return ERR_ABRT;
}

struct tcp_stream *tcp_stream_new(struct netstack *ns, struct tcp_pcb *pcb, const struct flow *flow)
{
	static const struct tcp_ext_arg_callbacks callbacks = {.destroy = on_destroy};
	struct tcp_stream *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->s.ops = &tcp_stream_ops;
	st->ns = ns;
	st->pcb = pcb;
	st->flow = *flow;
	STAILQ_INIT(&st->tx);
	TAILQ_INSERT_TAIL(&ns->tcp->all, st, link);
	st->wnd_limit = MIN((uint32_t)TCP_WINDOW_START, pcb->rcv_wnd);
	tcp_arg(pcb, st);
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, tcp_tx_sent);
	tcp_err(pcb, on_error);
	tcp_poll(pcb, on_poll, POLL_INTERVAL);
	tcp_ext_arg_set(pcb, EXT_STREAM, st);
	tcp_ext_arg_set_callbacks(pcb, EXT_STREAM, &callbacks);
	return st;
}

void tcp_stream_free(struct tcp_stream *st)
{
	struct tcp_layer *t = st->ns->tcp;
	struct tcp_pcb *pcb = st->pcb;
	if (pcb) {
		let_go(st);
		lwip_enter();
		tcp_abort(pcb);
		lwip_leave();
	}
	unlist(st);
	TAILQ_REMOVE(&t->all, st, link);
	if (t->current == st)
		t->current = NULL;
	if (st->timer)
		event_free(st->timer);
	if (st->syn)
		syn_free(st->syn);
	tcp_tx_free(st);
	for (struct pbuf *p = st->rx_first, *next; p; p = next) {
		next = p->next;
		p->next = NULL;
		pbuf_free(p);
	}
	free(st);
}

err_t tcp_stream_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct netstack_syn *syn = arg;

	if (err != ERR_OK || !pcb)
		return ERR_VAL;
	struct tcp_stream *st = tcp_stream_new(syn->ns, pcb, &syn->flow);
	if (!st) {
		netstack_drop(syn->ns, NS_DROP_MEMORY);
		return ERR_MEM; /* lwIP resets; the record hears of it */
	}
	st->syn = syn;
	tcp_stream_ready(st);
	return ERR_OK;
}

/*
 * A time-out passes in ticks. Who stood still meanwhile, with the whole machine (a guest that is moved, a laptop that wakes up), has not
 * been waiting for an answer: one tick is all that it costs.
 */
enum { TIMEOUT_TICKS = 4 };

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct tcp_stream *st = arg;
	struct tcp_pcb *pcb = st->pcb;

	(void)fd, (void)what;
	if (pcb && --st->ticks)
		return;
	evtimer_del(st->timer);
	if (!pcb)
		return;
	let_go(st);
	lwip_enter();
	tcp_abort(pcb); /* its reset ends the dial at the other side */
	lwip_leave();
	tcp_stream_fail(st, -ETIMEDOUT);
}

int tcp_stream_connecting(struct tcp_stream *st, nsec_t timeout)
{
	nsec_t tick = timeout / TIMEOUT_TICKS;
	struct timeval tv = {.tv_sec = (time_t)(tick / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(tick % NSEC_PER_SEC / 1000)};

	st->connecting = true;
	st->ticks = TIMEOUT_TICKS;
	st->timer = event_new(st->ns->base, -1, EV_PERSIST, on_tick, st);
	if (!st->timer)
		return -ENOMEM;
	if (timeout)
		event_add(st->timer, &tv);
	return 0;
}

err_t tcp_stream_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct tcp_stream *st = arg;

	(void)err;
	st->connecting = false;
	evtimer_del(st->timer);
	tcp_window_start(pcb);
	st->wnd_limit = pcb->rcv_wnd;
	tcp_stream_dirty(st);
	if (st->want)
		tcp_stream_ready(st);
	return ERR_OK;
}

static void op_shutdown(struct stream *s)
{
	struct tcp_stream *st = tcp_stream_of(s);

	if (st->shut || st->s.error)
		return;
	st->shut = true;
	tcp_stream_dirty(st);
}

static void op_abort(struct stream *s)
{
	tcp_stream_free(tcp_stream_of(s));
}

static void op_close(struct stream *s)
{
	struct tcp_stream *st = tcp_stream_of(s);
	struct tcp_layer *t = st->ns->tcp;

	if (!st->pcb || st->connecting) {
		tcp_stream_free(st);
		return;
	}
	if (t->current == st)
		t->current = NULL;
	st->s.cb = NULL;
	st->want = 0;
	op_consume(s, st->rx_bytes);
	unlist(st);
	tcp_stream_rouse(st);
	st->orphan = st->shut = true;
	tcp_stream_dirty(st);
}

static int op_fd(struct stream *s)
{
	(void)s;
	return -1;
}

static const struct stream_ops tcp_stream_ops = {
	.readv = op_readv,
	.writev = tcp_tx_writev,
	.peek = op_peek,
	.consume = op_consume,
	.reserve = tcp_tx_reserve,
	.commit = tcp_tx_commit,
	.want = op_want,
	.shutdown = op_shutdown,
	.close = op_close,
	.abort = op_abort,
	.fd = op_fd,
};

int netstack_stream_info(const struct stream *s, struct flow *flow, nsec_t *rtt)
{
	if (s->ops != &tcp_stream_ops)
		return -EINVAL;
	const struct tcp_stream *st = container_of(s, struct tcp_stream, s);
	*flow = st->flow;
	if (rtt)
		*rtt = st->pcb ? (nsec_t)(st->pcb->sa >> 3) * NSEC_PER_MSEC : 0;
	return 0;
}
