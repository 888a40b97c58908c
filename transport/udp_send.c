/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: a batch of datagrams of one size goes to the kernel as one super-datagram (UDP_SEGMENT),
 * which costs a fifth of sending them one by one; sendmmsg would gain nothing.
 *
 * What the kernel may answer:
 *   EAGAIN       the socket buffer is full: the rest waits in the backlog. An unprivileged
 *                program's buffer is clamped to a few super-datagrams (net.core.wmem_max), less
 *                than one turn of the loop produces; so BACKLOG_MAX takes such a burst. What
 *                exceeds it is dropped and counted: a longer queue would only add delay, and the
 *                inner TCP learns its rate from the loss.
 *   ENOBUFS      the device's queue dropped it already: counted.
 *   EMSGSIZE     does not fit the MTU (an MTU that shrank): super-datagrams are sent one by one,
 *                and the kernel fragments what needs it.
 *   EIO, EINVAL  on a super-datagram: the device cannot checksum, or the kernel cannot segment.
 *                Given up, but only when one by one they go: it may be the MTU of just now, or the
 *                address (a hostile peer's port 0), and that must not cost all the others.
 *   EINVAL etc.  on a sticky source: our address is gone; forget it, the kernel chooses another.
 *   others       an ICMP error that some earlier datagram, maybe to someone else, brought about (it
 *                is reported once, in place of sending), or no route: tried again, then counted.
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transport/udp.h"

enum { SEND_TRIES = 3 };

static void add_control(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)msg->msg_control + msg->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

static struct in6_addr mapped(const void *v4)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(&a.s6_addr[12], v4, 4);
	return a;
}

static void add_source(const struct udp *u, struct msghdr *msg, const struct path *to)
{
	if (u->v6) {
		struct in6_pktinfo info = {.ipi6_ifindex = to->ifindex};

		if (to->local.family == 4)
			info.ipi6_addr = mapped(to->local.b);
		else
			memcpy(&info.ipi6_addr, to->local.b, 16);
		add_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	} else {
		struct in_pktinfo info = {.ipi_ifindex = (int)to->ifindex};

		memcpy(&info.ipi_spec_dst, to->local.b, 4);
		add_control(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
}

/* As the socket's family wants it. */
static union sockaddr_any destination(const struct udp *u, const union sockaddr_any *remote)
{
	if (!u->v6 || remote->sa.sa_family != AF_INET)
		return *remote;
	return (union sockaddr_any){.in6 = {.sin6_family = AF_INET6,
					    .sin6_port = remote->in.sin_port,
					    .sin6_addr = mapped(&remote->in.sin_addr)}};
}

/* One sendmsg: one datagram, or (segment != 0) a super-datagram. */
static int send_message(struct udp *u, const struct path *to, const uint8_t *data, size_t len,
			uint16_t segment, bool source)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
					      CMSG_SPACE(sizeof(uint16_t))] = {0};
	union sockaddr_any name = destination(u, &to->remote);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {
		.msg_name = &name,
		.msg_namelen = sockaddr_len(&name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
	};

	if (source)
		add_source(u, &msg, to);
	if (segment)
		add_control(&msg, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	if (!msg.msg_controllen)
		msg.msg_control = NULL;
	u->t.stats.tx_calls++;
	return sendmsg(u->fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool source_may_be_wrong(int err)
{
	return err == -EINVAL || err == -EADDRNOTAVAIL || err == -ENODEV || err == -ENETUNREACH ||
	       err == -EHOSTUNREACH;
}

/* As send_message(), having dealt with sources that are gone and errors of other datagrams. */
static int send_chunk(struct udp *u, const struct path *to, const uint8_t *data, size_t len,
		      uint16_t segment)
{
	bool source = to->local.family && udp_source_known(u, &to->local);
	int err = 0;

	for (int i = 0; i < SEND_TRIES; i++) {
		err = send_message(u, to, data, len, segment, source);
		switch (err) {
		case 0:
		case -EAGAIN:
		case -ENOBUFS:
		case -EMSGSIZE:
			return err;
		case -EIO:
			if (segment)
				return err;
		}
		if (source && source_may_be_wrong(err)) {
			udp_source_forget(u, &to->local);
			source = false;
		} else if (segment && err == -EINVAL) {
			return err;
		}
	}
	return err;
}

static uint64_t datagrams(size_t len, size_t stride)
{
	return (len + stride - 1) / stride;
}

static size_t chunk_size(size_t len, size_t stride, bool gso)
{
	size_t most = MIN(GSO_MAX_BYTES / stride, (size_t)GSO_MAX_DATAGRAMS) * stride;

	return MIN(len, gso && most ? most : stride);
}

/* Returns how many bytes are dealt with: sent, or dropped and counted; less than `len` = buffer
 * full. */
static size_t send_batch(struct udp *u, const struct path *to, const uint8_t *data, size_t len,
			 size_t stride)
{
	/* The kernel fragments single datagrams only, and an older one says EINVAL to
	 * super-datagrams that would need it: not a reason to give up GSO for everybody. */
	bool gso = u->gso && len > stride && stride <= udp_mtu(&u->t, to);
	bool refused = false;
	size_t done = 0;

	while (done < len) {
		size_t n = chunk_size(len - done, stride, gso);
		uint64_t count = datagrams(n, stride);
		int err = send_chunk(u, to, data + done, n, count > 1 ? (uint16_t)stride : 0);

		if (err == -EAGAIN)
			return done;
		if (err == -EMSGSIZE || err == -EINVAL)
			udp_mtu_forget(u, to);
		if (count > 1 && (err == -EMSGSIZE || err == -EIO || err == -EINVAL)) {
			gso = false;
			refused = err != -EMSGSIZE && stride <= udp_mtu(&u->t, to);
			continue;
		}
		done += n;
		if (!err) {
			u->gso &= !refused;
			u->t.stats.tx_datagrams += count;
			u->t.stats.tx_bytes += n;
		} else if (err == -ENOBUFS) {
			u->t.stats.tx_full += count;
		} else if (err == -EMSGSIZE) {
			u->t.stats.tx_too_big += count;
		} else {
			u->t.stats.tx_errors += count;
		}
	}
	return done;
}

static void backlog_push(struct udp *u, const struct path *to, const uint8_t *data, size_t len,
			 size_t stride)
{
	struct backlog_entry *b = NULL;

	if (u->backlog_bytes + len <= BACKLOG_MAX)
		b = malloc(sizeof(*b) + len);
	if (!b) {
		u->t.stats.tx_full += datagrams(len, stride);
		return;
	}
	*b = (struct backlog_entry){.to = *to, .len = len, .stride = stride};
	memcpy(b->data, data, len);
	if (!u->backlog)
		event_add(u->write_event, NULL);
	*u->backlog_end = b;
	u->backlog_end = &b->next;
	u->backlog_bytes += len;
}

static void backlog_pop(struct udp *u)
{
	struct backlog_entry *b = u->backlog;

	u->backlog = b->next;
	u->backlog_bytes -= b->len;
	if (!u->backlog)
		u->backlog_end = &u->backlog;
	free(b);
}

void udp_backlog_free(struct udp *u)
{
	while (u->backlog)
		backlog_pop(u);
}

void udp_on_writable(int fd, short what, void *arg)
{
	struct udp *u = arg;

	(void)fd;
	(void)what;
	while (u->backlog) {
		struct backlog_entry *b = u->backlog;

		b->done += send_batch(u, &b->to, b->data + b->done, b->len - b->done, b->stride);
		if (b->done < b->len)
			return;
		backlog_pop(u);
	}
	event_del(u->write_event);
}

void udp_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
	      size_t stride)
{
	struct udp *u = udp_self(t);
	size_t done = 0;

	/* Behind those that wait: order is kept. */
	if (likely(!u->backlog))
		done = send_batch(u, to, data, len, stride);
	if (done < len)
		backlog_push(u, to, data + done, len - done, stride);
}
