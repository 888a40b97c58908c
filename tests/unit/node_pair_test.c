/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes over real UDP on loopback, in one process and on one loop:
 *
 *   test --packets--> node a ==cut, sealed, UDP_SEGMENT==> lo
 *                          lo ==UDP_GRO, opened, merged==> node b --packets--> test
 *
 * What arrives must be what was sent: each TCP flow's bytes in order with its headers, every other
 * packet as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node_sides.h"
#include "transport/udp.h"

static int setup(void **state)
{
	const char *bind = *state ? *state : "127.0.0.1:0";

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(sent, 0, sizeof(sent));
	memset(came, 0, sizeof(came));
	n_others = n_others_came = 0;
	base = event_base_new();
	make_side(&a, bind);
	make_side(&b, bind);
	introduce(&a, &b, true, "10.0.0.2/32", "fd00::2/128");
	introduce(&b, &a, false, "10.0.0.1/32", "fd00::1/128");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	node_free(a.node);
	node_free(b.node);
	event_base_free(base);
	return 0;
}

static void random_traffic_arrives_as_sent(void **state)
{
	struct rng r = {20261123};

	(void)state;
	for (unsigned f = 0; f < FLOWS; f++)
		sent[f].start = came[f].start = (uint32_t)rng_next(&r);
	for (unsigned round = 0; round < 60; round++) {
		unsigned burst =
			round ? rng_range(&r, 1, 12) : 2; /* the first waits for the handshake */

		for (unsigned i = 0; i < burst; i++) {
			unsigned flow = rng_range(&r, 0, FLOWS - 1);
			uint16_t gso = (uint16_t)rng_range(&r, 500, 1340);

			switch (rng_range(&r, 0, 3)) {
			case 0:
				send_udp(&r, rng_range(&r, 0, INNER_MTU - 48));
				break;
			case 1:
				send_tcp(&r, flow, rng_range(&r, 1, 1300), 0);
				break;
			case 2: /* an oversized one that does not say how to cut it */
				send_tcp(&r, flow, rng_range(&r, 1500, 20000), 0);
				break;
			default:
				send_tcp(&r, flow, rng_range(&r, 1, 60000), gso);
			}
		}
		run_until(all_came);
	}
	check_streams();
	assert_true(b.super > 60);
	assert_int_equal(node_stats(b.node)->super_in, b.super);
	assert_int_equal(node_stats(a.node)->inner_out, node_stats(b.node)->inner_in);
	assert_int_equal(b.established, 1);
	assert_true(b.idle > 0);
}

/* Bulk: most of what b gets are super-packets, and most of what the sockets see are batches. */
static void bulk_travels_in_super_packets(void **state)
{
	struct rng r = {2};

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	for (unsigned i = 0; i < 64; i++) {
		send_tcp(&r, i % 4, 44 * 1348, 1348);
		if (i % 8 == 7)
			run_until(all_came);
	}
	check_streams();
	/* Each super-packet comes back whole: its 44 datagrams are just one send. */
	assert_int_equal(b.super, 64);
	assert_in_range(node_transport_stats(a.node)->tx_calls, 64, 70);
	assert_in_range(node_transport_stats(b.node)->rx_calls, 64, 70);
	print_message("[     info ] %lu datagrams in %lu sends, %lu reads\n",
		      (unsigned long)node_transport_stats(a.node)->tx_datagrams,
		      (unsigned long)node_transport_stats(a.node)->tx_calls,
		      (unsigned long)node_transport_stats(b.node)->rx_calls);
}

static bool both_established(void)
{
	return a.established && b.established;
}

static void super_packet_waits_for_the_handshake(void **state)
{
	struct rng r = {3};

	(void)state;
	send_tcp(&r, 1, 50000, 1348);
	assert_int_equal(node_transport_stats(a.node)->tx_bytes, MSG_INITIATION_LEN);
	run_until(all_came);
	run_until(both_established);
	check_streams();
}

static void what_cannot_be_cut_is_told(void **state)
{
	struct rng r = {4};
	struct flow f = make_flow(6, 1, 2, 9);
	struct pkt pkt = {.data = packet};

	(void)state;
	pkt.len = (uint32_t)build_udp(packet, &r, &f, INNER_MTU);
	node_send(a.node, &pkt);
	assert_int_equal(a.too_big, 1);
	assert_int_equal(a.too_big_mtu, INNER_MTU);
	assert_int_equal(node_stats(a.node)->too_big, 1);

	f = make_flow(4, 1, 77, 9);
	pkt.len = (uint32_t)build_udp(packet, &r, &f, 10);
	node_send(a.node, &pkt);
	pkt.len = 3;
	node_send(a.node, &pkt);
	assert_int_equal(node_stats(a.node)->no_route, 2);
}

/* A path that takes 1280 bytes: TCP is cut to it, so no datagram on it is larger. */
static void small_path_gets_small_segments(void **state)
{
	struct rng r = {5};
	const struct transport_stats *st = transport_stats(a.node->udp);
	const struct path *path;
	uint64_t datagrams;

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	path = overlay_peer_path(a.peer);
	for (unsigned i = 0; i < MTU_SLOTS; i++) /* as if the kernel had told so */
		udp_self(a.node->udp)->mtu[i] = (struct mtu_slot){
			.remote = path->remote, .payload = 1280 - 28, .expires = UINT64_MAX};
	datagrams = st->tx_datagrams;
	send_tcp(&r, 3, 40000, 1348);
	run_until(all_came);
	check_streams();
	/* 1252 - 32 = 1220, down to a multiple of 16 = 1216, less 52 of headers = 1164 */
	assert_int_equal(st->tx_datagrams - datagrams, (40000 + 1163) / 1164);
}

/* b sends back what it gets, from inside the callback. */
static void on_inner_echo(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct side *s = arg;
	uint8_t swap[16];

	(void)p;
	s->received++;
	memcpy(swap, pkt->data + 8, 16);
	memcpy(pkt->data + 8, pkt->data + 24, 16);
	memcpy(pkt->data + 24, swap, 16);
	node_send(s->node, pkt);
}

static bool echo_came(void)
{
	return a.received >= 1;
}

static void callback_may_send(void **state)
{
	static const struct node_ops echo = {.inner = on_inner_echo};
	static uint8_t original[sizeof(packet)]; /* sending consumes it */
	struct rng r = {6};
	struct tcp_shape s = {.flow = make_flow(6, 1, 2, 0), .flags = TCP_ACK, .payload = 30000};
	struct pkt pkt = {.data = packet, .gso = 1348};

	(void)state;
	b.node->ops = &echo;
	pkt.len = (uint32_t)build_tcp(packet, &r, &s);
	memcpy(original, packet, pkt.len);
	node_send(a.node, &pkt);
	run_until(echo_came);
	assert_int_equal(came[0].len, 30000);
	assert_memory_equal(came[0].data, original + 60, 30000);
}

/* A run waits while an earlier packet's callback removes its peer: it must not be delivered. */
static void on_inner_remove(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct side *s = arg;

	(void)pkt;
	s->received++;
	overlay_peer_remove(node_overlay(s->node), p);
	/* its addresses go to somebody else */
	identity_generate(&s->id);
	assert_int_equal(
		overlay_peer_add(node_overlay(s->node), &s->peer, s->id.pub, NULL, NULL, NULL), 0);
	add_route(s, "fd00::1/128");
}

static void run_of_a_removed_peer_is_dropped(void **state)
{
	static const struct node_ops remove = {.inner = on_inner_remove};
	struct rng r = {7};
	uint8_t *copy = packet;
	struct tcp_shape s = {.flow = make_flow(6, 1, 2, 0), .flags = TCP_ACK, .payload = 1000};
	size_t len;

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	b.node->ops = &remove;
	len = build_tcp(copy, &r, &s);
	/* the source is a's address at b */
	merge_packet(b.node->merge, b.peer, copy, len);
	s.flow.sport = 1;
	len = build_tcp(copy, &r, &s);
	merge_packet(b.node->merge, b.peer, copy, len);
	b.received = 0;
	merge_flush(b.node->merge);
	assert_int_equal(b.received, 1);
}

static void on_inner_only_remove(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct side *s = arg;

	(void)pkt;
	s->received++;
	overlay_peer_remove(node_overlay(s->node), p);
}

/* The packet in hand, too: what its flow sent before it is delivered first. */
static void packet_of_a_removed_peer_is_dropped(void **state)
{
	static const struct node_ops remove = {.inner = on_inner_only_remove};
	struct rng r = {11};
	struct tcp_shape s = {.flow = make_flow(6, 1, 2, 0), .flags = TCP_ACK, .payload = 1000};
	struct pkt pkt = {.data = packet};

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	b.node->ops = &remove;
	b.received = 0;
	pkt.len = (uint32_t)build_tcp(packet, &r, &s);
	node_send(a.node, &pkt);
	s.flags = TCP_ACK | TCP_FIN; /* ends the run, and goes on by itself */
	pkt.len = (uint32_t)build_tcp(packet, &r, &s);
	node_send(a.node, &pkt);
	run_for_a_moment();
	assert_int_equal(b.received, 1);
}

static unsigned at_b, at_c;

static void on_inner_b(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	(void)arg;
	(void)p;
	assert_int_equal(pkt->data[39], 2);
	at_b++;
}

static void on_inner_c(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	(void)arg;
	(void)p;
	assert_int_equal(pkt->data[39], 3);
	at_c++;
}

static bool ten_each(void)
{
	return at_b == 10 && at_c == 10;
}

/* Datagrams of one size, in turn to one peer and the other. */
static void each_peer_gets_what_is_its(void **state)
{
	static const struct node_ops ops_b = {.inner = on_inner_b}, ops_c = {.inner = on_inner_c};
	static struct side c, to_c;
	struct rng r = {10};

	(void)state;
	at_b = at_c = 0;
	make_side(&c, "127.0.0.1:0");
	to_c = a; /* a's node, with c as the peer */
	introduce(&to_c, &c, true, "10.0.0.3/32", "fd00::3/128");
	introduce(&c, &a, false, "10.0.0.1/32", "fd00::1/128");
	b.node->ops = &ops_b;
	c.node->ops = &ops_c;
	for (unsigned i = 0; i < 20; i++) {
		struct flow f = make_flow(6, 1, i & 1 ? 2 : 3, 9);
		struct pkt pkt = {.data = packet, .len = (uint32_t)build_udp(packet, &r, &f, 500)};

		node_send(a.node, &pkt);
	}
	run_until(ten_each);
	for (unsigned i = 0; i < 10; i++) /* now with sessions, so in batches */
		for (uint8_t to = 2; to <= 3; to++) {
			struct flow f = make_flow(6, 1, to, 9);
			struct pkt pkt = {.data = packet,
					  .len = (uint32_t)build_udp(packet, &r, &f, 500)};

			if (!i)
				at_b = at_c = 0;
			node_send(a.node, &pkt);
		}
	run_until(ten_each);
	node_free(c.node);
}

static bool second_session(void)
{
	return b.established >= 2;
}

/* After a kick there is a new session at once, and traffic goes on. */
static void kick_starts_a_handshake(void **state)
{
	struct rng r = {9};
	nsec_t start = clock_boot();

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	overlay_peer_persist(node_overlay(a.node), a.peer, true, start);
	node_kick(a.node);
	run_until(second_session);
	assert_true(clock_boot() - start < NSEC_PER_SEC);
	send_tcp(&r, 1, 30000, 1348);
	run_until(all_came);
	check_streams();
}

static bool third_attempt(void)
{
	return node_transport_stats(a.node)->tx_datagrams >= 3;
}

/* The overlay's deadlines are kept without any traffic: a persistent peer that is silent is tried
 * again. Also if nobody asked the node for its overlay in the turn that set them. */
static void timers_run_by_themselves(void **state)
{
	struct overlay *kept = node_overlay(a.node);
	nsec_t now;

	(void)state;
	overlay_peer_remove(node_overlay(b.node), b.peer);
	run_for_a_moment();
	now = clock_boot();
	overlay_peer_persist(kept, a.peer, true, now);
	overlay_peer_initiate(kept, a.peer, true, now);
	run_until(third_attempt);
	assert_true(clock_boot() - now > 300 * NSEC_PER_MSEC); /* 0.2 s and growing, jittered */
}

static void garbage_is_dropped_in_silence(void **state)
{
	struct rng r = {8};
	struct path to;
	union sockaddr_any sa;
	uint64_t sends;

	(void)state;
	send_udp(&r, 1);
	run_until(all_came);
	sends = node_transport_stats(b.node)->tx_calls;
	assert_int_equal(node_local(b.node, &sa), 0);
	to = node_udp_path(a.node, &sa);
	for (unsigned i = 0; i < 200; i++) {
		size_t len = rng_range(&r, 1, 3000), stride = rng_range(&r, 1, 1500);

		rng_fill(&r, packet, len);
		packet[0] = (uint8_t)(i % 6);
		put_be16(packet + 1, 0);
		packet[3] = 0;
		transport_send(a.node->udp, &to, packet, len, MIN(stride + len / 60, len));
	}
	send_udp(&r, 100);
	run_until(all_came);
	assert_int_equal(node_transport_stats(b.node)->tx_calls, sends);
}

int main(void)
{
	static char v4[] = "127.0.0.1:0", v6[] = "[::1]:0";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate_setup_teardown(random_traffic_arrives_as_sent, setup,
							 teardown, v4),
		{"random_traffic_arrives_as_sent_over_ipv6", random_traffic_arrives_as_sent, setup,
		 teardown, v6},
		cmocka_unit_test_setup_teardown(bulk_travels_in_super_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(super_packet_waits_for_the_handshake, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_cut_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(small_path_gets_small_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(callback_may_send, setup, teardown),
		cmocka_unit_test_setup_teardown(run_of_a_removed_peer_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(packet_of_a_removed_peer_is_dropped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(kick_starts_a_handshake, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_run_by_themselves, setup, teardown),
		cmocka_unit_test_setup_teardown(each_peer_gets_what_is_its, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_is_dropped_in_silence, setup, teardown),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
