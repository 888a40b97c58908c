/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: each read returns one datagram or a run of them that the kernel put together (UDP_GRO;
 * the size of each comes beside it), and the address they were sent to. Errors that ICMP brought
 * lie in a queue of their own (IP_RECVERR).
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/errqueue.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transport/udp.h"

enum { CONTROL_SIZE = 512 };

/* Mapped IPv4 comes out as AF_INET. */
static union sockaddr_any unmapped(const union sockaddr_any *sa)
{
	struct ipaddr ip;

	if (sa->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&sa->in6.sin6_addr))
		return *sa;
	ip = ipaddr_v4(&sa->in6.sin6_addr.s6_addr[12]);
	return sockaddr_from(&ip, ntohs(sa->in6.sin6_port));
}

static struct ipaddr local_from_info6(const struct in6_pktinfo *info)
{
	if (IN6_IS_ADDR_V4MAPPED(&info->ipi6_addr))
		return ipaddr_v4(&info->ipi6_addr.s6_addr[12]);
	return ipaddr_v6(&info->ipi6_addr);
}

/* The address it was sent to, and the datagrams' size (0 = one datagram). */
static void read_control(struct msghdr *msg, struct path *from, size_t *stride)
{
	*stride = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			*stride = size > 0 ? (size_t)size : 0;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			from->local = local_from_info6(&info);
			/* A link-local address means nothing without its link. */
			if (ipaddr_is_linklocal(&from->local))
				from->ifindex = info.ipi6_ifindex;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			from->local = ipaddr_v4(&info.ipi_spec_dst);
		}
	}
}

/* Takes what lies in the error queue, else the socket stays "readable" for ever. */
static void drain_errors(struct udp *u)
{
	for (int i = 0; i < ERROR_BUDGET; i++) {
		_Alignas(struct cmsghdr) char control[CONTROL_SIZE];
		struct path to = {.transport = u->t.id};
		union sockaddr_any name = {0};
		struct msghdr msg = {
			.msg_name = &name,
			.msg_namelen = sizeof(name),
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		int error = 0;

		if (recvmsg(u->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			struct sock_extended_err ee;

			if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
			    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
				continue;
			memcpy(&ee, CMSG_DATA(c), sizeof(ee));
			error = -(int)ee.ee_errno;
		}
		if (!error)
			continue;
		to.remote = unmapped(&name);
		if (error == -EMSGSIZE)
			udp_mtu_forget(u, &to);
		else if (u->t.ops->unreachable)
			u->t.ops->unreachable(u->t.arg, &to, error);
	}
}

/* Reads once: 1 delivered, 0 nothing to deliver (an error of an earlier datagram, a truncated one),
 * -EAGAIN. */
static int receive_one(struct udp *u)
{
	_Alignas(struct cmsghdr) char control[CONTROL_SIZE];
	struct path from = {.transport = u->t.id};
	union sockaddr_any name = {0};
	struct iovec iov = {.iov_base = u->rx + TRANSPORT_HEAD, .iov_len = TRANSPORT_BATCH};
	struct msghdr msg = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(u->fd, &msg, 0);
	size_t len, stride;

	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n <= 0 || msg.msg_flags & MSG_TRUNC)
		return 0;
	len = (size_t)n;
	from.remote = unmapped(&name);
	if (!sockaddr_port(&from.remote)) /* cannot be answered, and each try would be an error */
		return 0;
	read_control(&msg, &from, &stride);
	if (!stride || stride > len)
		stride = len;
	if (from.local.family && !ipaddr_is_multicast(&from.local))
		udp_source_learn(u, &from.local);

	u->t.stats.rx_calls++;
	u->t.stats.rx_bytes += len;
	u->t.stats.rx_datagrams += (len + stride - 1) / stride;
	u->t.ops->receive(u->t.arg, &from, u->rx + TRANSPORT_HEAD, len, stride);
	return 1;
}

void udp_on_readable(int fd, short what, void *arg)
{
	struct udp *u = arg;
	bool delivered = false, error = false;

	(void)fd;
	(void)what;
	for (int i = 0; i < RX_BUDGET; i++) {
		int r = receive_one(u);

		if (r < 0)
			break;
		delivered |= r > 0;
		error |= !r;
	}
	/* Woken for nothing: the error that goes with it was reported to a sendmsg. */
	if (error || !delivered)
		drain_errors(u);
	if (delivered && u->t.ops->idle)
		u->t.ops->idle(u->t.arg);
}
