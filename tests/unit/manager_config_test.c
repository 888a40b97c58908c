/* SPDX-License-Identifier: Apache-2.0 */
/* manager.yaml on Kubernetes: who logs people in and where previews are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager/config.h"

static struct error err;

static int load(struct config **c, const char *text)
{
	char path[] = "/tmp/culvert-config-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	r = config_load(c, path, true, &err);
	unlink(path);
	return r;
}

static void refuse(const char *text, const char *says)
{
	struct config *c = NULL;

	if (!load(&c, text))
		fail_msg("it is taken: %s", text);
	if (!strstr(err.text, says))
		fail_msg("'%s' is not in: %s", says, err.text);
}

static void what_it_holds(void **state)
{
	struct config *c = NULL;

	(void)state;
	assert_int_equal(load(&c, "oidc:\n"
				  "  issuer: https://id.example.com\n"
				  "  client-id: culvert\n"
				  "  scopes: \"\"\n"
				  "  ca: /etc/culvert/oidc-ca.crt\n"
				  "  allow: [\"groups=dev\", \"name=a=b\"]\n"
				  "gateway:\n"
				  "  preview-domain: preview.example.com:8443\n"),
			 0);
	assert_string_equal(c->oidc.issuer, "https://id.example.com");
	assert_string_equal(c->oidc.client_id, "culvert");
	assert_string_equal(c->oidc.ca, "/etc/culvert/oidc-ca.crt");
	assert_int_equal(c->oidc.nallow, 2);
	assert_string_equal(c->oidc.allow[1], "name=a=b");
	assert_string_equal(c->gateway.domain, "preview.example.com:8443");
	config_free(c);
	assert_int_equal(load(&c, "gateway: {preview-host: \"h:1\", dashboard-host: \"h:2\"}\n"),
			 0);
	assert_string_equal(c->gateway.host, "h:1");
	assert_string_equal(c->gateway.dashboard, "h:2");
	assert_string_equal(c->oidc.issuer, "");
	config_free(c);
	assert_int_equal(load(&c, "pool: 198.18.0.0/15\n"), 0);
	assert_string_equal(c->gateway.domain, "");
	config_free(c);
}

static void what_it_refuses(void **state)
{
	char text[1024];

	(void)state;
	refuse("oidc: {issuer: https://a.b, client-id: x}\n", "allow");
	refuse("oidc: {issuer: https://a.b, allow: [a=b]}\n", "client-id");
	refuse("oidc: {client-id: x, allow: [a=b]}\n", "issuer");
	refuse("oidc: {issuer: https://a.b, client-id: x, allow: []}\n", "who may enter");
	refuse("oidc: {issuer: https://a.b, client-id: x, allow: [ab]}\n", "CLAIM=VALUE");
	refuse("oidc: {issuer: https://a.b, client-id: x, allow: [\"=b\"]}\n", ":1:");
	refuse("oidc: {issuer: https://a.b, client-id: x, allow: [a=b], more: 1}\n", "more");
	refuse("gateway: {}\n", "either a preview-domain or a preview-host");
	refuse("gateway: {preview-domain: a, preview-host: b, dashboard-host: c}\n", "either");
	refuse("gateway: {preview-host: b}\n", "dashboard-host of its own");
	refuse("gateway: {preview-host: b, dashboard-host: b}\n", "dashboard-host of its own");
	snprintf(text, sizeof(text), "gateway: {preview-domain: %0300d}\n", 1);
	refuse(text, "characters are allowed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_holds),
		cmocka_unit_test(what_it_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
