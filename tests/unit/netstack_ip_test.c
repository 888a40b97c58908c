/* SPDX-License-Identifier: Apache-2.0 */
/* The IP layer in front of TCP: what the sanitizer lets through, and what the builders make, byte
 * by byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "netstack/ip_layer.h"

static struct ipaddr addr(const char *text)
{
	struct ipaddr a;

	assert_int_equal(ipaddr_parse(&a, text), 0);
	return a;
}

static struct flow make_flow(bool v6)
{
	return (struct flow){
		.src = addr(v6 ? "fd00:1::2" : "198.18.0.9"),
		.dst = addr(v6 ? "fd00:2::1" : "10.96.0.10"),
		.sport = 40000,
		.dport = 80,
	};
}

/* An exact heap copy, so that ASan sees any step over the end, then the sanitizer. */
static enum ip_verdict sanitize(const uint8_t *pkt, size_t len, struct ip_info *info,
				enum netstack_drop *why)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, pkt, len);
	enum ip_verdict v = ip_sanitize(info, len ? copy : copy + 1, len, why);
	free(copy);
	return v;
}

static void expect_drop(const uint8_t *pkt, size_t len, enum netstack_drop expected)
{
	struct ip_info info;
	enum netstack_drop why = NS_NUM_DROPS;

	assert_int_equal(sanitize(pkt, len, &info, &why), IP_DROP);
	assert_int_equal(why, expected);
}

static void expect_pass(const uint8_t *pkt, size_t len)
{
	struct ip_info info;
	enum netstack_drop why = NS_NUM_DROPS;

	if (sanitize(pkt, len, &info, &why) != IP_PASS)
		fail_msg("dropped: %d", why);
}

/* A header for `l4` bytes that follow; where they go is returned. */
static uint8_t *header(uint8_t *p, bool v6, uint8_t proto, size_t l4)
{
	struct flow f = make_flow(v6);

	memset(p, 0, 40);
	if (v6) {
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)l4);
		p[6] = proto;
		p[7] = 64;
		memcpy(p + 8, f.src.b, 16);
		memcpy(p + 24, f.dst.b, 16);
		return p + 40;
	}
	p[0] = 0x45;
	put_be16(p + 2, (uint16_t)(20 + l4));
	p[8] = 64;
	p[9] = proto;
	memcpy(p + 12, f.src.b, 4);
	memcpy(p + 16, f.dst.b, 4);
	ip4_header_checksum(p);
	return p + 20;
}

/* A TCP segment with `opt` as options (padded by the caller to 4); its length. */
static size_t tcp(uint8_t *p, bool v6, uint8_t flags, const void *opt, size_t optlen,
		  size_t payload)
{
	uint8_t *t = header(p, v6, IP_PROTO_TCP, 20 + optlen + payload);

	memset(t, 0, 20 + optlen + payload);
	put_be16(t, 40000);
	put_be16(t + 2, 80);
	t[12] = (uint8_t)((20 + optlen) / 4 << 4);
	t[13] = flags;
	if (optlen)
		memcpy(t + 20, opt, optlen);
	return (size_t)(t - p) + 20 + optlen + payload;
}

static void tcp_passes(void **state)
{
	(void)state;
	static const uint8_t linux_syn[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
					    3, 4, 0, 0,	   0, 0, 1, 3,	3, 7};
	static const uint8_t sack[] = {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2};
	static const uint8_t unknown[] = {254, 6, 1, 2, 3, 4, 0, 99}; /* behind END anything goes */
	uint8_t p[2000];

	for (int v6 = 0; v6 < 2; v6++) {
		expect_pass(p, tcp(p, v6, TCP_SYN, linux_syn, sizeof(linux_syn), 0));
		expect_pass(p, tcp(p, v6, TCP_ACK, sack, sizeof(sack), 1000));
		expect_pass(p, tcp(p, v6, TCP_ACK | TCP_FIN, NULL, 0, 0));
		expect_pass(p, tcp(p, v6, TCP_RST, unknown, sizeof(unknown), 0));
	}
}

static void tcp_options(void **state)
{
	(void)state;
	static const struct {
		uint8_t len, bytes[12];
	} bad[] = {
		{4, {1, 1, 1, 2}}, /* a kind without length at the very end: lwIP's over-read */
		{4, {1, 1, 2, 4}}, /* MSS, its value cut off */
		{4, {3, 0, 0, 0}}, /* length 0: an endless loop */
		{4, {3, 1, 0, 0}}, /* length 1 */
		{4, {2, 3, 5, 1}}, /* MSS of another length */
		{4, {3, 4, 7, 0}}, /* window scale of another length */
		{4, {4, 3, 0, 0}}, /* SACK permitted */
		{12, {8, 11, 0}},  /* timestamps */
		{12, {8, 9, 0}},   /* timestamps */
		{12, {5, 9, 0}},   /* SACK: no multiple of 8 */
		{8, {1, 1, 1, 1, 1, 1, 254, 200}}, /* unknown, beyond the end */
	};
	uint8_t p[2000];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (int v6 = 0; v6 < 2; v6++)
			expect_drop(p, tcp(p, v6, TCP_SYN, bad[i].bytes, bad[i].len, 0),
				    NS_DROP_TCP_OPTIONS);
	}
	/* The 44 bytes of IPv4 that crash lwIP 2.1.3 and 2.2.1. */
	static const uint8_t over[] = {1, 1, 1, 2};
	size_t len = tcp(p, false, TCP_SYN, over, 4, 0);
	assert_int_equal(len, 44);
	expect_drop(p, len, NS_DROP_TCP_OPTIONS);
}

static void tcp_header(void **state)
{
	(void)state;
	static const uint8_t flags_bad[] = {0,
					    TCP_FIN,
					    TCP_PSH | TCP_URG | TCP_FIN,
					    TCP_SYN | TCP_FIN,
					    TCP_SYN | TCP_RST,
					    TCP_SYN | TCP_FIN | TCP_ACK};
	uint8_t p[200];

	for (size_t i = 0; i < ARRAY_SIZE(flags_bad); i++)
		expect_drop(p, tcp(p, false, flags_bad[i], NULL, 0, 0), NS_DROP_TCP_HEADER);
	for (int v6 = 0; v6 < 2; v6++) {
		size_t h = v6 ? 40 : 20;
		size_t len = tcp(p, v6, TCP_ACK, NULL, 0, 3);
		p[h + 12] = 4 << 4; /* offset below 20 */
		expect_drop(p, len, NS_DROP_TCP_HEADER);
		p[h + 12] = 6 << 4; /* beyond the segment (23 bytes) */
		expect_drop(p, len, NS_DROP_TCP_HEADER);
		p[h + 12] = 5 << 4;
		put_be16(p + h, 0);
		expect_drop(p, len, NS_DROP_TCP_HEADER);
		put_be16(p + h, 1);
		put_be16(p + h + 2, 0);
		expect_drop(p, len, NS_DROP_TCP_HEADER);
		header(p, v6, IP_PROTO_TCP, 19);
		expect_drop(p, h + 19, NS_DROP_TCP_HEADER);
	}
	/* Found and checked behind extension headers, too. */
	uint8_t *ext = header(p, true, 60, 28);
	memset(ext, 0, 28);
	ext[0] = IP_PROTO_TCP;
	ext[2] = 1; /* PadN 4 */
	ext[3] = 4;
	put_be16(ext + 8, 1);
	put_be16(ext + 10, 1);
	ext[20] = 5 << 4;
	ext[21] = TCP_SYN;
	expect_pass(p, 68);
	ext[20] = 4 << 4;
	expect_drop(p, 68, NS_DROP_TCP_HEADER);
}

static void ip_header(void **state)
{
	(void)state;
	uint8_t p[300];
	struct ip_info info;
	enum netstack_drop why;
	size_t len = tcp(p, false, TCP_ACK, NULL, 0, 10);

	expect_drop(p, 0, NS_DROP_VERSION);
	for (size_t cut = 1; cut < len; cut++)
		expect_drop(p, cut, NS_DROP_LENGTH);
	/* Padding behind the packet is cut. */
	memset(p + len, 0xaa, 6);
	assert_int_equal(sanitize(p, len + 6, &info, &why), IP_PASS);
	assert_int_equal(info.total, len);
	p[0] = 0x44; /* header length below 20 */
	expect_drop(p, len, NS_DROP_LENGTH);
	p[0] = 0x55;
	expect_drop(p, len, NS_DROP_VERSION);
	len = tcp(p, true, TCP_ACK, NULL, 0, 10);
	for (size_t cut = 1; cut < len; cut++)
		expect_drop(p, cut, NS_DROP_LENGTH);
	header(p, false, 132, 20); /* SCTP */
	expect_drop(p, 40, NS_DROP_PROTO);
	header(p, false, IP_PROTO_ICMPV6, 20); /* of the other version */
	expect_drop(p, 40, NS_DROP_PROTO);
	header(p, true, IP_PROTO_ICMP, 20);
	expect_drop(p, 60, NS_DROP_PROTO);
}

static void addresses(void **state)
{
	(void)state;
	static const char *const bad4[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
					   "10.96.0.10"};
	static const char *const bad6[] = {"::", "::1", "ff02::1", "fd00:2::1"};
	uint8_t p[100];
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(bad4); i++) {
		len = tcp(p, false, TCP_SYN, NULL, 0, 0);
		memcpy(p + 12, addr(bad4[i]).b, 4); /* the last one is its own destination */
		expect_drop(p, len, NS_DROP_SOURCE);
		len = tcp(p, false, TCP_SYN, NULL, 0, 0);
		memcpy(p + 16, addr(i < 4 ? bad4[i] : "198.18.0.9").b, 4);
		expect_drop(p, len, NS_DROP_SOURCE);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad6); i++) {
		len = tcp(p, true, TCP_SYN, NULL, 0, 0);
		memcpy(p + 8, addr(bad6[i]).b, 16);
		expect_drop(p, len, NS_DROP_SOURCE);
	}
}

static void udp_and_icmp(void **state)
{
	(void)state;
	uint8_t p[200];

	for (int v6 = 0; v6 < 2; v6++) {
		size_t h = v6 ? 40 : 20;
		uint8_t *u = header(p, v6, IP_PROTO_UDP, 20);
		memset(u, 0, 20);
		put_be16(u + 2, 53);
		put_be16(u + 4, 20);
		expect_pass(p, h + 20);
		put_be16(u + 4, 8); /* shorter than what IP carries: the rest is no one's */
		expect_pass(p, h + 20);
		put_be16(u + 4, 21);
		expect_drop(p, h + 20, NS_DROP_UDP_HEADER);
		put_be16(u + 4, 7);
		expect_drop(p, h + 20, NS_DROP_UDP_HEADER);
		put_be16(u + 4, 20);
		put_be16(u + 2, 0);
		expect_drop(p, h + 20, NS_DROP_UDP_HEADER);
		header(p, v6, IP_PROTO_UDP, 7);
		expect_drop(p, h + 7, NS_DROP_UDP_HEADER);

		uint8_t *i = header(p, v6, v6 ? IP_PROTO_ICMPV6 : IP_PROTO_ICMP, 8);
		memset(i, 0, 8);
		i[0] = v6 ? 128 : 8;
		expect_pass(p, h + 8);
		i[1] = 1;
		expect_drop(p, h + 8, NS_DROP_ICMP);
		i[1] = 3;
		i[0] = v6 ? 1 : 3;
		expect_pass(p, h + 8);
		i[0] = v6 ? 133 : 5; /* router solicitation, redirect */
		expect_drop(p, h + 8, NS_DROP_ICMP);
		header(p, v6, v6 ? IP_PROTO_ICMPV6 : IP_PROTO_ICMP, 7);
		expect_drop(p, h + 7, NS_DROP_ICMP);
	}
}

/* --- builders ------------------------------------------------------------------------------ */

static void refused_syn(void **state)
{
	(void)state;
	uint8_t p[IP_BUILD_MAX];

	for (int v6 = 0; v6 < 2; v6++) {
		struct flow f = make_flow(v6);
		struct ip_info info;
		enum netstack_drop why;
		size_t len = ip_build_rst(p, &f, UINT32_MAX); /* the sum wraps */
		size_t h = v6 ? 40 : 20;

		assert_int_equal(len, h + 20);
		assert_int_equal(sanitize(p, len, &info, &why), IP_PASS);
		assert_true(ipaddr_equal(&info.src, &f.dst) && ipaddr_equal(&info.dst, &f.src));
		assert_int_equal(get_be16(p + h), 80);
		assert_int_equal(get_be16(p + h + 2), 40000);
		assert_int_equal(get_be32(p + h + 4), 0);
		assert_int_equal(get_be32(p + h + 8), 0);
		assert_int_equal(p[h + 13], TCP_RST | TCP_ACK);
		uint32_t sum = ip_pseudo_sum(&f.dst, &f.src, IP_PROTO_TCP, 20);
		assert_int_equal(ip_fold(ip_sum(p + h, 20, sum)), 0);
		if (!v6)
			assert_int_equal(ip_fold(ip_sum(p, 20, 0)), 0);
	}
}

static void unreachables(void **state)
{
	(void)state;
	static const struct {
		enum ip_unreachable what;
		uint8_t code4, code6;
		int error;
	} all[] = {
		{IP_UNREACHABLE_PORT, 3, 4, -ECONNREFUSED},
		{IP_UNREACHABLE_HOST, 1, 3, -EHOSTUNREACH},
		{IP_UNREACHABLE_PROHIBITED, 13, 1, -EACCES},
	};
	uint8_t p[IP_BUILD_MAX], quote[IP_BUILD_MAX];

	for (size_t i = 0; i < 2 * ARRAY_SIZE(all); i++) {
		bool v6 = i % 2;
		uint8_t proto = i % 4 < 2 ? IP_PROTO_TCP : IP_PROTO_UDP;
		struct flow f = make_flow(v6), back;
		struct ip_info info;
		enum netstack_drop why;
		uint8_t back_proto = 0;
		size_t q = ip_build_quote(quote, &f, proto, 99);
		size_t len = ip_build_unreachable(p, all[i / 2].what, quote, q);

		assert_int_equal(sanitize(p, len, &info, &why), IP_PASS);
		assert_true(ip_checksum_ok(&info, p));
		assert_true(ipaddr_equal(&info.src, &f.dst) && ipaddr_equal(&info.dst, &f.src));
		assert_int_equal(p[info.l4], v6 ? 1 : 3);
		assert_int_equal(p[info.l4 + 1], v6 ? all[i / 2].code6 : all[i / 2].code4);
		assert_int_equal(get_be32(p + info.l4 + 4), 0);
		assert_memory_equal(p + info.l4 + 8, quote, q);
		assert_int_equal(ip_unreachable_parse(&info, p, &back, &back_proto),
				 all[i / 2].error);
		assert_true(flow_equal(&back, &f));
		assert_int_equal(back_proto, proto);
		/* Cut short at any byte, the parser stays inside. */
		for (uint32_t cut = info.l4; cut < len; cut++) {
			uint8_t *copy = malloc(cut);
			memcpy(copy, p, cut);
			struct ip_info less = info;
			less.total = cut;
			int r = ip_unreachable_parse(&less, copy, &back, &back_proto);
			assert_true(r == 0 || cut >= info.l4 + 8 + (v6 ? 44u : 24u));
			free(copy);
		}
	}
}

static void unreachable_limits(void **state)
{
	(void)state;
	uint8_t p[IP_BUILD_MAX], big[1420] = {0};

	for (int v6 = 0; v6 < 2; v6++) {
		size_t h = v6 ? 40 : 20;
		header(big, v6, IP_PROTO_UDP, sizeof(big) - h);
		assert_int_equal(ip_build_unreachable(p, IP_UNREACHABLE_PORT, big, sizeof(big)),
				 v6 ? 1280 : 576);
		assert_int_equal(ip_build_unreachable(p, IP_UNREACHABLE_PORT, big, h + 7), 0);
		if (v6)
			memcpy(big + 24, addr("ff02::fb").b, 16);
		else
			memcpy(big + 16, addr("224.0.0.251").b, 4);
		assert_int_equal(ip_build_unreachable(p, IP_UNREACHABLE_PORT, big, sizeof(big)), 0);
	}
}

/* Catches what is emitted, and puts fragments together by the reassembler. */
struct catch
{
	struct reasm *r;
	unsigned packets, largest;
	uint8_t whole[65600];
	size_t len;
};

static void catch_packet(void *arg, uint8_t *data, size_t len)
{
	struct catch *c = arg;
	struct ip_info info;
	enum netstack_drop why;

	c->packets++;
	c->largest = MAX(c->largest, (unsigned)len);
	enum ip_verdict v = sanitize(data, len, &info, &why);
	assert_int_not_equal(v, IP_DROP);
	assert_int_equal(info.total, len);
	if (data[0] >> 4 == 4)
		assert_int_equal(ip_fold(ip_sum(data, 20, 0)), 0);
	const uint8_t *whole = data;
	if (v == IP_REASSEMBLE && !reasm_input(c->r, 1, &info, data, NULL, &whole, &len, &why)) {
		assert_int_equal(why, NS_NUM_DROPS);
		return;
	}
	memcpy(c->whole, whole, len);
	c->len = len;
	memset(data, 0xff, 20); /* the receiver may change the bytes */
}

static void udp_reply(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 1372, 1373, 1392, 1393, 3000, 65507, 65487};
	static uint8_t data[65507];
	static struct catch c;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 11 >> 2);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		bool v6 = i % 2;
		size_t n = sizes[i / 2], h = v6 ? 40 : 20;
		struct flow f = make_flow(v6);
		struct ip_info info;
		enum netstack_drop why;

		if (v6 && n > 65487) /* the most that fits PKT_MAX when put together */
			continue;
		memset(&c, 0, sizeof(c));
		assert_int_equal(reasm_new(&c.r), 0);
		assert_int_equal(ip_build_udp(&f, data, n, catch_packet, &c), 0);
		assert_true(c.largest <= INNER_MTU);
		assert_true((c.packets == 1) == (h + 8 + n <= INNER_MTU));
		assert_int_equal(c.len, h + 8 + n);
		assert_int_equal(sanitize(c.whole, c.len, &info, &why), IP_PASS);
		assert_true(ip_checksum_ok(&info, c.whole));
		assert_true(ipaddr_equal(&info.src, &f.dst) && ipaddr_equal(&info.dst, &f.src));
		assert_int_equal(get_be16(c.whole + h), 80);
		assert_int_equal(get_be16(c.whole + h + 2), 40000);
		assert_memory_equal(c.whole + h + 8, data, n);
		if (n) { /* and the checksum would notice */
			c.whole[c.len - 1] ^= 1;
			assert_false(ip_checksum_ok(&info, c.whole));
		}
		reasm_free(c.r);
	}
	struct flow f = make_flow(false);
	memset(&c, 0, sizeof(c));
	assert_int_equal(ip_build_udp(&f, data, 65508, catch_packet, &c), -EMSGSIZE);
	assert_int_equal(c.packets, 0);
}

/* An echo reply is nothing that netstack itself takes, so single ones are not asked about. */
static void catch_reply(void *arg, uint8_t *data, size_t len)
{
	struct catch *c = arg;
	struct ip_info info;
	enum netstack_drop why;
	const uint8_t *whole = data;

	c->packets++;
	assert_true(len <= INNER_MTU);
	if (sanitize(data, len, &info, &why) == IP_REASSEMBLE) {
		if (!reasm_input(c->r, 1, &info, data, NULL, &whole, &len, &why))
			return;
	} else {
		assert_int_equal(why, NS_DROP_ICMP);
	}
	memcpy(c->whole, whole, len);
	c->len = len;
}

static void echo_reply(void **state)
{
	(void)state;
	static uint8_t data[5000];
	static struct catch c;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (int i = 0; i < 4; i++) {
		bool v6 = i % 2;
		size_t n = i < 2 ? 56 : sizeof(data), h = v6 ? 40 : 20;
		struct flow f = make_flow(v6);
		struct ip_info info;

		memset(&c, 0, sizeof(c));
		assert_int_equal(reasm_new(&c.r), 0);
		assert_int_equal(ip_build_echo_reply(&f, 0x1234, data, n, catch_reply, &c), 0);
		assert_int_equal(c.packets, i < 2 ? 1 : 4);
		assert_int_equal(c.len, h + 8 + n);
		assert_int_equal(ip_parse(&info, c.whole, c.len), 0);
		assert_true(ip_checksum_ok(&info, c.whole));
		assert_true(ipaddr_equal(&info.src, &f.dst) && ipaddr_equal(&info.dst, &f.src));
		assert_int_equal(c.whole[h], v6 ? 129 : 0);
		assert_int_equal(get_be16(c.whole + h + 4), f.sport);
		assert_int_equal(get_be16(c.whole + h + 6), 0x1234);
		assert_memory_equal(c.whole + h + 8, data, n);
		reasm_free(c.r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_passes),	      cmocka_unit_test(tcp_options),
		cmocka_unit_test(tcp_header),	      cmocka_unit_test(ip_header),
		cmocka_unit_test(addresses),	      cmocka_unit_test(udp_and_icmp),
		cmocka_unit_test(refused_syn),	      cmocka_unit_test(unreachables),
		cmocka_unit_test(unreachable_limits), cmocka_unit_test(udp_reply),
		cmocka_unit_test(echo_reply),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
