/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager tells laptops through the API server: the ConfigMap `culvert` (docs/kubernetes.md), checked and
 * bounded. */
#pragma once

#include <jansson.h>

#include "base/addr.h"
#include "base/error.h"
#include "crypto/crypto.h"

enum { TOLD_UDP = 4 /* endpoints; more are of no use */ };

struct told {
	char version[32];
	char domain[128];     /* the cluster's, such as cluster.local */
	uint8_t key[KEY_LEN]; /* pinned: whoever answers without it is not the manager */
	unsigned nudp;
	union sockaddr_any udp[TOLD_UDP];
};

/* 0; -EAGAIN: the manager has not started yet, `e` says so; -EPROTO: of another version; -EINVAL: damaged. */
int told_parse(struct told *t, const json_t *configmap, struct error *e);
