/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a laptop is at the issuer: it says so by an ID token, which is verified here, whatever the laptop thinks of it. The
 * session remembers the subject, as long as the token is good: with it the dashboard knows whose intercepts a visitor may see.
 * A laptop's newest word counts: one that is still being verified when another comes is dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/queue.h>

#include "base/file.h"
#include "manager/kubernetes.h"

enum { CA_MAX = 1 << 20 };

/* A token that is being verified. Connection and session may go in the meantime. */
struct attempt {
	struct login *l;
	LIST_ENTRY(attempt) link;
	char session[sizeof(((struct session *)0)->o.name)];
	struct rpc_request *req;
	struct oidc_call *call;
};

struct login {
	struct kubernetes *k;
	struct oidc *oidc;
	LIST_HEAD(attempts, attempt)
	attempts;
};

static void forget(struct attempt *a)
{
	LIST_REMOVE(a, link);
	free(a);
}

/* `until`, in seconds since 1970: no longer than the token is taken for good. */
static void set_login(struct session *s, char *subject, int64_t until)
{
	free(s->login);
	s->login = subject;
	s->login_until = until;
	gateways_changed(s->k);
}

void logins_tick(struct kubernetes *k, int64_t today)
{
	for (struct session *s = k->sessions; s; s = s->next) {
		if (!s->login || s->login_until > today)
			continue;
		log_info("laptop %s: its login has expired", s->o.user);
		set_login(s, NULL, 0);
	}
}

static void on_verified(void *arg, int error, const struct oidc_identity *who,
			const struct error *e)
{
	struct attempt *a = arg;
	struct session *s = session_find(a->l->k, a->session);
	char *subject = error ? NULL : strdup(who->subject);

	if (error) {
		log_info("laptop %s: login refused: %s", s ? s->o.user : a->session, e->text);
		rpc_fail(a->req, error == OIDC_REFUSED ? RPC_FORBIDDEN : RPC_FAILED, "%s", e->text);
	} else if (!s || !subject) {
		free(subject);
		rpc_fail(a->req, RPC_FAILED, s ? "no memory" : "The session has ended.");
	} else {
		if (!s->login || strcmp(s->login, subject) != 0)
			log_info("laptop %s: logged in as %s", s->o.user, who->name);
		set_login(s, subject, who->expires + OIDC_SKEW_S);
		rpc_reply(a->req, json_pack("{s:s, s:s, s:I}", "name", who->name, "subject",
					    who->subject, "expires", (json_int_t)who->expires));
	}
	forget(a);
}

/* What this laptop has said before, and is not verified yet, counts no more. */
static void drop_older(struct login *l, const struct session *s)
{
	struct attempt *a, *next;

	for (a = l ? LIST_FIRST(&l->attempts) : NULL; a; a = next) {
		next = LIST_NEXT(a, link);
		if (strcmp(a->session, s->o.name) != 0)
			continue;
		oidc_cancel(a->call);
		rpc_fail(a->req, RPC_FAILED, "Another login or a logout came meanwhile.");
		forget(a);
	}
}

static void verify(struct login *l, const struct session *s, const char *token,
		   struct rpc_request *req)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a) {
		rpc_fail(req, RPC_FAILED, "no memory");
		return;
	}
	a->l = l;
	a->req = req;
	memcpy(a->session, s->o.name, sizeof(a->session));
	LIST_INSERT_HEAD(&l->attempts, a, link);
	if (oidc_verify(l->oidc, token, NULL, on_verified, a, &a->call)) {
		rpc_fail(req, RPC_FAILED, "The manager verifies too many logins: try again.");
		forget(a);
	}
}

void login_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct login *l = c->m->kube->login;
	struct session *s = c->peer->session;
	const char *token = json_string_value(json_object_get(params, "id_token"));

	if (!req)
		return;
	if (!token) {
		rpc_fail(req, RPC_BAD_PARAMS, "'id_token' must be a text");
	} else if (!s) {
		rpc_fail(req, RPC_FORBIDDEN, "Only a laptop with a session logs in.");
	} else if (!*token) {
		drop_older(l, s);
		set_login(s, NULL, 0);
		rpc_reply(req, json_object());
	} else if (!l) {
		rpc_fail(req, RPC_FORBIDDEN,
			 "The manager has no OpenID issuer: 'culvert install --oidc-issuer' names "
			 "one.");
	} else {
		drop_older(l, s);
		verify(l, s, token, req);
	}
}

int login_new(struct kubernetes *k, struct error *e)
{
	const struct config_oidc *cfg = &k->m->cfg->oidc;
	struct oidc_config o = {
		.issuer = cfg->issuer,
		.client_id = cfg->client_id,
		.scopes = cfg->scopes,
		.nallow = cfg->nallow,
	};
	cleanup(free_ptr) char *ca = NULL;
	struct login *l;
	size_t len;
	int r;

	if (!*cfg->issuer)
		return 0;
	if (*cfg->ca && (r = file_read(cfg->ca, CA_MAX, &ca, &len, e)))
		return r;
	o.ca = ca;
	for (unsigned i = 0; i < cfg->nallow; i++)
		o.allow[i] = cfg->allow[i];
	l = calloc(1, sizeof(*l));
	if (!l)
		return error_errno(e, -ENOMEM, "login");
	LIST_INIT(&l->attempts);
	l->k = k;
	r = oidc_new(&l->oidc, k->m->base, &o, e);
	if (r) {
		free(l);
		return r;
	}
	k->login = l;
	return 0;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	oidc_free(l->oidc);
	while (!LIST_EMPTY(&l->attempts)) {
		rpc_fail(LIST_FIRST(&l->attempts)->req, RPC_FAILED, "The manager ends.");
		forget(LIST_FIRST(&l->attempts));
	}
	free(l);
}
