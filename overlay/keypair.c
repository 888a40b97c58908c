/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keypair: the three slots of a peer, so that no packet is lost while keys change.
 *
 *   current      what we seal with
 *   previous     what the peer may still have in flight
 *   unconfirmed  the peer started this one; we must not seal with it before it has used it, since
 *                our response may be lost
 *
 * WireGuard calls the third `next`. Ours differs in one point: `previous` stays when an unconfirmed
 * pair arrives, for until that is confirmed packets under `previous` may still come.
 */
#include "overlay/internal.h"

struct keypair *keypair_new(struct overlay_peer *p, bool initiator, uint32_t index, nsec_t now)
{
	struct keypair *kp = calloc(1, sizeof(*kp));
	if (!kp)
		return NULL;
	kp->index.peer = p;
	kp->index.keypair = kp;
	kp->initiator = initiator;
	kp->born = now;
	replay_init(&kp->window);
	index_insert(p->overlay, &kp->index, index);
	return kp;
}

void keypair_free(struct overlay_peer *p, struct keypair **kpp)
{
	struct keypair *kp = steal_ptr(*kpp);
	if (!kp)
		return;
	index_remove(p->overlay, &kp->index);
	for (unsigned i = 0; i < ARRAY_SIZE(kp->more); i++)
		free(kp->more[i]);
	crypto_wipe(kp, sizeof(*kp));
	free(kp);
}

bool keypair_alive(const struct keypair *kp, nsec_t now)
{
	return kp && now - kp->born < SECONDS(REJECT_AFTER_TIME) &&
	       kp->sent < REJECT_AFTER_MESSAGES;
}

struct replay *keypair_window(struct keypair *kp, unsigned slot)
{
	if (!slot)
		return &kp->window;
	if (slot >= PATH_SLOTS)
		return NULL;
	struct replay **w = &kp->more[slot - 1];
	if (!*w && (*w = malloc(sizeof(**w))))
		replay_init(*w);
	return *w;
}

void keypair_install(struct overlay_peer *p, struct keypair *kp)
{
	keypair_free(p, &p->previous);
	if (p->unconfirmed) {
		/* The peer may be using it already: the message that would confirm it is on its
		 * way. */
		p->previous = steal_ptr(p->unconfirmed);
		keypair_free(p, &p->current);
	} else {
		p->previous = p->current;
	}
	p->current = kp;
}

void keypair_offer(struct overlay_peer *p, struct keypair *kp)
{
	keypair_free(p, &p->unconfirmed);
	p->unconfirmed = kp;
}

void keypair_confirm(struct overlay_peer *p)
{
	keypair_free(p, &p->previous);
	p->previous = p->current;
	p->current = steal_ptr(p->unconfirmed);
}
