/* SPDX-License-Identifier: Apache-2.0 */
/* The Noise handshake on libsodium. Names follow the Noise specification, section 5. */
#include <assert.h>
#include <errno.h>
#include <sodium.h>

#include "crypto/noise.h"

static const char protocol_name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b";
static_assert(sizeof(protocol_name) - 1 <= HASH_LEN, "else h would be its hash, not its padding");

enum { HMAC_BLOCK_LEN = 128 }; /* BLAKE2b's */

/* RFC 2104 over BLAKE2b-512. libsodium has HMAC only over SHA-2. */
static void hmac(uint8_t out[static HASH_LEN], const uint8_t key[static HASH_LEN], const void *a,
		 size_t alen, const void *b, size_t blen)
{
	crypto_generichash_blake2b_state st;
	uint8_t pad[HMAC_BLOCK_LEN];
	uint8_t inner[HASH_LEN];

	memset(pad, 0x36, sizeof(pad));
	for (size_t i = 0; i < HASH_LEN; i++)
		pad[i] ^= key[i];
	crypto_generichash_blake2b_init(&st, NULL, 0, HASH_LEN);
	crypto_generichash_blake2b_update(&st, pad, sizeof(pad));
	crypto_generichash_blake2b_update(&st, a, alen);
	crypto_generichash_blake2b_update(&st, b, blen);
	crypto_generichash_blake2b_final(&st, inner, HASH_LEN);

	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	crypto_generichash_blake2b_init(&st, NULL, 0, HASH_LEN);
	crypto_generichash_blake2b_update(&st, pad, sizeof(pad));
	crypto_generichash_blake2b_update(&st, inner, HASH_LEN);
	crypto_generichash_blake2b_final(&st, out, HASH_LEN);

	crypto_wipe(&st, sizeof(st));
	crypto_wipe(pad, sizeof(pad));
	crypto_wipe(inner, sizeof(inner));
}

/* Noise 4.3: two or three outputs (`third` may be NULL); `first` may be `ck` itself. */
static void hkdf(uint8_t first[static HASH_LEN], uint8_t second[static HASH_LEN], uint8_t *third,
		 const uint8_t ck[static HASH_LEN], const void *ikm, size_t len)
{
	uint8_t temp[HASH_LEN];

	hmac(temp, ck, ikm, len, NULL, 0);
	hmac(first, temp, "\x01", 1, NULL, 0);
	hmac(second, temp, first, HASH_LEN, "\x02", 1);
	if (third)
		hmac(third, temp, second, HASH_LEN, "\x03", 1);
	crypto_wipe(temp, sizeof(temp));
}

void noise_mix_hash(struct noise *n, const void *data, size_t len)
{
	crypto_generichash_blake2b_state st;

	crypto_generichash_blake2b_init(&st, NULL, 0, HASH_LEN);
	crypto_generichash_blake2b_update(&st, n->hash, HASH_LEN);
	crypto_generichash_blake2b_update(&st, data, len);
	crypto_generichash_blake2b_final(&st, n->hash, HASH_LEN);
	crypto_wipe(&st, sizeof(st));
}

void noise_mix_key(struct noise *n, const void *ikm, size_t len)
{
	uint8_t key[HASH_LEN];

	hkdf(n->chaining, key, NULL, n->chaining, ikm, len);
	memcpy(n->key, key, KEY_LEN);
	crypto_wipe(key, sizeof(key));
}

void noise_mix_key_and_hash(struct noise *n, const uint8_t psk[static KEY_LEN])
{
	uint8_t temp[HASH_LEN], key[HASH_LEN];

	hkdf(n->chaining, temp, key, n->chaining, psk, KEY_LEN);
	noise_mix_hash(n, temp, HASH_LEN);
	memcpy(n->key, key, KEY_LEN);
	crypto_wipe(temp, sizeof(temp));
	crypto_wipe(key, sizeof(key));
}

int noise_mix_dh(struct noise *n, const uint8_t priv[static KEY_LEN],
		 const uint8_t pub[static KEY_LEN])
{
	uint8_t shared[KEY_LEN];
	int ret = -EINVAL;

	/* libsodium refuses points of low order and an all-zero result. */
	if (crypto_scalarmult_curve25519(shared, priv, pub))
		goto out;
	noise_mix_key(n, shared, sizeof(shared));
	ret = 0;
out:
	crypto_wipe(shared, sizeof(shared));
	return ret;
}

static const uint8_t nonce_zero[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

void noise_encrypt_and_hash(struct noise *n, uint8_t *out, const void *in, size_t len)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, n->hash, HASH_LEN, NULL,
						  nonce_zero, n->key);
	noise_mix_hash(n, out, len + TAG_LEN);
}

int noise_decrypt_and_hash(struct noise *n, void *out, const uint8_t *in, size_t len)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len + TAG_LEN, n->hash,
						      HASH_LEN, nonce_zero, n->key))
		return -EBADMSG;
	noise_mix_hash(n, in, len + TAG_LEN);
	return 0;
}

void noise_split(const struct noise *n, struct transport_keys *keys, bool initiator)
{
	uint8_t one[HASH_LEN], two[HASH_LEN];

	hkdf(one, two, NULL, n->chaining, NULL, 0);
	memcpy(initiator ? keys->send : keys->receive, one, KEY_LEN);
	memcpy(initiator ? keys->receive : keys->send, two, KEY_LEN);
	crypto_wipe(one, sizeof(one));
	crypto_wipe(two, sizeof(two));
}

void noise_begin(struct noise *n, const void *prologue, size_t len,
		 const uint8_t responder[static KEY_LEN])
{
	memset(n, 0, sizeof(*n));
	memcpy(n->hash, protocol_name, sizeof(protocol_name) - 1);
	memcpy(n->chaining, n->hash, HASH_LEN);
	noise_mix_hash(n, prologue, len);
	noise_mix_hash(n, responder, KEY_LEN);
}

/* Token e. Patterns with a psk mix the ephemeral into the key too (Noise 9.2). */
static void mix_ephemeral(struct noise *n, const uint8_t pub[static KEY_LEN])
{
	noise_mix_hash(n, pub, KEY_LEN);
	noise_mix_key(n, pub, KEY_LEN);
}

int noise_write_1(struct noise *n, uint8_t *msg, const struct identity *self,
		  const uint8_t ephemeral[static KEY_LEN], const uint8_t remote[static KEY_LEN],
		  const void *payload, size_t len)
{
	uint8_t *e = msg, *s = e + KEY_LEN, *p = s + NOISE_STATIC_LEN;

	crypto_scalarmult_curve25519_base(e, ephemeral);
	mix_ephemeral(n, e);
	if (noise_mix_dh(n, ephemeral, remote)) /* es */
		return -EINVAL;
	noise_encrypt_and_hash(n, s, self->pub, KEY_LEN);
	if (noise_mix_dh(n, self->priv, remote)) /* ss */
		return -EINVAL;
	noise_encrypt_and_hash(n, p, payload, len);
	return 0;
}

int noise_read_1(struct noise *n, const uint8_t *msg, const struct identity *self,
		 uint8_t remote_ephemeral[static KEY_LEN], uint8_t remote_static[static KEY_LEN],
		 void *payload, size_t len)
{
	const uint8_t *e = msg, *s = e + KEY_LEN, *p = s + NOISE_STATIC_LEN;

	memcpy(remote_ephemeral, e, KEY_LEN);
	mix_ephemeral(n, e);
	if (noise_mix_dh(n, self->priv, e)) /* es */
		return -EBADMSG;
	if (noise_decrypt_and_hash(n, remote_static, s, KEY_LEN))
		return -EBADMSG;
	if (noise_mix_dh(n, self->priv, remote_static)) /* ss */
		return -EBADMSG;
	return noise_decrypt_and_hash(n, payload, p, len);
}

int noise_write_2(struct noise *n, uint8_t *msg, const uint8_t ephemeral[static KEY_LEN],
		  const uint8_t remote_ephemeral[static KEY_LEN],
		  const uint8_t remote_static[static KEY_LEN], const uint8_t psk[static KEY_LEN],
		  const void *payload, size_t len)
{
	crypto_scalarmult_curve25519_base(msg, ephemeral);
	mix_ephemeral(n, msg);
	if (noise_mix_dh(n, ephemeral, remote_ephemeral)) /* ee */
		return -EINVAL;
	if (noise_mix_dh(n, ephemeral, remote_static)) /* se */
		return -EINVAL;
	noise_mix_key_and_hash(n, psk);
	noise_encrypt_and_hash(n, msg + KEY_LEN, payload, len);
	return 0;
}

int noise_read_2(struct noise *n, const uint8_t *msg, const struct identity *self,
		 const uint8_t ephemeral[static KEY_LEN], const uint8_t psk[static KEY_LEN],
		 void *payload, size_t len)
{
	mix_ephemeral(n, msg);
	if (noise_mix_dh(n, ephemeral, msg)) /* ee */
		return -EBADMSG;
	if (noise_mix_dh(n, self->priv, msg)) /* se */
		return -EBADMSG;
	noise_mix_key_and_hash(n, psk);
	return noise_decrypt_and_hash(n, payload, msg + KEY_LEN, len);
}
