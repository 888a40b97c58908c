/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The static platform's intercepts: made and ended by rpc, kept in the state file.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

/* --- looking up -------------------------------------------------------------------------------------------- */

static bool is_of(const struct intercept *i, const struct workload *w)
{
	return i->kind == w->kind && !strcmp(i->workload, w->name) && !strcmp(i->ns, w->ns);
}

const struct config_workload *rules_workload(const struct manager *m, enum workload_kind kind,
					     const char *name, const char *ns)
{
	for (unsigned i = 0; i < m->cfg->nworkloads; i++) {
		const struct workload *w = &m->cfg->workload[i].w;

		if (w->kind == kind && !strcmp(w->name, name) && !strcmp(w->ns, ns))
			return &m->cfg->workload[i];
	}
	return NULL;
}

static bool agent_of(const struct peer *p, const struct workload *w)
{
	return p->rec.role == ROLE_AGENT && p->state == PEER_REGISTERED && p->online &&
	       p->agent.workload && &p->agent.workload->w == w;
}

unsigned rules_agents(const struct manager *m, const struct workload *w)
{
	unsigned n = 0;

	for (const struct peer *p = m->peers; p; p = p->next)
		n += agent_of(p, w);
	return n;
}

bool rules_join(const struct manager *m, const struct peer *agent, const struct peer *laptop,
		uint16_t port)
{
	if (!peer_admitted(agent) || !peer_admitted(laptop))
		return false;
	for (unsigned i = 0; i < m->nintercepts; i++) {
		const struct intercept *ic = m->intercept[i];
		const struct config_workload *cw;

		if (strcmp(ic->owner, laptop->name) || !rules_has_intake(ic, port))
			continue;
		/* An agent that has not said hello since our restart still has its flows: go by the pods' list. */
		cw = rules_workload(m, ic->kind, ic->workload, ic->ns);
		for (unsigned k = 0; cw && k < cw->npods; k++) {
			if (!strcmp(cw->pod[k], agent->name))
				return true;
		}
	}
	return false;
}

json_t *rules_environment(const struct manager *m, const struct intercept *i)
{
	const struct config_workload *cw = rules_workload(m, i->kind, i->workload, i->ns);

	for (const struct peer *p = m->peers; cw && p; p = p->next) {
		if (agent_of(p, &cw->w) && p->agent.environment)
			return json_incref(p->agent.environment);
	}
	return json_object();
}

/* --- snapshots ------------------------------------------------------------------------------------------------ */

static json_t *intercept_snapshot(const struct manager *m, const struct intercept *i)
{
	struct rules_sum sum = {.connections = 0};
	const char *why = NULL;
	unsigned agents = 0, old = 0, left_out = 0;
	json_t *warnings;

	for (const struct peer *p = m->peers; p; p = p->next) {
		if (!p->agent.workload || !is_of(i, &p->agent.workload->w))
			continue;
		rules_sum(&sum, p, i);
		if (!agent_of(p, &p->agent.workload->w))
			continue;
		/* It is sent no rule of requests. */
		if (i->mechanism == MECHANISM_HTTP && !p->agent.http)
			old++;
		else if (rules_left_out(p, i))
			why = left_out++ ? why : rules_left_out(p, i);
		else
			agents++;
	}
	warnings = rules_warnings(&sum, i);
	if (old)
		json_array_append_new(
			warnings,
			json_sprintf(
				"Of the agents of %s %s %u cannot tell requests apart, being of an "
				"older culvert; update them.",
				workload_kind_title(i->kind), i->workload, old));
	if (left_out)
		json_array_append_new(warnings,
				      json_sprintf("Of the agents of %s %s %u %s not serve it: %s.",
						   workload_kind_title(i->kind), i->workload,
						   left_out, left_out == 1 ? "does" : "do", why));
	return json_pack("{s:o, s:i, s:I, s:I, s:o, s:s}", "intercept", intercept_to_json(i),
			 "agents", (int)agents, "connections", sum.connections, "requests",
			 sum.requests, "warnings", warnings, "state",
			 agents ? "ACTIVE" : "WAITING");
}

static json_t *laptop_snapshot(const struct peer *p)
{
	const struct manager *m = p->m;
	json_t *list = json_array();

	for (unsigned k = 0; k < m->nintercepts; k++) {
		if (!strcmp(m->intercept[k]->owner, p->name))
			json_array_append_new(list, intercept_snapshot(m, m->intercept[k]));
	}
	return json_pack("{s:I, s:o}", "epoch", (json_int_t)m->epoch, "intercepts", list);
}

static json_t *agent_snapshot(const struct peer *p)
{
	const struct manager *m = p->m;
	cleanup(free_ptr) struct rule_source *list = calloc(m->nintercepts + 1, sizeof(*list));
	size_t n = 0;

	for (unsigned k = 0; list && k < m->nintercepts; k++) {
		const struct intercept *i = m->intercept[k];

		if (p->agent.workload && is_of(i, &p->agent.workload->w))
			list[n++] =
				(struct rule_source){i, "", peer_by_name(m, ROLE_LAPTOP, i->owner)};
	}
	if (!list)
		return NULL; /* the old rules stay */
	return json_pack("{s:I, s:o}", "epoch", (json_int_t)m->epoch, "rules",
			 rules_json(p, list, n));
}

void rules_snapshot(struct peer *p)
{
	json_t *rules;

	if (p->rec.role == ROLE_LAPTOP) {
		rpc_notify(p->told, "intercepts", laptop_snapshot(p));
		return;
	}
	rules = agent_snapshot(p);
	if (rules)
		rpc_notify(p->told, "rules", rules);
}

/* --- making and ending intercepts --------------------------------------------------------------------------- */

/* Puts `list` in force and on disk, or neither. Owns `list`, not what it points to. */
static int commit(struct manager *m, struct intercept **list, unsigned n, struct error *e)
{
	struct intercept **old = m->intercept;
	unsigned nold = m->nintercepts;
	int r;

	m->intercept = list;
	m->nintercepts = n;
	r = enrol_save(m, e);
	if (r) {
		m->intercept = old;
		m->nintercepts = nold;
		free(list);
		return error_wrap(e, RPC_FAILED,
				  "Nothing was changed, since the manager cannot write its state");
	}
	free(old);
	return 0;
}

/* A holder that has been away for long does not block the others. */
static bool holder_gone(const struct manager *m, const struct intercept *i)
{
	const struct peer *p = peer_by_name(m, ROLE_LAPTOP, i->owner);

	return !p || (!p->online &&
		      clock_boot() - p->since > (nsec_t)m->cfg->holder_timeout_s * NSEC_PER_SEC);
}

static bool port_taken(const struct manager *m, const struct intercept *mine, uint16_t port)
{
	for (unsigned k = 0; k < mine->nports; k++) {
		if (mine->port[k].overlay == port)
			return true;
	}
	for (unsigned i = 0; i < m->nintercepts; i++) {
		for (unsigned k = 0; k < m->intercept[i]->nports; k++) {
			if (m->intercept[i]->port[k].overlay == port)
				return true;
		}
	}
	return false;
}

/* An intake's port stays with its target when an intercept is moved to another local port. */
static void assign_ports(struct manager *m, struct intercept *i, const struct intercept *old)
{
	for (unsigned k = 0; k < i->nports; k++) {
		for (unsigned o = 0; old && o < old->nports; o++) {
			if (old->port[o].target == i->port[k].target &&
			    old->port[o].udp == i->port[k].udp)
				i->port[k].overlay = old->port[o].overlay;
		}
		while (!i->port[k].overlay) {
			uint16_t port = rules_next_port(m);

			if (!port_taken(m, i, port))
				i->port[k].overlay = port;
		}
	}
}

static int resolve(const struct manager *m, struct intercept *out,
		   const struct intercept_request *req, const char *connected_ns, struct error *e)
{
	cleanup(free_ptr) const struct workload **all =
		calloc(m->cfg->nworkloads + 1, sizeof(*all));

	if (!all)
		return error_set(e, RPC_INTERNAL, "The manager is out of memory.");
	for (unsigned i = 0; i < m->cfg->nworkloads; i++)
		all[i] = &m->cfg->workload[i].w;
	switch (intercept_resolve(out, req, all, m->cfg->nworkloads, connected_ns, e)) {
	case 0:
		return 0;
	case INTERCEPT_NOT_FOUND:
		return RPC_NOT_FOUND;
	default:
		return RPC_USAGE;
	}
}

static bool same_workload(const struct intercept *a, const struct intercept *b)
{
	return a->kind == b->kind && !strcmp(a->workload, b->workload) && !strcmp(a->ns, b->ns);
}

/* Which of the present ones stay beside `i`: fills `list`. 0, or the clash. */
static int select_others(struct manager *m, const struct intercept *i, struct intercept **list,
			 unsigned *n, struct intercept **old, struct error *e)
{
	unsigned mine = 0, rules = i->nports;

	for (unsigned k = 0; k < m->nintercepts; k++) {
		struct intercept *o = m->intercept[k];
		const struct intercept *one = o;

		if (!strcmp(o->owner, i->owner) && !strcmp(o->name, i->name)) {
			*old = o;
			continue;
		}
		if (intercept_check(i, &one, 1, e)) {
			if (!holder_gone(m, o))
				return RPC_CONFLICT;
			continue;
		}
		mine += !strcmp(o->owner, i->owner);
		rules += same_workload(o, i) ? o->nports : 0;
		list[(*n)++] = o;
	}
	if (rules > INTERCEPT_RULES)
		return error_set(e, RPC_FAILED,
				 "%s %s has as many intercepts as its agents take: %d ports of "
				 "them; somebody has to leave one.",
				 workload_kind_title(i->kind), i->workload, INTERCEPT_RULES);
	if (mine >= INTERCEPTS_PER_LAPTOP || *n >= STATE_INTERCEPTS_MAX)
		return error_set(e, RPC_FAILED,
				 "There are too many intercepts (%u of yours); leave one first.",
				 mine);
	return 0;
}

/* Frees what `before` has and the list in force has not. */
static void drop_removed(struct manager *m, struct intercept **before, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		unsigned i = 0;

		while (i < m->nintercepts && m->intercept[i] != before[k])
			i++;
		if (i < m->nintercepts)
			continue;
		log_info("intercept %s of %s: ended", before[k]->name, before[k]->owner);
		free(before[k]);
	}
}

static void log_new(const struct intercept *i)
{
	char ports[128] = "";
	size_t len = 0;

	for (unsigned k = 0; k < i->nports && len < sizeof(ports); k++)
		len += (size_t)snprintf(ports + len, sizeof(ports) - len, " %u", i->port[k].port);
	log_info("intercept %s of %s: takes port%s of %s %s in namespace %s", i->name, i->owner,
		 ports, workload_kind_name(i->kind), i->workload, i->ns);
}

int rules_intercept(struct manager *m, struct peer *owner, const struct intercept_request *req,
		    const char *connected_ns, const struct intercept **kept, bool *replaced,
		    struct error *e)
{
	cleanup(free_ptr) struct intercept *i = calloc(1, sizeof(*i));
	cleanup(free_ptr) struct intercept **list = calloc(m->nintercepts + 1, sizeof(*list));
	cleanup(free_ptr) struct intercept **before = calloc(m->nintercepts + 1, sizeof(*before));
	struct intercept *old = NULL;
	unsigned n = 0, nbefore = m->nintercepts;
	int r;

	if (!i || !list || !before)
		return error_set(e, RPC_INTERNAL, "The manager is out of memory.");
	for (unsigned k = 0; k < nbefore; k++)
		before[k] = m->intercept[k];
	r = resolve(m, i, req, connected_ns, e);
	if (r)
		return r;
	snprintf(i->owner, sizeof(i->owner), "%s", owner->rec.name);
	r = select_others(m, i, list, &n, &old, e);
	if (r)
		return r;
	i->created = clock_real() / NSEC_PER_SEC;
	if (i->mechanism == MECHANISM_HTTP && old && *old->id)
		memcpy(i->id, old->id, sizeof(i->id)); /* who sends its header goes on to */
	else if (i->mechanism == MECHANISM_HTTP)
		http_id_make(i->id);
	assign_ports(m, i, old);
	list[n++] = i;
	r = commit(m, steal_ptr(list), n, e);
	if (r)
		return r;
	*kept = steal_ptr(i);
	*replaced = old != NULL;
	log_new(*kept);
	drop_removed(m, before, nbefore);
	rules_changed(m, true);
	return 0;
}

int rules_leave(struct manager *m, struct peer *owner, const char *name, struct error *e)
{
	cleanup(free_ptr) struct intercept **list = calloc(m->nintercepts + 1, sizeof(*list));
	struct intercept *gone = NULL;
	unsigned n = 0;
	int r;

	if (!list)
		return error_set(e, RPC_INTERNAL, "The manager is out of memory.");
	for (unsigned k = 0; k < m->nintercepts; k++) {
		struct intercept *i = m->intercept[k];

		if (!strcmp(i->owner, owner->name) && !strcmp(i->name, name))
			gone = i;
		else
			list[n++] = i;
	}
	if (!gone)
		return error_set(e, RPC_NOT_FOUND,
				 "You have no intercept '%.127s'; 'culvert status' lists yours.",
				 name);
	r = commit(m, steal_ptr(list), n, e);
	if (r)
		return r;
	log_info("intercept %s of %s: left", gone->name, gone->owner);
	free(gone);
	rules_changed(m, true);
	return 0;
}

int rules_restore(struct manager *m, const struct intercept *i, struct error *e)
{
	struct intercept **list, *copy;

	if (m->nintercepts >= STATE_INTERCEPTS_MAX)
		return error_set(e, -EFBIG, "state: too many intercepts");
	if (!rules_workload(m, i->kind, i->workload, i->ns)) {
		log_warn("intercept %s of %s: its workload %s is no longer configured; ended",
			 i->name, i->owner, i->workload);
		return 0;
	}
	list = realloc(m->intercept, (m->nintercepts + 1) * sizeof(struct intercept *));
	if (!list)
		return error_errno(e, -ENOMEM, "state");
	m->intercept = list;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return error_errno(e, -ENOMEM, "state");
	*copy = *i;
	m->intercept[m->nintercepts++] = copy;
	return 0;
}

void rules_free(struct manager *m)
{
	for (unsigned i = 0; i < m->nintercepts; i++)
		free(m->intercept[i]);
	free(m->intercept);
	m->intercept = NULL;
	m->nintercepts = 0;
}

/* --- list ------------------------------------------------------------------------------------------------------ */

static json_t *holders(const struct manager *m, const struct workload *w)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < m->nintercepts; k++) {
		const struct intercept *i = m->intercept[k];
		json_t *ports, *one;

		if (!is_of(i, w))
			continue;
		ports = json_array();
		for (unsigned p = 0; p < i->nports; p++)
			json_array_append_new(ports, *i->port[p].name
							     ? json_string(i->port[p].name)
							     : json_integer(i->port[p].port));
		one = json_pack("{s:s, s:s, s:o, s:s}", "name", i->name, "owner", i->owner, "ports",
				ports, "mechanism", mechanism_name(i->mechanism));
		if (one && i->mechanism == MECHANISM_HTTP)
			json_object_set_new(one, "match", http_match_to_json(&i->match));
		json_array_append_new(list, one);
	}
	return list;
}

json_t *rules_list(const struct manager *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->cfg->nworkloads; i++) {
		const struct workload *w = &m->cfg->workload[i].w;
		unsigned agents = rules_agents(m, w);
		const char *reason = "";

		if (w->nservices == 0)
			reason = "no service selects its pods";
		else if (agents == 0)
			reason = "no agent of it is connected";
		json_array_append_new(list, json_pack("{s:o, s:i, s:b, s:s, s:o}", "workload",
						      workload_to_json(w), "agents", (int)agents,
						      "ready", *reason == '\0', "reason", reason,
						      "intercepts", holders(m, w)));
	}
	return list;
}
