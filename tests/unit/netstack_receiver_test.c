/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What netstack sends, before receivers that misbehave at random: they acknowledge in the middle of
 * packets, close their window, open it by a few bytes, take it back, lose packets. Each byte that comes
 * is compared with what was written at its place in the stream, and the end has to be at the end. Many
 * connections at once, as the time goes by in timeouts.
 */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/ip.h"
#include "netstack/netstack.h"

enum { RECEIVERS = 40, BYTES = 400000, FIRST_PORT = 1000, WINDOW = 60000, SECONDS = 60 };

struct receiver {
	struct stream *s;
	uint16_t port;
	uint8_t scale;
	bool takes_back; /* the window's right edge may go back */
	unsigned loss;	 /* in 1000 packets */
	uint32_t seq, iss;
	uint32_t next, edge; /* received in order; what was ever offered */
	uint32_t written;
	bool fin, done;
	bool have[BYTES];
};

struct world {
	struct event_base *base;
	struct netstack *ns;
	uint64_t rng;
	struct receiver r[RECEIVERS];
};

static uint32_t rnd(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return (uint32_t)(w->rng >> 11);
}

static uint8_t pattern(uint32_t pos)
{
	return (uint8_t)(pos * 131 ^ pos >> 8 ^ pos >> 16);
}

static bool lost(struct world *w, const struct receiver *r)
{
	return rnd(w) % 1000 < r->loss;
}

static void receive(struct world *w, struct receiver *r, uint32_t pos, const uint8_t *data,
		    uint32_t len)
{
	assert_true(pos <= BYTES && len <= BYTES - pos);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(data[i], pattern(pos + i));
	if (lost(w, r))
		return;
	for (uint32_t i = 0; i < len && pos + i < r->edge; i++)
		r->have[pos + i] = true;
	while (r->next < BYTES && r->have[r->next])
		r->next++;
}

static void on_output(void *arg, struct pkt *pkt)
{
	struct world *w = arg;
	struct ip_info info;

	assert_int_equal(ip_parse(&info, pkt->data, pkt->len), 0);
	const uint8_t *tcp = pkt->data + info.l4;
	uint32_t head = (uint32_t)(tcp[12] >> 4) * 4, len = info.total - info.l4 - head;
	struct receiver *r = &w->r[get_be16(tcp + 2) - FIRST_PORT];
	if (tcp[13] & TCP_RST) {
		assert_true(r->done);
		return;
	}
	if (tcp[13] & TCP_SYN) {
		r->iss = get_be32(tcp + 4);
		return;
	}
	uint32_t pos = get_be32(tcp + 4) - r->iss - 1, unit = pkt->gso ? pkt->gso : len;
	for (uint32_t at = 0; at < len; at += unit)
		receive(w, r, pos + at, tcp + head + at, MIN(unit, len - at));
	if (tcp[13] & TCP_FIN) {
		assert_int_equal(pos + len, BYTES);
		r->fin = r->fin || !lost(w, r);
	}
}

static void send_segment(struct world *w, struct receiver *r, uint8_t flags, uint32_t ack,
			 uint32_t window)
{
	static const uint8_t client[4] = {198, 18, 0, 2}, server[4] = {10, 9, 8, 7};
	const uint8_t options[8] = {2, 4, 1380 >> 8, 1380 & 255, 1, 3, 3, r->scale};
	uint8_t b[48] = {0x45};
	struct pkt pkt = {.data = b, .len = flags & TCP_SYN ? 48 : 40};

	put_be16(b + 2, (uint16_t)pkt.len);
	b[8] = 64;
	b[9] = IP_PROTO_TCP;
	memcpy(b + 12, client, 4);
	memcpy(b + 16, server, 4);
	put_be16(b + 20, r->port);
	put_be16(b + 22, 80);
	put_be32(b + 24, r->seq);
	put_be32(b + 28, ack);
	b[32] = (uint8_t)((pkt.len - 20) / 4 << 4);
	b[33] = flags;
	put_be16(b + 34, (uint16_t)window);
	if (flags & TCP_SYN)
		memcpy(b + 40, options, sizeof(options));
	ip4_header_checksum(b);
	netstack_input(w->ns, &pkt, w);
}

/* An acknowledgment of all or of a point before, with some window. */
static void acknowledge(struct world *w, struct receiver *r)
{
	uint32_t unit = UINT32_C(1) << r->scale, pos = r->next, window = WINDOW;
	uint32_t kind = rnd(w) % 6;

	if (rnd(w) % 4 == 0)
		pos -= rnd(w) % (MIN(pos, 3000u) + 1);
	if (kind < 2)
		window = kind ? rnd(w) % 3000 : 0;
	if (!r->takes_back && pos + window < r->edge)
		window = r->edge - pos + unit - 1;
	window = MIN(window / unit, 65535u);
	r->edge = r->takes_back ? pos + window * unit : MAX(r->edge, pos + window * unit);
	r->done = r->fin && pos == BYTES;
	send_segment(w, r, TCP_ACK, r->iss + 1 + pos + r->done, window);
}

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct receiver *r = arg;
	uint8_t buf[5000];

	assert_int_equal(ev, STREAM_WRITABLE);
	while (r->written < BYTES) {
		size_t len = MIN((r->written * 7919u) % sizeof(buf) + 1, BYTES - r->written);
		for (size_t i = 0; i < len; i++)
			buf[i] = pattern(r->written + (uint32_t)i);
		ssize_t n = stream_write(s, buf, len);
		if (n == -EAGAIN)
			return;
		assert_true(n > 0);
		r->written += (uint32_t)n;
	}
	if (r->port % 2) { /* the end follows as a segment of its own, or with what waits */
		s->ops->close(s);
		r->s = NULL;
	} else {
		s->ops->shutdown(s);
		s->ops->want(s, 0);
	}
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	struct receiver *r = ctx;

	(void)arg;
	r->s = s;
	stream_set(s, on_event, r);
	s->ops->want(s, STREAM_WRITABLE);
}

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct world *w = arg;

	(void)peer;
	netstack_syn_set(syn, &w->r[flow->sport - FIRST_PORT]);
	netstack_accept(w->ns, syn);
}

static const struct netstack_ops ops = {
	.output = on_output,
	.tcp_syn = on_syn,
	.tcp_open = on_open,
};

static void start(struct world *w, unsigned i)
{
	struct receiver *r = &w->r[i];

	*r = (struct receiver){.port = (uint16_t)(FIRST_PORT + i),
			       .scale = i % 3 ? 7 : 0,
			       .takes_back = i % 4 == 3,
			       .loss = i % 5 == 4 ? 20 : 0,
			       .seq = rnd(w),
			       .edge = WINDOW >> 7 << 7};
	send_segment(w, r, TCP_SYN, 0, WINDOW);
	r->seq++;
	send_segment(w, r, TCP_ACK, r->iss + 1, WINDOW >> r->scale);
}

static void test_bytes_in_their_places(void **state)
{
	static struct world w = {.rng = 4711};
	static const struct timeval ms = {.tv_usec = 1000};
	struct error e;
	unsigned left = RECEIVERS;

	(void)state;
	w.base = event_base_new();
	assert_int_equal(netstack_new(&w.ns, w.base, &ops, &w, NULL, &e), 0);
	for (unsigned i = 0; i < RECEIVERS; i++)
		start(&w, i);
	for (nsec_t end = clock_boot() + SECONDS * NSEC_PER_SEC; left && clock_boot() < end;) {
		event_base_loopexit(w.base, &ms);
		event_base_dispatch(w.base);
		left = 0;
		for (struct receiver *r = w.r; r < w.r + RECEIVERS; r++) {
			left += !r->done;
			if (!r->done && rnd(&w) % 3 == 0)
				acknowledge(&w, r);
		}
	}
	assert_int_equal(left, 0);
	for (struct receiver *r = w.r; r < w.r + RECEIVERS; r++)
		if (r->s)
			r->s->ops->abort(r->s);
	assert_int_equal(netstack_stats(w.ns)->memory, 0);
	print_message("  retransmits %lu\n", (unsigned long)netstack_stats(w.ns)->retransmits);
	netstack_free(w.ns);
	event_base_free(w.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes_in_their_places)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
