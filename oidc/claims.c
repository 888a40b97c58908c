/* SPDX-License-Identifier: Apache-2.0 */
/* Who a token is about, and whether they may enter (OpenID Connect Core, 3.1.3.7). */
#include <errno.h>
#include <stdio.h>

#include "oidc/internal.h"

/* --- times ------------------------------------------------------------------------------------------------ */

enum { TIME_MAX = 1 << 30 }; /* s from now: further away is as good as for ever */

/* Seconds from now to a claim (NumericDate may have a fraction), held to +-TIME_MAX. */
static int from_now(const json_t *claims, const char *name, int64_t now, int64_t *away,
		    struct error *e)
{
	const json_t *v = json_object_get(claims, name);
	double d;

	if (!json_is_number(v))
		return error_set(e, -EACCES, "the token has no usable '%s'", name);
	d = json_number_value(v) - (double)now;
	*away = d > TIME_MAX ? TIME_MAX : d < -TIME_MAX ? -TIME_MAX : (int64_t)d;
	return 0;
}

static int check_times(const json_t *claims, int64_t now, int64_t *expires, struct error *e)
{
	int64_t exp = 0, iat = 0, nbf = 0;
	int r = from_now(claims, "exp", now, &exp, e);

	if (r == 0)
		r = from_now(claims, "iat", now, &iat, e);
	if (r == 0 && json_object_get(claims, "nbf"))
		r = from_now(claims, "nbf", now, &nbf, e);
	if (r)
		return r;
	if (exp <= -OIDC_SKEW_S)
		return error_set(e, -EACCES, "the token expired %lld s ago: log in again",
				 -(long long)exp);
	if (iat > OIDC_SKEW_S || nbf > OIDC_SKEW_S)
		return error_set(e, -EACCES,
				 "the token begins only in %lld s: this clock and the issuer's "
				 "differ, set the wrong one",
				 (long long)MAX(iat, nbf));
	*expires = now + exp;
	return 0;
}

/* --- for us? ---------------------------------------------------------------------------------------------- */

static bool is(const json_t *v, const char *text)
{
	return json_is_string(v) && !strcmp(json_string_value(v), text);
}

static int check_issuer(const json_t *claims, const struct oidc_rules *rules, struct error *e)
{
	const json_t *iss = json_object_get(claims, "iss");

	if (is(iss, rules->issuer))
		return 0;
	return error_set(e, -EACCES, "the token is of another issuer ('%.200s') than %.200s",
			 json_is_string(iss) ? json_string_value(iss) : "", rules->issuer);
}

/* `azp` says for whom it was made, where it is also for others. */
static int check_audience(const json_t *claims, const struct oidc_rules *rules, struct error *e)
{
	const json_t *aud = json_object_get(claims, "aud"), *azp = json_object_get(claims, "azp"),
		     *item;
	bool ours = is(aud, rules->client_id);
	size_t i;

	json_array_foreach(aud, i, item) ours |= is(item, rules->client_id);
	if (!ours)
		return error_set(e, -EACCES, "the token is for another client than '%.100s'",
				 rules->client_id);
	if (azp ? !is(azp, rules->client_id) : json_array_size(aud) > 1)
		return error_set(e, -EACCES,
				 "the token was made for another client than '%.100s' ('azp')",
				 rules->client_id);
	return 0;
}

/* --- who? ------------------------------------------------------------------------------------------------- */

/* Names end up on terminals and in logs. */
static bool take_text(const json_t *claims, const char *name, char *to, size_t room)
{
	const json_t *v = json_object_get(claims, name);
	const char *s = json_string_value(v);

	if (!s || !*s || strlen(s) >= room)
		return false;
	for (const char *p = s; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	}
	memcpy(to, s, strlen(s) + 1);
	return true;
}

static int identify(struct oidc_identity *who, const json_t *claims, struct error *e)
{
	static const char *const names[] = {"preferred_username", "email", "name", "sub"};

	if (!take_text(claims, "sub", who->subject, sizeof(who->subject)))
		return error_set(e, -EACCES, "the token has no usable 'sub'");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (take_text(claims, names[i], who->name, sizeof(who->name)))
			break;
	}
	return 0;
}

/* --- may they? -------------------------------------------------------------------------------------------- */

static bool equals(const json_t *v, const char *value)
{
	char text[64];
	size_t n;

	if (json_is_string(v))
		return !strcmp(json_string_value(v), value);
	if (!json_is_number(v) && !json_is_boolean(v))
		return false;
	n = json_dumpb(v, text, sizeof(text), JSON_ENCODE_ANY | JSON_COMPACT);
	return n < sizeof(text) && n == strlen(value) && !memcmp(text, value, n);
}

static bool holds(const json_t *claims, const char *rule)
{
	const char *value = strchr(rule, '=') + 1;
	char name[OIDC_CLAIM_MAX + 1];
	const json_t *v, *item;
	size_t i;

	snprintf(name, sizeof(name), "%.*s", (int)(value - 1 - rule), rule);
	/* An address that the issuer has not verified is whatever somebody typed (OpenID Connect Core, 5.7). */
	v = json_object_get(claims, "email_verified");
	if (!strcmp(name, "email") && v && !equals(v, "true"))
		return false;
	v = json_object_get(claims, name);
	json_array_foreach(v, i, item)
	{
		if (equals(item, value))
			return true;
	}
	return equals(v, value);
}

static int check_allowed(const json_t *claims, const struct oidc_rules *rules,
			 const struct oidc_identity *who, struct error *e)
{
	for (unsigned i = 0; i < rules->nallow; i++) {
		if (holds(claims, rules->allow[i]))
			return 0;
	}
	if (rules->nallow == 0 && !rules->allow_needed)
		return 0;
	if (rules->nallow == 0)
		return error_set(e, -EACCES, "nobody may enter: no claim is allowed");
	return error_set(e, -EACCES,
			 "%s may not enter: the token has none of the allowed claims (%.100s%s): "
			 "ask who installed culvert, or who keeps the accounts",
			 who->name, rules->allow[0], rules->nallow > 1 ? ", …" : "");
}

int oidc_claims_check(const json_t *claims, const struct oidc_rules *rules, int64_t now,
		      struct oidc_identity *who, struct error *e)
{
	const json_t *nonce = json_object_get(claims, "nonce");
	int r = check_issuer(claims, rules, e);

	*who = (struct oidc_identity){.expires = 0};
	if (r == 0)
		r = check_audience(claims, rules, e);
	if (r == 0)
		r = check_times(claims, now, &who->expires, e);
	if (r == 0 && rules->nonce && !is(nonce, rules->nonce))
		r = error_set(e, -EACCES, "the token answers another login (its 'nonce' differs)");
	if (r == 0)
		r = identify(who, claims, e);
	return r ? r : check_allowed(claims, rules, who, e);
}
