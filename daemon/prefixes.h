/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded set of prefixes and the arithmetic of --also-proxy and --never-proxy: what the tunnel
 * takes. */
#pragma once

#include "base/addr.h"
#include "base/error.h"

enum { PREFIXES_MAX = 64 };

struct prefixes {
	unsigned n;
	struct prefix p[PREFIXES_MAX];
};

/* Adds `p` unless the set covers it, and lets go of what `p` covers. -ENOSPC when full. */
int prefixes_add(struct prefixes *set, const struct prefix *p);
/* Cuts `hole` out: what contains it is split into the prefixes around it. -ENOSPC: then `set` is as
 * it was. */
int prefixes_subtract(struct prefixes *set, const struct prefix *hole);
/* The prefix of the set that has `a` in it, or NULL. */
const struct prefix *prefixes_find(const struct prefixes *set, const struct ipaddr *a);
bool prefixes_equal(const struct prefixes *a, const struct prefixes *b); /* in order */
