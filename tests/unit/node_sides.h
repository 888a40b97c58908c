/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of two nodes, a and b, in one process and on one loop: a sends packets, b checks that
 * what arrives is what was sent: each TCP flow's bytes in order with its headers, every other packet
 * as it was.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>

#include "node/cut.h"
#include "node/internal.h"
#include "node_packets.h"

enum { FLOWS = 8, STREAM_MAX = 4 << 20, OTHERS_MAX = 512, WAIT_MS = 5000 };

/* What one side of the test has seen of one TCP flow. */
struct tcp_flow {
	uint32_t start;
	size_t len;
	uint8_t data[STREAM_MAX];
};

struct side {
	struct node *node;
	struct identity id;
	struct overlay_peer *peer;
	unsigned established, idle, too_big, received, super;
	uint32_t too_big_mtu;
};

static struct event_base *base;
static struct side a, b;
static struct tcp_flow sent[FLOWS], came[FLOWS];
static uint8_t others[OTHERS_MAX][INNER_MTU];
static size_t others_len[OTHERS_MAX];
static unsigned n_others, n_others_came;
static uint8_t packet[PKT_MAX + 600];

static inline void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	(void)p;
	(void)fresh;
	((struct side *)arg)->established++;
}

static inline void on_idle(void *arg)
{
	((struct side *)arg)->idle++;
}

static inline void on_too_big(void *arg, const struct pkt *pkt, uint32_t mtu)
{
	(void)pkt;
	((struct side *)arg)->too_big++;
	((struct side *)arg)->too_big_mtu = mtu;
}

static inline void check_other(struct pkt *pkt)
{
	assert_true(n_others_came < n_others);
	assert_int_equal(pkt->len, others_len[n_others_came]);
	mask_packet(pkt->data, pkt->len);
	assert_memory_equal(pkt->data, others[n_others_came], pkt->len);
	n_others_came++;
}

/* At b: TCP goes to its stream, with its headers compared to those every packet
 * of this flow has. */
static inline void on_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct side *s = arg;
	struct segment seg;
	struct tcp_flow *st;
	unsigned flow;

	assert_ptr_equal(p, s->peer);
	s->received++;
	s->super += pkt->gso != 0;
	assert_true(ip_header_right(pkt->data));
	if (!segment_parse(&seg, pkt->data, pkt->len)) {
		assert_int_equal(pkt->gso, 0);
		check_other(pkt);
		return;
	}
	assert_int_equal(seg.headers + seg.payload, pkt->len);
	if (pkt->gso)
		assert_in_range(pkt->gso, 1, INNER_MTU - seg.headers);
	else
		assert_in_range(pkt->len, 1, INNER_MTU);
	flow = get_be16(pkt->data + seg.l4);
	assert_in_range(flow, 0, FLOWS - 1);
	st = &came[flow];
	assert_int_equal(seg.seq, (uint32_t)(st->start + st->len));
	assert_true(st->len + seg.payload <= STREAM_MAX);
	memcpy(st->data + st->len, pkt->data + seg.headers, seg.payload);
	st->len += seg.payload;
}

static const struct node_ops ops = {
	.inner = on_inner,
	.idle = on_idle,
	.established = on_established,
	.too_big = on_too_big,
};

static inline void make_side(struct side *s, const char *bind)
{
	struct node_config cfg = {.base = base};
	struct error e = {0};

	identity_generate(&s->id);
	cfg.identity = s->id;
	if (bind) /* else no UDP */
		assert_int_equal(sockaddr_parse(&cfg.bind, bind), 0);
	if (node_new(&s->node, &cfg, &ops, s, &e))
		fail_msg("%s", e.text);
}

static inline void add_route(struct side *s, const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text), 0);
	assert_int_equal(overlay_route_add(node_overlay(s->node), &p, s->peer), 0);
}

/* `from` knows where `to` is. Addresses end in 1 at a, in 2 at b. */
static inline void introduce(struct side *s, struct side *other, bool with_path, const char *v4,
			     const char *v6)
{
	assert_int_equal(
		overlay_peer_add(node_overlay(s->node), &s->peer, other->id.pub, NULL, NULL, NULL),
		0);
	add_route(s, v4);
	add_route(s, v6);
	if (with_path) {
		union sockaddr_any sa;
		struct path path;

		assert_int_equal(node_local(other->node, &sa), 0);
		path = node_udp_path(s->node, &sa);
		overlay_peer_set_path(s->peer, &path);
	}
}

/* Runs the loop until nothing has come for 30 ms (and at least one round), or `done`. */
static inline void run_until(bool (*done)(void))
{
	nsec_t end = clock_boot() + WAIT_MS * NSEC_PER_MSEC;

	while (!done()) {
		struct timeval tick = {.tv_usec = 20000};

		if (clock_boot() > end)
			fail_msg("nothing for %d ms: a %u/%u, b %u/%u packets", WAIT_MS, a.received,
				 a.established, b.received, b.established);
		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
}

static bool turned;

static inline void on_turned(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	turned = true;
}

static inline bool has_turned(void)
{
	return turned;
}

/* What lies ready is done after this. */
static inline void run_for_a_moment(void)
{
	struct timeval moment = {.tv_usec = 20000};

	turned = false;
	event_base_once(base, -1, EV_TIMEOUT, on_turned, NULL, &moment);
	run_until(has_turned);
}

static inline bool all_came(void)
{
	for (unsigned f = 0; f < FLOWS; f++)
		if (came[f].len < sent[f].len)
			return false;
	return n_others_came == n_others;
}

/* From a to b, or (`from` is b) the other way. */
static inline void send_tcp_from(struct side *from, struct rng *r, unsigned flow, uint32_t payload,
				 uint16_t gso)
{
	struct tcp_shape s = {
		.flow = from == &a ? make_flow(flow & 1 ? 4 : 6, 1, 2, (uint16_t)flow)
				   : make_flow(flow & 1 ? 4 : 6, 2, 1, (uint16_t)flow),
		.seq = (uint32_t)(sent[flow].start + sent[flow].len),
		.flags = (uint8_t)(TCP_ACK | (rng_next(r) & TCP_PSH)),
		.tcp_options = 12,
		.payload = payload,
	};
	size_t len = build_tcp(packet, r, &s);
	struct pkt pkt = {.data = packet, .len = (uint32_t)len, .gso = gso};

	assert_true(sent[flow].len + payload <= STREAM_MAX);
	memcpy(sent[flow].data + sent[flow].len, packet + len - payload, payload);
	sent[flow].len += payload;
	node_send(from->node, &pkt);
}

static inline void send_tcp(struct rng *r, unsigned flow, uint32_t payload, uint16_t gso)
{
	send_tcp_from(&a, r, flow, payload, gso);
}

static inline void send_udp(struct rng *r, size_t payload)
{
	struct flow f = make_flow(rng_next(r) & 1 ? 4 : 6, 1, 2, 9);
	size_t len = build_udp(packet, r, &f, payload);
	struct pkt pkt = {.data = packet, .len = (uint32_t)len};

	assert_true(n_others < OTHERS_MAX);
	memcpy(others[n_others], packet, len);
	mask_packet(others[n_others], len);
	others_len[n_others++] = len;
	node_send(a.node, &pkt);
}

static inline void check_streams(void)
{
	for (unsigned f = 0; f < FLOWS; f++) {
		assert_int_equal(came[f].len, sent[f].len);
		assert_memory_equal(came[f].data, sent[f].data, sent[f].len);
	}
}
