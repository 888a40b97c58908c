/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evp: crypto/'s cipher by OpenSSL, for programs that are linked with it in any case, where chacha/ could not be built. It knows what
 * newer processors have (AVX-512 for ChaCha20, AVX2 for Poly1305), which libsodium does not: a
 * packet takes four fifths of the time.
 */
#pragma once

#include "crypto/crypto.h"

/* One thread at a time. -ENOMEM; -ENOSYS: this OpenSSL is configured not to have the algorithms; take cipher_sodium
 * then. */
int evp_cipher_new(struct cipher **cp);
void evp_cipher_free(struct cipher *c); /* NULL ok; wipes */
