/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cookies and tickets: base64url of a tag and the JSON text that it holds for. Nothing of a text is looked at before its tag
 * is found right, so what is parsed was written here.
 */
#include <errno.h>
#include <jansson.h>

#include "base/base64.h"
#include "gateway/bytes.h"

enum { RAW_MAX = GRANT_TEXT_MAX / 4 * 3 };

static const char *const kinds[GRANT_KINDS] = {"preview", "dashboard", "flow",
					       "enter",	  "ticket",    "confirm"};

static const struct {
	const char *key;
	size_t offset, size;
} texts[] = {
#define TEXT(member)                                                                               \
	{                                                                                          \
#member, offsetof(struct grant, member), sizeof(((struct grant *)NULL)->member)    \
	}
	TEXT(id),   TEXT(share), TEXT(user),  TEXT(login), TEXT(name),	   TEXT(bind),
	TEXT(once), TEXT(path),	 TEXT(state), TEXT(nonce), TEXT(verifier),
#undef TEXT
};

static json_t *to_json(const struct grant *g)
{
	json_t *o = json_pack("{s:s,s:I}", "for", kinds[g->kind], "until", (json_int_t)g->expires);

	for (size_t i = 0; o && i < ARRAY_SIZE(texts); i++) {
		const char *text = (const char *)g + texts[i].offset;

		if (*text)
			json_object_set_new(o, texts[i].key, json_string(text));
	}
	if (o && g->cluster)
		json_object_set_new(o, "cluster", json_true());
	return o;
}

int grant_seal(const struct grant *g, const uint8_t key[static KEY_LEN],
	       char text[static GRANT_TEXT_MAX + 1])
{
	json_t *o = to_json(g);
	uint8_t raw[RAW_MAX];
	char *json = (char *)raw + AUTH_TAG_LEN;
	size_t len = o ? json_dumpb(o, json, RAW_MAX - AUTH_TAG_LEN, JSON_COMPACT) : 0;

	json_decref(o);
	if (!len || len > RAW_MAX - AUTH_TAG_LEN)
		return -EMSGSIZE;
	auth_tag(raw, json, len, key);
	base64url_encode(text, raw, AUTH_TAG_LEN + len);
	return (int)strlen(text);
}

static int from_json(struct grant *g, enum grant_kind kind, json_t *o)
{
	const char *what = json_string_value(json_object_get(o, "for"));

	if (!what || strcmp(what, kinds[kind]))
		return -EACCES;
	*g = (struct grant){
		.kind = kind,
		.expires = json_integer_value(json_object_get(o, "until")),
		.cluster = json_is_true(json_object_get(o, "cluster")),
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *s = json_string_value(json_object_get(o, texts[i].key));

		if (s && strlen(s) >= texts[i].size)
			return -EACCES;
		if (s)
			memcpy((char *)g + texts[i].offset, s, strlen(s) + 1);
	}
	return 0;
}

int grant_open(struct grant *g, enum grant_kind kind, const char *text, size_t len, int64_t now,
	       const uint8_t key[static KEY_LEN])
{
	uint8_t raw[RAW_MAX];
	ssize_t n = base64url_decode(raw, sizeof(raw), text, len);
	size_t json_len;
	json_t *o;
	int r;

	if (n <= AUTH_TAG_LEN)
		return -EACCES;
	json_len = (size_t)n - AUTH_TAG_LEN;
	if (!auth_verify(raw, raw + AUTH_TAG_LEN, json_len, key))
		return -EACCES;
	o = json_loadb((const char *)raw + AUTH_TAG_LEN, json_len, 0, NULL);
	r = o ? from_json(g, kind, o) : -EACCES;
	json_decref(o);
	return r == 0 && g->expires <= now ? -EACCES : r;
}

void secret_make(char text[static SECRET_TEXT + 1])
{
	uint8_t bytes[32];

	crypto_random(bytes, sizeof(bytes));
	base64url_encode(text, bytes, sizeof(bytes));
}

void secret_digest(const char *secret, char text[static SECRET_TEXT + 1])
{
	uint8_t bytes[DIGEST_LEN];

	digest(bytes, secret, strlen(secret));
	base64url_encode(text, bytes, sizeof(bytes));
}

bool share_hash(struct http_text secret, char hash[static HASH_TEXT + 1])
{
	uint8_t bytes[DIGEST_LEN];

	if (secret.len != SECRET_TEXT)
		return false;
	digest(bytes, secret.p, secret.len);
	hex_encode(hash, bytes, sizeof(bytes));
	return true;
}
