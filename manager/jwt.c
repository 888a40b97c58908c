/* SPDX-License-Identifier: Apache-2.0 */
/* A service account's claims. */
#include "manager/jwt.h"

#include <errno.h>
#include <jansson.h>

#include "oidc/oidc.h"

static bool names(const json_t *aud, const char *audience)
{
	const json_t *item;
	size_t i;

	if (json_is_string(aud))
		return !strcmp(json_string_value(aud), audience);
	json_array_foreach(aud, i, item)
	{
		if (json_is_string(item) && !strcmp(json_string_value(item), audience))
			return true;
	}
	return false;
}

static int text(const json_t *o, const char *key, char *to, size_t size, struct error *e)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s || !*s || strlen(s) >= size)
		return error_set(e, -EINVAL, "the token has no usable '%s'", key);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

static int claims(struct jwt *j, const json_t *o, const char *audience, struct error *e)
{
	const json_t *k = json_object_get(o, "kubernetes.io");
	const json_t *exp = json_object_get(o, "exp");
	int r = text(o, "iss", j->issuer, sizeof(j->issuer), e);

	if (r == 0 && !json_is_integer(exp))
		r = error_set(e, -EINVAL, "the token has no 'exp'");
	j->expires = json_integer_value(exp);
	if (r || !audience)
		return r;
	if (!names(json_object_get(o, "aud"), audience))
		return error_set(e, -EINVAL, "the token is for another audience than '%s'",
				 audience);
	r = text(k, "namespace", j->ns, sizeof(j->ns), e);
	if (r == 0)
		r = text(json_object_get(k, "pod"), "name", j->pod, sizeof(j->pod), e);
	if (r == 0)
		r = text(json_object_get(k, "pod"), "uid", j->uid, sizeof(j->uid), e);
	return r;
}

int jwt_read(struct jwt *j, const char *token, size_t len, const char *audience, struct error *e)
{
	struct jwt out = {.expires = 0};
	json_t *o = NULL;
	int r;

	if (len > JWT_MAX)
		return error_set(e, -EINVAL, "this is no token: it is longer than %d bytes",
				 JWT_MAX);
	r = oidc_read(&o, token, len, e);
	if (r)
		return r;
	r = claims(&out, o, audience, e);
	json_decref(o);
	if (r == 0)
		*j = out;
	return r;
}
