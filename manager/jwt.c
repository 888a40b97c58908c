/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a token's claims. */
#include "manager/jwt.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

/* base64url without padding (RFC 7515, 2). Bytes written, or -EINVAL. */
static long decode(uint8_t *to, size_t size, const char *from, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned n = 0;
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		const char *d = from[i] ? strchr(digits, from[i]) : NULL;

		if (!d)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(d - digits);
		n += 6;
		if (n < 8)
			continue;
		n -= 8;
		if (out == size)
			return -EINVAL;
		to[out++] = (uint8_t)(bits >> n);
	}
	return len % 4 == 1 ? -EINVAL : (long)out;
}

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
	uint8_t json[JWT_MAX];
	const char *payload = memchr(token, '.', len), *end = NULL;
	struct jwt out = {.expires = 0};
	json_t *o;
	long n;
	int r;

	if (payload && len <= JWT_MAX) {
		payload++;
		end = memchr(payload, '.', len - (size_t)(payload - token));
	}
	if (!end || memchr(end + 1, '.', len - (size_t)(end + 1 - token)))
		return error_set(e, -EINVAL, "this is no token");
	n = decode(json, sizeof(json), payload, (size_t)(end - payload));
	o = n < 0 ? NULL : json_loadb((const char *)json, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!o)
		return error_set(e, -EINVAL, "the token's claims are damaged");
	r = claims(&out, o, audience, e);
	json_decref(o);
	if (r == 0)
		*j = out;
	return r;
}
