/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostnet: what the laptop's kernel and resolver must know while connected: TUN, addresses, routes,
 * DNS. The helper does it; here is the order, and doing it again when the helper was gone or the
 * manager says something else.
 */
#pragma once

#include "base/error.h"
#include "daemon/prefixes.h"
#include "dns/dns.h"
#include "privsep/privsep.h"

struct event_base;
struct hostnet;

struct hostnet_config {
	struct ipaddr v4, v6; /* of the TUN; family 0 = none */
	struct prefixes routes;
	struct dns_config
		dns; /* ndomains 0 = leave DNS alone; its resolvers come from the helper */
	unsigned nsearch;
	char search[PRIVSEP_SEARCH][PRIVSEP_DOMAIN_LEN];
};

struct hostnet_ops {
	void (*ready)(void *arg); /* the helper is there and speaks our version */
	/* A TUN with cfg's addresses was made: the descriptor is the callee's. 0 or negative errno.
	 */
	int (*tun)(void *arg, int fd, struct error *e);
	void (*up)(void *arg); /* all of the configuration is in force */
	/* The helper, or the TUN, is gone: let go of the TUN now. It is being made again. */
	void (*lost)(void *arg);
	/* The helper refused, or was not there at first. It is not tried again. May free nothing of
	 * ours. */
	void (*failed)(void *arg, const char *text);
};

/* Connects to the helper. */
int hostnet_new(struct hostnet **hp, struct event_base *base, const struct hostnet_ops *ops,
		void *arg, struct error *e);
void hostnet_free(struct hostnet *h); /* NULL ok; the helper undoes all */
/* Asks for `cfg` (copied). No effect when it is what is in force. Other domains alone, as namespaces
 * come and go, are changed in place; for anything else all is undone and done again. */
void hostnet_apply(struct hostnet *h, const struct hostnet_config *cfg);
/* The TUN broke: start again. */
void hostnet_restart(struct hostnet *h);
/* Undoes all in order and calls `done` once, also when the helper is gone. */
void hostnet_undo(struct hostnet *h, void (*done)(void *arg), void *arg);

bool hostnet_up(const struct hostnet *h);
const char *hostnet_trouble(const struct hostnet *h);  /* why not; "" = no trouble */
const char *hostnet_tun_name(const struct hostnet *h); /* "" = no TUN now */
const struct hostnet_config *hostnet_config(const struct hostnet *h);
/* The laptop's own resolvers: as they are now or, when resolv.conf is ours, as they last were. */
const struct resolv_conf *hostnet_own_resolvers(struct hostnet *h);
enum privsep_dns_way hostnet_dns_way(const struct hostnet *h); /* 0 = none now */
unsigned hostnet_domains_left_out(const struct hostnet *h);
const struct dns_stats *hostnet_dns_stats(const struct hostnet *h); /* NULL = no stub now */
