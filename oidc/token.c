/* SPDX-License-Identifier: Apache-2.0 */
/* The token endpoint (RFC 6749): what is asked, what it answers; refresh, and revocation (RFC 7009). */
#include <errno.h>
#include <stdio.h>

#include "oidc/internal.h"

/* --- forms ------------------------------------------------------------------------------------------------ */

static void put(FILE *f, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    strchr("-._~", c))
			fputc(c, f);
		else
			fprintf(f, "%%%02X", c);
	}
}

char *oidc_form_of(const char *const pair[][2])
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool first = true;

	if (!f)
		return NULL;
	for (; pair[0][0]; pair++) {
		if (!pair[0][1])
			continue;
		fprintf(f, "%s%s=", first ? "" : "&", pair[0][0]);
		put(f, pair[0][1]);
		first = false;
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static char *escaped(const char *value)
{
	char *pair = oidc_form({"", value});

	if (pair)
		memmove(pair, pair + 1, strlen(pair)); /* its '=' */
	return pair;
}

void oidc_post(struct oidc_call *c, const char *url, fetch_cb *on_reply)
{
	const struct oidc *o = c->o;
	bool basic = o->client_secret && !o->metadata.secret_in_form;
	char *client =
		basic ? NULL
		      : oidc_form({"client_id", o->client_id}, {"client_secret", o->client_secret});
	char *user = basic ? escaped(o->client_id) : NULL;
	char *password = basic ? escaped(o->client_secret) : NULL;
	struct fetch_call call = {.url = url, .user = user, .password = password, .ca = o->ca};
	char *form = NULL;
	int r = -ENOMEM;

	if (c->form && (basic ? user && password : client != NULL) &&
	    asprintf(&form, "%s%s%s", c->form, client ? "&" : "", client ? client : "") >= 0) {
		call.form = form;
		r = fetch(o->multi, &call, on_reply, c, &c->fetch);
		explicit_bzero(form, strlen(form));
		free(form);
	}
	free(client);
	free(user);
	free(password);
	if (r)
		oidc_call_fail(c, OIDC_UNREACHABLE, "the issuer %s cannot be asked: no memory",
			       o->issuer);
}

/* --- answers ---------------------------------------------------------------------------------------------- */

const char *oidc_word(const json_t *answer, const char *name, size_t max)
{
	const char *s = json_string_value(json_object_get(answer, name));

	if (!s || !*s || strlen(s) > max)
		return NULL;
	for (const char *p = s; *p; p++) {
		if (*p < ' ' || *p > '~')
			return NULL;
	}
	return s;
}

void oidc_refusal_parse(struct oidc_refusal *r, const char *json, size_t len)
{
	json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	const char *code = oidc_word(o, "error", sizeof(r->code) - 1);
	const char *text = oidc_word(o, "error_description", sizeof(r->text) - 1);

	snprintf(r->code, sizeof(r->code), "%s", code ? code : "");
	snprintf(r->text, sizeof(r->text), "%s", text ? text : r->code);
	json_decref(o);
}

void oidc_refused(struct oidc_call *c, const struct fetch_reply *reply)
{
	const struct oidc *o = c->o;
	struct oidc_refusal r;

	oidc_refusal_parse(&r, reply->body, reply->len);
	if (reply->sentence)
		oidc_call_fail(c, OIDC_UNREACHABLE,
			       "the issuer cannot be asked: %s: try again later", reply->sentence);
	else if (reply->status >= 500 || reply->status == 429 || !*r.code)
		oidc_call_fail(c, OIDC_UNREACHABLE,
			       "the issuer %s answered %d%s%s: try again later", o->issuer,
			       reply->status, *r.text ? ": " : "", r.text);
	else if (!strcmp(r.code, "invalid_grant"))
		oidc_call_fail(c, OIDC_REFUSED,
			       "the issuer %s does not take this login: it has expired, or was "
			       "revoked or used before (%s): log in again",
			       o->issuer, r.text);
	else if (!strcmp(r.code, "invalid_client"))
		oidc_call_fail(c, OIDC_REFUSED,
			       "the issuer %s does not take the client '%s' (%s): its name or "
			       "secret is not the one that is registered there",
			       o->issuer, o->client_id, r.text);
	else if (!strcmp(r.code, "access_denied"))
		oidc_call_fail(c, OIDC_CANCELLED, "the login was refused at %s", o->issuer);
	else if (!strcmp(r.code, "unauthorized_client") ||
		 !strcmp(r.code, "unsupported_grant_type"))
		oidc_call_fail(c, OIDC_UNSUPPORTED,
			       "the issuer %s does not let the client '%s' do this: %s", o->issuer,
			       o->client_id, r.text);
	else
		oidc_call_fail(c, OIDC_REFUSED, "the issuer %s refused: %s (%s)", o->issuer, r.text,
			       r.code);
}

void oidc_take_tokens(struct oidc_call *c, const struct fetch_reply *reply)
{
	json_t *o = json_loadb(reply->body, reply->len, JSON_REJECT_DUPLICATES, NULL);
	const char *id = oidc_word(o, "id_token", OIDC_TOKEN_MAX);
	const char *refresh = oidc_word(o, "refresh_token", OIDC_TOKEN_MAX);
	int r = 0;

	if (id)
		r = oidc_keep(&c->id_token, id);
	if (r == 0 && id && refresh)
		r = oidc_keep(&c->refresh_token, refresh);
	json_decref(o);
	if (r)
		oidc_call_fail(c, OIDC_UNREACHABLE, "no memory for a token");
	else if (!id)
		oidc_call_fail(c, OIDC_REFUSED,
			       "the issuer %s gave no ID token: is 'openid' among the scopes?",
			       c->o->issuer);
	else
		oidc_call_verify(c);
}

static void on_tokens(void *arg, const struct fetch_reply *reply)
{
	struct oidc_call *c = arg;

	c->fetch = NULL;
	if (reply->status == 200)
		oidc_take_tokens(c, reply);
	else
		oidc_refused(c, reply);
}

void oidc_ask_tokens(struct oidc_call *c)
{
	oidc_post(c, c->o->metadata.token, on_tokens);
}

/* --- refresh ---------------------------------------------------------------------------------------------- */

static void begin_refresh(struct oidc_call *c)
{
	c->form = oidc_form({"grant_type", "refresh_token"}, {"refresh_token", c->refresh_token});
	/* The keys first: an answer that could not be verified would have used up the refresh token. */
	oidc_need(c, OIDC_NEED_KEYS, oidc_ask_tokens);
}

int oidc_refresh(struct oidc *o, const char *refresh_token, oidc_got *cb, void *arg,
		 struct oidc_call **cp)
{
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, begin_refresh, arg);

	if (r)
		return r;
	c->got = cb;
	if (oidc_keep(&c->refresh_token, refresh_token)) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	if (cp)
		*cp = c;
	return 0;
}

/* --- revocation ------------------------------------------------------------------------------------------- */

static void on_revoked(void *arg, const struct fetch_reply *reply)
{
	struct oidc_call *c = arg;

	c->fetch = NULL;
	if (reply->status == 200)
		oidc_call_end(c, 0, NULL, NULL);
	else
		oidc_refused(c, reply);
}

static void ask_revocation(struct oidc_call *c)
{
	if (c->o->metadata.revocation)
		oidc_post(c, c->o->metadata.revocation, on_revoked);
	else
		oidc_call_fail(c, OIDC_UNSUPPORTED, "the issuer %s revokes no tokens",
			       c->o->issuer);
}

static void begin_revocation(struct oidc_call *c)
{
	c->form = oidc_form({"token", c->refresh_token}, {"token_type_hint", "refresh_token"});
	oidc_need(c, OIDC_NEED_METADATA, ask_revocation);
}

int oidc_revoke(struct oidc *o, const char *refresh_token, oidc_done *cb, void *arg,
		struct oidc_call **cp)
{
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, begin_revocation, arg);

	if (r)
		return r;
	c->done = cb;
	if (oidc_keep(&c->refresh_token, refresh_token)) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	if (cp)
		*cp = c;
	return 0;
}
