/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the manager, from asking to the answer. */
#include "daemon/errand.h"

#include <event2/event.h>

#include "daemon/cluster.h"
#include "daemon/ingress.h"
#include "daemon/link.h"
#include "daemon/session.h"

enum { TICK_S = 1 };

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
	json_decref(er->call);
	json_decref(er->params);
	ingress_look_free(er->look);
	if (er->limit)
		event_free(er->limit);
	if (er->patience)
		event_free(er->patience);
	free(er);
}

void errand_fail(struct errand *er, int code, const char *message)
{
	rpc_fail(er->req, code, "%s", message);
	errand_end(er);
}

static bool is_connected(const struct daemon *d)
{
	return d->session && session_state(d->session) == SESSION_CONNECTED;
}

static bool manager_answers(const struct daemon *d)
{
	return is_connected(d) && link_up(session_link(d->session));
}

static void refuse(struct daemon *d, struct rpc_request *req)
{
	const struct cluster *c = is_connected(d) ? session_cluster(d->session) : NULL;
	const char *why = c ? cluster_trouble(c) : "";

	if (is_connected(d))
		rpc_fail(req, RPC_NOT_CONNECTED,
			 "the manager does not answer at the moment%s%s%s; `culvert status -w` "
			 "shows when it does",
			 *why ? " (" : "", why, *why ? ")" : "");
	else
		rpc_fail(req, RPC_NOT_CONNECTED, "not connected; run `culvert connect` first");
}

bool errand_connected(struct daemon *d, struct rpc_request *req)
{
	if (manager_answers(d))
		return true;
	refuse(d, req);
	return false;
}

/* --- waiting for the manager --- */

static bool worth_waiting(const struct errand *er)
{
	const struct daemon *d = er->daemon;
	const struct cluster *c = is_connected(d) ? session_cluster(d->session) : NULL;

	return is_connected(d) && clock_boot() < er->until && !(c && cluster_api_away(c));
}

static void stop_waiting(struct errand *er)
{
	er->waiting = false;
	if (er->patience)
		evtimer_del(er->patience);
}

static void give_up(struct errand *er)
{
	stop_waiting(er);
	if (er->in_vain) {
		er->in_vain(er);
		return;
	}
	refuse(er->daemon, er->req);
	errand_end(er);
}

static void set_tick(struct errand *er)
{
	const struct timeval tick = {.tv_sec = TICK_S};

	if (evtimer_add(er->patience, &tick))
		give_up(er);
}

static void say_it(struct errand *er)
{
	if (!er->said)
		control_progress(er->client, "Waiting for the manager, which does not answer at "
					     "the moment");
	er->said = true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct errand *er = arg;

	(void)fd;
	(void)what;
	if (manager_answers(er->daemon)) { /* and has no snapshot yet */
		errand_resume(er);
		return;
	}
	if (!worth_waiting(er)) {
		give_up(er);
		return;
	}
	say_it(er);
	set_tick(er);
}

static void wait_for_manager(struct errand *er)
{
	er->waiting = true;
	if (!er->patience)
		er->patience = evtimer_new(er->daemon->base, on_tick, er);
	if (er->patience && worth_waiting(er))
		set_tick(er);
	else
		give_up(er);
}

void errand_begin(struct errand *er, json_t *params, errand_go *go, errand_go *in_vain)
{
	er->params = params;
	er->go = go;
	er->in_vain = in_vain;
	er->until = clock_boot() + ERRAND_PATIENCE_S * NSEC_PER_SEC;
	if (manager_answers(er->daemon))
		go(er);
	else
		wait_for_manager(er);
}

void errand_resume(struct errand *er)
{
	stop_waiting(er);
	er->go(er);
}

static bool may_be_asked_again(const struct errand *er)
{
	return er->go && !er->once && er->client && worth_waiting(er);
}

static void ask_again(struct errand *er)
{
	ingress_look_free(steal_ptr(er->look));
	json_decref(steal_ptr(er->call));
	er->asked_again = true;
	wait_for_manager(er);
}

void errand_interrupted(struct errand *er)
{
	if (er->waiting && is_connected(er->daemon))
		return;
	if (er->waiting) {
		give_up(er);
		return;
	}
	if (may_be_asked_again(er))
		ask_again(er);
	else
		errand_fail(er, RPC_NOT_CONNECTED,
			    "the connection to the manager broke; it is made again");
}

void errand_refused(struct errand *er, int code, const char *message)
{
	if (code == RPC_NOT_CONNECTED) {
		errand_interrupted(er);
		return;
	}
	if (code != RPC_TIMEOUT) {
		errand_fail(er, code, message);
		return;
	}
	/* A ping finds out whether the connection lives, so that the next question need not wait as
	 * long. */
	if (er->daemon->session)
		link_kick(session_link(er->daemon->session));
	if (may_be_asked_again(er)) {
		say_it(er);
		ask_again(er);
	} else {
		errand_fail(er, code,
			    "the manager did not answer in time; `culvert status -w` shows when it "
			    "does");
	}
}

/* --- asking --- */

void errand_ask(struct errand *er, const char *method, json_t *params, rpc_cb *cb)
{
	int err = link_call(session_link(er->daemon->session), method, params, ERRAND_TIMEOUT, cb,
			    er);

	if (err)
		errand_fail(er, RPC_NOT_CONNECTED, strerror(-err));
}
