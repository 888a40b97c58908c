/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first look at a packet from a peer. The AEAD proved who sent it, not that it is well-formed,
 * and lwIP trusts what it is given: 2.1.3 and 2.2.1 read one byte past a SYN whose last option byte
 * is a kind without its length. So every length is checked here once, against the bytes that are
 * there, and nothing behind need be suspicious.
 */
#include <errno.h>

#include "netstack/ip_layer.h"

enum {
	TCP_HLEN = 20,
	UDP_HLEN = 8,
	ICMP_HLEN = 8,

	TCPOPT_END = 0,
	TCPOPT_NOP = 1,
	TCPOPT_MSS = 2,
	TCPOPT_WSCALE = 3,
	TCPOPT_SACK_PERM = 4,
	TCPOPT_SACK = 5,
	TCPOPT_TIMESTAMP = 8,

	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO = 8,
	ICMP6_UNREACHABLE = 1,
	ICMP6_ECHO = 128,
};

static bool option_len_ok(uint8_t kind, size_t len)
{
	switch (kind) {
	case TCPOPT_MSS:
		return len == 4;
	case TCPOPT_WSCALE:
		return len == 3;
	case TCPOPT_SACK_PERM:
		return len == 2;
	case TCPOPT_TIMESTAMP:
		return len == 10;
	case TCPOPT_SACK:
		return len >= 10 && len <= 34 && (len - 2) % 8 == 0;
	default:
		return true;
	}
}

static bool tcp_options_ok(const uint8_t *opt, size_t n)
{
	size_t i = 0;

	while (i < n) {
		if (opt[i] == TCPOPT_END)
			return true;
		if (opt[i] == TCPOPT_NOP) {
			i++;
			continue;
		}
		if (n - i < 2)
			return false;
		size_t len = opt[i + 1];
		if (len < 2 || len > n - i || !option_len_ok(opt[i], len))
			return false;
		i += len;
	}
	return true;
}

static bool tcp_flags_ok(uint8_t flags)
{
	if (flags & TCP_SYN)
		return !(flags & (TCP_FIN | TCP_RST));
	/* RFC 9293 3.10.7.4: a segment with neither ACK nor RST is dropped in every state. */
	return flags & (TCP_ACK | TCP_RST);
}

static bool tcp_ok(const uint8_t *seg, size_t len, enum netstack_drop *why)
{
	*why = NS_DROP_TCP_HEADER;
	if (len < TCP_HLEN)
		return false;
	size_t hlen = (size_t)(seg[12] >> 4) * 4;
	if (hlen < TCP_HLEN || hlen > len)
		return false;
	if (get_be16(seg) == 0 || get_be16(seg + 2) == 0 || !tcp_flags_ok(seg[13]))
		return false;
	*why = NS_DROP_TCP_OPTIONS;
	return tcp_options_ok(seg + TCP_HLEN, hlen - TCP_HLEN);
}

static bool udp_ok(const uint8_t *seg, size_t len, enum netstack_drop *why)
{
	*why = NS_DROP_UDP_HEADER;
	if (len < UDP_HLEN || get_be16(seg + 2) == 0)
		return false;
	size_t ulen = get_be16(seg + 4);
	/* Shorter than the IP payload is legal (trailing bytes are no one's); netstack_input_udp()
	 * goes by it. */
	return ulen >= UDP_HLEN && ulen <= len;
}

static bool icmp_ok(const struct ip_info *info, const uint8_t *seg, size_t len,
		    enum netstack_drop *why)
{
	*why = NS_DROP_ICMP;
	if (len < ICMP_HLEN)
		return false;
	if (info->src.family == 4)
		return (seg[0] == ICMP4_ECHO && seg[1] == 0) || seg[0] == ICMP4_UNREACHABLE;
	return (seg[0] == ICMP6_ECHO && seg[1] == 0) || seg[0] == ICMP6_UNREACHABLE;
}

/* An address that a host may have: what replies go to, or what we answer for. */
static bool host_address(const struct ipaddr *a)
{
	return !ipaddr_is_unspecified(a) && !ipaddr_is_multicast(a) && !ipaddr_is_loopback(a);
}

static bool transport_ok(const struct ip_info *info, const uint8_t *data, enum netstack_drop *why)
{
	const uint8_t *seg = data + info->l4;
	size_t len = info->total - info->l4;
	uint8_t icmp = info->src.family == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;

	if (info->proto == IP_PROTO_TCP)
		return tcp_ok(seg, len, why);
	if (info->proto == IP_PROTO_UDP)
		return udp_ok(seg, len, why);
	if (info->proto == icmp)
		return icmp_ok(info, seg, len, why);
	*why = NS_DROP_PROTO;
	return false;
}

enum ip_verdict ip_sanitize(struct ip_info *info, const uint8_t *data, size_t len,
			    enum netstack_drop *why)
{
	*why = NS_DROP_VERSION;
	if (len < 1 || (data[0] >> 4 != 4 && data[0] >> 4 != 6))
		return IP_DROP;
	int r = ip_parse(info, data, len);
	*why = r == -EPROTONOSUPPORT ? NS_DROP_PROTO : NS_DROP_LENGTH;
	if (r < 0 || info->total > len || info->l4 > info->total)
		return IP_DROP;
	*why = NS_DROP_SOURCE;
	if (!host_address(&info->src) || !host_address(&info->dst) ||
	    ipaddr_equal(&info->src, &info->dst))
		return IP_DROP;
	if (info->fragment)
		return IP_REASSEMBLE;
	return transport_ok(info, data, why) ? IP_PASS : IP_DROP;
}

bool ip_checksum_ok(const struct ip_info *info, const uint8_t *data)
{
	const uint8_t *seg = data + info->l4;
	uint32_t len = info->total - info->l4;
	uint32_t sum = 0;

	switch (info->proto) {
	case IP_PROTO_UDP:
		if (get_be16(seg + 6) == 0)
			return info->src.family == 4; /* "none", which IPv6 does not have */
		len = get_be16(seg + 4);
		sum = ip_pseudo_sum(&info->src, &info->dst, IP_PROTO_UDP, len);
		break;
	case IP_PROTO_ICMP:
		break;
	case IP_PROTO_ICMPV6:
		sum = ip_pseudo_sum(&info->src, &info->dst, IP_PROTO_ICMPV6, len);
		break;
	default:
		return true;
	}
	return ip_fold(ip_sum(seg, len, sum)) == 0;
}

static int unreachable_errno(uint8_t family, uint8_t code)
{
	if (family == 4) {
		switch (code) {
		case 2: /* protocol */
		case 3: /* port */
			return -ECONNREFUSED;
		case 0: /* network */
		case 6:
			return -ENETUNREACH;
		case 9: /* administratively prohibited: network, host, communication */
		case 10:
		case 13:
			return -EACCES;
		case 4: /* fragmentation needed: no verdict on the flow */
			return 0;
		default:
			return -EHOSTUNREACH;
		}
	}
	switch (code) {
	case 0: /* no route */
		return -ENETUNREACH;
	case 1: /* administratively prohibited */
		return -EACCES;
	case 4: /* port */
		return -ECONNREFUSED;
	default:
		return -EHOSTUNREACH;
	}
}

int ip_unreachable_parse(const struct ip_info *info, const uint8_t *data, struct flow *flow,
			 uint8_t *proto)
{
	const uint8_t *seg = data + info->l4;
	size_t len = info->total - info->l4;
	uint8_t type = info->src.family == 4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE;

	if (len < ICMP_HLEN || seg[0] != type)
		return 0;

	/* The quote is cut short, so ip_parse(), which wants all of it, is of no use; extension
	 * headers are never in what we sent. */
	const uint8_t *q = seg + ICMP_HLEN;
	size_t qlen = len - ICMP_HLEN;
	size_t hlen = info->src.family == 4 && qlen > 0 ? (size_t)(q[0] & 15) * 4 : 40;
	if (hlen < 20 || qlen < hlen + 4 || ip_addrs(q, qlen, &flow->src, &flow->dst) < 0)
		return 0;
	if (flow->src.family != info->src.family || !ipaddr_equal(&flow->src, &info->dst))
		return 0;
	if (flow->src.family == 4 && get_be16(q + 6) & 0x1fff)
		return 0;
	*proto = flow->src.family == 4 ? q[9] : q[6];
	if (*proto != IP_PROTO_TCP && *proto != IP_PROTO_UDP)
		return 0;
	flow->sport = get_be16(q + hlen);
	flow->dport = get_be16(q + hlen + 2);
	return unreachable_errno(info->src.family, seg[1]);
}
