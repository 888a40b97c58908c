/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: each has a timer, by which everything that it does comes from the loop, and one callback. And the object itself. */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>

#include "oidc/internal.h"

/* --- secrets ---------------------------------------------------------------------------------------------- */

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

int oidc_keep(char **to, const char *text)
{
	wipe(to);
	*to = strdup(text);
	return *to ? 0 : -ENOMEM;
}

/* --- life ------------------------------------------------------------------------------------------------- */

static void detach(struct oidc_call *c)
{
	oidc_need_no_more(c);
	fetch_cancel(c->fetch);
	c->fetch = NULL;
	if (c->timer)
		event_free(c->timer);
	c->timer = NULL;
	LIST_REMOVE(c, link);
	c->o->ncalls--;
}

static void clear(struct oidc_call *c)
{
	wipe(&c->id_token);
	wipe(&c->refresh_token);
	wipe(&c->nonce);
	wipe(&c->form);
	wipe(&c->text);
	wipe(&c->redirect_uri);
	wipe(&c->state);
	wipe(&c->challenge);
	free(c);
}

void oidc_call_free(struct oidc_call *c)
{
	detach(c);
	clear(c);
}

void oidc_cancel(struct oidc_call *c)
{
	if (c)
		oidc_call_free(c);
}

static void on_timer(int fd, short what, void *arg)
{
	struct oidc_call *c = arg;

	(void)fd;
	(void)what;
	if (c->failed)
		oidc_call_end(c, c->failed, NULL, &c->why);
	else
		c->next(c);
}

int oidc_call_new(struct oidc_call **cp, struct oidc *o, void (*next)(struct oidc_call *c),
		  void *arg)
{
	struct oidc_call *c;

	if (o->ncalls >= OIDC_CALLS)
		return -EBUSY;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->o = o;
	LIST_INSERT_HEAD(&o->calls, c, link);
	o->ncalls++;
	c->arg = arg;
	c->next = next;
	c->timer = event_new(o->base, -1, 0, on_timer, c);
	if (!c->timer) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	event_active(c->timer, EV_TIMEOUT, 0);
	*cp = c;
	return 0;
}

void oidc_call_sleep(struct oidc_call *c, nsec_t time, void (*next)(struct oidc_call *c))
{
	struct timeval tv = {.tv_sec = (time_t)(time / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(time % NSEC_PER_SEC / 1000)};

	c->next = next;
	event_add(c->timer, &tv);
}

void oidc_call_end(struct oidc_call *c, int error, const struct oidc_identity *who,
		   const struct error *e)
{
	struct oidc_tokens t = {.id_token = error ? NULL : c->id_token,
				.refresh_token = c->refresh_token};
	bool kept = error == OIDC_UNREACHABLE && c->id_token && c->refresh_token;

	detach(c);
	if (who)
		t.who = *who;
	if (c->verified)
		c->verified(c->arg, error, error ? NULL : who, error ? e : NULL);
	else if (c->got)
		c->got(c->arg, error, !error || kept ? &t : NULL, error ? e : NULL);
	else if (c->url)
		c->url(c->arg, error, error ? NULL : c->text, error ? e : NULL);
	else
		c->done(c->arg, error, error ? e : NULL);
	clear(c);
}

void oidc_call_fail(struct oidc_call *c, int error, const char *fmt, ...)
{
	struct error e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	oidc_call_end(c, error, NULL, &e);
}

/* --- verifying -------------------------------------------------------------------------------------------- */

static void check(struct oidc_call *c)
{
	const struct oidc *o = c->o;
	const struct oidc_rules rules = {
		.issuer = o->issuer,
		.client_id = o->client_id,
		.nonce = c->nonce,
		.nallow = o->nallow,
		.allow = o->allow,
		.allow_needed = c->verified,
	};
	struct oidc_jwt jwt = {.claims = NULL};
	struct oidc_identity who = {.expires = 0};
	struct error e;
	int r = oidc_jwt_parse(&jwt, c->id_token, strlen(c->id_token), &e);

	if (r == 0)
		r = oidc_keys_verify(o->keys, &jwt, c->id_token, &e);
	if (r == 0)
		r = oidc_claims_check(jwt.claims, &rules, (int64_t)(clock_real() / NSEC_PER_SEC),
				      &who, &e);
	oidc_jwt_clear(&jwt);
	/* Another key may have come, even under an old one's name. */
	if ((r == -ENOKEY || r == -EBADMSG) && o->keys_at < c->began)
		oidc_need(c, OIDC_NEED_NEW_KEYS, check);
	else
		oidc_call_end(c, r ? OIDC_REFUSED : 0, &who, &e);
}

void oidc_call_verify(struct oidc_call *c)
{
	c->began = clock_boot();
	oidc_need(c, OIDC_NEED_KEYS, check);
}

int oidc_verify(struct oidc *o, const char *id_token, const char *nonce, oidc_verified *cb,
		void *arg, struct oidc_call **cp)
{
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, oidc_call_verify, arg);

	if (r)
		return r;
	c->verified = cb;
	if (oidc_keep(&c->id_token, id_token) || (nonce && oidc_keep(&c->nonce, nonce))) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	if (cp)
		*cp = c;
	return 0;
}

/* --- the object ------------------------------------------------------------------------------------------- */

void oidc_free(struct oidc *o)
{
	if (!o)
		return;
	while (!LIST_EMPTY(&o->calls))
		oidc_call_free(LIST_FIRST(&o->calls));
	oidc_issuer_clear(o);
	fetch_multi_free(o->multi);
	free(o->issuer);
	free(o->client_id);
	wipe(&o->client_secret);
	free(o->scopes);
	free(o->ca);
	for (unsigned i = 0; i < o->nallow; i++)
		free(o->allow[i]);
	free(o);
}

static int config_check(const struct oidc_config *cfg, struct error *e)
{
	int r = fetch_url_check(cfg->issuer, e);

	if (r)
		return error_wrap(e, r, "OpenID issuer");
	if (strchr(cfg->issuer, '?'))
		return error_set(e, -EINVAL, "OpenID issuer: '%.200s' has a query", cfg->issuer);
	if (!cfg->client_id || !*cfg->client_id)
		return error_set(e, -EINVAL, "OpenID issuer %s: there is no client id",
				 cfg->issuer);
	for (unsigned i = 0; i < cfg->nallow; i++) {
		size_t len = strcspn(cfg->allow[i], "=");

		if (!len || len > OIDC_CLAIM_MAX || !cfg->allow[i][len])
			return error_set(e, -EINVAL,
					 "'%.100s' does not say who may enter: write CLAIM=VALUE",
					 cfg->allow[i]);
	}
	return 0;
}

static int copy(struct oidc *o, const struct oidc_config *cfg)
{
	o->issuer = strdup(cfg->issuer);
	o->client_id = strdup(cfg->client_id);
	o->scopes = strdup(cfg->scopes && *cfg->scopes ? cfg->scopes : "openid profile email");
	o->offline = cfg->offline;
	if (!o->issuer || !o->client_id || !o->scopes ||
	    (cfg->client_secret && oidc_keep(&o->client_secret, cfg->client_secret)) ||
	    (cfg->ca && *cfg->ca && oidc_keep(&o->ca, cfg->ca)))
		return -ENOMEM;
	for (unsigned i = 0; i < cfg->nallow; i++) {
		if (oidc_keep(&o->allow[o->nallow++], cfg->allow[i]))
			return -ENOMEM;
	}
	return 0;
}

int oidc_new(struct oidc **op, struct event_base *base, const struct oidc_config *cfg,
	     struct error *e)
{
	struct oidc *o;
	int r = config_check(cfg, e);

	if (r)
		return r;
	o = calloc(1, sizeof(*o));
	if (!o)
		return error_errno(e, -ENOMEM, "OpenID issuer");
	o->base = base;
	LIST_INIT(&o->calls);
	LIST_INIT(&o->waiting);
	if (copy(o, cfg) || oidc_issuer_init(o) || fetch_multi_new(&o->multi, base)) {
		oidc_free(o);
		return error_errno(e, -ENOMEM, "OpenID issuer");
	}
	*op = o;
	return 0;
}
