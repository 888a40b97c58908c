/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's answer to hello. Lists that are longer than our bounds are refused, not cut: half a
 * set of routes is a riddle. */
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
static bool domain_ok(const char *s, size_t size)
{
	return s && *s && *s != '.' && *s != '-' && strlen(s) < size &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")] ==
		       0;
}

static int parse_names(const json_t *list, char *out, size_t size, unsigned max, unsigned *n,
		       struct error *e)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		const char *s = json_string_value(v);

		if (!domain_ok(s, size))
			return error_set(e, -EINVAL, "the manager named '%s', which is no domain",
					 s ? s : "?");
		if (*n == max)
			return error_set(e, -EINVAL, "the manager has more than %u DNS domains",
					 max);
		memcpy(out + size * (*n)++, s, strlen(s) + 1);
	}
	return 0;
}

static int parse_dns(struct hello *h, const json_t *dns, struct error *e)
{
	const char *server = json_string_value(json_object_get(dns, "server"));
	int err;

	if (!server || !*server)
		return 0;
	if (sockaddr_parse(&h->dns_server, server))
		return error_set(e, -EINVAL,
				 "the manager named the DNS server '%s', which is no IP:PORT",
				 server);
	err = parse_names(json_object_get(dns, "domains"), h->domain[0], sizeof(h->domain[0]),
			  DNS_DOMAINS, &h->ndomains, e);
	if (!err)
		err = parse_names(json_object_get(dns, "search"), h->search[0],
				  sizeof(h->search[0]), PRIVSEP_SEARCH, &h->nsearch, e);
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
	return err ? err : parse_dns(h, json_object_get(j, "dns"), e);
}
