/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager answers to a laptop's hello (docs/control.md), checked and bounded. */
#pragma once

#include <jansson.h>

#include "daemon/prefixes.h"
#include "dns/dns.h"
#include "privsep/privsep.h"

struct hello {
	char version[32], name[128], ns[64];
	struct ipaddr address; /* the IPv4 /32 given to this laptop */
	struct prefixes prefixes;
	bool has_dns;
	union sockaddr_any dns_server;
	unsigned ndomains, nsearch;
	unsigned domains_left_out; /* above DNS_DOMAINS */
	char domain[DNS_DOMAINS][DNS_DOMAIN_LEN];
	char search[PRIVSEP_SEARCH][PRIVSEP_DOMAIN_LEN];
};

/* 0, or -EINVAL with the sentence. `h` is zeroed first, so that two may be compared as bytes. */
int hello_parse(struct hello *h, const json_t *j, struct error *e);
/* What is in its `dns`; also the notification of that name. On error `h` is half changed. */
int hello_set_dns(struct hello *h, const json_t *dns, struct error *e);
/* As pods of namespace `ns` search: the manager does not know where we are. */
void hello_search(struct hello *h, const char *domain, const char *ns);
/* Letters, digits, dots, dashes, underscores: it goes into resolv.conf by root's hand. */
bool domain_valid(const char *s, size_t size);
