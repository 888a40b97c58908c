/* SPDX-License-Identifier: Apache-2.0 */
/* A network namespace of the test's own, with loopback up and pings allowed. As root, or by a user
 * namespace. */
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/util.h"

static bool put_file(const char *path, const char *text)
{
	cleanup(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool loopback_up(void)
{
	cleanup(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo"};

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return false;
	ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
	return ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
}

/* False: this machine does not let us; what needs it is to be skipped. */
static inline bool netns_enter(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (uid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			return false;
	} else {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
			return false;
		snprintf(map, sizeof(map), "0 %u 1", uid);
		put_file("/proc/self/setgroups", "deny");
		put_file("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %u 1", gid);
		put_file("/proc/self/gid_map", map);
	}
	return loopback_up();
}

static inline bool netns_allow_ping(bool yes)
{
	return put_file("/proc/sys/net/ipv4/ping_group_range", yes ? "0 0" : "1 0");
}
