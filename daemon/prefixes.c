/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded set of prefixes: add, cut a hole, look up. */
#include <errno.h>

#include "daemon/prefixes.h"

static bool covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->len <= inner->len && prefix_overlaps(outer, inner);
}

int prefixes_add(struct prefixes *set, const struct prefix *p)
{
	unsigned i, n = 0;

	for (i = 0; i < set->n; i++)
		if (covers(&set->p[i], p))
			return 0;
	for (i = 0; i < set->n; i++)
		if (!covers(p, &set->p[i]))
			set->p[n++] = set->p[i];
	set->n = n;
	if (n == PREFIXES_MAX)
		return -ENOSPC;
	set->p[set->n++] = *p;
	return 0;
}

static void set_bit(struct ipaddr *a, unsigned bit, bool value)
{
	uint8_t mask = (uint8_t)(0x80 >> (bit % 8));

	a->b[bit / 8] = (uint8_t)(value ? a->b[bit / 8] | mask : a->b[bit / 8] & ~mask);
}

static bool get_bit(const struct ipaddr *a, unsigned bit)
{
	return a->b[bit / 8] & 0x80 >> (bit % 8);
}

/* The prefixes of `outer` without `inner`: at each level on the way down the half that `inner` is
 * not in. */
static int add_around(struct prefixes *out, const struct prefix *outer, const struct prefix *inner)
{
	struct prefix half;
	unsigned bit;

	for (bit = outer->len; bit < inner->len; bit++) {
		if (out->n == PREFIXES_MAX)
			return -ENOSPC;
		half = *inner;
		set_bit(&half.addr, bit, !get_bit(&inner->addr, bit));
		half.len = (uint8_t)(bit + 1);
		for (unsigned i = half.len; i < (inner->addr.family == 4 ? 32u : 128u); i++)
			set_bit(&half.addr, i, false);
		out->p[out->n++] = half;
	}
	return 0;
}

int prefixes_subtract(struct prefixes *set, const struct prefix *hole)
{
	struct prefixes out = {0};
	unsigned i;

	for (i = 0; i < set->n; i++) {
		if (covers(hole, &set->p[i]))
			continue;
		if (covers(&set->p[i], hole)) {
			if (add_around(&out, &set->p[i], hole))
				return -ENOSPC;
		} else {
			if (out.n == PREFIXES_MAX)
				return -ENOSPC;
			out.p[out.n++] = set->p[i];
		}
	}
	*set = out;
	return 0;
}

const struct prefix *prefixes_find(const struct prefixes *set, const struct ipaddr *a)
{
	unsigned i;

	for (i = 0; i < set->n; i++)
		if (prefix_contains(&set->p[i], a))
			return &set->p[i];
	return NULL;
}

bool prefixes_equal(const struct prefixes *a, const struct prefixes *b)
{
	unsigned i;

	if (a->n != b->n)
		return false;
	for (i = 0; i < a->n; i++)
		if (!prefix_equal(&a->p[i], &b->p[i]))
			return false;
	return true;
}
