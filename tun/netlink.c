/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink, the little of it that the making half needs. */
#include "tun/netlink.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/util.h"

enum { DUMP_BUFFER = 32768 }; /* the kernel fills dumps in at most this much at once */

void netlink_start(struct netlink_request *q, uint16_t type, uint16_t flags, const void *fixed,
		   size_t len)
{
	memset(q, 0, sizeof(*q));
	q->head.nlmsg_type = type;
	q->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	q->head.nlmsg_seq = 1;
	q->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&q->head), fixed, len);
}

void netlink_attr(struct netlink_request *q, uint16_t type, const void *data, size_t len)
{
	size_t at = NLMSG_ALIGN(q->head.nlmsg_len);

	if (at + RTA_SPACE(len) > sizeof(*q))
		abort(); /* our own constant requests: cannot grow at run time */
	struct rtattr *a = (struct rtattr *)(void *)((char *)q + at);
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = (uint32_t)(at + RTA_LENGTH(len));
}

void netlink_attr_u32(struct netlink_request *q, uint16_t type, uint32_t value)
{
	netlink_attr(q, type, &value, sizeof(value));
}

void netlink_attr_ip(struct netlink_request *q, uint16_t type, const struct ipaddr *a)
{
	netlink_attr(q, type, a->b, a->family == 4 ? 4 : 16);
}

static int open_and_send(struct netlink_request *q)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (sendto(fd, q, q->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* The errno of an NLMSG_ERROR message (0 = acknowledged), -EPROTO when it is too short
 * to hold one. */
static int error_of(const struct nlmsghdr *h)
{
	const struct nlmsgerr *err = NLMSG_DATA(h);

	return h->nlmsg_len < NLMSG_LENGTH(sizeof(*err)) ? -EPROTO : err->error;
}

int netlink_do(struct netlink_request *q)
{
	q->head.nlmsg_flags |= NLM_F_ACK;
	cleanup(close_fd) int fd = open_and_send(q);
	if (fd < 0)
		return fd;

	union {
		struct nlmsghdr head;
		char bytes[4096];
	} in;
	ssize_t n;
	do
		n = recv(fd, &in, sizeof(in), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(&in.head, (size_t)n) || in.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return error_of(&in.head);
}

/* NLMSG_DONE carries the dump's own error, an int. */
static int done(const struct nlmsghdr *h, bool changed)
{
	int err = 0;

	if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(err)))
		memcpy(&err, NLMSG_DATA(h), sizeof(err));
	return err ? err : changed ? -EINTR : 0;
}

int netlink_dump(struct netlink_request *q, void (*cb)(void *arg, const struct nlmsghdr *h),
		 void *arg)
{
	q->head.nlmsg_flags |= NLM_F_DUMP;
	cleanup(free_ptr) char *buf = malloc(DUMP_BUFFER);
	if (!buf)
		return -ENOMEM;
	cleanup(close_fd) int fd = open_and_send(q);
	if (fd < 0)
		return fd;

	bool changed = false;
	for (;;) {
		ssize_t n = recv(fd, buf, DUMP_BUFFER, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		size_t left = (size_t)n;
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			changed |= h->nlmsg_flags & NLM_F_DUMP_INTR;
			if (h->nlmsg_type == NLMSG_DONE)
				return done(h, changed);
			if (h->nlmsg_type == NLMSG_ERROR)
				return error_of(h);
			cb(arg, h);
		}
	}
}
