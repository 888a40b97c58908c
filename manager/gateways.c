/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of the gateways: JSON-RPC over a WebSocket on our TLS port, opened by the token of the gateway's service account. A
 * gateway hears whole lists; it asks to redeem tickets, and whether somebody looks at the list of requests, which agents send
 * only then.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/jwt.h"
#include "manager/kubernetes.h"
#include "serve/serve.h"

enum {
	ASKING_MAX = 32, /* tokens under review */
	SOURCES = 64,	 /* addresses they came from lately */
	ASKS_BURST = 4,	 /* of one address, then one a second */
	CALLS_BURST = 50,
	CALLS_PER_S = 20,
	REQUESTS_PER_S = 1000, /* lines of the live list, of all agents */
	LIST_ROOM = RPC_MAX - 4096,
	LINE_FIELDS = 7,
};

#define TAKE_TIMEOUT (10 * NSEC_PER_SEC)

/* A WebSocket that waits for what the API server says of its token. */
struct asking {
	struct asking *next;
	struct gateways *g;
	struct serve_request *request;
	struct token_call *review;
};

struct gateway {
	struct gateway *next;
	struct gateways *g;
	struct rpc *rpc;
	char pod[40]; /* uid */
	bool told;    /* it has said hello */
	bool watch;
	uint64_t previews, intercepts; /* hashes of what was told last */
	bool calling;		       /* it has not answered `previews` yet */
	uint64_t calling_epoch, has;   /* what it is told, and what it has taken */
	nsec_t calls_until;
};

struct source {
	struct ipaddr ip;
	nsec_t until;
};

struct gateways {
	struct kubernetes *k;
	struct gateway *list;
	unsigned n;
	struct asking *asking;
	unsigned nasking;
	struct event *soon, *later;
	struct source source[SOURCES];
	nsec_t intercepts_at, lines_until;
	json_int_t lines_lost;
	bool watch;
	struct log_limit refused, large;
};

/* --- what they are told ----------------------------------------------------------------------------------------- */

/* A whole list that fits a message: what does not is left out, and said. */
struct list {
	json_t *items;
	size_t size;
	unsigned left_out;
};

static void add(struct list *l, json_t *item)
{
	size_t size = item ? json_dumpb(item, NULL, 0, JSON_COMPACT) + 1 : 0;

	if (!item || l->size + size > LIST_ROOM) {
		l->left_out++;
		json_decref(item);
		return;
	}
	l->size += size;
	json_array_append_new(l->items, item);
}

static const struct session *session_of(const struct record *r)
{
	return session_find(r->k, r->o.session);
}

static const char *login_of(const struct session *s)
{
	return s && s->login ? s->login : "";
}

static bool is_online(const struct session *s)
{
	return s && s->peer && s->peer->online;
}

static json_t *preview_json(const struct record *r)
{
	const struct session *s = session_of(r);

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s++, s:b, s:o, s:o}", "id",
			 r->o.in.id, "uid", r->o.uid, "name", r->o.in.name, "namespace", r->o.in.ns,
			 "workload", r->o.in.workload, "user", r->o.user, "login", login_of(s),
			 "header", r->o.in.id, ":", r->o.in.name, "online", is_online(s), "ingress",
			 preview_ingress_json(&r->preview->ingress), "shares",
			 preview_shares_json(r->preview));
}

static json_t *previews(const struct kubernetes *k, unsigned *left_out)
{
	struct list l = {.items = json_array()};

	for (const struct record *r = k->records; r; r = r->next) {
		if (r->preview && !r->o.deleting)
			add(&l, preview_json(r));
	}
	*left_out = l.left_out;
	return l.items;
}

static json_t *ports_json(const struct intercept *in)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < in->nports; i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s}", "name",
						      in->port[i].name, "port", in->port[i].port,
						      "local", in->port[i].local, "protocol",
						      in->port[i].udp ? "udp" : "tcp"));
	return list;
}

static void add_traffic(json_t *o, const struct record *r)
{
	json_int_t connections = 0, requests = 0;

	for (const struct pod *p = r->k->pods; p; p = p->next) {
		if (!p->peer || !record_is_of(r, p))
			continue;
		connections += rules_connections(p->peer, &r->o.in);
		requests += rules_requests(p->peer, &r->o.in);
	}
	json_object_set_new(o, "connections", json_integer(connections));
	json_object_set_new(o, "requests", json_integer(requests));
}

static json_t *intercept_json(const struct record *r)
{
	const struct intercept *in = &r->o.in;
	const struct session *s = session_of(r);
	bool force = r->verdict.in_force, http = in->mechanism == MECHANISM_HTTP;
	char match[HTTP_MATCH_TEXT_LEN] = "", url[PREVIEW_URL_MAX] = "";
	json_t *o;

	if (http)
		http_match_text(match, sizeof(match), in, " and ");
	if (r->preview)
		preview_url(url, sizeof(url), r);
	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:s}",
		      "uid", r->o.uid, "name", in->name, "namespace", in->ns, "kind",
		      workload_kind_name(in->kind), "workload", in->workload, "service",
		      in->service, "ports", ports_json(in), "mechanism", http ? "http" : "tcp",
		      "match", match, "user", r->o.user, "login", login_of(s), "phase",
		      phase_name(force ? r->coverage.phase : r->verdict.phase), "message",
		      rpc_sentence(force ? r->coverage.message : r->verdict.message), "online",
		      is_online(s), "url", url);
	if (o)
		add_traffic(o, r);
	return o;
}

static json_t *intercepts(const struct kubernetes *k, unsigned *left_out)
{
	struct list l = {.items = json_array()};

	for (const struct record *r = k->records; r; r = r->next) {
		if (!r->damaged && !r->o.deleting)
			add(&l, intercept_json(r));
	}
	*left_out = l.left_out;
	return l.items;
}

static void note_left_out(struct gateways *g, const char *what, unsigned n)
{
	if (n)
		log_limited(&g->large, 600 * NSEC_PER_SEC,
			    "gateway: %s: %u are left out, since all of them do not fit a message",
			    what, n);
}

static json_t *list_json(const struct gateways *g, const char *what, json_t *list)
{
	return json_pack("{s:I, s:O}", "epoch", (json_int_t)g->k->m->epoch, what, list);
}

static void on_taken(void *arg, json_t *result, int code, const char *message)
{
	const struct timeval second = {.tv_sec = 1};
	struct gateway *w = arg;

	w->calling = false;
	if (result) {
		w->has = w->calling_epoch;
		gateways_changed(w->g->k); /* what has changed meanwhile */
		settle_check(w->g->k);
		return;
	}
	log_limited(&w->g->refused, 10 * NSEC_PER_SEC,
		    "gateway: does not take the previews: %.200s (%d)", message, code);
	w->previews = 0;
	evtimer_add(w->g->later, &second);
}

/* One list at a time: its answer says that this one is what visitors meet. */
static void tell_previews(struct gateway *w, uint64_t hash, json_t *list)
{
	uint64_t epoch = w->g->k->m->epoch;

	if (!w->told || w->calling)
		return;
	if (w->previews == hash) {
		w->has = epoch;
		return;
	}
	if (rpc_call(w->rpc, "previews", list_json(w->g, "previews", list), TAKE_TIMEOUT, on_taken,
		     w))
		return; /* again at the next change */
	w->calling = true;
	w->calling_epoch = epoch;
	w->previews = hash;
}

static void tell_all_previews(struct gateways *g)
{
	unsigned left_out;
	json_t *list = previews(g->k, &left_out);
	uint64_t hash = hash_json(g->k, list);

	note_left_out(g, "previews", left_out);
	for (struct gateway *w = g->list; w; w = w->next)
		tell_previews(w, hash, list);
	json_decref(list);
	settle_check(g->k);
}

static void tell_all_intercepts(struct gateways *g)
{
	unsigned left_out;
	json_t *list = intercepts(g->k, &left_out);
	uint64_t hash = hash_json(g->k, list);

	note_left_out(g, "intercepts", left_out);
	for (struct gateway *w = g->list; w; w = w->next) {
		if (!w->told || w->intercepts == hash)
			continue;
		w->intercepts = hash;
		rpc_notify(w->rpc, "intercepts", list_json(g, "intercepts", list));
	}
	json_decref(list);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
	struct gateways *g = arg;
	nsec_t now = clock_boot(), next = g->intercepts_at + NSEC_PER_SEC;
	struct timeval tv;

	(void)fd;
	(void)what;
	if (!g->n || !g->k->settled)
		return;
	tell_all_previews(g);
	if (now < next) {
		tv = (struct timeval){.tv_usec = (suseconds_t)((next - now) / 1000 + 1)};
		if (tv.tv_usec >= 1000000)
			tv = (struct timeval){.tv_sec = 1};
		evtimer_add(g->later, &tv);
		return;
	}
	g->intercepts_at = now;
	tell_all_intercepts(g);
}

void gateways_changed(struct kubernetes *k)
{
	const struct timeval now = {0};

	if (k->gateways && k->gateways->n)
		evtimer_add(k->gateways->soon, &now);
}

/* --- the live list ------------------------------------------------------------------------------------------------ */

bool gateways_have(const struct kubernetes *k, uint64_t epoch)
{
	for (const struct gateway *w = k->gateways ? k->gateways->list : NULL; w; w = w->next) {
		if (w->told && w->has < epoch)
			return false;
	}
	return true;
}

bool gateways_watch(const struct kubernetes *k)
{
	return k->gateways && k->gateways->watch;
}

static void watch_changed(struct gateways *g)
{
	bool watch = false;

	for (const struct gateway *w = g->list; w; w = w->next)
		watch |= w->watch;
	if (watch == g->watch)
		return;
	g->watch = watch;
	g->lines_lost = 0;
	for (struct pod *p = g->k->pods; p; p = p->next) {
		if (p->peer && p->peer->told)
			rpc_notify(p->peer->told, "watch", json_pack("{s:b}", "on", watch));
	}
}

/* [uid, t_ms, method, path, status, ms, by]; its uid is "" or that of an intercept of the agent's workload. */
static bool is_line(const struct kubernetes *k, const struct pod *pod, const json_t *line)
{
	const char *uid = json_string_value(json_array_get(line, 0));
	const struct record *r = uid && *uid ? record_find(k, uid) : NULL;

	if (!uid || json_array_size(line) != LINE_FIELDS || (*uid && !(r && record_is_of(r, pod))))
		return false;
	return json_is_integer(json_array_get(line, 1)) &&
	       json_is_string(json_array_get(line, 2)) && json_is_string(json_array_get(line, 3)) &&
	       json_is_integer(json_array_get(line, 4)) &&
	       json_is_number(json_array_get(line, 5)) && json_is_string(json_array_get(line, 6));
}

void gateways_requests(struct kubernetes *k, const struct peer *agent, const json_t *params)
{
	struct gateways *g = k->gateways;
	json_int_t dropped = json_integer_value(json_object_get(params, "dropped"));
	struct list l = {.items = NULL};
	json_t *line;
	size_t i;

	if (!g || !g->watch || !agent->pod)
		return;
	l.items = json_array();
	json_array_foreach(json_object_get(params, "requests"), i, line)
	{
		if (is_line(k, agent->pod, line) &&
		    budget_take(&g->lines_until, REQUESTS_PER_S, NSEC_PER_SEC / REQUESTS_PER_S))
			add(&l, json_incref(line));
		else
			l.left_out++;
	}
	for (struct gateway *w = g->list; w; w = w->next) {
		if (w->watch)
			rpc_notify(w->rpc, "requests",
				   json_pack("{s:O, s:I, s:s}", "requests", l.items, "dropped",
					     MAX(dropped, 0) + l.left_out, "agent",
					     agent->pod->name));
	}
	json_decref(l.items);
}

/* --- what they ask ------------------------------------------------------------------------------------------------ */

static void gateway_end(struct gateway *w)
{
	struct gateways *g = w->g;
	struct gateway **at = &g->list;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	g->n--;
	rpc_free(w->rpc);
	free(w);
}

static void hello(struct gateway *w, const json_t *params, struct rpc_request *req)
{
	const char *version = json_string_value(json_object_get(params, "version"));
	const char *role = json_string_value(json_object_get(params, "role"));

	if (!version || !version_fits(version)) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "Version %.20s of the gateway does not fit version %s of the manager: "
			 "they may be one release apart.",
			 version ? version : "(none)", CULVERT_VERSION);
		return;
	}
	if (!role || strcmp(role, "gateway") != 0) {
		rpc_fail(req, RPC_FORBIDDEN, "This link is a gateway's.");
		return;
	}
	w->told = true;
	w->previews = w->intercepts = 0;
	w->g->intercepts_at = 0;
	rpc_reply(req, json_pack("{s:s}", "version", CULVERT_VERSION));
	gateways_changed(w->g->k);
}

static void redeem(struct gateway *w, const json_t *params, struct rpc_request *req)
{
	const char *ticket = json_string_value(json_object_get(params, "ticket"));
	char *user = NULL, *login = NULL;

	if (ticket && ticket_redeem(w->g->k->tickets, ticket, clock_boot(), &user, &login))
		rpc_reply(req, json_pack("{s:s, s:s}", "user", user, "login", login));
	else
		rpc_fail(req, RPC_NOT_FOUND,
			 "The ticket was used already, or is older than a minute; run: culvert "
			 "dashboard");
	free(user);
	free(login);
}

static void watch(struct gateway *w, const json_t *params, struct rpc_request *req)
{
	w->watch = json_is_true(json_object_get(params, "on"));
	watch_changed(w->g);
	if (req)
		rpc_reply(req, json_object());
}

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct gateway *w = arg;

	(void)r;
	if (!budget_take(&w->calls_until, CALLS_BURST, NSEC_PER_SEC / CALLS_PER_S))
		rpc_fail(req, RPC_FAILED, "Too many calls; more than %d a second are refused.",
			 CALLS_PER_S);
	else if (!strcmp(method, "hello") && req)
		hello(w, params, req);
	else if (!w->told)
		rpc_fail(req, RPC_FORBIDDEN, "hello must come first");
	else if (!strcmp(method, "watch"))
		watch(w, params, req);
	else if (!strcmp(method, "redeem") && req)
		redeem(w, params, req);
	else if (!strcmp(method, "ping") && req)
		rpc_reply(req, json_object());
	else
		rpc_fail(req, RPC_NO_METHOD, "There is no method '%.60s' for a gateway.", method);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct gateway *w = arg;
	struct gateways *g = w->g;

	(void)r;
	log_info("gateway: its link has ended%s%s", error ? ": " : "",
		 error ? strerror(-error) : "");
	gateway_end(w);
	watch_changed(g);
}

/* --- coming in ---------------------------------------------------------------------------------------------------- */

static void answer(struct serve_request *r, int status, const char *text)
{
	serve_reply(r, status, "text/plain", text, strlen(text));
}

/* The link that a pod had is not its link any more. */
static void replace(struct gateways *g, const char *pod)
{
	for (struct gateway *w = g->list, *next; w; w = next) {
		next = w->next;
		if (!strcmp(w->pod, pod))
			gateway_end(w);
	}
}

static void accept_gateway(struct gateways *g, struct serve_request *r, const char *pod)
{
	static const struct rpc_ops ops = {on_call, on_closed};
	struct gateway *w = NULL;
	struct stream *s = NULL;

	replace(g, pod);
	if (g->n < GATEWAYS_MAX)
		w = calloc(1, sizeof(*w));
	if (!w) {
		answer(r, 503, "as many gateways as the manager takes are connected\n");
		return;
	}
	if (serve_websocket(r, &s)) {
		answer(r, 400, "this is where a WebSocket begins\n");
		free(w);
		return;
	}
	w->g = g;
	snprintf(w->pod, sizeof(w->pod), "%s", pod);
	if (rpc_new(&w->rpc, g->k->m->base, s, &ops, w)) {
		s->ops->abort(s);
		free(w);
		return;
	}
	w->next = g->list;
	g->list = w;
	g->n++;
	log_info("gateway: connected");
}

static void asking_end(struct asking *a)
{
	struct asking **at = &a->g->asking;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	a->g->nasking--;
	free(a);
}

static void on_reviewed(void *arg, const struct token_review *t, const char *why)
{
	struct asking *a = arg;
	struct gateways *g = a->g;
	struct serve_request *r = a->request;
	char wanted[2 * K8S_NAME_MAX + 32];

	asking_end(a);
	snprintf(wanted, sizeof(wanted), "system:serviceaccount:%s:gateway", g->k->ns);
	if (why) {
		log_limited(&g->refused, 10 * NSEC_PER_SEC, "gateway: TokenReview: %s", why);
		answer(r, 503, "the API server does not answer\n");
	} else if (!t->user || strcmp(t->user, wanted) != 0) {
		log_limited(&g->refused, 10 * NSEC_PER_SEC, "gateway: refused: it is %s",
			    t->user ? t->user : "somebody whom the API server does not know");
		answer(r, 403, "this token is no gateway's\n");
	} else {
		accept_gateway(g, r, t->pod_uid);
	}
	watch_changed(g);
}

/* What is no token on its face the API server is not asked about. */
static const char *bearer(const struct serve_request *r)
{
	static const char scheme[] = "Bearer ";
	const char *value = serve_header(r, "Authorization");
	struct error e;
	struct jwt j;

	if (!value || strncasecmp(value, scheme, strlen(scheme)) != 0)
		return NULL;
	value += strlen(scheme);
	return jwt_read(&j, value, strlen(value), "culvert", &e) == 0 &&
			       j.expires > (int64_t)(clock_real() / NSEC_PER_SEC)
		       ? value
		       : NULL;
}

/* Each address has a budget of its own, so that a pod with forged tokens does not keep the gateway away. */
static bool source_may(struct gateways *g, const struct serve_request *r)
{
	struct source *s = g->source;
	union sockaddr_any from;
	struct ipaddr ip;

	serve_remote(r, &from);
	ip = sockaddr_ip(&from);
	for (size_t i = 0; i < SOURCES; i++) {
		if (ipaddr_equal(&g->source[i].ip, &ip)) {
			s = &g->source[i];
			break;
		}
		if (g->source[i].until < s->until)
			s = &g->source[i]; /* that has been silent for longest makes room */
	}
	if (!ipaddr_equal(&s->ip, &ip))
		*s = (struct source){.ip = ip};
	return budget_take(&s->until, ASKS_BURST, NSEC_PER_SEC);
}

void gateways_request(struct kubernetes *k, struct serve_request *r)
{
	struct gateways *g = k->gateways;
	const char *token = bearer(r);
	struct asking *a = NULL;

	if (!token) {
		answer(r, 401, "the token of a gateway is needed\n");
		return;
	}
	if (g->nasking < ASKING_MAX && source_may(g, r))
		a = calloc(1, sizeof(*a));
	if (!a) {
		answer(r, 503, "too many tokens at once; try again\n");
		return;
	}
	*a = (struct asking){.g = g, .request = r, .next = g->asking};
	g->asking = a;
	g->nasking++;
	if (token_review(k, token, strlen(token), on_reviewed, a, &a->review)) {
		asking_end(a);
		answer(r, 503, "out of memory\n");
	}
}

/* --- a laptop's call ------------------------------------------------------------------------------------------------ */

void dashboard_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	const struct config_gateway *g = &c->m->cfg->gateway;
	const struct session *s = c->peer->session;
	char ticket[TICKET_LEN + 1];

	(void)params;
	if (!*g->domain && !*g->host) {
		rpc_fail(req, RPC_FAILED,
			 "There is no dashboard in this cluster; an administrator adds it: culvert "
			 "install --preview-domain DOMAIN");
		return;
	}
	if (ticket_make(c->m->kube->tickets, s->o.user, login_of(s), clock_boot(), ticket)) {
		rpc_fail(req, RPC_FAILED, "The manager has no memory.");
		return;
	}
	rpc_reply(req, json_pack("{s:s++++}", "url", "https://", *g->domain ? "dashboard." : "",
				 *g->domain ? g->domain : g->dashboard,
				 "/.culvert/enter?ticket=", ticket));
	crypto_wipe(ticket, sizeof(ticket));
}

/* --- life ------------------------------------------------------------------------------------------------------------ */

int gateways_new(struct kubernetes *k)
{
	struct gateways *g = calloc(1, sizeof(*g));

	k->gateways = g;
	if (!g)
		return -ENOMEM;
	g->k = k;
	g->soon = evtimer_new(k->m->base, on_tell, g);
	g->later = evtimer_new(k->m->base, on_tell, g);
	return g->soon && g->later ? 0 : -ENOMEM;
}

void gateways_free(struct gateways *g)
{
	if (!g)
		return;
	while (g->asking) {
		struct serve_request *r = g->asking->request;

		token_cancel(g->asking->review);
		asking_end(g->asking);
		answer(r, 503, "the manager ends\n");
	}
	while (g->list)
		gateway_end(g->list);
	if (g->soon)
		event_free(g->soon);
	if (g->later)
		event_free(g->later);
	free(g);
}
