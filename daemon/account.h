/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account: as whom this session is logged in (docs/previews.md). The file is the command line's (login/), what is in it is kept fresh here.
 *
 *   the file -- the ConfigMap: issuer, gateway --+-- no issuer: is it who the API server says we are?
 *                                                +-- token old? refresh it -- tell the manager, whose verdict counts
 *
 * All of it again when the command line asks, when the connection to the manager is new, and a minute before the token expires.
 */
#pragma once

#include <jansson.h>

struct daemon;
struct rpc_request;

/* The session is connected to a Kubernetes. Without memory there is no account, and nobody is logged in. */
void account_start(struct daemon *d);
/* The session is about to be freed; who waits is told. */
void account_end(struct daemon *d);
/* The rpc `login`: the file is read anew, and `req` answered when all is known. */
void account_call(struct daemon *d, struct rpc_request *req);
/* The manager has answered hello on a connection, or that connection is gone. */
void account_link_up(struct daemon *d);
void account_link_down(struct daemon *d);
/* For status: {logged_in, name, subject, issuer, expires, why}; NULL on the static platform. A new reference. */
json_t *account_json(const struct daemon *d);
