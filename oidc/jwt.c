/* SPDX-License-Identifier: Apache-2.0 */
/* A token's parts: three texts in base64url, the first two JSON objects (RFC 7515, compact). */
#include <errno.h>
#include <strings.h>

#include "base/base64.h"
#include "oidc/internal.h"

/* The object in a part; NULL with the sentence. Names that come twice are refused: two readers could see two claims. */
static json_t *object(const char *text, size_t len, const char *what, struct error *e)
{
	char json[OIDC_TOKEN_MAX];
	long n = base64url_decode(json, sizeof(json), text, len);
	json_t *o = n < 0 ? NULL : json_loadb(json, (size_t)n, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(o))
		return o;
	json_decref(o);
	error_fill(e, 0, "the token's %s damaged", what);
	return NULL;
}

/* Where the three parts are. */
struct parts {
	const char *header, *claims, *signature;
	size_t header_len, claims_len, signature_len;
};

static int split(struct parts *p, const char *text, size_t len, struct error *e)
{
	const char *end = text + len, *dot, *second;

	if (len > OIDC_TOKEN_MAX)
		return error_set(e, -EINVAL, "the token is longer than %d bytes", OIDC_TOKEN_MAX);
	dot = memchr(text, '.', len);
	second = dot ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;
	if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
		return error_set(e, -EINVAL, "this is no token: it has not three parts");
	*p = (struct parts){
		.header = text,
		.header_len = (size_t)(dot - text),
		.claims = dot + 1,
		.claims_len = (size_t)(second - dot - 1),
		.signature = second + 1,
		.signature_len = (size_t)(end - second - 1),
	};
	return 0;
}

/* Only these two: what the header says is the sender's word, and the key has the last one. */
static int algorithm(struct oidc_jwt *j, const json_t *header, struct error *e)
{
	const char *alg = json_string_value(json_object_get(header, "alg"));

	if (alg && !strcmp(alg, "RS256"))
		j->alg = OIDC_RS256;
	else if (alg && !strcmp(alg, "ES256"))
		j->alg = OIDC_ES256;
	else
		return error_set(
			e, -EINVAL,
			"the token is signed by '%.20s', and only RS256 and ES256 are taken",
			alg ? alg : "");
	return 0;
}

static int header(struct oidc_jwt *j, const json_t *h, struct error *e)
{
	const json_t *kid = json_object_get(h, "kid"), *typ = json_object_get(h, "typ");

	if (json_object_get(h, "crit"))
		return error_set(e, -EINVAL, "the token demands what is not known here ('crit')");
	if (typ && (!json_is_string(typ) || strcasecmp(json_string_value(typ), "JWT") != 0))
		return error_set(e, -EINVAL, "the token is of another kind than 'JWT'");
	if (kid && (!json_is_string(kid) || json_string_length(kid) >= sizeof(j->kid)))
		return error_set(e, -EINVAL, "the token's 'kid' is damaged");
	if (kid)
		memcpy(j->kid, json_string_value(kid), json_string_length(kid) + 1);
	return algorithm(j, h, e);
}

int oidc_jwt_parse(struct oidc_jwt *j, const char *text, size_t len, struct error *e)
{
	struct parts p;
	json_t *h;
	long n;
	int r = split(&p, text, len, e);

	if (r)
		return r;
	*j = (struct oidc_jwt){.signed_len = (size_t)(p.claims + p.claims_len - text)};
	h = object(p.header, p.header_len, "header is", e);
	if (!h)
		return -EINVAL;
	r = header(j, h, e);
	json_decref(h);
	if (r)
		return r;
	n = base64url_decode(j->signature, sizeof(j->signature), p.signature, p.signature_len);
	if (n <= 0)
		return error_set(e, -EINVAL, "the token's signature is damaged");
	j->signature_len = (size_t)n;
	j->claims = object(p.claims, p.claims_len, "claims are", e);
	return j->claims ? 0 : -EINVAL;
}

void oidc_jwt_clear(struct oidc_jwt *j)
{
	json_decref(j->claims);
	j->claims = NULL;
}

int oidc_read(json_t **claims, const char *token, size_t len, struct error *e)
{
	struct parts p;
	int r = split(&p, token, len, e);

	if (r)
		return r;
	*claims = object(p.claims, p.claims_len, "claims are", e);
	return *claims ? 0 : -EINVAL;
}
