/* SPDX-License-Identifier: Apache-2.0 */
/* The platform Kubernetes: start and end, and what its peers are told. */
#include "manager/kubernetes.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/file.h"

/* --- who knocks, comes and goes ------------------------------------------------------------------------------- */

static struct overlay_peer *admit(struct manager *m, const struct knock *knock)
{
	if (knock->token)
		agents_knock(m->kube, knock);
	else if (!knock->claim)
		stranger_remember(m->kube, knock);
	return NULL; /* silence, until the API server has said who that is */
}

static void established(struct peer *p)
{
	(void)p;
}

static void changed(struct peer *p)
{
	if (p->session) {
		session_touch(p->session);
		gateways_changed(p->m->kube);
	} else {
		records_changed(p->m->kube);
	}
}

static void gone(struct peer *p)
{
	if (p->session)
		p->session->peer = NULL;
	if (p->pod)
		p->pod->peer = NULL;
	p->session = NULL;
	p->pod = NULL;
}

static int readdressed(struct peer *p, struct error *e)
{
	(void)e;
	session_touch(p->session);
	return 0;
}

/* Flows of an agent go on over our restart: its pod says what it stands for, before it says hello. */
static bool join(const struct manager *m, const struct peer *agent, const struct peer *laptop,
		 uint16_t port)
{
	if (!agent->pod || !laptop->session)
		return false;
	for (const struct record *r = m->kube->records; r; r = r->next) {
		if (r->verdict.in_force && record_is_of(r, agent->pod) &&
		    !strcmp(r->o.session, laptop->session->o.name) &&
		    rules_has_intake(&r->o.in, port))
			return true;
	}
	return false;
}

/* --- what is told ----------------------------------------------------------------------------------------------- */

uint64_t hash_json(const struct kubernetes *k, const json_t *j)
{
	cleanup(free_ptr) char *text = json_dumps(j, JSON_COMPACT);

	return text ? hash_of(&k->pod_table, text, strlen(text)) : 0;
}

static json_t *record_json(const struct record *r)
{
	bool force = r->verdict.in_force;
	enum phase phase = force ? r->coverage.phase : r->verdict.phase;
	struct rules_sum sum = {.connections = 0};
	char url[PREVIEW_URL_MAX];
	json_t *j;

	for (const struct pod *p = r->k->pods; p; p = p->next) {
		if (p->peer && record_is_of(r, p))
			rules_sum(&sum, p->peer, &r->o.in);
	}
	j = json_pack("{s:o, s:s, s:s, s:s, s:o, s:i, s:i, s:I, s:I, s:o, s:b, s:s}", "intercept",
		      intercept_to_json(&r->o.in), "uid", r->o.uid, "object", r->o.object, "phase",
		      phase_name(phase), "message",
		      rpc_sentence(force ? r->coverage.message : r->verdict.message), "agents",
		      force ? (int)r->coverage.agents : 0, "endpoints",
		      force ? (int)r->coverage.endpoints : 0, "connections", sum.connections,
		      "requests", sum.requests, "warnings", rules_warnings(&sum, &r->o.in), "ready",
		      phase == PHASE_ACTIVE, "state",
		      phase == PHASE_ACTIVE || phase == PHASE_PARTIAL ? "ACTIVE" : "WAITING");
	if (j && r->preview) {
		preview_url(url, sizeof(url), r);
		json_object_set_new(
			j, "preview",
			json_pack("{s:s, s:i}", "url", url, "shares", (int)r->preview->nshares));
	}
	return j;
}

static void tell_laptop(struct peer *p)
{
	struct kubernetes *k = p->m->kube;
	json_t *list = json_array();
	uint64_t hash;

	for (const struct record *r = k->records; r; r = r->next) {
		if (!r->o.deleting && !strcmp(r->o.session, p->session->o.name))
			json_array_append_new(list, record_json(r));
	}
	hash = hash_json(k, list);
	if (hash == p->session->told) {
		json_decref(list);
		return;
	}
	p->session->told = hash;
	rpc_notify(p->told, "intercepts",
		   json_pack("{s:I, s:o}", "epoch", (json_int_t)p->m->epoch, "intercepts", list));
}

static void on_rules_answered(void *arg, json_t *result, int code, const char *message)
{
	struct pod *pod = arg;
	struct kubernetes *k = pod->peer->m->kube;

	pod->calling = false;
	if (!result) {
		if (code != RPC_TIMEOUT && code != RPC_NOT_CONNECTED &&
		    agent_refuses(pod->peer, message))
			records_changed(k);
		log_limited(&k->refused, 10 * NSEC_PER_SEC,
			    "agent %s: does not take the rules: %.200s (%d)", pod->peer->name,
			    message ? message : "no answer", code);
		pod->told = false; /* again at the next tick */
		return;
	}
	agent_refuses(pod->peer, NULL);
	agent_leaves_out(pod->peer, json_object_get(result, "left_out"));
	pod->confirmed_epoch = pod->sent_epoch;
	records_changed(k);
}

static json_t *rules_of_pod(const struct kubernetes *k, const struct pod *pod)
{
	cleanup(free_ptr) struct rule_source *list = calloc(k->nrecords + 1, sizeof(*list));
	size_t n = 0;

	for (const struct record *r = k->records; list && r; r = r->next) {
		const struct session *s;

		if (!r->verdict.in_force || !record_is_of(r, pod))
			continue;
		s = session_find(k, r->o.session);
		list[n++] = (struct rule_source){&r->o.in, r->o.uid, s ? s->peer : NULL};
	}
	return list ? rules_json(pod->peer, list, n) : NULL;
}

static void tell_agent(struct peer *p)
{
	enum { ANSWER_S = 10 };
	struct kubernetes *k = p->m->kube;
	struct pod *pod = p->pod;
	json_t *list;
	uint64_t hash;

	if (pod->calling)
		return; /* its answer brings us here again */
	list = rules_of_pod(k, pod);
	if (!list)
		return; /* out of memory: again at the next change */
	hash = hash_json(k, list);
	if (pod->told && hash == pod->rules_hash) {
		pod->confirmed_epoch = p->m->epoch;
		json_decref(list);
		return;
	}
	pod->sent_epoch = p->m->epoch;
	pod->rules_hash = hash;
	pod->told = false; /* if it cannot be: again at the next tick */
	if (rpc_call(p->told, "rules",
		     json_pack("{s:I, s:o}", "epoch", (json_int_t)p->m->epoch, "rules", list),
		     ANSWER_S * NSEC_PER_SEC, on_rules_answered, pod) == 0)
		pod->told = pod->calling = true;
}

static void push(struct peer *p)
{
	/* Half of what there is would take the rest away. */
	if (!p->m->kube->settled)
		return;
	if (p->session)
		tell_laptop(p);
	else if (p->pod)
		tell_agent(p);
}

/* --- hello ------------------------------------------------------------------------------------------------------ */

static bool welcome(struct control_conn *c, struct rpc_request *req)
{
	struct peer *p = c->peer;

	(void)req;
	control_forget_others(c);
	if (p->session)
		p->session->told = 0;
	if (p->pod)
		p->pod->told = p->pod->calling = false;
	return true;
}

static void hello_agent(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct peer *p = c->peer;
	const char *kind = json_string_value(json_object_get(params, "kind"));
	const char *name = json_string_value(json_object_get(params, "workload"));
	enum workload_kind k;

	if (!kind || !name || workload_kind_parse(&k, kind)) {
		rpc_fail(req, RPC_BAD_PARAMS, "'kind' and 'workload' must say whose pod this is");
		return;
	}
	if (k != p->pod->kind || strcmp(name, p->pod->workload) != 0) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The pod is marked as one of %s %s, not of %.20s %.63s.",
			 workload_kind_name(p->pod->kind), p->pod->workload, kind, name);
		return;
	}
	if (!agent_environment(c, params, req))
		return;
	pod_serves(p->pod, json_object_get(params, "ports"));
	log_info("agent %s: stands for %s %s", p->name, kind, name);
	agent_welcome(c, params, req);
	if (gateways_watch(p->m->kube))
		rpc_notify(p->told, "watch", json_pack("{s:b}", "on", true));
	push(p);
	records_changed(p->m->kube);
}

static json_t *dns(const struct peer *p)
{
	return cluster_dns(p->m->kube, p->ns);
}

/* --- methods ----------------------------------------------------------------------------------------------------- */

static void environment(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct kubernetes *k = c->m->kube;
	const char *uid = json_string_value(json_object_get(params, "uid"));
	const struct record *r = uid ? record_find(k, uid) : NULL;

	if (!r || !r->verdict.in_force || strcmp(r->o.session, c->peer->session->o.name) != 0) {
		rpc_fail(req, RPC_NOT_FOUND, "There is no such intercept of this session.");
		return;
	}
	for (const struct pod *p = k->pods; p; p = p->next) {
		if (p->peer && p->peer->agent.environment && record_is_of(r, p)) {
			rpc_reply(req,
				  json_pack("{s:O}", "environment", p->peer->agent.environment));
			return;
		}
	}
	rpc_fail(req, RPC_NOT_FOUND, "No agent of %s %s is connected.",
		 workload_kind_name(r->o.in.kind), r->o.in.workload);
}

static void elsewhere(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	(void)c;
	(void)params;
	rpc_fail(req, RPC_FORBIDDEN,
		 "On Kubernetes intercepts are objects of the API server; write those.");
}

/* Lines of the live list. */
static void requests(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	gateways_requests(c->m->kube, c->peer, params);
	if (req)
		rpc_reply(req, json_object());
}

static const struct method methods[] = {
	{"environment", BY_LAPTOP, environment},
	{"ingress", BY_LAPTOP, ingress_call},
	{"preview", BY_LAPTOP, preview_call},
	{"preview_remove", BY_LAPTOP, preview_remove_call},
	{"share", BY_LAPTOP, share_call},
	{"unshare", BY_LAPTOP, unshare_call},
	{"dashboard", BY_LAPTOP, dashboard_call},
	{"login", BY_LAPTOP, login_call},
	{"requests", BY_AGENT | NOTE_ONLY, requests},
	{"intercept", BY_LAPTOP, elsewhere},
	{"leave", BY_LAPTOP, elsewhere},
	{"workloads", BY_LAPTOP, elsewhere},
	{NULL, 0, NULL},
};

/* --- life -------------------------------------------------------------------------------------------------------- */

/* A Secret's file: who may read it the pod's mounts say, not its mode. */
static int identity(struct manager *m, struct identity *id, struct error *e)
{
	enum { KEY_FILE_MAX = 256 };
	char path[4096], *text = NULL;
	uint8_t priv[KEY_LEN];
	size_t len = 0;
	int r;

	if (snprintf(path, sizeof(path), "%s/key", m->cfg->keys) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "%s: the path is too long", m->cfg->keys);
	r = file_read(path, KEY_FILE_MAX, &text, &len, e);
	if (r == -ENOENT)
		return error_set(e, r,
				 "%s is missing: 'culvert install' makes the Secret that is "
				 "mounted there",
				 path);
	if (r)
		return r;
	text[strcspn(text, " \r\n")] = '\0';
	r = key_parse(priv, text);
	crypto_wipe(text, len);
	free(text);
	if (r == 0)
		r = identity_from_private(id, priv);
	crypto_wipe(priv, sizeof(priv));
	return r ? error_set(e, r, "%s: this is no key; 'culvert install' makes one", path) : 0;
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	records_reconcile(arg);
}

static void tick(struct manager *m, nsec_t now)
{
	struct kubernetes *k = m->kube;

	sessions_tick(k, now);
	records_tick(k);
	previews_tick(k);
	settle_check(k);
	if (gateways_watch(k))
		gateways_changed(k); /* traffic */
	agents_tick(k->agents, now);
	web_tick(k->web, now);
	cluster_tick(k->cluster, now);
	for (struct pod *p = k->pods; p; p = p->next) {
		if (p->peer && p->peer->told && !p->told && !p->calling)
			rules_push_to(p->peer);
	}
	if (!k->dns_stale)
		return;
	k->dns_stale = false;
	for (struct session *s = k->sessions; s; s = s->next) {
		if (s->peer && s->peer->told)
			rpc_notify(s->peer->told, "dns", cluster_dns(k, s->peer->ns));
	}
}

static int start_client(struct kubernetes *k, struct error *e)
{
	const struct kube_flags flags = {.kubeconfig = NULL};
	struct kube_config *config = NULL;
	const char *ns;
	int r = kube_config_load(&config, &flags, e);

	if (r)
		return r;
	ns = kube_config_namespace(config);
	snprintf(k->ns, sizeof(k->ns), "%s", ns);
	r = kube_client_new(&k->client, k->m->base, config, NULL, e);
	if (r)
		kube_config_free(config);
	return r;
}

static int start(struct manager *m, struct error *e)
{
	struct kubernetes *k = calloc(1, sizeof(*k));
	const char *host = getenv("HOST_IP");
	int r;

	if (!k)
		return error_errno(e, -ENOMEM, "start");
	m->kube = k;
	k->m = m;
	if (host)
		ipaddr_parse(&m->cfg->host, host);
	k->work = evtimer_new(m->base, on_work, k);
	k->later = evtimer_new(m->base, on_work, k);
	if (!k->work || !k->later || hash_init(&k->session_table) || hash_init(&k->pod_table) ||
	    hash_init(&k->slice_table) || agents_new(k) || tickets_new(&k->tickets) ||
	    gateways_new(k))
		return error_errno(e, -ENOMEM, "start");
	r = start_client(k, e);
	if (r == 0)
		r = cluster_new(k, e);
	if (r == 0)
		r = login_new(k, e);
	if (r == 0)
		r = web_new(k, e);
	if (r == 0)
		r = feeds_start(k, e);
	return r;
}

/* No answer of the API server comes from here on; what it knows is still looked at by peers that go. */
static void stop(struct manager *m)
{
	struct kubernetes *k = m->kube;

	if (!k)
		return;
	login_free(k->login);
	k->login = NULL;
	settle_free(k);
	gateways_free(k->gateways);
	k->gateways = NULL;
	web_free(k->web);
	k->web = NULL;
	kube_client_free(k->client);
	k->client = NULL;
	lookups_free(k);
}

static void free_all(struct manager *m)
{
	struct kubernetes *k = m->kube;

	if (!k)
		return;
	agents_free(k->agents);
	tickets_free(k->tickets);
	records_free(k);
	sessions_free(k);
	pods_free(k);
	slices_free(k);
	cluster_free(k->cluster);
	if (k->work)
		event_free(k->work);
	if (k->later)
		event_free(k->later);
	free(k);
	m->kube = NULL;
}

const struct platform kubernetes_platform = {
	.identity = identity,
	.start = start,
	.stop = stop,
	.free = free_all,
	.admit = admit,
	.established = established,
	.changed = changed,
	.gone = gone,
	.tick = tick,
	.join = join,
	.welcome = welcome,
	.hello_agent = hello_agent,
	.dns = dns,
	.push = push,
	.readdressed = readdressed,
	.methods = methods,
};
