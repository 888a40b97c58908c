/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc with the manager: hello, rules, traffic figures. A new session may mean a new manager, which knows nothing of our
 * connection: so each one is answered with a ping, and no answer ends the connection. Reconnects for ever.
 *
 * IDLE (timer runs) -> CONNECTING (stream waits to open) -> HELLO (rpc, no answer yet) -> READY; back to IDLE from each.
 */
#include <errno.h>
#include <event2/event.h>

#include "agent/internal.h"
#include "base/log.h"
#include "netstack/netstack.h"
#include "rpc/rpc.h"

enum {
	MANAGER_PORT = 1,
	RETRY_FIRST_MS = 200,
	RETRY_MAX_MS = 5000,
	RETRY_REFUSED_MS = 30000,
	ANSWER_S = 5,
	TRAFFIC_EVERY_S = 1,
	PING_EVERY_S = 3, /* a manager that was replaced keeps silent about our old session */
	PONG_S = 3,
};

struct control {
	struct agent *a;
	struct ipaddr manager;
	struct event *retry, *traffic, *ping, *journal;
	struct stream *opening;
	struct rpc *rpc;
	bool ready;
	bool watched; /* somebody looks at the live list */
	struct port_figures told[AGENT_PORTS];
	unsigned retry_ms;
	char refusal[256]; /* the last one: it is logged when it changes */
};

static void connect_manager(struct control *c);

static void add_ms(struct event *ev, unsigned ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	evtimer_add(ev, &tv);
}

/* --- the live list ----------------------------------------------------------------------------------------------- */

static void tell_requests(struct control *c, bool all)
{
	json_t *requests = journal_take(c->a, all);

	if (requests)
		rpc_notify(c->rpc, "requests", requests);
}

static void on_journal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell_requests(arg, false);
}

static void watch(struct control *c, bool on)
{
	const struct timeval every = {.tv_usec = JOURNAL_EVERY_MS * 1000};

	if (on == c->watched)
		return;
	c->watched = on;
	if (on) {
		tell_requests(c, true);
		event_add(c->journal, &every);
	} else {
		event_del(c->journal);
	}
}

/* --- life of a connection ------------------------------------------------------------------------------------------ */

/* Lets go of the connection, whatever its state, and tries again later. */
static void reset(struct control *c, unsigned retry_ms)
{
	struct rpc *rpc = c->rpc;

	c->rpc = NULL;
	c->ready = false;
	watch(c, false);
	if (c->opening)
		c->opening->ops->abort(c->opening);
	c->opening = NULL;
	rpc_free(rpc);
	add_ms(c->retry, retry_ms);
}

static void try_again(struct control *c)
{
	unsigned ms = c->retry_ms;

	c->retry_ms = MIN(ms * 2, RETRY_MAX_MS);
	reset(c, ms);
}

/* --- what the manager says ---------------------------------------------------------------------------------------- */

static int take_rules(struct control *c, const json_t *params, struct error *e)
{
	struct rules *rules = &c->a->rules;
	json_t *before = rules_to_json(rules), *left_out = json_incref(rules->left_out), *now;
	int r = rules_from_json(rules, params, e);

	if (r) {
		log_error("manager: sent rules that are not understood: %s; the old ones stay",
			  e->text);
		json_decref(left_out);
		json_decref(before);
		return r;
	}
	if (left_out != rules->left_out && !json_equal(left_out, rules->left_out))
		rules->counted = true; /* is told with the figures */
	json_decref(left_out);
	rules_begin(c->a);
	/* Snapshots come with every change anywhere; most of them say nothing new to us. */
	now = rules_to_json(rules);
	if (!json_equal(before, now)) {
		log_info("rules: %u in force", rules->n);
		keep_save(c->a);
		link_laptops(c->a->link);
		clients_recheck(c->a);
		udp_recheck(c->a);
	}
	json_decref(before);
	json_decref(now);
	return 0;
}

/* What the manager may take as in force, and what not. */
static json_t *confirmation(const struct rules *r)
{
	return r->left_out ? json_pack("{s:O}", "left_out", r->left_out) : json_object();
}

/* `rules` as a call is answered when they are in force; as a notification (static platform) nobody waits for that. */
static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct control *c = arg;
	struct error e;

	(void)r;
	if (!strcmp(method, "rules")) {
		if (take_rules(c, params, &e) && req)
			rpc_fail(req, RPC_BAD_PARAMS, "%s", e.text);
		else if (req)
			rpc_reply(req, confirmation(&c->a->rules));
	} else if (!strcmp(method, "watch")) {
		watch(c, json_is_true(json_object_get(params, "on")));
		if (req)
			rpc_reply(req, json_object());
	} else if (req) {
		rpc_fail(req, RPC_NO_METHOD, "There is no method '%.60s'.", method);
	}
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct control *c = arg;

	(void)r;
	log_debug("manager: control connection ended: %s", error ? strerror(-error) : "in order");
	try_again(c);
	link_doubt(c->a->link);
}

static void on_hello(void *arg, json_t *result, int code, const char *sentence)
{
	struct control *c = arg;

	if (result) {
		c->ready = true;
		c->retry_ms = RETRY_FIRST_MS;
		c->refusal[0] = '\0';
		c->a->rules.counted = true; /* a new manager does not know our figures */
		log_info("manager: knows this agent as %s of %s %s",
			 json_string_value(json_object_get(result, "name")),
			 workload_kind_name(c->a->cfg->kind), c->a->cfg->workload);
		return;
	}
	if (code == RPC_NOT_CONNECTED)
		return; /* on_closed() follows */
	if (code == RPC_TIMEOUT) {
		try_again(c);
		return;
	}
	if (strncmp(c->refusal, sentence, sizeof(c->refusal) - 1)) {
		log_error("manager: refuses this agent: %s Passing traffic through; asking again "
			  "every %d s.",
			  sentence, RETRY_REFUSED_MS / 1000);
		strncpy(c->refusal, sentence, sizeof(c->refusal) - 1);
	}
	reset(c, RETRY_REFUSED_MS);
}

static void on_pong(void *arg, json_t *result, int code, const char *sentence)
{
	struct control *c = arg;

	(void)sentence;
	if (result || code != RPC_TIMEOUT)
		return;
	reset(c, 0);
	link_doubt(c->a->link);
}

static void ping(struct control *c)
{
	rpc_call(c->rpc, "ping", NULL, PONG_S * NSEC_PER_SEC, on_pong, c);
}

static void on_ping(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	(void)what;
	if (c->ready)
		ping(c);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static json_t *ports_json(const struct agent_config *cfg)
{
	json_t *j = json_array();

	for (unsigned i = 0; i < cfg->nports; i++)
		json_array_append_new(j, json_integer(cfg->port[i].target));
	return j;
}

/* Control characters take six bytes each in JSON. Better no environment than no agent. */
static json_t *environment(const struct agent_config *cfg)
{
	struct error e;
	bool partial;
	json_t *env = agent_environment(cfg, &partial, &e);
	size_t size = json_dumpb(env, NULL, 0, JSON_COMPACT);

	if (partial)
		log_warn("environment: %s", e.text);
	if (size <= ENVIRONMENT_JSON_MAX)
		return env;
	log_warn("environment: %zu KiB as JSON are more than a message holds; going without",
		 size >> 10);
	json_decref(env);
	return json_object();
}

static int say_hello(struct control *c)
{
	const struct agent_config *cfg = c->a->cfg;

	json_t *hello =
		json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:b}", "version", CULVERT_VERSION, "role",
			  "agent", "kind", workload_kind_name(cfg->kind), "workload", cfg->workload,
			  "ports", ports_json(cfg), "environment", environment(cfg), "http", 1);

	/* In a pod the token says it. */
	if (hello && !cfg->kubernetes)
		json_object_set_new(hello, "namespace", json_string(cfg->ns));
	return rpc_call(c->rpc, "hello", hello, ANSWER_S * NSEC_PER_SEC, on_hello, c);
}

static void on_opening(struct stream *s, unsigned ev, void *arg)
{
	static const struct rpc_ops ops = {on_call, on_closed};
	struct control *c = arg;

	if (ev & STREAM_ERROR) {
		try_again(c);
		return;
	}
	if (!(ev & STREAM_WRITABLE))
		return;
	if (rpc_new(&c->rpc, c->a->base, s, &ops, c)) {
		try_again(c);
		return;
	}
	c->opening = NULL;
	if (say_hello(c))
		try_again(c);
}

static void connect_manager(struct control *c)
{
	struct netstack *ns = link_netstack(c->a->link);

	evtimer_del(c->retry);
	if (!ns ||
	    netstack_connect(ns, link_address(c->a->link), &c->manager, MANAGER_PORT, NULL,
			     ANSWER_S * NSEC_PER_SEC, &c->opening) ||
	    !c->opening) {
		try_again(c);
		return;
	}
	stream_set(c->opening, on_opening, c);
	c->opening->ops->want(c->opening, STREAM_WRITABLE);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connect_manager(arg);
}

void control_kick(struct control *c)
{
	if (c->ready)
		ping(c);
	else if (!c->opening && !c->rpc && !c->refusal[0])
		connect_manager(c);
}

/* --- figures -------------------------------------------------------------------------------------------------------- */

static void on_traffic(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct agent *a = c->a;

	(void)fd;
	(void)what;
	if (!c->ready || (!a->rules.counted && !memcmp(c->told, a->figures, sizeof(c->told))))
		return;
	a->rules.counted = false;
	memcpy(c->told, a->figures, sizeof(c->told));
	rpc_notify(c->rpc, "traffic", rules_traffic(a));
}

int control_new(struct control **cp, struct agent *a, const struct ipaddr *manager)
{
	const struct timeval every = {.tv_sec = TRAFFIC_EVERY_S};
	const struct timeval pings = {.tv_sec = PING_EVERY_S};
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct control){.a = a, .manager = *manager, .retry_ms = RETRY_FIRST_MS};
	c->retry = evtimer_new(a->base, on_retry, c);
	c->traffic = event_new(a->base, -1, EV_PERSIST, on_traffic, c);
	c->ping = event_new(a->base, -1, EV_PERSIST, on_ping, c);
	c->journal = event_new(a->base, -1, EV_PERSIST, on_journal, c);
	if (!c->retry || !c->traffic || !c->ping || !c->journal || event_add(c->traffic, &every) ||
	    event_add(c->ping, &pings)) {
		control_free(c);
		return -ENOMEM;
	}
	*cp = c;
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	if (c->opening)
		c->opening->ops->abort(c->opening);
	rpc_free(c->rpc);
	if (c->retry)
		event_free(c->retry);
	if (c->traffic)
		event_free(c->traffic);
	if (c->ping)
		event_free(c->ping);
	if (c->journal)
		event_free(c->journal);
	free(c);
}
