/* SPDX-License-Identifier: Apache-2.0 */
/* Which prefixes are routed, which addresses and DNS settings are asked for. */
#include <errno.h>
#include <stdio.h>

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

static bool never_proxied(const struct plan_input *in, const struct ipaddr *a)
{
	return prefixes_find(in->never, a) != NULL;
}

/* What the laptop asks about its own names stays outside, unless it is the cluster's own server. */
static int spare_resolvers(struct prefixes *routes, const struct plan_input *in, struct error *e)
{
	struct ipaddr dns = sockaddr_ip(&in->hello->dns_server);
	struct plan_spared unsaid;
	int err = 0;

	for (unsigned i = 0; in->own && i < in->own->nresolvers && !err; i++) {
		struct ipaddr a = sockaddr_ip(&in->own->resolver[i]);

		unsaid.n = 0;
		if (!in->hello->has_dns || !ipaddr_equal(&a, &dns))
			err = spare_address(routes, &a, &unsaid, e);
	}
	return err;
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
	/* A DNS server outside of the routed prefixes is reached all the same, if it may. */
	if (in->hello->has_dns && !never_proxied(in, &dns))
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
	return err ? err : spare_resolvers(routes, in, e);
}

static bool has_domain(const struct dns_config *c, const char *domain)
{
	for (unsigned i = 0; i < c->ndomains; i++)
		if (!strcasecmp(c->domain[i], domain))
			return true;
	return false;
}

/* Of too many the last are left out. */
static void own_namespace_first(struct dns_config *c)
{
	for (unsigned i = 1; i < c->ndomains; i++) {
		if (strcasecmp(c->domain[i], c->ns) != 0)
			continue;
		memmove(c->domain[2], c->domain[1], sizeof(c->domain[0]) * (i - 1));
		memset(c->domain[1], 0, sizeof(c->domain[1]));
		snprintf(c->domain[1], sizeof(c->domain[1]), "%s", c->ns);
		return;
	}
}

/* A search list as pods have it, NS.svc.ZONE svc.ZONE ZONE, says what short names stand for. */
static void plan_zone(struct hostnet_config *c)
{
	for (unsigned i = 0; i < c->nsearch; i++) {
		const char *svc = strstr(c->search[i], ".svc.");
		size_t ns = svc ? (size_t)(svc - c->search[i]) : 0;

		if (ns == 0 || ns >= sizeof(c->dns.ns) || !has_domain(&c->dns, svc + 5))
			continue;
		snprintf(c->dns.ns, sizeof(c->dns.ns), "%.*s", (int)ns, c->search[i]);
		snprintf(c->dns.zone, sizeof(c->dns.zone), "%s", svc + 5);
		own_namespace_first(&c->dns);
		return;
	}
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
		plan_zone(out);
	}
	return plan_routes(&out->routes, in, spared, e);
}
