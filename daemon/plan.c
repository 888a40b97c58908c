/* SPDX-License-Identifier: Apache-2.0 */
/* Which prefixes are routed, which addresses and DNS settings are asked for. */
#include <errno.h>

#include "daemon/plan.h"

/* Shorter ones take the default route: they are for the helper to refuse, under their own name. */
enum { SHORTEST_V4 = 8, SHORTEST_V6 = 16 };

static int spare_address(struct prefixes *routes, const struct ipaddr *addr,
			 struct plan_spared *spared, struct error *e)
{
	const struct prefix *in = prefixes_find(routes, addr);
	struct prefix host = prefix_host(addr), from;
	char a[ADDR_STRLEN], p[ADDR_STRLEN];

	if (!in || in->len < (addr->family == 4 ? SHORTEST_V4 : SHORTEST_V6))
		return 0;
	from = *in;
	if (prefixes_subtract(routes, &host))
		return error_set(e, -ENOSPC,
				 "%s, by which the cluster is reached, cannot be kept out of %s: "
				 "use --never-proxy",
				 ipaddr_format(addr, a), prefix_format(&from, p));
	spared->addr[spared->n] = *addr;
	spared->from[spared->n++] = from;
	return 0;
}

static int plan_routes(struct prefixes *routes, const struct plan_input *in,
		       struct plan_spared *spared, struct error *e)
{
	struct ipaddr dns = sockaddr_ip(&in->hello->dns_server);
	struct prefix host = prefix_host(&dns);
	struct prefixes all = in->hello->prefixes;
	bool full = false;
	unsigned i;
	int err = 0;

	for (i = 0; i < in->also->n; i++)
		full |= prefixes_add(&all, &in->also->p[i]) != 0;
	for (i = 0; i < in->never->n; i++)
		full |= prefixes_subtract(&all, &in->never->p[i]) != 0;
	/* A DNS server outside of the routed prefixes is reached all the same. */
	if (in->hello->has_dns)
		full |= prefixes_add(&all, &host) != 0;
	if (full)
		return error_set(e, -ENOSPC,
				 "--also-proxy and --never-proxy make more than %d routes",
				 PREFIXES_MAX);
	for (i = 0; i < all.n; i++)
		if (in->kernel_v6.family || all.p[i].addr.family == 4)
			routes->p[routes->n++] = all.p[i];
	for (i = 0; i < in->nspare && !err; i++)
		err = spare_address(routes, &in->spare[i], spared, e);
	return err;
}

int plan_hostnet(struct hostnet_config *out, const struct plan_input *in,
		 struct plan_spared *spared, struct error *e)
{
	const struct hello *h = in->hello;

	memset(out, 0, sizeof(*out));
	memset(spared, 0, sizeof(*spared));
	out->v4 = h->address;
	out->v6 = in->kernel_v6;
	if (h->has_dns) {
		out->dns.cluster = h->dns_server;
		out->dns.ndomains = h->ndomains;
		memcpy(out->dns.domain, h->domain, sizeof(out->dns.domain));
		out->nsearch = h->nsearch;
		memcpy(out->search, h->search, sizeof(out->search));
	}
	return plan_routes(&out->routes, in, spared, e);
}
