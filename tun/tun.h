/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tun: the TUN device, its offloads (IFF_VNET_HDR, TSO), addresses and routes, by ioctl and
 * rtnetlink. The making half runs as root in the helper; the reading and writing half in the daemon
 * on the passed descriptor.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

enum { TUN_NAME_LEN = 16, TUN_ROUTE_PROTO = 77 /* rtm_protocol of every route we make */ };

/* --- root: make and configure ----------------------------------------------------------------- */

/* Makes a non-persistent TUN with vnet header and, where accepted, TSO4/TSO6 and checksum offload;
 * up, MTU INNER_MTU. `name` may hold a %d; the real name comes back in it. Returns the descriptor
 * (non-blocking) or negative errno. */
int tun_create(char name[static TUN_NAME_LEN], struct error *e);
/* Removes the device at once, also while others hold its descriptor (their reads fail then).
 * 0 when it is gone already. */
int tun_remove(const char *name, struct error *e);
/* Is IPv6 switched off for it (as on a machine with IPv6 disabled)? */
bool tun_ipv6_off(const char *name);
/* Adds a host address (/32 or /128, no DAD for v6). */
int tun_add_addr(const char *name, const struct ipaddr *a, struct error *e);
/* Adds a device route with TUN_ROUTE_PROTO and preferred source `src` (family 0 = none).
 * -EEXIST is an error. */
int tun_add_route(const char *name, const struct prefix *p, const struct ipaddr *src,
		  struct error *e);
int tun_del_route(const char *name, const struct prefix *p, struct error *e);

/* What the machine routes now, all tables but local: for conflicts. Calls `cb` for each unicast (twice, perhaps, while routes change)
 * route with a device. */
struct tun_route {
	struct prefix dst;
	char dev[TUN_NAME_LEN];
	uint8_t proto;
	bool gateway; /* reached through a gateway, else on-link */
};
int tun_each_route(void (*cb)(void *arg, const struct tun_route *r), void *arg, struct error *e);
/*
 * May `p` be routed into `own_dev`? 0, or with a sentence that names the conflict and the remedy:
 *   -EINVAL      it takes the default route (shorter than /8, for IPv6 /16), loopback, link-local
 *                or multicast
 *   -EADDRINUSE  a route of another device equals it or lies inside it, or it lies inside a network
 *                that this machine is on
 * A wider route that only leads somewhere (the default, a VPN's 10.0.0.0/8) is no conflict: the
 * longer prefix wins.
 */
int tun_check_route(const struct prefix *p, const char *own_dev, struct error *e);

/* --- user: packets ---------------------------------------------------------------------------- */

struct tun;
struct tun_stats {
	uint64_t rx_packets, rx_super, tx_packets, tx_super, tx_full, rx_bad, tx_bad;
};
/* Takes ownership of `fd` on success. */
int tun_open(struct tun **tp, int fd, struct error *e);
void tun_close(struct tun *t);
int tun_fd(const struct tun *t);
/* Reads one packet into the TUN's own buffer: 1 = *pkt is valid until the next call (and its bytes
 * may be changed); 0 = none now; negative errno = the device is gone. Transport checksums of TCP
 * and UDP are undefined, others complete. */
int tun_read(struct tun *t, struct pkt *pkt);
/* Writes one packet or super-packet; fills in what the kernel needs (pseudo-header sum, gso).
 * Drops are counted. */
void tun_write(struct tun *t, struct pkt *pkt);
const struct tun_stats *tun_stats(const struct tun *t);
