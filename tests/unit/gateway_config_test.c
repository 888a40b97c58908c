/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's mistakes, each with its place; what the manager may tell; and which addresses are refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/internal.h"

#define REST                                                                                       \
	"manager: 10.96.5.6:443\nmanager-name: culvert.culvert.svc\nca: /ca\ntoken: "              \
	"/token\nkeys: /keys\n"
#define DOMAIN_CONFIG "listen: 0.0.0.0:8443\npreview-domain: Preview.example.com:8443\n" REST
#define PATH_CONFIG                                                                                \
	"listen: 0.0.0.0:8443\ndashboard: 0.0.0.0:8444\npreview-host: p.example.com\n"             \
	"dashboard-host: p.example.com:8444\n" REST

static struct error err;

static int parse(struct config *c, const char *text)
{
	return config_parse(c, "gateway.yaml", text, strlen(text), &err);
}

static void test_domain(void **unused)
{
	struct config c;

	(void)unused;
	assert_int_equal(parse(&c, DOMAIN_CONFIG), 0);
	assert_false(c.by_path);
	assert_string_equal(c.previews.name, "preview.example.com");
	assert_string_equal(c.previews.authority, "preview.example.com:8443");
	assert_string_equal(c.dashboard.authority, "dashboard.preview.example.com:8443");
	assert_string_equal(c.manager_host, "10.96.5.6");
	assert_int_equal(c.manager_port, 443);
	assert_false(c.has_oidc);
	assert_string_equal(c.tls, "");
	config_free(&c);
}

static void test_path(void **unused)
{
	struct config c;

	(void)unused;
	assert_int_equal(
		parse(&c, PATH_CONFIG
		      "oidc: {issuer: 'https://i', client-id: culvert, allow: [a=b, c=]}\n"),
		0);
	assert_true(c.by_path);
	assert_string_equal(c.previews.authority, "p.example.com");
	assert_string_equal(c.dashboard.authority, "p.example.com:8444");
	assert_int_equal(sockaddr_port(&c.dashboard_listen), 8444);
	assert_true(c.has_oidc);
	assert_int_equal(c.nallow, 2);
	config_free(&c);
	assert_int_equal(parse(&c, "listen: 0.0.0.0:8443\npreview-domain: a\nmanager: "
				   "'[fd00::1]:443'\nmanager-name: m\nca: a\ntoken: b\nkeys: c\n"),
			 0);
	assert_string_equal(c.manager_host, "fd00::1");
	config_free(&c);
}

static void test_mistakes(void **unused)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"preview-domain: a\n" REST, "listen"},
		{"listen: 0.0.0.0:8443\n" REST, "either 'preview-domain' or 'preview-host'"},
		{DOMAIN_CONFIG "preview-host: b\n", "either 'preview-domain' or 'preview-host'"},
		{"listen: 0.0.0.0:8443\npreview-domain: 'a b'\n" REST,
		 "gateway.yaml:2:18: expected HOST"},
		{"listen: 0.0.0.0:8443\npreview-domain: a:99999\n" REST, "no valid port"},
		{"listen: 0.0.0.0:8443\npreview-host: a\n" REST, "dashboard-host"},
		{"listen: 0.0.0.0:8443\npreview-host: a\ndashboard-host: a:443\n" REST,
		 "origin of its own"},
		{"listen: 0.0.0.0:8443\npreview-host: a\ndashboard-host: a:444\n" REST,
		 "dashboard"},
		{DOMAIN_CONFIG "oidc: {issuer: 'https://i', client-id: c}\n", "allow"},
		{DOMAIN_CONFIG "oidc: {issuer: 'https://i', client-id: c, allow: []}\n", "1 to 16"},
		{DOMAIN_CONFIG "oidc: {issuer: 'https://i', client-id: c, allow: [dev]}\n",
		 "CLAIM=VALUE"},
		{DOMAIN_CONFIG "oidc: {issuer: '', client-id: c, allow: [a=b]}\n",
		 "must not be empty"},
		{DOMAIN_CONFIG "previews: 1\n", "previews"},
		{"listen: 0.0.0.0:8443\npreview-domain: a\n", "manager"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config c;

		err.text[0] = '\0';
		assert_int_equal(parse(&c, cases[i].text), -EINVAL);
		if (!strstr(err.text, cases[i].says) || !strstr(err.text, "gateway.yaml"))
			fail_msg("%s, in place of something with '%s'", err.text, cases[i].says);
	}
}

/* --- what the manager tells --------------------------------------------------------------------------------- */

#define ID "0123456789abcdef0123456789abcdef"

static json_t *preview(const char *key, json_t *value)
{
	json_t *p = json_pack("{s:s,s:s,s:s,s:s,s:s,s:{s:s,s:i,s:b,s:s,s:b},s:[{s:s,s:I}]}", "id",
			      ID, "uid", "u", "name", "shop", "user", "ana", "header", ID ":shop",
			      "ingress", "host", "ingress", "port", 80, "tls", 0, "l5", "",
			      "verify", 1, "shares", "hash",
			      "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
			      "expires", (json_int_t)1000);

	if (key && json_object_get(p, key))
		json_object_set_new(p, key, value);
	else if (key)
		json_object_set_new(json_object_get(p, "ingress"), key, value);
	return json_pack("{s:i,s:[o]}", "epoch", 1, "previews", p);
}

static unsigned told_of(struct told *t, json_t *params)
{
	assert_int_equal(told_previews(t, params, &err), 0);
	json_decref(params);
	return t->n;
}

static void test_told(void **unused)
{
	struct told t = {.n = 0};
	const struct preview *p;
	json_t *bad = json_object();
	char long_name[128];

	(void)unused;
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(told_previews(&t, bad, &err), -EINVAL);
	assert_false(t.known);
	json_decref(bad);
	assert_int_equal(told_of(&t, preview(NULL, NULL)), 1);
	p = told_find(&t, text_of(ID));
	assert_non_null(p);
	assert_string_equal(p->l5, "ingress");
	assert_true(preview_shared(
		p, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319", 999));
	assert_false(preview_shared(
		p, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319", 1000));
	assert_false(preview_shared(p, "", 0));
	assert_null(told_find(&t, text_of("0123456789abcdef0123456789abcdee")));
	assert_null(told_find(&t, text_of("")));
	/* Each would get into a head, a look-up or a page. */
	assert_int_equal(told_of(&t, preview("header", json_string("a\r\nb: c"))), 0);
	assert_int_equal(told_of(&t, preview("id", json_string("x"))), 0);
	assert_int_equal(told_of(&t, preview("l5", json_string("a b"))), 0);
	assert_int_equal(told_of(&t, preview("l5", json_string("a/b"))), 0);
	assert_int_equal(told_of(&t, preview("host", json_string("a\nb"))), 0);
	assert_int_equal(told_of(&t, preview("host", json_string(""))), 0);
	assert_int_equal(told_of(&t, preview("port", json_integer(0))), 0);
	assert_int_equal(told_of(&t, preview("port", json_integer(65536))), 0);
	assert_int_equal(told_of(&t, preview("shares", json_pack("[{s:s}]", "hash", "short"))), 0);
	/* Names as long as intercepts' may be, and users whom other alphabets name. */
	assert_int_equal(told_of(&t, preview("name", json_string(long_name))), 1);
	assert_int_equal(told_of(&t, preview("header", json_sprintf("%s:%s", ID, long_name))), 1);
	assert_int_equal(told_of(&t, preview("name", json_sprintf("%sx", long_name))), 0);
	assert_int_equal(told_of(&t, preview("user", json_string("J\u00fcrgen"))), 1);
	assert_int_equal(told_of(&t, preview("host", json_string("fd00::1"))), 1);
	assert_string_equal(t.preview[0].l5, "[fd00::1]");
	told_free(&t);
}

static void test_refused_addresses(void **unused)
{
	static const struct {
		const char *text;
		bool refused;
	} cases[] = {
		{"127.0.0.1", true},
		{"127.9.9.9", true},
		{"0.0.0.0", true},
		{"0.1.2.3", true},
		{"169.254.169.254", true},
		{"224.0.0.1", true},
		{"255.255.255.255", true},
		{"::1", true},
		{"::", true},
		{"fe80::1", true},
		{"ff02::1", true},
		{"64:ff9b::7f00:1", true},
		{"::7f00:1", true},
		{"::ffff:127.0.0.1", true},
		{"64:ff9b::a9fe:a9fe", true},
		{"10.96.0.1", false},
		{"192.168.1.1", false},
		{"fd00::1", false},
		{"64:ff9b::a00:1", false},
		{"8.8.8.8", false},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ipaddr a;

		assert_int_equal(ipaddr_parse(&a, cases[i].text), 0);
		if (address_refused(&a) != cases[i].refused)
			fail_msg("%s", cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_refused_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
