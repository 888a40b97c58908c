/* SPDX-License-Identifier: Apache-2.0 */
/* install: what it says of login and previews, and the gateway's keys. */
#include <errno.h>

#include "base/base64.h"
#include "base/file.h"
#include "cli/install.h"
#include "crypto/crypto.h"
#include "pki/pki.h"

enum {
	LEAF_DAYS = 825,  /* browsers refuse longer ones */
	RENEW_DAYS = 180, /* an install makes another when less is left */
	PEM_MAX = 1 << 18,
	SECRET_MAX = 4096,
};

const char *const gateway_services[] = {"LoadBalancer", "NodePort", "ClusterIP", NULL};

/* --- flags ----------------------------------------------------------------------------------------------------- */

static int read_flag(char **to, const struct args *a, const char *flag, size_t max, bool secret,
		     struct error *e)
{
	const char *path = args_text(a, flag);
	char *text = NULL;
	size_t len = 0;
	int err;

	if (!path)
		return 0;
	err = file_read(path, max, &text, &len, e);
	if (err)
		return error_wrap(e, -EINVAL, "--%s", flag);
	while (secret && len && strchr("\r\n", text[len - 1]))
		len--;
	if (!len || (!secret && !strstr(text, "-----BEGIN CERTIFICATE-----")))
		err = error_set(e, -EINVAL, "--%s %s: %s", flag, path,
				secret ? "the file is empty" : "no certificate in PEM is in it");
	else if (!(*to = base64_encode(text, len)))
		err = error_errno(e, -ENOMEM, "--%s", flag);
	crypto_wipe(text, len);
	free(text);
	return err;
}

int gateway_values(struct deploy_values *v, const struct args *a, struct error *e)
{
	const struct {
		const char *flag;
		char *to;
		size_t size;
	} texts[] = {{"preview-domain", v->preview_domain, sizeof(v->preview_domain)},
		     {"preview-host", v->preview_host, sizeof(v->preview_host)},
		     {"dashboard-host", v->dashboard_host, sizeof(v->dashboard_host)},
		     {"preview-tls-secret", v->preview_tls_secret, sizeof(v->preview_tls_secret)},
		     {"gateway-service", v->gateway_service, sizeof(v->gateway_service)},
		     {"gateway-image", v->gateway_image, sizeof(v->gateway_image)},
		     {"oidc-issuer", v->oidc_issuer, sizeof(v->oidc_issuer)},
		     {"oidc-client-id", v->oidc_client_id, sizeof(v->oidc_client_id)},
		     {"oidc-scopes", v->oidc_scopes, sizeof(v->oidc_scopes)}};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(texts); i++)
		err = copy_flag(texts[i].to, texts[i].size, a, texts[i].flag, e);
	if (!err)
		err = copy_number(&v->gateway_node_port, a, "gateway-node-port", 65535, e);
	if (!err)
		err = copy_number(&v->dashboard_node_port, a, "dashboard-node-port", 65535, e);
	if (!err)
		err = copy_many(v->allow, DEPLOY_ALLOW, &v->nallow, a, "oidc-allow", e);
	if (!err)
		err = read_flag(&v->ingress_ca, a, "ingress-ca", PEM_MAX, false, e);
	if (!err)
		err = read_flag(&v->oidc_ca, a, "oidc-ca", PEM_MAX, false, e);
	return err ? err
		   : read_flag(&v->oidc_secret, a, "oidc-client-secret-file", SECRET_MAX, true, e);
}

/* --- keys ------------------------------------------------------------------------------------------------------- */

static int make_cookie_key(struct deploy_values *v, struct error *e)
{
	char text[KEY_TEXT_LEN + 1];
	uint8_t key[KEY_LEN];

	crypto_random(key, sizeof(key));
	key_format(key, text);
	memcpy(text + KEY_TEXT_LEN - 1, "\n", 2);
	v->cookie_key = base64_encode(text, strlen(text));
	crypto_wipe(key, sizeof(key));
	crypto_wipe(text, sizeof(text));
	return v->cookie_key ? 0 : error_errno(e, -ENOMEM, "keys");
}

static int make_certificate(struct deploy_values *v, struct error *e)
{
	cleanup(free_ptr) char *ca = NULL, *ca_key = NULL, *cert = NULL, *key = NULL;
	size_t len, key_len = 0;
	int err = base64_decode(v->ca_cert, &ca, &len);

	if (!err)
		err = base64_decode(v->ca_key, &ca_key, &key_len);
	if (err)
		return error_errno(e, err, "the Secret culvert-manager");
	err = pki_make_leaf(ca, ca_key, deploy_gateway_names(v), LEAF_DAYS * 24, &cert, &key, e);
	crypto_wipe(ca_key, key_len);
	if (err)
		return err;
	free(v->gateway_cert);
	free(v->gateway_key);
	v->gateway_cert = base64_encode(cert, strlen(cert));
	v->gateway_key = base64_encode(key, strlen(key));
	crypto_wipe(key, strlen(key));
	return v->gateway_cert && v->gateway_key ? 0 : error_errno(e, -ENOMEM, "keys");
}

int gateway_keys(struct deploy_values *v, struct error *e)
{
	int err = 0;

	if (!deploy_has_gateway(v))
		return 0;
	if (!v->cookie_key)
		err = make_cookie_key(v, e);
	if (!err && (!v->gateway_cert || !v->gateway_key))
		err = make_certificate(v, e);
	return err;
}

static char *secret_value(const json_t *secret, const char *name)
{
	const char *text = object_text(secret, "data", name);

	return *text ? strdup(text) : NULL;
}

/* For these names, of the same authority, and for long enough. */
static bool may_stay(const struct deploy_values *v, const json_t *secret)
{
	const char *const *names = deploy_gateway_names(v);
	cleanup(free_ptr) char *cert = NULL;
	int64_t expiry = 0;
	struct error e;
	char text[560];
	size_t len;

	snprintf(text, sizeof(text), "%s%s%s", names[0], names[1] ? "," : "",
		 names[1] ? names[1] : "");
	if (strcmp(object_text(secret, "metadata", "annotations", "culvert.dev/names"), text) !=
		    0 ||
	    strcmp(object_text(secret, "data", "ca.crt"), v->ca_cert) != 0 ||
	    base64_decode(object_text(secret, "data", "tls.crt"), &cert, &len) ||
	    pki_expiry(cert, &expiry, &e))
		return false;
	return expiry - (int64_t)(clock_real() / NSEC_PER_SEC) > RENEW_DAYS * 86400;
}

int gateway_find_keys(struct cluster *c, struct deploy_values *v, struct error *e)
{
	char path[128];
	json_t *secret;
	int err;

	if (!deploy_has_gateway(v))
		return 0;
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/secrets/culvert-gateway", v->ns);
	err = cluster_find(c, &secret, e, path);
	if (err || !secret)
		return err ? err : gateway_keys(v, e);
	v->cookie_key = secret_value(secret, "cookie.key");
	if (may_stay(v, secret)) {
		v->gateway_cert = secret_value(secret, "tls.crt");
		v->gateway_key = secret_value(secret, "tls.key");
	}
	if (!v->oidc_secret && *v->oidc_issuer)
		v->oidc_secret = secret_value(secret, "oidc-secret");
	json_decref(secret);
	return gateway_keys(v, e);
}

int gateway_remove(struct cluster *c, const struct deploy_values *v, bool *was, struct error *e)
{
	static const char *const paths[] = {
		"/apis/apps/v1/namespaces/%s/deployments/culvert-gateway",
		"/api/v1/namespaces/%s/services/culvert-gateway",
		"/api/v1/namespaces/%s/configmaps/culvert-gateway",
		"/api/v1/namespaces/%s/serviceaccounts/gateway"};
	char path[192];
	int err = 0;

	*was = false;
	for (size_t i = 0; !err && i < ARRAY_SIZE(paths); i++) {
		const char *rest = strstr(paths[i], "%s");
		json_t *there = NULL;

		snprintf(path, sizeof(path), "%.*s%s%s", (int)(rest - paths[i]), paths[i], v->ns,
			 rest + 2);
		/* Whoever has none to remove needs no right to. */
		err = cluster_find(c, &there, e, path);
		if (!err && there)
			err = cluster_delete(c, e, path, NULL);
		*was |= there && i == 0;
		json_decref(there);
	}
	return err;
}
