/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's table of rules: what managers send, also older and newer ones, whose a request is, and the live list. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/internal.h"

#define ID "2f6c00112233445566778899aabbccdd"
#define TCP(name, target)                                                                          \
	"{\"intercept\":\"" name "\",\"owner\":\"ana\",\"target\":" target                         \
	",\"address\":\"fd00::1\",\"port\":20000,\"on_down\":\"pod\",\"hold_s\":0,"                \
	"\"online\":true"
#define HTTP(name, match)                                                                          \
	TCP(name, "8080")                                                                          \
	",\"comings\":1,\"protocol\":\"tcp\",\"mechanism\":\"http\",\"id\":\"" ID                  \
	"\",\"uid\":\"u-" name "\",\"match\":" match ",\"tag\":false,\"preview\":false}"
#define BY_USER(user)                                                                              \
	"{\"mode\":\"headers\",\"conditions\":[{\"name\":\"x-user\",\"pattern\":\"" user           \
	"\"}],\"path\":\"\"}"

static struct error err;

static int take(struct rules *r, const char *rules)
{
	json_t *j = json_pack("{s:o}", "rules", json_loads(rules, 0, NULL));
	int result;

	assert_non_null(j);
	result = rules_from_json(r, j, &err);
	json_decref(j);
	return result;
}

static struct rule *ask(struct rules *r, const char *user, uint16_t target)
{
	struct http_field f = {.name = {"X-User", 6}, .value = {user, strlen(user)}};
	struct http_head head = {.target = {"/", 1}, .nfields = 1, .field = &f};

	return rules_match(r, target, &head);
}

static void is(const struct rule *r, const char *name)
{
	assert_non_null(r);
	assert_string_equal(r->name, name);
}

static void left_out(const struct rules *r, const char *name, const char *why)
{
	const char *text = json_string_value(json_object_get(r->left_out, name));

	assert_non_null(text);
	if (!strstr(text, why))
		fail_msg("'%s' does not say '%s'", text, why);
}

static void test_an_older_manager(void **unused)
{
	struct rules r = {.n = 0};

	(void)unused;
	assert_int_equal(take(&r, "[" TCP("a", "8080") "}]"), 0);
	is(rules_find(&r, 8080, false), "ana/a");
	assert_false(rules_http(&r, 8080, NULL));
	is(ask(&r, "eve", 8080), "ana/a");
	assert_null(ask(&r, "eve", 8081));
	rules_free(&r);
}

static void test_requests_by_their_order(void **unused)
{
	struct rules r = {.n = 0};
	bool tag = true;

	(void)unused;
	assert_int_equal(
		take(&r,
		     "[" HTTP("a", BY_USER("ana|both")) "," TCP(
			     "u", "8080") ",\"protocol\":\"udp\"}," HTTP("b",
									 BY_USER("bob|both")) "]"),
		0);
	assert_true(rules_http(&r, 8080, &tag));
	assert_false(tag);
	assert_false(rules_http(&r, 8081, &tag));
	is(ask(&r, "ana", 8080), "ana/a");
	is(ask(&r, "bob", 8080), "ana/b");
	is(ask(&r, "both", 8080), "ana/a");
	assert_null(ask(&r, "eve", 8080));
	assert_null(ask(&r, "ana", 8081));
	assert_null(rules_find(&r, 8080, false)); /* nobody has the whole port */
	is(rules_find(&r, 8080, true), "ana/u");
	rules_free(&r);
}

static void test_figures_stay(void **unused)
{
	struct rules r = {.n = 0};

	(void)unused;
	assert_int_equal(take(&r, "[" HTTP("a", BY_USER("(a+)+$")) "]"), 0);
	r.rule[0].requests = 7;
	assert_null(ask(&r, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", 8080));
	assert_int_equal(r.rule[0].regex_limits, 1);
	assert_true(r.counted);
	assert_int_equal(take(&r, "[" HTTP("b", BY_USER("b")) "," HTTP("a", BY_USER("c")) "]"), 0);
	assert_int_equal(r.rule[1].requests, 7);
	assert_int_equal(r.rule[1].regex_limits, 1);
	is(ask(&r, "c", 8080), "ana/a");
	rules_free(&r);
}

/* What is not understood here is left out; what makes no sense at all changes nothing. */
static void test_a_newer_manager(void **unused)
{
	struct rules r = {.n = 0};

	(void)unused;
	assert_int_equal(
		take(&r, "[" HTTP("a", BY_USER("(?<!later>a)[")) "," HTTP(
				 "b", BY_USER("b")) "," HTTP("c", "{\"mode\":\"jwt\"}") "]"),
		0);
	assert_int_equal(r.n, 1);
	is(ask(&r, "b", 8080), "ana/b");
	assert_int_equal(take(&r, "[" TCP("q", "8080") ",\"mechanism\":\"quic\"}]"), 0);
	assert_int_equal(r.n, 0);
	assert_int_equal(take(&r, "[" HTTP("b", BY_USER("b")) "]"), 0);
	assert_int_equal(take(&r, "[" HTTP("a", BY_USER("a")) ",{}]"), -EINVAL);
	assert_int_equal(take(&r, "[" TCP("a", "8080") ",\"mechanism\":\"http\",\"id\":\"x\"}]"),
			 -EINVAL);
	assert_int_equal(take(&r, "[" TCP("a", "8080") ",\"mechanism\":7}]"), -EINVAL);
	is(ask(&r, "b", 8080), "ana/b");
	rules_free(&r);
}

/* Who confirms a snapshot says what of it nobody gets. */
static void test_what_is_left_out_is_named(void **unused)
{
	struct agent_config cfg = {.nports = 0};
	struct agent a = {.cfg = &cfg};
	struct rules *r = &a.rules;
	json_t *j;

	(void)unused;
	assert_int_equal(
		take(r,
		     "[" HTTP("a", BY_USER("a(")) "," HTTP("b", BY_USER("b")) "," HTTP(
			     "c",
			     "{\"mode\":\"sometimes\"}") "," TCP("d",
								 "9") ",\"mechanism\":\"quic\"}]"),
		0);
	assert_int_equal(r->n, 1);
	assert_int_equal(json_object_size(r->left_out), 3);
	left_out(r, "ana/a", "the regular expression for header x-user is wrong at column 3");
	left_out(r, "ana/a", "; change the match, or update the agent of version ");
	left_out(r, "ana/c", "; update the agent");
	left_out(r, "ana/d", "the agent does not know the intercept's mechanism; update");
	/* A bad snapshot changes nothing. */
	assert_int_equal(take(r, "[" HTTP("x", BY_USER("x(")) ",{}]"), -EINVAL);
	assert_int_equal(json_object_size(r->left_out), 3);
	j = rules_traffic(&a);
	assert_true(json_equal(json_object_get(j, "left_out"), r->left_out));
	json_decref(j);
	assert_int_equal(take(r, "[" HTTP("a", BY_USER("a")) "]"), 0);
	assert_null(r->left_out);
	j = rules_traffic(&a);
	assert_null(json_object_get(j, "left_out"));
	json_decref(j);
	/* Cut where a character ends. */
	assert_int_equal(
		take(r, "[" HTTP("a", "{\"mode\":\"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
				      "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
				      "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\"}") "]"),
		0);
	assert_non_null(json_object_get(r->left_out, "ana/a"));
	rules_free(r);
}

static void test_kept_as_they_came(void **unused)
{
	struct rules r = {.n = 0}, again = {.n = 0};
	json_t *j, *back;

	(void)unused;
	assert_int_equal(take(&r, "[" HTTP("a", BY_USER("an\\\\wa")) "," TCP("b", "9") "}]"), 0);
	j = rules_to_json(&r);
	assert_int_equal(rules_from_json(&again, j, &err), 0);
	back = rules_to_json(&again);
	assert_true(json_equal(j, back));
	is(ask(&again, "anna", 8080), "ana/a");
	assert_string_equal(again.rule[0].uid, "u-a");
	json_decref(j);
	json_decref(back);
	rules_free(&r);
	rules_free(&again);
}

static void test_most_rules_there_can_be(void **unused)
{
	struct rules r = {.n = 0};
	json_t *list = json_array(), *one = json_loads(HTTP("a", BY_USER("b")), 0, NULL),
	       *j = json_pack("{s:o}", "rules", list);

	(void)unused;
	for (int i = 0; i < RULES_MAX; i++)
		json_array_append(list, one);
	assert_int_equal(rules_from_json(&r, j, &err), 0);
	assert_int_equal(r.n, RULES_MAX);
	assert_null(r.left_out);
	/* One that came later is left out, and named. */
	json_array_append_new(list, json_loads(HTTP("late", BY_USER("b")), 0, NULL));
	assert_int_equal(rules_from_json(&r, j, &err), 0);
	assert_int_equal(r.n, RULES_MAX);
	left_out(&r, "ana/late",
		 "the agent has as many rules as it takes; somebody has to leave an intercept of "
		 "the "
		 "workload");
	assert_int_equal(json_object_size(r.left_out), 1);
	json_decref(one);
	json_decref(j);
	rules_free(&r);
}

/* --- figures of ports, and the live list ---------------------------------------------------------------------- */

static void test_traffic(void **unused)
{
	struct agent_config cfg = {.nports = 2,
				   .port = {{.target = 8080}, {.target = 53, .udp = true}}};
	struct agent a = {.cfg = &cfg};
	json_t *j, *want;

	(void)unused;
	assert_int_equal(take(&a.rules, "[" HTTP("a", BY_USER("b")) "," TCP("t", "9") "}]"), 0);
	a.rules.rule[0].requests = 3;
	a.rules.rule[0].regex_limits = 2;
	a.figures[0].tls = 1;
	a.figures[0].bad_heads = 4;
	j = rules_traffic(&a);
	want = json_loads("{\"connections\":{\"ana/a\":0,\"ana/t\":0},\"fallback\":{\"ana/a\":0,"
			  "\"ana/t\":0},\"requests\":{\"ana/a\":3},\"seen\":{\"8080\":{\"tls\":1}},"
			  "\"trouble\":{\"8080\":{\"bad_heads\":4,\"regex_limits\":2}},"
			  "\"met\":{\"ana/a\":{\"8080\":{\"tls\":1,\"bad_heads\":4,"
			  "\"regex_limits\":2}}}}",
			  0, NULL);
	if (!json_equal(j, want))
		fail_msg("%s", json_dumps(j, 0));
	json_decref(j);
	json_decref(want);
	rules_free(&a.rules);
}

/* What was met before an intercept came is none of its business; what was before it was changed is. */
static void test_what_a_rule_met(void **unused)
{
	struct agent_config cfg = {.nports = 1, .port = {{.target = 8080}}};
	struct agent a = {.cfg = &cfg, .figures = {{.tls = 7, .slow_heads = 1}}};
	json_t *j, *want = json_loads("{\"ana/a\":{\"8080\":{\"tls\":5}},"
				      "\"ana/b\":{\"8080\":{\"tls\":2}}}",
				      0, NULL);

	(void)unused;
	assert_int_equal(take(&a.rules, "[" HTTP("a", BY_USER("x")) "]"), 0);
	rules_begin(&a);
	j = rules_traffic(&a);
	assert_int_equal(json_object_size(json_object_get(j, "met")), 0);
	json_decref(j);
	a.figures[0].tls = 10;
	assert_int_equal(
		take(&a.rules, "[" HTTP("a", BY_USER("y")) "," HTTP("b", BY_USER("z")) "]"), 0);
	rules_begin(&a);
	a.figures[0].tls = 12;
	j = rules_traffic(&a);
	assert_true(json_equal(json_object_get(j, "met"), want));
	json_decref(j);
	/* Left, and come again. */
	assert_int_equal(take(&a.rules, "[]"), 0);
	rules_begin(&a);
	assert_int_equal(take(&a.rules, "[" HTTP("a", BY_USER("y")) "]"), 0);
	rules_begin(&a);
	j = rules_traffic(&a);
	assert_int_equal(json_object_size(json_object_get(j, "met")), 0);
	json_decref(j);
	json_decref(want);
	rules_free(&a.rules);
}

static void request(struct agent *a, const char *target, const struct rule *rule, int status)
{
	struct http_head head = {.method = {"GET", 3}, .target = {target, strlen(target)}};
	struct journal_request q;

	journal_begin(&q, rule, &head);
	journal_add(a, &q, status, rule != NULL);
}

static size_t told(json_t *j, json_int_t dropped)
{
	size_t n = json_array_size(json_object_get(j, "requests"));

	assert_int_equal(json_integer_value(json_object_get(j, "dropped")), dropped);
	json_decref(j);
	return n;
}

static void test_journal(void **unused)
{
	static const struct rule rule = {.uid = "u-a"};
	struct agent a = {.journal = NULL};
	char path[300];
	const json_t *line;
	json_t *j;

	(void)unused;
	assert_null(journal_take(&a, true));
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[4] = '\xff';
	path[299] = '\0';
	request(&a, path, NULL, 404);
	request(&a, "/a?secret=1", &rule, 200);
	j = journal_take(&a, false);
	line = json_array_get(json_object_get(j, "requests"), 0);
	assert_string_equal(json_string_value(json_array_get(line, 0)), "");
	assert_int_equal(json_string_length(json_array_get(line, 3)), 200);
	assert_memory_equal(json_string_value(json_array_get(line, 3)), "/xxx?xx", 7);
	assert_string_equal(json_string_value(json_array_get(line, 6)), "pod");
	line = json_array_get(json_object_get(j, "requests"), 1);
	assert_int_equal(json_array_size(line), 7);
	assert_string_equal(json_string_value(json_array_get(line, 0)), "u-a");
	assert_true(json_integer_value(json_array_get(line, 1)) > 1600000000000);
	assert_string_equal(json_string_value(json_array_get(line, 2)), "GET");
	assert_string_equal(json_string_value(json_array_get(line, 3)), "/a");
	assert_int_equal(json_integer_value(json_array_get(line, 4)), 200);
	assert_string_equal(json_string_value(json_array_get(line, 6)), "laptop");
	assert_int_equal(told(j, 0), 2);
	assert_null(journal_take(&a, false));

	for (int i = 0; i < 41; i++)
		request(&a, "/", NULL, 200);
	assert_int_equal(told(journal_take(&a, false), 1), 40);
	for (int i = 0; i < 3 * JOURNAL_LEN; i++)
		request(&a, "/", NULL, 200);
	assert_int_equal(told(journal_take(&a, false), 3 * JOURNAL_LEN - 40), 40);
	/* Whoever looks anew sees what there was. */
	assert_int_equal(told(journal_take(&a, true), 0), JOURNAL_LEN);
	assert_null(journal_take(&a, false));
	free(a.journal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_older_manager),
		cmocka_unit_test(test_requests_by_their_order),
		cmocka_unit_test(test_figures_stay),
		cmocka_unit_test(test_a_newer_manager),
		cmocka_unit_test(test_what_is_left_out_is_named),
		cmocka_unit_test(test_kept_as_they_came),
		cmocka_unit_test(test_most_rules_there_can_be),
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_what_a_rule_met),
		cmocka_unit_test(test_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
