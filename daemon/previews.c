/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about previews, passed on to the manager with the Intercept's uid in place of its name. */
#include "daemon/previews.h"

#include <stdio.h>

#include "daemon/cluster.h"
#include "daemon/errand.h"
#include "daemon/ingress.h"
#include "daemon/session.h"

enum about { ABOUT_NOTHING, ABOUT_WORKLOAD, ABOUT_INTERCEPT };

static const struct {
	const char *name;
	enum about about;
} methods[] = {
	{"ingress", ABOUT_WORKLOAD},	     {"preview", ABOUT_INTERCEPT},
	{"preview_remove", ABOUT_INTERCEPT}, {"share", ABOUT_INTERCEPT},
	{"unshare", ABOUT_INTERCEPT},	     {"dashboard", ABOUT_NOTHING},
};

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* Of the intercept that is meant, as the manager told it last. */
static const char *find_uid(const struct daemon *d, const json_t *params)
{
	const char *name = text_of(params, "name"), *uid = text_of(params, "uid");
	const json_t *item;
	size_t i;

	if (*uid)
		return uid;
	json_array_foreach(session_intercepts(d->session), i, item)
	{
		if (!strcmp(text_of(json_object_get(item, "intercept"), "name"), name))
			return text_of(item, "uid");
	}
	return "";
}

static void on_answer(void *arg, json_t *result, int code, const char *message)
{
	struct errand *er = arg;

	if (!result) {
		errand_fail(er, code, message);
		return;
	}
	rpc_reply(er->req, json_incref(result));
	errand_end(er);
}

/* NULL: it is answered already. */
static json_t *make_params(const struct daemon *d, enum about about, json_t *params,
			   struct rpc_request *req)
{
	const char *uid = about == ABOUT_INTERCEPT ? find_uid(d, params) : "";
	json_t *call = json_is_object(params) ? json_copy(params) : json_object();

	if (about == ABOUT_INTERCEPT && !*uid) {
		rpc_fail(req, RPC_NOT_FOUND,
			 "you have no intercept '%.127s'; `culvert status` lists yours",
			 text_of(params, "name"));
		json_decref(call);
		return NULL;
	}
	if (about == ABOUT_INTERCEPT) {
		json_object_del(call, "name");
		json_object_set_new(call, "uid", json_string(uid));
	}
	for (unsigned i = 0; about == ABOUT_WORKLOAD && i < 2; i++) {
		static const char *const optional[] = {"kind", "service"};

		if (!json_object_get(call, optional[i]))
			json_object_set_new(call, optional[i], json_string(""));
	}
	if (about == ABOUT_WORKLOAD && !*text_of(call, "namespace"))
		json_object_set_new(call, "namespace", json_string(session_namespace(d->session)));
	return call;
}

static void on_looked(void *arg, const struct error *why)
{
	struct errand *er = arg;

	if (why) {
		errand_fail(er, RPC_FAILED, why->text);
		return;
	}
	ingress_look_tell(er->look, er->params);
	errand_ask(er, "ingress", steal_ptr(er->params), on_answer);
}

/* The manager tells nobody of objects that he may not read: it is told what the user has read. */
static void ask_ingress(struct errand *er, json_t *call)
{
	struct error e;

	er->params = call;
	if (ingress_look_new(&er->look, cluster_client(session_cluster(er->daemon->session)), call,
			     on_looked, er, &e))
		errand_fail(er, RPC_USAGE, e.text);
}

bool previews_call(struct daemon *d, struct control_client *cl, const char *method, json_t *params,
		   struct rpc_request *req)
{
	struct errand *er;
	json_t *call;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods) && strcmp(methods[i].name, method) != 0; i++)
		;
	if (i == ARRAY_SIZE(methods))
		return false;
	if (!errand_connected(d, req))
		return true;
	if (!session_cluster(d->session)) {
		rpc_fail(req, RPC_FAILED,
			 "previews and the dashboard need Kubernetes: without it send the "
			 "intercept's header yourself, which `culvert status` shows");
		return true;
	}
	call = make_params(d, methods[i].about, params, req);
	er = call ? errand_new(d, cl, req) : NULL;
	if (!er)
		json_decref(call);
	else if (methods[i].about == ABOUT_WORKLOAD)
		ask_ingress(er, call);
	else
		errand_ask(er, method, call, on_answer);
	return true;
}
