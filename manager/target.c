/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a gateway may be sent to for visitors. Any ingress that a developer names, for it reaches nothing that the developer does
 * not reach by the overlay; but never itself, the manager or the API server, nor what is near: there a request counts for more than
 * its sender, since it comes from a pod of ours. What a name leads to the gateway looks at when it dials.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "manager/kubernetes.h"

/* A host name of DNS (RFC 1123), with '_' as some have it. */
static bool is_name(const char *s)
{
	size_t label = 0;

	for (; *s; s++) {
		if (*s == '.') {
			if (!label)
				return false;
			label = 0;
		} else if (isalnum((unsigned char)*s) || *s == '_' || (*s == '-' && label)) {
			if (++label > K8S_NAME_MAX)
				return false;
		} else {
			return false;
		}
	}
	return label > 0;
}

/* "127.1", "0x7f000001", "2130706433": no name ends in a number (RFC 1123, 2.1), but resolvers take these for addresses. */
static bool ends_in_number(const char *name)
{
	const char *last = strrchr(name, '.');

	last = last ? last + 1 : name;
	return isdigit((unsigned char)*last) && !last[strspn(last, "0123456789abcdefABCDEFxX")];
}

/* Lower-cased, without the dot at the end and without what the cluster's resolver adds. */
static void shorten(char *to, size_t size, const char *name, const char *domain)
{
	const char *const endings[] = {domain, "svc"};
	size_t len;

	snprintf(to, size, "%s", name);
	len = strlen(to);
	for (size_t i = 0; i < len; i++)
		to[i] = (char)tolower((unsigned char)to[i]);
	if (len && to[len - 1] == '.')
		to[--len] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		size_t n = strlen(endings[i]);

		if (n && len > n + 1 && to[len - n - 1] == '.' && !strcmp(to + len - n, endings[i]))
			to[len -= n + 1] = '\0';
	}
}

static bool is_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n >= d && !strcmp(name + n - d, domain) && (n == d || name[n - d - 1] == '.');
}

static int check_name(const struct own_targets *own, const char *host, struct error *e)
{
	char name[DOMAIN_MAX_LEN + 1];

	if (ends_in_number(host))
		return error_set(e, -EINVAL, "ingress %s: this is neither a name nor an address",
				 host);
	shorten(name, sizeof(name), host, own->domain);
	if (is_below(name, "localhost"))
		return error_set(e, -EINVAL, "ingress %s: that is the gateway itself", host);
	for (unsigned i = 0; i < own->nnames; i++) {
		const char *ours = own->name[i];
		size_t first = strcspn(ours, ".");

		/* A name without a namespace is looked up in ours. */
		if (first && (!strcmp(name, ours) || (!strncmp(name, ours, first) && !name[first])))
			return error_set(e, -EINVAL,
					 "ingress %s: previews are not sent to %s; name the "
					 "ingress controller's Service",
					 host,
					 strncmp(ours, "kubernetes.", 11) ? "culvert itself"
									  : "the API server");
	}
	return 0;
}

static int check_address(const struct own_targets *own, const struct preview_ingress *i,
			 const struct ipaddr *ip, struct error *e)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct ipaddr v4;

	if (ip->family == 6 && !memcmp(ip->b, mapped, sizeof(mapped))) {
		v4 = ipaddr_v4(ip->b + sizeof(mapped));
		ip = &v4;
	}
	if (ipaddr_is_loopback(ip) || ipaddr_is_unspecified(ip) || ipaddr_is_linklocal(ip) ||
	    ipaddr_is_multicast(ip) || (ip->family == 4 && ip->b[0] == 0))
		return error_set(e, -EINVAL,
				 "ingress %s: no ingress controller is reached by loopback, "
				 "link-local or multicast addresses",
				 i->host);
	for (unsigned n = 0; n < own->naddresses; n++) {
		if (ipaddr_equal(&own->address[n].ip, ip) &&
		    (!own->address[n].port || own->address[n].port == i->port))
			return error_set(e, -EINVAL,
					 "ingress %s: previews are sent neither to culvert itself "
					 "nor to the API server; name the ingress controller's "
					 "Service",
					 i->host);
	}
	return 0;
}

int target_check(const struct own_targets *own, const struct preview_ingress *i, struct error *e)
{
	size_t len = strlen(i->host);
	char bare[DOMAIN_MAX_LEN + 1];
	struct ipaddr ip;

	if (!i->port)
		return error_set(e, -EINVAL, "the ingress needs a port, such as 80 or 443");
	if (*i->l5 && !is_name(i->l5) && ipaddr_parse(&ip, i->l5))
		return error_set(e, -EINVAL, "layer-5 host %.80s: this is no host name", i->l5);
	snprintf(bare, sizeof(bare), "%s", i->host);
	if (len && bare[len - 1] == '.')
		bare[len - 1] = '\0';
	if (ipaddr_parse(&ip, bare) == 0)
		return check_address(own, i, &ip, e);
	if (!is_name(bare))
		return error_set(e, -EINVAL, "ingress '%.80s': this is no host name", i->host);
	return check_name(own, bare, e);
}
