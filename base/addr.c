/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, prefixes and endpoints: parse, format, compare. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "base/pkt.h"

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b)
{
	return a->family == b->family && !memcmp(a->b, b->b, a->family == 4 ? 4 : 16);
}

int ipaddr_parse(struct ipaddr *a, const char *text)
{
	struct ipaddr out = {0};
	if (inet_pton(AF_INET, text, out.b) == 1)
		out.family = 4;
	else if (inet_pton(AF_INET6, text, out.b) == 1)
		out.family = 6;
	else
		return -EINVAL;
	*a = out;
	return 0;
}

const char *ipaddr_format(const struct ipaddr *a, char buf[static ADDR_STRLEN])
{
	if (!a->family || !inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->b, buf, ADDR_STRLEN))
		snprintf(buf, ADDR_STRLEN, "none");
	return buf;
}

struct ipaddr ipaddr_v4(const void *four_bytes)
{
	struct ipaddr a = {.family = 4};
	memcpy(a.b, four_bytes, 4);
	return a;
}

struct ipaddr ipaddr_v6(const void *sixteen_bytes)
{
	struct ipaddr a = {.family = 6};
	memcpy(a.b, sixteen_bytes, 16);
	return a;
}

static bool is_v4_mapped(const uint8_t b[static 16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	return !memcmp(b, mapped, sizeof(mapped));
}

bool ipaddr_is_loopback(const struct ipaddr *a)
{
	static const uint8_t one[16] = {[15] = 1};
	if (a->family == 4)
		return a->b[0] == 127;
	if (is_v4_mapped(a->b))
		return a->b[12] == 127;
	return !memcmp(a->b, one, 16);
}

bool ipaddr_is_linklocal(const struct ipaddr *a)
{
	if (a->family == 4)
		return a->b[0] == 169 && a->b[1] == 254;
	if (is_v4_mapped(a->b))
		return a->b[12] == 169 && a->b[13] == 254;
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool ipaddr_is_multicast(const struct ipaddr *a)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};
	if (a->family == 4)
		return (a->b[0] & 0xf0) == 0xe0 || !memcmp(a->b, broadcast, 4);
	return a->b[0] == 0xff;
}

bool ipaddr_is_unspecified(const struct ipaddr *a)
{
	static const uint8_t zero[16];
	return !memcmp(a->b, zero, a->family == 4 ? 4 : 16);
}

static unsigned family_bits(const struct ipaddr *a)
{
	return a->family == 4 ? 32 : 128;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	if (memcmp(a, b, bits / 8))
		return false;
	unsigned rest = bits % 8;
	return !rest || !((a[bits / 8] ^ b[bits / 8]) & (0xff00 >> rest));
}

int prefix_parse(struct prefix *p, const char *text)
{
	char buf[ADDR_STRLEN];
	struct prefix out;
	size_t n = strcspn(text, "/");
	if (n >= sizeof(buf))
		return -EINVAL;
	memcpy(buf, text, n);
	buf[n] = '\0';
	if (ipaddr_parse(&out.addr, buf))
		return -EINVAL;
	unsigned bits = family_bits(&out.addr);
	out.len = (uint8_t)bits;
	if (text[n] == '/') {
		unsigned long len = 0;
		const char *c = text + n + 1;
		if (!*c || strlen(c) > 3)
			return -EINVAL;
		for (; *c; c++) {
			if (*c < '0' || *c > '9')
				return -EINVAL;
			len = len * 10 + (unsigned long)(*c - '0');
		}
		if (len > bits)
			return -EINVAL;
		out.len = (uint8_t)len;
	}
	for (unsigned i = out.len; i < bits; i++)
		if (out.addr.b[i / 8] & (0x80 >> i % 8))
			return -EDOM;
	*p = out;
	return 0;
}

const char *prefix_format(const struct prefix *p, char buf[static ADDR_STRLEN])
{
	ipaddr_format(&p->addr, buf);
	size_t n = strlen(buf);
	snprintf(buf + n, ADDR_STRLEN - n, "/%u", p->len);
	return buf;
}

struct prefix prefix_host(const struct ipaddr *a)
{
	return (struct prefix){.addr = *a, .len = (uint8_t)family_bits(a)};
}

bool prefix_contains(const struct prefix *p, const struct ipaddr *a)
{
	return p->addr.family == a->family && bits_equal(p->addr.b, a->b, p->len);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return a->addr.family == b->addr.family &&
	       bits_equal(a->addr.b, b->addr.b, MIN(a->len, b->len));
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && ipaddr_equal(&a->addr, &b->addr);
}

static int port_parse(uint16_t *port, const char *text)
{
	unsigned long v = 0;
	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		v = v * 10 + (unsigned long)(*text - '0');
	}
	if (v > 65535)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

int sockaddr_parse(union sockaddr_any *sa, const char *text)
{
	const char *colon = strrchr(text, ':');
	char host[ADDR_STRLEN];
	struct ipaddr a;
	uint16_t port;
	if (!colon || port_parse(&port, colon + 1))
		return -EINVAL;
	size_t n = (size_t)(colon - text);
	bool bracket = n >= 2 && text[0] == '[' && text[n - 1] == ']';
	if (bracket) {
		text++;
		n -= 2;
	}
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (ipaddr_parse(&a, host) || bracket != (a.family == 6))
		return -EINVAL;
	*sa = sockaddr_from(&a, port);
	return 0;
}

const char *sockaddr_format(const union sockaddr_any *sa, char buf[static ADDR_STRLEN])
{
	char host[ADDR_STRLEN];
	struct ipaddr a = sockaddr_ip(sa);
	if (!a.family)
		snprintf(buf, ADDR_STRLEN, "none");
	else
		snprintf(buf, ADDR_STRLEN, a.family == 6 ? "[%.46s]:%u" : "%.46s:%u",
			 ipaddr_format(&a, host), sockaddr_port(sa));
	return buf;
}

socklen_t sockaddr_len(const union sockaddr_any *sa)
{
	return sa->sa.sa_family == AF_INET ? sizeof(sa->in) : sizeof(sa->in6);
}

bool sockaddr_equal(const union sockaddr_any *a, const union sockaddr_any *b)
{
	struct ipaddr ia = sockaddr_ip(a), ib = sockaddr_ip(b);
	return sockaddr_port(a) == sockaddr_port(b) && ipaddr_equal(&ia, &ib);
}

union sockaddr_any sockaddr_from(const struct ipaddr *a, uint16_t port)
{
	union sockaddr_any sa;
	memset(&sa, 0, sizeof(sa));
	if (a->family == 4) {
		sa.in.sin_family = AF_INET;
		sa.in.sin_port = htons(port);
		memcpy(&sa.in.sin_addr, a->b, 4);
	} else {
		sa.in6.sin6_family = AF_INET6;
		sa.in6.sin6_port = htons(port);
		memcpy(&sa.in6.sin6_addr, a->b, 16);
	}
	return sa;
}

struct ipaddr sockaddr_ip(const union sockaddr_any *sa)
{
	if (sa->sa.sa_family == AF_INET)
		return ipaddr_v4(&sa->in.sin_addr);
	if (sa->sa.sa_family != AF_INET6)
		return (struct ipaddr){0};
	if (is_v4_mapped(sa->in6.sin6_addr.s6_addr))
		return ipaddr_v4(sa->in6.sin6_addr.s6_addr + 12);
	return ipaddr_v6(&sa->in6.sin6_addr);
}

uint16_t sockaddr_port(const union sockaddr_any *sa)
{
	return ntohs(sa->sa.sa_family == AF_INET ? sa->in.sin_port : sa->in6.sin6_port);
}

bool flow_equal(const struct flow *a, const struct flow *b)
{
	return a->sport == b->sport && a->dport == b->dport && ipaddr_equal(&a->src, &b->src) &&
	       ipaddr_equal(&a->dst, &b->dst);
}

bool path_equal(const struct path *a, const struct path *b)
{
	return a->transport == b->transport && sockaddr_equal(&a->remote, &b->remote);
}
