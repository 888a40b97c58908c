/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP between two netstacks. lwIP is global, so the far end is a child process; packets travel over a
 * socketpair through a link that cuts super-packets, loses, reorders and delays, from a seed.
 * What the far end does is named by the port that is dialled.
 */
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
	TAILQ_HEAD(frames, frame) out;
	struct event *due;
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
		free(f);
	}
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

/* --- a client that sends `send` bytes of the pattern, ends, and reads to the end --- */

struct client {
	struct host *h;
	struct stream *s;
	uint64_t send, sent, got, sent_hash, got_hash;
	uint8_t tail[16];
	bool done;
	int error;
	unsigned slow; /* reads only every so often */
};

static void client_done(struct client *c)
{
	c->done = true;
	event_base_loopbreak(c->h->base);
}

static void client_write(struct client *c)
{
	uint8_t buf[30011];

	while (c->sent < c->send) {
		size_t len = (size_t)MIN(sizeof(buf), c->send - c->sent);
		pattern(buf, c->sent, len);
		ssize_t n = stream_write(c->s, buf, len);
		if (n < 0) {
			assert_int_equal(n, -EAGAIN);
			return;
		}
		c->sent_hash = roll(c->sent_hash, buf, (size_t)n);
		c->sent += (uint64_t)n;
	}
	c->s->ops->shutdown(c->s);
	c->s->ops->want(c->s, STREAM_READABLE);
}

static void client_read(struct client *c)
{
	uint8_t buf[20000];
	ssize_t n;

	while ((n = stream_read(c->s, buf, sizeof(buf))) > 0) {
		c->got_hash = roll(c->got_hash, buf, (size_t)n);
		c->got += (uint64_t)n;
		if ((size_t)n >= sizeof(c->tail))
			memcpy(c->tail, buf + n - sizeof(c->tail), sizeof(c->tail));
	}
	if (n == 0) {
		c->s->ops->close(c->s);
		client_done(c);
	} else {
		assert_int_equal(n, -EAGAIN);
	}
}

static void client_event(struct stream *s, unsigned ev, void *arg)
{
	struct client *c = arg;

	assert_ptr_equal(s, c->s);
	assert_false(c->done);
	if (ev & STREAM_ERROR) {
		c->error = s->error;
		s->ops->abort(s);
		client_done(c);
		return;
	}
	if (ev & STREAM_WRITABLE)
		client_write(c);
	if (ev & STREAM_READABLE)
		client_read(c);
}

static void client_run(struct client *c, struct host *h, int v6, uint16_t port, uint64_t send,
		       unsigned seconds)
{
	*c = (struct client){.h = h, .send = send};
	c->s = dial(h, v6, port, 5 * NSEC_PER_SEC);
	stream_set(c->s, client_event, c);
	c->s->ops->want(c->s, STREAM_READABLE | STREAM_WRITABLE);
	for (nsec_t end = clock_boot() + seconds * NSEC_PER_SEC; !c->done && clock_boot() < end;)
		run_ms(h, 1000);
	assert_true(c->done);
}

/* --- tests --- */

static void both_ways(struct weather w, uint64_t bytes, unsigned seconds)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct pair p;
		struct client c;
		pair_start(&p, w);
		nsec_t start = clock_boot();
		client_run(&c, &p.near, v6, PORT_ECHO, bytes, seconds);
		double s = (double)(clock_boot() - start) / 1e9;
		struct report r = far_ask(&p);
		const struct netstack_stats *st = netstack_stats(p.near.ns);
		print_message("  IPv%d echo: %.1f MiB each way in %.2f s; super-packets %lu, "
			      "retransmits %lu + %lu, lost %u + %u\n",
			      v6 ? 6 : 4, (double)bytes / 1048576, s, (unsigned long)st->tx_super,
			      (unsigned long)st->retransmits, (unsigned long)r.stats.retransmits,
			      p.near.lost, r.lost);
		assert_int_equal(c.error, 0);
		assert_int_equal(c.got, bytes);
		assert_int_equal(c.got_hash, c.sent_hash);
		pair_stop(&p);
	}
}

static void test_bulk(void **state)
{
	(void)state;
	both_ways((struct weather){0}, BULK, 60);
}

static void test_lossy(void **state)
{
	(void)state;
	both_ways((struct weather){.loss = 10, .reorder = 20}, LOSSY_BYTES, 60);
}

static void test_lossy_far(void **state)
{
	(void)state;
	both_ways((struct weather){.loss = 20, .reorder = 5, .delay_ms = 10}, LOSSY_BYTES / 2, 60);
}

static void test_half_close(void **state)
{
	struct pair p;
	struct client c;
	uint64_t answer[2];

	(void)state;
	pair_start(&p, (struct weather){0});
	/* The answer comes after our end: our direction is closed, theirs open. */
	client_run(&c, &p.near, 0, PORT_SINK, 300000, 20);
	assert_int_equal(c.error, 0);
	assert_int_equal(c.got, 16);
	memcpy(answer, c.tail, 16);
	assert_int_equal(answer[0], 300000);
	assert_int_equal(answer[1], c.sent_hash);
	/* The other way round: they end at once after the last byte. */
	client_run(&c, &p.near, 1, PORT_SOURCE, 0, 20);
	assert_int_equal(c.got, SOURCE_BYTES);
	uint8_t want[16];
	pattern(want, SOURCE_BYTES - 16, 16);
	assert_memory_equal(c.tail, want, 16);
	pair_stop(&p);
}

static void test_refusals(void **state)
{
	static const struct {
		uint16_t port;
		int error;
	} cases[] = {{PORT_REFUSED, -ECONNREFUSED},
		     {PORT_UNREACHABLE, -EHOSTUNREACH},
		     {PORT_PROHIBITED, -EACCES},
		     {PORT_RESET, -ECONNRESET}};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	for (int v6 = 0; v6 < 2; v6++)
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			struct client c;
			client_run(&c, &p.near, v6, cases[i].port, 100, 10);
			assert_int_equal(c.error, cases[i].error);
		}
	pair_stop(&p);
}

static void test_timeout_cancels(void **state)
{
	static const uint16_t ports[] = {PORT_SILENT, PORT_PENDING};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		struct client c = {.h = &p.near};
		c.s = dial(&p.near, 0, ports[i], 300 * NSEC_PER_MSEC);
		stream_set(c.s, client_event, &c);
		run_ms(&p.near, 3000);
		assert_true(c.done);
		assert_int_equal(c.error, -ETIMEDOUT);
	}
	run_ms(&p.near, 100);
	/* The record of the pending dial went by our reset. */
	struct report r = far_ask(&p);
	assert_int_equal(r.syns, 2);
	assert_int_equal(r.cancels, 1);
	assert_int_equal(r.stats.syns, 0);
	/* A slow dial is one dial, however often the SYN is repeated. */
	struct client c;
	client_run(&c, &p.near, 1, PORT_LATER, 1000, 10);
	assert_int_equal(c.got, 1000);
	assert_int_equal(far_ask(&p).syns, 3);
	pair_stop(&p);
}

/* --- many connections, bounds, memory --- */

struct crowd {
	struct stream *s;
	unsigned *open;
	int error;
};

static void crowd_event(struct stream *s, unsigned ev, void *arg)
{
	struct crowd *c = arg;

	if (ev & STREAM_ERROR)
		c->error = s->error;
	else
		++*c->open;
	s->ops->want(s, 0);
}

static void crowd_dial(struct crowd *crowd, unsigned n, struct host *h, uint16_t port,
		       unsigned *open)
{
	for (unsigned i = 0; i < n; i++) {
		crowd[i] = (struct crowd){.s = dial(h, (int)i & 1, port, 20 * NSEC_PER_SEC),
					  .open = open};
		stream_set(crowd[i].s, crowd_event, &crowd[i]);
		crowd[i].s->ops->want(crowd[i].s, STREAM_WRITABLE);
	}
}

static void test_many(void **state)
{
	enum { N = 2000 };
	struct crowd *crowd = calloc(N, sizeof(*crowd));
	unsigned open = 0;
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	const struct netstack_stats *st = netstack_stats(p.near.ns);
	crowd_dial(crowd, N, &p.near, PORT_ECHO, &open);
	for (int i = 0; i < 100 && open < N; i++)
		run_ms(&p.near, 50);
	assert_int_equal(open, N);
	assert_int_equal(st->conns, N);
	assert_int_equal(far_ask(&p).stats.conns, N);
	/* An idle connection holds no buffers. */
	assert_int_equal(st->memory, 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(stream_write(crowd[i].s, "x", 1), 1);
		if (i % 3)
			crowd[i].s->ops->close(crowd[i].s);
		else
			crowd[i].s->ops->abort(crowd[i].s);
	}
	/* 2 MSL of TIME-WAIT */
	for (int i = 0; i < 100 && st->conns; i++)
		run_ms(&p.near, 50);
	struct report r = far_ask(&p);
	assert_int_equal(st->conns, 0);
	assert_int_equal(r.stats.conns, 0);
	assert_int_equal(r.stats.memory, 0);
	assert_int_equal(st->memory, 0);
	pair_stop(&p);
	free(crowd);
}

static void test_limits(void **state)
{
	enum { N = 600, CONNS = 20 };
	struct crowd *crowd = calloc(N, sizeof(*crowd));
	unsigned open = 0;
	struct pair p;

	(void)state;
	pair_start_limits(&p, (struct weather){0}, &(struct netstack_limits){.conns = CONNS});
	crowd_dial(crowd, CONNS + 5, &p.near, PORT_ECHO, &open);
	run_ms(&p.near, 300);
	struct report r = far_ask(&p);
	assert_int_equal(open, CONNS);
	assert_int_equal(r.stats.conns, CONNS);
	assert_true(r.stats.drops[NS_DROP_CONN_LIMIT] >= 5);
	for (int i = 0; i < CONNS + 5; i++)
		crowd[i].s->ops->abort(crowd[i].s);
	run_ms(&p.near, 100);
	assert_int_equal(far_ask(&p).stats.conns, 0);

	crowd_dial(crowd, N, &p.near, PORT_PENDING, &open);
	run_ms(&p.near, 300);
	r = far_ask(&p);
	assert_int_equal(r.stats.syns, NETSTACK_SYN_PER_PEER);
	assert_true(r.stats.drops[NS_DROP_SYN_LIMIT] >= N - NETSTACK_SYN_PER_PEER);
	for (int i = 0; i < N; i++)
		crowd[i].s->ops->abort(crowd[i].s);
	run_ms(&p.near, 100);
	assert_int_equal(far_ask(&p).stats.syns, 0);
	pair_stop(&p);
	free(crowd);
}

/* Back-pressure: a peer who does not read stops the writer, with bounded memory on both sides. */
static void test_deaf(void **state)
{
	static uint8_t buf[64 << 10];
	struct pair p;
	size_t total = 0;

	(void)state;
	pair_start(&p, (struct weather){0});
	struct crowd c = {.open = &(unsigned){0}};
	c.s = dial(&p.near, 0, PORT_DEAF, 5 * NSEC_PER_SEC);
	stream_set(c.s, crowd_event, &c);
	for (int i = 0; i < 100; i++) {
		ssize_t n;
		while ((n = stream_write(c.s, buf, sizeof(buf))) > 0)
			total += (size_t)n;
		assert_int_equal(n, -EAGAIN);
		run_ms(&p.near, 5);
	}
	struct report r = far_ask(&p);
	assert_true(total >= 256 << 10);
	assert_true(r.stats.memory <= 512 << 10);
	assert_true(netstack_stats(p.near.ns)->memory <= 2 << 20);
	assert_int_equal(c.error, 0);
	/* Who goes with unread bytes: all memory comes back. */
	c.s->ops->abort(c.s);
	run_ms(&p.near, 100);
	r = far_ask(&p);
	assert_int_equal(r.stats.conns, 0);
	assert_int_equal(netstack_stats(p.near.ns)->memory, 0);
	pair_stop(&p);
}

/* With a budget of 256 KiB for all, everything still arrives. */
static void test_little_memory(void **state)
{
	struct pair p;
	struct client c;

	(void)state;
	pair_start_limits(&p, (struct weather){0}, &(struct netstack_limits){.memory = 256 << 10});
	client_run(&c, &p.near, 0, PORT_ECHO, 8 << 20, 60);
	assert_int_equal(c.error, 0);
	assert_int_equal(c.got_hash, c.sent_hash);
	assert_int_equal(c.got, 8 << 20);
	/* our last ACKs are still on their way */
	for (int i = 0; i < 40 && far_ask(&p).stats.memory; i++)
		run_ms(&p.near, 50);
	assert_int_equal(far_ask(&p).stats.memory, 0);
	pair_stop(&p);
}

static void test_forget_peer(void **state)
{
	struct crowd c = {.open = &(unsigned){0}};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	c.s = dial(&p.near, 1, PORT_ECHO, 5 * NSEC_PER_SEC);
	stream_set(c.s, crowd_event, &c);
	c.s->ops->want(c.s, STREAM_WRITABLE);
	run_ms(&p.near, 50);
	assert_int_equal(*c.open, 1);
	netstack_forget_peer(p.near.ns, &p.near);
	assert_int_equal(c.error, 0); /* not from within the call */
	run_ms(&p.near, 50);
	assert_int_equal(c.error, -ECONNRESET);
	c.s->ops->abort(c.s);
	assert_int_equal(netstack_stats(p.near.ns)->conns, 0);
	assert_int_equal(far_ask(&p).stats.conns, 0);
	pair_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_little_memory),
		cmocka_unit_test(test_forget_peer),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_timeout_cancels),
		cmocka_unit_test(test_lossy),
		cmocka_unit_test(test_lossy_far),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
