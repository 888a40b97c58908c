/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an inner packet goes: to our own stack, to another peer, or out through the exit. The overlay has checked that the source
 * belongs to `from`. Between peers only an active intercept opens the way, and never from laptop to laptop; there is no
 * flow state, so a restart of ours does not end those flows (decision 3).
 *
 * The way is no wider than the intercept: TCP and UDP between the two members' own stacks, one end of it an intake of the
 * intercept. A fragment that does not say its port goes by the intercept alone: the stack that joins them knows its ports. The laptop's kernel has an address beside its stack's; whatever listens there is not offered to agents.
 */
#include "base/ip.h"
#include "manager/internal.h"

/* The verdict is kept until something changes: looked up per packet it would walk all intercepts. */
static bool joined(struct peer *from, struct peer *to, uint16_t port)
{
	struct manager *m = from->m;
	struct forward *f = &from->forward[port % FORWARDS];

	if (f->to == to && f->port == port && f->epoch == m->epoch)
		return f->ok;
	*f = (struct forward){.to = to, .port = port, .epoch = m->epoch};
	f->ok = from->rec.role == ROLE_AGENT ? m->platform->join(m, from, to, port)
					     : m->platform->join(m, to, from, port);
	return f->ok;
}

static bool may_forward(struct peer *from, struct peer *to, const struct pkt *pkt)
{
	enum { ICMPV6_ERRORS_END = 128 }; /* types below are errors (RFC 4443, 2.1) */
	struct ip_info ip;
	const uint8_t *l4;

	if (!peer_admitted(from) || from->rec.role == to->rec.role ||
	    ip_parse(&ip, pkt->data, pkt->len) || (ip.fragment && ip.proto != IP_PROTO_UDP) ||
	    !ipaddr_equal(&ip.src, &from->stack) || !ipaddr_equal(&ip.dst, &to->stack))
		return false;
	if (ip.frag_off)
		return joined(from, to, 0);
	if (ip.total < ip.l4 + 4u)
		return false;
	l4 = pkt->data + ip.l4;
	if (ip.proto == IP_PROTO_TCP || ip.proto == IP_PROTO_UDP)
		return joined(from, to, get_be16(l4 + (from->rec.role == ROLE_AGENT ? 2 : 0)));
	return ip.proto == IP_PROTO_ICMPV6 && l4[0] < ICMPV6_ERRORS_END && joined(from, to, 0);
}

void hub_inner(struct manager *m, struct peer *from, struct pkt *pkt)
{
	struct ipaddr src, dst;
	struct overlay_peer *op;

	if (ip_addrs(pkt->data, pkt->len, &src, &dst))
		return;
	if (!prefix_contains(&m->overlay, &dst) || ipaddr_equal(&dst, &m->self)) {
		netstack_input(m->ns, pkt, from);
		return;
	}
	op = overlay_route(node_overlay(m->node), &dst);
	if (!op || !may_forward(from, overlay_peer_user(op), pkt)) {
		m->not_forwarded++;
		return;
	}
	m->forwarded++;
	node_send_to(m->node, op, pkt);
}
