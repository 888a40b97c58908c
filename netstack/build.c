/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that netstack makes without lwIP: UDP and echo replies (in fragments where they must be),
 * ICMP errors, the RST for a SYN that nobody took. Checksums are always computed: these go to a
 * kernel that verifies ICMP's and those of fragmented datagrams, and the rest costs nothing beside
 * the copy.
 */
#include <errno.h>

#include "netstack/ip_layer.h"

enum {
	IP4_HLEN = 20,
	IP6_HLEN = 40,
	FRAG6_HLEN = 8,
	TCP_HLEN = 20,
	L4_HLEN = 8, /* of UDP and of echo */
	TTL = 64,
	IP4_DF = 0x4000,
	IP4_MF = 0x2000,
	IP6_PROTO_FRAGMENT = 44,
	ICMP4_UNREACHABLE = 3,
	ICMP6_UNREACHABLE = 1,
	QUOTE_MAX_4 = 576 - IP4_HLEN - L4_HLEN,	 /* RFC 1812 4.3.2.3 */
	QUOTE_MAX_6 = 1280 - IP6_HLEN - L4_HLEN, /* RFC 4443 3.1 */
};

static size_t ip_hlen(const struct ipaddr *a)
{
	return a->family == 4 ? IP4_HLEN : IP6_HLEN;
}

/* An IP header for `payload` bytes; `frag` is IPv4's flags-and-offset field. Bytes written. */
static size_t put_ip(uint8_t *p, const struct ipaddr *src, const struct ipaddr *dst, uint8_t proto,
		     size_t payload, uint16_t id, uint16_t frag)
{
	if (src->family == 4) {
		memset(p, 0, IP4_HLEN);
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(IP4_HLEN + payload));
		put_be16(p + 4, id);
		put_be16(p + 6, frag);
		p[8] = TTL;
		p[9] = proto;
		memcpy(p + 12, src->b, 4);
		memcpy(p + 16, dst->b, 4);
		ip4_header_checksum(p);
		return IP4_HLEN;
	}
	memset(p, 0, 8);
	p[0] = 0x60;
	put_be16(p + 4, (uint16_t)payload);
	p[6] = proto;
	p[7] = TTL;
	memcpy(p + 8, src->b, 16);
	memcpy(p + 24, dst->b, 16);
	return IP6_HLEN;
}

size_t ip_build_rst(uint8_t out[static IP_BUILD_MAX], const struct flow *flow, uint32_t isn)
{
	size_t h = put_ip(out, &flow->dst, &flow->src, IP_PROTO_TCP, TCP_HLEN, 0, IP4_DF);
	uint8_t *tcp = out + h;

	memset(tcp, 0, TCP_HLEN);
	put_be16(tcp, flow->dport);
	put_be16(tcp + 2, flow->sport);
	put_be32(tcp + 8, isn + 1);
	tcp[12] = TCP_HLEN / 4 << 4;
	tcp[13] = TCP_RST | TCP_ACK;
	uint32_t sum = ip_pseudo_sum(&flow->dst, &flow->src, IP_PROTO_TCP, TCP_HLEN);
	put_be16(tcp + 16, ip_fold(ip_sum(tcp, TCP_HLEN, sum)));
	return h + TCP_HLEN;
}

size_t ip_build_quote(uint8_t out[static IP_BUILD_MAX], const struct flow *flow, uint8_t proto,
		      uint32_t isn)
{
	size_t h = put_ip(out, &flow->src, &flow->dst, proto, L4_HLEN, 0, IP4_DF);

	put_be16(out + h, flow->sport);
	put_be16(out + h + 2, flow->dport);
	if (proto == IP_PROTO_TCP) {
		put_be32(out + h + 4, isn);
	} else {
		put_be16(out + h + 4, L4_HLEN);
		put_be16(out + h + 6, 0);
	}
	return h + L4_HLEN;
}

static uint8_t unreachable_code(uint8_t family, enum ip_unreachable what)
{
	switch (what) {
	case IP_UNREACHABLE_PORT:
		return family == 4 ? 3 : 4;
	case IP_UNREACHABLE_PROHIBITED:
		return family == 4 ? 13 : 1;
	case IP_UNREACHABLE_HOST:
		break;
	}
	return family == 4 ? 1 : 3;
}

size_t ip_build_unreachable(uint8_t out[static IP_BUILD_MAX], enum ip_unreachable what,
			    const uint8_t *orig, size_t len)
{
	struct ipaddr src, dst;

	if (ip_addrs(orig, len, &src, &dst) < 0 || len < ip_hlen(&src) + L4_HLEN)
		return 0;
	/* RFC 1122 3.2.2: never about what was sent to or from more than one. */
	if (ipaddr_is_multicast(&src) || ipaddr_is_multicast(&dst) || ipaddr_is_unspecified(&src))
		return 0;

	bool v4 = src.family == 4;
	uint8_t proto = v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;
	size_t quote = MIN(len, (size_t)(v4 ? QUOTE_MAX_4 : QUOTE_MAX_6));
	size_t icmp_len = L4_HLEN + quote;
	size_t h = put_ip(out, &dst, &src, proto, icmp_len, 0, IP4_DF);
	uint8_t *icmp = out + h;

	memset(icmp, 0, L4_HLEN);
	icmp[0] = v4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE;
	icmp[1] = unreachable_code(src.family, what);
	memcpy(icmp + L4_HLEN, orig, quote);
	uint32_t sum = v4 ? 0 : ip_pseudo_sum(&dst, &src, proto, (uint32_t)icmp_len);
	put_be16(icmp + 2, ip_fold(ip_sum(icmp, icmp_len, sum)));
	return h + icmp_len;
}

/* A datagram to be sent: 8 bytes of transport header, then data. */
struct outgoing {
	struct ipaddr src, dst;
	uint8_t proto;
	uint8_t head[L4_HLEN];
	const uint8_t *data;
	size_t len;
};

/* Both lengths are 16 bits on the wire; IPv4's counts its own header. */
static bool fits(const struct ipaddr *a, size_t len)
{
	return L4_HLEN + len + (a->family == 4 ? IP4_HLEN : 0) <= PKT_MAX;
}

/* Bytes [off, off + n) of header and data. */
static void copy_range(const struct outgoing *o, uint8_t *to, size_t off, size_t n)
{
	if (off < L4_HLEN) {
		size_t head = MIN(n, L4_HLEN - off);
		memcpy(to, o->head + off, head);
		to += head;
		off += head;
		n -= head;
	}
	if (n)
		memcpy(to, o->data + (off - L4_HLEN), n);
}

static void emit_fragment(const struct outgoing *o, size_t off, size_t n, uint32_t id,
			  ip_emit_fn *emit, void *arg)
{
	uint8_t pkt[INNER_MTU];
	bool more = off + n < L4_HLEN + o->len;
	size_t h;

	if (o->src.family == 4) {
		uint16_t frag = (uint16_t)(off / 8 | (more ? IP4_MF : 0));
		h = put_ip(pkt, &o->src, &o->dst, o->proto, n, (uint16_t)id, frag);
	} else {
		h = put_ip(pkt, &o->src, &o->dst, IP6_PROTO_FRAGMENT, FRAG6_HLEN + n, 0, 0);
		pkt[h] = o->proto;
		pkt[h + 1] = 0;
		put_be16(pkt + h + 2, (uint16_t)(off | more)); /* off is a multiple of 8 */
		put_be32(pkt + h + 4, id);
		h += FRAG6_HLEN;
	}
	copy_range(o, pkt + h, off, n);
	emit(arg, pkt, h + n);
}

static void emit_datagram(const struct outgoing *o, ip_emit_fn *emit, void *arg)
{
	/* One counter for all destinations: an id comes back after 65,536 fragmented datagrams
	 * (IPv4). */
	static uint32_t last_id;
	size_t h = ip_hlen(&o->src);
	size_t total = L4_HLEN + o->len;

	if (h + total <= INNER_MTU) {
		uint8_t pkt[INNER_MTU];
		put_ip(pkt, &o->src, &o->dst, o->proto, total, 0, IP4_DF);
		copy_range(o, pkt + h, 0, total);
		emit(arg, pkt, h + total);
		return;
	}
	size_t room = (INNER_MTU - h - (o->src.family == 4 ? 0 : FRAG6_HLEN)) / 8 * 8;
	uint32_t id = ++last_id;
	for (size_t off = 0; off < total; off += room)
		emit_fragment(o, off, MIN(room, total - off), id, emit, arg);
}

int ip_build_udp(const struct flow *flow, const uint8_t *data, size_t len, ip_emit_fn *emit,
		 void *arg)
{
	struct outgoing o = {.src = flow->dst,
			     .dst = flow->src,
			     .proto = IP_PROTO_UDP,
			     .data = data,
			     .len = len};

	if (!fits(&flow->src, len))
		return -EMSGSIZE;
	put_be16(o.head, flow->dport);
	put_be16(o.head + 2, flow->sport);
	put_be16(o.head + 4, (uint16_t)(L4_HLEN + len));
	uint32_t sum = ip_pseudo_sum(&o.src, &o.dst, IP_PROTO_UDP, (uint32_t)(L4_HLEN + len));
	uint16_t check = ip_fold(ip_sum(data, len, ip_sum(o.head, L4_HLEN, sum)));
	put_be16(o.head + 6, check ? check : 0xffff); /* 0 means "none" */
	emit_datagram(&o, emit, arg);
	return 0;
}

int ip_build_echo_reply(const struct flow *flow, uint16_t seq, const uint8_t *data, size_t len,
			ip_emit_fn *emit, void *arg)
{
	bool v4 = flow->src.family == 4;
	struct outgoing o = {.src = flow->dst, .dst = flow->src, .data = data, .len = len};
	uint32_t sum = 0;

	if (!fits(&flow->src, len))
		return -EMSGSIZE;
	o.proto = v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;
	o.head[0] = v4 ? 0 : 129;
	put_be16(o.head + 4, flow->sport);
	put_be16(o.head + 6, seq);
	if (!v4)
		sum = ip_pseudo_sum(&o.src, &o.dst, o.proto, (uint32_t)(L4_HLEN + len));
	put_be16(o.head + 2, ip_fold(ip_sum(data, len, ip_sum(o.head, L4_HLEN, sum))));
	emit_datagram(&o, emit, arg);
	return 0;
}
