/* SPDX-License-Identifier: Apache-2.0 */
/* The cutter: every segment is checked, field by field, against what RFC 9293 and a network card's
 * TSO make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/cut.h"
#include "node_packets.h"

static uint8_t packet[PKT_MAX + 600], original[PKT_MAX + 600], room[PKT_MAX + 600];
static unsigned in_place;

/* Cuts one packet and checks all of it. */
static void check_cut(const struct tcp_shape *s, size_t len, uint16_t gso, uint32_t fit)
{
	struct pkt pkt = {.data = packet, .len = (uint32_t)len, .gso = gso};
	size_t headers = len - s->payload, l4 = headers - 20 - s->tcp_options, n;
	const uint8_t *out;
	uint32_t size = fit - (uint32_t)headers, done = 0, index = 0;
	struct cut c;

	if (gso)
		size = MIN(size, gso);
	memcpy(original, packet, len);
	assert_true(cut_begin(&c, &pkt, fit));
	while ((out = cut_next(&c, room, &n))) {
		/* as sealing needs it, when it is in the packet */
		if (out != room) {
			assert_true(out >= packet + CUT_HEAD);
			assert_true(out + n + CUT_TAIL <= packet + len);
			in_place++;
		}
		uint32_t payload = (uint32_t)(n - headers);
		bool last = done + payload == s->payload;
		uint8_t flags = s->flags;

		assert_int_equal(payload, MIN(size, s->payload - done));
		if (!last)
			flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (index)
			flags &= (uint8_t)~TCP_CWR;
		assert_int_equal(out[l4 + 13], flags);
		assert_int_equal(get_be32(out + l4 + 4), s->seq + done);
		if (s->flow.src.family == 4) {
			assert_int_equal(get_be16(out + 2), n);
			assert_int_equal(get_be16(out + 4), (uint16_t)(s->id + index));
			assert_true(ip_header_right(out));
		} else {
			assert_int_equal(get_be16(out + 4), n - 40);
		}
		/* ports, ack, data offset, window, options: as they were */
		assert_memory_equal(out + l4, original + l4, 4);
		assert_memory_equal(out + l4 + 8, original + l4 + 8, 5);
		assert_memory_equal(out + l4 + 14, original + l4 + 14, 2);
		assert_memory_equal(out + l4 + 18, original + l4 + 18, 2U + s->tcp_options);
		assert_memory_equal(out + headers, original + headers + done, payload);
		done += payload;
		index++;
	}
	assert_int_equal(done, s->payload);
	assert_int_equal(index, (s->payload + size - 1) / size);
}

static void random_packets_are_cut_right(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct rng r = {seed};
		struct tcp_shape s = {
			.flow = make_flow(rng_next(&r) & 1 ? 4 : 6, 1, 2, 1000),
			.seq = (uint32_t)rng_next(&r), /* wraps in some */
			.flags =
				(uint8_t)(TCP_ACK | (rng_next(&r) & (TCP_FIN | TCP_PSH | TCP_CWR))),
			.ip_options = (uint8_t)(4 * rng_range(&r, 0, 10)),
			.tcp_options = (uint8_t)(4 * rng_range(&r, 0, 10)),
			.payload = rng_range(&r, 1, 65000),
			.id = (uint16_t)rng_next(&r),
		};
		size_t len;

		s.payload = MIN(s.payload, 65535U - 120);
		len = build_tcp(packet, &r, &s);
		check_cut(&s, len, (uint16_t)(rng_next(&r) & 1 ? 0 : rng_range(&r, 1, 1400)),
			  rng_range(&r, 512, INNER_MTU));
	}
	assert_true(in_place > 0);
}

static void last_segment_may_be_one_byte(void **state)
{
	struct rng r = {7};
	struct tcp_shape s = {
		.flow = make_flow(4, 1, 2, 1), .flags = TCP_ACK | TCP_PSH, .payload = 2 * 1380 + 1};

	(void)state;
	check_cut(&s, build_tcp(packet, &r, &s), 1380, INNER_MTU);
}

static void path_smaller_than_gso_decides(void **state)
{
	struct rng r = {8};
	struct tcp_shape s = {.flow = make_flow(6, 1, 2, 1),
			      .flags = TCP_ACK,
			      .tcp_options = 12,
			      .payload = 40000};

	(void)state;
	check_cut(&s, build_tcp(packet, &r, &s), 1348, 1200);
}

static void refuses_what_is_no_segment(void **state)
{
	struct rng r = {9};
	struct flow f = make_flow(4, 1, 2, 1);
	struct tcp_shape s = {.flow = f, .flags = TCP_ACK, .payload = 2000};
	struct pkt pkt = {.data = packet};
	struct cut c;

	(void)state;
	pkt.len = (uint32_t)build_udp(packet, &r, &f, 2000);
	assert_false(cut_begin(&c, &pkt, INNER_MTU));

	pkt.len = (uint32_t)build_tcp(packet, &r, &s);
	assert_true(cut_begin(&c, &pkt, INNER_MTU));
	assert_false(cut_begin(&c, &pkt, 40)); /* headers alone */
	packet[6] = 0x20;		       /* more fragments */
	assert_false(cut_begin(&c, &pkt, INNER_MTU));
	packet[6] = 0x40;
	packet[20 + 12] = 0x40; /* a TCP header of 16 bytes */
	assert_false(cut_begin(&c, &pkt, INNER_MTU));
	packet[20 + 12] = 0x50;
	put_be16(packet + 2, (uint16_t)(pkt.len + 1)); /* longer than it is */
	assert_false(cut_begin(&c, &pkt, INNER_MTU));
	pkt.len = 19;
	assert_false(cut_begin(&c, &pkt, INNER_MTU));

	s.payload = 0;
	pkt.len = (uint32_t)build_tcp(packet, &r, &s);
	assert_false(cut_begin(&c, &pkt, INNER_MTU));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_packets_are_cut_right),
		cmocka_unit_test(last_segment_may_be_one_byte),
		cmocka_unit_test(path_smaller_than_gso_decides),
		cmocka_unit_test(refuses_what_is_no_segment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
