/* SPDX-License-Identifier: Apache-2.0 */
/* An issuer's private keys, for tests: JWKs of them, and tokens signed by them. */
#pragma once

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "base/base64.h"
#include "oidc/oidc.h"

struct test_key {
	EVP_PKEY *pkey;
	const char *kid;
	bool rsa;
};

static inline struct test_key test_key_rsa(const char *kid, unsigned bits)
{
	return (struct test_key){EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits), kid, true};
}

static inline struct test_key test_key_ec(const char *kid, const char *curve)
{
	return (struct test_key){EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve), kid, false};
}

static inline json_t *test_text(const void *data, size_t len)
{
	char text[2048];

	base64url_encode(text, data, len);
	return json_string(text);
}

static inline json_t *test_number(const struct test_key *k, const char *name, size_t len)
{
	BIGNUM *n = NULL;
	uint8_t bytes[1024];
	json_t *j;

	EVP_PKEY_get_bn_param(k->pkey, name, &n);
	len = len ? len : (size_t)BN_num_bytes(n);
	BN_bn2binpad(n, bytes, (int)len);
	j = test_text(bytes, len);
	BN_free(n);
	return j;
}

/* The public half. */
static inline json_t *test_jwk(const struct test_key *k)
{
	json_t *j = json_pack("{s:s, s:s, s:s?, s:s}", "kty", k->rsa ? "RSA" : "EC", "use", "sig",
			      "kid", k->kid, "alg", k->rsa ? "RS256" : "ES256");

	if (k->rsa) {
		json_object_set_new(j, "n", test_number(k, OSSL_PKEY_PARAM_RSA_N, 0));
		json_object_set_new(j, "e", test_number(k, OSSL_PKEY_PARAM_RSA_E, 0));
	} else {
		json_object_set_new(j, "crv", json_string("P-256"));
		json_object_set_new(j, "x", test_number(k, OSSL_PKEY_PARAM_EC_PUB_X, 32));
		json_object_set_new(j, "y", test_number(k, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
	}
	return j;
}

/* r and s side by side. */
static inline size_t test_raw(uint8_t raw[static 64], const uint8_t *der, size_t len)
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
	ECDSA_SIG_free(sig);
	return 64;
}

/* A token of these two texts, malloc'ed. */
static inline char *test_sign_text(const struct test_key *k, const char *header, const char *claims)
{
	size_t room = OIDC_TOKEN_MAX * 4, n, len = 1024;
	char *t = malloc(room);
	uint8_t sig[1024], raw[64];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	base64url_encode(t, header, strlen(header));
	n = strlen(t);
	t[n++] = '.';
	base64url_encode(t + n, claims, strlen(claims));
	n += strlen(t + n);
	EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey);
	EVP_DigestSign(ctx, sig, &len, (const uint8_t *)t, n);
	EVP_MD_CTX_free(ctx);
	t[n++] = '.';
	if (k->rsa)
		base64url_encode(t + n, sig, len);
	else
		base64url_encode(t + n, raw, test_raw(raw, sig, len));
	return t;
}

/* Consumes `claims`. */
static inline char *test_sign(const struct test_key *k, json_t *claims)
{
	char header[512], *text = json_dumps(claims, JSON_COMPACT), *token;

	snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
		 k->rsa ? "RS256" : "ES256", k->kid);
	token = test_sign_text(k, header, text);
	free(text);
	json_decref(claims);
	return token;
}

static inline json_t *test_claims(const char *issuer, const char *client, long long now)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:[s, s], s:I, s:I}", "iss", issuer, "aud", client,
			 "sub", "248289", "preferred_username", "dora", "groups", "staff", "dev",
			 "iat", (json_int_t)now, "exp", (json_int_t)now + 3600);
}
