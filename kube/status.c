/* SPDX-License-Identifier: Apache-2.0 */
/* What came, as a sentence: Status objects, missing rights, and curl's errors. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "kube/internal.h"

void kube_judge_failure(struct kube_judged *j, enum kube_failure failure, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->sentence.text, sizeof(j->sentence.text), fmt, ap);
	va_end(ap);
	kube_one_line(&j->sentence, 0);
	j->reply.failure = failure;
	j->reply.sentence = j->sentence.text;
	j->reply.reason = j->reason;
	if (!j->reply.body)
		j->reply.body = "";
}

/* --- rights --------------------------------------------------------------------------------------------- */

/* The text between `before` and the next `end`, into buf; NULL = not there, else behind it. */
static const char *between(const char *text, const char *before, char end, char *buf, size_t room)
{
	const char *p = text ? strstr(text, before) : NULL;
	size_t len;

	*buf = '\0';
	if (!p)
		return NULL;
	p += strlen(before);
	len = strcspn(p, (char[]){end, '\0'});
	if (p[len] != end || len >= room)
		return NULL;
	memcpy(buf, p, len);
	buf[len] = '\0';
	return p + len + 1;
}

/*
 * deployments.apps "cart" is forbidden: User "alice" cannot patch resource "deployments" in API group "apps" in the
 * namespace "shop"
 */
void kube_denied_parse(const char *message, struct kube_denied *d)
{
	const char *p = strstr(message, " is forbidden: "), *q, *open;

	memset(d, 0, sizeof(*d));
	q = between(p ? p : message, "User \"", '"', d->user, sizeof(d->user));
	q = between(q, " cannot ", ' ', d->verb, sizeof(d->verb));
	q = between(q, "resource \"", '"', d->resource, sizeof(d->resource));
	if (!q) {
		memset(d, 0, sizeof(*d));
		return;
	}
	between(q, "API group \"", '"', d->group, sizeof(d->group));
	between(q, "in the namespace \"", '"', d->namespace, sizeof(d->namespace));
	open = memchr(message, '"', (size_t)(p ? p - message : 0));
	if (open)
		between(open, "\"", '"', d->name, sizeof(d->name));
}

/* Only what cannot end a YAML scalar or begin another line goes into YAML. */
static bool plain(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == '"' || *s == '\\')
			return false;
	}
	return true;
}

/* To act as one user, or to reach one service, is not to do so with all. */
static bool is_for_one(const struct kube_denied *d)
{
	return *d->name && (!strcmp(d->verb, "impersonate") || strstr(d->resource, "/proxy"));
}

/* Of this right and user alone: what is applied for one of them must not take another's away. */
static void grant_name(char *buf, size_t size, const struct kube_denied *d)
{
	static const uint64_t key[2] = {0};
	char all[sizeof(*d) + 8];
	int n = snprintf(all, sizeof(all), "%s|%s|%s|%s|%s", d->user, d->verb, d->group,
			 d->resource, is_for_one(d) ? d->name : "");

	snprintf(buf, size, "culvert-%.20s-%.48s-%08x", d->verb, d->resource,
		 (unsigned)siphash(key, all, (size_t)n));
	for (char *p = buf; *p; p++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789", *p))
			*p = '-';
	}
}

char *kube_denied_yaml(const struct kube_denied *d)
{
	bool cluster = !*d->namespace;
	const char *kind = cluster ? "ClusterRole" : "Role";
	char where[192] = "", one[320] = "", name[96], *out;

	if (!*d->verb || !*d->resource || !*d->user || !plain(d->verb) || !plain(d->resource) ||
	    !plain(d->user) || !plain(d->group) || !plain(d->namespace) || !plain(d->name))
		return NULL;
	grant_name(name, sizeof(name), d);
	if (is_for_one(d))
		snprintf(one, sizeof(one), "  resourceNames: [\"%s\"]\n", d->name);
	if (!cluster)
		snprintf(where, sizeof(where), ", namespace: \"%s\"", d->namespace);
	if (asprintf(&out,
		     "apiVersion: rbac.authorization.k8s.io/v1\n"
		     "kind: %s\n"
		     "metadata: {name: %s%s}\n"
		     "rules:\n"
		     "- apiGroups: [\"%s\"]\n"
		     "  resources: [\"%s\"]\n"
		     "%s"
		     "  verbs: [\"%s\"]\n"
		     "---\n"
		     "apiVersion: rbac.authorization.k8s.io/v1\n"
		     "kind: %sBinding\n"
		     "metadata: {name: %s%s}\n"
		     "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: %s}\n"
		     "subjects:\n"
		     "- {apiGroup: rbac.authorization.k8s.io, kind: User, name: \"%s\"}\n",
		     kind, name, where, d->group, d->resource, one, d->verb, kind, name, where,
		     kind, name, d->user) < 0)
		return NULL;
	return out;
}

/* --- answers -------------------------------------------------------------------------------------------- */

static enum kube_failure failure_of(int status)
{
	switch (status) {
	case 400:
	case 422:
		return KUBE_INVALID;
	case 401:
		return KUBE_UNAUTHORIZED;
	case 403:
		return KUBE_FORBIDDEN;
	case 404:
		return KUBE_NOT_FOUND;
	case 409:
		return KUBE_CONFLICT;
	case 410:
		return KUBE_EXPIRED;
	case 408:
	case 504:
		return KUBE_TIMEOUT;
	default:
		return KUBE_SERVER;
	}
}

/* One line of what may be a page of HTML or an object's long complaint. */
static void one_line(char *out, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 1 < room; text++) {
		unsigned char c = (unsigned char)*text;

		if (c <= ' ' || c == 0x7f) {
			if (n && out[n - 1] != ' ')
				out[n++] = ' ';
		} else {
			out[n++] = (char)c;
		}
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void judge_unauthorized(struct kube_judged *j, const struct kube_client *c)
{
	const struct kube_blob *cert = kube_auth_cert(c->auth);
	char day[32] = "";
	nsec_t expiry;
	time_t s;
	struct tm tm;

	if (cert->data && kube_cert_expiry(cert->data, &expiry) == 0 && expiry < clock_real()) {
		s = (time_t)(expiry / NSEC_PER_SEC);
		if (gmtime_r(&s, &tm))
			strftime(day, sizeof(day), "%Y-%m-%d %H:%M", &tm);
		kube_judge_failure(
			j, KUBE_UNAUTHORIZED,
			"the client certificate of user '%.100s' expired on %s UTC: get a "
			"new kubeconfig",
			kube_config_user(c->config), day);
		return;
	}
	kube_judge_failure(j, KUBE_UNAUTHORIZED,
			   "the API server %.200s does not accept the credentials of user '%.100s' "
			   "(401): they may have expired; log in again, or get a new kubeconfig",
			   c->config->server, kube_config_user(c->config));
}

static void judge_forbidden(struct kube_judged *j, const char *message)
{
	struct kube_denied *d = &j->reply.denied;

	kube_denied_parse(message, d);
	if (!*d->verb) {
		kube_judge_failure(j, KUBE_FORBIDDEN, "the API server forbids it: %s", message);
		return;
	}
	kube_judge_failure(j, KUBE_FORBIDDEN,
			   "%.100s may not %s %s%s%s %s%s%s: ask for the verb \"%s\" on \"%s\"",
			   d->user, d->verb, d->resource, *d->group ? "." : "", d->group,
			   *d->namespace ? "in the namespace '" : "in the whole cluster",
			   d->namespace, *d->namespace ? "'" : "", d->verb, d->resource);
}

void kube_judge_status(struct kube_judged *j, const struct kube_client *c, int status,
		       const char *body, size_t len)
{
	json_t *root = status >= 300 ? json_loadb(body, len, 0, NULL) : NULL;
	const char *kind = json_string_value(json_object_get(root, "kind"));
	const char *message = json_string_value(json_object_get(root, "message"));
	const char *reason = json_string_value(json_object_get(root, "reason"));
	enum kube_failure failure = failure_of(status);
	char line[640];

	j->reply.status = status;
	j->reply.body = body;
	j->reply.len = len;
	j->reply.sentence = "";
	j->reply.reason = j->reason;
	if (status >= 200 && status < 300)
		return;
	if (kind && !strcmp(kind, "Status") && reason)
		snprintf(j->reason, sizeof(j->reason), "%s", reason);
	one_line(line, sizeof(line), kind && !strcmp(kind, "Status") && message ? message : body);
	if (failure == KUBE_UNAUTHORIZED)
		judge_unauthorized(j, c);
	else if (failure == KUBE_FORBIDDEN)
		judge_forbidden(j, line);
	else if (root)
		kube_judge_failure(j, failure, "the API server answered %d: %s", status, line);
	else
		kube_judge_failure(
			j, failure, "%.200s answered %d%s%.200s", c->config->server, status,
			*line ? ", and not as a Kubernetes API server does: " : "", line);
	json_decref(root);
}

/* --- curl's errors -------------------------------------------------------------------------------------- */

static enum kube_failure failure_of_curl(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return KUBE_TIMEOUT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_ISSUER_ERROR:
		return KUBE_TLS;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return KUBE_PROTOCOL;
	default:
		return KUBE_UNREACHABLE;
	}
}

void kube_judge_curl(struct kube_judged *j, const struct kube_client *c, CURLcode code, CURL *easy,
		     const char *detail)
{
	const char *server = c->config->server;
	long error = 0;
	char why[320];

	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
	one_line(why, sizeof(why), *detail ? detail : curl_easy_strerror(code));
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		kube_judge_failure(j, KUBE_UNREACHABLE,
				   "the name of the API server %.200s is not known to DNS: is the "
				   "VPN or network up?",
				   server);
		break;
	case CURLE_COULDNT_RESOLVE_PROXY:
		kube_judge_failure(j, KUBE_UNREACHABLE,
				   "the name of the proxy %.200s is not known to DNS",
				   c->config->proxy ? c->config->proxy : "of the environment");
		break;
	case CURLE_COULDNT_CONNECT:
		kube_judge_failure(j, KUBE_UNREACHABLE,
				   "the API server %.200s is not reachable: %s; is %s up?", server,
				   error ? strerror((int)error) : why,
				   error == ECONNREFUSED ? "it" : "the VPN or network");
		break;
	case CURLE_OPERATION_TIMEDOUT:
		kube_judge_failure(
			j, KUBE_TIMEOUT,
			"the API server %.200s did not answer in time: is it overloaded, "
			"or the VPN or network down?",
			server);
		break;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		kube_judge_failure(
			j, KUBE_UNREACHABLE,
			"the connection to the API server %.200s broke before its answer "
			"was whole%s%s; is it restarting?",
			server, error ? ": " : "", error ? strerror((int)error) : "");
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		kube_judge_failure(
			j, KUBE_TLS,
			"the certificate of the API server %.200s is not accepted (%s): "
			"is this the right cluster, with its certificate-authority in the "
			"kubeconfig?",
			server, why);
		break;
	case CURLE_SSL_CERTPROBLEM:
		kube_judge_failure(j, KUBE_TLS,
				   "the client certificate of user '%.100s' is not usable: %s",
				   kube_config_user(c->config), why);
		break;
	default:
		kube_judge_failure(j, failure_of_curl(code),
				   "the request to the API server %.200s failed: %s", server, why);
	}
}
