/* SPDX-License-Identifier: Apache-2.0 */
/* A request as its owner sees it, and the two ways to answer it. */
#include <errno.h>
#include <stdio.h>

#include "serve/internal.h"
#include "websocket/websocket.h"

void serve_request_free(struct serve_request *r)
{
	if (!r)
		return;
	r->serve->bodies -= r->body_room;
	free(r->body);
	free(r);
}

const char *serve_method(const struct serve_request *r)
{
	return llhttp_method_name(r->method);
}

const char *serve_path(const struct serve_request *r)
{
	return r->path;
}

const char *serve_header(const struct serve_request *r, const char *name)
{
	unsigned count;

	return serve_header_at(r, name, &count);
}

const char *serve_body(const struct serve_request *r, size_t *len)
{
	*len = r->body_len;
	return r->body ? r->body : "";
}

void serve_remote(const struct serve_request *r, union sockaddr_any *sa)
{
	*sa = r->remote;
}

static bool has(const struct serve_request *r, const char *name, const char *word)
{
	const char *value = serve_header(r, name);

	return value && websocket_has_word(value, word);
}

bool serve_wants_keep_alive(const struct serve_request *r)
{
	return r->http11 ? !has(r, "Connection", "close") : has(r, "Connection", "keep-alive");
}

void serve_reply(struct serve_request *r, int status, const char *content_type, const void *body,
		 size_t len)
{
	if (r->conn) {
		serve_conn_send(r->conn, status, content_type, body, len);
		return;
	}
	LIST_REMOVE(r, link);
	serve_request_free(r);
}

/* 16 bytes in base64. */
static bool is_key(const char *key)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return key && strspn(key, digits) == WEBSOCKET_KEY_LEN - 2 && !strcmp(key + 22, "==");
}

static bool is_handshake(const struct serve_request *r)
{
	const char *version = serve_header(r, "Sec-WebSocket-Version");
	unsigned keys;
	const char *key = serve_header_at(r, "Sec-WebSocket-Key", &keys);

	return r->method == HTTP_GET && r->http11 && !r->body_len &&
	       has(r, "Upgrade", "websocket") && has(r, "Connection", "upgrade") && version &&
	       !strcmp(version, "13") && keys == 1 && is_key(key);
}

int serve_websocket(struct serve_request *r, struct stream **sp)
{
	char accept[WEBSOCKET_ACCEPT_LEN + 1], head[512];
	int n;

	if (!is_handshake(r))
		return -EPROTO;
	if (!r->conn)
		return -ECONNRESET;
	websocket_accept(serve_header(r, "Sec-WebSocket-Key"), accept);
	n = snprintf(head, sizeof(head),
		     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
		     accept,
		     has(r, "Sec-WebSocket-Protocol", SERVE_PROTOCOL)
			     ? "Sec-WebSocket-Protocol: " SERVE_PROTOCOL "\r\n"
			     : "");
	return serve_conn_switch(r->conn, head, (size_t)n, sp);
}
