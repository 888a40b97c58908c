/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b (Noise rev. 34): the symmetric state and the two messages.
 *
 * Knows nothing of our wire: no type, index, MAC or timestamp. handshake.c lays these around it,
 * and the published test vector runs on exactly these functions, which is why the prologue and the
 * ephemeral key come in as parameters.
 *
 * Every key of this pattern encrypts once, with nonce 0, so the state holds no nonce.
 */
#pragma once

#include "crypto/crypto.h"

struct noise {
	uint8_t hash[HASH_LEN];	    /* h */
	uint8_t chaining[HASH_LEN]; /* ck */
	uint8_t key[KEY_LEN];	    /* k */
};

/* Lengths of the two messages around their payloads. */
enum {
	NOISE_STATIC_LEN = KEY_LEN + TAG_LEN,
	NOISE_OVERHEAD_1 = KEY_LEN + NOISE_STATIC_LEN + TAG_LEN, /* e, s, tag of the payload */
	NOISE_OVERHEAD_2 = KEY_LEN + TAG_LEN,			 /* e, tag of the payload */
};

/* --- symmetric state (Noise 5.2) -------------------------------------------------------------- */

void noise_mix_hash(struct noise *n, const void *data, size_t len);
void noise_mix_key(struct noise *n, const void *ikm, size_t len);
void noise_mix_key_and_hash(struct noise *n, const uint8_t psk[static KEY_LEN]);
/* MixKey(DH(priv, pub)); -EINVAL if pub is of low order. */
int noise_mix_dh(struct noise *n, const uint8_t priv[static KEY_LEN],
		 const uint8_t pub[static KEY_LEN]);
/* Writes len + TAG_LEN bytes. */
void noise_encrypt_and_hash(struct noise *n, uint8_t *out, const void *in, size_t len);
/* Reads len + TAG_LEN bytes, writes len; -EBADMSG. */
int noise_decrypt_and_hash(struct noise *n, void *out, const uint8_t *in, size_t len);
void noise_split(const struct noise *n, struct transport_keys *keys, bool initiator);

/* --- the pattern: <- s ... -> e, es, s, ss  <- e, ee, se, psk --------------------------------- */

/* Initialises for a handshake to the node whose static key is `responder`. */
void noise_begin(struct noise *n, const void *prologue, size_t len,
		 const uint8_t responder[static KEY_LEN]);

/* Each writes or reads payload length + NOISE_OVERHEAD_x bytes at `msg`; `len` is the payload's.
 * Result 0; -EINVAL writing to, -EBADMSG reading from a key of low order or a wrong tag. On error
 * `n` and the outputs hold nothing of use. `ephemeral` is our private key. */
int noise_write_1(struct noise *n, uint8_t *msg, const struct identity *self,
		  const uint8_t ephemeral[static KEY_LEN], const uint8_t remote[static KEY_LEN],
		  const void *payload, size_t len);
int noise_read_1(struct noise *n, const uint8_t *msg, const struct identity *self,
		 uint8_t remote_ephemeral[static KEY_LEN], uint8_t remote_static[static KEY_LEN],
		 void *payload, size_t len);
int noise_write_2(struct noise *n, uint8_t *msg, const uint8_t ephemeral[static KEY_LEN],
		  const uint8_t remote_ephemeral[static KEY_LEN],
		  const uint8_t remote_static[static KEY_LEN], const uint8_t psk[static KEY_LEN],
		  const void *payload, size_t len);
int noise_read_2(struct noise *n, const uint8_t *msg, const struct identity *self,
		 const uint8_t ephemeral[static KEY_LEN], const uint8_t psk[static KEY_LEN],
		 void *payload, size_t len);
