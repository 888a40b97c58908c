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

#include "transport/internal.h"

bool udp_source_known(const struct transport *t, const struct ipaddr *a)
{
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		if (ipaddr_equal(&t->sources[i], a))
			return true;
	return false;
}

/* A machine with more than SOURCES_MAX addresses in use loses stickiness for some, nothing else. */
void udp_source_learn(struct transport *t, const struct ipaddr *a)
{
	if (likely(udp_source_known(t, a)))
		return;
	t->sources[t->next_source++ % SOURCES_MAX] = *a;
}

void udp_source_forget(struct transport *t, const struct ipaddr *a)
{
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		if (ipaddr_equal(&t->sources[i], a))
			t->sources[i] = (struct ipaddr){0};
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

static int set_options(struct transport *t)
{
	int err = set_ipv4_options(t->fd);
	int zero = 0;

	if (!err && t->v6) {
		err = set_option(t->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
		if (!err)
			err = set_option(t->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
		if (!err)
			err = set_option(t->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	} else if (!err) {
		err = set_option(t->fd, IPPROTO_IP, IP_PKTINFO, 1);
	}
	if (err)
		return err;

	set_buffer(t->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(t->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	/* Without GRO datagrams come one by one and all else is the same. */
	set_option(t->fd, IPPROTO_UDP, UDP_GRO, 1);
	t->gso = setsockopt(t->fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof(zero)) == 0;
	return 0;
}

/* Sets t->fd and t->v6. A kernel without IPv6 gets the IPv4 wildcard where the IPv6 one was asked
 * for. */
static int open_socket(struct transport *t, const union sockaddr_any *bind_to, struct error *e)
{
	union sockaddr_any local = *bind_to;
	bool wildcard6 =
		local.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&local.in6.sin6_addr);
	char text[ADDR_STRLEN];
	int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

	t->fd = socket(local.sa.sa_family, type, 0);
	if (t->fd < 0 && errno == EAFNOSUPPORT && wildcard6) {
		local = (union sockaddr_any){
			.in = {.sin_family = AF_INET, .sin_port = bind_to->in6.sin6_port}};
		wildcard6 = false;
		t->fd = socket(AF_INET, type, 0);
	}
	if (t->fd < 0)
		return error_errno(e, -errno, "UDP socket");
	t->v6 = local.sa.sa_family == AF_INET6;
	if (t->v6 && set_option(t->fd, IPPROTO_IPV6, IPV6_V6ONLY, !wildcard6))
		return error_errno(e, -errno, "UDP socket: IPV6_V6ONLY");
	if (bind(t->fd, &local.sa, sockaddr_len(&local)) < 0)
		return error_errno(e, -errno, "UDP: cannot bind %s", sockaddr_format(&local, text));
	return 0;
}

static void free_transport(struct transport **t)
{
	transport_free(*t);
}

int transport_udp_new(struct transport **tp, struct event_base *base,
		      const union sockaddr_any *bind, uint32_t id, const struct transport_ops *ops,
		      void *arg, struct error *e)
{
	cleanup(free_transport) struct transport *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return error_errno(e, -ENOMEM, "UDP transport");
	t->fd = -1;
	t->id = id;
	t->ops = ops;
	t->arg = arg;
	t->backlog_end = &t->backlog;
	if (getrandom(t->mtu_key, sizeof(t->mtu_key), 0) != sizeof(t->mtu_key))
		return error_errno(e, -EIO, "UDP transport: getrandom");

	err = open_socket(t, bind, e);
	if (err)
		return err;
	err = set_options(t);
	if (err)
		return error_errno(e, err, "UDP socket options");

	t->rx = calloc(1, RX_HEAD + TRANSPORT_BATCH + RX_TAIL);
	t->read_event = event_new(base, t->fd, EV_READ | EV_PERSIST, udp_on_readable, t);
	t->write_event = event_new(base, t->fd, EV_WRITE | EV_PERSIST, udp_on_writable, t);
	if (!t->rx || !t->read_event || !t->write_event || event_add(t->read_event, NULL) < 0)
		return error_errno(e, -ENOMEM, "UDP transport");
	*tp = steal_ptr(t);
	return 0;
}

void transport_free(struct transport *t)
{
	if (!t)
		return;
	if (t->read_event)
		event_free(t->read_event);
	if (t->write_event)
		event_free(t->write_event);
	if (t->fd >= 0)
		close(t->fd);
	udp_backlog_free(t);
	free(t->rx);
	free(t);
}

int transport_local(const struct transport *t, union sockaddr_any *sa)
{
	union sockaddr_any got = {0};
	socklen_t len = sizeof(got);

	if (getsockname(t->fd, &got.sa, &len) < 0)
		return -errno;
	*sa = got;
	return 0;
}

const struct transport_stats *transport_stats(const struct transport *t)
{
	return &t->stats;
}

void transport_rebind(struct transport *t)
{
	memset(t->sources, 0, sizeof(t->sources));
	udp_mtu_forget_all(t);
}
