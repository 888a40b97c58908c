/* SPDX-License-Identifier: Apache-2.0 */
/* Names, targets, parameters and cookies, as strict as who has what depends on them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/bytes.h"

#define TEXT(s) ((struct http_text){s, sizeof(s) - 1})

static void test_host_names(void **unused)
{
	static const struct {
		struct http_text host;
		const char *name; /* NULL = refused */
	} cases[] = {
		{TEXT("Example.COM"), "example.com"},
		{TEXT("example.com."), "example.com"},
		{TEXT("example.com:8443"), "example.com"},
		{TEXT("example.com.:8443"), "example.com"},
		{TEXT("example.com:"), "example.com"},
		{TEXT("[fd00::1]:80"), "[fd00::1]"},
		{TEXT(""), NULL},
		{TEXT(":80"), NULL},
		{TEXT("."), NULL},
		{TEXT("a:b"), NULL},
		{TEXT("a:123456"), NULL},
		{TEXT("a:80:80"), NULL},
		{TEXT("a@b"), NULL},
		{TEXT("a b"), NULL},
		{TEXT("a\0b"), NULL},
		{TEXT("a/b"), NULL},
		{TEXT("a,b"), NULL},
		{TEXT("a\\b"), NULL},
		{TEXT("\xc3\xa4.com"), NULL},
		{TEXT("[::1]x"), NULL},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char name[NAME_TEXT + 1] = "";
		int r = host_name(cases[i].host, name);

		assert_int_equal(r, cases[i].name ? 0 : -EINVAL);
		if (cases[i].name)
			assert_string_equal(name, cases[i].name);
	}
}

static void test_origin_form(void **unused)
{
	static const struct {
		struct http_text target, host, form; /* form.p = NULL: refused */
	} cases[] = {
		{TEXT("/a?b"), TEXT("h"), TEXT("/a?b")},
		{TEXT("https://h/a?b"), TEXT("h"), TEXT("/a?b")},
		{TEXT("HTTP://H:80/"), TEXT("h:80"), TEXT("/")},
		{TEXT("https://h"), TEXT("h"), TEXT("/")},
		{TEXT("https://h?a"), TEXT("h"), {NULL, 0}},
		{TEXT("https://h.evil/"), TEXT("h"), {NULL, 0}},
		{TEXT("https://u@h/"), TEXT("h"), {NULL, 0}},
		{TEXT("ftp://h/"), TEXT("h"), {NULL, 0}},
		{TEXT("*"), TEXT("h"), {NULL, 0}},
		{TEXT("h:443"), TEXT("h"), {NULL, 0}},
		{TEXT(""), TEXT("h"), {NULL, 0}},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_text form;
		int r = target_origin_form(cases[i].target, cases[i].host, &form);

		assert_int_equal(r, cases[i].form.p ? 0 : -EINVAL);
		if (cases[i].form.p) {
			assert_int_equal(form.len, cases[i].form.len);
			assert_memory_equal(form.p, cases[i].form.p, form.len);
		}
	}
}

static void test_params(void **unused)
{
	const struct http_text target = TEXT(
		"/p?code=a%2Fb%3d+c&state=&statement=x&state=second&bad=%4&bad2=%zz&nul=%00&cut=%");
	char value[32];

	(void)unused;
	assert_int_equal(target_param(target, "code", value, sizeof(value)), 0);
	assert_string_equal(value, "a/b= c");
	assert_int_equal(target_param(target, "state", value, sizeof(value)), 0);
	assert_string_equal(value, "");
	assert_int_equal(target_param(target, "bad", value, sizeof(value)), -EINVAL);
	assert_int_equal(target_param(target, "bad2", value, sizeof(value)), -EINVAL);
	assert_int_equal(target_param(target, "nul", value, sizeof(value)), -EINVAL);
	assert_int_equal(target_param(target, "cut", value, sizeof(value)), -EINVAL);
	assert_int_equal(target_param(target, "none", value, sizeof(value)), -ENOENT);
	assert_int_equal(target_param(target, "p?code", value, sizeof(value)), -ENOENT);
	assert_int_equal(target_param(target, "code", value, 6), -EINVAL);
	assert_int_equal(target_param(TEXT("/p"), "code", value, sizeof(value)), -ENOENT);
	assert_int_equal(target_param(TEXT("/p?"), "code", value, sizeof(value)), -ENOENT);
}

static void test_paths(void **unused)
{
	(void)unused;
	assert_true(path_is_ours(TEXT("/")));
	assert_true(path_is_ours(TEXT("/a/../b?c=//d")));
	assert_false(path_is_ours(TEXT("")));
	assert_false(path_is_ours(TEXT("a")));
	assert_false(path_is_ours(TEXT("//evil")));
	assert_false(path_is_ours(TEXT("/\\evil")));
	assert_false(path_is_ours(TEXT("/\t/evil")));
	assert_false(path_is_ours(TEXT("/a\r\nSet-Cookie: b")));
	assert_false(path_is_ours(TEXT("/\x7f")));
	assert_false(path_is_ours(TEXT("https://evil/")));
}

static void find_cookie(const char *value1, const char *value2, const char *want)
{
	const struct http_field fields[] = {
		{.name = text_of("COOKIE"), .value = text_of(value1)},
		{.name = text_of("cookies"), .value = text_of("__Host-culvert=wrong")},
		{.name = text_of("cookie"), .value = text_of(value2)},
	};
	const struct http_head h = {.nfields = 3, .field = fields};
	struct http_text found = cookie_find(&h, "__Host-culvert");

	if (!want) {
		assert_null(found.p);
		return;
	}
	assert_non_null(found.p);
	assert_int_equal(found.len, strlen(want));
	assert_memory_equal(found.p, want, found.len);
}

static void test_cookies(void **unused)
{
	(void)unused;
	find_cookie("a=1; __Host-culvert=x", "b=2", "x");
	find_cookie("a=1", "__Host-culvert=x=y;b", "x=y");
	find_cookie("a=1;__Host-culvert=;b", "", "");
	find_cookie("__Host-culvert-dashboard=x; x__Host-culvert=y", "__host-culvert=z", NULL);
	find_cookie("a=\"; __Host-culvert=x\"", "", "x\"");
	find_cookie("__Host-culvert=x", "__Host-culvert=y", NULL);
	find_cookie("__Host-culvert=x; __Host-culvert=x", "", NULL);
	find_cookie("", ";;; ;", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_names), cmocka_unit_test(test_origin_form),
		cmocka_unit_test(test_params),	   cmocka_unit_test(test_paths),
		cmocka_unit_test(test_cookies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
