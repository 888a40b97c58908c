/* SPDX-License-Identifier: Apache-2.0 */
/* What this laptop's own network has. */
#include <ifaddrs.h>
#include <string.h>

#include "base/file.h"
#include "daemon/laptop.h"

/* New interfaces take `default`; without the module there is no such file. */
bool laptop_has_ipv6(void)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len;

	return !file_read("/proc/sys/net/ipv6/conf/default/disable_ipv6", 16, &text, &len, NULL) &&
	       text[0] == '0';
}

bool laptop_has_address(const struct ipaddr *a, const char *but)
{
	struct ifaddrs *all, *i;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (i = all; i; i = i->ifa_next) {
		struct ipaddr ip;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !strcmp(i->ifa_name, but))
			continue;
		ip = ipaddr_v4(&((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr);
		found |= ipaddr_equal(&ip, a);
	}
	freeifaddrs(all);
	return found;
}
