/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in: open each datagram of a batch, put TCP segments together, deliver. Runs live until
 * all that lay ready in the socket is read (idle), so nothing ever waits for a segment that may not
 * come.
 */
#include "base/ip.h"
#include "node/internal.h"
#include "node/segment.h"

static void take(struct node *n, struct overlay_peer *p, struct pkt *pkt)
{
	n->stats.inner_in++;
	n->just_opened = true;
	merge_packet(n->merge, p, pkt->data, pkt->len);
}

void node_on_datagrams(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride)
{
	struct node *n = arg;
	nsec_t now = clock_boot();

	for (size_t at = 0; at < len; at += stride) {
		struct overlay_peer *p;
		struct pkt pkt;

		if (overlay_receive(n->overlay, from, data + at, MIN(stride, len - at), n->received,
				    &pkt, &p, now) != 1)
			continue;
		/* Others rely on this bound; a peer that breaks it speaks another protocol. */
		if (pkt.len > INNER_MTU) {
			n->stats.oversize_in++;
			continue;
		}
		take(n, p, &pkt);
	}
}

/* A stream that has proved nothing so far. Whoever sends data that opens, and is no replay, holds
 * a session; handshakes are heard of when they are complete (established). */
static int receive_unproven(struct node *n, struct carrier *c, const struct path *from,
			    const uint8_t *data, size_t len, struct pkt *pkt,
			    struct overlay_peer **p)
{
	int r;

	*p = NULL;
	r = overlay_receive(n->overlay, from, data, len, n->received, pkt, p, clock_boot());
	if (*p)
		carrier_prove(c, *p);
	return r;
}

/* A super-packet may be in it, whole. */
void node_on_frame(void *arg, const struct path *from, const uint8_t *data, size_t len,
		   size_t stride)
{
	struct carrier *c = arg;
	struct node *n = c->node;
	struct overlay_peer *p;
	struct segment s;
	struct pkt pkt;
	int r;

	(void)stride;
	if (c->gone)
		return;
	if (unlikely(!c->proven))
		r = receive_unproven(n, c, from, data, len, &pkt, &p);
	else
		r = overlay_receive(n->overlay, from, data, len, n->received, &pkt, &p,
				    clock_boot());
	if (r != 1)
		return;
	if (pkt.len > INNER_MTU && !segment_parse(&s, pkt.data, pkt.len))
		n->stats.oversize_in++;
	else
		take(n, p, &pkt);
}

/*
 * A run has waited while callbacks ran, which may have removed its peer: the source must (still) be
 * routed to it. The packet that was just opened needs that only if a run went before it.
 */
static bool still_owned(struct node *n, const struct overlay_peer *p, const struct pkt *pkt)
{
	struct ipaddr src, dst;

	if (n->just_opened && pkt->data == n->received)
		return true;
	return !ip_addrs(pkt->data, pkt->len, &src, &dst) && overlay_route(n->overlay, &src) == p;
}

void node_on_merged(void *arg, void *owner, struct pkt *pkt)
{
	struct node *n = arg;

	if (!still_owned(n, owner, pkt))
		return;
	n->just_opened = false;
	n->stats.super_in += pkt->gso != 0;
	n->ops->inner(n->arg, owner, pkt);
}

void node_on_idle(void *arg)
{
	struct node *n = arg;

	merge_flush(n->merge);
	if (n->ops->idle)
		n->ops->idle(n->arg);
	node_end_turn(n);
}
