/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates by OpenSSL. What it complains about is put into our sentence, and its queue left empty. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "base/addr.h"
#include "pki/pki.h"

enum {
	BACKDATE_S = 3600, /* clocks differ */
	SERIAL_BITS = 127, /* positive, and at most 20 octets (RFC 5280, 4.1.2.2) */
	HOUR_S = 3600,
	DAY_S = 24 * HOUR_S,
	NAMES_MAX = 16,
	NAME_LEN_MAX = 253,
};

static void free_key(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void free_cert(X509 **c)
{
	X509_free(*c);
}

static void free_bio(BIO **b)
{
	BIO_free(*b);
}

static int failed(struct error *e, const char *what)
{
	char why[160] = "no memory";
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, why, sizeof(why));
	ERR_clear_error();
	return error_set(e, -EINVAL, "%s: %s", what, why);
}

/* --- texts ----------------------------------------------------------------------------------------------- */

/* The content of a memory BIO, with a NUL. */
static char *text_of(BIO *b)
{
	char *data, *out;
	long len = BIO_get_mem_data(b, &data);

	out = len > 0 ? malloc((size_t)len + 1) : NULL;
	if (!out)
		return NULL;
	memcpy(out, data, (size_t)len);
	out[len] = '\0';
	return out;
}

static char *cert_text(X509 *c)
{
	cleanup(free_bio) BIO *b = BIO_new(BIO_s_mem());

	return b && PEM_write_bio_X509(b, c) ? text_of(b) : NULL;
}

static char *key_text(EVP_PKEY *k)
{
	/* In memory that is wiped when it goes. */
	cleanup(free_bio) BIO *b = BIO_new(BIO_s_secmem());

	return b && PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) ? text_of(b) : NULL;
}

/* Nobody is asked for a password: a file that needs one is of no use here. */
static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

static X509 *read_cert(const char *pem)
{
	cleanup(free_bio) BIO *b = BIO_new_mem_buf(pem, -1);

	return b ? PEM_read_bio_X509(b, NULL, no_password, NULL) : NULL;
}

static EVP_PKEY *read_key(const char *pem)
{
	cleanup(free_bio) BIO *b = BIO_new_mem_buf(pem, -1);

	return b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
}

/* Both texts, or none. */
static int give(X509 *c, EVP_PKEY *k, char **cert, char **key, struct error *e)
{
	char *ct = cert_text(c), *kt = key_text(k);

	if (!ct || !kt) {
		free(ct);
		free(kt);
		return failed(e, "certificate");
	}
	*cert = ct;
	*key = kt;
	return 0;
}

/* --- certificates ---------------------------------------------------------------------------------------- */

static bool set_serial(X509 *c)
{
	BIGNUM *n = BN_new();
	bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(c));

	BN_free(n);
	return ok;
}

static bool add_extension(X509 *c, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *x;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, c, NULL, NULL, 0);
	x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = x && X509_add_ext(c, x, -1);
	X509_EXTENSION_free(x);
	return ok;
}

static bool set_name(X509_NAME *name, const char *cn)
{
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1,
					  -1, 0);
}

/* What all of ours have: version 3, a random serial, validity and the key. */
static X509 *begin(EVP_PKEY *key, time_t until)
{
	X509 *c = X509_new();

	if (c && X509_set_version(c, X509_VERSION_3) && set_serial(c) &&
	    X509_time_adj_ex(X509_getm_notBefore(c), 0, -BACKDATE_S, NULL) &&
	    ASN1_TIME_set(X509_getm_notAfter(c), until) && X509_set_pubkey(c, key))
		return c;
	X509_free(c);
	return NULL;
}

int pki_make_ca(const char *name, unsigned days, char **cert, char **key, struct error *e)
{
	cleanup(free_key) EVP_PKEY *k = EVP_EC_gen("P-256");
	cleanup(free_cert) X509 *c = k ? begin(k, time(NULL) + (time_t)days * DAY_S) : NULL;

	/* pathlen 0: it signs servers, and no further authority. */
	if (!c || !set_name(X509_get_subject_name(c), name) ||
	    !X509_set_issuer_name(c, X509_get_subject_name(c)) ||
	    !add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	    !add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_extension(c, c, NID_subject_key_identifier, "hash") ||
	    !X509_sign(c, k, EVP_sha256()))
		return failed(e, "making a certificate authority");
	return give(c, k, cert, key, e);
}

/* The names go into OpenSSL's own syntax: only what a DNS name has may pass. */
static int alternative_names(const char *const *dns, char *buf, size_t size, struct error *e)
{
	size_t len = 0, i;

	for (i = 0; dns[i]; i++) {
		size_t n = strlen(dns[i]), star = strncmp(dns[i], "*.", 2) ? 0 : 2;
		struct ipaddr ip;

		if (n <= star || n > NAME_LEN_MAX || i == NAMES_MAX ||
		    dns[i][star + strspn(dns[i] + star,
					 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789.-")])
			return error_set(e, -EINVAL, "a certificate for '%.100s': no DNS name",
					 dns[i]);
		len += (size_t)snprintf(buf + len, size - len, "%s%s:%s", i ? "," : "",
					ipaddr_parse(&ip, dns[i]) ? "DNS" : "IP", dns[i]);
	}
	return i ? 0 : error_set(e, -EINVAL, "a certificate needs a DNS name");
}

/* Seconds since 1970. */
static int when_of(const ASN1_TIME *t, int64_t *when)
{
	struct tm tm;

	if (!t || !ASN1_TIME_to_tm(t, &tm))
		return -EINVAL;
	*when = timegm(&tm);
	return 0;
}

static int sign_leaf(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *names, time_t until,
		     char **cert, char **text, struct error *e)
{
	cleanup(free_cert) X509 *c = begin(key, until);

	/* The subject stays empty, so the names are critical (RFC 5280, 4.2.1.6). */
	if (!c || !X509_set_issuer_name(c, X509_get_subject_name(ca)) ||
	    !add_extension(c, ca, NID_basic_constraints, "critical,CA:FALSE") ||
	    !add_extension(c, ca, NID_key_usage, "critical,digitalSignature") ||
	    !add_extension(c, ca, NID_ext_key_usage, "serverAuth") ||
	    !add_extension(c, ca, NID_subject_key_identifier, "hash") ||
	    !add_extension(c, ca, NID_authority_key_identifier, "keyid") ||
	    !add_extension(c, ca, NID_subject_alt_name, names) ||
	    !X509_sign(c, ca_key, EVP_sha256()))
		return failed(e, "making a server's certificate");
	return give(c, key, cert, text, e);
}

int pki_make_leaf(const char *ca_cert, const char *ca_key, const char *const *dns, unsigned hours,
		  char **cert, char **key, struct error *e)
{
	cleanup(free_cert) X509 *ca = read_cert(ca_cert);
	cleanup(free_key) EVP_PKEY *signer = read_key(ca_key);
	cleanup(free_key) EVP_PKEY *k = NULL;
	char names[NAMES_MAX * (NAME_LEN_MAX + 8)];
	time_t now = time(NULL), until = now + (time_t)hours * HOUR_S;
	int64_t end;
	int err;

	if (!ca)
		return failed(e, "the authority's certificate");
	if (!signer)
		return failed(e, "the authority's key");
	if (!X509_check_private_key(ca, signer)) {
		ERR_clear_error();
		return error_set(e, -EINVAL,
				 "the authority's key does not belong to its certificate");
	}
	if (when_of(X509_get0_notAfter(ca), &end) || end <= now)
		return error_set(e, -EINVAL, "the authority's certificate has expired");
	err = alternative_names(dns, names + sizeof("critical,") - 1,
				sizeof(names) - sizeof("critical,"), e);
	if (err)
		return err;
	memcpy(names, "critical,", sizeof("critical,") - 1);
	k = EVP_EC_gen("P-256");
	if (!k)
		return failed(e, "making a key");
	return sign_leaf(ca, signer, k, names, MIN(until, (time_t)end), cert, key, e);
}

int pki_expiry(const char *cert, int64_t *when, struct error *e)
{
	cleanup(free_cert) X509 *c = read_cert(cert);

	if (!c)
		return failed(e, "the certificate");
	return when_of(X509_get0_notAfter(c), when)
		       ? error_set(e, -EINVAL, "the certificate does not say when it ends")
		       : 0;
}
