/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published vector for our Noise protocol, byte for byte, on the code the handshake uses.
 * Origin: cacophony's test vectors (public), as shipped with the Rust crate snow 0.10.0 in
 * tests/vectors/cacophony.txt; the entry with the protocol_name below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "crypto/noise.h"

/* Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b */
static const char prologue_hex[] = "4a6f686e2047616c74"; /* "John Galt" */
static const char psk_hex[] = "54686973206973206d7920417573747269616e20706572737065637469766521";
static const char initiator_static[] =
	"e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
static const char initiator_ephemeral[] =
	"893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
static const char responder_static[] =
	"4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
static const char responder_public[] =
	"31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
static const char responder_ephemeral[] =
	"bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
static const char handshake_hash[] =
	"ed837c9084f2f0333a7ec60b9bcacd9921394858de8ced118b5966d1147ba390084dab42326c565a"
	"309c29317a6079be30aa1d790d25a517b43287426cb1d36a";

static const struct {
	const char *payload, *ciphertext;
} messages[] = {
	{
		.payload = "4c756477696720766f6e204d69736573",
		.ciphertext = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944b6fe"
			      "0240b839afac"
			      "809de1630eaf99d8f9b941394f0512c0554633bbb021d15176135c0a20e7fdb9a9ed"
			      "066f22f054b4"
			      "7625b1d5061cb27d6a17f053273db7c25216a5addc506ee321bc0618feb5849d",
	},
	{
		.payload = "4d757272617920526f746862617264",
		.ciphertext = "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088438f62"
			      "7e69fc120006"
			      "f746b9d420bf4056cf8481ab32d9e904ffaeeaa56a5290",
	},
	{
		.payload = "462e20412e20486179656b",
		.ciphertext = "07fc0034398a5f1010322be193d62f94bebf2948a20b3e15d681fe",
	},
	{
		.payload = "4361726c204d656e676572",
		.ciphertext = "2ea5400f5b8a16971c8b67bde75aeb7987d454b1c0beeb2566932d",
	},
	{
		.payload = "4a65616e2d426170746973746520536179",
		.ciphertext = "96eef918ef51639fc0e156da1823c4f71b33fac5af983f5da9384f7da20d86ed91",
	},
	{
		.payload = "457567656e2042f6686d20766f6e2042617765726b",
		.ciphertext = "f02766a56496e1fbf32e05274baebf6d693c8f3e4c6e0dc7ebdc5ac170f15dae433b"
			      "92f469",
	},
};

enum { MESSAGE_MAX = 256 };

static size_t unhex(uint8_t *out, size_t max, const char *hex)
{
	size_t len;
	assert_int_equal(sodium_hex2bin(out, max, hex, strlen(hex), NULL, &len, NULL), 0);
	return len;
}

struct vector {
	uint8_t prologue[32], psk[KEY_LEN], i_eph[KEY_LEN], r_eph[KEY_LEN];
	size_t prologue_len;
	struct identity initiator, responder;
	struct noise i, r; /* the two ends */
};

static void vector_load(struct vector *v)
{
	uint8_t key[KEY_LEN];

	v->prologue_len = unhex(v->prologue, sizeof(v->prologue), prologue_hex);
	unhex(v->psk, KEY_LEN, psk_hex);
	unhex(v->i_eph, KEY_LEN, initiator_ephemeral);
	unhex(v->r_eph, KEY_LEN, responder_ephemeral);
	unhex(key, KEY_LEN, initiator_static);
	assert_int_equal(identity_from_private(&v->initiator, key), 0);
	unhex(key, KEY_LEN, responder_static);
	assert_int_equal(identity_from_private(&v->responder, key), 0);
	unhex(key, KEY_LEN, responder_public);
	assert_memory_equal(key, v->responder.pub, KEY_LEN);
	noise_begin(&v->i, v->prologue, v->prologue_len, v->responder.pub);
	noise_begin(&v->r, v->prologue, v->prologue_len, v->responder.pub);
}

/* Messages 3 to 6 alternate, the initiator first; each direction counts its own nonce. */
static void check_transport(const struct transport_keys *i, const struct transport_keys *r)
{
	uint64_t counters[2] = {0, 0};

	for (size_t m = 2; m < ARRAY_SIZE(messages); m++) {
		uint8_t payload[MESSAGE_MAX], want[MESSAGE_MAX];
		uint8_t in[AEAD_HEAD + MESSAGE_MAX + AEAD_TAIL] = {0};
		uint8_t out[AEAD_HEAD + MESSAGE_MAX + TAG_LEN + AEAD_TAIL] = {0};
		bool from_initiator = m % 2 == 0;
		const struct transport_keys *sender = from_initiator ? i : r;
		const struct transport_keys *receiver = from_initiator ? r : i;
		uint64_t counter = counters[m % 2]++;
		size_t len = unhex(payload, sizeof(payload), messages[m].payload);
		size_t total = unhex(want, sizeof(want), messages[m].ciphertext);

		memcpy(in + AEAD_HEAD, payload, len);
		aead_seal(&cipher_sodium, out + AEAD_HEAD, in + AEAD_HEAD, len, counter,
			  sender->send);
		assert_int_equal(total, len + TAG_LEN);
		assert_memory_equal(out + AEAD_HEAD, want, total);

		memcpy(in + AEAD_HEAD, want, total);
		assert_int_equal(aead_open(&cipher_sodium, out + AEAD_HEAD, in + AEAD_HEAD, total,
					   counter, receiver->receive),
				 0);
		assert_memory_equal(out + AEAD_HEAD, payload, len);
	}
}

static void test_vector(void **state)
{
	(void)state;
	struct vector v;
	uint8_t payload[MESSAGE_MAX], want[MESSAGE_MAX], msg[MESSAGE_MAX], got[MESSAGE_MAX];
	uint8_t remote_ephemeral[KEY_LEN], remote_static[KEY_LEN], hash[HASH_LEN];
	vector_load(&v);

	size_t len = unhex(payload, sizeof(payload), messages[0].payload);
	size_t total = unhex(want, sizeof(want), messages[0].ciphertext);
	assert_int_equal(total, len + NOISE_OVERHEAD_1);
	assert_int_equal(
		noise_write_1(&v.i, msg, &v.initiator, v.i_eph, v.responder.pub, payload, len), 0);
	assert_memory_equal(msg, want, total);
	assert_int_equal(
		noise_read_1(&v.r, want, &v.responder, remote_ephemeral, remote_static, got, len),
		0);
	assert_memory_equal(got, payload, len);
	assert_memory_equal(remote_static, v.initiator.pub, KEY_LEN);

	len = unhex(payload, sizeof(payload), messages[1].payload);
	total = unhex(want, sizeof(want), messages[1].ciphertext);
	assert_int_equal(total, len + NOISE_OVERHEAD_2);
	assert_int_equal(noise_write_2(&v.r, msg, v.r_eph, remote_ephemeral, remote_static, v.psk,
				       payload, len),
			 0);
	assert_memory_equal(msg, want, total);
	assert_int_equal(noise_read_2(&v.i, want, &v.initiator, v.i_eph, v.psk, got, len), 0);
	assert_memory_equal(got, payload, len);

	unhex(hash, sizeof(hash), handshake_hash);
	assert_memory_equal(v.i.hash, hash, HASH_LEN);
	assert_memory_equal(v.r.hash, hash, HASH_LEN);

	struct transport_keys i, r;
	noise_split(&v.i, &i, true);
	noise_split(&v.r, &r, false);
	check_transport(&i, &r);
}

/* Each input of the handshake matters: with one of them changed the two ends do not meet. */
static void test_prologue_and_psk_bind(void **state)
{
	(void)state;
	struct vector v;
	uint8_t msg[MESSAGE_MAX], e[KEY_LEN], s[KEY_LEN];

	vector_load(&v);
	noise_begin(&v.r, v.prologue, v.prologue_len - 1, v.responder.pub);
	assert_int_equal(noise_write_1(&v.i, msg, &v.initiator, v.i_eph, v.responder.pub, "x", 1),
			 0);
	uint8_t got[1];
	assert_int_not_equal(noise_read_1(&v.r, msg, &v.responder, e, s, got, 1), 0);

	noise_begin(&v.r, v.prologue, v.prologue_len, v.responder.pub);
	assert_int_equal(noise_read_1(&v.r, msg, &v.responder, e, s, got, 1), 0);
	assert_int_equal(noise_write_2(&v.r, msg, v.r_eph, e, s, v.psk, NULL, 0), 0);
	v.psk[31] ^= 1;
	assert_int_not_equal(noise_read_2(&v.i, msg, &v.initiator, v.i_eph, v.psk, NULL, 0), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_prologue_and_psk_bind),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
