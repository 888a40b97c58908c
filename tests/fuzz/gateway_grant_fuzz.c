/* SPDX-License-Identifier: Apache-2.0 */
/* gateway: cookies and tickets as a visitor sends them. None that we did not make is taken; what is behind a right tag, whatever it is, is
 * read within bounds. */
#include <stdlib.h>

#include "base/base64.h"
#include "gateway/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[KEY_LEN] = "key";
	uint8_t raw[AUTH_TAG_LEN + 2048];
	char text[BASE64URL_LEN(sizeof(raw)) + 1];
	struct grant g;

	for (unsigned kind = 0; kind < GRANT_KINDS; kind++) {
		if (grant_open(&g, kind, (const char *)data, size, 0, key) == 0)
			abort();
	}
	size = MIN(size, (size_t)2048);
	memcpy(raw + AUTH_TAG_LEN, data, size);
	auth_tag(raw, data, size, key);
	base64url_encode(text, raw, AUTH_TAG_LEN + size);
	for (unsigned kind = 0; kind < GRANT_KINDS; kind++) {
		if (grant_open(&g, kind, text, strlen(text), 0, key) == 0 &&
		    (g.kind != kind || g.expires <= 0 || strlen(g.id) > ID_LEN ||
		     strlen(g.path) > PATH_KEEP_MAX))
			abort();
	}
	return 0;
}
