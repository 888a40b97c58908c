/* SPDX-License-Identifier: Apache-2.0 */
/* The page's rules about mechanism, match and preview, as a table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cli/choice.h"

enum who { OUT, IN, IN_NO_GATEWAY };

static int choose(struct choice *c, struct intercept_request *r, const char *text, enum who who,
		  struct error *note, struct error *e)
{
	char line[512], *argv[64], *save = NULL;
	struct args a;
	json_t *login;
	int n = 0, err;

	snprintf(line, sizeof(line), "intercept hello --port 3000 %s", text);
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	memset(r, 0, sizeof(*r));
	assert_int_equal(args_parse(&a, command_find("intercept"), n, argv, e), 0);
	if (strstr(text, "/udp"))
		assert_int_equal(intercept_port_parse(r, "53:53/udp", e), 0);
	err = choice_from_flags(c, r, &a, e);
	if (err)
		return err;
	login = json_pack("{s:b,s:s,s:s}", "logged_in", who != OUT, "why", "", "previews",
			  who == IN ? "https://*.p.example.org" : "");
	err = choice_settle(c, r, choice_is_open(c) ? login : NULL, note, e);
	json_decref(login);
	return err;
}

static void rules(void **state)
{
	static const struct {
		const char *flags;
		enum who who;
		enum mechanism mechanism;
		enum http_match_mode mode;
		bool preview;
	} cases[] = {
		{"", OUT, MECHANISM_TCP, 0, false},
		{"", IN, MECHANISM_HTTP, HTTP_MATCH_AUTO, true},
		{"", IN_NO_GATEWAY, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--preview-url=false", OUT, MECHANISM_TCP, 0, false},
		{"--preview-url=false", IN, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--preview-url", IN, MECHANISM_HTTP, HTTP_MATCH_AUTO, true},
		{"--mechanism tcp", IN, MECHANISM_TCP, 0, false},
		{"--mechanism=tcp --preview-url=false", IN, MECHANISM_TCP, 0, false},
		{"--mechanism=http", OUT, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--mechanism=http", IN, MECHANISM_HTTP, HTTP_MATCH_AUTO, true},
		{"--http-match auto", OUT, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--http-match all", OUT, MECHANISM_HTTP, HTTP_MATCH_ALL, false},
		{"--http-match all", IN, MECHANISM_HTTP, HTTP_MATCH_ALL, true},
		{"--http-match x-user=ana", OUT, MECHANISM_HTTP, HTTP_MATCH_HEADERS, false},
		{"--http-path-prefix /api", OUT, MECHANISM_HTTP, HTTP_MATCH_ALL, false},
		{"--http-path-prefix /api", IN_NO_GATEWAY, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--http-path-prefix /api --http-match all", IN, MECHANISM_HTTP, HTTP_MATCH_ALL,
		 true},
		{"--tag-responses", OUT, MECHANISM_HTTP, HTTP_MATCH_AUTO, false},
		{"--ingress-host gw.istio", IN, MECHANISM_HTTP, HTTP_MATCH_AUTO, true},
		{"--port 53:53/udp", IN, MECHANISM_TCP, 0, false},
	};
	struct intercept_request r;
	struct error note, e;
	struct choice c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (choose(&c, &r, cases[i].flags, cases[i].who, &note, &e))
			fail_msg("'%s': %s", cases[i].flags, e.text);
		if (r.mechanism != cases[i].mechanism ||
		    (r.mechanism == MECHANISM_HTTP && r.match.mode != cases[i].mode) ||
		    c.preview != (cases[i].preview ? SAID_YES : SAID_NO))
			fail_msg("case %zu '%s': mechanism %d, mode %d, preview %d", i,
				 cases[i].flags, r.mechanism, r.match.mode, c.preview);
		/* It is said why there is none, where there might have been one. */
		assert_int_equal(*note.text != '\0', cases[i].who == IN_NO_GATEWAY);
	}
}

static void against_each_other(void **state)
{
	static const struct {
		const char *flags, *says;
	} cases[] = {
		{"--mechanism=tcp --http-match all", "--http-match"},
		{"--mechanism=tcp --http-path-prefix /x", "--http-path-prefix"},
		{"--mechanism=tcp --preview-url", "--preview-url"},
		{"--mechanism=tcp --tag-responses", "--tag-responses"},
		{"--mechanism=tcp --ingress-port 80", "--ingress"},
		{"--preview-url=false --ingress-host a", "--preview-url=false"},
		{"--port 53:53/udp --http-match x=y", "--port 53/udp"},
		{"--port 53:53/udp --mechanism=http", "--mechanism=http"},
		{"--port 53:53/udp --ingress-port 80", "UDP"},
		{"--http-match all --http-match x=y", "all"},
		{"--http-match auto --http-match all", "stands alone"},
		{"--http-match x=(", "column"},
		{"--http-match x", "HEADER=REGEX"},
		{"--http-path-prefix api", "'/'"},
		{"--ingress-host a/b", "--ingress-host"},
	};
	struct intercept_request r;
	struct error note, e;
	struct choice c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(choose(&c, &r, cases[i].flags, IN, &note, &e), -EINVAL);
		if (!strstr(e.text, cases[i].says))
			fail_msg("'%s': %s", cases[i].flags, e.text);
	}
}

static void previews_need(void **state)
{
	json_t *expired = json_pack("{s:b,s:s}", "logged_in", 0, "why",
				    "ana's login has expired; run `culvert login`");
	json_t *unknown = json_pack("{s:b, s:s}", "logged_in", 1, "previews", "");
	struct intercept_request r;
	struct error note, e;
	struct choice c;

	(void)state;
	assert_int_equal(choice_check_preview(expired, "", &e), -EPERM);
	assert_string_equal(e.text, "a preview URL needs a login: ana's login has expired; run "
				    "`culvert login`"); /* once */
	json_decref(expired);
	assert_int_equal(choose(&c, &r, "--preview-url", OUT, &note, &e), -EPERM);
	assert_non_null(strstr(e.text, "culvert login"));
	assert_int_equal(choose(&c, &r, "--preview-url", IN_NO_GATEWAY, &note, &e), -EPERM);
	assert_non_null(strstr(e.text, "no gateway"));
	/* What could not be read is not said to be missing. */
	json_object_set_new(unknown, "offer", json_false());
	assert_int_equal(choice_check_preview(unknown, "", &e), -EPERM);
	assert_non_null(strstr(e.text, "is not known"));
	json_decref(unknown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),
		cmocka_unit_test(against_each_other),
		cmocka_unit_test(previews_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
