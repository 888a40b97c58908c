/* SPDX-License-Identifier: Apache-2.0 */
/* The question parser: what it takes, what it refuses, and which domain a name lies in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dns/internal.h"

#define HEADER "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"

static int parse(const char *msg, size_t len, char name[static 256], uint16_t *qtype)
{
	/* From the heap, of the exact length: a read beyond the end is caught. */
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, msg, len);
	int r = dns_question(copy, len, name, qtype);
	free(copy);
	return r;
}

#define PARSE(text) parse(text, sizeof(text) - 1, name, &qtype)

static void takes_questions(void **state)
{
	char name[256];
	uint16_t qtype;

	(void)state;
	assert_int_equal(PARSE(HEADER "\3WeB\4Shop\0\0\x1c\0\1"), 0);
	assert_string_equal(name, "web.shop");
	assert_int_equal(qtype, 28);
	assert_int_equal(PARSE(HEADER "\0\0\2\0\1"), 0); /* the root */
	assert_string_equal(name, "");
	/* A dot or NUL inside a label is no end of a label: DNS-SD names have such dots. */
	assert_int_equal(PARSE(HEADER "\x0b"
				      "a.cluster\0x\5local\0\0\1\0\1"),
			 0);
	assert_string_equal(name, "a?cluster?x.local");
}

static void refuses_garbage(void **state)
{
	static const char good[] = HEADER "\3web\4shop\0\0\1\0\1";
	char name[256], longest[300] = HEADER;
	uint16_t qtype;

	(void)state;
	for (size_t len = 0; len < sizeof(good) - 1; len++) /* every truncation */
		assert_int_equal(parse(good, len, name, &qtype), -EINVAL);
	assert_int_equal(PARSE("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\0\0\1\0\1"),
			 -EINVAL);				     /* none */
	assert_int_equal(PARSE(HEADER "\xc0\x0c\0\1\0\1"), -EINVAL); /* a pointer to itself */
	assert_int_equal(PARSE(HEADER "\3web\xc0\x0c\0\1\0\1"), -EINVAL);
	assert_int_equal(PARSE(HEADER "\x40web\0\0\1\0\1"),
			 -EINVAL); /* a label type of no meaning */

	/* 255 bytes of name are allowed (RFC 1035, 2.3.4), 256 are not. */
	for (int last = 61; last <= 62; last++) {
		size_t at = DNS_HEADER;
		for (int i = 0; i < 4; i++) {
			int n = i < 3 ? 63 : last;
			longest[at++] = (char)n;
			memset(longest + at, 'a', (size_t)n);
			at += (size_t)n;
		}
		memcpy(longest + at, "\0\0\1\0\1", 5);
		assert_int_equal(parse(longest, at + 5, name, &qtype), last == 61 ? 0 : -EINVAL);
		if (last == 61)
			assert_int_equal(strlen(name), 253);
	}
}

static bool same(const char *a, size_t alen, const char *b, size_t blen)
{
	return dns_same_question((const uint8_t *)a, alen, (const uint8_t *)b, blen);
}

#define SAME(a, b) same(a, sizeof(a) - 1, b, sizeof(b) - 1)

static void compares_questions(void **state)
{
	(void)state;
	assert_true(SAME(HEADER "\3web\0\0\1\0\1", HEADER "\3wEB\0\0\1\0\1rest"));
	assert_false(SAME(HEADER "\3web\0\0\1\0\1", HEADER "\3wex\0\0\1\0\1"));
	/* Types 65 (HTTPS) and 97 differ by the bit that makes a letter small. */
	assert_false(SAME(HEADER "\3web\0\0\x41\0\1", HEADER "\3web\0\0\x61\0\1"));
	assert_false(SAME(HEADER "\3web\0\0\1\0\1", HEADER "\3web"));
}

static void knows_domains(void **state)
{
	(void)state;
	assert_true(dns_name_under("cluster.local", "cluster.local"));
	assert_true(dns_name_under("web.shop.svc.cluster.local", "Cluster.Local"));
	assert_false(dns_name_under("notcluster.local", "cluster.local"));
	assert_false(dns_name_under("local", "cluster.local"));
	assert_false(dns_name_under("cluster.local.lan", "cluster.local"));
	assert_false(dns_name_under("a?cluster.local", "cluster.local"));
	assert_false(dns_name_under("anything", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_questions),
		cmocka_unit_test(refuses_garbage),
		cmocka_unit_test(compares_questions),
		cmocka_unit_test(knows_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
