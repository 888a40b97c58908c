/* SPDX-License-Identifier: Apache-2.0 */
/* UDP and echo through a whole netstack: packets in, callbacks; replies, packets out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>

#include "netstack/ip_layer.h"

struct seen {
	unsigned udp, echo, out, refused;
	struct flow flow;
	uint16_t seq;
	void *peer;
	uint8_t data[65536];
	size_t len;
	uint8_t pkt[INNER_MTU]; /* the last one that left */
	size_t pkt_len;
};

static struct seen seen;
static struct event_base *base;
static struct netstack *ns;
static int peer;

static void on_output(void *arg, struct pkt *pkt)
{
	struct seen *s = arg;

	s->out++;
	assert_true(pkt->len <= INNER_MTU && !pkt->gso);
	memcpy(s->pkt, pkt->data, pkt->len);
	s->pkt_len = pkt->len;
}

static void remember(struct seen *s, const struct flow *flow, const uint8_t *data, size_t len,
		     void *p)
{
	s->flow = *flow;
	s->peer = p;
	memcpy(s->data, data, len);
	s->len = len;
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *p)
{
	remember(arg, flow, data, len, p);
	seen.udp++;
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *p)
{
	remember(arg, flow, data, len, p);
	seen.seq = seq;
	seen.echo++;
}

static void on_refused(void *arg, const struct flow *flow)
{
	(void)arg;
	seen.flow = *flow;
	seen.refused++;
}

static const struct netstack_ops ops = {
	.output = on_output, .udp = on_udp, .echo = on_echo, .udp_refused = on_refused};

static struct flow make_flow(bool v6)
{
	struct flow f = {.sport = 5000, .dport = 53};

	assert_int_equal(ipaddr_parse(&f.src, v6 ? "fd00:1::2" : "198.18.0.9"), 0);
	assert_int_equal(ipaddr_parse(&f.dst, v6 ? "fd00:2::1" : "10.96.0.10"), 0);
	return f;
}

static void input(uint8_t *data, size_t len)
{
	struct pkt pkt = {.data = data, .len = (uint32_t)len};

	netstack_input(ns, &pkt, &peer);
}

/* What a client sends is made by the same builder, with the ends swapped. */
static void client_packet(void *arg, uint8_t *data, size_t len)
{
	(void)arg;
	input(data, len);
}

static void client_sends(const struct flow *f, const uint8_t *data, size_t len)
{
	struct flow back = {.src = f->dst, .dst = f->src, .sport = f->dport, .dport = f->sport};

	assert_int_equal(ip_build_udp(&back, data, len, client_packet, NULL), 0);
}

static uint64_t all_drops(void)
{
	uint64_t n = 0;

	for (int i = 0; i < NS_NUM_DROPS; i++)
		n += netstack_stats(ns)->drops[i];
	return n;
}

/* We open a flow, and its other end refuses it. */
static void refusal_is_told(void **state)
{
	(void)state;
	for (int v6 = 0; v6 <= 1; v6++) {
		struct flow f = make_flow(v6);
		uint8_t icmp[IP_BUILD_MAX];

		netstack_udp_send(ns, &f, (const uint8_t *)"hello", 5);
		assert_int_equal(seen.out, 1);
		input(icmp,
		      ip_build_unreachable(icmp, IP_UNREACHABLE_HOST, seen.pkt, seen.pkt_len));
		assert_int_equal(seen.refused, 0); /* not that */
		input(icmp,
		      ip_build_unreachable(icmp, IP_UNREACHABLE_PORT, seen.pkt, seen.pkt_len));
		assert_int_equal(seen.refused, 1);
		assert_true(flow_equal(&seen.flow, &f));
		seen.out = seen.refused = 0;
	}
}

/* Whole, and in fragments that the reassembler puts together. */
static void datagrams_arrive(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 512, 1392, 4000, 65000};
	static uint8_t data[65000];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 5 >> 1);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		struct flow f = make_flow(i % 2);
		memset(&seen, 0, sizeof(seen));
		client_sends(&f, data, sizes[i / 2]);
		assert_int_equal(seen.udp, 1);
		assert_true(flow_equal(&seen.flow, &f));
		assert_ptr_equal(seen.peer, &peer);
		assert_int_equal(seen.len, sizes[i / 2]);
		assert_memory_equal(seen.data, data, seen.len);
	}
	assert_int_equal(all_drops(), 0);
}

/* Wrong bytes in a whole packet are the AEAD's matter; in a reassembled one they are found here. */
static void corrupt(void *arg, uint8_t *data, size_t len)
{
	(void)arg;
	data[len - 1] ^= 1;
	input(data, len);
}

static void checksum_of_fragments(void **state)
{
	(void)state;
	static uint8_t data[4000];
	struct flow f = make_flow(false);
	struct flow back = {.src = f.dst, .dst = f.src, .sport = f.dport, .dport = f.sport};

	assert_int_equal(ip_build_udp(&back, data, 100, corrupt, NULL), 0);
	assert_int_equal(seen.udp, 1);
	assert_int_equal(ip_build_udp(&back, data, sizeof(data), corrupt, NULL), 0);
	assert_int_equal(seen.udp, 1);
	assert_int_equal(netstack_stats(ns)->drops[NS_DROP_CHECKSUM], 1);
}

/* Bytes that IP carries behind the UDP length are not the datagram's. */
static void udp_length_rules(void **state)
{
	(void)state;
	struct flow f = make_flow(false);
	uint8_t p[IP_BUILD_MAX] = {0};
	size_t len = ip_build_quote(p, &f, IP_PROTO_UDP, 0);

	put_be16(p + 2, (uint16_t)(len + 10));
	put_be16(p + 24, 8 + 3);
	input(p, len + 10);
	assert_int_equal(seen.udp, 1);
	assert_int_equal(seen.len, 3);
}

static void replies(void **state)
{
	(void)state;
	static uint8_t data[65508];

	for (int v6 = 0; v6 < 2; v6++) {
		struct flow f = make_flow(v6);
		memset(&seen, 0, sizeof(seen));
		netstack_udp_reply(ns, &f, (const uint8_t *)"answer", 6);
		assert_int_equal(seen.out, 1);
		assert_int_equal(seen.pkt_len, (v6 ? 40 : 20) + 8 + 6);
		assert_memory_equal(seen.pkt + seen.pkt_len - 6, "answer", 6);
		netstack_udp_reply(ns, &f, data, 3000);
		assert_int_equal(seen.out, 1 + 3);
		netstack_echo_reply(ns, &f, 7, data, 56);
		assert_int_equal(seen.out, 1 + 3 + 1);
	}
	struct flow f = make_flow(false);
	uint64_t before = netstack_stats(ns)->tx_packets;
	netstack_udp_reply(ns, &f, data, sizeof(data)); /* no such datagram */
	assert_int_equal(netstack_stats(ns)->tx_packets, before);
	assert_int_equal(netstack_stats(ns)->drops[NS_DROP_LENGTH], 1);
}

static void refusals(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct flow f = make_flow(v6), quoted;
		struct ip_info info;
		enum netstack_drop why;
		uint8_t proto;

		netstack_udp_refuse(ns, &f);
		assert_int_equal(ip_sanitize(&info, seen.pkt, seen.pkt_len, &why), IP_PASS);
		assert_true(ipaddr_equal(&info.dst, &f.src));
		assert_true(ip_checksum_ok(&info, seen.pkt));
		assert_true(ip_unreachable_parse(&info, seen.pkt, &quoted, &proto) < 0);
		assert_true(flow_equal(&quoted, &f));
		assert_int_equal(proto, IP_PROTO_UDP);
	}
}

static void echo_requests(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct flow f = make_flow(v6);
		uint8_t p[IP_BUILD_MAX] = {0};
		size_t len = ip_build_quote(p, &f, v6 ? IP_PROTO_ICMPV6 : IP_PROTO_ICMP, 0);
		uint8_t *icmp = p + len - 8;

		memcpy(icmp, (uint8_t[8]){v6 ? 128 : 8, 0, 0, 0, 0xab, 0xcd, 0, 9}, 8);
		input(p, len);
		assert_int_equal(seen.echo, v6 + 1);
		assert_int_equal(seen.flow.sport, 0xabcd);
		assert_int_equal(seen.flow.dport, 0);
		assert_true(ipaddr_equal(&seen.flow.dst, &f.dst));
		assert_int_equal(seen.seq, 9);
		assert_int_equal(seen.len, 0);
		icmp[0] = v6 ? 129 : 0; /* a reply: not ours to take */
		input(p, len);
		assert_int_equal(seen.echo, v6 + 1);
	}
	assert_int_equal(netstack_stats(ns)->drops[NS_DROP_ICMP], 2);
}

static int setup(void **state)
{
	(void)state;
	struct error e;

	memset(&seen, 0, sizeof(seen));
	base = event_base_new();
	return netstack_new(&ns, base, &ops, &seen, NULL, &e);
}

static int teardown(void **state)
{
	(void)state;
	netstack_free(ns);
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(datagrams_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(checksum_of_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(udp_length_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(replies, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(refusal_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(echo_requests, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
