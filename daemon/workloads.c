/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads and intercepts of a Kubernetes. */
#include "daemon/workloads.h"
#include "daemon/internal.h"

static void not_yet(struct rpc_request *req)
{
	rpc_fail(req, RPC_FAILED,
		 "workloads of a Kubernetes cannot be listed and intercepted by this version yet");
}

void workloads_list(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req)
{
	(void)d;
	(void)cl;
	(void)params;
	not_yet(req);
}

void workloads_intercept(struct daemon *d, struct control_client *cl, json_t *params,
			 struct rpc_request *req)
{
	workloads_list(d, cl, params, req);
}

void workloads_leave(struct daemon *d, struct control_client *cl, json_t *params,
		     struct rpc_request *req)
{
	workloads_list(d, cl, params, req);
}

void workloads_snapshot(struct daemon *d)
{
	(void)d;
}

void workloads_client_gone(struct daemon *d, struct control_client *cl)
{
	(void)d;
	(void)cl;
}

void workloads_session_end(struct daemon *d)
{
	(void)d;
}
