/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out. TCP packets are cut to what the path's MTU takes, each segment is composed in
 * `segment` (whose surroundings are ours, as sealing needs) and sealed straight into the arena
 * behind the one before. So a super-packet leaves as one super-datagram: equal strides, the last
 * one shorter.
 *
 * Other packets are not cut: up to INNER_MTU they are carried (in fragments, should the path be
 * that small), above it the sender hears of it.
 */
#include <errno.h>

#include "node/cut.h"
#include "node/internal.h"

enum { LEAST_FIT = 512 /* inner bytes per datagram, whatever a path claims */ };

void node_flush(struct node *n)
{
	struct batch *b = &n->out;

	if (!b->n)
		return;
	transport_send(n->udp, &b->path, b->arena, b->len, b->stride);
	b->n = 0;
	b->len = 0;
}

/* May a datagram of `len` bytes to `path` follow those in the batch? One that
 * is shorter ended it. */
static bool batch_takes(const struct batch *b, const struct path *path, size_t len)
{
	return b->n < BATCH_DATAGRAMS && b->len == b->n * b->stride && len <= b->stride &&
	       b->len + len <= BATCH_BYTES && path_equal(&b->path, path);
}

/* Seals `packet` (with the room around it that sealing needs) and puts it into the batch. */
static int seal(struct node *n, struct overlay_peer *p, const uint8_t *packet, size_t len,
		nsec_t now)
{
	struct batch *b = &n->out;
	uint8_t *out = b->arena + b->len; /* there is always room for one more */
	struct path path;
	size_t out_len;
	int err = overlay_seal(n->overlay, p, packet, len, out, &out_len, &path, now);

	if (err)
		return err;
	if (b->n && !batch_takes(b, &path, out_len)) {
		node_flush(n);
		memmove(b->arena, out, out_len);
	}
	if (!b->n) {
		b->path = path;
		b->stride = out_len;
	}
	b->n++;
	b->len += out_len;
	n->stats.inner_out++;
	return 0;
}

/* One packet of at most INNER_MTU bytes that lies in n->segment. */
static void send_segment(struct node *n, struct overlay_peer *p, size_t len, nsec_t now)
{
	int err = seal(n, p, n->segment, len, now);

	if (err == -EAGAIN)
		overlay_queue(n->overlay, p, n->segment, len, now);
	else if (err)
		n->stats.no_route++;
}

/* Inner bytes per datagram on the way to `p`. What is sealed is padded to 16 bytes, but not above
 * INNER_MTU. */
static uint32_t fit_of(struct node *n, const struct overlay_peer *p)
{
	const struct path *path = overlay_peer_path(p);
	size_t fit;

	if (!path)
		return INNER_MTU;
	fit = transport_mtu(n->udp, path) - MSG_DATA_OVERHEAD;
	if (fit >= INNER_MTU)
		return INNER_MTU;
	return (uint32_t)MAX(fit & ~(size_t)15, LEAST_FIT);
}

void node_send_to(struct node *n, struct overlay_peer *p, struct pkt *pkt)
{
	nsec_t now = clock_boot();
	uint32_t fit = fit_of(n, p);
	struct cut cut;
	size_t len;

	node_end_turn(n);
	if ((pkt->gso || pkt->len > fit) && cut_begin(&cut, pkt, fit)) {
		n->stats.super_out += pkt->gso != 0;
		while ((len = cut_next(&cut, n->segment)) > 0)
			send_segment(n, p, len, now);
	} else if (pkt->len <= INNER_MTU) {
		memcpy(n->segment, pkt->data, pkt->len);
		send_segment(n, p, pkt->len, now);
	} else {
		n->stats.too_big++;
		if (n->ops->too_big)
			n->ops->too_big(n->arg, pkt, INNER_MTU);
	}
}

void node_send(struct node *n, struct pkt *pkt)
{
	struct ipaddr src, dst;
	struct overlay_peer *p = NULL;

	if (!ip_addrs(pkt->data, pkt->len, &src, &dst))
		p = overlay_route(n->overlay, &dst);
	if (!p) {
		n->stats.no_route++;
		return;
	}
	node_send_to(n, p, pkt);
}

void node_on_unqueue(void *arg, struct overlay_peer *p, const uint8_t *packet, size_t len)
{
	struct node *n = arg;

	if (len > INNER_MTU)
		return;
	memcpy(n->segment, packet, len);
	if (seal(n, p, n->segment, len, clock_boot()))
		n->stats.no_route++;
	node_end_turn(n);
}
