/* SPDX-License-Identifier: Apache-2.0 */
/* The code flow with PKCE (RFC 7636): a browser goes there and comes back with a code, which is good with our verifier alone. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>

#include "base/base64.h"
#include "oidc/internal.h"

enum { RANDOM_LEN = 32 };

static int random_text(char to[static BASE64URL_LEN(RANDOM_LEN) + 1])
{
	uint8_t bytes[RANDOM_LEN];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	base64url_encode(to, bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

static int s256(char to[static BASE64URL_LEN(RANDOM_LEN) + 1], const char *verifier)
{
	uint8_t hash[RANDOM_LEN];

	if (EVP_Digest(verifier, strlen(verifier), hash, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	base64url_encode(to, hash, sizeof(hash));
	return 0;
}

char *oidc_scopes(const struct oidc *o)
{
	bool offline = o->offline && o->metadata.offline && !strstr(o->scopes, "offline_access");
	char *scopes;

	return asprintf(&scopes, "%s%s", o->scopes, offline ? " offline_access" : "") < 0 ? NULL
											  : scopes;
}

static void make_url(struct oidc_call *c)
{
	const struct oidc *o = c->o;
	const char *to = o->metadata.authorization;
	cleanup(free_ptr) char *scopes = oidc_scopes(o);
	cleanup(free_ptr) char *query = NULL;

	if (!to) {
		oidc_call_fail(c, OIDC_UNSUPPORTED, "the issuer %s has no page to log in at",
			       o->issuer);
		return;
	}
	/* Without asking the person anew no issuer need give a token that outlives the visit (OpenID Connect Core, 11). */
	if (scopes)
		query = oidc_form({"response_type", "code"}, {"client_id", o->client_id},
				  {"redirect_uri", c->redirect_uri}, {"scope", scopes},
				  {"prompt", strstr(scopes, "offline_access") ? "consent" : NULL},
				  {"state", c->state}, {"nonce", c->nonce},
				  {"code_challenge", c->challenge},
				  {"code_challenge_method", "S256"});
	if (!query || asprintf(&c->text, "%s%c%s", to, strchr(to, '?') ? '&' : '?', query) < 0) {
		c->text = NULL;
		oidc_call_fail(c, OIDC_UNREACHABLE, "no memory for a login");
	} else {
		oidc_call_end(c, 0, NULL, NULL);
	}
}

static void begin(struct oidc_call *c)
{
	oidc_need(c, OIDC_NEED_METADATA, make_url);
}

int oidc_begin(struct oidc *o, const char *redirect_uri, struct oidc_flow *flow, oidc_url *cb,
	       void *arg, struct oidc_call **cp)
{
	char challenge[BASE64URL_LEN(RANDOM_LEN) + 1];
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, begin, arg);

	if (r)
		return r;
	c->url = cb;
	if (random_text(flow->state) || random_text(flow->nonce) || random_text(flow->verifier) ||
	    s256(challenge, flow->verifier) || oidc_keep(&c->redirect_uri, redirect_uri) ||
	    oidc_keep(&c->state, flow->state) || oidc_keep(&c->nonce, flow->nonce) ||
	    oidc_keep(&c->challenge, challenge)) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	if (cp)
		*cp = c;
	return 0;
}

static void ask(struct oidc_call *c)
{
	oidc_need(c, OIDC_NEED_KEYS, oidc_ask_tokens);
}

int oidc_finish(struct oidc *o, const char *redirect_uri, const struct oidc_flow *flow,
		const char *code, oidc_got *cb, void *arg, struct oidc_call **cp)
{
	struct oidc_call *c;
	int r = oidc_call_new(&c, o, ask, arg);

	if (r)
		return r;
	c->got = cb;
	c->form = oidc_form({"grant_type", "authorization_code"}, {"code", code},
			    {"redirect_uri", redirect_uri}, {"code_verifier", flow->verifier});
	if (!c->form || oidc_keep(&c->nonce, flow->nonce)) {
		oidc_call_free(c);
		return -ENOMEM;
	}
	if (cp)
		*cp = c;
	return 0;
}
