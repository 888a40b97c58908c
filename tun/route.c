/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes of the TUN, and what stands against them. A routed prefix is a route, never an interface
 * address, so its first and last address are reachable like any other.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "tun/netlink.h"
#include "tun/tun.h"

/* Prefixes shorter than this are "everything" (0/0, or its halves 0/1 and 128/1 as VPN clients
 * write it). */
enum { SHORTEST_V4 = 8, SHORTEST_V6 = 16, DUMP_TRIES = 4 };

/* A request about `p` on device `name`; -ENODEV when there is none. */
static int route_request(struct netlink_request *q, uint16_t type, uint16_t flags, const char *name,
			 const struct prefix *p)
{
	bool v4 = p->addr.family == 4;
	struct rtmsg m = {.rtm_family = v4 ? AF_INET : AF_INET6,
			  .rtm_dst_len = p->len,
			  .rtm_table = RT_TABLE_MAIN,
			  .rtm_protocol = TUN_ROUTE_PROTO,
			  .rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
			  .rtm_type = RTN_UNICAST};
	unsigned index = if_nametoindex(name);

	if (index == 0)
		return -ENODEV;
	netlink_start(q, type, flags, &m, sizeof(m));
	netlink_attr_ip(q, RTA_DST, &p->addr);
	netlink_attr_u32(q, RTA_OIF, index);
	return 0;
}

int tun_add_route(const char *name, const struct prefix *p, const struct ipaddr *src,
		  struct error *e)
{
	struct netlink_request q;
	char text[ADDR_STRLEN];
	int r = route_request(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, name, p);

	if (r == 0) {
		if (src && src->family == p->addr.family)
			netlink_attr_ip(&q, RTA_PREFSRC, src);
		r = netlink_do(&q);
	}
	return r ? error_errno(e, r, "route %s cannot be added to %s", prefix_format(p, text), name)
		 : 0;
}

int tun_del_route(const char *name, const struct prefix *p, struct error *e)
{
	struct netlink_request q;
	char text[ADDR_STRLEN];
	int r = route_request(&q, RTM_DELROUTE, 0, name, p);

	if (r == 0)
		r = netlink_do(&q);
	return r ? error_errno(e, r, "route %s cannot be removed from %s", prefix_format(p, text),
			       name)
		 : 0;
}

struct each {
	void (*cb)(void *arg, const struct tun_route *r);
	void *arg;
};

static void one_hop(const struct each *each, struct tun_route *r, uint32_t index, bool gateway)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(index, name))
		return; /* went away while we looked */
	memcpy(r->dev, name, sizeof(r->dev));
	r->gateway = gateway;
	each->cb(each->arg, r);
}

static void all_hops(const struct each *each, struct tun_route *r, const struct rtattr *multipath)
{
	const struct rtnexthop *nh = RTA_DATA(multipath);
	size_t left = RTA_PAYLOAD(multipath);

	while (left >= sizeof(*nh) && nh->rtnh_len >= sizeof(*nh) && nh->rtnh_len <= left) {
		bool gateway = false;
		size_t alen = nh->rtnh_len - sizeof(*nh);

		for (const struct rtattr *a = (const void *)(nh + 1); RTA_OK(a, alen);
		     a = RTA_NEXT(a, alen))
			gateway |= a->rta_type == RTA_GATEWAY || a->rta_type == RTA_VIA;
		one_hop(each, r, (uint32_t)nh->rtnh_ifindex, gateway);
		left -= MIN(left, (size_t)RTNH_ALIGN(nh->rtnh_len));
		nh = RTNH_NEXT(nh);
	}
}

static void one_message(void *arg, const struct nlmsghdr *h)
{
	const struct each *each = arg;
	const struct rtmsg *m = NLMSG_DATA(h);
	const struct rtattr *dst = NULL, *oif = NULL, *multipath = NULL;
	uint32_t table = 0;
	bool gateway = false;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return;
	if (m->rtm_type != RTN_UNICAST || (m->rtm_flags & RTM_F_CLONED))
		return;
	table = m->rtm_table;
	size_t left = RTM_PAYLOAD(h);
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_DST)
			dst = a;
		else if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == 4)
			oif = a;
		else if (a->rta_type == RTA_MULTIPATH)
			multipath = a;
		else if (a->rta_type == RTA_GATEWAY || a->rta_type == RTA_VIA)
			gateway = true;
		else if (a->rta_type == RTA_TABLE && RTA_PAYLOAD(a) == 4)
			memcpy(&table, RTA_DATA(a), 4);
	}
	bool v4 = m->rtm_family == AF_INET;
	if (table == RT_TABLE_LOCAL || (!v4 && m->rtm_family != AF_INET6))
		return;

	struct tun_route r = {
		.dst.addr.family = v4 ? 4 : 6, .dst.len = m->rtm_dst_len, .proto = m->rtm_protocol};
	if (dst && RTA_PAYLOAD(dst) == (v4 ? 4U : 16U))
		memcpy(r.dst.addr.b, RTA_DATA(dst), v4 ? 4 : 16);
	if (multipath) {
		all_hops(each, &r, multipath);
	} else if (oif) {
		uint32_t index;
		memcpy(&index, RTA_DATA(oif), 4);
		one_hop(each, &r, index, gateway);
	}
}

int tun_each_route(void (*cb)(void *arg, const struct tun_route *r), void *arg, struct error *e)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct each each = {.cb = cb, .arg = arg};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct rtmsg m = {.rtm_family = families[i]};
		struct netlink_request q;

		netlink_start(&q, RTM_GETROUTE, 0, &m, sizeof(m));
		int r = netlink_dump(&q, one_message, &each);
		/* Seeing a route twice does no harm, missing one would. */
		for (int again = 0; r == -EINTR && again < DUMP_TRIES; again++)
			r = netlink_dump(&q, one_message, &each);
		/* -EOPNOTSUPP: a kernel without IPv6 has no such routes. */
		if (r && !(families[i] == AF_INET6 && r == -EOPNOTSUPP))
			return error_errno(e, r, "the machine's routes cannot be read");
	}
	return 0;
}

/* --- conflicts -------------------------------------------------------------------------------- */

static bool is_everything(const struct prefix *p)
{
	return p->len < (p->addr.family == 4 ? SHORTEST_V4 : SHORTEST_V6);
}

/* Ranges that are never a cluster's, with the words for the sentence. */
static const char *reserved_range(const struct prefix *p)
{
	static const struct {
		const char *prefix, *what;
	} reserved[] = {
		{"0.0.0.0/8", "the unspecified network 0.0.0.0/8"},
		{"127.0.0.0/8", "loopback, 127.0.0.0/8"},
		{"169.254.0.0/16", "link-local addresses, 169.254.0.0/16"},
		{"224.0.0.0/4", "multicast, 224.0.0.0/4"},
		{"240.0.0.0/4", "the reserved range 240.0.0.0/4"},
		{"::/16", "loopback and the unspecified address, ::/16"},
		{"fe80::/10", "link-local addresses, fe80::/10"},
		{"ff00::/8", "multicast, ff00::/8"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		struct prefix r;

		if (prefix_parse(&r, reserved[i].prefix) == 0 && prefix_overlaps(&r, p))
			return reserved[i].what;
	}
	return NULL;
}

struct conflict {
	const struct prefix *p;
	const char *own_dev;
	struct tun_route found;
	bool any;
};

/* Has the device neighbours, as Ethernet, Wi-Fi and bridges have, and VPN devices have not? */
static bool has_neighbours(const char *dev)
{
	struct ifreq ifr = {0};
	cleanup(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ifr.ifr_name, dev, TUN_NAME_LEN);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return true;
	return !(ifr.ifr_flags & (IFF_POINTOPOINT | IFF_NOARP));
}

/* A network that the machine itself is on, as against one that it only knows a way to. */
static bool is_own_network(const struct tun_route *r)
{
	return !r->gateway && (r->proto == RTPROT_KERNEL || has_neighbours(r->dev));
}

/*
 * The kernel takes the longest prefix, so of two routes that overlap the longer one hides a part of
 * the other. Theirs inside ours, or equal: a part of the cluster would be out of reach, or who wins
 * would depend on metrics. Ours inside theirs: for a network that the machine is on, its own
 * printer or router would vanish. But a way to somewhere wider (a VPN's 10.0.0.0/8, by a gateway or
 * into a VPN device) gives way as the default route does: it was never meant to say that all of
 * 10.0.0.0/8 is there, and the cluster is what the user asked for by name.
 */
static void find_conflict(void *arg, const struct tun_route *r)
{
	struct conflict *c = arg;

	if (c->any || strcmp(r->dev, c->own_dev) == 0 || is_everything(&r->dst) ||
	    !prefix_overlaps(&r->dst, c->p))
		return;
	if (r->dst.len < c->p->len && !is_own_network(r))
		return;
	c->found = *r;
	c->any = true;
}

static int say_conflict(const struct conflict *c, struct error *e)
{
	const struct prefix *theirs = &c->found.dst;
	const char *what = c->found.gateway	       ? "routed through a gateway by"
			   : is_own_network(&c->found) ? "the network of"
						       : "routed into";
	char p[ADDR_STRLEN], t[ADDR_STRLEN], both[ADDR_STRLEN];

	return error_set(e, -EADDRINUSE,
			 "%s overlaps %s, %s %s on this machine; --never-proxy %s leaves that "
			 "outside the tunnel",
			 prefix_format(c->p, p), prefix_format(theirs, t), what, c->found.dev,
			 prefix_format(theirs->len > c->p->len ? theirs : c->p, both));
}

int tun_check_route(const struct prefix *p, const char *own_dev, struct error *e)
{
	struct conflict c = {.p = p, .own_dev = own_dev};
	char ours[ADDR_STRLEN];

	if ((p->addr.family != 4 && p->addr.family != 6) ||
	    p->len > (p->addr.family == 4 ? 32 : 128))
		return error_set(e, -EINVAL, "malformed prefix");
	prefix_format(p, ours);
	if (is_everything(p))
		return error_set(e, -EINVAL,
				 "%s takes the default route: a prefix must be at least a /%d",
				 ours, p->addr.family == 4 ? SHORTEST_V4 : SHORTEST_V6);
	const char *reserved = reserved_range(p);
	if (reserved)
		return error_set(e, -EINVAL, "%s overlaps %s", ours, reserved);
	int r = tun_each_route(find_conflict, &c, e);
	if (r)
		return r;
	return c.any ? say_conflict(&c, e) : 0;
}
