/* SPDX-License-Identifier: Apache-2.0 */
/* From what the manager said and the user asked for to what the laptop's kernel and resolver are told. Pure. */
#pragma once

#include "daemon/hello.h"
#include "daemon/hostnet.h"
#include "daemon/prefixes.h"

enum { SPARE_MAX = 8 };

struct plan_input {
	const struct hello *hello;
	const struct prefixes *also, *never; /* --also-proxy, --never-proxy */
	/* Where the tunnel's own packets go: it must never swallow them. */
	unsigned nspare;
	struct ipaddr spare[SPARE_MAX];
	const struct resolv_conf *own; /* the laptop's resolvers; NULL = unknown */
	struct ipaddr kernel_v6;       /* our ::2; family 0 = this laptop has no IPv6 */
};

/* Those of `spare` that lay in a routed prefix, and in which. */
struct plan_spared {
	unsigned n;
	struct ipaddr addr[SPARE_MAX];
	struct prefix from[SPARE_MAX];
};

/* -ENOSPC with the sentence. */
int plan_hostnet(struct hostnet_config *out, const struct plan_input *in,
		 struct plan_spared *spared, struct error *e);
