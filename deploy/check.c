/* SPDX-License-Identifier: Apache-2.0 */
/* Values of an installation: defaults, and what each may hold. */
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "deploy/internal.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void deploy_values_clear(struct deploy_values *v)
{
	wipe(v->overlay_key);
	wipe(v->ca_cert);
	wipe(v->ca_key);
	wipe(v->oidc_ca);
	wipe(v->ingress_ca);
	wipe(v->cookie_key);
	wipe(v->gateway_cert);
	wipe(v->gateway_key);
	wipe(v->oidc_secret);
	memset(v, 0, sizeof(*v));
}

static bool only(const char *s, const char *characters)
{
	return !s[strspn(s, characters)];
}

/* A DNS label (RFC 1123): what a namespace may be called. */
static bool is_label(const char *s)
{
	size_t len = strlen(s);

	return len && len <= 63 && only(s, LOWER DIGIT "-") && *s != '-' && s[len - 1] != '-';
}

static bool is_duration(const char *s)
{
	size_t digits = strspn(s, DIGIT);

	return digits && digits <= 6 && strspn(s, "0") < digits && strchr("smhd", s[digits]) &&
	       s[digits] && !s[digits + 1];
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
	return !*s || !strcmp(s, a) || !strcmp(s, b) || !strcmp(s, c);
}

static int check_image(const char *what, const char *image, struct error *e)
{
	if (only(image, LOWER UPPER DIGIT "._-/:@"))
		return 0;
	return error_set(e, -EINVAL, "%s %.200s: write an image such as registry/culvert:1", what,
			 image);
}

static int check_prefixes(const char *list, struct error *e)
{
	while (*list) {
		size_t len = strcspn(list, ",");
		char one[64];
		struct prefix p;

		snprintf(one, sizeof(one), "%.*s", (int)MIN(len, sizeof(one) - 1), list);
		if (len >= sizeof(one) || prefix_parse(&p, one))
			return error_set(e, -EINVAL,
					 "prefixes: %s is none; write them such as "
					 "10.96.0.0/16,10.244.0.0/16",
					 one);
		list += len;
		if (*list && !*++list)
			return error_set(e, -EINVAL, "prefixes: nothing follows the last comma");
	}
	return 0;
}

static int check_groups(const struct deploy_values *v, struct error *e)
{
	if (v->ngroups > DEPLOY_GROUPS)
		return error_set(e, -EINVAL, "more than %d groups", DEPLOY_GROUPS);
	for (unsigned i = 0; i < v->ngroups; i++) {
		const char *g = v->group[i];
		json_t *text = json_string(g); /* NULL: not UTF-8 */
		bool ok = text && *g && *g != '\n';

		for (; ok && *g; g++)
			ok = (unsigned char)*g >= ' ' && *g != 0x7f;
		json_decref(text);
		if (!ok)
			return error_set(e, -EINVAL, "group %u: write the name of a group", i + 1);
	}
	return 0;
}

static int check_times(const struct deploy_values *v, struct error *e)
{
	if (*v->holder_timeout && !is_duration(v->holder_timeout))
		return error_set(e, -EINVAL,
				 "holder timeout %s: write a number with s, m, h or d, such as 10m",
				 v->holder_timeout);
	if (*v->session_timeout && !is_duration(v->session_timeout))
		return error_set(
			e, -EINVAL,
			"session timeout %s: write a number with s, m, h or d, such as 24h",
			v->session_timeout);
	return 0;
}

static int check_base64(const char *what, const char *text, struct error *e)
{
	if (!text || only(text, LOWER UPPER DIGIT "+/="))
		return 0;
	return error_set(e, -EINVAL, "the Secret's %s is no base64", what);
}

/* --- who may log in, and the gateway ------------------------------------------------------------------------- */

/* What may stand between quotes, and is no end of them. */
static bool is_plain(const char *s)
{
	for (; *s; s++) {
		if (*s < ' ' || *s > '~' || *s == '"' || *s == '\\' || *s == '$')
			return false;
	}
	return true;
}

static int check_issuer(const struct deploy_values *v, struct error *e)
{
	const char *s = v->oidc_issuer;

	if (!*s &&
	    (*v->oidc_client_id || *v->oidc_scopes || v->nallow || v->oidc_ca || v->oidc_secret))
		return error_set(e, -EINVAL, "what is said of the login needs --oidc-issuer URL");
	if (!*s)
		return 0;
	if ((strncmp(s, "https://", 8) != 0 && strncmp(s, "http://127.0.0.1", 16) != 0) ||
	    !only(s, LOWER UPPER DIGIT "-._~:/@%+,=&!'()*") || !s[8])
		return error_set(e, -EINVAL, "issuer %.200s: write its URL, https://…", s);
	if (!*v->oidc_client_id || !is_plain(v->oidc_client_id))
		return error_set(e, -EINVAL,
				 "an issuer needs --oidc-client-id ID, as it was registered there");
	if (!is_plain(v->oidc_scopes))
		return error_set(e, -EINVAL, "scopes %.100s: write words with spaces between them",
				 v->oidc_scopes);
	if (!v->nallow)
		return error_set(e, -EINVAL,
				 "an issuer needs --oidc-allow CLAIM=VALUE, such as groups=dev: "
				 "everybody whom it knows could enter else");
	if (v->nallow > DEPLOY_ALLOW)
		return error_set(e, -EINVAL, "more than %d claims", DEPLOY_ALLOW);
	return 0;
}

static int check_claims(const struct deploy_values *v, struct error *e)
{
	for (unsigned i = 0; i < v->nallow; i++) {
		json_t *text = json_string(v->allow[i]); /* NULL: not UTF-8 */

		json_decref(text);
		if (!text || *v->allow[i] == '=' || !strchr(v->allow[i], '='))
			return error_set(e, -EINVAL,
					 "claim %u: write CLAIM=VALUE, such as groups=dev", i + 1);
	}
	return 0;
}

/* NAME[:PORT], small letters. */
static int check_host(const char *what, const char *host, bool address, struct error *e)
{
	size_t len = strcspn(host, ":"), label = 0;
	const char *port = host + len;
	bool ok = len && len <= 253 - 10;
	struct ipaddr ip;
	char name[254];

	snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name) - 1), host);
	for (size_t i = 0; ok && i < len; i++) {
		label = host[i] == '.' ? 0 : label + 1;
		ok = strchr(LOWER DIGIT "-.", host[i]) && label <= 63 &&
		     (label || (i && host[i - 1] != '.')) && !(host[i] == '-' && label == 1);
	}
	if (*port)
		ok &= only(port + 1, DIGIT) && strlen(port + 1) <= 5 && atoi(port + 1) > 0 &&
		      atoi(port + 1) <= 65535;
	if (ok && label && (address || ipaddr_parse(&ip, name)))
		return 0;
	return error_set(e, -EINVAL,
			 "%s %.100s: write a host name in small letters, with :PORT unless "
			 "browsers find it at 443",
			 what, host);
}

static int check_sites(const struct deploy_values *v, struct error *e)
{
	int err = 0;

	if (*v->preview_domain && *v->preview_host)
		return error_set(
			e, -EINVAL,
			"a preview domain and a preview host: previews have names of their "
			"own in the one, paths in the other; choose one");
	if (*v->dashboard_host && !*v->preview_host)
		return error_set(e, -EINVAL,
				 "a dashboard host goes with --preview-host; with --preview-domain "
				 "it is dashboard.DOMAIN");
	if (*v->preview_domain)
		err = check_host("preview domain", v->preview_domain, false, e);
	if (!err && *v->preview_host)
		err = check_host("preview host", v->preview_host, true, e);
	if (!err && *v->dashboard_host)
		err = check_host("dashboard host", v->dashboard_host, true, e);
	if (!err && *v->dashboard_host && !strcmp(v->dashboard_host, v->preview_host))
		err = error_set(e, -EINVAL,
				"the dashboard needs another name or port than the previews: "
				"what runs in a preview could read it else");
	return err;
}

static int check_gateway(const struct deploy_values *v, struct error *e)
{
	int err = check_sites(v, e);

	if (err)
		return err;
	if (!deploy_has_gateway(v) &&
	    (*v->preview_tls_secret || *v->gateway_service || *v->gateway_image || v->ingress_ca ||
	     v->gateway_node_port || v->dashboard_node_port || v->oidc_secret))
		return error_set(e, -EINVAL,
				 "what is said of the gateway needs --preview-domain DOMAIN or "
				 "--preview-host HOST");
	if (!is_one_of(v->gateway_service, "NodePort", "LoadBalancer", "ClusterIP"))
		return error_set(e, -EINVAL,
				 "gateway service %s: write LoadBalancer, NodePort or ClusterIP",
				 v->gateway_service);
	if (v->gateway_node_port > 65535 || v->dashboard_node_port > 65535)
		return error_set(e, -EINVAL, "node port: the largest is 65535");
	if ((v->gateway_node_port || v->dashboard_node_port) &&
	    !strcmp(v->gateway_service, "ClusterIP"))
		return error_set(e, -EINVAL, "a Service of type ClusterIP has no node port");
	if (v->dashboard_node_port && *v->preview_domain)
		return error_set(e, -EINVAL,
				 "with a preview domain the dashboard has no port of its own");
	if (!only(v->preview_tls_secret, LOWER DIGIT "-."))
		return error_set(e, -EINVAL, "TLS secret %.100s: write the name of a Secret",
				 v->preview_tls_secret);
	return check_image("gateway image", v->gateway_image, e);
}

static int check_texts(const struct deploy_values *v, struct error *e)
{
	const struct {
		const char *what, *text;
	} texts[] = {{"key", v->overlay_key},	      {"ca.crt", v->ca_cert},
		     {"ca.key", v->ca_key},	      {"cookie.key", v->cookie_key},
		     {"tls.crt", v->gateway_cert},    {"tls.key", v->gateway_key},
		     {"oidc-secret", v->oidc_secret}, {"issuer's CA", v->oidc_ca},
		     {"ingress CA", v->ingress_ca}};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(texts); i++)
		err = check_base64(texts[i].what, texts[i].text, e);
	return err;
}

int deploy_check(const struct deploy_values *v, struct error *e)
{
	struct prefix p;
	int err;

	if (*v->ns && !is_label(v->ns))
		return error_set(e, -EINVAL,
				 "namespace %s: a name has small letters, digits and '-'", v->ns);
	if (!is_one_of(v->udp_service, "NodePort", "LoadBalancer", "None"))
		return error_set(e, -EINVAL, "UDP service %s: write NodePort, LoadBalancer or None",
				 v->udp_service);
	if (!is_one_of(v->pull_policy, "Always", "IfNotPresent", "Never"))
		return error_set(e, -EINVAL, "pull policy %s: write Always, IfNotPresent or Never",
				 v->pull_policy);
	if (v->udp_node_port > 65535)
		return error_set(e, -EINVAL, "node port %u: the largest is 65535",
				 v->udp_node_port);
	if (*v->service_prefix && prefix_parse(&p, v->service_prefix))
		return error_set(e, -EINVAL, "service prefix %s: write it such as 10.96.0.0/16",
				 v->service_prefix);
	err = check_image("manager image", v->manager_image, e);
	if (!err)
		err = check_image("agent image", v->agent_image, e);
	if (!err)
		err = check_prefixes(v->prefixes, e);
	if (!err)
		err = check_times(v, e);
	if (!err)
		err = check_groups(v, e);
	if (!err)
		err = check_issuer(v, e);
	if (!err)
		err = check_claims(v, e);
	if (!err)
		err = check_gateway(v, e);
	return err ? err : check_texts(v, e);
}

int deploy_service_range(const char *message, char *buf, size_t size)
{
	static const char before[] = "range of valid IPs is ";
	const char *p = strstr(message, before);
	struct prefix prefix;
	size_t len;

	if (!p)
		return -ENOENT;
	p += strlen(before);
	len = strspn(p, "0123456789abcdefABCDEF.:/");
	if (!len || len >= size)
		return -ENOENT;
	memcpy(buf, p, len);
	buf[len] = '\0';
	if (buf[len - 1] == '.') /* the sentence's */
		buf[len - 1] = '\0';
	return prefix_parse(&prefix, buf) ? -ENOENT : 0;
}
