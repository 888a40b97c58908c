/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a peer of netstack's TCP played by hand, segment by segment. */
#pragma once

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/ip.h"
#include "netstack/tcp.h"

enum { PAYLOAD_MAX = 1400, WRITTEN = 256 << 10 };

struct sent {
	uint32_t seq, ack, len;
	uint16_t gso, wnd, port;
	uint8_t flags;
};

struct peer {
	struct event_base *base;
	struct netstack *ns;
	struct stream *s;
	struct netstack_syn *syn; /* kept when `hold` */
	bool hold;
	bool old; /* it does not scale its window, nor let us */
	unsigned cancels, opens;
	int error;
	uint16_t port;
	uint32_t seq, ack; /* ours, and what we have received in order */
	struct sent log[4096];
	unsigned n;
};

static void on_output(void *arg, struct pkt *pkt)
{
	struct peer *p = arg;
	struct ip_info info;

	assert_int_equal(ip_parse(&info, pkt->data, pkt->len), 0);
	const uint8_t *tcp = pkt->data + info.l4;
	struct sent *s = &p->log[p->n++ % ARRAY_SIZE(p->log)];
	*s = (struct sent){.seq = get_be32(tcp + 4),
			   .ack = get_be32(tcp + 8),
			   .len = info.total - info.l4 - (uint32_t)(tcp[12] >> 4) * 4,
			   .gso = pkt->gso,
			   .wnd = get_be16(tcp + 14),
			   .port = get_be16(tcp + 2),
			   .flags = tcp[13]};
	if (s->flags & TCP_SYN)
		p->ack = s->seq + 1;
}

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct peer *p = arg;

	if (ev & STREAM_ERROR)
		p->error = s->error;
	s->ops->want(s, 0);
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	struct peer *p = arg;

	(void)ctx;
	p->opens++;
	p->s = s;
	stream_set(s, on_event, p);
}

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct peer *p = arg;

	(void)flow, (void)peer;
	p->syn = syn;
	if (!p->hold)
		netstack_accept(p->ns, syn);
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	struct peer *p = arg;

	(void)syn, (void)ctx;
	p->cancels++;
}

static const struct netstack_ops ops = {
	.output = on_output,
	.tcp_syn = on_syn,
	.tcp_cancel = on_cancel,
	.tcp_open = on_open,
};

static inline void run_ms(struct peer *p, unsigned ms)
{
	struct timeval tv = {.tv_usec = (suseconds_t)ms * 1000};

	event_base_loopexit(p->base, &tv);
	event_base_dispatch(p->base);
}

/* One turn of the loop. */
static inline void turn(struct peer *p)
{
	event_base_loop(p->base, EVLOOP_NONBLOCK);
}

struct segment {
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t wnd;
	const uint8_t *options;
	size_t options_len, len;
};

static inline void send_segment(struct peer *p, const struct segment *g)
{
	static const uint8_t client[4] = {198, 18, 0, 2}, server[4] = {10, 9, 8, 7};
	uint8_t b[40 + 40 + PAYLOAD_MAX] = {0x45};
	size_t head = 40 + g->options_len;
	struct pkt pkt = {.data = b, .len = (uint32_t)(head + g->len)};

	put_be16(b + 2, (uint16_t)pkt.len);
	b[8] = 64;
	b[9] = IP_PROTO_TCP;
	memcpy(b + 12, client, 4);
	memcpy(b + 16, server, 4);
	put_be16(b + 20, p->port);
	put_be16(b + 22, 80);
	put_be32(b + 24, g->seq);
	put_be32(b + 28, g->ack);
	b[32] = (uint8_t)((head - 20) / 4 << 4);
	b[33] = g->flags;
	put_be16(b + 34, g->wnd);
	if (g->options_len)
		memcpy(b + 40, g->options, g->options_len);
	ip4_header_checksum(b);
	netstack_input(p->ns, &pkt, p);
}

/* An ACK for what is `acked` bytes behind what was acknowledged before; the window in units of 128. */
static inline void send_ack(struct peer *p, uint32_t acked, uint16_t wnd)
{
	p->ack += acked;
	send_segment(p,
		     &(struct segment){.flags = TCP_ACK, .seq = p->seq, .ack = p->ack, .wnd = wnd});
}

static inline void send_syn(struct peer *p, uint16_t mss)
{
	/* MSS; window scaling, unless the peer is an old one; SACK */
	const uint8_t options[] = {2,
				   4,
				   (uint8_t)(mss >> 8),
				   (uint8_t)mss,
				   p->old ? 1 : 3,
				   p->old ? 1 : 3,
				   p->old ? 1 : 7,
				   1,
				   4,
				   2,
				   1,
				   1};

	send_segment(p, &(struct segment){.flags = TCP_SYN,
					  .seq = p->seq++,
					  .wnd = 64000,
					  .options = options,
					  .options_len = sizeof(options)});
}

static inline int setup(void **state)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct error e;

	p->base = event_base_new();
	p->port = 40000;
	p->seq = 1000;
	assert_int_equal(netstack_new(&p->ns, p->base, &ops, p, NULL, &e), 0);
	*state = p;
	return 0;
}

static inline int teardown(void **state)
{
	struct peer *p = *state;

	netstack_free(p->ns);
	event_base_free(p->base);
	free(p);
	return 0;
}

/* An open connection; the peer's window is 1 MiB. */
static inline void open_with(struct peer *p, uint16_t mss)
{
	send_syn(p, mss);
	send_ack(p, 0, 8192);
	turn(p);
	assert_int_equal(p->opens, 1);
	p->n = 0;
}

static inline void write_some(struct peer *p, size_t len)
{
	static uint8_t data[WRITTEN];

	for (size_t done = 0; done < len;) {
		ssize_t n = stream_write(p->s, data, len - done);
		assert_true(n > 0);
		done += (size_t)n;
	}
	turn(p);
}

static inline void send_data(struct peer *p, uint32_t seq, size_t len)
{
	send_segment(p,
		     &(struct segment){
			     .flags = TCP_ACK, .seq = seq, .ack = p->ack, .wnd = 8192, .len = len});
}
