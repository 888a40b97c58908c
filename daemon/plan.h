/* SPDX-License-Identifier: Apache-2.0 */
/* From what the manager said and the user asked for to what the laptop's kernel and resolver are told. Pure. */
#pragma once

#include "daemon/hello.h"
#include "daemon/hostnet.h"
#include "daemon/prefixes.h"

struct plan_input {
	const struct hello *hello;
	const struct prefixes *also, *never; /* --also-proxy, --never-proxy */
	struct ipaddr manager;	 /* where its datagrams go: the tunnel must never swallow them */
	struct ipaddr kernel_v6; /* our ::2; family 0 = this laptop has no IPv6 */
};

/* `spared` is the prefix that the manager's address was cut out of; family 0 = none. -ENOSPC with the sentence. */
int plan_hostnet(struct hostnet_config *out, const struct plan_input *in, struct prefix *spared,
		 struct error *e);
