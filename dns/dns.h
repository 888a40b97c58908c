/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns: the laptop's resolver. Two halves:
 *   user (daemon)   the stub, a small forwarder. Queries below the cluster's domains go to the
 *                   cluster's DNS server (an ordinary address, routed through the TUN), all others
 *                   to the laptop's own resolvers: any record type, UDP and TCP, truncation and
 *                   EDNS pass through. A cluster's DNS knows full names only (pods expand theirs
 *                   by a search list), so the stub expands NAME, NAME.NAMESPACE and
 *                   NAME.NAMESPACE.svc, and answers under the name that was asked. What is not
 *                   there by that name is asked at the laptop's own resolvers: a namespace `dev`
 *                   must not take go.dev away. A time-out is no answer, never SERVFAIL for cluster
 *                   names.
 *   root (helper)   systemd-resolved told that the cluster's domains are the TUN's, which ends with
 *                   the TUN; where there is none, /etc/resolv.conf pointed at the stub and restored
 *                   exactly (content, mode, owner, a symbolic link).
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

struct event_base;
struct dns_stub;

#define DNS_STUB_ADDR "127.0.53.53" /* where the stub listens, port 53 */

enum {
	DNS_DOMAINS = 512,
	DNS_DOMAIN_LEN = 128,	/* with NUL */
	DNS_PENDING_MAX = 1024, /* queries under way; then the oldest is dropped and counted */
	DNS_TIMEOUT = 5,	/* s */
	DNS_TCP_CLIENTS = 64,
	DNS_MSG_MAX = 65535,
};

struct dns_config {
	union sockaddr_any cluster; /* the cluster's DNS server */
	unsigned ndomains;
	/* Routed there, e.g. "cluster.local", "svc", "shop"; no dots at the ends, any case. */
	char domain[DNS_DOMAINS][DNS_DOMAIN_LEN];
	/* Short names are expanded to NAME.NAMESPACE.svc.zone; "" = they are not. Of a name alone the
	 * namespace is `ns`. */
	char zone[DNS_DOMAIN_LEN], ns[64];
	unsigned nresolvers;
	union sockaddr_any resolver[3]; /* the laptop's own, in order; may be none */
	/* NULL, or where the resolvers are read again when it changes; outlives the stub. */
	const char *resolvers_file;
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
/* Letters, digits, "-_." only: it goes where all programs of the machine read it. */
bool dns_domain_ok(const char *domain);
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

/* The servers behind systemd-resolved, its own and ours; anybody may read it. */
#define RESOLVED_SERVERS "/run/systemd/resolve/resolv.conf"
/* The laptop's resolvers as they are now, by /etc/resolv.conf and behind systemd-resolved; without
 * the stub. */
void laptop_resolvers(struct resolv_conf *rc);

/* --- systemd-resolved, root ------------------------------------------------------------------- */

struct resolved;
struct resolved_domains {
	unsigned nsearch, ndomains;
	const char *search[6];		 /* in order; routed too */
	const char *domain[DNS_DOMAINS]; /* routed only */
};

/*
 * Do the laptop's programs ask it? As others decide it (Tailscale): where nsswitch.conf names
 * nss-resolve for hosts, or resolv.conf names nobody but resolved. Where resolv.conf names somebody
 * else, resolved may run, but settings made there would reach few programs.
 */
bool resolved_is_asked(const char *resolv_conf);
/* Pure. */
bool nsswitch_resolves(const char *text);
/* Connects to the system bus and listens for resolved's end and return. -ENOENT: it does not run in
 * this network namespace;
 * others: no bus. Waits for seconds at most, as the others here. */
int resolved_open(struct resolved **rp, struct error *e);
void resolved_close(struct resolved *r);
/* The link's domains, and the stub as its server: new, or in place of what was there. On error the
 * link has no settings; at a time-out perhaps some. Many versions take 256 domains only: the last of more are left out, counted
 * in `*left_out`. */
int resolved_set(struct resolved *r, unsigned ifindex, const struct resolved_domains *d,
		 unsigned *left_out, struct error *e);
/* To be polled for input; then resolved_process(): 1 = it was started anew and has forgotten all, 0, or
 * a negative errno when the bus is lost. */
int resolved_fd(const struct resolved *r);
int resolved_process(struct resolved *r);
/* For anybody: has that link the stub as its server now? Answers within a quarter of a second. */
bool resolved_has_stub(unsigned ifindex);
