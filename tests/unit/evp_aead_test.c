/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing by OpenSSL. */
#include "aead_checks.h"
#include "evp/evp.h"

int main(void)
{
	struct cipher *c = NULL;
	int failed;

	if (crypto_init() || evp_cipher_new(&c))
		return 1;
	failed = check_cipher(c);
	evp_cipher_free(c);
	evp_cipher_free(NULL);
	return failed;
}
