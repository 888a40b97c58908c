/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses: IP addresses, prefixes, socket endpoints, and their text. Comparison is by value.
 * Text forms: "10.1.2.3", "fd00::1", prefixes with "/len", endpoints "1.2.3.4:80" and
 * "[fd00::1]:80".
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/util.h"

struct ipaddr {
	uint8_t family; /* 4, 6, or 0 = unset */
	uint8_t b[16];	/* network order; the first 4 for IPv4, the rest zero */
};

struct prefix {
	struct ipaddr addr; /* host bits are zero */
	uint8_t len;	    /* 0..32 or 0..128 */
};

/* A socket address: UDP/TCP endpoint. */
union sockaddr_any {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* A 4-tuple as the side that opened the flow sees it: src opened towards dst. */
struct flow {
	struct ipaddr src, dst; /* of one family */
	uint16_t sport, dport;	/* host order; ICMP echo: sport = identifier, dport = 0 */
};

enum { ADDR_STRLEN = 64 }; /* enough for any of the text forms, with port and NUL */

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b);
int ipaddr_parse(struct ipaddr *a, const char *text); /* 0 or -EINVAL; sets nothing on error */
const char *ipaddr_format(const struct ipaddr *a, char buf[static ADDR_STRLEN]);
struct ipaddr ipaddr_v4(const void *four_bytes);
struct ipaddr ipaddr_v6(const void *sixteen_bytes);
bool ipaddr_is_loopback(const struct ipaddr *a);
bool ipaddr_is_linklocal(const struct ipaddr *a);
bool ipaddr_is_multicast(const struct ipaddr *a); /* and 255.255.255.255 */
bool ipaddr_is_unspecified(const struct ipaddr *a);

/* "ADDR/LEN", or "ADDR" = one host. -EINVAL when malformed, -EDOM when host bits are set. */
int prefix_parse(struct prefix *p, const char *text);
const char *prefix_format(const struct prefix *p, char buf[static ADDR_STRLEN]);
struct prefix prefix_host(const struct ipaddr *a);
bool prefix_contains(const struct prefix *p, const struct ipaddr *a);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
bool prefix_equal(const struct prefix *a, const struct prefix *b);

/* Numeric "HOST:PORT" only; no names are looked up. */
int sockaddr_parse(union sockaddr_any *sa, const char *text);
const char *sockaddr_format(const union sockaddr_any *sa, char buf[static ADDR_STRLEN]);
socklen_t sockaddr_len(const union sockaddr_any *sa);
bool sockaddr_equal(const union sockaddr_any *a, const union sockaddr_any *b);
union sockaddr_any sockaddr_from(const struct ipaddr *a, uint16_t port);
/* IPv4-mapped IPv6 comes out as IPv4. */
struct ipaddr sockaddr_ip(const union sockaddr_any *sa);
uint16_t sockaddr_port(const union sockaddr_any *sa);

bool flow_equal(const struct flow *a, const struct flow *b);
