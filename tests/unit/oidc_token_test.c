/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens by keys made here: good ones of both kinds, and one refusal for each thing that can be wrong with one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <openssl/hmac.h>
#include <openssl/x509.h>

#include "oidc/internal.h"
#include "tests/unit/oidc_keys.h"

#define ISSUER "https://issuer.example.com"
#define NOW    1800000000LL

static struct test_key rs, es, strange;
static struct oidc_keys *keys;
static char *const dev[] = {"groups=nobody", "groups=dev"};
static const struct oidc_rules rules = {
	.issuer = ISSUER,
	.client_id = "culvert",
	.nonce = NULL,
	.nallow = ARRAY_SIZE(dev),
	.allow = dev,
	.allow_needed = true,
};

static struct oidc_keys *key_set(json_t *list)
{
	json_t *o = json_pack("{s:o}", "keys", list);
	char *text = json_dumps(o, 0);
	struct oidc_keys *k = NULL;
	struct error e;

	if (oidc_keys_parse(&k, text, strlen(text), &e))
		fail_msg("%s: %s", e.text, text);
	free(text);
	json_decref(o);
	return k;
}

static int setup(void **unused)
{
	(void)unused;
	rs = test_key_rsa("one", 2048);
	es = test_key_ec("two", "P-256");
	strange = test_key_rsa("one", 2048); /* of the same name */
	keys = key_set(json_pack("[o, o]", test_jwk(&rs), test_jwk(&es)));
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	oidc_keys_free(keys);
	EVP_PKEY_free(rs.pkey);
	EVP_PKEY_free(es.pkey);
	EVP_PKEY_free(strange.pkey);
	return 0;
}

/* As a call does it. */
static int judge_by(const struct oidc_rules *by, const char *token, struct oidc_identity *who,
		    struct error *e)
{
	size_t len = strlen(token);
	char *exact = malloc(len + 1); /* so that a read beyond its end is seen */
	struct oidc_jwt j = {.claims = NULL};
	int r;

	memcpy(exact, token, len);
	r = oidc_jwt_parse(&j, exact, len, e);
	if (r == 0)
		r = oidc_keys_verify(keys, &j, exact, e);
	if (r == 0)
		r = oidc_claims_check(j.claims, by, NOW, who, e);
	oidc_jwt_clear(&j);
	free(exact);
	return r;
}

static void expect(const struct oidc_rules *by, char *token, int code, const char *says)
{
	struct error e = {.text = ""};
	struct oidc_identity who;
	int r = judge_by(by, token, &who, &e);

	if (r != code || !strstr(e.text, says))
		fail_msg("expected %d '%s', got %d '%s' of %s", code, says, r, e.text, token);
	free(token);
}

static json_t *claims(void)
{
	return test_claims(ISSUER, "culvert", NOW);
}

/* Good claims but for one; NULL takes it away. */
static json_t *but(const char *name, json_t *value)
{
	json_t *c = claims();

	if (value)
		json_object_set_new(c, name, value);
	else
		json_object_del(c, name);
	return c;
}

static void test_good(void **unused)
{
	struct oidc_identity who;
	struct error e;
	char *t;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		t = test_sign(i ? &es : &rs, claims());
		if (judge_by(&rules, t, &who, &e))
			fail_msg("%s", e.text);
		assert_string_equal(who.subject, "248289");
		assert_string_equal(who.name, "dora");
		assert_int_equal(who.expires, NOW + 3600);
		free(t);
	}
	t = test_sign_text(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"jku\":\"https://evil\"}",
			   "{\"iss\":\"" ISSUER
			   "\",\"aud\":[\"x\",\"culvert\"],\"azp\":\"culvert\","
			   "\"sub\":\"s\",\"exp\":1800000000.9,\"iat\":1.8e9,\"groups\":\"dev\"}");
	if (judge_by(&rules, t, &who, &e))
		fail_msg("%s", e.text);
	assert_string_equal(who.name, "s");
	free(t);
}

static void test_names(void **unused)
{
	static const struct {
		const char *name, *value, *shown;
	} cases[] = {
		{"preferred_username", "", "d@example.com"},
		{"preferred_username", "a\x1b[2Jb", "d@example.com"},
		{"preferred_username", "zoë", "zoë"},
	};
	struct oidc_identity who;
	struct error e;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *c = but(cases[i].name, json_string(cases[i].value));

		json_object_set_new(c, "email", json_string("d@example.com"));
		assert_int_equal(oidc_claims_check(c, &rules, NOW, &who, &e), 0);
		assert_string_equal(who.name, cases[i].shown);
		json_decref(c);
	}
}

static void test_claims_refused(void **unused)
{
	struct oidc_rules nonce = rules;
	json_t *c;

	(void)unused;
	nonce.nonce = "n-1";
	expect(&rules, test_sign(&rs, but("iss", json_string("https://other"))), -EACCES,
	       "another issuer ('https://other')");
	expect(&rules, test_sign(&rs, but("iss", json_string(ISSUER "/"))), -EACCES,
	       "another issuer");
	expect(&rules, test_sign(&rs, but("iss", NULL)), -EACCES, "another issuer");
	expect(&rules, test_sign(&rs, but("aud", json_string("other"))), -EACCES, "another client");
	expect(&rules, test_sign(&rs, but("aud", json_pack("[s]", "other"))), -EACCES,
	       "another client");
	expect(&rules, test_sign(&rs, but("aud", json_true())), -EACCES, "another client");
	expect(&rules, test_sign(&rs, but("aud", NULL)), -EACCES, "another client");
	expect(&rules, test_sign(&rs, but("aud", json_pack("[s, s]", "culvert", "other"))), -EACCES,
	       "'azp'");
	expect(&rules, test_sign(&rs, but("azp", json_string("other"))), -EACCES, "'azp'");
	c = but("aud", json_pack("[s, s]", "culvert", "other"));
	json_object_set_new(c, "azp", json_string("other"));
	expect(&rules, test_sign(&rs, c), -EACCES, "'azp'");
	expect(&nonce, test_sign(&rs, claims()), -EACCES, "'nonce'");
	expect(&nonce, test_sign(&rs, but("nonce", json_string("n-2"))), -EACCES, "'nonce'");
	expect(&nonce, test_sign(&rs, but("nonce", json_string("n-1"))), 0, "");
	expect(&rules, test_sign(&rs, but("sub", NULL)), -EACCES, "'sub'");
	expect(&rules, test_sign(&rs, but("sub", json_string("a\nb"))), -EACCES, "'sub'");
	expect(&rules, test_sign(&rs, but("sub", json_integer(7))), -EACCES, "'sub'");
}

static void test_times(void **unused)
{
	static const struct {
		const char *name;
		long long from_now;
		const char *says; /* NULL = good */
	} cases[] = {
		{"exp", -59, NULL},	     {"exp", -60, "expired 60 s ago: log in again"},
		{"iat", 60, NULL},	     {"iat", 61, "begins only in 61 s: this clock"},
		{"nbf", 60, NULL},	     {"nbf", 61, "this clock"},
		{"nbf", -1000000, NULL},     {"exp", 1LL << 60, NULL},
		{"iat", 1LL << 60, "clock"}, {"exp", -(1LL << 60), "expired"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect(&rules,
		       test_sign(&rs, but(cases[i].name, json_integer(NOW + cases[i].from_now))),
		       cases[i].says ? -EACCES : 0, cases[i].says ? cases[i].says : "");
	expect(&rules, test_sign(&rs, but("exp", json_real(1e300))), 0, "");
	expect(&rules, test_sign(&rs, but("exp", NULL)), -EACCES, "no usable 'exp'");
	expect(&rules, test_sign(&rs, but("iat", NULL)), -EACCES, "no usable 'iat'");
	expect(&rules, test_sign(&rs, but("exp", json_string("1900000000"))), -EACCES, "'exp'");
	expect(&rules, test_sign(&rs, but("nbf", json_true())), -EACCES, "'nbf'");
}

static void test_allow(void **unused)
{
	static const struct {
		const char *rule;
		bool holds;
	} cases[] = {
		{"groups=dev", true},  {"groups=de", false}, {"groups=devs", false},
		{"groups=", false},    {"level=3", true},    {"level=03", false},
		{"share=0.5", true},   {"admin=true", true}, {"admin=1", false},
		{"org=a=b", true},     {"none=null", false}, {"nothing=dev", false},
		{"nested=dev", false}, {"numbers=2", true},  {"https://x.y/z=dev", true},
	};
	struct oidc_rules by = rules;
	struct oidc_identity who;
	struct error e;
	json_t *c = claims();

	(void)unused;
	json_object_set_new(c, "level", json_integer(3));
	json_object_set_new(c, "share", json_real(0.5));
	json_object_set_new(c, "admin", json_true());
	json_object_set_new(c, "org", json_string("a=b"));
	json_object_set_new(c, "none", json_null());
	json_object_set_new(c, "nested", json_pack("{s:s}", "dev", "dev"));
	json_object_set_new(c, "numbers", json_pack("[i, i]", 1, 2));
	json_object_set_new(c, "https://x.y/z", json_string("dev"));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *one[] = {(char *)(uintptr_t)cases[i].rule};
		int r;

		by.allow = one;
		by.nallow = 1;
		r = oidc_claims_check(c, &by, NOW, &who, &e);
		if (r != (cases[i].holds ? 0 : -EACCES))
			fail_msg("%s: %d", cases[i].rule, r);
		if (r && (!strstr(e.text, "dora may not enter") || !strstr(e.text, cases[i].rule)))
			fail_msg("%s", e.text);
	}
	/* An address counts unless the issuer says that it has not verified it. */
	by.allow = (char *[]){(char *)(uintptr_t) "email=a@b"};
	json_object_set_new(c, "email", json_string("a@b"));
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), 0);
	json_object_set_new(c, "email_verified", json_true());
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), 0);
	json_object_set_new(c, "email_verified", json_string("false"));
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), -EACCES);
	json_object_set_new(c, "email_verified", json_false());
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), -EACCES);
	by.nallow = 0;
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), -EACCES);
	assert_non_null(strstr(e.text, "nobody may enter"));
	by.allow_needed = false;
	assert_int_equal(oidc_claims_check(c, &by, NOW, &who, &e), 0);
	json_decref(c);
}

/* --- signatures ------------------------------------------------------------------------------------------ */

static char *with_header(const struct test_key *k, const char *header)
{
	json_t *c = claims();
	char *text = json_dumps(c, 0), *token = test_sign_text(k, header, text);

	free(text);
	json_decref(c);
	return token;
}

/* The public key as the secret of an HMAC: what a verifier that believes `alg` would take. */
static char *confused(void)
{
	char *t = with_header(&rs, "{\"alg\":\"HS256\",\"kid\":\"one\"}"), *dot = strrchr(t, '.');
	uint8_t mac[32], der[1024], *p = der;
	int len = i2d_PUBKEY(rs.pkey, &p);

	HMAC(EVP_sha256(), der, len, (uint8_t *)t, (size_t)(dot - t), mac, NULL);
	base64url_encode(dot + 1, mac, sizeof(mac));
	return t;
}

static char *unsigned_token(const char *alg)
{
	char header[64], *t;

	snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", alg);
	t = with_header(&rs, header);
	strrchr(t, '.')[1] = '\0';
	return t;
}

static void test_algorithms(void **unused)
{
	static const char *const others[] = {"none",  "None",  "HS256", "RS384", "RS512",
					     "PS256", "ES384", "EdDSA", "rs256", ""};
	char header[64];

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		expect(&rules, unsigned_token(others[i]), -EINVAL, "only RS256 and ES256");
		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"one\"}", others[i]);
		expect(&rules, with_header(&rs, header), -EINVAL, "only RS256 and ES256");
	}
	expect(&rules, confused(), -EINVAL, "only RS256 and ES256");
	expect(&rules, with_header(&rs, "{\"kid\":\"one\"}"), -EINVAL, "only RS256 and ES256");
	expect(&rules, with_header(&rs, "{\"alg\":[\"RS256\"],\"kid\":\"one\"}"), -EINVAL,
	       "only RS256 and ES256");
	expect(&rules, unsigned_token("RS256"), -EINVAL, "signature is damaged");
	/* A key serves one algorithm alone. */
	expect(&rules, with_header(&rs, "{\"alg\":\"ES256\",\"kid\":\"one\"}"), -ENOKEY,
	       "does not have ('one')");
	expect(&rules, with_header(&es, "{\"alg\":\"RS256\",\"kid\":\"two\"}"), -ENOKEY,
	       "does not have ('two')");
}

static void test_headers(void **unused)
{
	(void)unused;
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"typ\":\"jwt\"}"), 0,
	       "");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\"}"), 0, "");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"typ\":\"at+jwt\"}"),
	       -EINVAL, "another kind");
	expect(&rules,
	       with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"typ\":\"logout+jwt\"}"),
	       -EINVAL, "another kind");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"typ\":1}"), -EINVAL,
	       "another kind");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\",\"crit\":[\"exp\"]}"),
	       -EINVAL, "'crit'");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":\"three\"}"), -ENOKEY,
	       "does not have ('three')");
	expect(&rules, with_header(&rs, "{\"alg\":\"RS256\",\"kid\":7}"), -EINVAL, "'kid'");
	expect(&rules, with_header(&rs, "{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"one\"}"),
	       -EINVAL, "header is damaged");
	expect(&rules, with_header(&rs, "[\"RS256\"]"), -EINVAL, "header is damaged");
	expect(&rules, with_header(&rs, "{"), -EINVAL, "header is damaged");
}

static void test_signatures(void **unused)
{
	char *t, *good = test_sign(&rs, claims()), *good_ec;

	(void)unused;
	expect(&rules, test_sign(&strange, claims()), -EBADMSG, "signature is wrong");
	/* Each part changed. */
	for (size_t at = 0; at < strlen(good); at += 37) {
		struct oidc_identity who;
		struct error e;

		t = strdup(good);
		t[at] = t[at] == '.' ? 'A' : t[at] == 'A' ? 'B' : 'A';
		assert_int_not_equal(judge_by(&rules, t, &who, &e), 0);
		free(t);
	}
	/* Cut, lengthened, another length than the kind has. */
	t = strdup(good);
	t[strlen(t) - 2] = '\0';
	expect(&rules, t, -EBADMSG, "signature is wrong");
	assert_true(asprintf(&t, "%sAAAA", good) > 0);
	expect(&rules, t, -EBADMSG, "signature is wrong");
	t = test_sign(&es, claims());
	strrchr(t, '.')[1 + 84] = '\0'; /* 63 bytes */
	expect(&rules, t, -EBADMSG, "signature is wrong");
	good_ec = test_sign(&es, claims());
	assert_true(asprintf(&t, "%sA", good_ec) > 0); /* 65 */
	expect(&rules, t, -EBADMSG, "signature is wrong");
	free(good_ec);
	/* Zeros for r and s verify with anything where they are not looked at. */
	t = test_sign(&es, claims());
	memset(strrchr(t, '.') + 1, 'A', 86);
	expect(&rules, t, -EBADMSG, "signature is wrong");
	free(good);
}

/* The same bytes have one text: another would be another name of the same token. */
static void test_encoding(void **unused)
{
	char *t, *good;

	(void)unused;
	good = test_sign(
		&rs,
		claims()); /* 256 bytes of signature end in a digit with 4 bits that mean nothing */
	t = strdup(good);
	t[strlen(t) - 1]++;
	expect(&rules, t, -EINVAL, "signature is damaged");
	assert_true(asprintf(&t, "%s==", good) > 0);
	expect(&rules, t, -EINVAL, "signature is damaged");
	assert_true(asprintf(&t, "%s\n", good) > 0);
	expect(&rules, t, -EINVAL, "signature is damaged");
	assert_true(asprintf(&t, " %s", good) > 0);
	expect(&rules, t, -EINVAL, "header is damaged");
	assert_true(asprintf(&t, "%s.x", good) > 0);
	expect(&rules, t, -EINVAL, "three parts");
	expect(&rules, strdup("a.b"), -EINVAL, "three parts");
	expect(&rules, strdup(""), -EINVAL, "three parts");
	expect(&rules, strdup(".."), -EINVAL, "damaged");
	t = malloc(OIDC_TOKEN_MAX + 2);
	memset(t, 'A', OIDC_TOKEN_MAX + 1);
	t[OIDC_TOKEN_MAX + 1] = '\0';
	t[100] = t[200] = '.';
	expect(&rules, t, -EINVAL, "longer than 16384 bytes");
	expect(&rules,
	       test_sign_text(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\"}",
			      "{\"sub\":\"a\",\"sub\":\"b\"}"),
	       -EINVAL, "claims are damaged");
	expect(&rules, test_sign_text(&rs, "{\"alg\":\"RS256\",\"kid\":\"one\"}", "[]"), -EINVAL,
	       "claims are damaged");
	free(good);
}

/* --- key sets ---------------------------------------------------------------------------------------------- */

static unsigned taken(json_t *jwk)
{
	struct oidc_keys *k = key_set(json_pack("[o]", jwk));
	unsigned n = oidc_keys_count(k);

	oidc_keys_free(k);
	return n;
}

static json_t *jwk_but(const struct test_key *k, const char *name, json_t *value)
{
	json_t *j = test_jwk(k);

	if (value)
		json_object_set_new(j, name, value);
	else
		json_object_del(j, name);
	return j;
}

static void test_keys(void **unused)
{
	struct test_key small = test_key_rsa("small", 1024), p384 = test_key_ec("p", "P-384");
	char big[700];

	(void)unused;
	assert_int_equal(taken(test_jwk(&rs)), 1);
	assert_int_equal(taken(jwk_but(&rs, "alg", NULL)), 1);
	assert_int_equal(taken(jwk_but(&es, "use", NULL)), 1);
	assert_int_equal(taken(jwk_but(&es, "key_ops", json_pack("[s]", "verify"))), 1);
	assert_int_equal(taken(jwk_but(&es, "key_ops", json_pack("[s]", "sign"))), 0);
	assert_int_equal(taken(jwk_but(&rs, "use", json_string("enc"))), 0);
	assert_int_equal(taken(jwk_but(&rs, "alg", json_string("RS512"))), 0);
	assert_int_equal(taken(jwk_but(&rs, "alg", json_string("ES256"))), 0);
	assert_int_equal(taken(jwk_but(&rs, "kty", json_string("oct"))), 0);
	assert_int_equal(taken(jwk_but(&rs, "kid", json_integer(1))), 0);
	assert_int_equal(taken(jwk_but(&rs, "n", NULL)), 0);
	assert_int_equal(taken(jwk_but(&rs, "e", json_string("AQ"))), 0);   /* 1 */
	assert_int_equal(taken(jwk_but(&rs, "e", json_string("AQAA"))), 0); /* even */
	assert_int_equal(taken(jwk_but(&rs, "n", json_string("no base64"))), 0);
	assert_int_equal(taken(test_jwk(&small)), 0);
	memset(big, 'x', sizeof(big));
	assert_int_equal(taken(jwk_but(&rs, "kid", json_stringn(big, sizeof(big)))), 0);
	assert_int_equal(taken(jwk_but(&p384, "crv", json_string("P-384"))), 0);
	assert_int_equal(taken(jwk_but(&es, "crv", json_string("P-521"))), 0);
	/* Not on the curve. */
	assert_int_equal(taken(jwk_but(&es, "x",
				       json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"))),
			 0);
	assert_int_equal(taken(jwk_but(&es, "y", json_string("AAAA"))), 0);
	assert_int_equal(taken(json_integer(3)), 0);
	EVP_PKEY_free(small.pkey);
	EVP_PKEY_free(p384.pkey);
}

static void test_key_sets(void **unused)
{
	struct oidc_keys *two = key_set(json_pack("[o, o]", test_jwk(&rs), test_jwk(&strange))), *k;
	char *t = with_header(&strange, "{\"alg\":\"RS256\"}"), *text;
	json_t *list = json_array(), *set;
	struct oidc_jwt j;
	struct error e;

	(void)unused;
	/* Two of one kind: a token must say which; and of one name: either will do. */
	assert_int_equal(oidc_jwt_parse(&j, t, strlen(t), &e), 0);
	assert_int_equal(oidc_keys_verify(two, &j, t, &e), -EINVAL);
	assert_non_null(strstr(e.text, "does not say with which"));
	strcpy(j.kid, "one");
	assert_int_equal(oidc_keys_verify(two, &j, t, &e), 0);
	oidc_jwt_clear(&j);
	free(t);
	oidc_keys_free(two);

	for (int i = 0; i <= OIDC_KEYS; i++)
		json_array_append_new(list, test_jwk(&es));
	set = json_pack("{s:o}", "keys", list);
	text = json_dumps(set, 0);
	assert_int_equal(oidc_keys_parse(&k, text, strlen(text), &e), -E2BIG);
	assert_non_null(strstr(e.text, "more than 64 keys"));
	free(text);
	json_decref(set);
	assert_int_equal(oidc_keys_parse(&k, "{}", 2, &e), -EINVAL);
	assert_int_equal(oidc_keys_parse(&k, "{\"keys\":[", 9, &e), -EINVAL);
	assert_int_equal(oidc_keys_parse(&k, "{\"keys\":[],\"keys\":[]}", 21, &e), -EINVAL);
	assert_int_equal(oidc_keys_parse(&k, "{\"keys\":[]}", 11, &e), 0);
	assert_int_equal(oidc_keys_count(k), 0);
	oidc_keys_free(k);
}

/* --- discovery --------------------------------------------------------------------------------------------- */

static void test_metadata(void **unused)
{
	static const struct {
		const char *json, *says; /* NULL = good */
	} cases[] = {
		{"{\"issuer\":\"" ISSUER
		 "\",\"token_endpoint\":\"https://a/t\",\"jwks_uri\":\"https://a/k\"}",
		 NULL},
		{"{\"issuer\":\"" ISSUER
		 "/\",\"token_endpoint\":\"https://a/t\",\"jwks_uri\":\"https://a/k\"}",
		 "calls itself '" ISSUER "/'"},
		{"{\"token_endpoint\":\"https://a/t\",\"jwks_uri\":\"https://a/k\"}",
		 "calls itself"},
		{"{\"issuer\":\"" ISSUER "\",\"token_endpoint\":\"https://a/t\"}", "no 'jwks_uri'"},
		{"{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://a/k\"}", "no 'token_endpoint'"},
		{"{\"issuer\":\"" ISSUER
		 "\",\"token_endpoint\":\"http://a/t\",\"jwks_uri\":\"https://a/k\"}",
		 "not encrypted"},
		{"{\"issuer\":\"" ISSUER
		 "\",\"token_endpoint\":\"http://127.0.0.1/t\",\"jwks_uri\":\"https://a/k\"}",
		 "not https"},
		{"{\"issuer\":\"" ISSUER
		 "\",\"token_endpoint\":\"file:///etc/passwd\",\"jwks_uri\":\"https://a/k\"}",
		 "no usable URL"},
		{"{\"issuer\":\"" ISSUER "\",\"token_endpoint\":7,\"jwks_uri\":\"https://a/k\"}",
		 "no URL"},
		{"[]", "damaged"},
		{"", "damaged"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct oidc_metadata m = {.token = NULL};
		struct error e = {.text = ""};
		int r = oidc_metadata_parse(&m, ISSUER, cases[i].json, strlen(cases[i].json), &e);

		if (!r != !cases[i].says || (r && !strstr(e.text, cases[i].says)))
			fail_msg("%s: %d '%s'", cases[i].json, r, e.text);
		if (r == 0)
			assert_true(!m.device && !m.authorization && !m.offline &&
				    !m.secret_in_form);
		oidc_metadata_clear(&m);
	}
}

static void test_config(void **unused)
{
	static const struct {
		const char *issuer, *client, *allow, *says;
	} cases[] = {
		{"http://issuer.example.com", "c", "a=b", "not encrypted"},
		{"https://user:pw@issuer.example.com", "c", "a=b", "no usable URL"},
		{"https://issuer.example.com/#x", "c", "a=b", "no usable URL"},
		{"https://issuer.example.com/?x", "c", "a=b", "query"},
		{"ftp://issuer.example.com", "c", "a=b", "no usable URL"},
		{"issuer", "c", "a=b", "no usable URL"},
		{"", "c", "a=b", "no usable URL"},
		{ISSUER, "", "a=b", "client id"},
		{ISSUER, "c", "groups", "CLAIM=VALUE"},
		{ISSUER, "c", "=dev", "CLAIM=VALUE"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct oidc_config cfg = {.issuer = cases[i].issuer,
					  .client_id = cases[i].client,
					  .nallow = 1,
					  .allow = {cases[i].allow}};
		struct oidc *o = NULL;
		struct error e = {.text = ""};

		assert_int_equal(oidc_new(&o, NULL, &cfg, &e), -EINVAL);
		if (!strstr(e.text, cases[i].says))
			fail_msg("%s: '%s'", cases[i].issuer, e.text);
		assert_null(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	       cmocka_unit_test(test_names),
		cmocka_unit_test(test_claims_refused), cmocka_unit_test(test_times),
		cmocka_unit_test(test_allow),	       cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_headers),	       cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_encoding),       cmocka_unit_test(test_keys),
		cmocka_unit_test(test_key_sets),       cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
