/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1.1 upgrade to WebSocket (RFC 6455, 4): a client's request, and the head of the answer. Bytes only. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/random.h>

#include "base/base64.h"
#include "websocket/internal.h"

void websocket_key(char key[static WEBSOCKET_KEY_LEN + 1])
{
	cleanup(free_ptr) char *text = NULL;
	uint8_t bytes[16];

	while (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		;
	text = base64_encode(bytes, sizeof(bytes));
	snprintf(key, WEBSOCKET_KEY_LEN + 1, "%s", text ? text : "AAAAAAAAAAAAAAAAAAAAAA==");
}

void websocket_accept(const char *key, char accept[static WEBSOCKET_ACCEPT_LEN + 1])
{
	cleanup(free_ptr) char *text = NULL;
	uint8_t digest[20];
	char both[WEBSOCKET_KEY_LEN + 64];
	int n = snprintf(both, sizeof(both), "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
			 WEBSOCKET_KEY_LEN, key);

	sha1(both, (size_t)n, digest);
	text = base64_encode(digest, sizeof(digest));
	snprintf(accept, WEBSOCKET_ACCEPT_LEN + 1, "%s", text ? text : "");
}

char *handshake_request(const struct websocket_call *call, const char *key)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "GET %s HTTP/1.1\r\nHost: %s\r\n", call->path, call->host);
	fprintf(f, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	fprintf(f, "Sec-WebSocket-Key: %s\r\n", key);
	if (call->protocol)
		fprintf(f, "Sec-WebSocket-Protocol: %s\r\n", call->protocol);
	fprintf(f, "%s\r\n", call->headers ? call->headers : "");
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

bool websocket_has_word(const char *value, const char *word)
{
	size_t len = strlen(word);

	while (*value) {
		size_t n;

		value += strspn(value, " \t,");
		n = strcspn(value, ",");
		while (n && strchr(" \t", value[n - 1]))
			n--;
		if (n == len && !strncasecmp(value, word, len))
			return true;
		value += strcspn(value, ",");
	}
	return false;
}

struct seen {
	bool connection, upgrade, accept;
};

static int take_header(char *line, const char *accept, struct handshake_answer *a,
		       struct seen *seen)
{
	char *value = strchr(line, ':'), *end;

	if (!value || value == line)
		return -EPROTO;
	*value++ = '\0';
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && strchr(" \t\r", end[-1]))
		*--end = '\0';
	if (!strcasecmp(line, "Connection"))
		seen->connection |= websocket_has_word(value, "upgrade");
	else if (!strcasecmp(line, "Upgrade"))
		seen->upgrade |= websocket_has_word(value, "websocket");
	else if (!strcasecmp(line, "Sec-WebSocket-Accept"))
		seen->accept |= !strcmp(value, accept);
	else if (!strcasecmp(line, "Sec-WebSocket-Protocol"))
		snprintf(a->protocol, sizeof(a->protocol), "%s", value);
	else if (!strcasecmp(line, "Transfer-Encoding"))
		a->chunked = websocket_has_word(value, "chunked");
	else if (!strcasecmp(line, "Content-Length") && *value >= '0' && *value <= '9')
		a->body_len = strtoll(value, NULL, 10);
	return 0;
}

int handshake_answer(const char *data, size_t len, const char *key, struct handshake_answer *a)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4);
	cleanup(free_ptr) char *head = NULL;
	char accept[WEBSOCKET_ACCEPT_LEN + 1], *save = NULL;
	struct seen seen = {.upgrade = false};

	if (!end)
		return len >= HANDSHAKE_HEAD_MAX ? -EPROTO : -EAGAIN;
	memset(a, 0, sizeof(*a));
	a->body_len = -1;
	a->head_len = (size_t)(end - data) + 4;
	head = strndup(data, (size_t)(end - data));
	if (!head)
		return -ENOMEM;
	if (strlen(head) != (size_t)(end - data) ||
	    sscanf(head, "HTTP/1.%*1[01] %3d", &a->status) != 1 || a->status < 100)
		return -EPROTO;
	websocket_accept(key, accept);
	(void)strtok_r(head, "\n", &save);
	for (char *line = strtok_r(NULL, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = take_header(line, accept, a, &seen);

		if (r)
			return r;
	}
	a->upgraded = a->status == 101 && seen.connection && seen.upgrade && seen.accept;
	return 0;
}

size_t handshake_unchunk(char *body, size_t len)
{
	size_t in = 0, out = 0;

	while (in < len) {
		char *end;
		unsigned long n = strtoul(body + in, &end, 16);
		char *line = memchr(body + in, '\n', len - in);

		if (end == body + in || !line || n == 0)
			break;
		in = (size_t)(line + 1 - body);
		n = MIN(n, len - in);
		memmove(body + out, body + in, n);
		out += n;
		in += n + 2;
	}
	body[out] = '\0';
	return out;
}
