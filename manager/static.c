/* SPDX-License-Identifier: Apache-2.0 */
/* The static platform: workloads from the file, peers by invite, intercepts by rpc, all of it kept in the state folder. */
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

/* --- life ---------------------------------------------------------------------------------------------------- */

static int identity(struct manager *m, struct identity *id, struct error *e)
{
	/* The stamp is needed before the node, the peers after it: the state file is read twice. */
	const struct store_visitor skip = {.arg = NULL};
	int r = store_open(&m->store, m->cfg->state, true, e);

	if (r == 0)
		r = store_load(m->store, &m->stamp, &skip, e);
	if (r)
		return r;
	m->saved_stamp = m->stamp;
	*id = *store_identity(m->store);
	return 0;
}

static int start(struct manager *m, struct error *e)
{
	int r = enrol_restore(m, e);

	m->restored = r == 0;
	if (r == 0) {
		log_info("%u peers and %u intercepts known", m->npeers, m->nintercepts);
		enrol_reach_out(m);
	}
	return r;
}

static void stop(struct manager *m)
{
	if (m->restored)
		enrol_save(m, NULL);
}

static void free_all(struct manager *m)
{
	rules_free(m);
	free(m->spent);
	store_close(m->store);
}

static void nothing(struct peer *p)
{
	(void)p;
}

static int readdressed(struct peer *p, struct error *e)
{
	return enrol_save(p->m, e);
}

/* --- hello --------------------------------------------------------------------------------------------------- */

static bool welcome(struct control_conn *c, struct rpc_request *req)
{
	struct peer *p = c->peer;
	struct error e;

	if (p->state == PEER_UNSAVED && enrol_register(p, &e) && p->state == PEER_UNSAVED)
		rpc_fail(req, RPC_FAILED,
			 "The manager cannot write its state (%s); it admits nobody new until that "
			 "is mended.",
			 e.text);
	else if (p->state == PEER_REFUSED)
		rpc_fail(req, RPC_FORBIDDEN, "%s", p->refusal);
	else if (!peer_admitted(p))
		rpc_fail(req, RPC_FORBIDDEN,
			 "A newer invite of this name has been used; ask for a new one.");
	else
		return true;
	return false;
}

static json_t *names_json(const struct config_names *l)
{
	json_t *j = json_array();

	for (unsigned i = 0; i < l->n; i++)
		json_array_append_new(j, json_string(l->name[i]));
	return j;
}

static json_t *dns(const struct peer *p)
{
	const struct config *cfg = p->m->cfg;
	char text[ADDR_STRLEN];

	if (!cfg->has_dns)
		return NULL;
	return json_pack("{s:s, s:o, s:o}", "server", sockaddr_format(&cfg->dns_server, text),
			 "domains", names_json(&cfg->domains), "search", names_json(&cfg->search));
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
					 p->name, sp->target, w->service[i].name);
		}
	}
}

static void hello_agent(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	const struct config_workload *cw = hello_workload(p->m, params);

	if (!cw) {
		rpc_fail(req, RPC_NOT_FOUND,
			 "The manager's configuration has no such workload; check kind, workload "
			 "and namespace "
			 "of the agent.");
		return;
	}
	if (!lists_pod(cw, p->name)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The manager's configuration does not list '%s' among the pods of %s %s.",
			 p->name, workload_kind_name(cw->w.kind), cw->w.name);
		return;
	}
	if (!agent_environment(c, params, req))
		return;
	p->agent.workload = cw;
	log_info("agent %s: stands for %s %s in namespace %s", p->name,
		 workload_kind_name(cw->w.kind), cw->w.name, cw->w.ns);
	warn_uncovered(p, json_object_get(params, "ports"));
	agent_welcome(c, params, req);
	rules_changed(p->m, true); /* the rules for it, and one agent more for the laptops */
}

/* --- methods --------------------------------------------------------------------------------------------------- */

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

static const struct method methods[] = {
	{"workloads", BY_LAPTOP, workloads},
	{"intercept", BY_LAPTOP, intercept},
	{"leave", BY_LAPTOP, leave},
	{NULL, 0, NULL},
};

const struct platform static_platform = {
	.identity = identity,
	.start = start,
	.stop = stop,
	.free = free_all,
	.admit = enrol_admit,
	.established = enrol_established,
	.changed = nothing,
	.gone = nothing,
	.tick = enrol_sweep,
	.join = rules_join,
	.welcome = welcome,
	.hello_agent = hello_agent,
	.dns = dns,
	.push = rules_snapshot,
	.readdressed = readdressed,
	.methods = methods,
};
