/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An issuer's keys (RFC 7517), and what they have signed. A key is of one kind and is asked for one algorithm alone, so a
 * token cannot choose how its signature is read.
 */
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "base/base64.h"
#include "oidc/internal.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, P256_LEN = 32 };

struct key {
	char kid[256];
	enum oidc_alg alg;
	EVP_PKEY *pkey;
};

struct oidc_keys {
	unsigned n;
	struct key key[OIDC_KEYS];
};

void oidc_keys_free(struct oidc_keys *k)
{
	if (!k)
		return;
	for (unsigned i = 0; i < k->n; i++)
		EVP_PKEY_free(k->key[i].pkey);
	free(k);
}

unsigned oidc_keys_count(const struct oidc_keys *k)
{
	return k->n;
}

/* --- keys out of JSON ------------------------------------------------------------------------------------ */

/* Bytes of a member, or -EINVAL. */
static long bytes(const json_t *jwk, const char *name, uint8_t *to, size_t room)
{
	const json_t *v = json_object_get(jwk, name);

	return json_is_string(v)
		       ? base64url_decode(to, room, json_string_value(v), json_string_length(v))
		       : -EINVAL;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *pkey = NULL;

	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return pkey;
}

static EVP_PKEY *rsa(const json_t *jwk)
{
	uint8_t n[RSA_BITS_MAX / 8 + 1], e[8];
	long n_len = bytes(jwk, "n", n, sizeof(n)), e_len = bytes(jwk, "e", e, sizeof(e));
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *bn_n = NULL, *bn_e = NULL;
	EVP_PKEY *pkey = NULL;

	if (bld && n_len > 0 && e_len > 0) {
		bn_n = BN_bin2bn(n, (int)n_len, NULL);
		bn_e = BN_bin2bn(e, (int)e_len, NULL);
	}
	if (bn_n && bn_e && BN_num_bits(bn_n) >= RSA_BITS_MIN &&
	    BN_num_bits(bn_n) <= RSA_BITS_MAX && BN_is_odd(bn_n) && BN_is_odd(bn_e) &&
	    !BN_is_one(bn_e) && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e))
		pkey = build("RSA", bld);
	BN_free(bn_n);
	BN_free(bn_e);
	OSSL_PARAM_BLD_free(bld);
	return pkey;
}

/* OpenSSL takes no point that is not on the curve. */
static EVP_PKEY *p256(const json_t *jwk)
{
	const char *crv = json_string_value(json_object_get(jwk, "crv"));
	uint8_t point[1 + 2 * P256_LEN] = {POINT_CONVERSION_UNCOMPRESSED};
	OSSL_PARAM_BLD *bld;
	EVP_PKEY *pkey = NULL;

	if (!crv || strcmp(crv, "P-256") != 0 || bytes(jwk, "x", point + 1, P256_LEN) != P256_LEN ||
	    bytes(jwk, "y", point + 1 + P256_LEN, P256_LEN) != P256_LEN)
		return NULL;
	bld = OSSL_PARAM_BLD_new();
	if (bld &&
	    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
		pkey = build("EC", bld);
	OSSL_PARAM_BLD_free(bld);
	return pkey;
}

/* A member that is there says otherwise. */
static bool other(const json_t *jwk, const char *name, const char *wanted)
{
	const json_t *v = json_object_get(jwk, name);

	return v && (!json_is_string(v) || strcmp(json_string_value(v), wanted) != 0);
}

static bool verifies(const json_t *jwk)
{
	const json_t *ops = json_object_get(jwk, "key_ops"), *op;
	size_t i;

	json_array_foreach(ops, i, op)
	{
		if (json_is_string(op) && !strcmp(json_string_value(op), "verify"))
			return true;
	}
	return !ops;
}

/* False: it is not for us. */
static bool take(struct key *key, const json_t *jwk)
{
	const char *kty = json_string_value(json_object_get(jwk, "kty"));
	const json_t *kid = json_object_get(jwk, "kid");

	if (!kty || other(jwk, "use", "sig") || !verifies(jwk) ||
	    (kid && (!json_is_string(kid) || json_string_length(kid) >= sizeof(key->kid))))
		return false;
	memcpy(key->kid, kid ? json_string_value(kid) : "", kid ? json_string_length(kid) + 1 : 1);
	if (!strcmp(kty, "RSA") && !other(jwk, "alg", "RS256")) {
		key->alg = OIDC_RS256;
		key->pkey = rsa(jwk);
	} else if (!strcmp(kty, "EC") && !other(jwk, "alg", "ES256")) {
		key->alg = OIDC_ES256;
		key->pkey = p256(jwk);
	}
	return key->pkey;
}

int oidc_keys_parse(struct oidc_keys **kp, const char *json, size_t len, struct error *e)
{
	json_t *set = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL), *jwk;
	const json_t *list = json_object_get(set, "keys");
	struct oidc_keys *k = calloc(1, sizeof(*k));
	size_t i;
	int r = 0;

	if (!k)
		r = error_errno(e, -ENOMEM, "keys");
	else if (!json_is_array(list))
		r = error_set(e, -EINVAL, "its key set is damaged");
	else if (json_array_size(list) > OIDC_KEYS)
		r = error_set(e, -E2BIG, "its key set has more than %d keys", OIDC_KEYS);
	json_array_foreach(list, i, jwk)
	{
		if (r)
			break;
		if (take(&k->key[k->n], jwk))
			k->n++;
	}
	ERR_clear_error();
	json_decref(set);
	if (r)
		oidc_keys_free(k);
	else
		*kp = k;
	return r;
}

/* --- signatures ------------------------------------------------------------------------------------------ */

/* JWS has r and s side by side, OpenSSL wants DER. Malloc'ed by OpenSSL; 0 = no. */
static int to_der(const struct oidc_jwt *j, unsigned char **der)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r, *s;
	int n;

	if (!sig || j->signature_len != 2 * P256_LEN) {
		ECDSA_SIG_free(sig);
		return 0;
	}
	r = BN_bin2bn(j->signature, P256_LEN, NULL);
	s = BN_bin2bn(j->signature + P256_LEN, P256_LEN, NULL);
	if (!r || !s || !ECDSA_SIG_set0(sig, r, s)) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(sig);
		return 0;
	}
	n = i2d_ECDSA_SIG(sig, der);
	ECDSA_SIG_free(sig);
	return n;
}

static bool signed_by(const struct key *key, const struct oidc_jwt *j, const char *text)
{
	const unsigned char *signature = j->signature;
	unsigned char *der = NULL;
	size_t len = j->signature_len;
	EVP_MD_CTX *ctx;
	bool ok;

	if (key->alg == OIDC_ES256) {
		int n = to_der(j, &der);

		if (n <= 0)
			return false;
		signature = der;
		len = (size_t)n;
	}
	ctx = EVP_MD_CTX_new();
	ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
	     EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text, j->signed_len) == 1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	ERR_clear_error();
	return ok;
}

/* OpenID Connect Core 10.1: with more than one key the token must name its own. */
static unsigned count(const struct oidc_keys *k, enum oidc_alg alg)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->n; i++)
		n += k->key[i].alg == alg;
	return n;
}

int oidc_keys_verify(const struct oidc_keys *k, const struct oidc_jwt *j, const char *text,
		     struct error *e)
{
	unsigned fitting = 0;

	if (!*j->kid && count(k, j->alg) > 1)
		return error_set(
			e, -EINVAL,
			"the token does not say with which of the issuer's keys it is signed");
	for (unsigned i = 0; i < k->n; i++) {
		const struct key *key = &k->key[i];

		if (key->alg != j->alg || (*j->kid && strcmp(key->kid, j->kid) != 0))
			continue;
		fitting++;
		if (signed_by(key, j, text))
			return 0;
	}
	if (*j->kid && !fitting)
		return error_set(e, -ENOKEY,
				 "the token is signed with a key that the issuer does not have "
				 "('%.80s')",
				 j->kid);
	return error_set(e, fitting ? -EBADMSG : -ENOKEY, "the token's signature is wrong");
}
