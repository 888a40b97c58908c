/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hr: HTTP requests in a closed loop, one thread, the same loop for HTTP/1.1 and HTTP/2 (prior knowledge).
 *   hr ask  h1|h2 ADDRESS PORT PATH LETTER SECONDS CONNECTIONS keep|new [NAME=VALUE]
 *           prints "N_PER_SECOND P50 P99 ERRORS BYTES_PER_SECOND", P50 and P99 in microseconds
 *   hr hold h1|h2 ADDRESS PORT PATH LETTER CONNECTIONS [NAME=VALUE]
 *           opens them, asks once on each, prints "held" and keeps them until its stdin ends
 * One request at a time per connection; `new` takes a connection for each, closed by reset. An answer counts if its
 * status is 200 and its body begins with LETTER, which says who gave it. NAME=VALUE is a field of the request.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SAMPLES_MAX = 1 << 22,
	CONNECTIONS_MAX = 4096,
	HEAD_MAX = 4096,
	REQUEST_MAX = 1024,
	CHUNK = 1 << 18,
	PATIENCE_MS = 5000,
	FRAME_HEAD = 9,
	WINDOW =
		1
		<< 30, /* of a stream and of a connection: the client never is what one waits for */
	WINDOW_STEP = 1 << 29
};

/* RFC 9113, 6 */
enum {
	DATA = 0,
	HEADERS = 1,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	WINDOW_UPDATE = 8
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct connection {
	int fd;				 /* -1 = none */
	bool connecting, asked, counted; /* `counted`: its body has begun */
	double began;
	uint64_t left; /* HTTP/1: of the body; HTTP/2: of the frame's payload */
	uint32_t stream, unacknowledged;
	size_t have; /* of head */
	uint8_t type, flags;
	bool first; /* of the frame's payload nothing was looked at */
	uint8_t head[HEAD_MAX + 1];
};

static struct {
	bool h2, anew;
	char letter;
	struct sockaddr_in to;
	uint8_t request[REQUEST_MAX]; /* HTTP/2: the block of fields */
	size_t request_len;
	double end;
	int epoll;
	float *us;
	size_t n;
	unsigned errors, wrong;
	uint64_t bytes;
	unsigned answered; /* `hold` */
} run;

static struct connection connections[CONNECTIONS_MAX];

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void put32(uint8_t *at, uint32_t v)
{
	v = htonl(v);
	memcpy(at, &v, 4);
}

static uint8_t *frame(uint8_t *at, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
	put32(at, (uint32_t)len << 8 | type);
	at[4] = flags;
	put32(at + 5, stream);
	return at + FRAME_HEAD;
}

static void hang_up(struct connection *c)
{
	struct linger l = {.l_onoff = 1};
	if (c->fd < 0)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(c->fd);
	c->fd = -1;
}

static void dial(struct connection *c)
{
	int one = 1;
	*c = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
				 .connecting = true,
				 .began = now()};
	if (c->fd < 0 ||
	    (connect(c->fd, (struct sockaddr *)&run.to, sizeof(run.to)) && errno != EINPROGRESS)) {
		perror("hr: connect");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
	epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &e);
}

static void failed(struct connection *c, const char *why)
{
	if (!run.errors++)
		fprintf(stderr, "hr: %s\n", why);
	hang_up(c);
	if (run.errors < 100)
		dial(c);
}

static bool send_all(struct connection *c, const uint8_t *data, size_t len)
{
	return send(c->fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool ask(struct connection *c)
{
	uint8_t out[REQUEST_MAX + 128], *at = out;
	c->asked = true;
	c->counted = false;
	if (!run.h2)
		return send_all(c, run.request, run.request_len);
	if (!c->stream) {
		at += snprintf((char *)out, sizeof(out), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
		at = frame(at, 6, SETTINGS, 0, 0);
		at[0] = 0, at[1] = 4; /* SETTINGS_INITIAL_WINDOW_SIZE */
		put32(at + 2, WINDOW);
		at = frame(at + 6, 4, WINDOW_UPDATE, 0, 0);
		put32(at, WINDOW - 65535);
		at += 4;
		c->stream = 1;
	} else {
		c->stream += 2;
	}
	at = frame(at, run.request_len, HEADERS, END_STREAM | END_HEADERS, c->stream);
	memcpy(at, run.request, run.request_len);
	return send_all(c, out, (size_t)(at - out) + run.request_len);
}

/* An answer is complete. */
static void answered(struct connection *c)
{
	double t = now();
	if (!c->counted) {
		failed(c, "an answer that is not 200, or without a body");
		return;
	}
	c->asked = false;
	if (!run.us) {
		run.answered++;
		return;
	}
	if (run.n < SAMPLES_MAX)
		run.us[run.n++] = (float)((t - c->began) * 1e6);
	if (run.anew) {
		hang_up(c);
		if (t < run.end)
			dial(c);
		return;
	}
	c->began = t;
	if (t < run.end && !ask(c))
		failed(c, "a request that does not go out");
}

static void body_begins(struct connection *c, uint8_t first)
{
	run.wrong += first != (uint8_t)run.letter;
	c->counted = true;
}

/* --- HTTP/1.1 --------------------------------------------------------------------------------------------- */

/* Takes some of what has come; how much, or -1: it is no answer. */
static ssize_t h1(struct connection *c, const uint8_t *data, size_t len)
{
	if (c->left) {
		size_t n = len < c->left ? len : (size_t)c->left;
		if (!c->counted)
			body_begins(c, data[0]);
		c->left -= n;
		run.bytes += n;
		if (!c->left)
			answered(c);
		return (ssize_t)n;
	}
	size_t before = c->have, n = len < HEAD_MAX - before ? len : HEAD_MAX - before;
	memcpy(c->head + before, data, n);
	c->head[before + n] = '\0';
	char *text = (char *)c->head, *end = strstr(text, "\r\n\r\n"), *length;
	c->have += n;
	if (!end)
		return c->have < HEAD_MAX ? (ssize_t)n : -1;
	end[2] = '\0';
	length = strcasestr(text, "\r\ncontent-length:");
	if (strncmp(text, "HTTP/1.1 200 ", 13) != 0 || !length)
		return -1;
	c->left = strtoull(length + 17, NULL, 10);
	c->have = 0;
	return c->left ? end + 4 - text - (ssize_t)before : -1;
}

static size_t h1_request(const char *host, const char *path, const char *name, const char *value)
{
	return (size_t)snprintf(
		(char *)run.request, sizeof(run.request),
		"GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nUser-Agent: hr\r\n%s%s%s%s\r\n",
		path, host, name ? name : "", name ? ": " : "", name ? value : "",
		name ? "\r\n" : "");
}

/* --- HTTP/2 ----------------------------------------------------------------------------------------------- */

/* The status is the first field, after changes of the table's size: ":status: 200" is index 8. */
static bool is_200(const uint8_t *block, size_t len)
{
	size_t i = 0;
	while (i < len && (block[i] & 0xe0) == 0x20) {
		bool more = (block[i++] & 0x1f) == 0x1f;
		while (more && i < len)
			more = block[i++] & 0x80;
	}
	return i < len && block[i] == 0x88;
}

/* A frame has come whole, or, of DATA, passed by. */
static bool h2_frame(struct connection *c)
{
	uint8_t out[FRAME_HEAD + 8];
	if (c->type == RST_STREAM || c->type == GOAWAY)
		return false;
	if ((c->type == SETTINGS || c->type == PING) && !(c->flags & ACK)) {
		size_t len = c->type == PING ? 8 : 0;
		memcpy(frame(out, len, c->type, ACK, 0), c->head + FRAME_HEAD, len);
		return send_all(c, out, FRAME_HEAD + len);
	}
	if (c->unacknowledged > WINDOW_STEP) {
		put32(frame(out, 4, WINDOW_UPDATE, 0, 0), c->unacknowledged);
		c->unacknowledged = 0;
		if (!send_all(c, out, FRAME_HEAD + 4))
			return false;
	}
	if (c->type == HEADERS && !c->counted &&
	    !is_200(c->head + FRAME_HEAD, c->have - FRAME_HEAD))
		return false;
	if ((c->type == DATA || c->type == HEADERS) && c->flags & END_STREAM)
		answered(c);
	return true;
}

static ssize_t h2(struct connection *c, const uint8_t *data, size_t len)
{
	size_t n;
	if (c->have < FRAME_HEAD) {
		n = len < FRAME_HEAD - c->have ? len : FRAME_HEAD - c->have;
		memcpy(c->head + c->have, data, n);
		c->have += n;
		if (c->have < FRAME_HEAD)
			return (ssize_t)n;
		c->left = (uint32_t)c->head[0] << 16 | (uint32_t)c->head[1] << 8 | c->head[2];
		c->type = c->head[3];
		c->flags = c->head[4];
		if (c->type != DATA && c->left > HEAD_MAX - FRAME_HEAD)
			return -1;
	} else {
		n = len < c->left ? len : (size_t)c->left;
		c->left -= n;
		if (c->type == DATA) {
			if (!c->counted)
				body_begins(c, data[0]);
			run.bytes += n;
			c->unacknowledged += (uint32_t)n;
		} else {
			memcpy(c->head + c->have, data, n);
			c->have += n;
		}
	}
	if (!c->left) {
		int fd = c->fd;
		bool good = h2_frame(c);
		if (c->fd == fd && good)
			c->have = 0;
		if (!good)
			return -1;
	}
	return (ssize_t)n;
}

static uint8_t *h2_text(uint8_t *at, const char *text)
{
	size_t len = strlen(text);
	*at++ = (uint8_t)len; /* below 127, not Huffman-coded */
	memcpy(at, text, len);
	return at + len;
}

static size_t h2_request(const char *host, const char *path, const char *name, const char *value)
{
	uint8_t *at = run.request;
	*at++ = 0x82; /* :method: GET */
	*at++ = 0x86; /* :scheme: http */
	*at++ = 0x04; /* :path, literal */
	at = h2_text(at, path);
	*at++ = 0x01; /* :authority, literal */
	at = h2_text(at, host);
	*at++ = 0;
	at = h2_text(h2_text(at, "user-agent"), "hr");
	if (name) {
		*at++ = 0;
		at = h2_text(h2_text(at, name), value);
	}
	return (size_t)(at - run.request);
}

/* --- the loop --------------------------------------------------------------------------------------------- */

static void came(struct connection *c)
{
	static uint8_t buf[CHUNK];
	int fd = c->fd;
	ssize_t n = recv(fd, buf, sizeof(buf), 0), used;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (c->asked)
			failed(c, n ? strerror(errno) : "an end without an answer");
		else
			hang_up(c);
		return;
	}
	/* An answer may end the connection, and the next have the same number: then nothing is left to take. */
	for (ssize_t at = 0; at < n && c->fd == fd && !c->connecting; at += used) {
		used = run.h2 ? h2(c, buf + at, (size_t)(n - at))
			      : h1(c, buf + at, (size_t)(n - at));
		if (used < 0) {
			if (c->fd == fd)
				failed(c, "an answer that is not understood");
			return;
		}
	}
}

static void event(struct connection *c)
{
	if (!c->connecting) {
		came(c);
		return;
	}
	int e = 0;
	socklen_t len = sizeof(e);
	struct epoll_event in = {.events = EPOLLIN, .data.ptr = c};
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len);
	c->connecting = false;
	epoll_ctl(run.epoll, EPOLL_CTL_MOD, c->fd, &in);
	if (e || !ask(c))
		failed(c, strerror(e));
}

/* Until the time is up and one was answered, or `count` were. */
static bool loop(unsigned count)
{
	struct epoll_event events[256];
	while (run.errors < 100 && (count ? run.answered < count : now() < run.end || !run.n)) {
		int n = epoll_wait(run.epoll, events, 256, PATIENCE_MS);
		if (n == 0)
			fprintf(stderr, "hr: nothing came for %d s\n", PATIENCE_MS / 1000);
		if (n <= 0)
			return false;
		for (int i = 0; i < n; i++)
			event(events[i].data.ptr);
	}
	if (run.wrong)
		fprintf(stderr, "hr: %u answers came from somebody else\n", run.wrong);
	return run.errors < 100;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static int ask_all(double seconds, unsigned count)
{
	double start = now(), took;
	run.us = malloc(SAMPLES_MAX * sizeof(*run.us));
	run.end = start + seconds;
	for (unsigned i = 0; i < count; i++)
		dial(&connections[i]);
	if (!run.us || !loop(0) || !run.n)
		return 1;
	took = now() - start;
	qsort(run.us, run.n, sizeof(*run.us), compare);
	printf("%.1f %.1f %.1f %u %.0f\n", (double)run.n / took, (double)run.us[run.n / 2],
	       (double)run.us[run.n * 99 / 100], run.errors + run.wrong, (double)run.bytes / took);
	return 0;
}

static int hold(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		dial(&connections[i]);
		if (!loop(i + 1))
			return 1;
	}
	if (run.wrong || run.errors)
		return 1;
	puts("held");
	fflush(stdout);
	while (read(0, (char[64]){0}, 64) > 0)
		;
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: hr ask h1|h2 ADDRESS PORT PATH LETTER SECONDS CONNECTIONS keep|new "
			"[NAME=VALUE] | "
			"hr hold h1|h2 ADDRESS PORT PATH LETTER CONNECTIONS [NAME=VALUE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	bool asking = argc >= 10 && !strcmp(argv[1], "ask"),
	     holding = argc >= 8 && !strcmp(argv[1], "hold");
	int more = asking ? 10 : 8;
	char host[64], *name = argc > more ? argv[more] : NULL,
		       *value = name ? strchr(name, '=') : NULL;
	if ((!asking && !holding) || argc > more + 1 || (name && !value))
		return usage();
	run.h2 = !strcmp(argv[2], "h2");
	run.to = (struct sockaddr_in){.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(argv[4]))};
	unsigned count = (unsigned)atoi(argv[asking ? 8 : 7]);
	if (inet_pton(AF_INET, argv[3], &run.to.sin_addr) != 1 || !count ||
	    count > CONNECTIONS_MAX || strlen(argv[5]) > 100 || (name && strlen(name) > 100))
		return usage();
	if (name)
		*value++ = '\0';
	snprintf(host, sizeof(host), "%s:%s", argv[3], argv[4]);
	run.request_len = (run.h2 ? h2_request : h1_request)(host, argv[5], name, value);
	run.letter = *argv[6];
	run.anew = asking && !strcmp(argv[9], "new");
	run.epoll = epoll_create1(0);
	signal(SIGPIPE, SIG_IGN);
	return asking ? ask_all(atof(argv[7]), count) : hold(count);
}
