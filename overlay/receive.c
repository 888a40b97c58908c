/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive: one datagram in. Data messages are opened into the caller's scratch memory; what is not
 * ours is counted and forgotten, and nothing answers it.
 */
#include "overlay/internal.h"

enum { RECEIVER_AT = 4, COUNTER_AT = 8 };

/* The length by the IP header: it cuts the padding. 0 = malformed. */
static size_t inner_length(const uint8_t *data, size_t len)
{
	size_t total = 0;
	if (data[0] >> 4 == 4 && len >= 20) {
		total = get_be16(data + 2);
		return total >= 20 && total <= len ? total : 0;
	}
	if (data[0] >> 4 == 6 && len >= 40)
		total = 40 + (size_t)get_be16(data + 4);
	return total <= len ? total : 0;
}

/* Where a message came from. */
struct origin {
	const struct path *path;
	struct keypair *kp;
	unsigned slot;
	bool newest; /* no message in its slot overtook it, nor was it sent before the peer moved */
};

static bool is_probe(const uint8_t *text, size_t len)
{
	return len && (text[0] == CONTROL_PROBE || text[0] == CONTROL_ANSWER);
}

static void receive_control(struct overlay_peer *p, const struct origin *from, const uint8_t *text,
			    size_t len, nsec_t now)
{
	if ((is_probe(text, len) && len < PROBE_LEN) ||
	    (text[0] == CONTROL_MOVED && (len < MOVED_LEN || text[1] >= PATH_SLOTS))) {
		overlay_drop(p->overlay, DROP_MALFORMED);
		return;
	}
	switch ((enum control)text[0]) {
	case CONTROL_MOVED:
		from->kp->floor[text[1]] = MAX(from->kp->floor[text[1]], get_le64(text + 2));
		/* fall through */
	case CONTROL_ALIVE:
		p->t.kept = true;
		if (now - p->t.last_sent >= SECONDS(KEEPALIVE_ANSWER))
			send_keepalive(p, now);
		timers_update(p, now);
		return;
	case CONTROL_PROBE:
		paths_probed(p, from->path, from->slot, text, len, now);
		return;
	case CONTROL_ANSWER:
		paths_answered(p, from->path, text, now);
		return;
	}
	overlay_drop(p->overlay, DROP_CONTROL);
}

/* The last minute in which we can still receive: an initiator who only listens must renew, too. */
static void renew_late(struct overlay_peer *p, nsec_t now)
{
	const nsec_t late = SECONDS(REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT);
	struct keypair *kp = p->current;
	if (!kp || !kp->initiator || now - kp->born < late || p->t.last_minute)
		return;
	p->t.last_minute = true;
	handshake_start(p, false, now);
}

/* Authenticated and new. */
static void accepted(struct overlay_peer *p, struct keypair *kp, const struct origin *from,
		     bool probe, nsec_t now)
{
	paths_received(p, from->path, from->slot, from->newest, probe, now);
	if (unlikely(kp == p->unconfirmed)) {
		bool fresh = !keypair_alive(p->current, now);
		keypair_confirm(p);
		timers_received(p, now);
		handshake_complete(p, fresh, now);
		return;
	}
	timers_received(p, now);
	renew_late(p, now);
}

static int deliver(struct overlay_peer *p, const struct origin *from, uint8_t *text, size_t len,
		   struct pkt *inner, nsec_t now)
{
	struct overlay *o = p->overlay;
	struct ipaddr src, dst;
	if (!len)
		return 0; /* keepalive */
	if (text[0] >> 4 != 4 && text[0] >> 4 != 6) {
		receive_control(p, from, text, len, now);
		return 0;
	}
	timers_received_data(p, now);
	size_t total = inner_length(text, len);
	if (!total || ip_addrs(text, total, &src, &dst)) {
		overlay_drop(o, DROP_MALFORMED);
		return 0;
	}
	if (overlay_route(o, &src) != p) {
		overlay_drop(o, DROP_SOURCE);
		return 0;
	}
	p->rx_packets++;
	p->rx_bytes += total;
	*inner = (struct pkt){.data = text, .len = (uint32_t)total};
	return 1;
}

static int receive_data(struct overlay *o, const struct path *from, const uint8_t *data, size_t len,
			uint8_t *scratch, struct pkt *inner, struct overlay_peer **peer, nsec_t now)
{
	struct session_index *si = index_find(o, get_le32(data + RECEIVER_AT));
	uint64_t counter = get_le64(data + COUNTER_AT);
	uint64_t count = counter & ((UINT64_C(1) << COUNT_BITS) - 1);
	unsigned slot = (unsigned)(counter >> COUNT_BITS);

	if (!si || !si->keypair || !keypair_alive(si->keypair, now) ||
	    count >= REJECT_AFTER_MESSAGES) {
		overlay_drop(o, DROP_NO_SESSION);
		return 0;
	}
	struct keypair *kp = si->keypair;
	struct overlay_peer *p = si->peer;
	if (slot >= PATH_SLOTS) {
		overlay_drop(o, DROP_LIMIT);
		return 0;
	}
	if (aead_open(o->cipher, scratch, data + MSG_DATA_HEAD_LEN, len - MSG_DATA_HEAD_LEN,
		      counter, kp->keys.receive)) {
		overlay_drop(o, DROP_AUTH);
		return 0;
	}
	struct replay *w = keypair_window(kp, slot);
	if (!w || !replay_accept(w, count)) {
		overlay_drop(o, w ? DROP_REPLAY : DROP_LIMIT);
		return 0;
	}
	struct origin origin = {
		.path = from,
		.kp = kp,
		.slot = slot,
		.newest = w->next == count + 1 && count >= kp->floor[slot],
	};
	len -= MSG_DATA_OVERHEAD;
	*peer = p;
	accepted(p, kp, &origin, is_probe(scratch, len), now);
	return deliver(p, &origin, scratch, len, inner, now);
}

int overlay_receive(struct overlay *o, const struct path *from, const uint8_t *data, size_t len,
		    uint8_t *scratch, struct pkt *inner, struct overlay_peer **peer, nsec_t now)
{
	uint32_t type = len >= MSG_HEAD_LEN ? get_le32(data) : 0;
	if (likely(type == MSG_DATA && len >= MSG_DATA_OVERHEAD))
		return receive_data(o, from, data, len, scratch, inner, peer, now);
	if (type != MSG_DATA && message_length_valid(type, len))
		handshake_receive(o, from, data, len, now);
	else
		overlay_drop(o, DROP_MALFORMED);
	return 0;
}
