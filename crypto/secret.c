/* SPDX-License-Identifier: Apache-2.0 */
/* What previews need beside the overlay: tags of cookies and tickets, digests of links' secrets, their text. */
#include <sodium.h>

#include "crypto/crypto.h"

_Static_assert(AUTH_TAG_LEN == crypto_auth_BYTES && KEY_LEN == crypto_auth_KEYBYTES,
	       "HMAC-SHA512-256");

void auth_tag(uint8_t tag[static AUTH_TAG_LEN], const void *data, size_t len,
	      const uint8_t key[static KEY_LEN])
{
	crypto_auth(tag, data, len, key);
}

bool auth_verify(const uint8_t tag[static AUTH_TAG_LEN], const void *data, size_t len,
		 const uint8_t key[static KEY_LEN])
{
	return crypto_auth_verify(tag, data, len, key) == 0;
}

void digest(uint8_t out[static DIGEST_LEN], const void *data, size_t len)
{
	crypto_generichash_blake2b(out, DIGEST_LEN, data, len, NULL, 0);
}

bool secret_equal(const char *a, const char *b)
{
	size_t len = strlen(a);

	return len == strlen(b) && sodium_memcmp(a, b, len) == 0;
}

void hex_encode(char *text, const void *data, size_t len)
{
	sodium_bin2hex(text, 2 * len + 1, data, len);
}
