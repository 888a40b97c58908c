/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's tables and their parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cli/internal.h"

/* Splits `line` in place, as a shell would for words without quotes. */
static int split(char *line, char **argv, int max)
{
	int n = 0;
	char *save, *w;

	for (w = strtok_r(line, " ", &save); w && n < max; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	return n;
}

static int parse(struct args *a, const char *text, struct error *e)
{
	static char line[512];
	static char *argv[64];
	int n;

	snprintf(line, sizeof(line), "%s", text);
	n = split(line, argv, 63);
	return args_parse(a, command_find(argv[0]), n, argv, e);
}

static void spellings_of_a_flag(void **state)
{
	static const char *const forms[] = {"intercept hello --port 3000:http --namespace shop",
					    "intercept --port=3000:http -n shop hello",
					    "intercept hello -p 3000:http -nshop",
					    "intercept -p3000:http hello -n=shop"};
	const char *const *ports;
	struct args a;
	struct error e;
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		assert_int_equal(parse(&a, forms[i], &e), 0);
		assert_int_equal(args_many(&a, "port", &ports), 1);
		assert_string_equal(ports[0], "3000:http");
		assert_string_equal(args_text(&a, "namespace"), "shop");
		assert_string_equal(a.pos[0], "hello");
		assert_null(args_text(&a, "workload"));
	}
}

static void repeated_and_last_wins(void **state)
{
	const char *const *ports;
	struct args a;
	struct error e;

	(void)state;
	assert_int_equal(parse(&a, "intercept x --port 1 --port 2 -n a -n b", &e), 0);
	assert_int_equal(args_many(&a, "port", &ports), 2);
	assert_string_equal(ports[1], "2");
	assert_string_equal(args_text(&a, "namespace"), "b");
}

static void bools(void **state)
{
	struct args a;
	struct error e;

	(void)state;
	assert_int_equal(parse(&a, "list -A", &e), 0);
	assert_true(args_bool(&a, "all-namespaces"));
	assert_int_equal(parse(&a, "list --all-namespaces=false", &e), 0);
	assert_false(args_bool(&a, "all-namespaces"));
	assert_int_not_equal(parse(&a, "list --all-namespaces=perhaps", &e), 0);
	/* A bool takes no word after it: that is an argument, of which list has none. */
	assert_int_not_equal(parse(&a, "list -A false", &e), 0);
}

static void the_command_after_two_dashes(void **state)
{
	struct args a;
	struct error e;

	(void)state;
	assert_int_equal(parse(&a, "intercept x --port 1 -- prog --port 2 --help", &e), 0);
	assert_string_equal(a.child[0], "prog");
	assert_string_equal(a.child[3], "--help");
	assert_null(a.child[4]);
	assert_false(a.help);
	assert_int_not_equal(parse(&a, "intercept x --port 1 --", &e), 0);
	assert_int_not_equal(parse(&a, "list -- ls", &e), 0);
}

static void errors_name_the_remedy(void **state)
{
	static const struct {
		const char *line, *says;
	} cases[] = {
		{"intercept x --prot 1", "--port"},
		{"intercept x --port", "LOCAL[:SERVICEPORT]"},
		{"intercept", "NAME"},
		{"intercept x y --port 1", "'y'"},
		{"status -o xml", "text|json|yaml"},
		{"status -x", "--help"},
		{"connect --invite f --also-proxy 10.1.2.3/8", "prefix length"},
		{"connect --invite f --never-proxy ten", "10.0.0.0/8"},
		{"connect --invite=", "empty"},
		{"intercept x --port 1 --mechanism udp", "tcp|http"},
		{"intercept x --port 1 --ingress-host", "HOST"},
	};
	struct args a;
	struct error e;
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		e.text[0] = 0;
		assert_int_not_equal(parse(&a, cases[i].line, &e), 0);
		if (!strstr(e.text, cases[i].says))
			fail_msg("%s: '%s' does not say '%s'", cases[i].line, e.text,
				 cases[i].says);
	}
}

static void too_many_values_are_refused(void **state)
{
	char *argv[2 * VALUES_MAX + 6] = {(char *)(uintptr_t) "intercept", (char *)(uintptr_t) "x"};
	struct args a;
	struct error e;
	int i;

	(void)state;
	for (i = 0; i < VALUES_MAX + 1; i++) {
		argv[2 + 2 * i] = (char *)(uintptr_t) "--port";
		argv[3 + 2 * i] = (char *)(uintptr_t) "1";
	}
	assert_int_equal(args_parse(&a, &cmd_intercept, 2 + 2 * VALUES_MAX, argv, &e), 0);
	assert_int_not_equal(args_parse(&a, &cmd_intercept, 4 + 2 * VALUES_MAX, argv, &e), 0);
}

static void nearest_is_near(void **state)
{
	static const char *const verbs[] = {"connect", "list", "leave", "status", NULL};

	(void)state;
	assert_string_equal(nearest("conect", verbs), "connect");
	assert_string_equal(nearest("lsit", verbs), "list");
	assert_string_equal(nearest("stauts", verbs), "status");
	assert_null(nearest("frobnicate", verbs));
	assert_null(nearest("xy", verbs));
}

/* What --help shows must work: each example is a line that its own command takes. */
static void examples_parse(void **state)
{
	const struct command *const *c;
	const char *text;
	struct args a;
	struct error e;

	(void)state;
	for (c = commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		text = strstr((*c)->example, "culvert ");
		assert_non_null(text);
		if (text != (*c)->example)
			continue; /* inside another shell construct */
		if (parse(&a, text + strlen("culvert "), &e))
			fail_msg("%s: %s", (*c)->example, e.text);
		assert_ptr_equal(a.cmd, *c);
	}
}

static void tables_are_sound(void **state)
{
	const struct command *const *c;
	const struct flag *f, *g;

	(void)state;
	for (c = commands; *c; c++) {
		assert_ptr_equal(command_find((*c)->name), *c);
		assert_non_null((*c)->exec);
		if ((*c)->hidden)
			continue;
		assert_true((*c)->max_args <= POSITIONAL_MAX && (*c)->min_args <= (*c)->max_args);
		for (f = (*c)->flags; f->name; f++) {
			assert_true(f - (*c)->flags < FLAGS_MAX);
			assert_true(*f->help);
			assert_true(f->type == FLAG_BOOL || *f->value);
			assert_true((f->type == FLAG_CHOICE) == (f->choices != NULL));
			for (g = (*c)->flags; g < f; g++) {
				assert_string_not_equal(f->name, g->name);
				assert_true(!f->letter || f->letter != g->letter);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings_of_a_flag),
		cmocka_unit_test(repeated_and_last_wins),
		cmocka_unit_test(bools),
		cmocka_unit_test(the_command_after_two_dashes),
		cmocka_unit_test(errors_name_the_remedy),
		cmocka_unit_test(too_many_values_are_refused),
		cmocka_unit_test(nearest_is_near),
		cmocka_unit_test(examples_parse),
		cmocka_unit_test(tables_are_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
