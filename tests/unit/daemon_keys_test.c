/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and timestamps on disk: no timestamp is sent twice, whatever happens between two runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/keys.h"

static char folder[] = "/tmp/culvert-keys-XXXXXX";
static const struct invite_claim claim = {.id = {1, 2, 3}}, other = {.id = {4}};

static int make_folder(void **state)
{
	(void)state;
	return crypto_init() || !mkdtemp(folder) ? -1 : 0;
}

static int remove_folder(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -r %s", folder);
	return system(cmd);
}

static void a_key_per_invite(void **state)
{
	struct keys a, b, again;
	struct error e;
	struct stat st;

	(void)state;
	assert_int_equal(keys_load(&a, folder, &claim, &e), 0);
	assert_int_equal(keys_load(&b, folder, &other, &e), 0);
	assert_memory_not_equal(a.id.pub, b.id.pub, KEY_LEN);
	assert_int_equal(stat(a.stamp_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	keys_close(&b);
	assert_int_equal(keys_load(&again, folder, &claim, &e), 0);
	assert_memory_equal(a.id.pub, again.id.pub, KEY_LEN);
	keys_close(&a);
	keys_close(&again);
}

/* A run that is killed leaves what is stored ahead: the next run starts above all that the first
 * can have sent. */
static void a_crash_repeats_no_stamp(void **state)
{
	struct keys first, second;
	struct error e;
	nsec_t sent;
	int i;

	(void)state;
	assert_int_equal(keys_load(&first, folder, &claim, &e), 0);
	for (i = 0, sent = clock_real(); i < 1000; i++) {
		sent += 10 * NSEC_PER_SEC; /* nearly three hours of handshakes */
		assert_int_equal(keys_stamp(&first, sent, &e), 0);
		assert_true(first.stored > sent);
	}
	assert_int_equal(keys_load(&second, folder, &claim, &e), 0); /* the first was not closed */
	assert_true(second.last > sent);
	assert_true(second.stored > second.last);
	keys_close(&second);
}

static void an_orderly_end_stores_the_last(void **state)
{
	struct keys k;
	struct error e;
	nsec_t sent;

	(void)state;
	assert_int_equal(keys_load(&k, folder, &other, &e), 0);
	sent = MAX(clock_real(), k.last) + 1;
	assert_int_equal(keys_stamp(&k, sent, &e), 0);
	keys_close(&k);
	assert_int_equal(keys_load(&k, folder, &other, &e), 0);
	assert_int_equal(k.last, sent);
	keys_close(&k);
}

static void a_damaged_stamp_is_named(void **state)
{
	struct keys k;
	struct error e;
	FILE *f;

	(void)state;
	assert_int_equal(keys_load(&k, folder, &claim, &e), 0);
	keys_close(&k);
	f = fopen(k.stamp_path, "w");
	fputs("yesterday\n", f);
	fclose(f);
	assert_int_not_equal(keys_load(&k, folder, &claim, &e), 0);
	assert_non_null(strstr(e.text, ".stamp"));
	assert_int_equal(k.id.priv[0] | k.id.priv[31], 0); /* wiped */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_per_invite),
		cmocka_unit_test(a_crash_repeats_no_stamp),
		cmocka_unit_test(an_orderly_end_stores_the_last),
		cmocka_unit_test(a_damaged_stamp_is_named),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
