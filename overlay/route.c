/* SPDX-License-Identifier: Apache-2.0 */
/* route: which peer a prefix belongs to; the tries, and each peer's list of what is its. */
#include "overlay/internal.h"

static struct trie *trie_of(struct overlay *o, const struct ipaddr *a)
{
	return a->family == 4 ? &o->routes4 : a->family == 6 ? &o->routes6 : NULL;
}

static void route_unlink(struct route *r)
{
	r->peer->nroutes--;
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
}

int overlay_route_add(struct overlay *o, const struct prefix *pre, struct overlay_peer *p)
{
	struct trie *t = trie_of(o, &pre->addr);
	if (!t || pre->len > t->width)
		return -EINVAL;
	struct route *r = trie_find(t, pre);
	if (r && r->peer == p)
		return 0;
	if (p->nroutes >= ROUTES_PER_PEER)
		return -ENOSPC;
	if (!r)
		r = trie_insert(t, pre);
	if (!r)
		return -ENOMEM;
	if (r->peer)
		route_unlink(r);
	r->of = t;
	r->peer = p;
	r->next = p->routes;
	r->link = &p->routes;
	if (r->next)
		r->next->link = &r->next;
	p->routes = r;
	p->nroutes++;
	return 0;
}

int overlay_route_remove(struct overlay *o, const struct prefix *pre)
{
	struct trie *t = trie_of(o, &pre->addr);
	struct route *r = t && pre->len <= t->width ? trie_find(t, pre) : NULL;
	if (!r)
		return -ENOENT;
	route_unlink(r);
	trie_remove(t, r);
	return 0;
}

struct overlay_peer *overlay_route(const struct overlay *o, const struct ipaddr *dst)
{
	if (dst->family == 4)
		return trie_lookup(&o->routes4, dst);
	return dst->family == 6 ? trie_lookup(&o->routes6, dst) : NULL;
}

void route_remove_all(struct overlay_peer *p)
{
	while (p->routes) {
		struct route *r = p->routes;
		struct trie *t = r->of;
		route_unlink(r);
		trie_remove(t, r);
	}
}
