/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about previews, passed on to the manager with the Intercept's uid in place of its name. */
#include "daemon/previews.h"

#include <stdio.h>

#include "daemon/cluster.h"
#include "daemon/errand.h"
#include "daemon/ingress.h"
#include "daemon/session.h"

enum about { ABOUT_NOTHING, ABOUT_WORKLOAD, ABOUT_INTERCEPT };

static const struct preview_method {
	const char *name;
	enum about about;
	bool once; /* it makes a link: asked for twice there would be one that nobody knows */
} methods[] = {
	{"ingress", ABOUT_WORKLOAD, false},	    {"preview", ABOUT_INTERCEPT, true},
	{"preview_remove", ABOUT_INTERCEPT, false}, {"share", ABOUT_INTERCEPT, true},
	{"unshare", ABOUT_INTERCEPT, false},	    {"dashboard", ABOUT_NOTHING, false},
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
		errand_refused(er, code, message);
		return;
	}
	rpc_reply(er->req, json_incref(result));
	errand_end(er);
}

/* NULL: the errand has ended. */
static json_t *make_call(struct errand *er)
{
	const struct daemon *d = er->daemon;
	enum about about = er->preview->about;
	json_t *params = er->params;
	const char *uid = about == ABOUT_INTERCEPT ? find_uid(d, params) : "";
	json_t *call = json_is_object(params) ? json_copy(params) : json_object();
	struct error e;

	if (about == ABOUT_INTERCEPT && !*uid) {
		error_set(&e, 0, "you have no intercept '%.127s'; `culvert status` lists yours",
			  text_of(params, "name"));
		errand_fail(er, RPC_NOT_FOUND, e.text);
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
	ingress_look_tell(er->look, er->call);
	errand_ask(er, "ingress", steal_ptr(er->call), on_answer);
}

/* The manager tells nobody of objects that he may not read: it is told what the user has read. */
static void ask_ingress(struct errand *er, json_t *call)
{
	struct error e;

	er->call = call;
	if (ingress_look_new(&er->look, cluster_client(session_cluster(er->daemon->session)), call,
			     on_looked, er, &e))
		errand_fail(er, RPC_USAGE, e.text);
}

static void ask(struct errand *er)
{
	json_t *call = make_call(er);

	if (!call)
		return;
	if (er->preview->about == ABOUT_WORKLOAD)
		ask_ingress(er, call);
	else
		errand_ask(er, er->preview->name, call, on_answer);
}

bool previews_call(struct daemon *d, struct control_client *cl, const char *method, json_t *params,
		   struct rpc_request *req)
{
	struct errand *er;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods) && strcmp(methods[i].name, method) != 0; i++)
		;
	if (i == ARRAY_SIZE(methods))
		return false;
	if (d->session && !session_cluster(d->session)) {
		rpc_fail(req, RPC_FAILED,
			 "previews and the dashboard need Kubernetes: without it send the "
			 "intercept's header yourself, which `culvert status` shows");
		return true;
	}
	er = errand_new(d, cl, req);
	if (!er)
		return true;
	er->preview = &methods[i];
	er->once = methods[i].once;
	errand_begin(er, json_incref(params), ask, NULL);
	return true;
}
