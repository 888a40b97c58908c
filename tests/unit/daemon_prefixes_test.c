/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of routed prefixes: what is cut out is out, nothing else is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/prefixes.h"

static struct prefix pfx(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text), 0);
	return p;
}

static void add(struct prefixes *s, const char *text)
{
	struct prefix p = pfx(text);

	assert_int_equal(prefixes_add(s, &p), 0);
}

static int subtract(struct prefixes *s, const char *text)
{
	struct prefix p = pfx(text);

	return prefixes_subtract(s, &p);
}

static bool has(const struct prefixes *s, const char *text)
{
	struct ipaddr a;

	assert_int_equal(ipaddr_parse(&a, text), 0);
	return prefixes_find(s, &a) != NULL;
}

static void add_merges(void **state)
{
	struct prefixes s = {0};

	(void)state;
	add(&s, "10.1.0.0/16");
	add(&s, "10.1.2.0/24"); /* inside */
	assert_int_equal(s.n, 1);
	add(&s, "fd00::/64");
	add(&s, "10.0.0.0/8"); /* around */
	assert_int_equal(s.n, 2);
	assert_true(has(&s, "10.200.0.1") && has(&s, "fd00::1") && !has(&s, "11.0.0.1"));
}

static void a_hole_is_exact(void **state)
{
	struct prefixes s = {0};

	(void)state;
	add(&s, "10.96.0.0/16");
	add(&s, "fd10:244::/64");
	assert_int_equal(subtract(&s, "10.96.3.7/32"), 0);
	assert_int_equal(s.n, 16 + 1);
	assert_false(has(&s, "10.96.3.7"));
	assert_true(has(&s, "10.96.3.6") && has(&s, "10.96.3.8") && has(&s, "10.96.0.0") &&
		    has(&s, "10.96.255.255"));
	assert_false(has(&s, "10.95.255.255") || has(&s, "10.97.0.0"));
	assert_int_equal(subtract(&s, "fd10:244::10/128"), -ENOSPC); /* 64 more */
	assert_int_equal(s.n, 17);
	assert_int_equal(subtract(&s, "fd10:244::/66"), 0);
	assert_false(has(&s, "fd10:244::1"));
	assert_true(has(&s, "fd10:244:0:0:4000::1") && has(&s, "fd10:244:0:0:8000::"));
}

/* Every address of a /16, against the definition. */
static void holes_by_exhaustion(void **state)
{
	static const char *const holes[] = {"10.5.0.0/18", "10.5.200.0/23", "10.5.77.77/32",
					    "10.5.255.0/24"};
	struct prefixes s = {0};
	unsigned i, h;

	(void)state;
	add(&s, "10.5.0.0/16");
	for (h = 0; h < ARRAY_SIZE(holes); h++)
		assert_int_equal(subtract(&s, holes[h]), 0);
	for (i = 0; i < 65536; i++) {
		uint8_t b[4] = {10, 5, (uint8_t)(i >> 8), (uint8_t)i};
		struct ipaddr a = ipaddr_v4(b);
		bool out = false;

		for (h = 0; h < ARRAY_SIZE(holes); h++) {
			struct prefix p = pfx(holes[h]);

			out |= prefix_contains(&p, &a);
		}
		assert_int_equal(prefixes_find(&s, &a) != NULL, !out);
	}
	for (i = 0; i < s.n; i++)
		for (h = 0; h < i; h++)
			assert_false(prefix_overlaps(&s.p[i], &s.p[h]));
}

static void a_hole_may_take_all_or_nothing(void **state)
{
	struct prefixes s = {0};

	(void)state;
	add(&s, "10.96.0.0/16");
	assert_int_equal(subtract(&s, "192.168.0.0/16"), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(subtract(&s, "10.0.0.0/8"), 0);
	assert_int_equal(s.n, 0);
}

static void full_is_said(void **state)
{
	struct prefixes s = {0};
	char text[32];
	struct prefix p;
	unsigned i;

	(void)state;
	for (i = 0; i < PREFIXES_MAX; i++) {
		snprintf(text, sizeof(text), "10.%u.0.0/16", 2 * i);
		add(&s, text);
	}
	p = pfx("192.168.0.0/16");
	assert_int_equal(prefixes_add(&s, &p), -ENOSPC);
	assert_int_equal(s.n, PREFIXES_MAX);
	assert_false(has(&s, "192.168.0.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_merges),
		cmocka_unit_test(a_hole_is_exact),
		cmocka_unit_test(holes_by_exhaustion),
		cmocka_unit_test(a_hole_may_take_all_or_nothing),
		cmocka_unit_test(full_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
