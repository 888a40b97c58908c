/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1.1 upgrade to WebSocket (RFC 6455, 4): our request, and the head of the answer. Bytes only. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "kube/internal.h"

void kube_handshake_key(char key[static KUBE_KEY_LEN + 1])
{
	uint32_t bytes[4] = {kube_random(), kube_random(), kube_random(), kube_random()};
	cleanup(free_ptr) char *text = kube_base64_encode(bytes, sizeof(bytes));

	snprintf(key, KUBE_KEY_LEN + 1, "%s", text ? text : "AAAAAAAAAAAAAAAAAAAAAA==");
}

void kube_handshake_accept(const char *key, char accept[static KUBE_ACCEPT_LEN + 1])
{
	cleanup(free_ptr) char *text = NULL;
	uint8_t digest[20];
	char both[KUBE_KEY_LEN + 64];
	int n = snprintf(both, sizeof(both), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);

	kube_sha1(both, (size_t)n, digest);
	text = kube_base64_encode(digest, sizeof(digest));
	snprintf(accept, KUBE_ACCEPT_LEN + 1, "%s", text ? text : "");
}

char *kube_handshake_request(const struct kube_config *c, const char *target, const char *key,
			     const char *protocol, const char *agent,
			     const struct curl_slist *headers)
{
	const char *path = strstr(c->server, "://") + 3;
	char host[512], *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	path += strcspn(path, "/");
	kube_server_host(c, host, sizeof(host));
	fprintf(f, "GET %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n", path, target, host,
		agent);
	fprintf(f, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	fprintf(f, "Sec-WebSocket-Key: %s\r\n", key);
	if (protocol)
		fprintf(f, "Sec-WebSocket-Protocol: %s\r\n", protocol);
	for (; headers; headers = headers->next) {
		if (strncasecmp(headers->data, "Host:", 5))
			fprintf(f, "%s\r\n", headers->data);
	}
	fputs("\r\n", f);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Is `word` one of the comma-separated words of `value`? */
static bool has_word(const char *value, const char *word)
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

static int take_header(char *line, const char *accept, struct kube_answer_head *h,
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
		seen->connection |= has_word(value, "upgrade");
	else if (!strcasecmp(line, "Upgrade"))
		seen->upgrade |= has_word(value, "websocket");
	else if (!strcasecmp(line, "Sec-WebSocket-Accept"))
		seen->accept |= !strcmp(value, accept);
	else if (!strcasecmp(line, "Sec-WebSocket-Protocol"))
		snprintf(h->protocol, sizeof(h->protocol), "%s", value);
	else if (!strcasecmp(line, "Transfer-Encoding"))
		h->chunked = has_word(value, "chunked");
	else if (!strcasecmp(line, "Content-Length") && *value >= '0' && *value <= '9')
		h->body_len = strtoll(value, NULL, 10);
	return 0;
}

int kube_handshake_answer(const char *data, size_t len, const char *key, struct kube_answer_head *h)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4);
	cleanup(free_ptr) char *head = NULL;
	char accept[KUBE_ACCEPT_LEN + 1], *save = NULL;
	struct seen seen = {.upgrade = false};

	if (!end)
		return len >= KUBE_HEAD_MAX ? -EPROTO : -EAGAIN;
	memset(h, 0, sizeof(*h));
	h->body_len = -1;
	h->head_len = (size_t)(end - data) + 4;
	head = strndup(data, (size_t)(end - data));
	if (!head)
		return -ENOMEM;
	if (strlen(head) != (size_t)(end - data) ||
	    sscanf(head, "HTTP/1.%*1[01] %3d", &h->status) != 1 || h->status < 100)
		return -EPROTO;
	kube_handshake_accept(key, accept);
	(void)strtok_r(head, "\n", &save);
	for (char *line = strtok_r(NULL, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = take_header(line, accept, h, &seen);

		if (r)
			return r;
	}
	h->upgraded = h->status == 101 && seen.connection && seen.upgrade && seen.accept;
	return 0;
}
