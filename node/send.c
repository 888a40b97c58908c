/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out. TCP packets are cut to what the path's MTU takes, each segment where it lies, or in
 * `segment` (whose surroundings are ours, as sealing needs), and sealed straight into the arena
 * behind the one before. So a super-packet leaves as one super-datagram: equal strides, the last
 * one shorter.
 *
 * On a stream a super-packet goes whole: there is nothing to cut it to, and one message costs less
 * than forty.
 *
 * Other packets are not cut: up to INNER_MTU they are carried (in fragments, should the path be
 * that small), above it the sender hears of it.
 */
#include <errno.h>

#include "node/cut.h"
#include "node/internal.h"

_Static_assert((int)CUT_HEAD >= AEAD_HEAD && (int)CUT_TAIL >= AEAD_TAIL, "room to seal");

enum { LEAST_FIT = 512 /* inner bytes per datagram, whatever a path claims */ };

void node_flush(struct node *n)
{
	struct batch *b = &n->out;

	if (b->n)
		transport_send(n->udp, &b->path, b->arena, b->len, b->stride);
	b->n = 0;
	b->len = 0;
	carriers_flush(n);
}

/* A message that is not sealed by us here, or not where it goes to: copied. */
static void send_message(struct node *n, const struct path *path, const uint8_t *data, size_t len)
{
	struct transport *t = node_transport(n, path);
	struct carrier *c = carrier_of(n, path);

	if (!t) {
		n->past.tx_errors++;
		return;
	}
	transport_send(t, path, data, len, len);
	if (c)
		carrier_touch(c);
}

void node_on_send(void *arg, const struct path *path, const uint8_t *data, size_t len)
{
	struct node *n = arg;

	/* seal_into_stream() holds room in a queue: it sends this after its own. A second one, or
	 * one too long, would be an error of ours; to lose it costs a retry. */
	if (n->sealing) {
		if (n->late_len || len > sizeof(n->late)) {
			n->past.tx_errors++;
			return;
		}
		n->late_path = *path;
		n->late_len = len;
		memcpy(n->late, data, len);
		return;
	}
	send_message(n, path, data, len);
}

/* May a datagram of `len` bytes to `path` follow those in the batch? One that
 * is shorter ended it. */
static bool batch_takes(const struct batch *b, const struct path *path, size_t len)
{
	return b->n < BATCH_DATAGRAMS && b->len == b->n * b->stride && len <= b->stride &&
	       b->len + len <= BATCH_BYTES && path_equal(&b->path, path);
}

/* Seals `packet` (with the room around it that sealing needs) into the batch of UDP. */
static int seal_into_batch(struct node *n, struct overlay_peer *p, const uint8_t *packet,
			   size_t len, nsec_t now)
{
	struct batch *b = &n->out;
	uint8_t *out = b->arena + b->len; /* there is always room for one more */
	struct path path;
	size_t out_len;
	int err = overlay_seal(n->overlay, p, packet, len, out, &out_len, &path, now);

	if (err)
		return err;
	n->stats.inner_out++;
	if (unlikely(path.transport != UDP_ID || !n->udp)) {
		send_message(n, &path, out, out_len);
		return 0;
	}
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
	return 0;
}

/* Seals `packet` (with the room around it that sealing needs) into the queue of a stream. */
static int seal_into_stream(struct node *n, struct carrier *c, struct overlay_peer *p,
			    const uint8_t *packet, size_t len, nsec_t now)
{
	size_t most = len <= INNER_MTU ? DATAGRAM_MAX : len + MSG_DATA_OVERHEAD, out_len;
	uint8_t *out = transport_stream_reserve(c->transport, most);
	struct path path;
	bool here;
	int err;

	if (!out) /* full: counted there */
		return 0;
	n->sealing = true;
	err = overlay_seal(n->overlay, p, packet, len, out, &out_len, &path, now);
	n->sealing = false;
	here = !err && path.transport == c->id;
	transport_stream_commit(c->transport, here ? out_len : 0);
	carrier_touch(c);
	if (!err && !here) {
		if (out_len <= DATAGRAM_MAX)
			send_message(n, &path, out, out_len);
		else
			n->stats.too_big++;
	}
	if (n->late_len)
		send_message(n, &n->late_path, n->late, n->late_len);
	n->late_len = 0;
	n->stats.inner_out += !err;
	return err;
}

/* Seals `packet` (with the room around it that sealing needs) and puts it into the batch, or the
 * queue of the stream, that its path is about. */
static int seal(struct node *n, struct overlay_peer *p, const uint8_t *packet, size_t len,
		nsec_t now)
{
	const struct path *where = overlay_peer_path(p);
	struct carrier *c = where ? carrier_of(n, where) : NULL;

	if (c)
		return seal_into_stream(n, c, p, packet, len, now);
	return seal_into_batch(n, p, packet, len, now);
}

/* One packet of at most INNER_MTU bytes, with the room around it that sealing needs. */
static void send_segment(struct node *n, struct overlay_peer *p, const uint8_t *packet, size_t len,
			 nsec_t now)
{
	int err = seal(n, p, packet, len, now);

	if (err == -EAGAIN)
		overlay_queue(n->overlay, p, packet, len, now);
	else if (err)
		n->stats.no_route++;
}

/* Inner bytes per message on the way to `p`. What is sealed is padded to 16 bytes, but not above
 * INNER_MTU. */
static uint32_t fit_of(struct node *n, const struct overlay_peer *p)
{
	const struct path *path = overlay_peer_path(p);
	struct transport *t = path ? node_transport(n, path) : NULL;
	uint32_t most = path && path->transport != UDP_ID ? PKT_MAX : INNER_MTU;
	size_t fit;

	if (!t)
		return INNER_MTU;
	fit = transport_mtu(t, path) - MSG_DATA_OVERHEAD;
	if (fit >= most)
		return most;
	return (uint32_t)MAX(fit & ~(size_t)15, LEAST_FIT);
}

/* False: it must be cut. So must what has to wait for a session, since the path may be another one
 * by then. */
static bool send_whole(struct node *n, struct overlay_peer *p, const struct pkt *pkt, nsec_t now)
{
	struct segment s;
	int err;

	if (!segment_parse(&s, pkt->data, pkt->len))
		return false;
	memcpy(n->segment, pkt->data, pkt->len);
	err = seal(n, p, n->segment, pkt->len, now);
	if (err == -EAGAIN)
		return false;
	if (err)
		n->stats.no_route++;
	n->stats.super_out++;
	return true;
}

void node_send_to(struct node *n, struct overlay_peer *p, struct pkt *pkt)
{
	nsec_t now = clock_boot();
	uint32_t fit = fit_of(n, p);
	uint8_t *segment;
	struct cut cut;
	size_t len;

	node_end_turn(n);
	if (pkt->len > INNER_MTU && pkt->len <= fit && send_whole(n, p, pkt, now))
		return;
	fit = MIN(fit, (uint32_t)INNER_MTU);
	if ((pkt->gso || pkt->len > fit) && cut_begin(&cut, pkt, fit)) {
		n->stats.super_out += pkt->gso != 0;
		while ((segment = cut_next(&cut, n->segment, &len)))
			send_segment(n, p, segment, len, now);
	} else if (pkt->len <= INNER_MTU) {
		memcpy(n->segment, pkt->data, pkt->len);
		send_segment(n, p, n->segment, pkt->len, now);
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

/* The path that it takes in the end may be smaller than what it was cut to. */
void node_on_unqueue(void *arg, struct overlay_peer *p, uint8_t *packet, size_t len)
{
	struct node *n = arg;
	nsec_t now = clock_boot();
	uint32_t fit = MIN(fit_of(n, p), (uint32_t)INNER_MTU);
	struct pkt pkt = {.data = packet, .len = (uint32_t)len};
	uint8_t *segment;
	struct cut cut;

	if (len > INNER_MTU)
		return;
	node_end_turn(n);
	if (len <= fit || !cut_begin(&cut, &pkt, fit)) {
		memcpy(n->segment, packet, len);
		n->stats.no_route += seal(n, p, n->segment, len, now) != 0;
		return;
	}
	while ((segment = cut_next(&cut, n->segment, &len)))
		n->stats.no_route += seal(n, p, segment, len, now) != 0;
}
