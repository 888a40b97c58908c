/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fits a path: the kernel tells IP_MTU only for a connected socket, so a throw-away one is
 * connected (nothing is sent by that). Answers are kept for some seconds: routes change, and
 * learned MTUs expire in the kernel after minutes.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "transport/udp.h"

enum {
	IPV4_OVERHEAD = 20 + 8,
	IPV6_OVERHEAD = 40 + 8,
	DEFAULT_PAYLOAD = 1500 - IPV6_OVERHEAD,
	LEAST_PAYLOAD = 576 - IPV4_OVERHEAD, /* below that a path is not usable anyway */
	MOST_PAYLOAD = 65535 - IPV6_OVERHEAD,
};

#define MTU_LIFETIME (5 * NSEC_PER_SEC)

static size_t ask_kernel(const union sockaddr_any *remote)
{
	bool v6 = remote->sa.sa_family == AF_INET6;
	cleanup(close_fd) int fd = socket(remote->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	if (fd < 0 || connect(fd, &remote->sa, sockaddr_len(remote)) < 0)
		return DEFAULT_PAYLOAD;
	if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len) < 0)
		return DEFAULT_PAYLOAD;
	mtu -= v6 ? IPV6_OVERHEAD : IPV4_OVERHEAD;
	return (size_t)MAX(LEAST_PAYLOAD, MIN(mtu, MOST_PAYLOAD));
}

static struct mtu_slot *slot_of(struct udp *u, const union sockaddr_any *remote)
{
	struct {
		struct ipaddr ip;
		uint8_t port[2];
	} key = {.ip = sockaddr_ip(remote)};

	put_be16(key.port, sockaddr_port(remote));
	return &u->mtu[siphash(u->mtu_key, &key, sizeof(key)) % MTU_SLOTS];
}

size_t udp_mtu(struct transport *t, const struct path *to)
{
	struct udp *u = udp_self(t);
	struct mtu_slot *slot = slot_of(u, &to->remote);
	nsec_t now = clock_boot();

	if (likely(slot->expires > MAX(now, u->mtu_stale) &&
		   sockaddr_equal(&slot->remote, &to->remote)))
		return slot->payload;
	slot->remote = to->remote;
	slot->payload = ask_kernel(&to->remote);
	slot->expires = now + MTU_LIFETIME;
	return slot->payload;
}

void udp_mtu_forget(struct udp *u, const struct path *to)
{
	slot_of(u, &to->remote)->expires = 0;
}

/* Leaves the slots alone: most were never touched, and have no memory yet. */
void udp_mtu_forget_all(struct udp *u)
{
	u->mtu_stale = clock_boot() + MTU_LIFETIME;
}
