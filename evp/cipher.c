/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20 and Poly1305 one beside the other. EVP's own ChaCha20-Poly1305 is slower than libsodium
 * at packet size: it makes block 0 in a call of its own and falls out of the vector code at the
 * end, which crypto/aead.c avoids.
 *
 * None of these calls fails on what it is given here; if one does all the same, OpenSSL is not what
 * it was when the algorithms were found. To go on would be to send what nobody has encrypted.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/pkt.h"
#include "evp/evp.h"

enum { BLOCK = 64, IV_LEN = 16 /* the first block's number, 32 bits, then the nonce */ };

struct evp_cipher {
	struct cipher c;
	EVP_CIPHER_CTX *chacha20;
	EVP_MAC_CTX *poly1305;
	uint8_t key[KEY_LEN]; /* that chacha20 has */
};

/* None of ours is const. */
static struct evp_cipher *self(const struct cipher *c)
{
	return container_of(c, struct evp_cipher, c);
}

static size_t cover(size_t len)
{
	return ROUND_UP(len, (size_t)BLOCK);
}

static void must(int ok)
{
	if (unlikely(ok != 1))
		abort();
}

/* What memcmp() would tell by its time, this does not. */
static bool keys_equal(const uint8_t a[static KEY_LEN], const uint8_t b[static KEY_LEN])
{
	uint64_t x[KEY_LEN / 8], y[KEY_LEN / 8], differ = 0;

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* Packets come in bursts under one key, and setting it costs EVP as much as a block of the stream. */
static const uint8_t *new_key(struct evp_cipher *e, const uint8_t key[static KEY_LEN])
{
	if (likely(keys_equal(e->key, key)))
		return NULL;
	memcpy(e->key, key, KEY_LEN);
	return key;
}

static void stream(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len,
		   const uint8_t nonce[static NONCE_LEN], const uint8_t key[static KEY_LEN])
{
	struct evp_cipher *e = self(c);
	uint8_t iv[IV_LEN] = {0};
	int n = 0;

	memcpy(iv + IV_LEN - NONCE_LEN, nonce, NONCE_LEN);
	must(EVP_EncryptInit_ex2(e->chacha20, NULL, new_key(e, key), iv, NULL));
	must(EVP_EncryptUpdate(e->chacha20, out, &n, in, (int)len));
	must((size_t)n == len);
}

static void authenticate(const struct cipher *c, uint8_t tag[static TAG_LEN], const uint8_t *in,
			 size_t len, const uint8_t *end, size_t end_len,
			 const uint8_t key[static KEY_LEN])
{
	EVP_MAC_CTX *ctx = self(c)->poly1305;
	size_t n = 0;

	must(EVP_MAC_init(ctx, key, KEY_LEN, NULL));
	must(EVP_MAC_update(ctx, in, len));
	if (end_len)
		must(EVP_MAC_update(ctx, end, end_len));
	must(EVP_MAC_final(ctx, tag, &n, TAG_LEN));
	must(n == TAG_LEN);
}

static void forget(const struct cipher *c)
{
	static const uint8_t none[KEY_LEN];

	must(EVP_EncryptInit_ex2(self(c)->chacha20, NULL, none, NULL, NULL));
	must(EVP_MAC_init(self(c)->poly1305, none, KEY_LEN, NULL));
	crypto_wipe(self(c)->key, KEY_LEN);
}

static void free_evp(struct evp_cipher **e)
{
	if (*e)
		evp_cipher_free(&(*e)->c);
}

int evp_cipher_new(struct cipher **cp)
{
	static const uint8_t iv[IV_LEN];
	cleanup(free_evp) struct evp_cipher *e = calloc(1, sizeof(*e));
	EVP_CIPHER *chacha20 = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	EVP_MAC *poly1305 = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	bool found = chacha20 && poly1305, ready = false;

	if (e && found) {
		e->c = (struct cipher){.cover = cover,
				       .stream = stream,
				       .authenticate = authenticate,
				       .forget = forget};
		e->chacha20 = EVP_CIPHER_CTX_new();
		e->poly1305 = EVP_MAC_CTX_new(poly1305);
		ready = e->chacha20 && e->poly1305 &&
			EVP_EncryptInit_ex2(e->chacha20, chacha20, e->key, iv, NULL) == 1;
	}
	/* The contexts have references of their own. */
	EVP_CIPHER_free(chacha20);
	EVP_MAC_free(poly1305);
	if (!ready)
		return found ? -ENOMEM : -ENOSYS;
	*cp = &steal_ptr(e)->c;
	return 0;
}

void evp_cipher_free(struct cipher *c)
{
	struct evp_cipher *e;

	if (!c)
		return;
	e = self(c);
	EVP_CIPHER_CTX_free(e->chacha20);
	EVP_MAC_CTX_free(e->poly1305);
	crypto_wipe(e, sizeof(*e));
	free(e);
}
