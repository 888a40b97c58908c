/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies and tickets: what was sealed comes out, for its purpose and its time alone; and links' hashes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/bytes.h"

static const uint8_t key[KEY_LEN] = "a key of thirty-two bytes, fixed", other[KEY_LEN] = "another";

static struct grant sample(void)
{
	struct grant g = {.kind = GRANT_PREVIEW, .expires = 1000, .cluster = true};

	memset(g.id, 'a', ID_LEN);
	memset(g.share, 'b', HASH_TEXT);
	snprintf(g.login, sizeof(g.login), "a \"subject\" \\ with Ümläuts");
	return g;
}

static void test_round_trip(void **unused)
{
	struct grant in = sample(), out;
	char text[GRANT_TEXT_MAX + 1];
	int n = grant_seal(&in, key, text);

	(void)unused;
	assert_int_equal(n, strlen(text));
	assert_int_equal(grant_open(&out, GRANT_PREVIEW, text, strlen(text), 999, key), 0);
	assert_memory_equal(&in, &out, sizeof(in));
	/* Nothing in it would end a cookie's value. */
	assert_int_equal(
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
		n);
}

static void test_for_its_purpose_alone(void **unused)
{
	char text[GRANT_TEXT_MAX + 1];
	struct grant g = sample(), out;

	(void)unused;
	for (unsigned kind = 0; kind < GRANT_KINDS; kind++) {
		g.kind = kind;
		assert_true(grant_seal(&g, key, text) > 0);
		for (unsigned as = 0; as < GRANT_KINDS; as++)
			assert_int_equal(grant_open(&out, as, text, strlen(text), 0, key),
					 as == kind ? 0 : -EACCES);
		assert_int_equal(grant_open(&out, kind, text, strlen(text), 1000, key), -EACCES);
		assert_int_equal(grant_open(&out, kind, text, strlen(text), 0, other), -EACCES);
	}
}

static void test_changed(void **unused)
{
	char text[GRANT_TEXT_MAX + 1];
	struct grant g = sample(), out;
	size_t n = (size_t)grant_seal(&g, key, text);

	(void)unused;
	for (size_t i = 0; i < n; i++) {
		char was = text[i];

		text[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(grant_open(&out, GRANT_PREVIEW, text, n, 0, key), -EACCES);
		text[i] = was;
		assert_int_equal(grant_open(&out, GRANT_PREVIEW, text, i, 0, key), -EACCES);
	}
	text[n] = 'A';
	assert_int_equal(grant_open(&out, GRANT_PREVIEW, text, n + 1, 0, key), -EACCES);
}

/* The largest of each kind fits, and is no larger than what browsers keep. */
static void test_sizes(void **unused)
{
	char text[GRANT_TEXT_MAX + 1];
	struct grant g = {.kind = GRANT_FLOW, .expires = INT64_MAX}, out;

	(void)unused;
	memset(g.id, 'a', ID_LEN);
	memset(g.bind, 'b', SECRET_TEXT);
	memset(g.state, 'c', SECRET_TEXT);
	memset(g.nonce, 'd', SECRET_TEXT);
	memset(g.verifier, 'e', SECRET_TEXT);
	memset(g.path, 'f', PATH_KEEP_MAX);
	memset(g.user, 'g', WHO_MAX);
	memset(g.login, 'h', WHO_MAX);
	memset(g.name, 'i', WHO_MAX);
	assert_in_range(grant_seal(&g, key, text), 1, GRANT_TEXT_MAX);
	assert_int_equal(grant_open(&out, GRANT_FLOW, text, strlen(text), 0, key), 0);
	assert_memory_equal(&g, &out, sizeof(g));
	memset(g.name, '"', WHO_MAX); /* each takes two bytes in JSON */
	memset(g.login, 1, WHO_MAX);  /* six */
	assert_int_equal(grant_seal(&g, key, text), -EMSGSIZE);
}

static void test_secrets(void **unused)
{
	char a[SECRET_TEXT + 1], b[SECRET_TEXT + 1], hash[HASH_TEXT + 1];

	(void)unused;
	secret_make(a);
	secret_make(b);
	assert_int_equal(strlen(a), SECRET_TEXT);
	assert_string_not_equal(a, b);
	secret_digest("abc", a);
	assert_string_equal(a, "vd2BPGNCOXIxce8_7phXm5SWTjuxyz5CcmLIwGjVIxk");
	/* b2sum -l 256 */
	assert_true(share_hash(
		(struct http_text){"SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS", 43}, hash));
	assert_string_equal(hash,
			    "69256624088fffce5a841480142fdf80385500af2dbb3d77fa34f2b8d25e452d");
	assert_false(share_hash((struct http_text){"SSS", 3}, hash));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_for_its_purpose_alone),
		cmocka_unit_test(test_changed),	   cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_secrets),
	};

	return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
