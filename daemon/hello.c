/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's answer to hello. Lists that are longer than our bounds are refused, not cut: half a
 * set of routes is a riddle. Only of the domains, one per namespace, the last ones are left out, and counted. */
#include <errno.h>
#include <stdio.h>

#include "daemon/hello.h"

static int copy_text(char *out, size_t size, const json_t *j, const char *key, struct error *e)
{
	const char *s = json_string_value(json_object_get(j, key));

	if (!s || strlen(s) >= size)
		return error_set(e, -EINVAL, "the manager's hello has no usable '%s'", key);
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

static int parse_prefixes(struct hello *h, const json_t *list, struct error *e)
{
	struct prefix p;
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		const char *s = json_string_value(v);

		if (!s || prefix_parse(&p, s))
			return error_set(e, -EINVAL, "the manager named '%s', which is no prefix",
					 s ? s : "?");
		if (prefixes_add(&h->prefixes, &p))
			return error_set(e, -EINVAL, "the manager routes more than %d prefixes",
					 PREFIXES_MAX);
	}
	return 0;
}

/* A domain name goes into resolv.conf by root's hand: letters, digits, dots, dashes, underscores
 * only. */
bool domain_valid(const char *s, size_t size)
{
	return s && *s && *s != '.' && *s != '-' && strlen(s) < size &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")] ==
		       0;
}

/* `left_out` NULL: more than `max` are refused. */
static int parse_names(const json_t *list, char *out, size_t size, unsigned max, unsigned *n,
		       unsigned *left_out, struct error *e)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		const char *s = json_string_value(v);

		if (!domain_valid(s, size))
			return error_set(e, -EINVAL, "the manager named '%s', which is no domain",
					 s ? s : "?");
		if (*n == max && left_out) {
			++*left_out;
			continue;
		}
		if (*n == max)
			return error_set(e, -EINVAL, "the manager has more than %u DNS domains",
					 max);
		memcpy(out + size * (*n)++, s, strlen(s) + 1);
	}
	return 0;
}

int hello_set_dns(struct hello *h, const json_t *dns, struct error *e)
{
	const char *server = json_string_value(json_object_get(dns, "server"));
	int err;

	h->has_dns = false;
	h->ndomains = h->nsearch = h->domains_left_out = 0;
	memset(h->domain, 0, sizeof(h->domain));
	memset(h->search, 0, sizeof(h->search));
	if (!server || !*server)
		return 0;
	if (sockaddr_parse(&h->dns_server, server))
		return error_set(e, -EINVAL,
				 "the manager named the DNS server '%s', which is no IP:PORT",
				 server);
	err = parse_names(json_object_get(dns, "domains"), h->domain[0], sizeof(h->domain[0]),
			  DNS_DOMAINS, &h->ndomains, &h->domains_left_out, e);
	if (!err)
		err = parse_names(json_object_get(dns, "search"), h->search[0],
				  sizeof(h->search[0]), PRIVSEP_SEARCH, &h->nsearch, NULL, e);
	h->has_dns = !err && h->ndomains;
	return err;
}

int hello_parse(struct hello *h, const json_t *j, struct error *e)
{
	const char *address = json_string_value(json_object_get(j, "address"));
	int err;

	memset(h, 0, sizeof(*h));
	err = copy_text(h->version, sizeof(h->version), j, "version", e);
	if (!err)
		err = copy_text(h->name, sizeof(h->name), j, "name", e);
	if (!err)
		err = copy_text(h->ns, sizeof(h->ns), j, "namespace", e);
	if (err)
		return err;
	if (!address || ipaddr_parse(&h->address, address) || h->address.family != 4)
		return error_set(e, -EINVAL, "the manager gave this laptop no IPv4 address");
	err = parse_prefixes(h, json_object_get(j, "prefixes"), e);
	return err ? err : hello_set_dns(h, json_object_get(j, "dns"), e);
}

void hello_search(struct hello *h, const char *domain, const char *ns)
{
	memset(h->search, 0, sizeof(h->search));
	h->nsearch = h->has_dns ? 3 : 0;
	if (!h->has_dns)
		return;
	snprintf(h->search[0], sizeof(h->search[0]), "%.63s.svc.%.127s", ns, domain);
	snprintf(h->search[1], sizeof(h->search[1]), "svc.%.127s", domain);
	snprintf(h->search[2], sizeof(h->search[2]), "%.127s", domain);
}
