/* SPDX-License-Identifier: Apache-2.0 */
/* Tags, digests and texts of previews' secrets, against vectors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "crypto/crypto.h"

static void test_tag(void **unused)
{
	uint8_t key[KEY_LEN] = "0123456789abcdef0123456789abcde", tag[AUTH_TAG_LEN];

	(void)unused;
	auth_tag(tag, "hello", 5, key);
	assert_true(auth_verify(tag, "hello", 5, key));
	assert_false(auth_verify(tag, "hellO", 5, key));
	assert_false(auth_verify(tag, "hell", 4, key));
	for (unsigned bit = 0; bit < 8 * AUTH_TAG_LEN; bit++) {
		tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(auth_verify(tag, "hello", 5, key));
		tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	key[31] ^= 1;
	assert_false(auth_verify(tag, "hello", 5, key));
}

static void test_digest(void **unused)
{
	uint8_t out[DIGEST_LEN];
	char text[2 * DIGEST_LEN + 1];

	(void)unused;
	digest(out, "abc", 3); /* b2sum -l 256 */
	hex_encode(text, out, sizeof(out));
	assert_string_equal(text,
			    "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

static void test_base64url(void **unused)
{
	char text[64];
	uint8_t data[32];

	(void)unused;
	base64url_encode(text, "\xfb\xff\xfe!", 4);
	assert_string_equal(text, "-__-IQ");
	assert_int_equal(strlen(text), BASE64URL_LEN(4));
	assert_int_equal(base64url_decode(data, sizeof(data), text, strlen(text)), 4);
	assert_memory_equal(data, "\xfb\xff\xfe!", 4);
	assert_int_equal(base64url_decode(data, 3, text, strlen(text)), -EINVAL);
	assert_int_equal(base64url_decode(data, sizeof(data), "-__-IQ==", 8), -EINVAL);
	assert_int_equal(base64url_decode(data, sizeof(data), "-__-IR", 6), -EINVAL);
	assert_int_equal(base64url_decode(data, sizeof(data), "+//+IQ", 6), -EINVAL);
	assert_int_equal(base64url_decode(data, sizeof(data), "", 0), 0);
}

static void test_equal(void **unused)
{
	(void)unused;
	assert_true(secret_equal("", ""));
	assert_true(secret_equal("abc", "abc"));
	assert_false(secret_equal("abc", "abd"));
	assert_false(secret_equal("abc", "abcd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tag),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_base64url),
		cmocka_unit_test(test_equal),
	};

	return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
