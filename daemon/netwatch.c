/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network changes: links and addresses by rtnetlink; a new address comes as several messages, so
 * they are gathered for a moment. Sleep: CLOCK_BOOTTIME goes on while CLOCK_MONOTONIC stands still.
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "daemon/netwatch.h"

enum { SETTLE_MS = 500, SLEEP_CHECK = 2 /* s */, CHANGED_MAX = 16 };

#define SLEPT_AT_LEAST (3 * NSEC_PER_SEC)

struct netwatch {
	void (*changed)(void *arg, const char *what);
	void *arg;
	int sock;
	unsigned ignored[2];			 /* ifindex of our TUN now and before, 0 = none */
	unsigned nchanged, touched[CHANGED_MAX]; /* ifindex */
	struct event *readable, *settle, *second;
	nsec_t asleep; /* time slept since boot, as last seen */
};

static nsec_t time_asleep(void)
{
	struct timespec mono;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	return clock_boot() - ((nsec_t)mono.tv_sec * NSEC_PER_SEC + (nsec_t)mono.tv_nsec);
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct netwatch *n = arg;
	nsec_t asleep = time_asleep();
	bool woke = asleep > n->asleep + SLEPT_AT_LEAST;

	(void)fd;
	(void)what;
	n->asleep = asleep;
	if (woke)
		n->changed(n->arg, "the laptop was asleep");
}

/* Only now is it known which interface is ours: it is named to us after the kernel told of it. */
static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct netwatch *n = arg;
	unsigned i, others = 0;

	(void)fd;
	(void)what;
	for (i = 0; i < n->nchanged; i++)
		others += n->touched[i] != n->ignored[0] && n->touched[i] != n->ignored[1];
	n->nchanged = 0;
	if (others)
		n->changed(n->arg, "an interface or address changed");
}

/* Whose change it is: 0 = of no interest. */
static unsigned interface_of(const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);
	const struct ifaddrmsg *addr = NLMSG_DATA(h);

	if ((h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK) &&
	    h->nlmsg_len >= NLMSG_LENGTH(sizeof(*link)))
		return (unsigned)link->ifi_index;
	if ((h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR) &&
	    h->nlmsg_len >= NLMSG_LENGTH(sizeof(*addr)))
		return addr->ifa_index;
	return 0;
}

static void note(struct netwatch *n, unsigned ifindex)
{
	unsigned i;

	for (i = 0; i < n->nchanged; i++)
		if (n->touched[i] == ifindex)
			return;
	if (n->nchanged < CHANGED_MAX)
		n->touched[n->nchanged++] = ifindex;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct netwatch *n = arg;
	struct timeval tv = {.tv_usec = SETTLE_MS * 1000};
	_Alignas(struct nlmsghdr) char buf[8192];
	const struct nlmsghdr *h;
	unsigned ifindex;
	ssize_t len;

	(void)what;
	while ((len = recv((int)fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		size_t left = (size_t)len;

		for (h = (const void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			ifindex = interface_of(h);
			if (ifindex)
				note(n, ifindex);
		}
	}
	/* The kernel had more to say than we took: something did change, nobody knows where. */
	if (len < 0 && errno == ENOBUFS)
		note(n, 0);
	if (n->nchanged && !evtimer_pending(n->settle, NULL))
		evtimer_add(n->settle, &tv);
}

static int open_socket(struct error *e)
{
	struct sockaddr_nl sa = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (sock < 0)
		return error_errno(e, -errno, "rtnetlink");
	if (bind(sock, (struct sockaddr *)&sa, sizeof(sa))) {
		error_errno(e, -errno, "rtnetlink");
		close(sock);
		return -EIO;
	}
	return sock;
}

static void free_netwatch(struct netwatch **np)
{
	netwatch_free(*np);
}

int netwatch_new(struct netwatch **np, struct event_base *base,
		 void (*changed)(void *arg, const char *what), void *arg, struct error *e)
{
	struct timeval every = {.tv_sec = SLEEP_CHECK};
	int sock = open_socket(e);
	cleanup(free_netwatch) struct netwatch *n = NULL;

	if (sock < 0)
		return sock;
	n = calloc(1, sizeof(*n));
	if (!n) {
		close(sock);
		return error_errno(e, -ENOMEM, "netwatch");
	}
	n->changed = changed;
	n->arg = arg;
	n->sock = sock;
	n->asleep = time_asleep();
	n->readable = event_new(base, sock, EV_READ | EV_PERSIST, on_readable, n);
	n->settle = evtimer_new(base, on_settled, n);
	n->second = event_new(base, -1, EV_PERSIST, on_second, n);
	if (!n->readable || !n->settle || !n->second || event_add(n->readable, NULL) ||
	    event_add(n->second, &every))
		return error_errno(e, -ENOMEM, "netwatch");
	*np = steal_ptr(n);
	return 0;
}

void netwatch_free(struct netwatch *n)
{
	if (!n)
		return;
	if (n->readable)
		event_free(n->readable);
	if (n->settle)
		event_free(n->settle);
	if (n->second)
		event_free(n->second);
	close(n->sock);
	free(n);
}

void netwatch_ignore(struct netwatch *n, const char *ifname)
{
	n->ignored[1] = n->ignored[0];
	n->ignored[0] = if_nametoindex(ifname);
}
