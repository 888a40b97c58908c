/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20-Poly1305 (RFC 8439, no additional data) in one pass over the packet.
 *
 * A library's one-shot function loses a quarter of its time or more at packet size: it makes block
 * 0, for the Poly1305 key, in a call of its own, and its vector code works on many blocks at a
 * time, so the rest of a packet goes block by block through slower code. Here one call covers block
 * 0 and the packet, rounded up to what the vector code likes. Block 0 falls on the 64 bytes before
 * the packet, whatever they hold: key stream = in ^ out. That costs the caller the room that
 * crypto.h asks for.
 */
#include <assert.h>
#include <errno.h>
#include <sodium.h>

#include "crypto/crypto.h"

enum {
	BLOCK = 64,    /* of ChaCha20 */
	POLY_PAD = 16, /* Poly1305 works on these */
	LENGTHS = 16,  /* what is authenticated last: two 64-bit numbers */
};

static_assert((int)AEAD_HEAD == BLOCK, "room for block 0");
static_assert(AEAD_TAIL + TAG_LEN >= POLY_PAD + LENGTHS, "room for padding and lengths");

/* out = in ^ key stream from block 1 on, and the one-time key from block 0. */
static void stream(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len,
		   uint64_t counter, const uint8_t key[static KEY_LEN],
		   uint8_t poly[static KEY_LEN])
{
	uint8_t nonce[NONCE_LEN] = {0};
	uint8_t saved[BLOCK];

	put_le64(nonce + 4, counter);
	memcpy(saved, out - BLOCK, BLOCK);
	c->stream(out - BLOCK, in - BLOCK, c->cover(BLOCK + len), nonce, key);
	for (size_t i = 0; i < KEY_LEN; i++)
		poly[i] = (in - BLOCK)[i] ^ (out - BLOCK)[i];
	memcpy(out - BLOCK, saved, BLOCK);
}

void aead_seal(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len,
	       uint64_t counter, const uint8_t key[static KEY_LEN])
{
	uint8_t poly[KEY_LEN], tag[TAG_LEN];
	size_t padded = ROUND_UP(len, (size_t)POLY_PAD);

	stream(c, out, in, len, counter, key, poly);
	/* Padding and lengths are laid into the slack, so that one call authenticates it all. */
	memset(out + len, 0, padded - len);
	put_le64(out + padded, 0);
	put_le64(out + padded + 8, len);
	c->authenticate(tag, out, padded + LENGTHS, NULL, 0, poly);
	memcpy(out + len, tag, TAG_LEN);
	crypto_wipe(poly, sizeof(poly));
}

int aead_open(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len, uint64_t counter,
	      const uint8_t key[static KEY_LEN])
{
	uint8_t poly[KEY_LEN], tag[TAG_LEN], end[POLY_PAD + LENGTHS] = {0};
	size_t pad;
	int ret = 0;

	if (len < TAG_LEN)
		return -EBADMSG;
	len -= TAG_LEN;
	stream(c, out, in, len, counter, key, poly);
	/* The ciphertext is not ours to write to: what is authenticated after it comes from here. */
	pad = ROUND_UP(len, (size_t)POLY_PAD) - len;
	put_le64(end + pad + 8, len);
	c->authenticate(tag, in, len, end, pad + LENGTHS, poly);
	if (sodium_memcmp(tag, in + len, TAG_LEN)) {
		crypto_wipe(out, len);
		ret = -EBADMSG;
	}
	crypto_wipe(poly, sizeof(poly));
	crypto_wipe(tag, sizeof(tag));
	return ret;
}
