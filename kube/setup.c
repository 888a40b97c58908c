/* SPDX-License-Identifier: Apache-2.0 */
/* From the kubeconfig to curl's options: where to, who they are, who we are. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "kube/internal.h"

enum {
	CONNECT_SECONDS = 15,
	KEEPALIVE_IDLE = 10,
	KEEPALIVE_INTERVAL = 5,
	DEAD_MS = 25000, /* without an acknowledged byte */
};

int kube_slist_add(struct curl_slist **list, const char *fmt, ...)
{
	cleanup(free_ptr) char *line = NULL;
	struct curl_slist *longer;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0) {
		line = NULL;
		return -ENOMEM;
	}
	longer = curl_slist_append(*list, line);
	if (!longer)
		return -ENOMEM;
	*list = longer;
	return 0;
}

/* A header's value must not end the header. Percent-encodes what is not printable, as client-go does for extra keys. */
static int add_impersonation(const struct kube_config *c, struct curl_slist **list)
{
	const char *key;
	json_t *values, *value;
	size_t i;
	int r;

	if (!c->as)
		return 0;
	r = kube_slist_add(list, "Impersonate-User: %s", c->as);
	if (r == 0 && c->as_uid)
		r = kube_slist_add(list, "Impersonate-Uid: %s", c->as_uid);
	for (char **g = c->as_groups; r == 0 && g && *g; g++)
		r = kube_slist_add(list, "Impersonate-Group: %s", *g);
	json_object_foreach(c->as_extra, key, values)
	{
		cleanup(free_ptr) char *safe = malloc(strlen(key) * 3 + 1);
		char *out = safe;

		if (!safe)
			return -ENOMEM;
		for (const char *p = key; *p; p++) {
			bool token = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
				     (*p >= 'a' && *p <= 'z') || strchr("!#$&'*+-.^_`|~", *p);

			out += sprintf(out, token ? "%c" : "%%%02X", (unsigned char)*p);
		}
		*out = '\0';
		json_array_foreach(values, i, value)
		{
			const char *text = json_string_value(value);

			if (r == 0 && text)
				r = kube_slist_add(list, "Impersonate-Extra-%s: %s", safe, text);
		}
	}
	return r;
}

int kube_setup_headers(struct kube_client *c, struct curl_slist **list)
{
	cleanup(free_ptr) char *auth = NULL;
	char host[512];
	int r = kube_auth_header(c->auth, &auth);

	if (r == 0 && auth)
		r = kube_slist_add(list, "%s", auth);
	if (r == 0)
		r = add_impersonation(c->config, list);
	if (r == 0 && c->config->tls_server_name) {
		kube_server_host(c->config, host, sizeof(host));
		r = kube_slist_add(list, "Host: %s", host);
	}
	if (auth)
		explicit_bzero(auth, strlen(auth));
	return r;
}

void kube_server_host(const struct kube_config *c, char *buf, size_t room)
{
	const char *host = strstr(c->server, "://") + 3;

	snprintf(buf, room, "%.*s", (int)strcspn(host, "/"), host);
}

static int on_sockopt(void *arg, curl_socket_t fd, curlsocktype type)
{
	unsigned dead = DEAD_MS;

	(void)arg;
	(void)type;
	/* Not vital: without it a dead path is found by keepalive alone. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	return CURL_SOCKOPT_OK;
}

static void set_blob(CURL *easy, CURLoption option, const struct kube_blob *b)
{
	struct curl_blob blob = {.data = b->data, .len = b->len, .flags = CURL_BLOB_COPY};

	curl_easy_setopt(easy, option, &blob);
}

static void setup_tls(struct kube_client *c, CURL *easy)
{
	const struct kube_config *config = c->config;
	const struct kube_blob *cert = kube_auth_cert(c->auth), *key = kube_auth_key(c->auth);

	curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
	if (config->ca.data) {
		/* This authority alone: the system's are curl's default beside it. */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
		curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
		set_blob(easy, CURLOPT_CAINFO_BLOB, &config->ca);
	}
	if (cert->data) {
		set_blob(easy, CURLOPT_SSLCERT_BLOB, cert);
		set_blob(easy, CURLOPT_SSLKEY_BLOB, key);
	}
}

/* "name:port" or "[v6]:port", the port optional; both in `host`. */
static const char *split_port(char *host, bool tls)
{
	char *colon = strrchr(host, ':');

	if (!colon || strchr(colon, ']'))
		return tls ? "443" : "80";
	*colon = '\0';
	return colon + 1;
}

/* The name in the server's certificate is not the one to connect to: curl goes to TLS-NAME, and that is at HOST:PORT. */
static int setup_url(struct kube_client *c, CURL *easy, const char *target,
		     struct curl_slist **connect_to)
{
	cleanup(free_ptr) char *url = NULL;
	const struct kube_config *config = c->config;
	const char *rest = strstr(config->server, "://") + 3, *path = rest + strcspn(rest, "/");
	const char *name = config->tls_server_name, *port;
	int scheme = (int)(rest - config->server), n;
	char host[512];

	if (!name) {
		n = asprintf(&url, "%s%s", config->server, target);
	} else {
		kube_server_host(config, host, sizeof(host));
		port = split_port(host, scheme == strlen("https://"));
		n = asprintf(&url, "%.*s%s:%s%s%s", scheme, config->server, name, port, path,
			     target);
		if (kube_slist_add(connect_to, "%s:%s:%s:%s", name, port, host, port))
			n = -1;
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, *connect_to);
	}
	if (n < 0) {
		url = NULL;
		return -ENOMEM;
	}
	return curl_easy_setopt(easy, CURLOPT_URL, url) ? -ENOMEM : 0;
}

int kube_setup_connection(struct kube_client *c, CURL *easy, const char *target,
			  struct curl_slist **connect_to)
{
	int r = setup_url(c, easy, target, connect_to);

	if (r)
		return r;
	setup_tls(c, easy);
	if (c->config->proxy)
		curl_easy_setopt(easy, CURLOPT_PROXY, c->config->proxy);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
	return 0;
}
