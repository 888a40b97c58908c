/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trie: longest prefix match.
 *
 * Every node's prefix extends its parent's; the bit that follows the parent's prefix chooses the
 * child. A node without a peer exists only to fork, so it has two children: at most 2n - 1 nodes
 * for n routes, and a lookup visits at most one node per bit. IPv4 lies in the top 32 bits of `hi`.
 */
#include "overlay/trie.h"

struct bits {
	uint64_t hi, lo;
};

static struct bits bits_of(const struct ipaddr *a)
{
	if (a->family == 4)
		return (struct bits){.hi = (uint64_t)get_be32(a->b) << 32};
	return (struct bits){.hi = get_be64(a->b), .lo = get_be64(a->b + 8)};
}

static unsigned common(const struct route *r, struct bits b)
{
	uint64_t hi = r->hi ^ b.hi, lo = r->lo ^ b.lo;
	if (hi)
		return (unsigned)__builtin_clzll(hi);
	return lo ? 64 + (unsigned)__builtin_clzll(lo) : 128;
}

static bool bit_at(struct bits b, unsigned at)
{
	return (at < 64 ? b.hi >> (63 - at) : b.lo >> (63 - (at & 63))) & 1;
}

struct overlay_peer *trie_lookup(const struct trie *t, const struct ipaddr *a)
{
	struct overlay_peer *best = NULL;
	struct bits b = bits_of(a);
	for (const struct route *r = t->root; r && common(r, b) >= r->len;) {
		if (r->peer)
			best = r->peer;
		if (r->len == t->width)
			break;
		r = r->child[bit_at(b, r->len)];
	}
	return best;
}

struct route *trie_find(const struct trie *t, const struct prefix *p)
{
	struct bits b = bits_of(&p->addr);
	struct route *r = t->root;
	while (r && r->len < p->len && common(r, b) >= r->len)
		r = r->child[bit_at(b, r->len)];
	return r && r->len == p->len && common(r, b) >= r->len && r->peer ? r : NULL;
}

static struct route *node_new(struct bits b, uint8_t len)
{
	struct route *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->len = len;
	r->hi = len == 0 ? 0 : len >= 64 ? b.hi : b.hi & ~(UINT64_MAX >> len);
	r->lo = len <= 64 ? 0 : len == 128 ? b.lo : b.lo & ~(UINT64_MAX >> (len - 64));
	return r;
}

static void attach(struct route *parent, struct route *child)
{
	child->parent = parent;
	if (parent)
		parent->child[bit_at((struct bits){child->hi, child->lo}, parent->len)] = child;
}

/* Puts `fresh` where `old` was below its parent. */
static void replace(struct trie *t, struct route *old, struct route *fresh)
{
	struct route *parent = old->parent;
	if (parent)
		parent->child[parent->child[1] == old] = fresh;
	else
		t->root = fresh;
	if (fresh)
		fresh->parent = parent;
}

struct route *trie_insert(struct trie *t, const struct prefix *p)
{
	struct bits b = bits_of(&p->addr);
	struct route *parent = NULL, *r = t->root;
	while (r && r->len < p->len && common(r, b) >= r->len) {
		parent = r;
		r = r->child[bit_at(b, r->len)];
	}
	if (r && r->len == p->len && common(r, b) >= r->len)
		return r;
	struct route *leaf = node_new(b, p->len);
	if (!leaf)
		return NULL;
	if (!r) {
		if (parent)
			attach(parent, leaf);
		else
			t->root = leaf;
		return leaf;
	}
	unsigned shared = common(r, b);
	if (shared >= p->len) { /* the new one is a prefix of r */
		replace(t, r, leaf);
		attach(leaf, r);
		return leaf;
	}
	struct route *fork = node_new(b, (uint8_t)shared);
	if (!fork) {
		free(leaf);
		return NULL;
	}
	replace(t, r, fork);
	attach(fork, r);
	attach(fork, leaf);
	return leaf;
}

/* A node that neither has a peer nor forks is replaced by its only child, if any. */
static struct route *prune(struct trie *t, struct route *r)
{
	if (!r || r->peer || (r->child[0] && r->child[1]))
		return NULL;
	struct route *parent = r->parent;
	replace(t, r, r->child[0] ? r->child[0] : r->child[1]);
	free(r);
	return parent;
}

void trie_remove(struct trie *t, struct route *r)
{
	r->peer = NULL;
	prune(t, prune(t, r));
}
