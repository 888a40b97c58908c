/* SPDX-License-Identifier: Apache-2.0 */
/* What the ConfigMap `culvert` says about logging in, and where previews are. */
#include <errno.h>
#include <stdio.h>

#include "login/login.h"

/* An address that may be printed, and handed to a browser: a URL has no white space and no control characters. */
static bool is_url(const char *s)
{
	if (strncmp(s, "https://", 8) != 0 && strncmp(s, "http://", 7) != 0)
		return false;
	for (; *s; s++) {
		if (*s <= ' ' || *s >= 0x7f || *s == '"' || *s == '\'' || *s == '\\')
			return false;
	}
	return true;
}

static int take(char *to, size_t size, const json_t *j, const char *key, struct error *e)
{
	const json_t *v = json_object_get(j, key);
	const char *s = json_string_value(v);

	if (!v)
		return 0;
	if (!s || json_string_length(v) >= size || strlen(s) != json_string_length(v))
		return error_set(e, -EINVAL, "'%s' is no text of at most %zu characters", key,
				 size - 1);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

static int take_url(char *to, size_t size, const json_t *j, const char *key, struct error *e)
{
	int err = take(to, size, j, key, e);

	if (!err && *to && !is_url(to))
		err = error_set(e, -EINVAL, "'%s' is no URL", key);
	return err;
}

static int parse_oidc(struct login_offer *o, const json_t *j, struct error *e)
{
	int err = take_url(o->issuer, sizeof(o->issuer), j, "issuer", e);

	if (!err)
		err = take(o->client_id, sizeof(o->client_id), j, "clientId", e);
	if (!err)
		err = take(o->scopes, sizeof(o->scopes), j, "scopes", e);
	if (!err)
		err = take(o->ca, sizeof(o->ca), j, "ca", e);
	if (!err && (!*o->issuer || !*o->client_id))
		err = error_set(e, -EINVAL, "'issuer' or 'clientId' is missing");
	return err;
}

static int parse_gateway(struct login_offer *o, const json_t *j, struct error *e)
{
	int err = take_url(o->previews, sizeof(o->previews), j, "previews", e);

	return err ? err : take_url(o->dashboard, sizeof(o->dashboard), j, "dashboard", e);
}

/* A member whose text is JSON again; "" = it is not there. */
static int parse_member(struct login_offer *o, const json_t *data, const char *key,
			int (*parse)(struct login_offer *, const json_t *, struct error *),
			struct error *e)
{
	const char *text = json_string_value(json_object_get(data, key));
	json_t *j;
	int err;

	if (!text || !*text)
		return 0;
	j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	err = json_is_object(j) ? parse(o, j, e) : error_set(e, -EINVAL, "it is no object");
	json_decref(j);
	return err ? error_wrap(e, err, "the manager's '%s'", key) : 0;
}

int login_offer_parse(struct login_offer *o, const json_t *configmap, struct error *e)
{
	const json_t *data = json_object_get(configmap, "data");
	int err;

	memset(o, 0, sizeof(*o));
	err = parse_member(o, data, "oidc", parse_oidc, e);
	return err ? err : parse_member(o, data, "gateway", parse_gateway, e);
}
