/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20-Poly1305 (RFC 8439, no additional data) in one pass over the packet.
 *
 * libsodium's one-shot function loses a quarter of its time at packet size to partial blocks: it
 * makes block 0, for the Poly1305 key, in a call of its own, and its vector code works on 512 or
 * 256 bytes at a time, so the rest of a packet goes block by block through slower code. Here one
 * call covers block 0 and the packet, rounded up to what the vector code likes. Block 0 falls on
 * the 64 bytes before the packet, whatever they hold: key stream = in ^ out. That costs the caller
 * the room that crypto.h asks for.
 */
#include <assert.h>
#include <errno.h>
#include <sodium.h>

#include "crypto/crypto.h"

enum {
	BLOCK = 64,    /* of ChaCha20 */
	STRIDE = 512,  /* of libsodium's AVX2 code */
	HALF = 256,    /* of its SSSE3 code, and AVX2's second choice */
	POLY_PAD = 16, /* Poly1305 works on these */
};

static_assert((int)AEAD_HEAD == BLOCK, "room for block 0");
static_assert((int)AEAD_TAIL >= STRIDE, "room for the rounding");
static_assert(AEAD_TAIL + TAG_LEN >= POLY_PAD + 16, "room for padding and lengths");

/* How much to run through the cipher for `len` bytes: a single block at the end is cheaper as it
 * is. */
static size_t cover(size_t len)
{
	return len % STRIDE <= BLOCK ? len : ROUND_UP(len, (size_t)HALF);
}

/* out = in ^ key stream from block 1 on, and the one-time key from block 0. */
static void stream(uint8_t *out, const uint8_t *in, size_t len, uint64_t counter,
		   const uint8_t key[static KEY_LEN], uint8_t poly[static KEY_LEN])
{
	uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = {0};
	uint8_t saved[BLOCK];

	put_le64(nonce + 4, counter);
	memcpy(saved, out - BLOCK, BLOCK);
	crypto_stream_chacha20_ietf_xor_ic(out - BLOCK, in - BLOCK, cover(BLOCK + len), nonce, 0,
					   key);
	for (size_t i = 0; i < KEY_LEN; i++)
		poly[i] = (in - BLOCK)[i] ^ (out - BLOCK)[i];
	memcpy(out - BLOCK, saved, BLOCK);
}

void aead_seal(uint8_t *out, const uint8_t *in, size_t len, uint64_t counter,
	       const uint8_t key[static KEY_LEN])
{
	uint8_t poly[KEY_LEN], tag[TAG_LEN];
	size_t padded = ROUND_UP(len, (size_t)POLY_PAD);

	stream(out, in, len, counter, key, poly);
	/* Padding and lengths are laid into the slack, so that one call authenticates it all. */
	memset(out + len, 0, padded - len);
	put_le64(out + padded, 0);
	put_le64(out + padded + 8, len);
	crypto_onetimeauth_poly1305(tag, out, padded + 16, poly);
	memcpy(out + len, tag, TAG_LEN);
	crypto_wipe(poly, sizeof(poly));
}

/* The tag over a ciphertext that we may not write to. */
static void authenticate(uint8_t tag[static TAG_LEN], const uint8_t *in, size_t len,
			 const uint8_t poly[static KEY_LEN])
{
	crypto_onetimeauth_poly1305_state st;
	uint8_t end[POLY_PAD + 16] = {0};
	size_t pad = ROUND_UP(len, (size_t)POLY_PAD) - len;

	put_le64(end + pad + 8, len);
	crypto_onetimeauth_poly1305_init(&st, poly);
	crypto_onetimeauth_poly1305_update(&st, in, len);
	crypto_onetimeauth_poly1305_update(&st, end, pad + 16);
	crypto_onetimeauth_poly1305_final(&st, tag);
	crypto_wipe(&st, sizeof(st));
}

int aead_open(uint8_t *out, const uint8_t *in, size_t len, uint64_t counter,
	      const uint8_t key[static KEY_LEN])
{
	uint8_t poly[KEY_LEN], tag[TAG_LEN];
	int ret = 0;

	if (len < TAG_LEN)
		return -EBADMSG;
	len -= TAG_LEN;
	stream(out, in, len, counter, key, poly);
	authenticate(tag, in, len, poly);
	if (sodium_memcmp(tag, in + len, TAG_LEN)) {
		crypto_wipe(out, len);
		ret = -EBADMSG;
	}
	crypto_wipe(poly, sizeof(poly));
	crypto_wipe(tag, sizeof(tag));
	return ret;
}
