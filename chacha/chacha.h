/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chacha: crypto/'s cipher by the assembler inside OpenSSL, without OpenSSL: ChaCha20, Poly1305 and what they need are
 * 36 KB out of the archive libcrypto.a (cmake/Culvert.cmake takes them). They know what newer processors have (AVX-512),
 * which libsodium does not, and cost a packet two thirds of libsodium's time; through EVP they cost a tenth more, and in
 * a static program 3 MB.
 */
#pragma once

#include "crypto/crypto.h"

/* NULL: this build has no libcrypto.a, or one that does something else. */
const struct cipher *cipher_chacha(void);
