/* SPDX-License-Identifier: Apache-2.0 */
/* send: sealing inner packets and the small messages of our own. The data path:
 * no allocation here. */
#include "overlay/internal.h"

enum { RECEIVER_AT = 4, COUNTER_AT = 8 };

/* A whole MSG_DATA into `out`; returns its length. */
static size_t seal(struct overlay *o, struct keypair *kp, unsigned slot, const uint8_t *in,
		   size_t len, uint8_t *out)
{
	/* Padding hides lengths, but must not make a datagram longer than a full packet's. */
	size_t padded = len > INNER_MTU ? len : MIN(ROUND_UP(len, PADDING), (size_t)INNER_MTU);
	if (padded != len) {
		uint8_t *copy = o->padded + AEAD_HEAD;
		memcpy(copy, in, len);
		memset(copy + len, 0, padded - len);
		in = copy;
	}
	uint64_t counter = kp->count[slot]++ | (uint64_t)slot << COUNT_BITS;
	kp->sent++;
	aead_seal(o->cipher, out + MSG_DATA_HEAD_LEN, in, padded, counter, kp->keys.send);
	put_le32(out, MSG_DATA);
	put_le32(out + RECEIVER_AT, kp->remote_index);
	put_le64(out + COUNTER_AT, counter);
	return padded + MSG_DATA_OVERHEAD;
}

static bool renewal_due(const struct keypair *kp, nsec_t now)
{
	return kp->sent > REKEY_AFTER_MESSAGES ||
	       (kp->initiator && now - kp->born >= SECONDS(REKEY_AFTER_TIME));
}

int overlay_seal(struct overlay *o, struct overlay_peer *p, const uint8_t *in, size_t len,
		 uint8_t *out, size_t *outlen, struct path *path, nsec_t now)
{
	struct keypair *kp = p->current;
	if (unlikely(!p->active))
		return -ENETUNREACH;
	if (unlikely(!len || len > PKT_MAX))
		return -EMSGSIZE;
	if (unlikely(!keypair_alive(kp, now))) {
		handshake_start(p, false, now);
		return -EAGAIN;
	}
	*outlen = seal(o, kp, (unsigned)(p->active - p->ways), in, len, out);
	*path = p->active->path;
	p->tx_packets++;
	p->tx_bytes += len;
	timers_sent(p, true, now);
	if (unlikely(renewal_due(kp, now)))
		handshake_start(p, false, now);
	return 0;
}

void overlay_queue(struct overlay *o, struct overlay_peer *p, const uint8_t *packet, size_t len,
		   nsec_t now)
{
	unsigned dropped = len <= PKT_MAX ? queue_push(&p->queue, packet, len) : 1;
	o->drops[DROP_QUEUE_FULL] += dropped;
	handshake_start(p, false, now);
}

void send_queued(struct overlay_peer *p)
{
	struct overlay *o = p->overlay;
	struct queued *list = queue_take(&p->queue);
	for (struct queued *n = list; n; n = n->next)
		o->ops.unqueue(o->arg, p, n->data, n->len);
	queue_free_list(list);
}

void send_on(struct overlay_peer *p, const struct path *path, unsigned slot, const uint8_t *text,
	     size_t len, nsec_t now)
{
	struct overlay *o = p->overlay;
	uint8_t in[AEAD_HEAD + INNER_MTU + AEAD_TAIL] = {0};
	uint8_t out[AEAD_HEAD + MSG_DATA_OVERHEAD + INNER_MTU + AEAD_TAIL] = {0};
	struct keypair *kp = p->current;
	if (!keypair_alive(kp, now))
		return;
	memcpy(in + AEAD_HEAD, text, len);
	size_t n = seal(o, kp, slot, in + AEAD_HEAD, len, out + AEAD_HEAD);
	o->ops.send(o->arg, path, out + AEAD_HEAD, n);
}

static void send_small(struct overlay_peer *p, const uint8_t *text, size_t len, nsec_t now)
{
	if (!p->active || !keypair_alive(p->current, now))
		return;
	timers_sent(p, false, now);
	send_on(p, &p->active->path, (unsigned)(p->active - p->ways), text, len, now);
	if (renewal_due(p->current, now))
		handshake_start(p, false, now);
}

void send_keepalive(struct overlay_peer *p, nsec_t now)
{
	send_small(p, (const uint8_t *)"", 0, now);
}

void send_moved(struct overlay_peer *p, unsigned slot, nsec_t now)
{
	uint8_t text[MOVED_LEN] = {CONTROL_MOVED, (uint8_t)slot};
	if (p->current)
		put_le64(text + 2, p->current->count[slot]);
	send_small(p, text, sizeof(text), now);
}

void send_alive(struct overlay_peer *p, nsec_t now)
{
	send_small(p, (const uint8_t[]){CONTROL_ALIVE}, 1, now);
}
