/* SPDX-License-Identifier: Apache-2.0 */
/* The four questions about the ingress, answered by a person who is played here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cli/callback.h"
#include "cli/ingress.h"

static char said[8192];

/* Types `answers`; what was printed is in `said`. */
static int talk(struct ingress *in, const json_t *found, const char *answers)
{
	FILE *from = fmemopen((void *)(uintptr_t)answers, strlen(answers), "r");
	FILE *to = fmemopen(said, sizeof(said), "w");
	struct error e = {""};
	int err;

	assert_non_null(from);
	assert_non_null(to);
	memset(said, 0, sizeof(said));
	err = ingress_ask(in, found, from, to, &e);
	assert_int_equal(err != 0, *e.text != '\0');
	fclose(from);
	fclose(to);
	return err;
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *s = said; (s = strstr(s, what)); s++)
		n++;
	return n;
}

static json_t *nginx(void)
{
	return json_pack("{s:s,s:i,s:b,s:s,s:s}", "host", "ingress-nginx-controller.ingress-nginx",
			 "port", 443, "tls", 1, "l5", "shop.example.com", "why",
			 "Ingress shop/hello");
}

static void enter_accepts(void **state)
{
	struct ingress in = {.port = 0};
	json_t *found = nginx();

	(void)state;
	assert_int_equal(talk(&in, found, "\n\n\n\n"), 0);
	assert_string_equal(in.host, "ingress-nginx-controller.ingress-nginx");
	assert_int_equal(in.port, 443);
	assert_true(in.tls);
	assert_string_equal(in.l5, "shop.example.com");
	assert_int_equal(count("Please Confirm the ingress to use."), 1);
	assert_int_equal(count("[default: ingress-nginx-controller.ingress-nginx]: "), 1);
	assert_int_equal(count("[default: 443]: "), 1);
	assert_int_equal(count("[default: y]: "), 1);
	assert_int_equal(count("[default: shop.example.com]: "), 1);
	assert_int_equal(count("1/4: What's your ingress' layer 3 (IP) address?"), 1);
	json_decref(found);
}

/* What was found for one host is no default for another. */
static void another_host(void **state)
{
	struct ingress in = {.port = 0};
	json_t *found = nginx();

	(void)state;
	assert_int_equal(talk(&in, found, "ambassador.ambassador\n8080\n\n\n"), 0);
	assert_string_equal(in.host, "ambassador.ambassador");
	assert_int_equal(in.port, 8080);
	assert_false(in.tls);
	assert_string_equal(in.l5, "ambassador.ambassador");
	assert_int_equal(count("[default: -]: "), 1); /* the port's */
	assert_int_equal(count("[default: n]: "), 1);
	assert_int_equal(count("[default: ambassador.ambassador]: "), 1);
	json_decref(found);
}

static void nothing_was_found(void **state)
{
	struct ingress in = {.port = 0};

	(void)state;
	assert_int_equal(talk(&in, NULL, "\n  192.0.2.7 \r\n443\nN\nShop.Example.com\n"), 0);
	assert_string_equal(in.host, "192.0.2.7");
	assert_int_equal(in.port, 443);
	assert_false(in.tls);
	assert_string_equal(in.l5, "Shop.Example.com");
	assert_int_equal(count("Please Select the ingress to use."), 1);
	assert_int_equal(count("there is no default here"), 1);
	assert_int_equal(count("[default: y]: "), 1); /* 443 */
}

static void bad_answers_are_asked_again(void **state)
{
	static const char *const hosts[] = {"https://shop.example.com",
					    "a b",
					    "shop.example.com:80",
					    "-x",
					    "x..y",
					    ".",
					    "shop\033[2J",
					    "fe80::1%eth0"};
	static const char *const ports[] = {"0",  "65536", "http",
					    "-1", "80x",   "99999999999999999999"};
	char answers[4096] = "";
	struct ingress in = {.port = 0};
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		len += (size_t)snprintf(answers + len, sizeof(answers) - len, "%s\n", hosts[i]);
	/* More than a line may have; its rest is no answer to what comes next. */
	memset(answers + len, 'x', 2000);
	len += 2000;
	len += (size_t)snprintf(answers + len, sizeof(answers) - len, "\ngateway.istio-system\n");
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		len += (size_t)snprintf(answers + len, sizeof(answers) - len, "%s\n", ports[i]);
	snprintf(answers + len, sizeof(answers) - len, "80\nmaybe\nyes\nfoo/bar\nok.example.com\n");
	assert_int_equal(talk(&in, NULL, answers), 0);
	assert_string_equal(in.host, "gateway.istio-system");
	assert_int_equal(in.port, 80);
	assert_true(in.tls);
	assert_string_equal(in.l5, "ok.example.com");
	assert_int_equal(count("1/4"), 1); /* the question stands once, its prompt again */
	assert_int_equal(count("[default: -]: "),
			 ARRAY_SIZE(hosts) + 1 + 1 + ARRAY_SIZE(ports) + 1);
	assert_int_equal(count("is a URL"), 2);
	assert_int_equal(count("is neither y nor n"), 1);
	assert_int_equal(count("\033"), 0);
}

static void no_more_answers(void **state)
{
	struct ingress in = {.port = 0};

	(void)state;
	assert_int_equal(talk(&in, NULL, "gateway.istio-system\n80\n"), -ECANCELED);
}

static void flags_answer(void **state)
{
	char line[] =
		"preview create x --ingress-host gw.istio --ingress-port 8443 --ingress-tls=false "
		"--ingress-l5 a.b --ingress-insecure";
	char bad[] = "preview create x --ingress-port 99999";
	char *argv[16], *save = NULL;
	struct ingress in;
	struct args a;
	struct error e;
	int n = 0;
	json_t *j;

	(void)state;
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	assert_int_equal(args_parse(&a, command_find("preview"), n, argv, &e), 0);
	assert_true(ingress_said(&a));
	assert_int_equal(ingress_from_flags(&in, &a, &e), 0);
	assert_int_equal(talk(&in, NULL, "n"), 0); /* nothing is left to ask */
	assert_int_equal(count("/4"), 0);
	j = ingress_to_json(&in);
	assert_string_equal(get_text(j, "host"), "gw.istio");
	assert_int_equal(get_int(j, "port"), 8443);
	assert_true(json_is_false(json_object_get(j, "tls")));
	assert_string_equal(get_text(j, "l5"), "a.b");
	assert_true(json_is_false(json_object_get(j, "verify")));
	json_decref(j);

	n = 0;
	for (char *w = strtok_r(bad, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	assert_int_equal(args_parse(&a, command_find("preview"), n, argv, &e), 0);
	assert_int_equal(ingress_from_flags(&in, &a, &e), -EINVAL);
	assert_non_null(strstr(e.text, "--ingress-port"));
}

static void defaults_without_questions(void **state)
{
	struct ingress in = {.host = "gw.istio", .port = 443, .has_host = true, .has_port = true};

	(void)state;
	ingress_default(&in, NULL);
	assert_true(in.tls);
	assert_string_equal(in.l5, "gw.istio");
}

static void queries(void **state)
{
	char v[16];

	(void)state;
	assert_true(callback_query("/c?state=a%2Fb+c&code=x", "state", v, sizeof(v)));
	assert_string_equal(v, "a/b c");
	assert_true(callback_query("/c?state=a&code=x#y", "code", v, sizeof(v)));
	assert_string_equal(v, "x");
	assert_true(callback_query("/c?code=", "code", v, sizeof(v)));
	assert_string_equal(v, "");
	assert_false(callback_query("/c?xcode=1", "code", v, sizeof(v)));
	assert_false(callback_query("/c?code", "code", v, sizeof(v)));
	assert_false(callback_query("/c", "code", v, sizeof(v)));
	assert_false(callback_query("/c?code=a%00b", "code", v, sizeof(v)));
	assert_false(callback_query("/c?code=a%0", "code", v, sizeof(v)));
	assert_false(callback_query("/c?code=a%", "code", v, sizeof(v)));
	assert_false(callback_query("/c?code=0123456789abcdef", "code", v, sizeof(v)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enter_accepts),
		cmocka_unit_test(another_host),
		cmocka_unit_test(nothing_was_found),
		cmocka_unit_test(bad_answers_are_asked_again),
		cmocka_unit_test(no_more_answers),
		cmocka_unit_test(flags_answer),
		cmocka_unit_test(defaults_without_questions),
		cmocka_unit_test(queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
