/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a network and mounts of our own, so that nothing on the machine is touched and every
 * port is free. */
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void private_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

/* As root, or as root of a user namespace of our own. 0 or -1. */
static inline int private_net(void)
{
	uid_t uid = getuid();
	gid_t gid = getgid();
	char map[64];

	if (uid == 0) {
		if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
			return -1;
	} else {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
			return -1;
		private_write("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		private_write("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %u 1", gid);
		private_write("/proc/self/gid_map", map);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return r;
}

/* An empty folder that goes away with us: a tmpfs of `size` ("16m") on a fresh mount point. */
static inline int private_folder(char path[static 32], const char *size)
{
	char options[32];

	strcpy(path, "/tmp/culvert-test.XXXXXX");
	snprintf(options, sizeof(options), "size=%s,mode=755", size);
	return mkdtemp(path) && mount("none", path, "tmpfs", 0, options) == 0 ? 0 : -1;
}

static inline void private_folder_end(const char *path)
{
	umount2(path, MNT_DETACH);
	rmdir(path);
}
