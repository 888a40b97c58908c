/* SPDX-License-Identifier: Apache-2.0 */
/* The key of cookies, and the certificate that visitors see: read again when its files change. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "gateway/internal.h"
#include "tls/tls.h"

enum { FILE_MAX = 1 << 18 };

static int read_key(struct gateway *g, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	uint8_t tag[AUTH_TAG_LEN];
	char path[600];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/cookie.key", g->config.keys);
	r = file_read(path, 1024, &text, &len, e);
	if (r)
		return r;
	text[strcspn(text, " \r\n")] = '\0';
	r = key_parse(g->key, text);
	explicit_bzero(text, len);
	if (r)
		return error_set(e, -EINVAL, "%s: expected 32 bytes in base64", path);
	auth_tag(tag, "culvert loop", 12, g->key);
	hex_encode(g->loop, tag, sizeof(g->loop) / 2);
	return 0;
}

/* The folder that both files are in. */
static const char *folder(const struct gateway *g)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/tls.crt", g->config.tls);
	return *g->config.tls && access(path, R_OK) == 0 ? g->config.tls : g->config.keys;
}

static uint64_t stamp_of(const char *path, uint64_t seed)
{
	struct stat st;

	if (stat(path, &st))
		return seed;
	return (seed * 31 + (uint64_t)st.st_ino) * 31 + (uint64_t)st.st_mtim.tv_sec * 1000003 +
	       (uint64_t)st.st_mtim.tv_nsec + (uint64_t)st.st_size;
}

static uint64_t cert_stamp(const struct gateway *g)
{
	const char *in = folder(g);
	char path[600];
	uint64_t stamp = siphash((const uint64_t[2]){0, 0}, in, strlen(in));

	snprintf(path, sizeof(path), "%s/tls.crt", in);
	stamp = stamp_of(path, stamp);
	snprintf(path, sizeof(path), "%s/tls.key", in);
	return stamp_of(path, stamp);
}

static int read_cert(struct gateway *g, struct error *e)
{
	cleanup(free_ptr) char *cert = NULL;
	cleanup(free_ptr) char *key = NULL;
	struct ssl_ctx_st *ctx;
	const char *in = folder(g);
	char path[600];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/tls.crt", in);
	r = file_read(path, FILE_MAX, &cert, &len, e);
	snprintf(path, sizeof(path), "%s/tls.key", in);
	if (r == 0)
		r = file_read(path, FILE_MAX, &key, &len, e);
	if (r == 0)
		r = tls_server(&ctx, cert, key, e);
	if (key)
		explicit_bzero(key, strlen(key));
	if (r)
		return error_wrap(e, r, "the gateway's certificate in %s", in);
	tls_free(g->server);
	g->server = ctx;
	return 0;
}

static int trust(struct ssl_ctx_st **ctx, const char *path, bool public, struct error *e)
{
	cleanup(free_ptr) char *ca = NULL;
	size_t len;
	int r = *path ? file_read(path, FILE_MAX, &ca, &len, e) : 0;

	if (r == 0)
		r = tls_client(ctx, ca, public, e);
	return r && *path ? error_wrap(e, r, "%s", path) : r;
}

int keys_load(struct gateway *g, struct error *e)
{
	int r = read_key(g, e);

	g->cert_stamp = cert_stamp(g);
	if (r == 0)
		r = read_cert(g, e);
	if (r == 0)
		r = trust(&g->to_manager, g->config.ca, false, e);
	if (r == 0)
		r = trust(&g->to_ingress, g->config.ingress_ca, true, e);
	return r;
}

void keys_tick(struct gateway *g)
{
	uint64_t stamp = cert_stamp(g);
	struct error e;

	if (stamp == g->cert_stamp)
		return;
	g->cert_stamp = stamp;
	if (read_cert(g, &e))
		log_warn("%s; the old one stays in use", e.text);
	else
		log_info("certificate: read again from %s", folder(g));
}
