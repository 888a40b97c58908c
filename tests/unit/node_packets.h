/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: seeded random numbers, and IP packets built of them. */
#pragma once

#include "base/ip.h"
#include "base/pkt.h"

struct rng {
	uint64_t state;
};

/* splitmix64 */
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* lo..hi, both included */
static inline uint32_t rng_range(struct rng *r, uint32_t lo, uint32_t hi)
{
	return lo + (uint32_t)(rng_next(r) % ((uint64_t)hi - lo + 1));
}

static inline void rng_fill(struct rng *r, void *buf, size_t len)
{
	uint8_t *b = buf;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_next(r);
}

struct tcp_shape {
	struct flow flow;
	uint32_t seq;
	uint8_t flags;
	uint8_t ip_options; /* bytes, a multiple of 4; IPv4 only */
	uint8_t tcp_options;
	uint32_t payload;
	uint16_t id;
};

/* Writes the IP header with a length of `len` in all; the offset of what follows. */
static inline size_t build_ip(uint8_t *p, const struct flow *f, uint8_t proto, uint8_t options,
			      size_t len, uint16_t id)
{
	memset(p, 0, 60);
	if (f->src.family == 4) {
		p[0] = (uint8_t)(0x45 + options / 4);
		put_be16(p + 2, (uint16_t)len);
		put_be16(p + 4, id);
		p[6] = 0x40; /* DF */
		p[8] = 64;
		p[9] = proto;
		memcpy(p + 12, f->src.b, 4);
		memcpy(p + 16, f->dst.b, 4);
		memset(p + 20, 1, options); /* no-operation */
		ip4_header_checksum(p);
		return 20U + options;
	}
	p[0] = 0x60;
	put_be16(p + 4, (uint16_t)(len - 40));
	p[6] = proto;
	p[7] = 64;
	memcpy(p + 8, f->src.b, 16);
	memcpy(p + 24, f->dst.b, 16);
	return 40;
}

/* A TCP packet with random data; its length. `p` has room for PKT_MAX bytes. */
static inline size_t build_tcp(uint8_t *p, struct rng *r, const struct tcp_shape *s)
{
	uint8_t ip_options = s->flow.src.family == 4 ? s->ip_options : 0;
	size_t ip_len = s->flow.src.family == 4 ? 20U + ip_options : 40;
	size_t len = ip_len + 20 + s->tcp_options + s->payload;
	size_t l4 = build_ip(p, &s->flow, IP_PROTO_TCP, ip_options, len, s->id);
	uint8_t *tcp = p + l4;

	memset(tcp, 0, 20);
	put_be16(tcp, s->flow.sport);
	put_be16(tcp + 2, s->flow.dport);
	put_be32(tcp + 4, s->seq);
	put_be32(tcp + 8, 0x01020304);
	tcp[12] = (uint8_t)((20 + s->tcp_options) / 4 << 4);
	tcp[13] = s->flags;
	put_be16(tcp + 14, 512);
	memset(tcp + 20, 1, s->tcp_options);
	rng_fill(r, tcp + 20 + s->tcp_options, s->payload);
	return len;
}

/* A UDP datagram with random data; its length. */
static inline size_t build_udp(uint8_t *p, struct rng *r, const struct flow *f, size_t payload)
{
	size_t len = (f->src.family == 4 ? 20U : 40U) + 8 + payload;
	size_t l4 = build_ip(p, f, IP_PROTO_UDP, 0, len, (uint16_t)rng_next(r));

	put_be16(p + l4, f->sport);
	put_be16(p + l4 + 2, f->dport);
	put_be16(p + l4 + 4, (uint16_t)(payload + 8));
	put_be16(p + l4 + 6, 0);
	rng_fill(r, p + l4 + 8, payload);
	return len;
}

static inline struct flow make_flow(uint8_t family, uint8_t src, uint8_t dst, uint16_t sport)
{
	struct flow f = {.sport = sport, .dport = 80};

	f.src.family = f.dst.family = family;
	f.src.b[0] = f.dst.b[0] = family == 4 ? 10 : 0xfd;
	f.src.b[family == 4 ? 3 : 15] = src;
	f.dst.b[family == 4 ? 3 : 15] = dst;
	return f;
}

/* Clears what a packet may lose on its way: the TCP or UDP checksum, and with cutting IPv4's id. */
static inline void mask_packet(uint8_t *p, size_t len)
{
	size_t l4 = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : 40;
	uint8_t proto = p[0] >> 4 == 4 ? p[9] : p[6];

	if (p[0] >> 4 == 4 && proto == IP_PROTO_TCP) {
		put_be16(p + 4, 0);
		put_be16(p + 10, 0);
	}
	if (proto == IP_PROTO_TCP && len >= l4 + 20)
		put_be16(p + l4 + 16, 0);
	if (proto == IP_PROTO_UDP && len >= l4 + 8)
		put_be16(p + l4 + 6, 0);
}

static inline bool ip_header_right(const uint8_t *p)
{
	return p[0] >> 4 != 4 || ip_fold(ip_sum(p, (size_t)(p[0] & 15) * 4, 0)) == 0;
}
