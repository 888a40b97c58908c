/* SPDX-License-Identifier: Apache-2.0 */
/* The cipher by libsodium: AVX2 for ChaCha20, SSE2 for Poly1305. */
#include <assert.h>
#include <sodium.h>

#include "crypto/crypto.h"

enum {
	BLOCK = 64,
	STRIDE = 512, /* of the AVX2 code */
	HALF = 256,   /* of the SSSE3 code, and AVX2's second choice */
};

static_assert((int)NONCE_LEN == (int)crypto_stream_chacha20_ietf_NONCEBYTES, "RFC 8439");
static_assert((int)AEAD_TAIL >= HALF, "room for the rounding");
static_assert((int)TAG_LEN == (int)crypto_onetimeauth_poly1305_BYTES, "RFC 8439");

/* A single block at the end is cheaper as it is. */
static size_t cover(size_t len)
{
	return len % STRIDE <= BLOCK ? len : ROUND_UP(len, (size_t)HALF);
}

static void stream(uint8_t *out, const uint8_t *in, size_t len,
		   const uint8_t nonce[static NONCE_LEN], const uint8_t key[static KEY_LEN])
{
	crypto_stream_chacha20_ietf_xor_ic(out, in, len, nonce, 0, key);
}

static void authenticate(uint8_t tag[static TAG_LEN], const uint8_t *in, size_t len,
			 const uint8_t *end, size_t end_len, const uint8_t key[static KEY_LEN])
{
	crypto_onetimeauth_poly1305_state st;

	crypto_onetimeauth_poly1305_init(&st, key);
	crypto_onetimeauth_poly1305_update(&st, in, len);
	crypto_onetimeauth_poly1305_update(&st, end, end_len);
	crypto_onetimeauth_poly1305_final(&st, tag);
	crypto_wipe(&st, sizeof(st));
}

const struct cipher cipher_sodium = {
	.cover = cover,
	.stream = stream,
	.authenticate = authenticate,
};
