/* SPDX-License-Identifier: Apache-2.0 */
/*
 * These functions are internal to libcrypto: they have been the same from 1.1.0 to 3.5, but nobody has promised it. So before
 * they are used they have to agree with libsodium.
 */
#include "chacha/chacha.h"

#ifdef CULVERT_LIBCRYPTO

enum { BLOCK = 64, STATE_MAX = 512, WORDS = KEY_LEN / 4 };

/* include/crypto/chacha.h and poly1305.h of OpenSSL. Its POLY1305 is for us some memory. */
void ChaCha20_ctr32(unsigned char *out, const unsigned char *in, size_t len,
		    const unsigned int key[8], const unsigned int counter[4]);
size_t Poly1305_ctx_size(void);
void Poly1305_Init(void *state, const unsigned char key[32]);
void Poly1305_Update(void *state, const unsigned char *in, size_t len);
void Poly1305_Final(void *state, unsigned char tag[16]);

static size_t cover(size_t len)
{
	return ROUND_UP(len, (size_t)BLOCK);
}

static void stream(uint8_t *out, const uint8_t *in, size_t len,
		   const uint8_t nonce[static NONCE_LEN], const uint8_t key[static KEY_LEN])
{
	uint32_t counter[4] = {0}, k[WORDS];

	for (unsigned i = 0; i < WORDS; i++)
		k[i] = get_le32(key + (size_t)i * 4);
	for (unsigned i = 0; i < 3; i++)
		counter[i + 1] = get_le32(nonce + (size_t)i * 4);
	ChaCha20_ctr32(out, in, len, k, counter);
	crypto_wipe(k, sizeof(k));
}

/* Poly1305_Final() wipes the state. */
static void authenticate(uint8_t tag[static TAG_LEN], const uint8_t *in, size_t len,
			 const uint8_t *end, size_t end_len, const uint8_t key[static KEY_LEN])
{
	_Alignas(64) uint8_t state[STATE_MAX];

	Poly1305_Init(state, key);
	Poly1305_Update(state, in, len);
	if (end_len)
		Poly1305_Update(state, end, end_len);
	Poly1305_Final(state, tag);
}

static const struct cipher cipher = {
	.cover = cover,
	.stream = stream,
	.authenticate = authenticate,
};

/* One packet of each length at which the routines choose another way. */
static bool agrees(void)
{
	enum { MOST = 2112, AROUND = AEAD_HEAD + TAG_LEN + AEAD_TAIL };
	static const uint16_t lengths[] = {0, 1, 100, 200, 500, 700, 1000, 1420, MOST};
	static uint8_t in[MOST + AROUND], out[MOST + AROUND], back[MOST + AROUND];
	uint8_t key[KEY_LEN];

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(key, in, KEY_LEN);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t len = lengths[i];

		aead_seal(&cipher, out + AEAD_HEAD, in + AEAD_HEAD, len, i, key);
		if (aead_open(&cipher_sodium, back + AEAD_HEAD, out + AEAD_HEAD, len + TAG_LEN, i,
			      key) ||
		    memcmp(back + AEAD_HEAD, in + AEAD_HEAD, len) != 0)
			return false;
	}
	return true;
}

const struct cipher *cipher_chacha(void)
{
	return Poly1305_ctx_size() <= STATE_MAX && agrees() ? &cipher : NULL;
}

#else

const struct cipher *cipher_chacha(void)
{
	return NULL;
}

#endif
