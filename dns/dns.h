/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns: the laptop's resolver. Two halves:
 *   user (daemon)   the stub, a small forwarder. Queries below the cluster's domains go to the
 *                   cluster's DNS server (an ordinary address, routed through the TUN), all others
 *                   to the laptop's own resolvers. It rewrites nothing but the id: any record type,
 *                   UDP and TCP, truncation and EDNS pass through. A time-out is no answer, never
 *                   SERVFAIL for cluster names.
 *   root (helper)   /etc/resolv.conf pointed at the stub and restored exactly (content, mode,
 *                   owner, a symbolic link).
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

struct event_base;
struct dns_stub;

#define DNS_STUB_ADDR "127.0.53.53" /* where the stub listens, port 53 */

enum {
	DNS_DOMAINS = 16,
	DNS_PENDING_MAX = 1024, /* queries under way; then the oldest is dropped and counted */
	DNS_TIMEOUT = 5,	/* s */
	DNS_TCP_CLIENTS = 64,
	DNS_MSG_MAX = 65535,
};

struct dns_config {
	union sockaddr_any cluster; /* the cluster's DNS server */
	unsigned ndomains;
	/* Routed there, e.g. "cluster.local"; no dots at the ends, any case. */
	char domain[DNS_DOMAINS][256];
	unsigned nresolvers;
	union sockaddr_any resolver[3]; /* the laptop's own, in order; may be none */
};
struct dns_stats {
	uint64_t cluster, local, timeouts, malformed, dropped, tcp;
};
/* The program ignores SIGPIPE: clients over TCP may leave at any time. */
/* Takes ownership of both sockets (UDP, listening TCP) on success. */
int dns_stub_new(struct dns_stub **dp, struct event_base *base, int udp, int tcp,
		 const struct dns_config *cfg, struct error *e);
void dns_stub_free(struct dns_stub *d);
void dns_stub_set(struct dns_stub *d, const struct dns_config *cfg);
const struct dns_stats *dns_stub_stats(const struct dns_stub *d);

/* Pure: the first question's name, lower-cased text without the last dot. 0 or -EINVAL. `qtype` in
 * host order. */
int dns_question(const uint8_t *msg, size_t len, char name[static 256], uint16_t *qtype);
/* Does `name` lie in or under `domain`? */
bool dns_name_under(const char *name, const char *domain);

/* --- /etc/resolv.conf, root ------------------------------------------------------------------- */

struct resolv_conf {
	unsigned nresolvers;
	union sockaddr_any resolver[3];
	unsigned nsearch;
	char search[6][254];
};
/* Reads the addresses and search list from the text of a resolv.conf. */
void resolv_parse(struct resolv_conf *rc, const char *text, size_t len);

/* Writes `path` to name the stub, with `search` in front of the laptop's own search list, other
 * options kept. What was there is kept in the backup folder (0700; content, mode, owner, link
 * target) before the first byte changes. `before` gets the laptop's resolvers; where that is
 * systemd-resolved, the servers behind it. -EBUSY: it is already ours. */
int resolv_install(const char *path, const char *backup_dir, const char *const *search,
		   unsigned nsearch, unsigned ndots, struct resolv_conf *before, struct error *e);
/* Puts it back exactly, if it is still as we wrote it (else it belongs to somebody else now: left
 * alone, said by 1); removes the backup. 0 also when there is nothing to restore. In place where
 * rename is impossible (a bind mount). */
int resolv_restore(const char *path, const char *backup_dir, struct error *e);
