/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a login, and what a cluster says about logging in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "login/login.h"

static const struct login_place dev = {"dev", "https://10.0.0.1:6443", "culvert"};
static char state[64];

static int make_folder(void **unused)
{
	(void)unused;
	snprintf(state, sizeof(state), "/tmp/culvert-login-XXXXXX");
	return mkdtemp(state) ? 0 : -1;
}

static int remove_folder(void **unused)
{
	char command[128];

	(void)unused;
	snprintf(command, sizeof(command), "rm -r %s", state);
	return system(command);
}

static struct login *ana(void)
{
	struct login *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	snprintf(l->issuer, sizeof(l->issuer), "https://id.example.org");
	snprintf(l->name, sizeof(l->name), "ana");
	snprintf(l->subject, sizeof(l->subject), "u-17");
	snprintf(l->refresh_token, sizeof(l->refresh_token), "again");
	memset(l->id_token, 'x', sizeof(l->id_token) - 1); /* the longest there may be */
	l->expires = 1800000000;
	return l;
}

/* Of `state`/login there is one file. */
static void find(char path[static 256])
{
	char command[128];
	FILE *p;

	snprintf(command, sizeof(command), "ls %s/login/*.json", state);
	p = popen(command, "r"); // NOLINT(cert-env33-c)
	assert_non_null(p);
	assert_non_null(fgets(path, 256, p));
	path[strcspn(path, "\n")] = '\0';
	pclose(p);
}

static void what_is_kept(void **unused)
{
	struct login *l = ana(), *again = calloc(1, sizeof(*again));
	struct error e;
	struct stat st;
	char path[256];

	(void)unused;
	assert_non_null(again);
	assert_int_equal(login_load(again, state, &dev, &e), -ENOENT);
	assert_int_equal(login_save(l, state, &dev, &e), 0);
	find(path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(login_load(again, state, &dev, &e), 0);
	assert_memory_equal(l->id_token, again->id_token, sizeof(l->id_token));
	assert_string_equal(again->refresh_token, "again");
	assert_string_equal(again->name, "ana");
	assert_string_equal(again->subject, "u-17");
	assert_int_equal(again->expires, 1800000000);

	/* Another cluster, another namespace, another context: not logged in. */
	static const struct login_place others[] = {
		{"dev", "https://10.0.0.2:6443", "culvert"},
		{"dev", "https://10.0.0.1:6443", "other"},
		{"prod", "https://10.0.0.1:6443", "culvert"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(login_load(again, state, &others[i], &e), -ENOENT);

	assert_int_equal(login_remove(state, &dev, &e), 0);
	assert_int_equal(login_load(again, state, &dev, &e), -ENOENT);
	assert_int_equal(login_remove(state, &dev, &e), -ENOENT);
	free(again);
	free(l);
}

static void what_does_not_count(void **unused)
{
	struct login *l = ana(), *again = calloc(1, sizeof(*again));
	struct error e;
	char path[256];
	FILE *f;

	(void)unused;
	assert_non_null(again);
	assert_int_equal(login_save(l, state, &dev, &e), 0);
	find(path);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(login_load(again, state, &dev, &e), -EINVAL);
	assert_non_null(strstr(e.text, "open to others"));
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(login_load(again, state, &dev, &e), 0);
	/* Of the same hash, and about another place. */
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"context\":\"prod\",\"server\":\"https://10.0.0.1:6443\",\"manager_namespace\":"
	      "\"culvert\",\"name\":\"ana\"}",
	      f);
	fclose(f);
	assert_int_equal(login_load(again, state, &dev, &e), -ENOENT);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"context\":", f);
	fclose(f);
	assert_int_equal(login_load(again, state, &dev, &e), -EINVAL);
	assert_non_null(strstr(e.text, "damaged"));
	assert_int_equal(login_remove(state, &dev, &e), 0);
	free(again);
	free(l);
}

static int offer(struct login_offer *o, const char *oidc, const char *gateway, struct error *e)
{
	json_t *j = json_pack("{s:{s:s,s:s}}", "data", "oidc", oidc, "gateway", gateway);
	int err = login_offer_parse(o, j, e);

	json_decref(j);
	return err;
}

static void what_a_cluster_offers(void **unused)
{
	struct login_offer *o = calloc(1, sizeof(*o));
	static const char *const bad[] = {
		"{\"issuer\":\"https://id.example.org\"}",
		"{\"issuer\":\"file:///etc/passwd\",\"clientId\":\"c\"}",
		"{\"issuer\":\"https://id.example.org/\\u001b]0;x\",\"clientId\":\"c\"}",
		"{\"issuer\":7,\"clientId\":\"c\"}",
		"[]",
		"{",
	};
	struct error e;

	(void)unused;
	assert_non_null(o);
	assert_int_equal(offer(o, "", "", &e), 0);
	assert_string_equal(o->issuer, "");
	assert_string_equal(o->previews, "");
	assert_int_equal(offer(o,
			       "{\"issuer\":\"https://id.example.org\",\"clientId\":\"culvert\","
			       "\"scopes\":\"openid\"}",
			       "{\"dashboard\":\"https://dashboard.p.example.org\",\"previews\":"
			       "\"https://*.p.example.org\"}",
			       &e),
			 0);
	assert_string_equal(o->issuer, "https://id.example.org");
	assert_string_equal(o->client_id, "culvert");
	assert_string_equal(o->ca, "");
	assert_string_equal(o->previews, "https://*.p.example.org");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(offer(o, bad[i], "", &e), -EINVAL);
	assert_int_equal(offer(o, "", "{\"previews\":\"javascript:x\"}", &e), -EINVAL);
	free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_kept, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(what_does_not_count, make_folder, remove_folder),
		cmocka_unit_test(what_a_cluster_offers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
