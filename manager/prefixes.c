/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of prefixes: the fewest that say the same. */
#include "manager/kubernetes.h"

enum { POD_PREFIX_LEN = 24, /* seen 10.1.2.3: 10.1.2.0/24 */ POD_PREFIX_LEN_6 = 64 };

struct prefix prefix_around(const struct ipaddr *ip)
{
	struct prefix p = {.addr = *ip, .len = ip->family == 4 ? POD_PREFIX_LEN : POD_PREFIX_LEN_6};

	memset(p.addr.b + p.len / 8, 0, sizeof(p.addr.b) - p.len / 8);
	return p;
}

bool prefixes_add(struct config_prefixes *l, const struct prefix *p)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (prefix_equal(&l->p[i], p))
			return false;
	}
	if (l->n == CONFIG_PREFIXES)
		return false;
	l->p[l->n++] = *p;
	return true;
}

/* Two halves of one are one: the nodes' /24s of a /16 are few routes then. */
static bool halves(const struct prefix *a, const struct prefix *b, struct prefix *whole)
{
	uint8_t bit;

	if (a->len != b->len || !a->len || a->addr.family != b->addr.family)
		return false;
	bit = (uint8_t)(0x80 >> (a->len - 1) % 8);
	*whole = *a;
	whole->len--;
	whole->addr.b[(a->len - 1) / 8] &= (uint8_t)~bit;
	return prefix_contains(whole, &b->addr) && !prefix_equal(a, b);
}

static int by_address(const void *x, const void *y)
{
	const struct prefix *a = x, *b = y;
	int d = a->addr.family - b->addr.family;

	d = d ? d : memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return d ? d : a->len - b->len;
}

size_t prefixes_merge(struct prefix *p, size_t n)
{
	struct prefix whole;
	size_t top = 0;

	qsort(p, n, sizeof(*p), by_address);
	for (size_t i = 0; i < n; i++) {
		if (top && prefix_contains(&p[top - 1], &p[i].addr))
			continue;
		p[top++] = p[i];
		while (top > 1 && halves(&p[top - 2], &p[top - 1], &whole))
			p[--top - 1] = whole;
	}
	return top;
}
