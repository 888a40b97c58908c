/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the manager, from asking to the answer. */
#include "daemon/errand.h"

#include <event2/event.h>

#include "daemon/cluster.h"
#include "daemon/ingress.h"
#include "daemon/link.h"
#include "daemon/session.h"

struct errand *errand_new(struct daemon *d, struct control_client *cl, struct rpc_request *req)
{
	struct errand *er = calloc(1, sizeof(*er));

	if (!er) {
		rpc_fail(req, RPC_INTERNAL, "out of memory");
		return NULL;
	}
	er->daemon = d;
	er->client = cl;
	er->req = req;
	TAILQ_INSERT_TAIL(&d->errands, er, entry);
	return er;
}

void errand_end(struct errand *er)
{
	TAILQ_REMOVE(&er->daemon->errands, er, entry);
	json_decref(er->granted);
	json_decref(er->params);
	ingress_look_free(er->look);
	if (er->limit)
		event_free(er->limit);
	free(er);
}

void errand_fail(struct errand *er, int code, const char *message)
{
	/* A ping finds out whether the connection lives, so that the next question need not wait as
	 * long. */
	if (code == RPC_TIMEOUT && er->daemon->session)
		link_kick(session_link(er->daemon->session));
	if (code == RPC_TIMEOUT)
		message = "the manager did not answer in time; `culvert status -w` shows when it "
			  "does";
	rpc_fail(er->req, code, "%s", message);
	errand_end(er);
}

bool errand_connected(struct daemon *d, struct rpc_request *req)
{
	const struct cluster *c;
	const char *why;

	if (!d->session || session_state(d->session) != SESSION_CONNECTED) {
		rpc_fail(req, RPC_NOT_CONNECTED, "not connected; run `culvert connect` first");
		return false;
	}
	if (link_up(session_link(d->session)))
		return true;
	c = session_cluster(d->session);
	why = c ? cluster_trouble(c) : "";
	rpc_fail(req, RPC_NOT_CONNECTED,
		 "the manager does not answer at the moment%s%s%s; `culvert status -w` shows "
		 "when it does",
		 *why ? " (" : "", why, *why ? ")" : "");
	return false;
}

void errand_ask(struct errand *er, const char *method, json_t *params, rpc_cb *cb)
{
	int err = link_call(session_link(er->daemon->session), method, params, ERRAND_TIMEOUT, cb,
			    er);

	if (err)
		errand_fail(er, RPC_NOT_CONNECTED, strerror(-err));
}
