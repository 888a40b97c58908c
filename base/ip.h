/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP, TCP, UDP and ICMP headers as bytes: one bounded parser and the checksum (RFC 791, 8200, 9293,
 * 768, 792, 4443, 1071). Pure functions.
 */
#pragma once

#include "base/addr.h"

enum {
	IP_PROTO_ICMP = 1,
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
	IP_PROTO_ICMPV6 = 58,
};

enum {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_PSH = 8,
	TCP_ACK = 16,
	TCP_URG = 32,
	TCP_ECE = 64,
	TCP_CWR = 128
};

/* What ip_parse() found. Offsets are from the first byte of the IP header. */
struct ip_info {
	struct ipaddr src, dst;
	uint32_t total; /* length by the header: never above what was given */
	uint16_t l4;	/* where the transport header starts */
	uint8_t proto;	/* after IPv6 extension headers */
	uint8_t ttl;
	bool fragment;	   /* any fragment, the first too */
	uint16_t frag_off; /* bytes */
	bool frag_more;
	uint32_t frag_id;
	uint16_t frag_hdr; /* IPv6: offset of the fragment header, else 0 */
};

/* Parses and bounds-checks the IP header and IPv6 extension chain (hop-by-hop, routing,
 * destination, fragment; at most 8). 0; -EINVAL malformed or truncated; -EPROTONOSUPPORT version or
 * extension. */
int ip_parse(struct ip_info *info, const uint8_t *data, size_t len);

/* Just the addresses, fast, for routing: 0, or -EINVAL when too short or of another version. */
int ip_addrs(const uint8_t *data, size_t len, struct ipaddr *src, struct ipaddr *dst);

/* RFC 1071 sum of `data`, folded to 16 bits on top of `sum` (0 to start); not complemented. */
uint32_t ip_sum(const void *data, size_t len, uint32_t sum);
/* Sum of the pseudo header for `len` bytes of transport header and data; not complemented. */
uint32_t ip_pseudo_sum(const struct ipaddr *src, const struct ipaddr *dst, uint8_t proto,
		       uint32_t len);
/* Complement of the folded sum, ready to be stored (host order; use put_be16). */
uint16_t ip_fold(uint32_t sum);
/* Writes the IPv4 header checksum of `hdr` (ihl * 4 bytes). */
void ip4_header_checksum(uint8_t *hdr);
/* Computes and writes the transport checksum of an unfragmented TCP, UDP, ICMP or ICMPv6 packet. */
int ip_complete_checksum(uint8_t *data, size_t len);
