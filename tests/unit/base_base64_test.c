/* SPDX-License-Identifier: Apache-2.0 */
/* base64url: each of the bytes has one text, and no other text is taken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"

static void test_both_ways(void **unused)
{
	uint8_t bytes[64], back[64];
	char text[BASE64URL_LEN(64) + 1];

	(void)unused;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 151 + 0xfb);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		char *padded = base64_encode(bytes, len);

		memset(text, '!', sizeof(text));
		base64url_encode(text, bytes, len);
		assert_int_equal(strlen(text), BASE64URL_LEN(len));
		/* The same as the padded form, but for two digits. */
		for (size_t i = 0; text[i]; i++)
			assert_int_equal(text[i], padded[i] == '+'   ? '-'
						  : padded[i] == '/' ? '_'
								     : padded[i]);
		free(padded);
		assert_int_equal(base64url_decode(back, len, text, strlen(text)), len);
		assert_memory_equal(back, bytes, len);
		if (len)
			assert_int_equal(base64url_decode(back, len - 1, text, strlen(text)),
					 -EINVAL);
	}
}

static void test_refused(void **unused)
{
	static const char *const bad[] = {"A",
					  "AAAAA",
					  "AB",
					  "AAB",
					  "AA==",
					  "A+AA",
					  "A/AA",
					  "A AA",
					  "AA\nAA",
					  "\xff"
					  "AAA",
					  "A=AA"};
	uint8_t to[16];

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(base64url_decode(to, sizeof(to), bad[i], strlen(bad[i])), -EINVAL);
	assert_int_equal(base64url_decode(to, sizeof(to), "AA\0A", 4), -EINVAL);
	assert_int_equal(base64url_decode(to, sizeof(to), "AA", 2), 1);
	assert_int_equal(base64url_decode(to, sizeof(to), "", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
