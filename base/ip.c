/* SPDX-License-Identifier: Apache-2.0 */
/* IP headers: one bounded parser, and the checksum of RFC 1071. */
#include "base/ip.h"

#include <errno.h>

enum {
	IPV4_HLEN = 20,
	IPV6_HLEN = 40,
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_DESTINATION = 60,
	EXT_MAX = 8,
};

static int parse_v4(struct ip_info *info, const uint8_t *d, size_t len)
{
	unsigned hlen = (d[0] & 0xfu) * 4;
	if (len < IPV4_HLEN || hlen < IPV4_HLEN)
		return -EINVAL;
	info->total = get_be16(d + 2);
	if (info->total < hlen || info->total > len)
		return -EINVAL;
	uint16_t frag = get_be16(d + 6);
	info->frag_more = frag & 0x2000;
	info->frag_off = (uint16_t)((frag & 0x1fff) * 8);
	info->fragment = info->frag_more || info->frag_off;
	info->frag_id = get_be16(d + 4);
	info->ttl = d[8];
	info->proto = d[9];
	info->src = ipaddr_v4(d + 12);
	info->dst = ipaddr_v4(d + 16);
	info->l4 = (uint16_t)hlen;
	return 0;
}

static int parse_v6(struct ip_info *info, const uint8_t *d, size_t len)
{
	if (len < IPV6_HLEN)
		return -EINVAL;
	info->total = IPV6_HLEN + (uint32_t)get_be16(d + 4);
	if (info->total > len || info->total > 65535)
		return -EINVAL;
	info->ttl = d[7];
	info->src = ipaddr_v6(d + 8);
	info->dst = ipaddr_v6(d + 24);
	uint8_t next = d[6];
	uint32_t off = IPV6_HLEN;
	for (int i = 0; i <= EXT_MAX; i++) {
		uint32_t hlen;
		if (next != EXT_HOP_BY_HOP && next != EXT_ROUTING && next != EXT_FRAGMENT &&
		    next != EXT_DESTINATION) {
			info->proto = next;
			info->l4 = (uint16_t)off;
			return 0;
		}
		if (off + 8 > info->total)
			return -EINVAL;
		hlen = next == EXT_FRAGMENT ? 8 : (d[off + 1] + 1u) * 8;
		if (off + hlen > info->total)
			return -EINVAL;
		if (next == EXT_FRAGMENT) {
			uint16_t frag = get_be16(d + off + 2);
			if (info->frag_hdr)
				return -EINVAL;
			info->fragment = true;
			info->frag_off = frag & 0xfff8;
			info->frag_more = frag & 1;
			info->frag_id = get_be32(d + off + 4);
			info->frag_hdr = (uint16_t)off;
		}
		next = d[off];
		off += hlen;
		/* Behind a later fragment's header there is no header chain, only payload. */
		if (info->fragment && info->frag_off) {
			info->proto = next;
			info->l4 = (uint16_t)off;
			return 0;
		}
	}
	return -EPROTONOSUPPORT;
}

int ip_parse(struct ip_info *info, const uint8_t *data, size_t len)
{
	*info = (struct ip_info){0};
	if (!len)
		return -EINVAL;
	switch (data[0] >> 4) {
	case 4:
		return parse_v4(info, data, len);
	case 6:
		return parse_v6(info, data, len);
	default:
		return -EPROTONOSUPPORT;
	}
}

int ip_addrs(const uint8_t *data, size_t len, struct ipaddr *src, struct ipaddr *dst)
{
	if (len >= IPV4_HLEN && data[0] >> 4 == 4) {
		*src = ipaddr_v4(data + 12);
		*dst = ipaddr_v4(data + 16);
		return 0;
	}
	if (len >= IPV6_HLEN && data[0] >> 4 == 6) {
		*src = ipaddr_v6(data + 8);
		*dst = ipaddr_v6(data + 24);
		return 0;
	}
	return -EINVAL;
}

uint32_t ip_sum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;
	uint64_t acc = 0;
	/* Sums of 32-bit words in host order have the same 16-bit fold, byte-swapped (RFC 1071,
	 * 2B). */
	for (; len >= 4; len -= 4, p += 4)
		acc += get_le32(p);
	if (len >= 2) {
		acc += (uint32_t)(p[0] | p[1] << 8);
		p += 2;
		len -= 2;
	}
	if (len)
		acc += p[0];
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	sum += __builtin_bswap16((uint16_t)acc);
	return (sum & 0xffff) + (sum >> 16);
}

uint32_t ip_pseudo_sum(const struct ipaddr *src, const struct ipaddr *dst, uint8_t proto,
		       uint32_t len)
{
	size_t n = src->family == 4 ? 4 : 16;
	uint32_t sum = ip_sum(src->b, n, 0);
	sum = ip_sum(dst->b, n, sum);
	sum += proto + (len >> 16) + (len & 0xffff);
	return (sum & 0xffff) + (sum >> 16);
}

uint16_t ip_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void ip4_header_checksum(uint8_t *hdr)
{
	put_be16(hdr + 10, 0);
	put_be16(hdr + 10, ip_fold(ip_sum(hdr, (hdr[0] & 0xfu) * 4, 0)));
}

int ip_complete_checksum(uint8_t *data, size_t len)
{
	struct ip_info info;
	unsigned at, min;
	uint32_t sum = 0;
	if (ip_parse(&info, data, len) || info.fragment)
		return -EINVAL;
	switch (info.proto) {
	case IP_PROTO_TCP:
		at = 16, min = 20;
		break;
	case IP_PROTO_UDP:
		at = 6, min = 8;
		break;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMPV6:
		at = 2, min = 4;
		break;
	default:
		return -EPROTONOSUPPORT;
	}
	uint8_t *l4 = data + info.l4;
	uint32_t l4len = info.total - info.l4;
	if (l4len < min)
		return -EINVAL;
	if (info.proto != IP_PROTO_ICMP)
		sum = ip_pseudo_sum(&info.src, &info.dst, info.proto, l4len);
	put_be16(l4 + at, 0);
	uint16_t folded = ip_fold(ip_sum(l4, l4len, sum));
	/* RFC 768: a UDP sum of zero means "none" and is sent as all ones. */
	if (!folded && info.proto == IP_PROTO_UDP)
		folded = 0xffff;
	put_be16(l4 + at, folded);
	return 0;
}
