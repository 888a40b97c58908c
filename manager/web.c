/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we serve over HTTP: the overlay as a WebSocket (through the API server, or a port-forward), probes, and over TLS the
 * webhook that puts agents into pods, and the gateways' links. Its certificate is made here, of the authority that install has made, and renewed in time.
 */
#include <errno.h>
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "manager/kubernetes.h"
#include "pki/pki.h"
#include "serve/serve.h"

enum { LEAF_HOURS = 30 * 24, PEM_MAX = 65536, RETRY_S = 60 };

struct web {
	struct kubernetes *k;
	struct serve *plain, *tls;
	char *ca_cert, *ca_key;
	nsec_t renew_at;
	struct log_limit limit;
};

/* --- requests -------------------------------------------------------------------------------------------------- */

static void answer(struct serve_request *r, int status, const char *text)
{
	serve_reply(r, status, "text/plain", text, strlen(text));
}

static bool path_is(const struct serve_request *r, const char *path)
{
	const char *is = serve_path(r);
	size_t len = strcspn(is, "?");

	return len == strlen(path) && !strncmp(is, path, len);
}

static void overlay(struct web *w, struct serve_request *r)
{
	struct stream *s = NULL;
	union sockaddr_any remote;
	struct ipaddr from;
	struct path path;
	struct error e;

	serve_remote(r, &remote);
	from = sockaddr_ip(&remote);
	if (serve_websocket(r, &s)) {
		answer(r, 400, "this is where a WebSocket begins\n");
		return;
	}
	if (node_add_stream(w->k->m->node, s, &from, &path, &e)) {
		log_limited(&w->limit, 10 * NSEC_PER_SEC, "WebSocket: %s", e.text);
		s->ops->abort(s);
	}
}

static void on_plain(void *arg, struct serve_request *r)
{
	struct web *w = arg;

	if (strcmp(serve_method(r), "GET") != 0)
		answer(r, 405, "only GET\n");
	else if (path_is(r, "/overlay"))
		overlay(w, r);
	else if (path_is(r, "/healthz") || (path_is(r, "/readyz") && cluster_published(w->k)))
		answer(r, 200, "ok\n");
	else if (path_is(r, "/readyz"))
		answer(r, 503, "not everything has been listed, or the ConfigMap is not written\n");
	else
		answer(r, 404, "not here\n");
}

static void inject(struct web *w, struct serve_request *r)
{
	char *text = NULL;
	const char *body;
	struct error what;
	size_t len = 0;

	body = serve_body(r, &len);
	if (inject_review(cluster_inject(w->k), body, len, &text, &what)) {
		log_limited(&w->limit, 10 * NSEC_PER_SEC, "webhook: %s", what.text);
		answer(r, 400, what.text);
	} else {
		log_info("webhook: %s", what.text);
		serve_reply(r, 200, "application/json", text, strlen(text));
	}
	free(text);
}

static void on_tls(void *arg, struct serve_request *r)
{
	struct web *w = arg;

	if (!strcmp(serve_method(r), "POST") && path_is(r, "/inject"))
		inject(w, r);
	else if (!strcmp(serve_method(r), "GET") && path_is(r, "/gateway"))
		gateways_request(w->k, r);
	else
		answer(r, 404, "not here\n");
}

/* --- the certificate --------------------------------------------------------------------------------------------- */

static int read_pem(const struct web *w, const char *name, char **to, struct error *e)
{
	char path[4096];
	size_t len = 0;

	snprintf(path, sizeof(path), "%s/%s", w->k->m->cfg->keys, name);
	return file_read(path, PEM_MAX, to, &len, e);
}

static int make_leaf(struct web *w, char **cert, char **key, struct error *e)
{
	char names[3][2 * K8S_NAME_MAX + DOMAIN_MAX_LEN + 16];
	const char *const dns[] = {names[0], names[1], names[2], NULL};
	const char *service = w->k->m->cfg->service;
	int64_t expiry = 0, now = (int64_t)(clock_real() / NSEC_PER_SEC);
	int r;

	snprintf(names[0], sizeof(names[0]), "%s.%s.svc", service, w->k->ns);
	snprintf(names[1], sizeof(names[1]), "%s.%s", service, w->k->ns);
	snprintf(names[2], sizeof(names[2]), "%s.%s.svc.%s", service, w->k->ns,
		 cluster_domain(w->k));
	r = pki_make_leaf(w->ca_cert, w->ca_key, dns, LEAF_HOURS, cert, key, e);
	if (r == 0)
		r = pki_expiry(*cert, &expiry, e);
	/* At two thirds of its life. */
	if (r == 0)
		w->renew_at = clock_boot() +
			      (nsec_t)MAX(expiry - now, (int64_t)RETRY_S) * 2 / 3 * NSEC_PER_SEC;
	return r;
}

static int serve_tls(struct web *w, struct error *e)
{
	static const struct serve_ops ops = {on_tls};
	cleanup(free_ptr) char *cert = NULL;
	char *key = NULL;
	int r = make_leaf(w, &cert, &key, e);

	if (r == 0 && w->tls)
		r = serve_set_cert(w->tls, cert, key, e);
	else if (r == 0)
		r = serve_new(&w->tls, w->k->m->base, &w->k->m->cfg->webhook, cert, key, &ops, w,
			      e);
	if (key)
		crypto_wipe(key, strlen(key));
	free(key);
	return r;
}

void web_tick(struct web *w, nsec_t now)
{
	struct error e;

	if (now < w->renew_at)
		return;
	w->renew_at = now + RETRY_S * NSEC_PER_SEC;
	if (serve_tls(w, &e))
		log_error("webhook: its certificate cannot be renewed: %s", e.text);
	else
		log_info("webhook: certificate renewed");
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

int web_new(struct kubernetes *k, struct error *e)
{
	static const struct serve_ops ops = {on_plain};
	struct web *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_errno(e, -ENOMEM, "start");
	k->web = w;
	w->k = k;
	r = read_pem(w, "ca.crt", &w->ca_cert, e);
	if (r == 0)
		r = read_pem(w, "ca.key", &w->ca_key, e);
	if (r == 0)
		r = serve_tls(w, e);
	if (r == 0)
		r = serve_new(&w->plain, k->m->base, &k->m->cfg->websocket, NULL, NULL, &ops, w, e);
	return r;
}

void web_free(struct web *w)
{
	if (!w)
		return;
	serve_free(w->plain);
	serve_free(w->tls);
	if (w->ca_key)
		crypto_wipe(w->ca_key, strlen(w->ca_key));
	free(w->ca_key);
	free(w->ca_cert);
	free(w);
}
