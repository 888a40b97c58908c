/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application of two tiers, for previews: a process for each connection, one request on each.
 *
 *   tiers back PORT VERSION      /version: "VERSION HOST"; /api/events: server-sent events; /api/ws: a WebSocket that says VERSION, then
 *                                echoes; POST /api/sum: how many bytes came. All of them say which VERSION it is
 *   tiers front PORT ADDRESS BACK-PORT    /: a page made of what the back says, which asks it three ways more; /api/...: to the back
 *
 * The front passes `baggage` on, as W3C's propagators do, and nothing else that would tell whose request it is.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16384, EVENT_US = 100000 };

static const char *version;
static char host[256]; /* which pod or laptop */
static struct sockaddr_in back;

struct request {
	char head[HEAD + 1];
	size_t len, body; /* bytes there; where the body begins */
	char method[16], path[1024];
};

static bool put(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool say(int fd, const char *text)
{
	return put(fd, text, strlen(text));
}

/* Reads up to the end of the head. */
static bool hear(int fd, struct request *r)
{
	char *end;

	for (;;) {
		ssize_t n = read(fd, r->head + r->len, HEAD - r->len);

		if (n <= 0)
			return false;
		r->len += (size_t)n;
		r->head[r->len] = '\0';
		end = strstr(r->head, "\r\n\r\n");
		if (end)
			break;
	}
	r->body = (size_t)(end + 4 - r->head);
	return sscanf(r->head, "%15s %1023s", r->method, r->path) == 2;
}

/* The line of a field with its end; NULL = not there. */
static const char *field(const struct request *r, const char *name, size_t *len)
{
	const char *line = strstr(r->head, "\r\n");

	for (; line && line + 2 < r->head + r->body - 2; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, strlen(name)) != 0 || line[2 + strlen(name)] != ':')
			continue;
		*len = (size_t)(strstr(line + 2, "\r\n") + 2 - (line + 2));
		return line + 2;
	}
	return NULL;
}

static void answer(int fd, const char *type, const char *body)
{
	char head[256];

	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: "
		 "no-store\r\nConnection: close\r\n\r\n",
		 type, strlen(body));
	if (say(fd, head))
		say(fd, body);
}

/* --- back ------------------------------------------------------------------------------------------------- */

static void events(int fd)
{
	char line[512];

	if (!say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: "
		     "no-store\r\nConnection: close\r\n\r\n"))
		return;
	for (unsigned n = 1;; n++) {
		snprintf(line, sizeof(line), "id: %u\ndata: %s %u\n\n", n, version, n);
		if (!say(fd, line))
			return;
		usleep(EVENT_US);
	}
}

static bool frame(int fd, const char *text)
{
	uint8_t out[2 + 125] = {0x81};
	size_t len = strlen(text);

	len = len > 125 ? 125 : len;
	out[1] = (uint8_t)len;
	memcpy(out + 2, text, len);
	return put(fd, out, 2 + len);
}

static bool read_all(int fd, void *to, size_t len)
{
	return recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

/* RFC 6455, short text frames alone. */
static void websocket(int fd, const struct request *r)
{
	char key[128], accept[64], text[512];
	uint8_t sum[SHA_DIGEST_LENGTH], head[2], mask[4], data[126];
	size_t len;
	const char *line = field(r, "Sec-WebSocket-Key", &len);

	if (!line || sscanf(line + strlen("Sec-WebSocket-Key:"), " %60s", key) != 1) {
		say(fd,
		    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		return;
	}
	strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
	SHA1((uint8_t *)key, strlen(key), sum);
	EVP_EncodeBlock((uint8_t *)accept, sum, sizeof(sum));
	snprintf(text, sizeof(text),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
		 "Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	if (!say(fd, text) || !frame(fd, version))
		return;
	while (read_all(fd, head, 2) && (head[0] & 0x0f) == 1 && (head[1] & 0x7f) < 126) {
		len = head[1] & 0x7f;
		if (!read_all(fd, mask, 4) || (len && !read_all(fd, data, len)))
			return;
		for (size_t i = 0; i < len; i++)
			data[i] ^= mask[i % 4];
		snprintf(text, sizeof(text), "%s: %.*s", version, (int)len, (char *)data);
		if (!frame(fd, text))
			return;
	}
}

/* Counts a body of known length. */
static void sum(int fd, const struct request *r)
{
	static char buf[65536];
	char text[300];
	size_t len, got = r->len - r->body;
	const char *line = field(r, "Content-Length", &len);
	size_t want = line ? strtoull(line + strlen("Content-Length:"), NULL, 10) : 0;

	while (got < want) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			return;
		got += (size_t)n;
	}
	snprintf(text, sizeof(text), "%s %zu\n", version, got);
	answer(fd, "text/plain", text);
}

static void serve_back(int fd, const struct request *r)
{
	char text[512];

	if (!strcmp(r->path, "/api/events")) {
		events(fd);
	} else if (!strcmp(r->path, "/api/ws")) {
		websocket(fd, r);
	} else if (!strcmp(r->path, "/api/sum")) {
		sum(fd, r);
	} else {
		snprintf(text, sizeof(text), "%s %s\n", version, host);
		answer(fd, "text/plain", text);
	}
}

/* --- front ------------------------------------------------------------------------------------------------ */

static int dial_back(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&back, sizeof(back))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A request of our own to the back, with what may be passed on of the visitor's. */
static bool pass_on(int to, const struct request *r, const char *method, const char *path)
{
	static const char *const fields[] = {"baggage",
					     "Upgrade",
					     "Connection",
					     "Sec-WebSocket-Key",
					     "Sec-WebSocket-Version",
					     "Content-Length"};
	char line[1200];
	bool upgrade = !strcmp(path, "/api/ws");

	snprintf(line, sizeof(line), "%s %s HTTP/1.1\r\nHost: back\r\n", method, path);
	if (!say(to, line))
		return false;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		size_t len;
		const char *f = field(r, fields[i], &len);
		bool hop = i == 1 || i == 2;

		if (f && (!hop || upgrade) && (strcmp(method, "GET") != 0 || i != 5) &&
		    !put(to, f, len))
			return false;
	}
	return say(to, upgrade ? "\r\n" : "Connection: close\r\n\r\n");
}

/* What comes goes on, each way, until either ends. */
static void join(int a, int b)
{
	struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
	static char buf[65536];

	while (poll(p, 2, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			ssize_t n = p[i].revents ? read(p[i].fd, buf, sizeof(buf)) : 0;

			if (p[i].revents && (n <= 0 || !put(p[!i].fd, buf, (size_t)n)))
				return;
		}
	}
}

static const char page[] =
	"<!doctype html>\n<meta charset=utf-8>\n<title>Shop</title>\n"
	"<h1>The shop</h1>\n<p>Made by <b id=made>%.500s</b></p>\n"
	"<p>Asked: <b id=asked></b></p>\n<p>Event: <b id=event></b></p>\n<p>WebSocket: <b "
	"id=ws></b></p>\n"
	"<p><a id=again href=/>Again</a></p>\n"
	"<script>\n"
	"const show = (id, text) => { document.getElementById(id).textContent = text; };\n"
	"fetch('api/version').then((a) => a.text()).then((t) => show('asked', t));\n"
	"new EventSource('api/events').onmessage = (e) => show('event', e.data);\n"
	"const ws = new WebSocket(new URL('api/ws', location.href).href.replace(/^http/, 'ws'));\n"
	"ws.onopen = () => ws.send('hello');\n"
	"ws.onmessage = (e) => show('ws', e.data);\n"
	"</script>\n";

static void serve_front(int fd, const struct request *r)
{
	static char said[4096], made[sizeof(page) + 512];
	size_t len = 0;
	ssize_t n;
	int to = dial_back();
	char *body;

	if (to < 0) {
		say(fd,
		    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		return;
	}
	if (!strncmp(r->path, "/api/", 5)) {
		if (pass_on(to, r, r->method, r->path) &&
		    put(to, r->head + r->body, r->len - r->body))
			join(fd, to);
		return;
	}
	if (!pass_on(to, r, "GET", "/version"))
		return;
	while (len < sizeof(said) - 1 && (n = read(to, said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	body = strstr(said, "\r\n\r\n");
	body = body ? body + 4 : said;
	body[strcspn(body, "\n")] = '\0';
	snprintf(made, sizeof(made), page, body);
	answer(fd, "text/html; charset=utf-8", made);
}

int main(int argc, char **argv)
{
	struct sockaddr_in self = {.sin_family = AF_INET};
	bool front = argc == 5 && !strcmp(argv[1], "front");
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);

	if (!front && (argc != 4 || strcmp(argv[1], "back") != 0)) {
		fprintf(stderr,
			"usage: tiers back PORT VERSION | tiers front PORT ADDRESS BACK-PORT\n");
		return 2;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	gethostname(host, sizeof(host) - 1);
	version = argv[3];
	if (front) {
		back.sin_family = AF_INET;
		back.sin_port = htons((uint16_t)atoi(argv[4]));
		if (inet_pton(AF_INET, argv[3], &back.sin_addr) != 1)
			return 2;
	}
	self.sin_port = htons((uint16_t)atoi(argv[2]));
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&self, sizeof(self)) || listen(s, 128)) {
		perror("tiers");
		return 1;
	}
	for (;;) {
		static struct request r;
		int c = accept(s, NULL, NULL);

		if (c < 0)
			continue;
		if (!fork()) {
			close(s);
			if (hear(c, &r))
				(front ? serve_front : serve_back)(c, &r);
			shutdown(c, SHUT_WR);
			_exit(0);
		}
		close(c);
	}
}
