/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `culvert-agent redirect 8080:9900 9000:9901/udp`: the init container that has what comes to a port from outside the pod
 * arrive at another port, and ends. agent_main() hands over when its first argument is "redirect". What the pod's own processes
 * send, to 127.0.0.1 or to the pod's own address, is left alone.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

enum { REDIRECTS_MAX = 64 };

struct redirect {
	uint16_t from, to;
	bool udp;
};
struct redirects {
	unsigned n;
	struct redirect r[REDIRECTS_MAX];
};

/* "FROM:TO", "FROM:TO/tcp", "FROM:TO/udp", added to *r; -EINVAL. */
int redirect_parse(struct redirects *r, const char *text, struct error *e);

/*
 * Sets the nftables table `inet culvert` of this network namespace to exactly these, in one transaction, whatever an earlier
 * one of ours held, and reads it back. Needs CAP_NET_ADMIN.
 */
int redirect_set(const struct redirects *r, struct error *e);

/* The program: argv[0] is "redirect". 0 done, 1 failed (said on stderr), 2 wrong usage. */
int redirect_main(int argc, char **argv);
