/* SPDX-License-Identifier: Apache-2.0 */
/* One rtnetlink request at a time, on a socket of its own: build, send, wait for the
 * acknowledgement. */
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "base/addr.h"

struct netlink_request {
	struct nlmsghdr head;
	char body[512]; /* far above what any of our requests needs */
};

/* Starts a request: the fixed part `fixed` follows the header. */
void netlink_start(struct netlink_request *q, uint16_t type, uint16_t flags, const void *fixed,
		   size_t len);
void netlink_attr(struct netlink_request *q, uint16_t type, const void *data, size_t len);
void netlink_attr_u32(struct netlink_request *q, uint16_t type, uint32_t value);
void netlink_attr_ip(struct netlink_request *q, uint16_t type, const struct ipaddr *a);

/* Sends and waits for the kernel's answer: 0 or negative errno. */
int netlink_do(struct netlink_request *q);
/* Sends a dump request; `cb` sees each message of the answer. -EINTR: all was seen, but it changed meanwhile, so
 * something may be missing. */
int netlink_dump(struct netlink_request *q, void (*cb)(void *arg, const struct nlmsghdr *h),
		 void *arg);
