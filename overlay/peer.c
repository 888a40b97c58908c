/* SPDX-License-Identifier: Apache-2.0 */
/* peer: making, finding and removing those we speak with, and what the caller may set and ask. */
#include "overlay/internal.h"

struct overlay_peer *overlay_peer_find(const struct overlay *o, const uint8_t pub[static KEY_LEN])
{
	struct hash_node *n = hash_first(&o->by_key, hash_of(&o->by_key, pub, KEY_LEN));
	for (; n; n = hash_next(n)) {
		struct overlay_peer *p = container_of(n, struct overlay_peer, by_key);
		if (!memcmp(p->pub, pub, KEY_LEN))
			return p;
	}
	return NULL;
}

static uint64_t addr_hash(const struct overlay *o, const struct prefix *addr)
{
	return hash_of(&o->by_addr, addr->addr.b, sizeof(addr->addr.b));
}

static bool addr_known(const struct overlay *o, const struct prefix *addr)
{
	if (prefix_equal(addr, &o->own_addr))
		return true;
	struct hash_node *n = hash_first(&o->by_addr, addr_hash(o, addr));
	for (; n; n = hash_next(n))
		if (prefix_equal(&container_of(n, struct overlay_peer, by_addr)->addr, addr))
			return true;
	return false;
}

int overlay_peer_add(struct overlay *o, struct overlay_peer **pp, const uint8_t pub[static KEY_LEN],
		     const uint8_t *psk, const struct invite_claim *claim, void *user)
{
	uint8_t ss[KEY_LEN];
	int r = handshake_static_dh(ss, &o->self, pub); /* only to refuse keys of low order now */
	crypto_wipe(ss, sizeof(ss));
	if (r || !memcmp(pub, o->self.pub, KEY_LEN))
		return -EINVAL;
	struct prefix addr = overlay_prefix_of(pub);
	if (overlay_peer_find(o, pub) || addr_known(o, &addr))
		return -EEXIST;

	struct overlay_peer *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->overlay = o;
	memcpy(p->pub, pub, KEY_LEN);
	if (psk)
		memcpy(p->psk, psk, KEY_LEN);
	if (claim) {
		p->claim = *claim;
		p->has_claim = true;
	}
	p->addr = addr;
	p->user = user;
	cookie_jar_init(&p->jar, pub);
	queue_init(&p->queue);
	p->next = o->peers;
	p->link = &o->peers;
	if (p->next)
		p->next->link = &p->next;
	o->peers = p;
	hash_insert(&o->by_key, &p->by_key, hash_of(&o->by_key, pub, KEY_LEN));
	hash_insert(&o->by_addr, &p->by_addr, addr_hash(o, &addr));
	*pp = p;
	return 0;
}

static void forget_token(struct overlay_peer *p)
{
	if (p->token)
		crypto_wipe(p->token, p->token_len);
	free(p->token);
	p->token = NULL;
	p->token_len = 0;
}

int overlay_peer_set_token(struct overlay_peer *p, const char *token, size_t len)
{
	char *copy = NULL;
	if (token && (!len || len > TOKEN_MAX))
		return -EMSGSIZE;
	if (token && !token_valid(token, len))
		return -EINVAL;
	if (token && !(copy = malloc(len)))
		return -ENOMEM;
	if (copy)
		memcpy(copy, token, len);
	forget_token(p);
	p->token = copy;
	p->token_len = copy ? len : 0;
	return 0;
}

void overlay_peer_remove(struct overlay *o, struct overlay_peer *p)
{
	route_remove_all(p);
	handshake_cancel(p);
	half_open_end(p);
	forget_token(p);
	keypair_free(p, &p->current);
	keypair_free(p, &p->previous);
	keypair_free(p, &p->unconfirmed);
	queue_free_list(queue_take(&p->queue));
	hash_remove(&o->by_key, &p->by_key);
	hash_remove(&o->by_addr, &p->by_addr);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	crypto_wipe(p, sizeof(*p));
	free(p);
}

void *overlay_peer_user(const struct overlay_peer *p)
{
	return p->user;
}

const uint8_t *overlay_peer_pub(const struct overlay_peer *p)
{
	return p->pub;
}

void overlay_peer_initiate(struct overlay *o, struct overlay_peer *p, bool force, nsec_t now)
{
	(void)o;
	handshake_start(p, force, now);
}

void overlay_peer_persist(struct overlay *o, struct overlay_peer *p, bool on, nsec_t now)
{
	(void)o;
	if (p->t.persist == on)
		return;
	p->t.persist = on;
	p->t.persist_since = on ? now : 0;
	if (on && p->current && p->active)
		send_alive(p, now); /* so that the peer knows from the start */
	timers_update(p, now);
}

void overlay_kick(struct overlay *o, nsec_t now)
{
	for (struct overlay_peer *p = o->peers; p; p = p->next) {
		if (p->spoke)
			paths_kick(p, now);
		if (p->t.persist)
			handshake_start(p, true, now);
		timers_update(p, now);
	}
}

void overlay_peer_stats(const struct overlay_peer *p, struct overlay_peer_stats *st)
{
	*st = (struct overlay_peer_stats){
		.last_handshake = p->last_handshake,
		.last_receive = p->last_receive,
		.rtt = p->rtt,
		.rx_bytes = p->rx_bytes,
		.tx_bytes = p->tx_bytes,
		.rx_packets = p->rx_packets,
		.tx_packets = p->tx_packets,
		.queued = p->queue.count,
		.session = p->current != NULL,
	};
}
