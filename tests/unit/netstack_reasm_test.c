/* SPDX-License-Identifier: Apache-2.0 */
/* The reassembler of inner fragments: orders, overlaps, bounds, time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "netstack/ip_layer.h"

enum { MAX_PAYLOAD = 65535 };

static struct reasm *r;
static uint8_t payload[MAX_PAYLOAD];
static int peer_1, peer_2;

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 13 >> 3);
	return reasm_new(&r);
}

static int teardown(void **state)
{
	(void)state;
	reasm_free(r);
	r = NULL;
	return 0;
}

struct given {
	bool v6;
	uint32_t id;
	size_t off, len;
	bool more;
	void *peer;
	nsec_t now;
	uint8_t flip; /* other bytes than payload[] */
};

struct outcome {
	bool whole;
	enum netstack_drop why;
	const uint8_t *data;
	size_t len;
};

/* A fragment of a UDP packet (or what calls itself so), in exact heap memory, through sanitizer and
 * reassembler. */
static struct outcome input(const struct given *g)
{
	size_t h = g->v6 ? 48 : 20;
	uint8_t *p = calloc(1, h + g->len);
	struct outcome o = {.why = NS_NUM_DROPS};
	struct ip_info info;

	if (g->v6) {
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)(8 + g->len));
		p[6] = 44;
		p[7] = 64;
		p[8] = p[24] = 0xfd;
		p[23] = 1;
		p[39] = 2;
		p[40] = IP_PROTO_UDP;
		put_be16(p + 42, (uint16_t)(g->off | (g->more ? 1u : 0u)));
		put_be32(p + 44, g->id);
	} else {
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(h + g->len));
		put_be16(p + 4, (uint16_t)g->id);
		put_be16(p + 6, (uint16_t)(g->off / 8 | (g->more ? 0x2000 : 0)));
		p[8] = 64;
		p[9] = IP_PROTO_UDP;
		p[12] = p[16] = 10;
		p[19] = 1;
		ip4_header_checksum(p);
	}
	for (size_t i = 0; i < g->len; i++)
		p[h + i] = payload[g->off + i] ^ g->flip;
	if (ip_sanitize(&info, p, h + g->len, &o.why) != IP_REASSEMBLE) {
		free(p);
		fail_msg("no fragment");
	}
	o.whole = reasm_input(r, g->now, &info, p, g->peer, &o.data, &o.len, &o.why);
	free(p);
	return o;
}

static void expect_kept(const struct given *g)
{
	struct outcome o = input(g);

	assert_false(o.whole);
	assert_int_equal(o.why, NS_NUM_DROPS);
}

static void expect_dropped(const struct given *g, enum netstack_drop why)
{
	struct outcome o = input(g);

	assert_false(o.whole);
	assert_int_equal(o.why, why);
}

static void expect_whole(const struct given *g, size_t len)
{
	struct outcome o = input(g);
	struct ip_info info;
	size_t h = g->v6 ? 40 : 20;

	assert_true(o.whole);
	assert_int_equal(o.len, h + len);
	assert_int_equal(ip_parse(&info, o.data, o.len), 0);
	assert_false(info.fragment);
	assert_int_equal(info.proto, IP_PROTO_UDP);
	assert_int_equal(info.total, o.len);
	assert_int_equal(info.l4, h);
	assert_memory_equal(o.data + h, payload, len);
	if (!g->v6)
		assert_int_equal(ip_fold(ip_sum(o.data, 20, 0)), 0);
}

/* Every order of four fragments, both versions; the last has an odd length. */
static void any_order(void **state)
{
	(void)state;
	struct given f[4];

	for (unsigned perm = 0; perm < 256; perm++) {
		unsigned order[4] = {perm & 3, perm >> 2 & 3, perm >> 4 & 3, perm >> 6};
		unsigned set = 1u << order[0] | 1u << order[1] | 1u << order[2] | 1u << order[3];
		if (set != 15)
			continue;
		for (int v6 = 0; v6 < 2; v6++) {
			for (unsigned i = 0; i < 4; i++)
				f[i] = (struct given){.v6 = v6,
						      .id = perm,
						      .off = i * 1376,
						      .len = i < 3 ? 1376 : 77,
						      .more = i < 3};
			for (unsigned i = 0; i < 3; i++)
				expect_kept(&f[order[i]]);
			expect_whole(&f[order[3]], 3 * 1376 + 77);
			assert_int_equal(reasm_bytes(r), 0);
		}
	}
}

static void the_largest(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		size_t total = MAX_PAYLOAD - (v6 ? 40 : 20), off = 0;
		for (; off + 1024 < total; off += 1024)
			expect_kept(
				&(struct given){.v6 = v6, .off = off, .len = 1024, .more = true});
		expect_whole(&(struct given){.v6 = v6, .off = off, .len = total - off}, total);
		/* One byte more would not fit a packet. */
		expect_dropped(
			&(struct given){.v6 = v6, .id = 1, .off = off, .len = total - off + 1},
			NS_DROP_FRAGMENT);
	}
	/* The last offset there is, with much behind it. */
	expect_dropped(&(struct given){.id = 9, .off = 65528 - 1400, .len = 1400, .more = true},
		       NS_DROP_FRAGMENT);
}

static void keys_are_apart(void **state)
{
	(void)state;
	struct given a = {.id = 5, .off = 0, .len = 800, .more = true, .peer = &peer_1};
	struct given other_id = a, other_peer = a, other_version = a;
	struct given rest = {.id = 5, .off = 800, .len = 5, .peer = &peer_1};

	other_id.id = 6;
	other_peer.peer = &peer_2;
	other_version.v6 = true;
	expect_kept(&a);
	expect_kept(&other_id);
	expect_kept(&other_peer);
	expect_kept(&other_version);
	expect_whole(&rest, 805);
	expect_kept(&rest); /* of a new datagram: the old one is done */
}

static void duplicates_are_ignored(void **state)
{
	(void)state;
	struct given a = {.off = 0, .len = 800, .more = true}, b = {.off = 800, .len = 9};

	expect_kept(&a);
	expect_kept(&a);
	expect_whole(&b, 809);
}

/* RFC 5722: the datagram is over, also for what comes later; until its time has passed. */
static void overlaps_end_the_datagram(void **state)
{
	(void)state;
	static const struct given overlap[] = {
		{.off = 800, .len = 800, .more = true, .flip = 1}, /* same place, other bytes */
		{.off = 792, .len = 800, .more = true},
		{.off = 808, .len = 8, .more = true},
		{.off = 0, .len = 808, .more = true},
		{.off = 0, .len = 2400, .more = true},
		{.off = 1592, .len = 100},
	};

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(overlap); i++) {
		struct given bad = overlap[i / 2];
		bool v6 = bad.v6 = i % 2;
		bad.id = i;
		struct given mid = {.v6 = v6, .id = i, .off = 800, .len = 800, .more = true};
		struct given first = {.v6 = v6, .id = i, .off = 0, .len = 800, .more = true};
		struct given last = {.v6 = v6, .id = i, .off = 1600, .len = 10};

		expect_kept(&mid);
		expect_dropped(&bad, NS_DROP_FRAGMENT);
		assert_int_equal(reasm_bytes(r), 0);
		expect_dropped(&first, NS_DROP_FRAGMENT);
		expect_dropped(&mid, NS_DROP_FRAGMENT);
		expect_dropped(&last, NS_DROP_FRAGMENT);
		first.now = mid.now = last.now = 15 * NSEC_PER_SEC;
		expect_kept(&first);
		expect_kept(&mid);
		expect_whole(&last, 1610);
		teardown(NULL);
		setup(NULL);
	}
}

static void malformed(void **state)
{
	(void)state;
	expect_dropped(&(struct given){.id = 1, .off = 0, .len = 801, .more = true},
		       NS_DROP_FRAGMENT);
	expect_dropped(&(struct given){.id = 2, .off = 800, .len = 0}, NS_DROP_FRAGMENT);
	expect_dropped(&(struct given){.id = 3, .off = 0, .len = 0, .more = true},
		       NS_DROP_FRAGMENT);
	/* Two ends that differ, and bytes behind the end. */
	expect_kept(&(struct given){.id = 4, .off = 800, .len = 10});
	expect_dropped(&(struct given){.id = 4, .off = 1600, .len = 10}, NS_DROP_FRAGMENT);
	expect_kept(&(struct given){.id = 5, .off = 1600, .len = 16, .more = true});
	expect_dropped(&(struct given){.id = 5, .off = 800, .len = 10}, NS_DROP_FRAGMENT);
	expect_kept(&(struct given){.id = 6, .off = 800, .len = 8});
	expect_dropped(&(struct given){.id = 6, .off = 808, .len = 8, .more = true},
		       NS_DROP_FRAGMENT);
}

/* RFC 6946: a packet with a fragment header that is no fragment. */
static void atomic_fragments(void **state)
{
	(void)state;
	struct given start = {.v6 = true, .off = 0, .len = 800, .more = true};

	expect_kept(&start);
	expect_whole(&(struct given){.v6 = true, .off = 0, .len = 123}, 123);
	expect_whole(&(struct given){.v6 = true, .off = 800, .len = 3},
		     803); /* the other of that id is untouched */
}

/* Extension headers in front of the fragment header stay, and name what follows it. */
static void extension_headers_stay(void **state)
{
	(void)state;
	uint8_t p[40 + 8 + 8 + 16] = {0x60};
	struct ip_info info;
	enum netstack_drop why;
	const uint8_t *whole;
	size_t len;

	for (int i = 0; i < 2; i++) {
		put_be16(p + 4, 32);
		p[6] = 60; /* destination options */
		p[8] = p[24] = 0xfd;
		p[39] = 2;
		p[40] = 44;
		p[42] = 1; /* PadN 4 */
		p[43] = 4;
		p[48] = IP_PROTO_UDP;
		put_be16(p + 50, (uint16_t)(i ? 16 : 1));
		memcpy(p + 56, payload + (i ? 16 : 0), 16);
		assert_int_equal(ip_sanitize(&info, p, sizeof(p), &why), IP_REASSEMBLE);
		assert_int_equal(reasm_input(r, 0, &info, p, NULL, &whole, &len, &why), i == 1);
	}
	assert_int_equal(len, 48 + 32);
	assert_int_equal(ip_parse(&info, whole, len), 0);
	assert_int_equal(info.proto, IP_PROTO_UDP);
	assert_int_equal(info.l4, 48);
	assert_false(info.fragment);
	assert_memory_equal(whole + 48, payload, 32);
}

static void time_passes(void **state)
{
	(void)state;
	struct given a = {.off = 0, .len = 800, .more = true, .now = NSEC_PER_SEC};
	struct given b = {.off = 800, .len = 8, .now = 16 * NSEC_PER_SEC - 1};

	expect_kept(&a);
	expect_whole(&b, 808); /* just in time */
	expect_kept(&a);
	b.now = 16 * NSEC_PER_SEC;
	expect_kept(&b); /* too late: alone in a new datagram */
	assert_true(reasm_bytes(r) < 200);
}

/* Whoever floods throws out his own; the other's datagram is still completed. */
static void a_flood_evicts_itself(void **state)
{
	(void)state;
	unsigned dropped = 0;

	expect_kept(&(struct given){.id = 7, .off = 0, .len = 800, .more = true, .peer = &peer_1});
	for (uint32_t i = 0; i < 1000; i++) {
		struct outcome o = input(&(struct given){
			.id = i, .off = 0, .len = 1400, .more = true, .peer = &peer_2, .now = i});
		assert_false(o.whole);
		dropped += o.why == NS_DROP_REASM_FULL;
		assert_true(reasm_bytes(r) <= NETSTACK_REASM_BYTES);
	}
	assert_int_equal(dropped, 1000 - (NETSTACK_REASM_PACKETS - 1));
	expect_whole(&(struct given){.id = 7, .off = 800, .len = 1, .peer = &peer_1}, 801);
}

static void memory_is_bounded(void **state)
{
	(void)state;
	unsigned full = 0;

	/* 60 datagrams of nearly 64 KiB, none complete: 3.7 MiB wanted. */
	expect_kept(
		&(struct given){.id = 999, .off = 0, .len = 800, .more = true, .peer = &peer_1});
	for (uint32_t id = 0; id < 60; id++) {
		for (size_t off = 1400; off < 64400; off += 1400) {
			struct outcome o = input(&(struct given){.id = id,
								 .off = off,
								 .len = 1400,
								 .more = true,
								 .peer = &peer_2,
								 .now = id});
			assert_false(o.whole);
			full += o.why == NS_DROP_REASM_FULL;
			assert_true(reasm_bytes(r) <= NETSTACK_REASM_BYTES);
		}
	}
	assert_true(full > 0);
	assert_true(reasm_bytes(r) > NETSTACK_REASM_BYTES / 2);
	expect_whole(&(struct given){.id = 999, .off = 800, .len = 1, .peer = &peer_1}, 801);
}

/* 64 KiB in pieces of 8 bytes would be 8,191 list entries: refused after 128. */
static void tiny_fragments(void **state)
{
	(void)state;
	unsigned i;

	for (i = 0; i < 128; i++)
		expect_kept(&(struct given){.off = 8 * (i + 1), .len = 8, .more = true});
	expect_dropped(&(struct given){.off = 8 * (i + 1), .len = 8, .more = true},
		       NS_DROP_FRAGMENT);
	assert_int_equal(reasm_bytes(r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_order, setup, teardown),
		cmocka_unit_test_setup_teardown(the_largest, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_are_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(duplicates_are_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(overlaps_end_the_datagram, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(atomic_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(extension_headers_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(time_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flood_evicts_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(tiny_fragments, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
