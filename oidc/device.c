/* SPDX-License-Identifier: Apache-2.0 */
/* The device authorization grant (RFC 8628): a code to show, then the token endpoint is asked until the person has answered. */
#include <errno.h>
#include <stdio.h>

#include "oidc/internal.h"

enum { CODE_MAX = 64, INTERVAL_S = 5, INTERVAL_MAX_S = 60, SLOWER_S = 5, LIFE_MAX_S = 3600 };

static void poll(struct oidc_call *c);

/* The next time to ask; an answer that never comes ends with the code. */
static void wait(struct oidc_call *c)
{
	if (clock_boot() >= c->until)
		oidc_call_fail(c, OIDC_REFUSED, "the code has expired unused: log in again");
	else
		oidc_call_sleep(c, c->interval, poll);
}

static void on_poll(void *arg, const struct fetch_reply *reply)
{
	struct oidc_call *c = arg;
	struct oidc_refusal r;

	c->fetch = NULL;
	if (reply->status == 200) {
		oidc_take_tokens(c, reply);
		return;
	}
	oidc_refusal_parse(&r, reply->body, reply->len);
	if (!strcmp(r.code, "slow_down")) {
		c->interval += SLOWER_S * NSEC_PER_SEC;
		wait(c);
	} else if (!strcmp(r.code, "authorization_pending")) {
		wait(c);
	} else if (!strcmp(r.code, "expired_token")) {
		c->until = 0;
		wait(c);
	} else if (reply->sentence || reply->status >= 500) { /* it may come back */
		c->interval = MIN(c->interval * 2, INTERVAL_MAX_S * NSEC_PER_SEC);
		wait(c);
	} else {
		oidc_refused(c, reply);
	}
}

static void poll(struct oidc_call *c)
{
	oidc_post(c, c->o->metadata.token, on_poll);
}

static nsec_t seconds(const json_t *answer, const char *name, unsigned other, unsigned max)
{
	const json_t *v = json_object_get(answer, name);
	json_int_t n = json_is_integer(v) ? json_integer_value(v) : (json_int_t)other;

	return (nsec_t)(n < 1 ? 1 : n > (json_int_t)max ? (json_int_t)max : n) * NSEC_PER_SEC;
}

static const char *link_of(const json_t *answer, const char *name)
{
	const char *s = oidc_word(answer, name, FETCH_URL_MAX);

	return s && fetch_url_check(s, NULL) == 0 ? s : NULL;
}

static int keep(struct oidc_call *c, const json_t *answer, const char *device_code)
{
	c->interval = seconds(answer, "interval", INTERVAL_S, INTERVAL_MAX_S);
	c->until = clock_boot() + seconds(answer, "expires_in", LIFE_MAX_S, LIFE_MAX_S);
	free(c->form);
	c->form = oidc_form({"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
			    {"device_code", device_code});
	return c->form ? 0 : -ENOMEM;
}

/* There is nothing in the request but the client and the scopes: one that is "invalid" is of a client that may not. */
static void not_this_way(struct oidc_call *c, const struct fetch_reply *reply)
{
	struct oidc_refusal r;

	oidc_refusal_parse(&r, reply->body, reply->len);
	if (!strcmp(r.code, "invalid_request"))
		oidc_call_fail(c, OIDC_UNSUPPORTED,
			       "the issuer %s does not let the client '%s' do this: %s",
			       c->o->issuer, c->o->client_id, r.text);
	else
		oidc_refused(c, reply);
}

static void on_codes(void *arg, const struct fetch_reply *reply)
{
	struct oidc_call *c = arg;
	json_t *answer;
	const char *uri, *code, *device_code;

	c->fetch = NULL;
	if (reply->status != 200) {
		not_this_way(c, reply);
		return;
	}
	answer = json_loadb(reply->body, reply->len, JSON_REJECT_DUPLICATES, NULL);
	uri = link_of(answer, "verification_uri");
	code = oidc_word(answer, "user_code", CODE_MAX);
	device_code = oidc_word(answer, "device_code", OIDC_WORD_MAX);
	if (!uri || !code || !device_code) {
		oidc_call_fail(c, OIDC_UNREACHABLE,
			       "the issuer %s gave no usable code to log in with", c->o->issuer);
	} else if (keep(c, answer, device_code)) {
		oidc_call_fail(c, OIDC_UNREACHABLE, "no memory for a login");
	} else {
		wait(c);
		/* It may cancel the call: nothing of that is touched any more. */
		c->show(c->arg, uri, code, link_of(answer, "verification_uri_complete"));
	}
	json_decref(answer);
}

static void ask_codes(struct oidc_call *c)
{
	const struct oidc *o = c->o;
	cleanup(free_ptr) char *scopes = oidc_scopes(o);

	if (!o->metadata.device) {
		oidc_call_fail(c, OIDC_UNSUPPORTED, "the issuer %s has no device grant", o->issuer);
		return;
	}
	c->form = scopes ? oidc_form({"scope", scopes}) : NULL;
	oidc_post(c, o->metadata.device, on_codes);
}

static void begin(struct oidc_call *c)
{
	oidc_need(c, OIDC_NEED_KEYS, ask_codes);
}

int oidc_device(struct oidc *o, oidc_show *show, oidc_got *cb, void *arg, struct oidc_call **cp)
{
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, begin, arg);

	if (r)
		return r;
	c->show = show;
	c->got = cb;
	if (cp)
		*cp = c;
	return 0;
}
