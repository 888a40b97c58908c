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

enum { SETTLE_MS = 500, SLEEP_CHECK = 2 /* s */ };

#define SLEPT_AT_LEAST (3 * NSEC_PER_SEC)

struct netwatch {
	void (*changed)(void *arg, const char *what);
	void *arg;
	int sock;
	unsigned ignored; /* ifindex */
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

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct netwatch *n = arg;

	(void)fd;
	(void)what;
	n->changed(n->arg, "an interface or address changed");
}

static bool concerns_us(const struct netwatch *n, const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);
	const struct ifaddrmsg *addr = NLMSG_DATA(h);

	if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK)
		return h->nlmsg_len >= NLMSG_LENGTH(sizeof(*link)) &&
		       (unsigned)link->ifi_index != n->ignored;
	if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		return h->nlmsg_len >= NLMSG_LENGTH(sizeof(*addr)) && addr->ifa_index != n->ignored;
	return false;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct netwatch *n = arg;
	struct timeval tv = {.tv_usec = SETTLE_MS * 1000};
	_Alignas(struct nlmsghdr) char buf[8192];
	const struct nlmsghdr *h;
	bool ours = false;
	ssize_t len;

	(void)what;
	while ((len = recv((int)fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		size_t left = (size_t)len;

		for (h = (const void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			ours |= concerns_us(n, h);
	}
	/* ENOBUFS: the kernel had more to say than we took, so something did change. */
	if (len < 0 && errno == ENOBUFS)
		ours = true;
	if (ours && !evtimer_pending(n->settle, NULL))
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
	n->ignored = *ifname ? if_nametoindex(ifname) : 0;
}
