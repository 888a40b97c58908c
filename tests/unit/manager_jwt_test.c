/* SPDX-License-Identifier: Apache-2.0 */
/* What a token says of itself: the claims of a pod's, and every kind of rubbish. The texts are those of the fuzzer's corpus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/file.h"
#include "manager/jwt.h"

static int read_case(const char *name, struct jwt *j, struct error *e)
{
	char path[512], *text = NULL;
	size_t len = 0;
	int r;

	snprintf(path, sizeof(path), "%s/../../fuzz/corpus/manager_jwt/%s", TEST_DATA, name);
	assert_int_equal(file_read(path, 65536, &text, &len, e), 0);
	assert_true(len >= 1);
	r = jwt_read(j, text + 1, len - 1, text[0] ? "culvert" : NULL, e);
	free(text);
	return r;
}

static void test_claims_of_a_pod(void **unused)
{
	struct error e;
	struct jwt j;

	(void)unused;
	assert_int_equal(read_case("pod", &j, &e), 0);
	assert_string_equal(j.issuer, "https://kubernetes.default.svc.cluster.local");
	assert_string_equal(j.ns, "shop");
	assert_string_equal(j.pod, "cart-1");
	assert_string_equal(j.uid, "426b1239-61e2-4009-9d6d-9abbd514db13");
	assert_int_equal(j.expires, 1795425013);
	assert_int_equal(read_case("aud_text", &j, &e), 0);
	assert_int_equal(read_case("own", &j, &e), 0);
	assert_string_equal(j.uid, "");
}

static void test_rubbish(void **unused)
{
	static const struct {
		const char *name, *says;
	} cases[] = {
		{"aud_other", "another audience"},
		{"no_pod", "no usable 'name'"},
		{"exp_text", "no 'exp'"},
		{"long", "no usable 'iss'"},
		{"array", "damaged"},
		{"base64", "damaged"},
		{"padded", "damaged"},
		{"twice", "damaged"},
		{"odd", "damaged"},
		{"dots", "no token"},
		{"four", "no token"},
		{"empty", "no token"},
	};
	struct jwt before, j;
	struct error e;

	(void)unused;
	memset(&j, 7, sizeof(j));
	before = j;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_not_equal(read_case(cases[i].name, &j, &e), 0);
		if (!strstr(e.text, cases[i].says))
			fail_msg("%s: '%s'", cases[i].name, e.text);
		assert_memory_equal(&before, &j, sizeof(j));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_claims_of_a_pod),
		cmocka_unit_test(test_rubbish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
