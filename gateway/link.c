/* SPDX-License-Identifier: Apache-2.0 */
/* The manager: rpc over a WebSocket over TLS, made anew after 1 to 16 s, a little by chance, as often as it breaks. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/file.h"
#include "gateway/internal.h"
#include "tls/tls.h"
#include "websocket/websocket.h"

/* DIAL_S: right after an install a SYN to the Service may be lost; the next attempt is not to wait for long. */
enum { RETRY_MAX_S = 16, DIAL_S = 3 };
#define HELLO_TIMEOUT  (15 * NSEC_PER_SEC)
#define REDEEM_TIMEOUT (10 * NSEC_PER_SEC)

struct link {
	struct gateway *g;
	struct caller *caller;
	struct websocket_dial *dial;
	struct rpc *rpc;
	bool greeted;
	bool watching; /* what the manager is to be told */
	struct event retry;
	unsigned tries;
	struct log_limit failed;
	LIST_HEAD(redeem_list, redeem)
	redeems;
};

struct redeem {
	struct link *l;
	redeemed *cb; /* NULL = cancelled */
	void *arg;
	LIST_ENTRY(redeem) link;
};

static void connect_now(struct link *l);

/* --- ends --------------------------------------------------------------------------------------------------- */

static void try_later(struct link *l)
{
	unsigned seconds = MIN(1u << MIN(l->tries, 4u), (unsigned)RETRY_MAX_S);
	struct timeval tv = {.tv_sec = seconds};
	uint16_t chance;

	crypto_random(&chance, sizeof(chance));
	tv.tv_usec = chance * 15; /* up to a second */
	l->tries++;
	event_add(&l->retry, &tv);
}

static void failed(struct link *l, const char *why)
{
	struct gateway *g = l->g;

	if (!g->told.lost) {
		g->told.lost = clock_boot();
		gateway_told(g);
	}
	log_limited(&l->failed, 30 * NSEC_PER_SEC, "manager %s:%u: %s; trying again",
		    g->config.manager_host, g->config.manager_port, why);
	try_later(l);
}

static void cut(struct link *l, const char *why)
{
	rpc_free(l->rpc);
	l->rpc = NULL;
	l->greeted = false;
	failed(l, why);
}

/* --- rpc ---------------------------------------------------------------------------------------------------- */

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct link *l = arg;
	struct error e;
	int bad = 0;

	(void)r;
	if (!strcmp(method, "previews"))
		bad = told_previews(&l->g->told, params, &e);
	else if (!strcmp(method, "intercepts"))
		bad = told_intercepts(&l->g->told, params, &e);
	else if (!strcmp(method, "requests")) {
		gateway_requests(l->g, params);
		if (req)
			rpc_reply(req, json_object());
		return;
	} else {
		if (req)
			rpc_fail(req, RPC_NO_METHOD, "the gateway has no method %.40s", method);
		return;
	}
	if (bad && req)
		rpc_fail(req, RPC_BAD_PARAMS, "%s", e.text);
	else if (req)
		rpc_reply(req, json_object());
	if (bad) {
		log_warn("manager: %s", e.text);
		return;
	}
	/* Not by hello: a manager that is just starting knows no more than we. */
	if (!strcmp(method, "previews"))
		l->g->told.lost = 0;
	gateway_told(l->g);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	(void)r;
	cut(arg, error ? strerror(-error) : "it ended the connection");
}

static void on_hello(void *arg, json_t *result, int code, const char *message)
{
	struct link *l = arg;
	const char *version = json_string_value(json_object_get(result, "version"));

	(void)code;
	if (!result) {
		char why[200];

		snprintf(why, sizeof(why), "%s", message ? message : "it did not answer");
		cut(l, why);
		return;
	}
	l->greeted = true;
	l->tries = 0;
	log_info("manager %s: connected, version %.40s", l->g->config.manager_host,
		 version ? version : "unknown");
	if (l->watching)
		(void)rpc_notify(l->rpc, "watch", json_pack("{s:b}", "on", 1));
	gateway_told(l->g);
}

static const struct rpc_ops link_ops = {.call = on_call, .closed = on_closed};

static void on_websocket(void *arg, struct stream *s, const struct websocket_refusal *why)
{
	struct link *l = arg;
	const char *reason;
	char text[512];

	l->dial = NULL;
	if (!s) {
		reason = tls_reason(why->carrier);
		snprintf(text, sizeof(text), "%s%s%s%s%.200s", why->why, *reason ? ": " : "",
			 reason, why->len ? ": " : "", why->body);
		failed(l, text);
		return;
	}
	if (rpc_new(&l->rpc, l->g->base, s, &link_ops, l)) {
		s->ops->abort(s);
		failed(l, "out of memory");
		return;
	}
	if (rpc_call(l->rpc, "hello",
		     json_pack("{s:s,s:s}", "version", CULVERT_VERSION, "role", "gateway"),
		     HELLO_TIMEOUT, on_hello, l))
		cut(l, "out of memory");
}

/* The Authorization line of the token as it is now: the kubelet renews it. */
static int read_token(const struct link *l, char *line, size_t size, struct error *e)
{
	const char *path = l->g->config.token;
	cleanup(free_ptr) char *token = NULL;
	size_t len;
	int r = file_read(path, TOKEN_MAX, &token, &len, e);

	if (r)
		return r;
	while (len && (token[len - 1] == '\n' || token[len - 1] == '\r'))
		len--;
	if (!token_valid(token, len))
		r = error_set(e, -EINVAL, "%s holds no token", path);
	else
		snprintf(line, size, "Authorization: Bearer %.*s\r\n", (int)len, token);
	explicit_bzero(token, len);
	return r;
}

static void on_connected(void *arg, struct stream *s, const struct error *why)
{
	struct link *l = arg;
	char line[TOKEN_MAX + 32];
	struct websocket_call call = {.host = l->g->config.manager_name,
				      .path = "/gateway",
				      .protocol = "culvert.v1",
				      .headers = line};
	struct error e;

	l->caller = NULL;
	if (!s) {
		failed(l, why->text);
		return;
	}
	if (read_token(l, line, sizeof(line), &e)) {
		s->ops->abort(s);
		failed(l, e.text);
		return;
	}
	if (websocket_dial(&l->dial, l->g->base, s, &call, on_websocket, l)) {
		s->ops->abort(s);
		failed(l, "out of memory");
	}
	explicit_bzero(line, sizeof(line));
}

static void connect_now(struct link *l)
{
	const struct config *c = &l->g->config;
	struct call call = {.host = c->manager_host,
			    .port = c->manager_port,
			    .tls = l->g->to_manager,
			    .name = c->manager_name,
			    .verify = true,
			    .seconds = DIAL_S};

	if (call_start(&l->caller, l->g->resolver, &call, on_connected, l))
		failed(l, "out of memory");
}

static void on_retry(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connect_now(arg);
}

/* --- life --------------------------------------------------------------------------------------------------- */

int link_new(struct link **lp, struct gateway *g)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->g = g;
	LIST_INIT(&l->redeems);
	event_assign(&l->retry, g->base, -1, 0, on_retry, l);
	g->told.lost = clock_boot();
	*lp = l;
	connect_now(l);
	return 0;
}

void link_free(struct link *l)
{
	struct redeem *r;

	if (!l)
		return;
	event_del(&l->retry);
	call_cancel(l->caller);
	websocket_dial_cancel(l->dial);
	rpc_free(l->rpc);
	while ((r = LIST_FIRST(&l->redeems))) {
		LIST_REMOVE(r, link);
		free(r);
	}
	free(l);
}

bool link_connected(const struct link *l)
{
	return l && l->greeted;
}

void link_watch(struct link *l, bool on)
{
	if (l->watching == on)
		return;
	l->watching = on;
	if (l->greeted)
		(void)rpc_notify(l->rpc, "watch", json_pack("{s:b}", "on", on));
}

/* --- tickets ------------------------------------------------------------------------------------------------ */

static void on_redeemed(void *arg, json_t *result, int code, const char *message)
{
	struct redeem *r = arg;
	const char *user = json_string_value(json_object_get(result, "user"));
	const char *login = json_string_value(json_object_get(result, "login"));

	(void)code;
	LIST_REMOVE(r, link);
	if (!r->cb) {
		free(r);
		return;
	}
	if (result && user && login && strlen(user) <= WHO_MAX && strlen(login) <= WHO_MAX)
		r->cb(r->arg, user, login, NULL);
	else
		r->cb(r->arg, NULL, NULL, message ? message : "the manager did not answer");
	free(r);
}

int link_redeem(struct redeem **rp, struct link *l, const char *ticket, redeemed *cb, void *arg)
{
	struct redeem *r;
	int error;

	if (!l->greeted)
		return -ENOTCONN;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	*r = (struct redeem){.l = l, .cb = cb, .arg = arg};
	LIST_INSERT_HEAD(&l->redeems, r, link);
	error = rpc_call(l->rpc, "redeem", json_pack("{s:s}", "ticket", ticket), REDEEM_TIMEOUT,
			 on_redeemed, r);
	if (error) {
		LIST_REMOVE(r, link);
		free(r);
		return error;
	}
	*rp = r;
	return 0;
}

void link_redeem_cancel(struct redeem *r)
{
	if (r)
		r->cb = NULL;
}
