/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an inner packet goes: to our own stack, to another peer, or out through the exit. The overlay has checked that the source
 * belongs to `from`. Between peers only an active intercept opens the way, and never from laptop to laptop; there is no
 * flow state, so a restart of ours does not end those flows (decision 3).
 */
#include "base/ip.h"
#include "manager/internal.h"

/* The verdict is kept until something changes: looked up per packet it would walk all intercepts. */
static bool may_forward(struct peer *from, struct peer *to)
{
	struct manager *m = from->m;

	if (from->forward_to == to && from->forward_epoch == m->epoch)
		return from->forward_ok;
	from->forward_to = to;
	from->forward_epoch = m->epoch;
	if (from->rec.role == ROLE_AGENT && to->rec.role == ROLE_LAPTOP)
		from->forward_ok = rules_join(m, from, to);
	else if (from->rec.role == ROLE_LAPTOP && to->rec.role == ROLE_AGENT)
		from->forward_ok = rules_join(m, to, from);
	else
		from->forward_ok = false;
	return from->forward_ok;
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
	if (!op || !peer_admitted(from) || !may_forward(from, overlay_peer_user(op))) {
		m->not_forwarded++;
		return;
	}
	m->forwarded++;
	node_send_to(m->node, op, pkt);
}
