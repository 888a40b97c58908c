/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing by libsodium. */
#include "aead_checks.h"

int main(void)
{
	return crypto_init() ? 1 : check_cipher(&cipher_sodium);
}
