/* SPDX-License-Identifier: Apache-2.0 */
/* What laptops and agents may ask the manager (docs/control.md). */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

enum {
	TRAFFIC_KEYS_MAX = 1024,
	FIGURES_MAX = 32,   /* of one port */
	LEFT_OUT_MAX = 300, /* bytes of a sentence */
	AVOID_MAX = 64,	    /* each free address is compared with all of them */
	ENVIRONMENT_NAMES_MAX = 16384,
	CALLS_BURST = 200,
	CALLS_PER_S = 50,
	HELLO_COST = 20,
};

/* --- hello ------------------------------------------------------------------------------------------------- */

/* One release apart works (decision 4): same major number, minor numbers next to each other. */
bool version_fits(const char *version)
{
	unsigned major, minor, own_major, own_minor;

	if (sscanf(version, "%3u.%3u", &major, &minor) != 2 ||
	    sscanf(CULVERT_VERSION, "%u.%u", &own_major, &own_minor) != 2)
		return false;
	return major == own_major && minor + 1 >= own_minor && minor <= own_minor + 1;
}

static json_t *laptop_welcome(const struct peer *p)
{
	const struct config *cfg = p->m->cfg;
	json_t *prefixes = json_array(), *dns = p->m->platform->dns(p), *j;
	char text[ADDR_STRLEN];

	for (unsigned i = 0; i < cfg->prefixes.n; i++)
		json_array_append_new(prefixes,
				      json_string(prefix_format(&cfg->prefixes.p[i], text)));
	j = json_pack("{s:s, s:s, s:s, s:o, s:s}", "version", CULVERT_VERSION, "name", p->name,
		      "address", ipaddr_format(&p->rec.v4, text), "prefixes", prefixes, "namespace",
		      cfg->ns);
	if (j && dns)
		json_object_set_new(j, "dns", dns);
	else
		json_decref(dns);
	return j;
}

static void hello_laptop(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	struct error e;
	const json_t *avoid = json_object_get(params, "avoid");
	const char *ns = json_string_value(json_object_get(params, "namespace"));

	if (json_array_size(avoid) > AVOID_MAX) {
		rpc_fail(req, RPC_BAD_PARAMS, "'avoid' has more than %d addresses", AVOID_MAX);
		return;
	}
	if (json_is_array(avoid) && peer_readdress(p, avoid, &e)) {
		rpc_fail(req, RPC_FAILED, "%s", e.text);
		return;
	}
	snprintf(p->ns, sizeof(p->ns), "%s", ns && strlen(ns) <= K8S_NAME_MAX ? ns : "");
	p->told = c->rpc;
	rpc_reply(req, laptop_welcome(p));
	rules_push_to(p);
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

void agent_forget_environment(struct peer *p)
{
	p->m->environments -= p->agent.environment_size;
	p->agent.environment_size = 0;
	json_decref(p->agent.environment);
	p->agent.environment = NULL;
}

bool agent_environment(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	struct manager *m = p->m;
	json_t *environment = json_object_get(params, "environment");
	size_t size;

	if (!environment_fits(environment)) {
		rpc_fail(req, RPC_BAD_PARAMS,
			 "'environment' must map at most %d names to texts, in %d bytes of JSON",
			 ENVIRONMENT_NAMES_MAX, ENVIRONMENT_JSON_MAX);
		return false;
	}
	size = environment ? json_dumpb(environment, NULL, 0, JSON_COMPACT) : 0;
	agent_forget_environment(p);
	if (m->environments + size > ENVIRONMENTS_MAX) {
		log_limited(&m->environments_full, 600 * NSEC_PER_SEC,
			    "agent %s: its environment is not kept: all agents' are above %d MiB",
			    p->name, ENVIRONMENTS_MAX >> 20);
		return true;
	}
	m->environments += size;
	p->agent.environment_size = size;
	p->agent.environment = environment ? json_incref(environment) : json_object();
	return true;
}

static void hello(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	const char *version = json_string_value(json_object_get(params, "version"));
	const char *role = json_string_value(json_object_get(params, "role"));

	if (!p->m->platform->welcome(c, req))
		return;
	if (!version || !version_fits(version)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "Version %.20s of this side does not fit version %s of the manager: they "
			 "may be one "
			 "release apart.",
			 version ? version : "(none)", CULVERT_VERSION);
	} else if (!role || strcmp(role, peer_role_name(p))) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The invite '%s' is for %s %s; ask for one of the other role.", p->name,
			 p->rec.role == ROLE_LAPTOP ? "a" : "an", peer_role_name(p));
	} else if (p->rec.role == ROLE_LAPTOP) {
		hello_laptop(c, params, req);
	} else {
		p->m->platform->hello_agent(c, params, req);
	}
}

/* --- both, and agents -------------------------------------------------------------------------------------------- */

static void ping(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	(void)c;
	(void)params;
	rpc_reply(req, json_object());
}

/* Totals of all agents are added up: none may make the sum overflow. */
static bool are_totals(const json_t *totals, size_t max)
{
	const json_int_t most = INT64_C(1) << 48;
	const char *key;
	json_t *v;

	if (!json_is_object(totals) || json_object_size(totals) > max)
		return false;
	json_object_foreach((json_t *)(uintptr_t)totals, key, v)
	{
		if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		    json_integer_value(v) > most)
			return false;
	}
	return true;
}

static void keep(json_t **kept, json_t *j)
{
	json_decref(*kept);
	*kept = json_incref(j);
}

static void keep_totals(json_t **kept, json_t *totals)
{
	if (are_totals(totals, TRAFFIC_KEYS_MAX))
		keep(kept, totals);
}

/* {"8080": {"tls": 3}} */
static bool are_figures(const json_t *ports)
{
	const char *key;
	json_t *v;

	if (!json_is_object(ports) || json_object_size(ports) > WORKLOAD_PORTS)
		return false;
	json_object_foreach((json_t *)(uintptr_t)ports, key, v)
	{
		if (!are_totals(v, FIGURES_MAX))
			return false;
	}
	return true;
}

static void keep_figures(json_t **kept, json_t *ports)
{
	if (are_figures(ports))
		keep(kept, ports);
}

/* {"OWNER/NAME": {"8080": {"tls": 3}}} */
static void keep_met(json_t **kept, json_t *met)
{
	const char *key;
	json_t *v;

	if (!json_is_object(met) || json_object_size(met) > INTERCEPT_RULES)
		return;
	json_object_foreach(met, key, v)
	{
		if (!are_figures(v))
			return;
	}
	keep(kept, met);
}

/* Users read it in a terminal. */
static bool is_sentence(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return len > 0 && len <= LEFT_OUT_MAX;
}

static bool are_sentences(const json_t *by_name)
{
	const char *name;
	json_t *v;

	if (!json_is_object(by_name) || json_object_size(by_name) > INTERCEPT_RULES)
		return false;
	json_object_foreach((json_t *)(uintptr_t)by_name, name, v)
	{
		if (strlen(name) > PEER_NAME_MAX + INTERCEPT_NAME_MAX + 1 ||
		    !is_sentence(json_string_value(v)))
			return false;
	}
	return true;
}

void agent_leaves_out(struct peer *p, json_t *left_out)
{
	if (!left_out || are_sentences(left_out))
		keep(&p->agent.left_out, left_out);
}

bool agent_refuses(struct peer *p, const char *why)
{
	char **kept = &p->agent.refusal;

	if (why && !is_sentence(why))
		why = "it does not take the rules; its log says why";
	if (!why && !*kept)
		return false;
	if (why && *kept && !strcmp(why, *kept))
		return false;
	free(*kept);
	*kept = why ? strdup(why) : NULL;
	return true;
}

void agent_forget_rules(struct peer *p)
{
	agent_leaves_out(p, NULL);
	agent_refuses(p, NULL);
	keep(&p->agent.met, NULL);
}

static void traffic(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct agent_info *a = &c->peer->agent;

	keep_totals(&a->connections, json_object_get(params, "connections"));
	keep_totals(&a->fallback, json_object_get(params, "fallback"));
	keep_totals(&a->requests, json_object_get(params, "requests"));
	keep_figures(&a->seen, json_object_get(params, "seen"));
	keep_figures(&a->trouble, json_object_get(params, "trouble"));
	keep_met(&a->met, json_object_get(params, "met"));
	agent_leaves_out(c->peer, json_object_get(params, "left_out"));
	rules_changed(c->m, false);
	if (req)
		rpc_reply(req, json_object());
}

void agent_welcome(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;

	p->told = c->rpc;
	agent_forget_rules(p);
	p->agent.http = json_is_true(json_object_get(params, "http"));
	rpc_reply(req, json_pack("{s:s, s:s}", "version", CULVERT_VERSION, "name", p->name));
}

/* --- which of them --------------------------------------------------------------------------------------------- */

static const struct method common_methods[] = {
	{"ping", BY_LAPTOP | BY_AGENT, ping},
	{"traffic", BY_AGENT | NOTE_ONLY, traffic},
	{NULL, 0, NULL},
};

static const struct method *find_method(const struct method *table, const char *name, unsigned who)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name) && (table->who & who))
			return table;
	}
	return NULL;
}

/* A call may cost a write to disk, and a message to every peer: one peer does not keep us from the others. */
static bool too_many_calls(struct peer *p)
{
	return !budget_take(&p->calls_until, CALLS_BURST, NSEC_PER_SEC / CALLS_PER_S);
}

void methods_call(struct control_conn *c, const char *method, json_t *params,
		  struct rpc_request *req)
{
	unsigned who = c->peer->rec.role == ROLE_LAPTOP ? BY_LAPTOP : BY_AGENT;
	const struct method *found;

	if (too_many_calls(c->peer)) {
		rpc_fail(req, RPC_FAILED, "Too many calls; more than %d a second are refused.",
			 CALLS_PER_S);
		return;
	}

	if (!strcmp(method, "hello")) {
		/* Everything is told anew, and a line goes to the log. */
		c->peer->calls_until += (HELLO_COST - 1) * NSEC_PER_SEC / CALLS_PER_S;
		if (req)
			hello(c, params, req);
		return;
	}
	if (c->peer->told != c->rpc || !peer_admitted(c->peer)) {
		rpc_fail(req, RPC_FORBIDDEN, "hello must come first");
		return;
	}
	found = find_method(common_methods, method, who);
	if (!found)
		found = find_method(c->m->platform->methods, method, who);
	if (found) {
		if (req || (found->who & NOTE_ONLY))
			found->run(c, params, req);
		return;
	}
	rpc_fail(req, RPC_NO_METHOD, "There is no method '%.60s' for %s.", method,
		 peer_role_name(c->peer));
}
