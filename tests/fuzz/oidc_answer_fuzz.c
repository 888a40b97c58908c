/* SPDX-License-Identifier: Apache-2.0 */
/* What an issuer answers. The first byte chooses: its configuration, its keys, or a refusal. */
#include <stdlib.h>
#include <string.h>

#include "oidc/internal.h"

static void keys(const char *text, size_t len)
{
	struct oidc_keys *k = NULL;
	struct error e = {.text = ""};

	if (oidc_keys_parse(&k, text, len, &e)) {
		if (!*e.text || k)
			abort();
	} else if (oidc_keys_count(k) > OIDC_KEYS) {
		abort();
	}
	oidc_keys_free(k);
}

static void metadata(const char *text, size_t len)
{
	struct oidc_metadata m = {.token = NULL};
	struct error e = {.text = ""};

	if (oidc_metadata_parse(&m, "https://issuer.example.com", text, len, &e)) {
		if (!*e.text || m.token || m.jwks)
			abort();
	} else if (strncmp(m.token, "https://", 8) != 0 || strncmp(m.jwks, "https://", 8) != 0) {
		abort();
	}
	oidc_metadata_clear(&m);
}

static void refusal(const char *text, size_t len)
{
	struct oidc_refusal r;

	oidc_refusal_parse(&r, text, len);
	for (const char *p = r.text; *p; p++) {
		if (*p < ' ' || *p > '~')
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy;

	if (size < 1)
		return 0;
	copy = malloc(size); /* an exact copy, so that a read beyond its end is seen */
	memcpy(copy, data + 1, size - 1);
	if (*data == 'k')
		keys(copy, size - 1);
	else if (*data == 'm')
		metadata(copy, size - 1);
	else
		refusal(copy, size - 1);
	free(copy);
	return 0;
}
