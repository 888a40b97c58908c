/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing by the assembler out of libcrypto.a. */
#include "aead_checks.h"
#include "chacha/chacha.h"

int main(void)
{
	const struct cipher *c;

	if (crypto_init())
		return 1;
	c = cipher_chacha();
#ifndef CULVERT_LIBCRYPTO
	return c != NULL; /* nothing to test */
#endif
	return c ? check_cipher(c) : 1;
}
