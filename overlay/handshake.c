/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake: starting them, answering them, and whom we answer at all.
 *
 * What comes in passes these gates in order, the cheap ones first: MAC1 (knows our public key),
 * load (cookie, rate per source), the Noise payload (holds the private key it claims), the peer
 * (known, or admitted), timestamp (no replay), rate per peer, collision with our own initiation.
 * Only then is anything of the peer changed.
 */
#include "overlay/internal.h"

/* Where the indices stand in the messages (docs/protocol.md); their rest is crypto's. */
enum { SENDER_AT = 4, RESPONSE_RECEIVER_AT = 8, COOKIE_RECEIVER_AT = 4 };

/* What a cookie is bound to: transport, address, port. */
struct source_bytes {
	uint8_t b[22];
};

static struct source_bytes source_of(const struct path *from)
{
	struct source_bytes s = {.b = {0}};
	struct ipaddr ip = sockaddr_ip(&from->remote);
	put_be32(s.b, from->transport);
	memcpy(s.b + 4, ip.b, sizeof(ip.b));
	put_be16(s.b + 20, sockaddr_port(&from->remote));
	return s;
}

/* --- our side starts -------------------------------------------------------------------------- */

void handshake_cancel(struct overlay_peer *p)
{
	index_remove(p->overlay, &p->pending.index);
	handshake_wipe(&p->pending.hs);
}

void handshake_send_initiation(struct overlay_peer *p, nsec_t now)
{
	struct overlay *o = p->overlay;
	struct pending *pe = &p->pending;
	uint8_t msg[MSG_TOKEN_MAX_LEN];

	handshake_cancel(p);
	pe->index.peer = p;
	index_insert(o, &pe->index, 0);
	pe->hs.local_index = pe->index.value;
	memcpy(pe->hs.psk, p->psk, KEY_LEN);
	tai64n_next(pe->hs.timestamp, o->ops.real(o->arg), &o->last_stamp);
	if (o->ops.stamp)
		o->ops.stamp(o->arg, o->last_stamp);
	pe->path = *paths_initiation(p, now);
	pe->sent = now;
	pe->token = p->token != NULL;
	timers_initiated(p, now);
	int len = handshake_initiate(&pe->hs, msg, &o->self, p->pub,
				     p->has_claim ? &p->claim : NULL, p->token, p->token_len);
	if (len < 0) {
		handshake_cancel(p);
		return;
	}
	cookie_add_macs(&p->jar, msg, (size_t)len, now);
	o->ops.send(o->arg, &pe->path, msg, (size_t)len);
}

void handshake_start(struct overlay_peer *p, bool force, nsec_t now)
{
	struct timers *t = &p->t;
	if (!p->active || (!force && t->retry_at))
		return;
	t->attempts = 0;
	t->first_attempt = now;
	t->eager = force;
	nsec_t earliest = t->last_handshake_sent + SECONDS(REKEY_TIMEOUT);
	if (!force && t->last_handshake_sent && now < earliest) {
		t->retry_at = earliest;
		timers_arm(p, earliest);
		return;
	}
	handshake_send_initiation(p, now);
}

/* --- done ------------------------------------------------------------------------------------- */

void half_open_end(struct overlay_peer *p)
{
	if (!p->half_open)
		return;
	admission_half_open_end(&p->overlay->admission, p->half_open);
	p->half_open = NULL;
}

void handshake_complete(struct overlay_peer *p, bool fresh, nsec_t now)
{
	struct overlay *o = p->overlay;
	handshake_cancel(p);
	half_open_end(p);
	timers_complete(p, now);
	paths_session(p, fresh, now);
	if (o->ops.established)
		o->ops.established(o->arg, p, fresh);

	if (p->active)
		send_queued(p);
	if (p->current->initiator && !p->current->sent) {
		if (p->t.persist)
			send_alive(p, now);
		else
			send_keepalive(p, now);
	}
	timers_update(p, now);
}

/* --- the peer starts -------------------------------------------------------------------------- */

/*
 * Both sides started at once: the lower key's initiation goes on, the other's is ignored. But only
 * if ours can have been on its way to where theirs came from; else ours may never arrive, and
 * ignoring theirs would be a deadlock.
 */
static bool ours_wins(const struct overlay_peer *p, bool token, const struct path *from, nsec_t now)
{
	const struct pending *pe = &p->pending;
	if (!pe->index.value || now - pe->sent >= SECONDS(COLLISION_TIME) ||
	    !path_equal(&pe->path, from))
		return false;
	/* Who is asked by a token asks others, and initiates when it knows: it took our message
	 * then, and not as an initiation. So the one without a token wins. */
	if (pe->token != token)
		return token;
	return memcmp(p->overlay->self.pub, p->pub, KEY_LEN) < 0;
}

static bool peer_floods(struct overlay_peer *p, nsec_t now)
{
	if (now - p->second >= NSEC_PER_SEC) {
		p->second = now;
		p->initiations = 0;
	}
	return ++p->initiations > INITIATIONS_PER_SECOND;
}

/* The sender is who it says, the message is new: `p` may change from here on. */
static void respond(struct overlay_peer *p, struct handshake *hs, bool token,
		    const struct path *from, nsec_t now)
{
	struct overlay *o = p->overlay;
	uint8_t msg[MSG_RESPONSE_LEN];
	bool ignore = ours_wins(p, token, from, now);

	memcpy(p->greatest_stamp, hs->timestamp, TAI64N_LEN);
	paths_received_handshake(p, from, 0, now);
	timers_received(p, now);
	if (ignore)
		return;
	struct keypair *kp = keypair_new(p, false, 0, now);
	if (!kp) {
		overlay_drop(o, DROP_LIMIT);
		return;
	}
	kp->remote_index = hs->remote_index;
	hs->local_index = kp->index.value;
	memcpy(hs->psk, p->psk, KEY_LEN);
	if (handshake_respond(hs, msg, &kp->keys)) {
		keypair_free(p, &kp);
		overlay_drop(o, DROP_HANDSHAKE);
		return;
	}
	handshake_cancel(p);
	keypair_offer(p, kp);
	timers_responded(p, now);
	cookie_add_macs(&p->jar, msg, sizeof(msg), now);
	o->ops.send(o->arg, from, msg, sizeof(msg));
}

/* Nobody we know, but holder of its key: the caller decides. NULL with the drop counted. */
static struct overlay_peer *admit(struct overlay *o, const struct handshake *hs,
				  const struct overlay_credential *cred, const struct path *from,
				  nsec_t now)
{
	if (!o->ops.admit) {
		overlay_drop(o, DROP_HANDSHAKE);
		return NULL;
	}
	struct source *source = admission_half_open_begin(&o->admission, from, now);
	if (!source) {
		overlay_drop(o, DROP_LIMIT);
		return NULL;
	}
	struct overlay_peer *p = o->ops.admit(o->arg, hs->remote_static, cred, from);
	if (!p || memcmp(p->pub, hs->remote_static, KEY_LEN)) {
		admission_half_open_end(&o->admission, source);
		overlay_drop(o, DROP_HANDSHAKE);
		return NULL;
	}
	p->half_open = source;
	p->half_open_until = now + SECONDS(HALF_OPEN_TIME);
	return p;
}

static void send_cookie(struct overlay *o, const struct path *from, const uint8_t *msg, size_t len,
			nsec_t now)
{
	uint8_t reply[MSG_COOKIE_LEN];
	struct source_bytes s = source_of(from);
	cookie_reply(&o->checker, reply, msg, len, s.b, sizeof(s.b), now);
	overlay_drop(o, DROP_UNDER_LOAD);
	o->ops.send(o->arg, from, reply, sizeof(reply));
}

static void open_initiation(struct overlay *o, const struct path *from, const uint8_t *msg,
			    size_t len, bool cookie, struct handshake *hs, struct initiation *in,
			    nsec_t now)
{
	if (handshake_consume_initiation(hs, msg, len, &o->self, in)) {
		overlay_drop(o, DROP_HANDSHAKE);
		return;
	}
	const struct overlay_credential cred = {
		.claim = in->type == MSG_INVITATION ? &in->claim : NULL,
		.token = in->type == MSG_TOKEN ? in->token : NULL,
		.token_len = in->token_len,
		.message = msg,
		.message_len = len,
	};
	struct overlay_peer *p = overlay_peer_find(o, hs->remote_static);
	if (!p) {
		if (admission_half_open_fits(&o->admission, from, cookie))
			p = admit(o, hs, &cred, from, now);
		else if (cookie || !o->ops.admit)
			overlay_drop(o, DROP_LIMIT);
		else
			send_cookie(o, from, msg, len, now);
	}
	if (!p)
		return;
	if (memcmp(hs->timestamp, p->greatest_stamp, TAI64N_LEN) <= 0)
		overlay_drop(o, DROP_OLD_INITIATION);
	else if (peer_floods(p, now))
		overlay_drop(o, DROP_LIMIT);
	else
		respond(p, hs, in->type == MSG_TOKEN, from, now);
	timers_update(p, now);
}

static void receive_initiation(struct overlay *o, const struct path *from, const uint8_t *msg,
			       size_t len, bool cookie, nsec_t now)
{
	if (admission_under_load(&o->admission, now)) {
		if (!cookie) {
			send_cookie(o, from, msg, len, now);
			return;
		}
		if (!admission_rate(&o->admission, from, now)) {
			overlay_drop(o, DROP_LIMIT);
			return;
		}
	}
	struct handshake hs = {.initiator = false};
	struct initiation in;
	open_initiation(o, from, msg, len, cookie, &hs, &in, now);
	handshake_wipe(&hs);
	crypto_wipe(&in, sizeof(in));
}

/* --- the peer answers ------------------------------------------------------------------------- */

static void receive_response(struct overlay *o, const struct path *from, const uint8_t *msg,
			     size_t len, nsec_t now)
{
	struct session_index *si = index_find(o, get_le32(msg + RESPONSE_RECEIVER_AT));
	if (!si || si->keypair) {
		overlay_drop(o, DROP_NO_SESSION);
		return;
	}
	struct overlay_peer *p = si->peer;
	struct transport_keys keys;
	if (handshake_consume_response(&p->pending.hs, msg, len, &o->self, &keys)) {
		overlay_drop(o, DROP_HANDSHAKE);
		return;
	}
	uint32_t index = p->pending.index.value;
	handshake_cancel(p);
	struct keypair *kp = keypair_new(p, true, index, now);
	if (kp) {
		bool fresh = !keypair_alive(p->current, now);
		kp->remote_index = get_le32(msg + SENDER_AT);
		kp->keys = keys;
		p->rtt = now - p->pending.sent;
		keypair_install(p, kp);
		timers_received(p, now);
		paths_received_handshake(p, from, MAX(p->rtt, 1U), now);
		handshake_complete(p, fresh, now);
	} else {
		overlay_drop(o, DROP_LIMIT);
	}
	crypto_wipe(&keys, sizeof(keys));
}

static void receive_cookie(struct overlay *o, const uint8_t *msg, size_t len, nsec_t now)
{
	struct session_index *si = index_find(o, get_le32(msg + COOKIE_RECEIVER_AT));
	if (!si || si->keypair) {
		overlay_drop(o, DROP_NO_SESSION);
		return;
	}
	struct overlay_peer *p = si->peer;
	bool had = p->jar.cookie_born && now - p->jar.cookie_born < SECONDS(COOKIE_TIME);
	if (cookie_consume(&p->jar, msg, len, now)) {
		overlay_drop(o, DROP_HANDSHAKE);
		return;
	}
	/* The first cookie is used soon, not at the next retry; a second one waits, lest two
	 * parties spin. */
	if (!had && p->t.retry_at) {
		nsec_t soon = now + NSEC_PER_SEC / 10 + overlay_jitter(o, NSEC_PER_SEC / 10);
		p->t.retry_at = MIN(p->t.retry_at, soon);
		timers_arm(p, p->t.retry_at);
	}
}

void handshake_receive(struct overlay *o, const struct path *from, const uint8_t *msg, size_t len,
		       nsec_t now)
{
	if (msg[0] == MSG_COOKIE) {
		receive_cookie(o, msg, len, now);
		return;
	}
	struct source_bytes s = source_of(from);
	enum mac_verdict mac = cookie_check(&o->checker, msg, len, s.b, sizeof(s.b), now);
	if (mac == MAC_INVALID)
		overlay_drop(o, DROP_MAC);
	else if (msg[0] == MSG_RESPONSE)
		receive_response(o, from, msg, len, now);
	else
		receive_initiation(o, from, msg, len, mac == MAC_VALID_WITH_COOKIE, now);
}
