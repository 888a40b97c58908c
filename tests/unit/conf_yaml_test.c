/* SPDX-License-Identifier: Apache-2.0 */
/* conf: values, places in errors, bounds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "conf/conf.h"

static struct error err;

static int parse(struct conf **c, const char *text)
{
	return conf_parse(c, "f.yaml", text, strlen(text), &err);
}

static struct conf *must_parse(const char *text)
{
	struct conf *c = NULL;

	if (parse(&c, text))
		fail_msg("%s", err.text);
	return c;
}

static void must_fail(const char *text, const char *sentence)
{
	struct conf *c = NULL;

	assert_int_equal(parse(&c, text), -EINVAL);
	assert_null(c);
	if (!strstr(err.text, sentence))
		fail_msg("'%s' is not in: %s", sentence, err.text);
}

static void test_values(void **unused)
{
	struct conf *c = must_parse("name: 'quoted 12'\n" /* 1 to 4 bytes: */
				    "utf8: a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n"
				    "port: 8080\n"
				    "on: true\n"
				    "net: 10.0.0.0/8\n"
				    "at: \"[fd00::1]:53\"\n"
				    "list: [a, b]\n"
				    "map: {x: 1, y: 2}\n"
				    "folded: >\n  one\n  two\n");
	const struct conf_node *root = conf_root(c);
	const char *s;
	long v;
	bool b;
	struct prefix p;
	union sockaddr_any sa;

	(void)unused;
	assert_true(conf_is_map(root));
	assert_int_equal(conf_count(root), 9);
	assert_string_equal(conf_key_at(root, 2), "port");
	assert_int_equal(conf_string(conf_get(root, "name"), &s, &err), 0);
	assert_string_equal(s, "quoted 12");
	assert_int_equal(conf_int(conf_get(root, "port"), 1, 65535, &v, &err), 0);
	assert_int_equal(v, 8080);
	assert_int_equal(conf_bool(conf_get(root, "on"), &b, &err), 0);
	assert_true(b);
	assert_int_equal(conf_prefix(conf_get(root, "net"), &p, &err), 0);
	assert_int_equal(p.len, 8);
	assert_int_equal(conf_sockaddr(conf_get(root, "at"), &sa, &err), 0);
	assert_int_equal(sockaddr_port(&sa), 53);
	assert_true(conf_is_list(conf_get(root, "list")));
	assert_int_equal(conf_string(conf_at(conf_get(root, "list"), 1), &s, &err), 0);
	assert_string_equal(s, "b");
	assert_null(conf_at(conf_get(root, "list"), 2));
	assert_int_equal(conf_string(conf_get(root, "folded"), &s, &err), 0);
	assert_string_equal(s, "one two\n");
	assert_null(conf_get(root, "absent"));
	conf_free(c);
}

static void test_places(void **unused)
{
	static const char *const keys[] = {"listen", "state", "workloads", NULL};
	struct conf *c = must_parse("listen: x\nstates: y\nzzzzzzzzzzz: 1\n");
	const struct conf_node *n = NULL;
	long v;

	(void)unused;
	assert_int_equal(conf_keys(conf_root(c), keys, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:2:1: unknown key 'states'; did you mean 'state'?");
	assert_int_equal(conf_int(conf_get(conf_root(c), "listen"), 1, 10, &v, &err), -EINVAL);
	assert_string_equal(err.text,
			    "f.yaml:1:9: expected a whole number from 1 to 10, found 'x'");
	assert_int_equal(conf_need(conf_root(c), "port", &n, &err), -EINVAL);
	assert_non_null(strstr(err.text, "f.yaml:1:1: the key 'port' is missing"));
	conf_free(c);

	c = must_parse("zzzzzzzzzzz: 1\n");
	assert_int_equal(conf_keys(conf_root(c), keys, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:1:1: unknown key 'zzzzzzzzzzz'");
	conf_free(c);
}

static void test_wrong_types(void **unused)
{
	struct conf *c = must_parse(
		"a: [1]\nb: '7'\nc: 1e3\nd:\ne: 10.0.0.1/8\nf: host:80\ng: 99999999999999999999\n");
	const struct conf_node *r = conf_root(c);
	const char *s;
	long v = 42;
	bool b;
	struct prefix p;
	union sockaddr_any sa;

	(void)unused;
	assert_int_equal(conf_string(conf_get(r, "a"), &s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "expected text, found a list"));
	assert_int_equal(conf_int(conf_get(r, "b"), 0, 10, &v, &err), -EINVAL);
	assert_int_equal(conf_int(conf_get(r, "c"), 0, 10000, &v, &err), -EINVAL);
	assert_int_equal(conf_int(conf_get(r, "g"), 0, 10000, &v, &err), -EINVAL);
	assert_int_equal(v, 42);
	assert_int_equal(conf_string(conf_get(r, "d"), &s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "found nothing"));
	assert_int_equal(conf_bool(conf_get(r, "b"), &b, &err), -EINVAL);
	assert_int_equal(conf_prefix(conf_get(r, "e"), &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "bits set after"));
	assert_int_equal(conf_sockaddr(conf_get(r, "f"), &sa, &err), -EINVAL);
	conf_free(c);
}

static void test_refused(void **unused)
{
	(void)unused;
	must_fail("", "empty");
	must_fail("a: 1\na: 2\n", "f.yaml:2:1: the key 'a' is here for the second time");
	must_fail("a: &x 1\nb: *x\n", "anchors and aliases");
	must_fail("a: !!binary aGk=\n", "tags");
	must_fail("a: 1\n---\nb: 2\n", "one document");
	must_fail("? [a]\n: 1\n", "key must be plain text");
	must_fail("%YAML 1.2\n---\na: 1\n", "f.yaml:1:1: a line must not begin with '%'");
	must_fail("a: 1\n...\n%TAG !\n", "f.yaml:3:1: a line must not begin with '%'");
	must_fail("\xef\xbb\xbf%YAML", "f.yaml:1:2: a line must not begin with '%'");
	must_fail("a: 1\nb: \xff\n", "f.yaml:2:4: this is no text in UTF-8");
	must_fail("a: \xc0\x80", "no text in UTF-8");	  /* overlong */
	must_fail("a: \xed\xa0\x80", "no text in UTF-8"); /* a surrogate */
	must_fail("a: \xe2\x82", "no text in UTF-8");	  /* cut */
	must_fail("a: \x01", "no text in UTF-8");
	must_fail("a: [1, 2\n", "f.yaml:2:1: flow sequence without a closing bracket");
	must_fail("a: 1\nb: 'open\n", "f.yaml:2:5: single-quoted scalar without closing quote");
	must_fail("\ta: 1\n", "f.yaml:1:1: invalid tab");
}

/* The classic bomb: nine levels of nine aliases each would be 387 million values. */
static void test_alias_bomb(void **unused)
{
	(void)unused;
	must_fail("a: &a [x,x,x,x,x,x,x,x,x]\n"
		  "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
		  "c: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
		  "f.yaml:1:7: anchors and aliases");
}

static void test_bounds(void **unused)
{
	static char big[(1 << 20) + 2];
	char deep[81];
	struct conf *c = NULL;

	(void)unused;
	memset(deep, '[', 40);
	memset(deep + 40, ']', 40);
	deep[80] = '\0';
	must_fail(deep, "nested too deeply");
	memset(big, ' ', sizeof(big));
	assert_int_equal(conf_parse(&c, "f.yaml", big, sizeof(big) - 1, &err), -EFBIG);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = i % 2 ? '1' : ',';
	big[0] = '[';
	big[200000] = ']';
	assert_int_equal(conf_parse(&c, "f.yaml", big, 200001, &err), -EINVAL);
	assert_non_null(strstr(err.text, "too many values"));
	assert_int_equal(conf_parse(&c, "f.yaml", "a\0b", 3, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	    cmocka_unit_test(test_places),
		cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_alias_bomb),  cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
