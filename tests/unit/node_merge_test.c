/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coalescer, against a model that is one sentence: cutting what comes out gives, per flow,
 * exactly the packets that went in, in their order. Then: it really puts together what it can.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "node/cut.h"
#include "node/merge.h"
#include "node_packets.h"

enum { PACKETS_MAX = 4096, FLOWS = 24 };

struct record {
	void *owner;
	size_t len;
	uint8_t data[INNER_MTU];
};

static struct record in[PACKETS_MAX], came[PACKETS_MAX];
static unsigned n_in, n_came, n_delivered, n_super;
static uint8_t scratch[PKT_MAX + 600];
static int owners[2];

static void record(struct record *list, unsigned *n, void *owner, const uint8_t *data, size_t len)
{
	assert_true(*n < PACKETS_MAX && len <= INNER_MTU);
	list[*n].owner = owner;
	list[*n].len = len;
	memcpy(list[*n].data, data, len);
	mask_packet(list[*n].data, len);
	++*n;
}

/* Cuts what is delivered, and remembers the segments. */
static void on_delivered(void *arg, void *owner, struct pkt *pkt)
{
	static uint8_t piece[PKT_MAX];
	struct cut c;
	size_t n;

	(void)arg;
	n_delivered++;
	assert_true(ip_header_right(pkt->data));
	if (!pkt->gso) {
		record(came, &n_came, owner, pkt->data, pkt->len);
		return;
	}
	n_super++;
	assert_true(cut_begin(&c, pkt, PKT_MAX));
	assert_true(c.head.payload > pkt->gso);
	for (uint8_t *s; (s = cut_next(&c, piece, &n));)
		record(came, &n_came, owner, s, n);
}

static struct merge *begin(void)
{
	struct merge *m;

	n_in = n_came = n_delivered = n_super = 0;
	assert_int_equal(merge_new(&m, on_delivered, NULL), 0);
	return m;
}

static void give(struct merge *m, void *owner, uint8_t *data, size_t len)
{
	record(in, &n_in, owner, data, len);
	merge_packet(m, owner, data, len);
}

static bool same_flow(const struct record *a, const struct record *b)
{
	size_t l4a = a->data[0] >> 4 == 4 ? (size_t)(a->data[0] & 15) * 4 : 40;
	size_t l4b = b->data[0] >> 4 == 4 ? (size_t)(b->data[0] & 15) * 4 : 40;

	return a->owner == b->owner && a->data[0] >> 4 == b->data[0] >> 4 &&
	       a->data[a->data[0] >> 4 == 4 ? 9 : 6] == b->data[b->data[0] >> 4 == 4 ? 9 : 6] &&
	       !memcmp(a->data + l4a, b->data + l4b, 4);
}

/* Everything came, once, in order per flow. */
static void check_model(uint64_t seed)
{
	static bool used[PACKETS_MAX];

	if (n_in != n_came)
		print_error("seed %lu: %u in, %u out\n", seed, n_in, n_came);
	assert_int_equal(n_in, n_came);
	memset(used, 0, sizeof(used));
	for (unsigned i = 0; i < n_in; i++) {
		unsigned j = 0;

		while (j < n_came && (used[j] || !same_flow(&in[i], &came[j])))
			j++;
		if (j == n_came || in[i].len != came[j].len ||
		    memcmp(in[i].data, came[j].data, in[i].len) != 0)
			fail_msg("seed %lu: packet %u is not next in its flow (found %u)", seed, i,
				 j);
		used[j] = true;
	}
}

static size_t segment(struct rng *r, uint8_t family, uint16_t sport, uint32_t seq, uint32_t payload,
		      uint8_t flags)
{
	struct tcp_shape s = {.flow = make_flow(family, 1, 2, sport),
			      .seq = seq,
			      .flags = flags,
			      .tcp_options = 12,
			      .payload = payload};

	return build_tcp(scratch, r, &s);
}

/* Flows that send, lose, repeat, answer, push and end at random, interleaved; from two peers. */
static void any_mixture_keeps_every_flow(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct rng r = {seed};
		struct merge *m = begin();
		unsigned nflows = rng_range(&r, 1, FLOWS);
		uint32_t seq[FLOWS], mss[FLOWS];

		for (unsigned i = 0; i < FLOWS; i++) {
			seq[i] = (uint32_t)rng_next(&r);
			mss[i] = rng_range(&r, 1, 1340);
		}
		for (unsigned i = 0; i < 1000; i++) {
			unsigned f = rng_range(&r, 0, nflows - 1);
			uint32_t odd = rng_range(&r, 0, 60), payload = mss[f];
			uint8_t flags = TCP_ACK, family = f & 1 ? 4 : 6;
			struct flow udp = make_flow(family, 1, 2, (uint16_t)(f + 1));
			size_t len;

			if (odd == 0)
				payload = rng_range(&r, 0, 1340);
			else if (odd == 1)
				flags |= TCP_PSH;
			else if (odd == 2)
				flags |= TCP_FIN;
			else if (odd == 3)
				seq[f] += mss[f]; /* lost */
			else if (odd == 4)
				seq[f] -= mss[f]; /* repeated */
			else if (odd == 5)
				payload = 0;
			len = segment(&r, family, (uint16_t)(f + 1), seq[f], payload, flags);
			seq[f] += payload;
			if (odd == 6)
				len = build_udp(scratch, &r, &udp, payload);
			else if (odd == 7)
				scratch[family == 4 ? 8 : 7] = 63; /* another way */
			else if (odd == 8)
				scratch[len - mss[f] - 1] ^= 3; /* another option */
			if (family == 4)
				ip4_header_checksum(scratch);
			give(m, &owners[f % 3 == 0], scratch, len);
			if (odd == 9)
				merge_flush(m);
		}
		merge_flush(m);
		check_model(seed);
		merge_free(m);
	}
}

static void interleaved_flows_become_one_packet_each(void **state)
{
	struct rng r = {1};
	struct merge *m = begin();

	(void)state;
	for (uint32_t i = 0; i < 40; i++)
		for (uint16_t f = 0; f < MERGE_RUNS; f++)
			give(m, &owners[0], scratch,
			     segment(&r, f & 1 ? 4 : 6, f, 5 + i * 1340, 1340, TCP_ACK));
	assert_int_equal(n_delivered, 0);
	merge_flush(m);
	assert_int_equal(n_delivered, MERGE_RUNS);
	assert_int_equal(n_super, MERGE_RUNS);
	check_model(0);
	merge_free(m);
}

static void one_flow_too_many_sends_the_oldest_on(void **state)
{
	struct rng r = {2};
	struct merge *m = begin();

	(void)state;
	for (uint16_t f = 0; f <= MERGE_RUNS; f++)
		give(m, &owners[0], scratch, segment(&r, 4, f, 0, 1000, TCP_ACK));
	assert_int_equal(n_delivered, 1);
	assert_int_equal(get_be16(came[0].data + 20), 0);
	merge_flush(m);
	check_model(0);
	merge_free(m);
}

/* 64 KiB is all that fits an IP packet: then the next run begins. */
static void run_ends_at_64_kib(void **state)
{
	struct rng r = {3};
	struct merge *m = begin();

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		give(m, &owners[0], scratch, segment(&r, 4, 1, i * 1340, 1340, TCP_ACK));
	assert_int_equal(n_delivered, 2); /* 48 segments each */
	merge_flush(m);
	assert_int_equal(n_delivered, 3);
	check_model(0);
	merge_free(m);
}

static void super_packet_survives_cut_and_merge(void **state)
{
	static uint8_t original[PKT_MAX], piece[INNER_MTU];

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct rng r = {seed};
		uint8_t family = seed & 1 ? 4 : 6;
		struct tcp_shape s = {.flow = make_flow(family, 1, 2, 9),
				      .seq = (uint32_t)rng_next(&r),
				      .flags = TCP_ACK | TCP_PSH,
				      .tcp_options = 12,
				      .payload = rng_range(&r, 1400, 60000)};
		struct pkt pkt = {.data = original, .gso = 1340};
		struct merge *m = begin();
		struct cut c;
		size_t n;

		pkt.len = (uint32_t)build_tcp(original, &r, &s);
		assert_true(cut_begin(&c, &pkt, INNER_MTU));
		for (uint8_t *p; (p = cut_next(&c, piece, &n));)
			give(m, &owners[0], p, n);
		assert_int_equal(n_delivered, 1); /* PSH ended it */
		assert_int_equal(n_super, 1);
		check_model(seed);
		merge_free(m);
	}
}

static struct pkt delivered[8];
static uint32_t delivered_seq[8];

static void on_order(void *arg, void *owner, struct pkt *pkt)
{
	struct segment s;

	(void)arg;
	assert_ptr_equal(owner, &owners[0]);
	assert_true(n_delivered < ARRAY_SIZE(delivered));
	assert_true(segment_parse(&s, pkt->data, pkt->len));
	delivered_seq[n_delivered] = s.seq;
	delivered[n_delivered++] = *pkt;
}

/* It came over a stream: it neither joins a run nor overtakes one, and gets a segment size. */
static void whole_super_packet_keeps_its_place(void **state)
{
	static const uint32_t payload[] = {1000, 1000, 30000, 1000, 1000}, seq[] = {0, 2000, 32000};

	(void)state;
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct rng r = {6};
		struct merge *m;
		uint32_t at = 0, headers = family == 4 ? 52 : 72;

		n_delivered = 0;
		assert_int_equal(merge_new(&m, on_order, NULL), 0);
		for (size_t i = 0; i < ARRAY_SIZE(payload); i++) {
			merge_packet(m, &owners[0], scratch,
				     segment(&r, family, 1, at, payload[i], TCP_ACK));
			at += payload[i];
		}
		assert_int_equal(n_delivered, 2);
		merge_flush(m);
		assert_int_equal(n_delivered, 3);
		assert_memory_equal(delivered_seq, seq, sizeof(seq));
		assert_int_equal(delivered[0].len, headers + 2000);
		assert_int_equal(delivered[0].gso, 1000);
		assert_int_equal(delivered[1].len, headers + 30000);
		assert_int_equal(delivered[1].gso, INNER_MTU - headers);
		assert_int_equal(delivered[2].len, headers + 2000);
		merge_free(m);
	}
}

/* Changes one byte of the second of two segments; they may not become one. */
static void check_not_merged(uint8_t family, size_t at, uint8_t bits)
{
	struct rng r = {4};
	struct merge *m = begin();
	size_t len;

	give(m, &owners[0], scratch, segment(&r, family, 1, 0, 1000, TCP_ACK));
	len = segment(&r, family, 1, 1000, 1000, TCP_ACK);
	scratch[at] ^= bits;
	if (family == 4)
		ip4_header_checksum(scratch);
	give(m, &owners[0], scratch, len);
	merge_flush(m);
	if (n_super)
		fail_msg("IPv%d: merged in spite of a difference at %zu", family, at);
	assert_int_equal(n_delivered, 2);
	check_model(0);
	merge_free(m);
}

static void differing_headers_are_not_merged(void **state)
{
	static const struct {
		size_t at;
		uint8_t bits;
	} ip4[] = {{1, 1}, {6, 0x40}, {8, 1}, {15, 1}, {19, 1}},
	  ip6[] = {{1, 1}, {3, 1}, {7, 1}, {23, 1}, {39, 1}},
	  tcp[] = {{1, 1},	  {3, 1},	 {7, 1},	{8, 1},	       {11, 1},
		   {12, 1},	  {13, TCP_URG}, {13, TCP_ECE}, {13, TCP_CWR}, {13, TCP_RST},
		   {13, TCP_SYN}, {13, TCP_FIN}, {13, TCP_ACK}, {15, 1},       {19, 1},
		   {20, 1},	  {31, 1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ip4); i++)
		check_not_merged(4, ip4[i].at, ip4[i].bits);
	for (size_t i = 0; i < ARRAY_SIZE(ip6); i++)
		check_not_merged(6, ip6[i].at, ip6[i].bits);
	for (size_t i = 0; i < ARRAY_SIZE(tcp); i++) {
		check_not_merged(4, 20 + tcp[i].at, tcp[i].bits);
		check_not_merged(6, 40 + tcp[i].at, tcp[i].bits);
	}
}

static void peers_are_kept_apart(void **state)
{
	struct rng r = {5};
	struct merge *m = begin();

	(void)state;
	give(m, &owners[0], scratch, segment(&r, 4, 1, 0, 1000, TCP_ACK));
	give(m, &owners[1], scratch, segment(&r, 4, 1, 1000, 1000, TCP_ACK));
	merge_flush(m);
	assert_int_equal(n_delivered, 2);
	assert_int_equal(n_super, 0);
	check_model(0);
	merge_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_mixture_keeps_every_flow),
		cmocka_unit_test(interleaved_flows_become_one_packet_each),
		cmocka_unit_test(one_flow_too_many_sends_the_oldest_on),
		cmocka_unit_test(run_ends_at_64_kib),
		cmocka_unit_test(super_packet_survives_cut_and_merge),
		cmocka_unit_test(whole_super_packet_keeps_its_place),
		cmocka_unit_test(differing_headers_are_not_merged),
		cmocka_unit_test(peers_are_kept_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
