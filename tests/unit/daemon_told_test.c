/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager tells by its ConfigMap: taken, not there yet, of another version, damaged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/told.h"

#define KEY "QVF/eAM0AkXItPM+y+e7jvi+iHJu+VC8sW5ToPtNMho="

static struct told told;
static struct error e;

/* The ConfigMap of a manager that serves, with one value changed; NULL = taken away. */
static int with(const char *key, const char *value)
{
	json_t *map = json_pack("{s:{s:s,s:s,s:s,s:s,s:s,s:s,s:s}}", "data", "version", "0.4.0",
				"protocol", "1", "publicKey", KEY, "udp",
				"[\"192.0.2.1:31820\",\"[2001:db8::1]:31820\"]", "prefixes", "[]",
				"clusterDomain", "cluster.local", "ready", "true");
	json_t *data = json_object_get(map, "data");
	int err;

	assert_non_null(map);
	if (value)
		json_object_set_new(data, key, json_string(value));
	else
		json_object_del(data, key);
	err = told_parse(&told, map, &e);
	json_decref(map);
	return err;
}

static void of_a_manager_that_serves(void **state)
{
	char text[ADDR_STRLEN];

	(void)state;
	assert_int_equal(with("dns", "10.96.0.10:53"), 0);
	assert_string_equal(told.version, "0.4.0");
	assert_string_equal(told.domain, "cluster.local");
	assert_int_equal(told.key[0], 0x41);
	assert_int_equal(told.nudp, 2);
	assert_string_equal(sockaddr_format(&told.udp[1], text), "[2001:db8::1]:31820");
	assert_int_equal(with("udp", "[]"), 0);
	assert_int_equal(told.nudp, 0);
	assert_int_equal(with("udp", NULL), 0);
}

static void more_endpoints_than_are_tried(void **state)
{
	(void)state;
	assert_int_equal(with("udp", "[\"192.0.2.1:1\",\"192.0.2.2:1\",\"192.0.2.3:1\","
				     "\"192.0.2.4:1\",\"192.0.2.5:1\"]"),
			 0);
	assert_int_equal(told.nudp, TOLD_UDP);
}

static void not_yet(void **state)
{
	json_t *empty = json_object();

	(void)state;
	assert_int_equal(told_parse(&told, empty, &e), -EAGAIN); /* as install makes it */
	json_decref(empty);
	assert_int_equal(with("publicKey", NULL), -EAGAIN);
	assert_int_equal(with("ready", ""), -EAGAIN);
	assert_int_equal(with("ready", NULL), -EAGAIN);
}

static void of_another_version(void **state)
{
	(void)state;
	assert_int_equal(with("protocol", "2"), -EPROTO);
	assert_non_null(strstr(e.text, "0.4.0"));
	assert_non_null(strstr(e.text, CULVERT_VERSION));
	assert_int_equal(with("protocol", NULL), -EPROTO);
}

static void damaged(void **state)
{
	(void)state;
	assert_int_equal(with("publicKey", "AAAA"), -EINVAL);
	assert_int_equal(with("udp", "192.0.2.1:1"), -EINVAL);
	assert_int_equal(with("udp", "[\"host:1\"]"), -EINVAL);
	assert_int_equal(with("udp", "[1]"), -EINVAL);
	assert_int_equal(with("clusterDomain", "a b"), -EINVAL);
	assert_int_equal(with("clusterDomain", NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_manager_that_serves),
		cmocka_unit_test(more_endpoints_than_are_tried),
		cmocka_unit_test(not_yet),
		cmocka_unit_test(of_another_version),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
