/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing by OpenSSL. */
#include "aead_checks.h"
#include "evp/evp.h"

/* A key that it was made to forget is a key like any other when it comes again. */
static int forgets_wrongly(const struct cipher *c)
{
	enum { LEN = 100, ROOM = AEAD_HEAD + LEN + TAG_LEN + AEAD_TAIL };
	static const uint8_t key[KEY_LEN] = {1, 2, 3};
	static uint8_t in[ROOM], out[2][ROOM];

	for (int i = 0; i < 2; i++) {
		aead_seal(c, out[i] + AEAD_HEAD, in + AEAD_HEAD, LEN, 7, key);
		c->forget(c);
	}
	return memcmp(out[0] + AEAD_HEAD, out[1] + AEAD_HEAD, LEN + TAG_LEN) != 0;
}

int main(void)
{
	struct cipher *c = NULL;
	int failed;

	if (crypto_init() || evp_cipher_new(&c))
		return 1;
	failed = check_cipher(c);
	failed += forgets_wrongly(c);
	evp_cipher_free(c);
	evp_cipher_free(NULL);
	return failed;
}
