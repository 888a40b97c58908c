/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two netstacks for tests. lwIP is global, so the far end is a child process; packets travel over a
 * socketpair through a link that cuts super-packets, loses, reorders and delays, from a seed.
 * What the far end does is named by the port that is dialled.
 */
#pragma once

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/ip.h"
#include "netstack/netstack.h"

enum {
	PORT_REFUSED = 1,
	PORT_UNREACHABLE,
	PORT_PROHIBITED,
	PORT_SILENT,
	PORT_PENDING,  /* never answered: dials until cancelled */
	PORT_ECHO = 7, /* sends back what comes, ends when the other side has */
	PORT_SINK,     /* counts until the end, then answers with length and hash */
	PORT_SOURCE,   /* sends SOURCE_BYTES and ends */
	PORT_RESET,    /* resets at the first byte */
	PORT_DEAF,     /* accepts and reads nothing */
	PORT_LATER,    /* accepted 50 ms after the SYN */
};

enum { BULK = 32 << 20, SOURCE_BYTES = 32 << 20, LOSSY_BYTES = 2 << 20 };

/* --- the link --- */

struct weather {
	unsigned loss, reorder; /* in 1000 packets */
	unsigned delay_ms;	/* one way */
	size_t queue; /* bytes; what is above is lost, and the stack hears "full" from half of it; 0: endless */
};

struct frame {
	TAILQ_ENTRY(frame) link;
	nsec_t due;
	size_t len;
	uint16_t gso;
	uint8_t data[];
};

struct host {
	struct event_base *base;
	struct netstack *ns;
	int fd;
	struct event *rd, *wr;
	TAILQ_HEAD(frames, frame)
	out;
	struct event *due;
	size_t queued;
	bool full;
	struct weather weather;
	uint64_t rng;
	unsigned cancels, syns, opens, lost;
	/* far end */
	int report; /* the pipe by which the far end tells its counters */
};

static uint32_t rnd(struct host *h)
{
	h->rng ^= h->rng << 13;
	h->rng ^= h->rng >> 7;
	h->rng ^= h->rng << 17;
	return (uint32_t)(h->rng >> 11);
}

static void link_write(evutil_socket_t fd, short what, void *arg)
{
	struct host *h = arg;
	struct frame *f;
	nsec_t now = clock_boot();

	(void)what;
	while ((f = TAILQ_FIRST(&h->out))) {
		if (f->due > now) {
			struct timeval tv = {.tv_usec = (suseconds_t)((f->due - now) / 1000 + 1)};
			evtimer_add(h->due, &tv);
			return;
		}
		struct iovec v[2] = {{.iov_base = &f->gso, .iov_len = sizeof(f->gso)},
				     {.iov_base = f->data, .iov_len = f->len}};
		if (writev(fd, v, 2) < 0) {
			if (errno == EAGAIN)
				event_add(h->wr, NULL);
			return;
		}
		TAILQ_REMOVE(&h->out, f, link);
		h->queued -= f->len;
		free(f);
		if (h->full && h->queued <= h->weather.queue / 8) {
			h->full = false;
			netstack_resume(h->ns);
		}
	}
}

static bool host_full(void *arg, const struct ipaddr *dst)
{
	struct host *h = arg;

	assert_true(dst->family == 4 || dst->family == 6);
	return h->full;
}

static void link_due(evutil_socket_t fd, short what, void *arg)
{
	struct host *h = arg;

	(void)fd;
	link_write(h->fd, what, arg);
}

static void link_send(struct host *h, const uint8_t *data, size_t len, uint16_t gso)
{
	if (h->weather.loss && rnd(h) % 1000 < h->weather.loss) {
		h->lost++;
		return;
	}
	if (h->weather.queue && h->queued + len > h->weather.queue) {
		h->lost++;
		return;
	}
	h->queued += len;
	h->full |= h->weather.queue && h->queued >= h->weather.queue / 2;
	struct frame *f = malloc(sizeof(*f) + len);
	f->len = len;
	f->gso = gso;
	f->due = clock_boot() + h->weather.delay_ms * NSEC_PER_MSEC;
	memcpy(f->data, data, len);
	struct frame *last = TAILQ_LAST(&h->out, frames);
	if (last && h->weather.reorder && rnd(h) % 1000 < h->weather.reorder) {
		f->due = last->due;
		TAILQ_REMOVE(&h->out, last, link);
		TAILQ_INSERT_TAIL(&h->out, f, link);
		TAILQ_INSERT_TAIL(&h->out, last, link);
	} else {
		TAILQ_INSERT_TAIL(&h->out, f, link);
	}
	link_write(h->fd, 0, h);
}

/* Cuts a super-packet as the sending node does (IPv4 and IPv6, TCP). */
static void link_cut(struct host *h, const struct pkt *pkt)
{
	struct ip_info info;
	uint8_t seg[INNER_MTU];

	assert_int_equal(ip_parse(&info, pkt->data, pkt->len), 0);
	size_t head = info.l4 + (size_t)(pkt->data[info.l4 + 12] >> 4) * 4;
	assert_true(head + pkt->gso <= INNER_MTU);
	uint32_t seq = get_be32(pkt->data + info.l4 + 4);
	for (size_t at = head; at < pkt->len; at += pkt->gso) {
		size_t n = MIN(pkt->len - at, (size_t)pkt->gso);
		memcpy(seg, pkt->data, head);
		memcpy(seg + head, pkt->data + at, n);
		put_be32(seg + info.l4 + 4, seq + (uint32_t)(at - head));
		if (at + n < pkt->len)
			seg[info.l4 + 13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (info.src.family == 4) {
			put_be16(seg + 2, (uint16_t)(head + n));
			ip4_header_checksum(seg);
		} else {
			put_be16(seg + 4, (uint16_t)(head + n - 40));
		}
		link_send(h, seg, head + n, 0);
	}
}

static void host_output(void *arg, struct pkt *pkt)
{
	struct host *h = arg;

	if (!pkt->gso)
		assert_true(pkt->len <= INNER_MTU);
	if (pkt->gso && (h->weather.loss || h->weather.reorder))
		link_cut(h, pkt);
	else
		link_send(h, pkt->data, pkt->len, pkt->gso);
}

static void link_read(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t buf[sizeof(uint16_t) + PKT_MAX];
	struct host *h = arg;
	ssize_t n;

	(void)what;
	for (int i = 0; i < 64 && (n = read(fd, buf, sizeof(buf))) > 0; i++) {
		struct pkt pkt = {.data = buf + 2, .len = (uint32_t)n - 2};
		memcpy(&pkt.gso, buf, 2);
		netstack_input(h->ns, &pkt, h);
	}
	if (n == 0)
		event_base_loopbreak(h->base);
}

/* --- one connection of the far end --- */

struct far {
	struct stream *s;
	uint16_t port;
	uint64_t total, hash;
	bool ended;
};

/* Order matters to it, cutting does not. */
static uint64_t roll(uint64_t h, const uint8_t *p, size_t len)
{
	while (len--)
		h = (h ^ *p++) * UINT64_C(0x100000001b3);
	return h;
}

/* The byte at a position of the test's data. */
static void pattern(uint8_t *p, uint64_t pos, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((pos + i) * 131 ^ (pos + i) >> 8 ^ (pos + i) >> 16);
}

static void far_close(struct far *f)
{
	f->s->ops->close(f->s);
	free(f);
}

static void far_echo(struct far *f)
{
	struct iovec in[8], out[2];
	int n = f->s->ops->peek(f->s, in, 8);

	if (n == 0) {
		far_close(f);
		return;
	}
	for (int i = 0; i < n; i++) {
		int m = f->s->ops->reserve(f->s, out, 2);
		if (m < 0) {
			f->s->ops->want(f->s, STREAM_WRITABLE);
			return;
		}
		size_t len = MIN(in[i].iov_len, out[0].iov_len);
		memcpy(out[0].iov_base, in[i].iov_base, len);
		f->s->ops->commit(f->s, len);
		f->s->ops->consume(f->s, len);
		if (len < in[i].iov_len)
			break;
	}
	f->s->ops->want(f->s, STREAM_READABLE);
}

static void far_sink(struct far *f)
{
	uint8_t buf[40000];
	ssize_t n;

	while ((n = stream_read(f->s, buf, sizeof(buf))) > 0) {
		f->hash = roll(f->hash, buf, (size_t)n);
		f->total += (uint64_t)n;
	}
	if (n == 0) {
		uint64_t answer[2] = {f->total, f->hash};
		assert_int_equal(stream_write(f->s, answer, sizeof(answer)), sizeof(answer));
		far_close(f);
	}
}

static void far_source(struct far *f)
{
	struct iovec v[2];
	int n = 0;

	while (f->total < SOURCE_BYTES && (n = f->s->ops->reserve(f->s, v, 2)) > 0)
		for (int i = 0; i < n; i++) {
			size_t len = (size_t)MIN(v[i].iov_len, SOURCE_BYTES - f->total);
			pattern(v[i].iov_base, f->total, len);
			f->s->ops->commit(f->s, len);
			f->total += len;
		}
	if (f->total == SOURCE_BYTES)
		far_close(f);
}

static void far_event(struct stream *s, unsigned ev, void *arg)
{
	struct far *f = arg;

	assert_ptr_equal(s, f->s);
	if (ev & STREAM_ERROR) {
		s->ops->abort(s);
		free(f);
	} else if (f->port == PORT_ECHO || f->port == PORT_LATER) {
		far_echo(f);
	} else if (f->port == PORT_SINK) {
		far_sink(f);
	} else if (f->port == PORT_SOURCE) {
		far_source(f);
	} else if (f->port == PORT_RESET) {
		s->ops->abort(s);
		free(f);
	}
}

static void far_open(void *arg, struct stream *s, void *ctx)
{
	struct host *h = arg;
	struct far *f = calloc(1, sizeof(*f));

	h->opens++;
	f->s = s;
	f->port = (uint16_t)(uintptr_t)ctx;
	stream_set(s, far_event, f);
	if (f->port != PORT_DEAF)
		s->ops->want(s, f->port == PORT_SOURCE ? STREAM_WRITABLE : STREAM_READABLE);
}

struct later {
	struct host *h;
	struct netstack_syn *syn;
	struct event *ev;
};

static void accept_later(evutil_socket_t fd, short what, void *arg)
{
	struct later *l = arg;

	(void)fd, (void)what;
	netstack_syn_set(l->syn, (void *)(uintptr_t)PORT_LATER);
	netstack_accept(l->h->ns, l->syn);
	event_free(l->ev);
	free(l);
}

static void far_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	static const struct timeval fifty_ms = {.tv_usec = 50000};
	struct host *h = arg;

	assert_ptr_equal(peer, h);
	h->syns++;
	switch (flow->dport) {
	case PORT_REFUSED:
		netstack_reject(h->ns, syn, REJECT_REFUSED);
		return;
	case PORT_UNREACHABLE:
		netstack_reject(h->ns, syn, REJECT_UNREACHABLE);
		return;
	case PORT_PROHIBITED:
		netstack_reject(h->ns, syn, REJECT_PROHIBITED);
		return;
	case PORT_SILENT:
		netstack_reject(h->ns, syn, REJECT_SILENT);
		return;
	case PORT_PENDING:
		return;
	case PORT_LATER: {
		struct later *l = malloc(sizeof(*l));
		*l = (struct later){.h = h, .syn = syn};
		l->ev = evtimer_new(h->base, accept_later, l);
		evtimer_add(l->ev, &fifty_ms);
		return;
	}
	default:
		netstack_syn_set(syn, (void *)(uintptr_t)flow->dport);
		netstack_accept(h->ns, syn);
	}
}

static void host_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	struct host *h = arg;

	(void)syn, (void)ctx;
	h->cancels++;
}

static const struct netstack_ops host_ops = {
	.output = host_output,
	.full = host_full,
	.tcp_syn = far_syn,
	.tcp_cancel = host_cancel,
	.tcp_open = far_open,
};

static void host_start(struct host *h, int fd, const struct weather *w,
		       const struct netstack_limits *limits, uint64_t seed)
{
	struct error e;

	*h = (struct host){.fd = fd, .weather = *w, .rng = seed};
	TAILQ_INIT(&h->out);
	h->base = event_base_new();
	evutil_make_socket_nonblocking(fd);
	h->rd = event_new(h->base, fd, EV_READ | EV_PERSIST, link_read, h);
	h->wr = event_new(h->base, fd, EV_WRITE, link_write, h);
	h->due = evtimer_new(h->base, link_due, h);
	event_add(h->rd, NULL);
	assert_int_equal(netstack_new(&h->ns, h->base, &host_ops, h, limits, &e), 0);
}

static void host_stop(struct host *h)
{
	struct frame *f;

	netstack_free(h->ns);
	event_free(h->rd);
	event_free(h->wr);
	event_free(h->due);
	event_base_free(h->base);
	close(h->fd);
	while ((f = TAILQ_FIRST(&h->out))) {
		TAILQ_REMOVE(&h->out, f, link);
		free(f);
	}
}

/* --- both ends --- */

struct report {
	struct netstack_stats stats;
	unsigned cancels, syns, opens, lost;
};

struct pair {
	struct host near;
	pid_t child;
	int ask, report; /* a byte asks, a struct report comes */
};

static void far_report(evutil_socket_t fd, short what, void *arg)
{
	struct host *h = arg;
	char c;

	(void)what;
	if (read(fd, &c, 1) != 1) {
		event_base_loopbreak(h->base);
		return;
	}
	struct report r = {.stats = *netstack_stats(h->ns),
			   .cancels = h->cancels,
			   .syns = h->syns,
			   .opens = h->opens,
			   .lost = h->lost};
	assert_int_equal(write(h->report, &r, sizeof(r)), sizeof(r));
}

static void far_main(int fd, int ask, int report, const struct weather *w,
		     const struct netstack_limits *limits)
{
	struct host h;

	host_start(&h, fd, w, limits, 4242);
	h.report = report;
	struct event *ev = event_new(h.base, ask, EV_READ | EV_PERSIST, far_report, &h);
	event_add(ev, NULL);
	event_base_dispatch(h.base);
	event_free(ev);
	host_stop(&h);
	_exit(0); /* not cmocka's exit handlers */
}

static void pair_start_limits(struct pair *p, struct weather w,
			      const struct netstack_limits *limits)
{
	int link[2], ask[2], report[2], size = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
	for (int i = 0; i < 2; i++)
		setsockopt(link[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(pipe(ask), 0);
	assert_int_equal(pipe(report), 0);
	fflush(NULL);
	p->child = fork();
	assert_true(p->child >= 0);
	if (!p->child) {
		close(link[0]);
		close(ask[1]);
		close(report[0]);
		far_main(link[1], ask[0], report[1], &w, limits);
	}
	close(link[1]);
	close(ask[0]);
	close(report[1]);
	p->ask = ask[1];
	p->report = report[0];
	host_start(&p->near, link[0], &w, NULL, 77);
}

static void pair_start(struct pair *p, struct weather w)
{
	pair_start_limits(p, w, NULL);
}

static void pair_stop(struct pair *p)
{
	int status;

	close(p->ask);
	host_stop(&p->near);
	assert_int_equal(waitpid(p->child, &status, 0), p->child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(p->report);
}

static struct report far_ask(struct pair *p)
{
	struct report r;

	assert_int_equal(write(p->ask, "?", 1), 1);
	assert_int_equal(read(p->report, &r, sizeof(r)), sizeof(r));
	return r;
}

static void run_ms(struct host *h, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	event_base_loopexit(h->base, &tv);
	event_base_dispatch(h->base);
}

static const char *const near_addr[2] = {"198.18.0.2", "fd00::2"};
static const char *const far_addr[2] = {"10.9.8.7", "2001:db8::77"};

static struct stream *dial(struct host *h, int v6, uint16_t port, nsec_t timeout)
{
	struct ipaddr src, dst;
	struct stream *s = NULL;

	assert_int_equal(ipaddr_parse(&src, near_addr[v6]), 0);
	assert_int_equal(ipaddr_parse(&dst, far_addr[v6]), 0);
	assert_int_equal(netstack_connect(h->ns, &src, &dst, port, h, timeout, &s), 0);
	return s;
}
