/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection that curl makes (proxy, names, certificates) and that then carries our bytes. */
#include <errno.h>

#include "kube/internal.h"

static void on_done(struct kube_transfer *t, CURLcode code)
{
	struct kube_connection *c = container_of(t, struct kube_connection, transfer);
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (code == CURLE_OK &&
	    (curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) || fd == CURL_SOCKET_BAD))
		code = CURLE_COULDNT_CONNECT;
	c->fd = fd;
	c->connected(c->arg, code);
}

static void no_bytes(struct kube_transfer *t)
{
	(void)t;
}

void kube_connection_free(struct kube_connection *c)
{
	if (!c)
		return;
	kube_transfer_stop(&c->transfer); /* closes the connection */
	if (c->transfer.easy)
		curl_easy_cleanup(c->transfer.easy);
	kube_multi_free(c->multi);
	curl_slist_free_all(c->connect_to);
	free(c);
}

int kube_connection_new(struct kube_connection **cp, struct kube_client *client,
			void (*connected)(void *arg, CURLcode code), void *arg)
{
	struct kube_connection *c = calloc(1, sizeof(*c));
	CURL *easy;

	if (!c)
		return -ENOMEM;
	c->connected = connected;
	c->arg = arg;
	c->fd = -1;
	c->transfer.done = on_done;
	c->transfer.ready = no_bytes;
	c->transfer.easy = easy = curl_easy_init();
	if (!easy || kube_multi_new(&c->multi, client->base) ||
	    kube_setup_connection(client, easy, "/", &c->connect_to))
		goto fail;
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	/* h2 has no Upgrade; a plain server behind a proxy needs the tunnel as well. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->error);
	if (kube_transfer_start(c->multi, &c->transfer))
		goto fail;
	*cp = c;
	return 0;
fail:
	kube_connection_free(c);
	return -ENOMEM;
}

static ssize_t result(CURLcode code, size_t n)
{
	if (code == CURLE_AGAIN)
		return -EAGAIN;
	return code ? -ECONNRESET : (ssize_t)n;
}

ssize_t kube_connection_read(struct kube_connection *c, void *buf, size_t len)
{
	size_t n = 0;
	CURLcode code = curl_easy_recv(c->transfer.easy, buf, len, &n);

	return result(code, n);
}

ssize_t kube_connection_write(struct kube_connection *c, const void *buf, size_t len)
{
	size_t n = 0;
	CURLcode code = curl_easy_send(c->transfer.easy, buf, len, &n);

	if (code == CURLE_OK && n == 0)
		return -EAGAIN;
	return result(code, n);
}
