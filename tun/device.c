/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the TUN. It is never persistent: the kernel removes it, its addresses and its routes with
 * the last descriptor, whatever the end of the processes that held one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "tun/netlink.h"
#include "tun/tun.h"

static int write_text(const char *path, const char *text)
{
	cleanup(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

/*
 * A TUN has no link: without this the kernel gives it a link-local address and sends router
 * solicitations and multicast reports into it. A kernel without IPv6 has none of these files, which
 * is fine.
 */
static void quiet_ipv6(const char *name)
{
	static const char *const settings[][2] = {{"addr_gen_mode", "1"},
						  {"accept_ra", "0"},
						  {"autoconf", "0"},
						  {"router_solicitations", "0"}};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		char path[128];

		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name, settings[i][0]);
		write_text(path, settings[i][1]);
	}
}

static int set_up(int sock, const char *name)
{
	struct ifreq ifr = {0};

	memcpy(ifr.ifr_name, name, TUN_NAME_LEN);
	ifr.ifr_mtu = INNER_MTU;
	if (ioctl(sock, SIOCSIFMTU, &ifr) < 0)
		return -errno;
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
	return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* Best first; a kernel that refuses one set gets the next. */
static void set_offloads(int fd)
{
	static const unsigned wanted[] = {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
					  TUN_F_CSUM | TUN_F_TSO4, TUN_F_CSUM};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)wanted[i]) == 0)
			return;
}

int tun_create(char name[static TUN_NAME_LEN], struct error *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	int header = sizeof(struct virtio_net_hdr);

	cleanup(close_fd) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_errno(
			e, -errno,
			"/dev/net/tun cannot be opened (is the kernel module tun loaded?)");
	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return error_errno(e, -errno, "/dev/net/tun makes no TUN device");
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return error_errno(e, -errno, "TUN device %s: virtio header", ifr.ifr_name);
	set_offloads(fd);
	quiet_ipv6(ifr.ifr_name);

	cleanup(close_fd) int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = sock < 0 ? -errno : set_up(sock, ifr.ifr_name);
	if (r)
		return error_errno(e, r, "TUN device %s cannot be switched on", ifr.ifr_name);
	memcpy(name, ifr.ifr_name, TUN_NAME_LEN);
	name[TUN_NAME_LEN - 1] = '\0';
	int made = fd;
	fd = -1;
	return made;
}

int tun_remove(const char *name, struct error *e)
{
	struct ifinfomsg link = {.ifi_index = (int)if_nametoindex(name)};
	struct netlink_request q;

	if (link.ifi_index == 0)
		return 0;
	netlink_start(&q, RTM_DELLINK, 0, &link, sizeof(link));
	int r = netlink_do(&q);
	if (r == -ENODEV)
		r = 0;
	return r ? error_errno(e, r, "TUN device %s cannot be removed", name) : 0;
}

bool tun_ipv6_off(const char *name)
{
	char path[128], text[8] = "";

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 1)
		return true; /* a kernel without IPv6 has no such file */
	return text[0] != '0';
}

int tun_add_addr(const char *name, const struct ipaddr *a, struct error *e)
{
	struct ifaddrmsg m = {.ifa_family = a->family == 4 ? AF_INET : AF_INET6,
			      .ifa_prefixlen = a->family == 4 ? 32 : 128,
			      .ifa_scope = RT_SCOPE_UNIVERSE,
			      .ifa_index = if_nametoindex(name)};
	struct netlink_request q;
	char text[ADDR_STRLEN];

	if (a->family != 4 && a->family != 6)
		return error_set(e, -EINVAL, "address of no family for %s", name);
	if (m.ifa_index == 0)
		return error_errno(e, -ENODEV, "%s", name);
	netlink_start(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	netlink_attr_ip(&q, IFA_LOCAL, a);
	netlink_attr_ip(&q, IFA_ADDRESS, a);
	/* No duplicate address detection: there is nobody to ask, and the address is needed now. */
	netlink_attr_u32(&q, IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
	int r = netlink_do(&q);
	return r ? error_errno(e, r, "address %s cannot be added to %s", ipaddr_format(a, text),
			       name)
		 : 0;
}
