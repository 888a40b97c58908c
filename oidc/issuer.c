/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the issuer publishes of itself: its endpoints and its keys. Kept for an hour, then asked for anew by the next call that
 * needs them; an issuer that does not answer is taken at its old word for a day, and is asked again after half a minute: else
 * each call would wait for an answer that does not come.
 *
 * A token by an unknown key, or with a wrong signature, has the keys asked for once more, since issuers change them: but no more often than every ten
 * seconds, until when such calls wait, so that rubbish costs the issuer nothing. Keys that were asked for after the token came
 * are not asked for again.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "oidc/internal.h"

/* --- the discovery document ------------------------------------------------------------------------------ */

void oidc_metadata_clear(struct oidc_metadata *m)
{
	free(m->token);
	free(m->authorization);
	free(m->jwks);
	free(m->device);
	free(m->revocation);
	*m = (struct oidc_metadata){.token = NULL};
}

/* An https issuer has no plain endpoints. */
static int endpoint(char **to, const char *issuer, const json_t *o, const char *name,
		    struct error *e)
{
	const json_t *v = json_object_get(o, name);
	int r;

	if (!v)
		return 0;
	if (!json_is_string(v))
		return error_set(e, -EINVAL, "its '%s' is no URL", name);
	r = fetch_url_check(json_string_value(v), e);
	if (r == 0 && !strncmp(issuer, "https:", 6) && strncmp(json_string_value(v), "https:", 6))
		r = error_set(e, -EINVAL, "it is not https");
	if (r)
		return error_wrap(e, r, "its '%s'", name);
	*to = strdup(json_string_value(v));
	return *to ? 0 : error_errno(e, -ENOMEM, "issuer");
}

static bool lists(const json_t *o, const char *name, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(o, name), i, item)
	{
		if (json_is_string(item) && !strcmp(json_string_value(item), text))
			return true;
	}
	return false;
}

static int read_metadata(struct oidc_metadata *m, const char *issuer, const json_t *o,
			 struct error *e)
{
	static const char methods[] = "token_endpoint_auth_methods_supported";
	const char *name = json_string_value(json_object_get(o, "issuer"));
	int r;

	if (!name || strcmp(name, issuer) != 0)
		return error_set(e, -EINVAL,
				 "it calls itself '%.200s': the issuer must be written just so",
				 name ? name : "");
	r = endpoint(&m->token, issuer, o, "token_endpoint", e);
	if (r == 0)
		r = endpoint(&m->jwks, issuer, o, "jwks_uri", e);
	if (r == 0)
		r = endpoint(&m->authorization, issuer, o, "authorization_endpoint", e);
	if (r == 0)
		r = endpoint(&m->device, issuer, o, "device_authorization_endpoint", e);
	if (r == 0)
		r = endpoint(&m->revocation, issuer, o, "revocation_endpoint", e);
	if (r == 0 && (!m->token || !m->jwks))
		r = error_set(e, -EINVAL, "its configuration names no '%s'",
			      m->token ? "jwks_uri" : "token_endpoint");
	m->secret_in_form = !lists(o, methods, "client_secret_basic") &&
			    lists(o, methods, "client_secret_post");
	m->offline = lists(o, "scopes_supported", "offline_access");
	return r;
}

int oidc_metadata_parse(struct oidc_metadata *m, const char *issuer, const char *json, size_t len,
			struct error *e)
{
	struct oidc_metadata out = {.token = NULL};
	json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	int r;

	if (!json_is_object(o))
		r = error_set(e, -EINVAL, "its configuration is damaged");
	else
		r = read_metadata(&out, issuer, o, e);
	json_decref(o);
	if (r) {
		oidc_metadata_clear(&out);
		return r;
	}
	*m = out;
	return 0;
}

/* --- who waits for what ----------------------------------------------------------------------------------- */

static bool younger(nsec_t at, unsigned seconds)
{
	return at && clock_boot() - at < seconds * NSEC_PER_SEC;
}

/* Is what it needs there? `old`: even if it should be asked for anew. */
static bool satisfied(const struct oidc_call *c, bool old)
{
	const struct oidc *o = c->o;
	unsigned seconds = old || younger(o->failed_at, OIDC_AGAIN_S) ? OIDC_STALE_S : OIDC_FRESH_S;

	if (!younger(o->metadata_at, seconds))
		return false;
	switch (c->need) {
	case OIDC_NEED_METADATA:
		return true;
	case OIDC_NEED_KEYS:
		return younger(o->keys_at, seconds);
	case OIDC_NEED_NEW_KEYS:
		return o->keys_at >= c->began;
	}
	return false;
}

static void go_on(struct oidc_call *c)
{
	oidc_need_no_more(c);
	event_active(c->timer, EV_TIMEOUT, 0);
}

void oidc_need_no_more(struct oidc_call *c)
{
	if (c->waiting)
		LIST_REMOVE(c, wait_link);
	c->waiting = false;
}

/* `why` NULL: something has come; else the last request has failed. */
static void settle(struct oidc *o, const struct error *why)
{
	struct oidc_call *c = LIST_FIRST(&o->waiting), *next;

	o->failed_at = why ? clock_boot() : 0;
	for (; c; c = next) {
		next = LIST_NEXT(c, wait_link);
		if (satisfied(c, why)) {
			go_on(c);
		} else if (why) {
			c->failed = OIDC_UNREACHABLE;
			c->why = *why;
			go_on(c);
		}
	}
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static void drive(struct oidc *o);

/* What the issuer answered: 0, or the sentence. */
static int judge(const struct oidc *o, const struct fetch_reply *reply, struct error *e)
{
	if (reply->sentence)
		return error_set(e, -EIO, "the issuer cannot be asked: %s: try again later",
				 reply->sentence);
	if (reply->status != 200)
		return error_set(e, -EIO, "the issuer %s answered %d where its %s should be",
				 o->issuer, reply->status,
				 younger(o->metadata_at, OIDC_FRESH_S) ? "keys"
								       : "OpenID configuration");
	return 0;
}

static void on_metadata(void *arg, const struct fetch_reply *reply)
{
	struct oidc *o = arg;
	struct oidc_metadata m = {.token = NULL};
	struct error e;
	int r = judge(o, reply, &e);

	o->fetch = NULL;
	if (r == 0) {
		r = oidc_metadata_parse(&m, o->issuer, reply->body, reply->len, &e);
		if (r)
			error_wrap(&e, r, "the issuer %s", o->issuer);
	}
	if (r == 0) {
		oidc_metadata_clear(&o->metadata);
		o->metadata = m;
		o->metadata_at = o->asked_at;
	}
	settle(o, r ? &e : NULL);
	drive(o);
}

static void on_keys(void *arg, const struct fetch_reply *reply)
{
	struct oidc *o = arg;
	struct oidc_keys *keys = NULL;
	struct error e;
	int r = judge(o, reply, &e);

	o->fetch = NULL;
	if (r == 0) {
		r = oidc_keys_parse(&keys, reply->body, reply->len, &e);
		if (r)
			error_wrap(&e, r, "the issuer %s", o->issuer);
	}
	if (r == 0) {
		oidc_keys_free(o->keys);
		o->keys = keys;
		o->keys_at = o->asked_at;
	}
	settle(o, r ? &e : NULL);
	drive(o);
}

static void ask(struct oidc *o, const char *url, fetch_cb *cb)
{
	struct fetch_call call = {.url = url, .ca = o->ca};
	struct error e;

	o->asked_at = clock_boot();
	if (fetch(o->multi, &call, cb, o, &o->fetch) == 0)
		return;
	error_fill(&e, 0, "the issuer %s cannot be asked: no memory", o->issuer);
	settle(o, &e);
}

static void ask_metadata(struct oidc *o)
{
	char url[FETCH_URL_MAX + 64];
	size_t len = strlen(o->issuer);

	if (len && o->issuer[len - 1] == '/')
		len--;
	snprintf(url, sizeof(url), "%.*s/.well-known/openid-configuration", (int)len, o->issuer);
	ask(o, url, on_metadata);
}

/* When unknown keys may be looked for. */
static nsec_t wait_left(const struct oidc *o)
{
	nsec_t from = o->asked_at + OIDC_KEYS_EVERY_S * NSEC_PER_SEC, now = clock_boot();

	return o->keys_at && from > now ? from - now : 0;
}

static void drive(struct oidc *o)
{
	const struct oidc_call *c;
	bool plainly = false;
	nsec_t wait;
	struct timeval tv;

	if (o->fetch || LIST_EMPTY(&o->waiting))
		return;
	if (!younger(o->metadata_at, OIDC_FRESH_S)) {
		ask_metadata(o);
		return;
	}
	LIST_FOREACH (c, &o->waiting, wait_link)
		plainly |= c->need == OIDC_NEED_KEYS;
	wait = plainly ? 0 : wait_left(o);
	if (!wait) {
		ask(o, o->metadata.jwks, on_keys);
		return;
	}
	tv.tv_sec = (time_t)(wait / NSEC_PER_SEC);
	tv.tv_usec = (suseconds_t)(wait % NSEC_PER_SEC / 1000 + 1);
	event_add(o->later, &tv);
}

static void on_later(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drive(arg);
}

void oidc_need(struct oidc_call *c, enum oidc_need need, void (*next)(struct oidc_call *c))
{
	c->need = need;
	c->next = next;
	LIST_INSERT_HEAD(&c->o->waiting, c, wait_link);
	c->waiting = true;
	if (satisfied(c, false))
		go_on(c);
	else
		drive(c->o);
}

int oidc_issuer_init(struct oidc *o)
{
	o->later = event_new(o->base, -1, 0, on_later, o);
	return o->later ? 0 : -ENOMEM;
}

void oidc_issuer_clear(struct oidc *o)
{
	fetch_cancel(o->fetch);
	if (o->later)
		event_free(o->later);
	oidc_metadata_clear(&o->metadata);
	oidc_keys_free(o->keys);
}
