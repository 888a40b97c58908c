/* SPDX-License-Identifier: Apache-2.0 */
/* What connections have in common: certificates, whom to trust, and how. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls/tls.h"

static const unsigned char http11[] = "\x08http/1.1";

static void free_bio(BIO **b)
{
	BIO_free(*b);
}

static void free_cert(X509 **c)
{
	X509_free(*c);
}

static void free_key(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void free_ctx(SSL_CTX **c)
{
	SSL_CTX_free(*c);
}

/* ALPN: HTTP/1.1 is all that is spoken here; who offers only others is not told no before it has asked. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len,
			   const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, len, http11, sizeof(http11) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	/* Session tickets resume without memory of ours. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

static int use_chain(SSL_CTX *ctx, const char *pem)
{
	cleanup(free_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	cleanup(free_cert) X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	X509 *more;

	if (!leaf || SSL_CTX_use_certificate(ctx, leaf) != 1)
		return -EINVAL;
	while ((more = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
			X509_free(more);
			return -EINVAL;
		}
	}
	return 0;
}

static int use_key(SSL_CTX *ctx, const char *pem)
{
	cleanup(free_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	cleanup(free_key) EVP_PKEY *key =
		bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	return key && SSL_CTX_use_PrivateKey(ctx, key) == 1 ? 0 : -EINVAL;
}

int tls_server(struct ssl_ctx_st **out, const char *cert, const char *key, struct error *e)
{
	cleanup(free_ctx) SSL_CTX *ctx = new_context(TLS_server_method());

	if (!ctx)
		return error_errno(e, -ENOMEM, "TLS");
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	if (use_chain(ctx, cert))
		return error_set(e, -EINVAL, "the server's certificate is no PEM certificate");
	if (use_key(ctx, key))
		return error_set(e, -EINVAL,
				 "the server's key is no PEM key, or not the certificate's");
	*out = steal_ptr(ctx);
	ERR_clear_error();
	return 0;
}

static int trust_texts(SSL_CTX *ctx, const char *pem)
{
	cleanup(free_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned n = 0;
	X509 *ca;

	while (bio && (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (X509_STORE_add_cert(store, ca) == 1)
			n++;
		X509_free(ca);
	}
	return n ? 0 : -EINVAL;
}

int tls_client(struct ssl_ctx_st **out, const char *ca, bool public, struct error *e)
{
	cleanup(free_ctx) SSL_CTX *ctx = new_context(TLS_client_method());

	if (!ctx || SSL_CTX_set_alpn_protos(ctx, http11, sizeof(http11) - 1))
		return error_errno(e, -ENOMEM, "TLS");
	if (ca && trust_texts(ctx, ca))
		return error_set(e, -EINVAL, "the authority's certificate is no PEM certificate");
	if (public)
		(void)SSL_CTX_set_default_verify_paths(ctx); /* there may be none */
	*out = steal_ptr(ctx);
	ERR_clear_error();
	return 0;
}

void tls_free(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx); /* connections hold their own count */
}
