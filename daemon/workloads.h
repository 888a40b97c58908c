/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workloads: list, intercept and leave where the cluster is a Kubernetes: by its objects, with the user's own rights
 * (docs/kubernetes.md). The static platform's are in methods.c, which asks the manager.
 */
#pragma once

#include <jansson.h>

struct control_client;
struct daemon;
struct rpc_request;

/* Each answers `req`, now or later. The session is connected and its control connection up. */
void workloads_list(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req);
void workloads_intercept(struct daemon *d, struct control_client *cl, json_t *params,
			 struct rpc_request *req);
void workloads_leave(struct daemon *d, struct control_client *cl, json_t *params,
		     struct rpc_request *req);
/* The manager's `intercepts` snapshot came: session_intercepts(). */
void workloads_snapshot(struct daemon *d);
/* The control connection broke: calls to the manager get no answer. */
void workloads_link_down(struct daemon *d);
/* This client went away: what it was waiting for is undone. */
void workloads_client_gone(struct daemon *d, struct control_client *cl);
/* For status: intercepts that miss connections because their workload's mark was taken away. */
void workloads_warnings(struct daemon *d, json_t *warnings);
/* The session is about to be freed: nothing of it may be used from here on. Who waits is told. */
void workloads_session_end(struct daemon *d);
