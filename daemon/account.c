/* SPDX-License-Identifier: Apache-2.0 */
/* The login of this session: read, compared with what the cluster offers, refreshed, told. */
#include "daemon/account.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/session.h"
#include "kube/kube.h"
#include "login/login.h"
#include "oidc/oidc.h"

enum {
	FRESH_S = 60, /* a token is refreshed when it expires sooner */
	AGAIN_S = 30, /* the issuer or the API server was out of reach */
	LEAST_S = 10, /* between refreshes of tokens that live for a moment only */
	WAITERS = 16,
};

#define TELL_TIMEOUT (10 * NSEC_PER_SEC) /* the manager may have to ask the issuer for its keys */
#define LOOK_TIMEOUT (5 * NSEC_PER_SEC)

struct account {
	struct daemon *d;
	struct login login;	  /* valid if `has` */
	struct login_offer offer; /* valid if `has_offer` */
	bool has, has_offer;
	bool logged_in; /* the verdict */
	bool told;	/* the manager knows, on this connection */
	bool known;	/* it may know of a login that is no more */
	bool new_link;	/* nobody has looked since it was made */
	bool damaged;	/* the file is there, and cannot be read: `why` says so */
	struct error why;

	/* The round under way; none of these: there is none. */
	struct kube_request *look;
	struct oidc_call *refreshing;
	bool telling;
	bool once_more; /* asked for meanwhile */

	struct oidc *oidc;
	struct event *timer;
	unsigned nwaiting;
	struct rpc_request *waiting[WAITERS];
};

static int64_t now_s(void)
{
	return (int64_t)(clock_real() / NSEC_PER_SEC);
}

static struct login_place place(const struct account *a)
{
	const struct cluster *c = session_cluster(a->d->session);

	return (struct login_place){.context = cluster_context(c),
				    .server = cluster_server(c),
				    .manager_ns = cluster_manager_namespace(c)};
}

static void set_timer(struct account *a, int64_t seconds)
{
	const struct timeval tv = {.tv_sec = MAX(seconds, LEAST_S)};

	evtimer_add(a->timer, &tv);
}

/* --- the answer ---------------------------------------------------------------------------------------------------- */

static json_t *describe(const struct account *a)
{
	const struct login *l = &a->login;

	return json_pack("{s:b,s:s,s:s,s:s,s:I,s:s}", "logged_in", a->logged_in, "name",
			 a->has ? l->name : "", "subject", a->has ? l->subject : "", "issuer",
			 a->has ? l->issuer : "", "expires", (json_int_t)(a->has ? l->expires : 0),
			 "why", a->why.text);
}

json_t *account_json(const struct daemon *d)
{
	return d->account ? describe(d->account) : NULL;
}

static json_t *answer(const struct account *a)
{
	const struct login_place p = place(a);
	json_t *j = describe(a);

	json_object_set_new(j, "offer", json_boolean(a->has_offer));
	json_object_set_new(j, "previews", json_string(a->has_offer ? a->offer.previews : ""));
	json_object_set_new(j, "dashboard", json_string(a->has_offer ? a->offer.dashboard : ""));
	json_object_set_new(j, "context", json_string(p.context));
	json_object_set_new(j, "server", json_string(p.server));
	json_object_set_new(j, "manager_namespace", json_string(p.manager_ns));
	return j;
}

static void begin(struct account *a);

static bool under_way(const struct account *a)
{
	return a->look || a->refreshing || a->telling;
}

static void on_forgotten(void *arg, json_t *result, int code, const char *message)
{
	(void)arg;
	if (!result)
		log_warn("logout: the manager could not be told: %s (%d)", message, code);
}

/* Else the dashboard would take this laptop's intercepts for whose they no longer are. */
static void tell_logout(struct account *a)
{
	struct link *l = session_link(a->d->session);

	if (!a->known || !link_up(l) ||
	    link_call(l, "login", json_pack("{s:s}", "id_token", ""), TELL_TIMEOUT, on_forgotten,
		      NULL))
		return;
	a->known = a->told = false;
}

/* The round is over. */
static void settle(struct account *a, bool logged_in)
{
	a->logged_in = logged_in;
	if (!logged_in)
		tell_logout(a);
	if (logged_in && *a->login.issuer)
		set_timer(a, a->login.expires - FRESH_S - now_s());
	if (a->once_more) {
		a->once_more = false;
		begin(a);
		return;
	}
	while (a->nwaiting)
		rpc_reply(a->waiting[--a->nwaiting], answer(a));
}

/* As settle(), and it may be better later. */
static void settle_for_now(struct account *a, bool logged_in)
{
	settle(a, logged_in);
	if (!under_way(a))
		set_timer(a, AGAIN_S);
}

static void logged_out(struct account *a)
{
	if (*a->why.text)
		log_warn("login: %s", a->why.text);
	settle(a, false);
}

/* --- telling the manager ------------------------------------------------------------------------------------------- */

static void on_told(void *arg, json_t *result, int code, const char *message)
{
	struct account *a = arg;

	a->telling = false;
	if (result) {
		a->told = a->known = true;
		settle(a, true);
	} else if (code == RPC_FORBIDDEN) {
		error_set(&a->why, 0, "%s", message);
		logged_out(a);
	} else {
		log_warn("login: the manager could not be told: %s (%d)", message, code);
		settle_for_now(a, true);
	}
}

static void tell(struct account *a)
{
	struct link *l = session_link(a->d->session);

	if (a->told || !link_up(l)) { /* then it is told when it is there */
		settle(a, true);
		return;
	}
	a->telling = true;
	if (link_call(l, "login", json_pack("{s:s}", "id_token", a->login.id_token), TELL_TIMEOUT,
		      on_told, a)) {
		a->telling = false;
		settle(a, true);
	}
}

/* --- the token ------------------------------------------------------------------------------------------------------ */

/* Whoever was refused is logged out, unless the command line has logged in meanwhile. */
static void forget(struct account *a)
{
	const struct login_place p = place(a);
	struct login *l = malloc(sizeof(*l));

	if (l && !login_load(l, a->d->dir.state, &p, NULL) &&
	    !strcmp(l->refresh_token, a->login.refresh_token) &&
	    !strcmp(l->id_token, a->login.id_token))
		(void)login_remove(a->d->dir.state, &p, NULL);
	free(l);
	a->has = false;
}

static bool take_tokens(struct login *l, const struct oidc_tokens *t)
{
	if (strlen(t->id_token) >= sizeof(l->id_token) ||
	    (t->refresh_token && strlen(t->refresh_token) >= sizeof(l->refresh_token)))
		return false;
	memcpy(l->id_token, t->id_token, strlen(t->id_token) + 1);
	if (t->refresh_token) /* else the old one stays good (RFC 6749, 6) */
		memcpy(l->refresh_token, t->refresh_token, strlen(t->refresh_token) + 1);
	snprintf(l->name, sizeof(l->name), "%s", t->who.name);
	l->expires = t->who.expires;
	return true;
}

/* It came, but its ID token could not be verified: the one we had is good no more. */
static void keep_refresh_token(struct account *a, const struct oidc_tokens *t)
{
	const struct login_place p = place(a);
	struct login *l = &a->login;
	struct error e;

	if (!t || strlen(t->refresh_token) >= sizeof(l->refresh_token))
		return;
	memcpy(l->refresh_token, t->refresh_token, strlen(t->refresh_token) + 1);
	if (login_save(l, a->d->dir.state, &p, &e))
		log_warn("login: %s", e.text);
}

static void on_refreshed(void *arg, int error, const struct oidc_tokens *t, const struct error *e)
{
	struct account *a = arg;
	const struct login_place p = place(a);
	struct error failed;

	a->refreshing = NULL;
	if (error == OIDC_UNREACHABLE) {
		bool good = a->login.expires > now_s();

		keep_refresh_token(a, t);
		error_set(&a->why, 0, "%s's login could not be renewed%s: %.700s", a->login.name,
			  good ? "" : " and has expired", e->text);
		settle_for_now(a, good);
		return;
	}
	if (error || strcmp(t->who.subject, a->login.subject) != 0 || !take_tokens(&a->login, t)) {
		error_set(&a->why, 0, "%s's login was ended by %.300s: %.500s; run `culvert login`",
			  a->login.name, a->login.issuer,
			  error ? e->text : "it gave the token of somebody else");
		forget(a);
		logged_out(a);
		return;
	}
	if (login_save(&a->login, a->d->dir.state, &p, &failed))
		log_warn("login: %s", failed.text);
	a->told = false;
	tell(a);
}

static int open_issuer(struct account *a)
{
	const struct oidc_config cfg = {.issuer = a->offer.issuer,
					.client_id = a->offer.client_id,
					.scopes = a->offer.scopes,
					.ca = *a->offer.ca ? a->offer.ca : NULL};

	oidc_free(a->oidc);
	a->oidc = NULL;
	return oidc_new(&a->oidc, a->d->base, &cfg, &a->why);
}

static void check_token(struct account *a)
{
	if (a->login.expires - now_s() > FRESH_S) {
		tell(a);
	} else if (!*a->login.refresh_token) {
		error_set(&a->why, 0, "%s's login has expired; run `culvert login`", a->login.name);
		forget(a);
		logged_out(a);
	} else if (open_issuer(a)) {
		logged_out(a);
	} else if (oidc_refresh(a->oidc, a->login.refresh_token, on_refreshed, a, &a->refreshing)) {
		error_set(&a->why, 0, "out of memory");
		settle_for_now(a, false);
	}
}

/* --- who we are ------------------------------------------------------------------------------------------------------ */

static void judge(struct account *a)
{
	const char *user = cluster_user(session_cluster(a->d->session));
	const char *mine = a->login.issuer, *theirs = a->offer.issuer;

	if (a->has_offer && strcmp(mine, theirs) != 0)
		error_set(&a->why, 0,
			  "%s is logged in by %.300s, and this cluster wants a login by "
			  "%.300s; run `culvert login`",
			  a->login.name, *mine ? mine : "Kubernetes",
			  *theirs ? theirs : "Kubernetes");
	else if (!*mine && strcmp(a->login.name, user) != 0)
		error_set(&a->why, 0,
			  "the login is %s's, and the API server says that you are %.300s; run "
			  "`culvert login`",
			  a->login.name, user);
	if (*a->why.text)
		logged_out(a);
	else if (*mine && !a->has_offer) /* it cannot be refreshed now */
		settle_for_now(a, a->login.expires > now_s());
	else if (*mine)
		check_token(a);
	else
		settle(a, true);
}

static void on_offer(void *arg, const struct kube_reply *r)
{
	struct account *a = arg;
	json_t *object = r->failure ? NULL : json_loadb(r->body, r->len, 0, NULL);
	struct login_offer *offer = malloc(sizeof(*offer));
	struct error e = {""};

	a->look = NULL;
	/* What it said before stays while it cannot be asked. */
	if (object && offer && !login_offer_parse(offer, object, &e)) {
		a->offer = *offer;
		a->has_offer = true;
	} else {
		log_warn("login: %s", r->failure ? r->sentence : e.text);
	}
	free(offer);
	json_decref(object);
	if (a->has)
		judge(a);
	else
		settle(a, false);
}

static void begin(struct account *a)
{
	const struct login_place p = place(a);
	char path[160];
	const struct kube_call call = {
		.path = path, .timeout = LOOK_TIMEOUT, .patience = KUBE_PATIENCE};
	struct login *before = malloc(sizeof(*before));
	struct error e;
	int err;

	if (under_way(a)) {
		a->once_more = true;
		free(before);
		return;
	}
	if (before)
		*before = a->login;
	err = login_load(&a->login, a->d->dir.state, &p, &e);
	/* Why the last one ended is told until there is another. */
	if (!err || a->has || a->damaged)
		a->why.text[0] = '\0';
	a->damaged = err && err != -ENOENT;
	if (a->damaged)
		a->why = e;
	if (!before || err || strcmp(before->id_token, a->login.id_token) != 0)
		a->told = false;
	free(before);
	a->has = !err;
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/culvert", p.manager_ns);
	if (kube_request(cluster_client(session_cluster(a->d->session)), &call, on_offer, a,
			 &a->look))
		settle_for_now(a, false);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	begin(arg);
}

/* --- what others call ------------------------------------------------------------------------------------------------ */

void account_start(struct daemon *d)
{
	struct account *a = calloc(1, sizeof(*a));

	if (!a)
		return;
	a->d = d;
	a->timer = evtimer_new(d->base, on_timer, a);
	if (!a->timer) {
		free(a);
		return;
	}
	d->account = a;
	begin(a);
}

void account_end(struct daemon *d)
{
	struct account *a = steal_ptr(d->account);

	if (!a)
		return;
	kube_cancel(a->look);
	oidc_cancel(a->refreshing);
	oidc_free(a->oidc);
	event_free(a->timer);
	while (a->nwaiting)
		rpc_fail(a->waiting[--a->nwaiting], RPC_NOT_CONNECTED,
			 "the session with the cluster has ended");
	explicit_bzero(&a->login, sizeof(a->login));
	free(a);
}

void account_call(struct daemon *d, struct rpc_request *req)
{
	struct account *a = d->account;

	if (!d->session || session_state(d->session) != SESSION_CONNECTED)
		rpc_fail(req, RPC_NOT_CONNECTED, "not connected; run `culvert connect` first");
	else if (!a)
		rpc_reply(req, json_pack("{s:b,s:s,s:b,s:s,s:s}", "logged_in", 0, "why", "",
					 "offer", 1, "previews", "", "dashboard", ""));
	else if (a->nwaiting == WAITERS)
		rpc_fail(req, RPC_FAILED, "too many ask for the login at once");
	else {
		a->waiting[a->nwaiting++] = req;
		begin(a);
	}
}

void account_link_up(struct daemon *d)
{
	struct account *a = d->account;

	if (!a || !a->new_link)
		return;
	a->new_link = false;
	if (a->known || (a->logged_in && *a->login.issuer))
		begin(a);
}

void account_link_down(struct daemon *d)
{
	struct account *a = d->account;

	if (!a)
		return;
	a->told = false;
	a->new_link = true;
	if (!a->telling)
		return;
	a->telling = false; /* that call gets no answer */
	settle(a, true);
}
