/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP transport: making the socket, and the addresses it answers from.
 *
 * One socket serves all peers. An IPv6 wildcard socket takes IPv4 too, as mapped addresses; paths
 * never show those: outside of this folder an IPv4 peer is AF_INET.
 *
 * Don't Fragment is off (IP_PMTUDISC_DONT), as WireGuard has it: a datagram that is too large for
 * an IPv4 path arrives in fragments instead of vanishing behind a router that sends no ICMP. The
 * inner MTU is chosen so that this does not happen on paths of 1500. Where the kernel knows a
 * smaller MTU (a PPPoE device, a route's, ICMPv6 Packet Too Big) transport_mtu() says so and
 * senders cut TCP to it.
 *
 * Sticky source: the answer to a datagram leaves from the address it came to, else a NAT or
 * firewall at the other end would not know it. That address may go away: see udp_source_known().
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "transport/udp.h"

bool udp_source_known(const struct udp *u, const struct ipaddr *a)
{
	for (unsigned i = 0; i < UDP_SOURCES_MAX; i++)
		if (ipaddr_equal(&u->sources[i], a))
			return true;
	return false;
}

/* A machine with more than UDP_SOURCES_MAX addresses in use loses stickiness for some, nothing else. */
void udp_source_learn(struct udp *u, const struct ipaddr *a)
{
	if (likely(udp_source_known(u, a)))
		return;
	u->sources[u->next_source++ % UDP_SOURCES_MAX] = *a;
}

void udp_source_forget(struct udp *u, const struct ipaddr *a)
{
	for (unsigned i = 0; i < UDP_SOURCES_MAX; i++)
		if (ipaddr_equal(&u->sources[i], a))
			u->sources[i] = (struct ipaddr){0};
}

/* Root may go above net.core.{r,w}mem_max; others get what the limit allows. */
static void set_buffer(int fd, int force, int plain)
{
	int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Also on an IPv6 socket, where they rule the IPv4 half. */
static int set_ipv4_options(int fd)
{
	int err = set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);

	if (!err)
		err = set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
	return err;
}

static int set_options(struct udp *u)
{
	int err = set_ipv4_options(u->fd);
	int zero = 0;

	if (!err && u->v6) {
		err = set_option(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
		if (!err)
			err = set_option(u->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
		if (!err)
			err = set_option(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	} else if (!err) {
		err = set_option(u->fd, IPPROTO_IP, IP_PKTINFO, 1);
	}
	if (err)
		return err;

	set_buffer(u->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(u->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	/* Without GRO datagrams come one by one and all else is the same. */
	set_option(u->fd, IPPROTO_UDP, UDP_GRO, 1);
	u->gso = setsockopt(u->fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof(zero)) == 0;
	return 0;
}

/* Sets u->fd and u->v6. A kernel without IPv6 gets the IPv4 wildcard where the IPv6 one was asked
 * for. */
static int open_socket(struct udp *u, const union sockaddr_any *bind_to, struct error *e)
{
	union sockaddr_any local = *bind_to;
	bool wildcard6 =
		local.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&local.in6.sin6_addr);
	char text[ADDR_STRLEN];
	int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

	u->fd = socket(local.sa.sa_family, type, 0);
	if (u->fd < 0 && errno == EAFNOSUPPORT && wildcard6) {
		local = (union sockaddr_any){
			.in = {.sin_family = AF_INET, .sin_port = bind_to->in6.sin6_port}};
		wildcard6 = false;
		u->fd = socket(AF_INET, type, 0);
	}
	if (u->fd < 0)
		return error_errno(e, -errno, "UDP socket");
	u->v6 = local.sa.sa_family == AF_INET6;
	if (u->v6 && set_option(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, !wildcard6))
		return error_errno(e, -errno, "UDP socket: IPV6_V6ONLY");
	if (bind(u->fd, &local.sa, sockaddr_len(&local)) < 0)
		return error_errno(e, -errno, "UDP: cannot bind %s", sockaddr_format(&local, text));
	return 0;
}

static void destroy(struct transport *t)
{
	struct udp *u = udp_self(t);

	if (u->read_event)
		event_free(u->read_event);
	if (u->write_event)
		event_free(u->write_event);
	if (u->fd >= 0)
		close(u->fd);
	udp_backlog_free(u);
	free(u->rx);
	free(u);
}

static int local(const struct transport *t, union sockaddr_any *sa)
{
	const struct udp *u = container_of(t, const struct udp, t);
	union sockaddr_any got = {0};
	socklen_t len = sizeof(got);

	if (getsockname(u->fd, &got.sa, &len) < 0)
		return -errno;
	*sa = got;
	return 0;
}

static void rebind(struct transport *t)
{
	struct udp *u = udp_self(t);

	memset(u->sources, 0, sizeof(u->sources));
	udp_mtu_forget_all(u);
}

static const struct transport_kind udp_kind = {
	.free = destroy,
	.local = local,
	.send = udp_send,
	.mtu = udp_mtu,
	.rebind = rebind,
};

static void free_udp(struct udp **u)
{
	if (*u)
		destroy(&(*u)->t);
}

int transport_udp_new(struct transport **tp, struct event_base *base,
		      const union sockaddr_any *bind, uint32_t id, const struct transport_ops *ops,
		      void *arg, struct error *e)
{
	cleanup(free_udp) struct udp *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return error_errno(e, -ENOMEM, "UDP transport");
	u->t = (struct transport){.kind = &udp_kind, .id = id, .ops = ops, .arg = arg};
	u->fd = -1;
	u->backlog_end = &u->backlog;
	if (getrandom(u->mtu_key, sizeof(u->mtu_key), 0) != sizeof(u->mtu_key))
		return error_errno(e, -EIO, "UDP transport: getrandom");

	err = open_socket(u, bind, e);
	if (err)
		return err;
	err = set_options(u);
	if (err)
		return error_errno(e, err, "UDP socket options");

	u->rx = calloc(1, TRANSPORT_HEAD + TRANSPORT_BATCH + TRANSPORT_TAIL);
	u->read_event = event_new(base, u->fd, EV_READ | EV_PERSIST, udp_on_readable, u);
	u->write_event = event_new(base, u->fd, EV_WRITE | EV_PERSIST, udp_on_writable, u);
	if (!u->rx || !u->read_event || !u->write_event || event_add(u->read_event, NULL) < 0)
		return error_errno(e, -ENOMEM, "UDP transport");
	*tp = &u->t;
	u = NULL;
	return 0;
}
