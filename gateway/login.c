/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a visitor is. The issuer knows one redirect URI, at the dashboard's host; the way to a preview and back is
 *
 *   preview    /x                   cookie ENTER: a secret, and the path          -> DASHBOARD/login?to=ID&bind=DIGEST
 *   dashboard  /login               no cookie yet. cookie FLOW: state, nonce, verifier, ID, DIGEST   -> issuer
 *   dashboard  /.culvert/callback   cookie DASHBOARD, and a ticket for ID and DIGEST    -> PREVIEW/.culvert/enter?ticket=…
 *   preview    /.culvert/enter      the cookie's secret has the ticket's digest: cookie PREVIEW      -> /x
 *
 * The ticket is good once, for a minute, for that preview and that browser: who makes somebody else open it gets nothing.
 *
 * A ticket of the manager's (`culvert dashboard`) comes from a terminal and can be bound to no browser: whose dashboard it opens is
 * asked first. So nobody works in another's without knowing, to whom somebody has sent a link.
 *
 *   dashboard  /.culvert/enter      a ticket; cookie CONFIRM: who that is, and a page with a button
 *   dashboard  POST from that page  cookie DASHBOARD      -> /
 *
 * The button says by a digest which question it answers: where another was asked meanwhile, nobody gets in by the wrong name.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/file.h"
#include "gateway/internal.h"
#include "oidc/oidc.h"

enum { URL_ROOM = 2 * GRANT_TEXT_MAX, CODE_MAX = 2048 };

static const char callback_path[] = "/.culvert/callback";

/* What is asked of the issuer or the manager for a visitor. */
struct asking {
	struct visitor *v;
	struct oidc_call *call;
	struct redeem *redeem;
	struct oidc_flow flow;
	struct grant grant; /* FLOW */
};

static void cancel(void *arg)
{
	struct asking *a = arg;

	oidc_cancel(a->call);
	link_redeem_cancel(a->redeem);
	free(a);
}

static struct asking *ask(struct visitor *v)
{
	struct asking *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->v = v;
	visitor_wait(v, cancel, a);
	return a;
}

/* The answer is there: the visitor is free to go. */
static struct visitor *answered(struct asking *a)
{
	struct visitor *v = a->v;

	visitor_wait(v, NULL, NULL);
	explicit_bzero(a, sizeof(*a));
	free(a);
	return v;
}

static void redirect_uri(const struct gateway *g, char uri[static URL_ROOM])
{
	snprintf(uri, URL_ROOM, "https://%s%s", g->config.dashboard.authority, callback_path);
}

/* --- pages ---------------------------------------------------------------------------------------------------- */

static void answer_failed(struct visitor *v, int status, const char *why)
{
	char text[1200];

	snprintf(text, sizeof(text), "Who you are could not be found out: %.1000s", why);
	page_answer(v, &(struct page){.status = status,
				      .title = "The login failed",
				      .text = text,
				      .link = "/login",
				      .link_text = "Try again"});
}

static void answer_no_login(struct visitor *v)
{
	page_answer(v, &(struct page){.status = 401,
				      .title = "This page is not open to everybody",
				      .text = "On a laptop that is connected, `culvert dashboard` "
					      "opens it for you.",
				      .small = "Visitors of a preview need its link: whoever made "
					       "the preview gives it "
					       "by `culvert preview share`."});
}

/* --- at the preview's host ------------------------------------------------------------------------------------- */

static void answer_no_access(struct visitor *v)
{
	page_answer(v,
		    &(struct page){.status = 401,
				   .title = "This preview is open to those who have its link",
				   .text = "Your browser has none, or the one it had was taken "
					   "back or has expired.",
				   .small = "Ask whoever made the preview: `culvert preview share` "
					    "gives a link."});
}

/* Only a page that somebody looks at can go to another host and come back. */
static bool is_navigation(const struct visitor *v)
{
	const struct http_head *h = visitor_head(v);
	const struct http_field *mode = http_field_find(h, "sec-fetch-mode", NULL);

	return visitor_is_get(v) && !head_is_websocket(h) &&
	       (!mode || http_text_is(mode->value, "navigate"));
}

void login_ask(struct visitor *v, const char *id, struct http_text path)
{
	struct gateway *g = visitor_gateway(v);
	struct grant enter = {.kind = GRANT_ENTER, .expires = now_seconds() + FLOW_S};
	char digest_text[SECRET_TEXT + 1], to[URL_ROOM];
	struct buf headers = {.p = NULL};

	if (!g->config.has_oidc || !is_navigation(v)) {
		answer_no_access(v);
		return;
	}
	secret_make(enter.bind);
	secret_digest(enter.bind, digest_text);
	memcpy(enter.id, id, sizeof(enter.id));
	if (path_is_ours(path))
		memcpy(enter.path, path.p, path.len);
	site_cookie(&headers, g, COOKIE_ENTER, &enter);
	buf_add(&headers, "", 1);
	snprintf(to, sizeof(to), "https://%s/login?to=%s&bind=%s", g->config.dashboard.authority,
		 id, digest_text);
	visitor_redirect(v, to, headers.failed ? NULL : (const char *)buf_data(&headers));
	buf_free(&headers);
}

/* Once only: false = it was used before, or there is no room to remember it. */
static bool use_ticket(struct gateway *g, const struct grant *ticket)
{
	int64_t now = now_seconds();
	unsigned n = 0;

	for (unsigned i = 0; i < g->ntickets; i++) {
		if (g->ticket[i].expires <= now)
			continue;
		if (secret_equal(g->ticket[i].once, ticket->once))
			return false;
		g->ticket[n++] = g->ticket[i];
	}
	g->ntickets = n;
	if (n == TICKETS_MAX)
		return false;
	memcpy(g->ticket[n].once, ticket->once, sizeof(ticket->once));
	g->ticket[n].expires = ticket->expires;
	g->ntickets++;
	return true;
}

static int check_ticket(struct visitor *v, const char *id, struct grant *ticket,
			struct grant *enter)
{
	struct gateway *g = visitor_gateway(v);
	char text[GRANT_TEXT_MAX + 1], digest_text[SECRET_TEXT + 1];

	if (target_param(visitor_target(v), "ticket", text, sizeof(text)) ||
	    grant_open(ticket, GRANT_TICKET, text, strlen(text), now_seconds(), g->key) ||
	    site_grant(v, COOKIE_ENTER, GRANT_ENTER, enter))
		return -EACCES;
	secret_digest(enter->bind, digest_text);
	if (!secret_equal(digest_text, ticket->bind) || strcmp(enter->id, ticket->id) ||
	    (id && strcmp(id, ticket->id)))
		return -EACCES;
	return use_ticket(g, ticket) ? 0 : -EACCES;
}

void login_enter(struct visitor *v, const char *id)
{
	struct gateway *g = visitor_gateway(v);
	struct buf headers = {.p = NULL};
	struct grant ticket, enter, grant;

	if (check_ticket(v, id, &ticket, &enter)) {
		answer_no_access(v);
		return;
	}
	grant = (struct grant){.kind = GRANT_PREVIEW, .expires = now_seconds() + COOKIE_S};
	memcpy(grant.id, ticket.id, sizeof(grant.id));
	memcpy(grant.user, ticket.user, sizeof(grant.user));
	memcpy(grant.login, ticket.login, sizeof(grant.login));
	site_cookie(&headers, g, COOKIE_PREVIEW, &grant);
	site_cookie_gone(&headers, COOKIE_ENTER);
	buf_add(&headers, "", 1);
	visitor_redirect(v, path_is_ours(text_of(enter.path)) ? enter.path : "/",
			 headers.failed ? NULL : (const char *)buf_data(&headers));
	buf_free(&headers);
}

/* --- at the dashboard's host: on to the preview, or to the page ---------------------------------------------------- */

static void go_on(struct visitor *v, const struct grant *who, const char *id, const char *bind,
		  struct buf *headers)
{
	struct gateway *g = visitor_gateway(v);
	struct grant ticket = {.kind = GRANT_TICKET, .expires = now_seconds() + TICKET_S};
	char text[GRANT_TEXT_MAX + 1], to[URL_ROOM] = "/";

	if (*id && told_find(&g->told, text_of(id))) {
		snprintf(ticket.id, sizeof(ticket.id), "%s", id);
		snprintf(ticket.bind, sizeof(ticket.bind), "%s", bind);
		memcpy(ticket.user, who->user, sizeof(ticket.user));
		memcpy(ticket.login, who->login, sizeof(ticket.login));
		secret_make(ticket.once);
		if (grant_seal(&ticket, g->key, text) > 0)
			snprintf(to, sizeof(to), "https://%s%s%s/.culvert/enter?ticket=%s",
				 g->config.by_path ? "" : id, g->config.by_path ? "" : ".",
				 g->config.previews.authority, text);
	}
	buf_add(headers, "", 1);
	visitor_redirect(v, to, headers->failed ? NULL : (const char *)buf_data(headers));
	buf_free(headers);
}

/* Where to after the login: a preview that there is, and its browser's digest. */
static void read_wish(struct visitor *v, struct grant *flow)
{
	struct http_text target = visitor_target(v);

	if (target_param(target, "to", flow->id, sizeof(flow->id)) ||
	    target_param(target, "bind", flow->bind, sizeof(flow->bind)) ||
	    strlen(flow->bind) != SECRET_TEXT ||
	    !told_find(&visitor_gateway(v)->told, text_of(flow->id)))
		*flow->id = *flow->bind = '\0';
}

static void on_url(void *arg, int error, const char *url, const struct error *e)
{
	struct asking *a = arg;
	struct grant flow = a->grant;
	struct buf headers = {.p = NULL};
	struct visitor *v;

	memcpy(flow.state, a->flow.state, sizeof(flow.state));
	memcpy(flow.nonce, a->flow.nonce, sizeof(flow.nonce));
	memcpy(flow.verifier, a->flow.verifier, sizeof(flow.verifier));
	a->call = NULL;
	v = answered(a);
	if (error) {
		answer_failed(v, 502, e->text);
		return;
	}
	site_cookie(&headers, visitor_gateway(v), COOKIE_FLOW, &flow);
	buf_add(&headers, "", 1);
	visitor_redirect(v, url, headers.failed ? NULL : (const char *)buf_data(&headers));
	buf_free(&headers);
}

/* NULL: there was no memory, and the visitor knows. */
static struct asking *ask_issuer(struct visitor *v, const struct grant *flow, char uri[URL_ROOM])
{
	struct asking *a = ask(v);

	redirect_uri(visitor_gateway(v), uri);
	if (a)
		a->grant = *flow;
	else
		answer_failed(v, 500, "out of memory");
	return a;
}

void login_begin(struct visitor *v)
{
	struct gateway *g = visitor_gateway(v);
	struct grant flow = {.kind = GRANT_FLOW, .expires = now_seconds() + FLOW_S}, who;
	char uri[URL_ROOM];
	struct asking *a;

	read_wish(v, &flow);
	if (site_grant(v, COOKIE_DASHBOARD, GRANT_DASHBOARD, &who) == 0) {
		go_on(v, &who, flow.id, flow.bind, &(struct buf){.p = NULL});
		return;
	}
	if (!g->oidc) {
		answer_no_login(v);
		return;
	}
	a = ask_issuer(v, &flow, uri);
	if (a && oidc_begin(g->oidc, uri, &a->flow, on_url, a, &a->call))
		answer_failed(answered(a), 500, "out of memory");
}

static void on_tokens(void *arg, int error, const struct oidc_tokens *t, const struct error *e)
{
	struct asking *a = arg;
	struct grant flow = a->grant, who = {.kind = GRANT_DASHBOARD};
	struct buf headers = {.p = NULL};
	struct visitor *v;

	a->call = NULL;
	v = answered(a);
	if (error) {
		answer_failed(v, error == OIDC_REFUSED ? 403 : 502, e->text);
		return;
	}
	who.expires = now_seconds() + COOKIE_S;
	snprintf(who.login, sizeof(who.login), "%s", t->who.subject);
	snprintf(who.name, sizeof(who.name), "%s", t->who.name);
	log_info("dashboard: %s has logged in", who.name);
	site_cookie(&headers, visitor_gateway(v), COOKIE_DASHBOARD, &who);
	site_cookie_gone(&headers, COOKIE_FLOW);
	go_on(v, &who, flow.id, flow.bind, &headers);
}

void login_callback(struct visitor *v)
{
	struct gateway *g = visitor_gateway(v);
	struct http_text target = visitor_target(v);
	char code[CODE_MAX], state[SECRET_TEXT + 1], uri[URL_ROOM], problem[200];
	struct grant flow;
	struct asking *a;

	if (!g->oidc) {
		page_not_found(v);
		return;
	}
	if (target_param(target, "state", state, sizeof(state)) ||
	    site_grant(v, COOKIE_FLOW, GRANT_FLOW, &flow) || !secret_equal(state, flow.state)) {
		answer_failed(v, 403,
			      "this answer belongs to no login that this browser has begun in the "
			      "last ten minutes.");
		return;
	}
	if (target_param(target, "code", code, sizeof(code))) {
		if (target_param(target, "error", problem, sizeof(problem)))
			snprintf(problem, sizeof(problem), "no code");
		answer_failed(v, 403, problem);
		return;
	}
	a = ask_issuer(v, &flow, uri);
	if (!a)
		return;
	memcpy(a->flow.state, flow.state, sizeof(flow.state));
	memcpy(a->flow.nonce, flow.nonce, sizeof(flow.nonce));
	memcpy(a->flow.verifier, flow.verifier, sizeof(flow.verifier));
	if (oidc_finish(g->oidc, uri, &a->flow, code, on_tokens, a, &a->call))
		answer_failed(answered(a), 500, "out of memory");
}

static void open_dashboard(struct visitor *v, struct grant *who)
{
	struct gateway *g = visitor_gateway(v);
	struct buf headers = {.p = NULL};

	who->kind = GRANT_DASHBOARD;
	who->expires = now_seconds() + COOKIE_S;
	who->bind[0] = '\0';
	log_info("dashboard: %s has come in by a ticket", who->name);
	site_cookie(&headers, g, COOKIE_DASHBOARD, who);
	site_cookie_gone(&headers, COOKIE_CONFIRM);
	go_on(v, who, "", "", &headers);
}

static void ask_whose(struct visitor *v, struct grant *who)
{
	char title[WHO_MAX + 40], asked[SECRET_TEXT + 1], action[SECRET_TEXT + 40];
	struct buf headers = {.p = NULL};

	secret_make(who->bind);
	secret_digest(who->bind, asked);
	snprintf(action, sizeof(action), "/.culvert/enter?asked=%s", asked);
	snprintf(title, sizeof(title), "Open the dashboard of %s?", who->name);
	site_cookie(&headers, visitor_gateway(v), COOKIE_CONFIRM, who);
	buf_add(&headers, "", 1);
	page_answer(
		v, &(struct page){
			   .status = 200,
			   .title = title,
			   .text = "You see what is theirs, and are known by that name here, for "
				   "eight hours.",
			   .small = "It was asked for by `culvert dashboard`. If that was not you, "
				    "close this page: somebody wants you in theirs.",
			   .action = action,
			   .button = "Open it",
			   .headers = headers.failed ? NULL : (const char *)buf_data(&headers)});
	buf_free(&headers);
}

/* Then there is nothing to ask. */
static bool is_in_already(const struct visitor *v, const struct grant *who)
{
	struct grant has;

	return site_grant(v, COOKIE_DASHBOARD, GRANT_DASHBOARD, &has) == 0 &&
	       !strcmp(has.user, who->user) && !strcmp(has.login, who->login);
}

static void on_redeemed(void *arg, const char *user, const char *login, const char *why)
{
	struct asking *a = arg;
	struct grant who = {.kind = GRANT_CONFIRM, .expires = now_seconds() + FLOW_S};
	struct visitor *v;

	a->redeem = NULL;
	v = answered(a);
	if (!user || (!*user && !*login)) {
		page_answer(v, &(struct page){.status = 403,
					      .title = "This link was good once, for a minute",
					      .text = why ? why : "It names nobody.",
					      .small = "`culvert dashboard` gives a new one."});
		return;
	}
	snprintf(who.user, sizeof(who.user), "%s", user);
	snprintf(who.login, sizeof(who.login), "%s", login);
	snprintf(who.name, sizeof(who.name), "%s", *user ? user : login);
	if (is_in_already(v, &who))
		open_dashboard(v, &who);
	else
		ask_whose(v, &who);
}

static void answer_not_from_here(struct visitor *v, const char *why)
{
	page_answer(v, &(struct page){.status = 403, .title = "Not from here", .text = why});
}

/* Does the button answer what this browser was asked last? */
static bool is_asked(const struct visitor *v, struct grant *who)
{
	char said[SECRET_TEXT + 1], asked[SECRET_TEXT + 1];

	if (site_grant(v, COOKIE_CONFIRM, GRANT_CONFIRM, who) ||
	    target_param(visitor_target(v), "asked", said, sizeof(said)))
		return false;
	secret_digest(who->bind, asked);
	return secret_equal(asked, said);
}

void login_confirm(struct visitor *v)
{
	struct grant who;

	if (!visitor_same_origin(v))
		answer_not_from_here(v, "Only the page that asks can answer.");
	else if (!is_asked(v, &who))
		answer_not_from_here(v,
				     "This browser was asked nothing in the last ten minutes, or "
				     "something else since; `culvert dashboard` gives a new "
				     "link.");
	else
		open_dashboard(v, &who);
}

void login_redeem(struct visitor *v)
{
	struct gateway *g = visitor_gateway(v);
	char ticket[512];
	struct asking *a;

	if (target_param(visitor_target(v), "ticket", ticket, sizeof(ticket))) {
		page_not_found(v);
		return;
	}
	a = ask(v);
	if (a && link_redeem(&a->redeem, g->link, ticket, on_redeemed, a) == 0)
		return;
	if (a)
		(void)answered(a);
	answer_failed(v, 503,
		      "the gateway has no connection to the manager; try again in a moment.");
}

void login_logout(struct visitor *v)
{
	struct buf headers = {.p = NULL};

	if (!visitor_same_origin(v)) {
		answer_not_from_here(v, "Only the dashboard’s own page can log out.");
		return;
	}
	site_cookie_gone(&headers, COOKIE_DASHBOARD);
	buf_add(&headers, "", 1);
	page_answer(v,
		    &(struct page){.status = 200,
				   .title = "Logged out",
				   .text = "This browser has no access to the dashboard any more. "
					   "Previews that it "
					   "has opened stay open for at most eight hours.",
				   .link = visitor_gateway(v)->oidc ? "/login" : NULL,
				   .link_text = "Log in again",
				   .headers = headers.failed ? NULL
							     : (const char *)buf_data(&headers)});
	buf_free(&headers);
}

/* --- the issuer ---------------------------------------------------------------------------------------------------- */

int login_new(struct gateway *g, struct error *e)
{
	const struct config *c = &g->config;
	struct oidc_config oc = {
		.issuer = c->issuer, .client_id = c->client_id, .scopes = c->scopes};
	cleanup(free_ptr) char *ca = NULL;
	cleanup(free_ptr) char *secret = NULL;
	char path[600];
	size_t len;
	int r = 0;

	if (!c->has_oidc)
		return 0;
	if (*c->oidc_ca)
		r = file_read(c->oidc_ca, 1 << 20, &ca, &len, e);
	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/oidc-secret", c->keys);
	if (access(path, F_OK) == 0) {
		r = file_read(path, 4096, &secret, &len, e);
		if (r)
			return r;
		secret[strcspn(secret, "\r\n")] = '\0';
	}
	oc.ca = ca;
	oc.client_secret = secret && *secret ? secret : NULL;
	oc.nallow = c->nallow;
	memcpy(oc.allow, c->allow, sizeof(c->allow));
	return oidc_new(&g->oidc, g->base, &oc, e);
}

void login_free(struct gateway *g)
{
	oidc_free(g->oidc);
}
