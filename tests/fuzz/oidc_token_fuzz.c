/* SPDX-License-Identifier: Apache-2.0 */
/* A token, whoever sent it: its parts, its signature by a key that is known, and its claims as if that had been good. */
#include <stdlib.h>
#include <string.h>

#include "oidc/internal.h"

static const char key_set[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"two\","
			      "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
			      "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";

static char *const allow[] = {"groups=dev", "level=3"};

static void check_claims(const json_t *claims, bool demand)
{
	struct oidc_rules rules = {.issuer = "https://issuer.example.com",
				   .client_id = "culvert",
				   .nonce = demand ? "n" : NULL,
				   .nallow = demand ? ARRAY_SIZE(allow) : 0,
				   .allow = allow,
				   .allow_needed = demand};
	struct error e = {.text = ""};
	struct oidc_identity who;

	if (oidc_claims_check(claims, &rules, 1800000000, &who, &e)) {
		if (!*e.text)
			abort();
	} else if (!memchr(who.subject, 0, sizeof(who.subject)) || !*who.subject ||
		   !memchr(who.name, 0, sizeof(who.name)) || !*who.name ||
		   who.expires <= 1800000000 - OIDC_SKEW_S) {
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct oidc_keys *keys;
	struct error e = {.text = ""};
	struct oidc_jwt j = {.claims = NULL};
	char *copy =
		malloc(size ? size : 1); /* an exact copy, so that a read beyond its end is seen */

	if (!keys &&
	    (oidc_keys_parse(&keys, key_set, strlen(key_set), NULL) || oidc_keys_count(keys) != 1))
		abort();
	memcpy(copy, data, size);
	if (oidc_jwt_parse(&j, copy, size, &e)) {
		if (!*e.text || j.claims)
			abort();
	} else {
		if (oidc_keys_verify(keys, &j, copy, &e) && !*e.text)
			abort();
		check_claims(j.claims, false);
		check_claims(j.claims, true);
	}
	oidc_jwt_clear(&j);
	free(copy);
	return 0;
}
