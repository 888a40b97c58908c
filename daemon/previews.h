/* SPDX-License-Identifier: Apache-2.0 */
/* previews: what the command line asks the manager about previews, by way of us: who may ask is whose key opened the tunnel. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct control_client;
struct daemon;
struct rpc_request;

/* `ingress`, `preview`, `preview_remove`, `share`, `unshare`, `dashboard`: true, and `req` is answered now or later. Another: false. */
bool previews_call(struct daemon *d, struct control_client *cl, const char *method, json_t *params,
		   struct rpc_request *req);
