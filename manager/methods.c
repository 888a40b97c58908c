/* SPDX-License-Identifier: Apache-2.0 */
/* What laptops and agents may ask the manager (docs/control.md). */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

enum {
	TRAFFIC_KEYS_MAX = 1024,
	AVOID_MAX = 64, /* each free address is compared with all of them */
	ENVIRONMENT_NAMES_MAX = 16384,
	CALLS_BURST = 200,
	CALLS_PER_S = 50,
};

/* --- hello ------------------------------------------------------------------------------------------------- */

/* One release apart works (decision 4): same major number, minor numbers next to each other. */
static bool version_fits(const char *version)
{
	unsigned major, minor, own_major, own_minor;

	if (sscanf(version, "%3u.%3u", &major, &minor) != 2 ||
	    sscanf(CULVERT_VERSION, "%u.%u", &own_major, &own_minor) != 2)
		return false;
	return major == own_major && minor + 1 >= own_minor && minor <= own_minor + 1;
}

static json_t *names_json(const struct config_names *l)
{
	json_t *j = json_array();

	for (unsigned i = 0; i < l->n; i++)
		json_array_append_new(j, json_string(l->name[i]));
	return j;
}

static json_t *laptop_welcome(const struct peer *p)
{
	const struct config *cfg = p->m->cfg;
	json_t *prefixes = json_array(), *j;
	char text[ADDR_STRLEN];

	for (unsigned i = 0; i < cfg->prefixes.n; i++)
		json_array_append_new(prefixes,
				      json_string(prefix_format(&cfg->prefixes.p[i], text)));
	j = json_pack("{s:s, s:s, s:s, s:o, s:s}", "version", CULVERT_VERSION, "name", p->rec.name,
		      "address", ipaddr_format(&p->rec.v4, text), "prefixes", prefixes, "namespace",
		      cfg->ns);
	if (j && cfg->has_dns)
		json_object_set_new(j, "dns",
				    json_pack("{s:s, s:o, s:o}", "server",
					      sockaddr_format(&cfg->dns_server, text), "domains",
					      names_json(&cfg->domains), "search",
					      names_json(&cfg->search)));
	return j;
}

static void hello_laptop(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	struct error e;
	const json_t *avoid = json_object_get(params, "avoid");

	if (json_array_size(avoid) > AVOID_MAX) {
		rpc_fail(req, RPC_BAD_PARAMS, "'avoid' has more than %d addresses", AVOID_MAX);
		return;
	}
	if (json_is_array(avoid) && peer_readdress(p, avoid, &e)) {
		rpc_fail(req, RPC_FAILED, "%s", e.text);
		return;
	}
	p->told = c->rpc;
	rpc_reply(req, laptop_welcome(p));
	rules_push_to(p);
}

static bool lists_pod(const struct config_workload *cw, const char *name)
{
	for (unsigned i = 0; i < cw->npods; i++) {
		if (!strcmp(cw->pod[i], name))
			return true;
	}
	return false;
}

static const struct config_workload *hello_workload(const struct manager *m, const json_t *params)
{
	const char *kind = json_string_value(json_object_get(params, "kind"));
	const char *name = json_string_value(json_object_get(params, "workload"));
	const char *ns = json_string_value(json_object_get(params, "namespace"));
	enum workload_kind k;

	if (!kind || !name || !ns || workload_kind_parse(&k, kind))
		return NULL;
	return rules_workload(m, k, name, ns);
}

/* A port that no agent stands before would be intercepted in name only. */
static void warn_uncovered(const struct peer *p, const json_t *ports)
{
	const struct workload *w = &p->agent.workload->w;

	for (unsigned i = 0; i < w->nservices; i++) {
		for (unsigned k = 0; k < w->service[i].nports; k++) {
			const struct service_port *sp = &w->service[i].port[k];
			size_t n = 0;

			while (n < json_array_size(ports) &&
			       json_integer_value(json_array_get(ports, n)) != sp->target)
				n++;
			if (n == json_array_size(ports) && !sp->udp)
				log_warn("agent %s: has no port with target %u, which service %s "
					 "names",
					 p->rec.name, sp->target, w->service[i].name);
		}
	}
}

/* It is kept, and handed on to laptops: names and texts only, whatever else the agent sent. */
static bool environment_fits(const json_t *env)
{
	const char *name;
	json_t *v;

	if (!json_is_object(env) || json_object_size(env) > ENVIRONMENT_NAMES_MAX ||
	    json_dumpb(env, NULL, 0, JSON_COMPACT) > ENVIRONMENT_JSON_MAX)
		return !env;
	json_object_foreach((json_t *)(uintptr_t)env, name, v)
	{
		if (!json_is_string(v))
			return false;
	}
	return true;
}

static void hello_agent(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	const struct config_workload *cw = hello_workload(p->m, params);
	json_t *environment = json_object_get(params, "environment");

	if (!cw) {
		rpc_fail(req, RPC_NOT_FOUND,
			 "The manager's configuration has no such workload; check kind, workload "
			 "and namespace "
			 "of the agent.");
		return;
	}
	if (!lists_pod(cw, p->rec.name)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The manager's configuration does not list '%s' among the pods of %s %s.",
			 p->rec.name, workload_kind_name(cw->w.kind), cw->w.name);
		return;
	}
	if (!environment_fits(environment)) {
		rpc_fail(req, RPC_BAD_PARAMS,
			 "'environment' must map at most %d names to texts, in %d bytes of JSON",
			 ENVIRONMENT_NAMES_MAX, ENVIRONMENT_JSON_MAX);
		return;
	}
	p->agent.workload = cw;
	json_decref(p->agent.environment);
	p->agent.environment = environment ? json_incref(environment) : json_object();
	p->told = c->rpc;
	log_info("agent %s: stands for %s %s in namespace %s", p->rec.name,
		 workload_kind_name(cw->w.kind), cw->w.name, cw->w.ns);
	warn_uncovered(p, json_object_get(params, "ports"));
	rpc_reply(req, json_pack("{s:s, s:s}", "version", CULVERT_VERSION, "name", p->rec.name));
	rules_changed(p->m, true); /* the rules for it, and one agent more for the laptops */
}

static void hello(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	const char *version = json_string_value(json_object_get(params, "version"));
	const char *role = json_string_value(json_object_get(params, "role"));
	struct error e;

	if (p->state == PEER_UNSAVED && peer_register(p, &e) && p->state == PEER_UNSAVED) {
		rpc_fail(req, RPC_FAILED,
			 "The manager cannot write its state (%s); it admits nobody new until that "
			 "is mended.",
			 e.text);
	} else if (p->state == PEER_REFUSED) {
		rpc_fail(req, RPC_FORBIDDEN, "%s", p->refusal);
	} else if (!peer_admitted(p)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "A newer invite of this name has been used; ask for a new one.");
	} else if (!version || !version_fits(version)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "Version %.20s of this side does not fit version %s of the manager: they "
			 "may be one "
			 "release apart.",
			 version ? version : "(none)", CULVERT_VERSION);
	} else if (!role || strcmp(role, peer_role_name(p))) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The invite '%s' is for %s %s; ask for one of the other role.",
			 p->rec.name, p->rec.role == ROLE_LAPTOP ? "a" : "an", peer_role_name(p));
	} else if (p->rec.role == ROLE_LAPTOP) {
		hello_laptop(c, params, req);
	} else {
		hello_agent(c, params, req);
	}
}

/* --- laptops --------------------------------------------------------------------------------------------------- */

static void workloads(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	(void)params;
	rpc_reply(req, json_pack("{s:o}", "workloads", rules_list(c->m)));
}

static void intercept(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	const char *ns = json_string_value(json_object_get(params, "namespace_connected"));
	const struct intercept *i = NULL;
	struct intercept_request q;
	struct error e;
	bool replaced = false;
	int r;

	if (intercept_request_from_json(&q, params, &e)) {
		rpc_fail(req, RPC_BAD_PARAMS, "%s", e.text);
		return;
	}
	if (!ns || strlen(ns) > K8S_NAME_MAX)
		ns = c->m->cfg->ns;
	r = rules_intercept(c->m, c->peer, &q, ns, &i, &replaced, &e);
	if (r) {
		rpc_fail(req, r, "%s", e.text);
		return;
	}
	rpc_reply(req, json_pack("{s:o, s:b, s:o}", "intercept", intercept_to_json(i), "replaced",
				 replaced, "environment", rules_environment(c->m, i)));
}

static void leave(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	const char *name = json_string_value(json_object_get(params, "name"));
	struct error e;
	int r;

	if (!name) {
		rpc_fail(req, RPC_BAD_PARAMS, "'name' is missing");
		return;
	}
	r = rules_leave(c->m, c->peer, name, &e);
	if (r)
		rpc_fail(req, r, "%s", e.text);
	else
		rpc_reply(req, json_object());
}

static void ping(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	(void)c;
	(void)params;
	rpc_reply(req, json_object());
}

/* --- agents ---------------------------------------------------------------------------------------------------- */

/* Totals of all agents are added up: none may make the sum overflow. */
static void keep_totals(json_t **kept, json_t *totals)
{
	const json_int_t most = INT64_C(1) << 48;
	const char *key;
	json_t *v;

	if (!json_is_object(totals) || json_object_size(totals) > TRAFFIC_KEYS_MAX)
		return;
	json_object_foreach(totals, key, v)
	{
		if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		    json_integer_value(v) > most)
			return;
	}
	json_decref(*kept);
	*kept = json_incref(totals);
}

static void traffic(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	keep_totals(&c->peer->agent.connections, json_object_get(params, "connections"));
	keep_totals(&c->peer->agent.fallback, json_object_get(params, "fallback"));
	rules_changed(c->m, false);
	if (req)
		rpc_reply(req, json_object());
}

/* --- which of them --------------------------------------------------------------------------------------------- */

enum { BY_LAPTOP = 1, BY_AGENT = 2, NOTE_ONLY = 4 };

static const struct method {
	const char *name;
	unsigned who;
	void (*run)(struct control_conn *c, const json_t *params, struct rpc_request *req);
} methods[] = {
	{"workloads", BY_LAPTOP, workloads},
	{"intercept", BY_LAPTOP, intercept},
	{"leave", BY_LAPTOP, leave},
	{"ping", BY_LAPTOP | BY_AGENT, ping},
	{"traffic", BY_AGENT | NOTE_ONLY, traffic},
};

/* A call may cost a write to disk, and a message to every peer: one peer does not keep us from the others. */
static bool too_many_calls(struct peer *p)
{
	const nsec_t each = NSEC_PER_SEC / CALLS_PER_S, burst = CALLS_BURST * each;
	nsec_t now = clock_boot();

	if (p->calls_until > now + burst)
		return true;
	p->calls_until = MAX(p->calls_until, now) + each;
	return false;
}

void methods_call(struct control_conn *c, const char *method, json_t *params,
		  struct rpc_request *req)
{
	unsigned who = c->peer->rec.role == ROLE_LAPTOP ? BY_LAPTOP : BY_AGENT;

	if (too_many_calls(c->peer)) {
		rpc_fail(req, RPC_FAILED, "Too many calls; more than %d a second are refused.",
			 CALLS_PER_S);
		return;
	}

	if (!strcmp(method, "hello")) {
		if (req)
			hello(c, params, req);
		return;
	}
	if (c->peer->told != c->rpc || !peer_admitted(c->peer)) {
		rpc_fail(req, RPC_FORBIDDEN, "hello must come first");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		const struct method *m = &methods[i];

		if (strcmp(m->name, method) || !(m->who & who))
			continue;
		if (req || (m->who & NOTE_ONLY))
			m->run(c, params, req);
		return;
	}
	rpc_fail(req, RPC_NO_METHOD, "There is no method '%.60s' for %s.", method,
		 peer_role_name(c->peer));
}
