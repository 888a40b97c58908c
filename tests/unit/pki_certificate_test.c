/* SPDX-License-Identifier: Apache-2.0 */
/* pki: certificates that OpenSSL's verifier and its program accept, and what they refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/file.h"
#include "pki/pki.h"

static const char *const names[] = {"culvert.culvert.svc", "culvert.culvert.svc.cluster.local",
				    NULL};
static struct error err;

struct pair {
	char *cert, *key;
};

static void pair_free(const struct pair *p)
{
	free(p->cert);
	free(p->key);
}

static struct pair ca(unsigned days)
{
	struct pair p = {NULL, NULL};

	if (pki_make_ca("culvert", days, &p.cert, &p.key, &err))
		fail_msg("%s", err.text);
	return p;
}

static struct pair leaf(const struct pair *a, unsigned hours)
{
	struct pair p = {NULL, NULL};

	if (pki_make_leaf(a->cert, a->key, names, hours, &p.cert, &p.key, &err))
		fail_msg("%s", err.text);
	return p;
}

static X509 *parse(const char *pem)
{
	BIO *b = BIO_new_mem_buf(pem, -1);
	X509 *c = PEM_read_bio_X509(b, NULL, NULL, NULL);

	BIO_free(b);
	assert_non_null(c);
	return c;
}

/* As a client of TLS would: X509_V_OK or why not. */
static int verify(const char *cert, const char *authority, const char *host, time_t at)
{
	X509 *c = parse(cert), *a = parse(authority);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	int r;

	X509_STORE_add_cert(store, a);
	X509_STORE_CTX_init(ctx, store, c, NULL);
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param,
				    X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set1_host(param, host, 0);
	X509_VERIFY_PARAM_set_time(param, at);
	X509_verify_cert(ctx);
	r = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(a);
	X509_free(c);
	return r;
}

static void accepted_by_the_verifier(void **state)
{
	struct pair a = ca(3650), other = ca(3650), l = leaf(&a, 24);
	time_t now = time(NULL);

	(void)state;
	assert_int_equal(verify(l.cert, a.cert, names[0], now), X509_V_OK);
	assert_int_equal(verify(l.cert, a.cert, names[1], now - 3500), X509_V_OK);
	assert_int_equal(verify(l.cert, a.cert, "culvert.other.svc", now),
			 X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(l.cert, a.cert, names[0], now + 25 * 3600),
			 X509_V_ERR_CERT_HAS_EXPIRED);
	assert_int_equal(verify(l.cert, a.cert, names[0], now - 7200),
			 X509_V_ERR_CERT_NOT_YET_VALID);
	assert_int_not_equal(verify(l.cert, other.cert, names[0], now), X509_V_OK);
	pair_free(&a);
	pair_free(&other);
	pair_free(&l);
}

static void patterns_and_addresses(void **state)
{
	static const char *const of_gateway[] = {"preview.example.com", "*.preview.example.com",
						 "10.1.2.3", NULL};
	static const char *const star[] = {"*.", NULL}, *const inner[] = {"a.*.b", NULL};
	struct pair a = ca(10), l = {NULL, NULL};
	time_t now = time(NULL);
	X509 *c;

	(void)state;
	assert_int_equal(pki_make_leaf(a.cert, a.key, of_gateway, 24, &l.cert, &l.key, &err), 0);
	assert_int_equal(verify(l.cert, a.cert, "preview.example.com", now), X509_V_OK);
	assert_int_equal(verify(l.cert, a.cert, "x.preview.example.com", now), X509_V_OK);
	assert_int_equal(verify(l.cert, a.cert, "x.y.preview.example.com", now),
			 X509_V_ERR_HOSTNAME_MISMATCH);
	c = parse(l.cert);
	assert_int_equal(X509_check_ip_asc(c, "10.1.2.3", 0), 1);
	assert_int_equal(X509_check_ip_asc(c, "10.1.2.4", 0), 0);
	X509_free(c);
	pair_free(&l);
	assert_int_not_equal(pki_make_leaf(a.cert, a.key, star, 24, &l.cert, &l.key, &err), 0);
	assert_int_not_equal(pki_make_leaf(a.cert, a.key, inner, 24, &l.cert, &l.key, &err), 0);
	pair_free(&a);
}

static void accepted_by_the_program(void **state)
{
	struct pair a = ca(10), l = leaf(&a, 24);
	char dir[] = "/tmp/culvert-pki-XXXXXX", command[512];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof(command), "%s/ca.crt", dir);
	assert_int_equal(file_write_atomic(command, a.cert, strlen(a.cert), 0600, &err), 0);
	snprintf(command, sizeof(command), "%s/leaf.crt", dir);
	assert_int_equal(file_write_atomic(command, l.cert, strlen(l.cert), 0600, &err), 0);
	snprintf(command, sizeof(command), "%s/leaf.key", dir);
	assert_int_equal(file_write_atomic(command, l.key, strlen(l.key), 0600, &err), 0);
	/* The last line: the key is that of the certificate. */
	snprintf(command, sizeof(command),
		 "cd %s && openssl verify -x509_strict -purpose sslserver -verify_hostname "
		 "culvert.culvert.svc -CAfile ca.crt leaf.crt >/dev/null && "
		 "test \"$(openssl x509 -in leaf.crt -noout -pubkey)\" = "
		 "\"$(openssl pkey -in leaf.key -pubout)\"",
		 dir);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
	pair_free(&a);
	pair_free(&l);
}

static void ends_with_its_authority(void **state)
{
	struct pair a = ca(1), l = leaf(&a, 1000);
	int64_t end_a, end_l;

	(void)state;
	assert_int_equal(pki_expiry(a.cert, &end_a, &err), 0);
	assert_int_equal(pki_expiry(l.cert, &end_l, &err), 0);
	assert_true(end_l == end_a);
	assert_in_range(end_a, (uint64_t)time(NULL) + 86390, (uint64_t)time(NULL) + 86400);
	pair_free(&a);
	pair_free(&l);
}

static void serials_differ(void **state)
{
	struct pair a = ca(10), one = leaf(&a, 1), two = leaf(&a, 1);
	X509 *x = parse(one.cert), *y = parse(two.cert);

	(void)state;
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(x), X509_get0_serialNumber(y)),
			     0);
	assert_string_not_equal(one.key, two.key);
	X509_free(x);
	X509_free(y);
	pair_free(&one);
	pair_free(&two);
	pair_free(&a);
}

static void must_fail(const char *cert, const char *key, const char *const *dns, const char *says)
{
	struct pair p = {NULL, NULL};

	assert_true(pki_make_leaf(cert, key, dns, 1, &p.cert, &p.key, &err) < 0);
	if (!strstr(err.text, says))
		fail_msg("'%s' is not in: %s", says, err.text);
	assert_null(p.cert);
	assert_null(p.key);
}

static void refused(void **state)
{
	static const char *const none[] = {NULL};
	static const char *const bad[] = {"a,DNS:b", NULL};
	static const char *const empty[] = {"", NULL};
	struct pair a = ca(10), b = ca(10), past = ca(0);
	int64_t when;

	(void)state;
	must_fail("", a.key, names, "authority's certificate");
	must_fail(a.cert, "rubbish", names, "authority's key");
	must_fail(a.cert, a.cert, names, "authority's key");
	must_fail(a.cert, b.key, names, "does not belong");
	must_fail(a.cert, a.key, none, "needs a DNS name");
	must_fail(a.cert, a.key, bad, "no DNS name");
	must_fail(a.cert, a.key, empty, "no DNS name");
	must_fail(past.cert, past.key, names, "has expired");
	assert_true(pki_expiry("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			       &when, &err) < 0);
	pair_free(&a);
	pair_free(&b);
	pair_free(&past);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted_by_the_verifier),
		cmocka_unit_test(patterns_and_addresses),
		cmocka_unit_test(accepted_by_the_program),
		cmocka_unit_test(ends_with_its_authority),
		cmocka_unit_test(serials_differ),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
