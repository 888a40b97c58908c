/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our sealing, by any cipher, against libsodium's one-shot function, on memory that ends where the contract says:
 * each buffer has exactly the promised room and then an unmapped page on either side, since ASan
 * does not see what a library's assembler reads.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <sodium.h>

#include "crypto/crypto.h"

enum { PAGE = 4096 };

/* `size` bytes that touch an unmapped page: at their end, or at their start. */
struct guarded {
	uint8_t *map, *data;
	size_t map_len;
};

static void guarded_new(struct guarded *g, size_t size, bool at_end)
{
	size_t room = ROUND_UP(size, (size_t)PAGE);

	g->map_len = room + 2 * PAGE;
	g->map = mmap(NULL, g->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g->map != MAP_FAILED);
	assert_int_equal(mprotect(g->map + PAGE, room, PROT_READ | PROT_WRITE), 0);
	g->data = g->map + PAGE + (at_end ? room - size : 0);
}

static void guarded_free(struct guarded *g)
{
	munmap(g->map, g->map_len);
}

static const struct cipher *cipher; /* the one under test */
static uint8_t key[KEY_LEN];
static uint8_t want[PKT_MAX + TAG_LEN];

static void one_shot(const uint8_t *in, size_t len, uint64_t counter)
{
	uint8_t nonce[12] = {0};

	put_le64(nonce + 4, counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, in, len, NULL, 0, NULL, nonce, key);
}

static void check_seal(size_t len, uint64_t counter, bool at_end)
{
	struct guarded in, out;
	uint8_t head[AEAD_HEAD];

	guarded_new(&in, AEAD_HEAD + len + AEAD_TAIL, at_end);
	guarded_new(&out, AEAD_HEAD + len + TAG_LEN + AEAD_TAIL, at_end);
	randombytes_buf(in.data, AEAD_HEAD + len + AEAD_TAIL);
	randombytes_buf(out.data, AEAD_HEAD);
	memcpy(head, out.data, AEAD_HEAD);

	one_shot(in.data + AEAD_HEAD, len, counter);
	aead_seal(cipher, out.data + AEAD_HEAD, in.data + AEAD_HEAD, len, counter, key);
	assert_memory_equal(out.data + AEAD_HEAD, want, len + TAG_LEN);
	assert_memory_equal(out.data, head, AEAD_HEAD);
	guarded_free(&in);
	guarded_free(&out);
}

/* Opens what the one-shot function left in `want`. */
static void check_open(size_t len, uint64_t counter, bool at_end, const uint8_t *plain)
{
	struct guarded in, out;
	size_t total = len + TAG_LEN;
	uint8_t head[AEAD_HEAD];

	guarded_new(&in, AEAD_HEAD + total + AEAD_TAIL, at_end);
	guarded_new(&out, AEAD_HEAD + len + AEAD_TAIL, at_end);
	randombytes_buf(out.data, AEAD_HEAD + len + AEAD_TAIL);
	memcpy(head, out.data, AEAD_HEAD);
	memcpy(in.data + AEAD_HEAD, want, total);

	assert_int_equal(
		aead_open(cipher, out.data + AEAD_HEAD, in.data + AEAD_HEAD, total, counter, key),
		0);
	assert_memory_equal(out.data + AEAD_HEAD, plain, len);
	assert_memory_equal(out.data, head, AEAD_HEAD);

	/* A message that does not open leaves nothing behind. */
	in.data[AEAD_HEAD + total - 1] ^= 0x80;
	assert_int_equal(
		aead_open(cipher, out.data + AEAD_HEAD, in.data + AEAD_HEAD, total, counter, key),
		-EBADMSG);
	assert_true(sodium_is_zero(out.data + AEAD_HEAD, len));
	assert_memory_equal(out.data, head, AEAD_HEAD);
	guarded_free(&in);
	guarded_free(&out);
}

static void check_length(size_t len)
{
	static uint8_t plain[PKT_MAX];
	uint64_t counter;

	randombytes_buf(&counter, sizeof(counter));
	for (int at_end = 0; at_end < 2; at_end++) {
		check_seal(len, counter, at_end);
		randombytes_buf(plain, len);
		one_shot(plain, len, counter);
		check_open(len, counter, at_end, plain);
	}
}

static void all_packet_lengths(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 2100; len++)
		check_length(len);
}

static void super_packet_lengths(void **state)
{
	(void)state;
	static const size_t lengths[] = {4032,	4096,  9000,  16319, 16320, 16321,
					 16384, 32768, 65000, 65408, 65534, PKT_MAX};
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		check_length(lengths[i]);
}

/* Of the text, the tag, the counter and the key; and no shorter message opens. */
static void every_bit_counts(void **state)
{
	(void)state;
	enum { LEN = 97 };
	uint8_t in[AEAD_HEAD + LEN + TAG_LEN + AEAD_TAIL] = {0};
	uint8_t out[AEAD_HEAD + LEN + TAG_LEN + AEAD_TAIL] = {0};
	uint8_t plain[AEAD_HEAD + LEN + AEAD_TAIL];
	const uint64_t counter = 0x0123456789abcdef;

	randombytes_buf(plain, sizeof(plain));
	aead_seal(cipher, in + AEAD_HEAD, plain + AEAD_HEAD, LEN, counter, key);
	for (size_t bit = 0; bit < (LEN + TAG_LEN) * 8; bit++) {
		in[AEAD_HEAD + bit / 8] ^= (uint8_t)(1 << bit % 8);
		memset(out + AEAD_HEAD, 0xaa, LEN);
		assert_int_equal(aead_open(cipher, out + AEAD_HEAD, in + AEAD_HEAD, LEN + TAG_LEN,
					   counter, key),
				 -EBADMSG);
		assert_true(sodium_is_zero(out + AEAD_HEAD, LEN));
		in[AEAD_HEAD + bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t bit = 0; bit < 64; bit++)
		assert_int_equal(aead_open(cipher, out + AEAD_HEAD, in + AEAD_HEAD, LEN + TAG_LEN,
					   counter ^ UINT64_C(1) << bit, key),
				 -EBADMSG);
	for (size_t bit = 0; bit < KEY_LEN * 8; bit++) {
		key[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(aead_open(cipher, out + AEAD_HEAD, in + AEAD_HEAD, LEN + TAG_LEN,
					   counter, key),
				 -EBADMSG);
		key[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < LEN + TAG_LEN; len++)
		assert_int_equal(
			aead_open(cipher, out + AEAD_HEAD, in + AEAD_HEAD, len, counter, key),
			-EBADMSG);
	assert_int_equal(
		aead_open(cipher, out + AEAD_HEAD, in + AEAD_HEAD, LEN + TAG_LEN, counter, key), 0);
	assert_memory_equal(out + AEAD_HEAD, plain + AEAD_HEAD, LEN);
}

/* What no other test asks: keys and nonces change from message to message, and nothing of the last one is left. */
static void keys_take_turns(void **state)
{
	(void)state;
	uint8_t keys[2][KEY_LEN];

	randombytes_buf(keys, sizeof(keys));
	for (unsigned i = 0; i < 64; i++) {
		memcpy(key, keys[i / 3 % 2], KEY_LEN);
		check_length(i * 24);
	}
}

static int check_cipher(const struct cipher *c)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_packet_lengths),
		cmocka_unit_test(super_packet_lengths),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(keys_take_turns),
	};

	cipher = c;
	randombytes_buf(key, sizeof(key));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
