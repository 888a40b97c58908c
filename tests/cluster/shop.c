/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pods run, and who asks them:
 *
 *   shop serve PORT[/udp]...            answers HTTP requests (datagrams) with "$NAME PORT HOST"; $NAME defaults to "pod"
 *   shop ask ADDRESS PORT RATE COUNT    RATE requests per second, each on a connection of its own, COUNT in all (0 = until stdin ends);
 *                                       then one line per different answer with its count, and "failed" with the first cause
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNS = 1024, KINDS = 16, PATIENCE_MS = 15000 };

struct conn {
	int fd; /* -1 = free */
	bool sent;
	size_t len;
	long began;
	unsigned port;
	char buf[1024];
};

static struct conn conns[CONNS];
static struct pollfd polls[CONNS + KINDS];

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct conn *conn_new(int fd)
{
	for (int i = 0; i < CONNS; i++) {
		if (conns[i].fd >= 0)
			continue;
		conns[i] = (struct conn){.fd = fd, .began = now_ms()};
		fcntl(fd, F_SETFL, O_NONBLOCK);
		return &conns[i];
	}
	return NULL;
}

static void conn_end(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
}

/* --- serve ------------------------------------------------------------------------------------------------ */

struct port {
	int fd;
	unsigned number;
	bool udp;
};

static char host[256]; /* which pod */

static const char *name(void)
{
	return getenv("NAME") ? getenv("NAME") : "pod";
}

static void serve_udp(const struct port *p)
{
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	char in[65536], out[300];
	int n;

	if (recvfrom(p->fd, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&from, &len) < 0)
		return;
	n = snprintf(out, sizeof(out), "%s %u %s\n", name(), p->number, host);
	sendto(p->fd, out, (size_t)n, 0, (struct sockaddr *)&from, len);
}

static void serve_accept(const struct port *p)
{
	int fd = accept(p->fd, NULL, NULL);
	struct conn *c = fd < 0 ? NULL : conn_new(fd);

	if (c)
		c->port = p->number;
	else if (fd >= 0)
		close(fd);
}

static void serve_read(struct conn *c)
{
	char body[300], answer[512];
	ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);
	int len;

	if (n < 0 && errno == EAGAIN)
		return;
	c->len += n > 0 ? (size_t)n : 0;
	c->buf[c->len] = '\0';
	if (n > 0 && !strstr(c->buf, "\r\n\r\n") && c->len < sizeof(c->buf) - 1)
		return;
	if (n > 0) {
		len = snprintf(body, sizeof(body), "%s %u %s\n", name(), c->port, host);
		len = snprintf(
			answer, sizeof(answer),
			"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len,
			body);
		if (write(c->fd, answer, (size_t)len) != len)
			perror("shop: answer");
	}
	conn_end(c);
}

static void port_open(struct port *p, const char *text)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
	int one = 1, zero = 0;

	p->number = (unsigned)atoi(text);
	p->udp = strstr(text, "/udp") != NULL;
	p->fd = socket(AF_INET6, p->udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	sa.sin6_port = htons((uint16_t)p->number);
	setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(p->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(p->fd, (struct sockaddr *)&sa, sizeof(sa)) || (!p->udp && listen(p->fd, 1024)))
		die(text);
}

static _Noreturn void serve(int n, char **argv)
{
	static struct port ports[KINDS];
	struct conn *of[CONNS + KINDS];

	gethostname(host, sizeof(host) - 1);
	for (int i = 0; i < n && i < KINDS; i++)
		port_open(&ports[i], argv[i]);
	for (;;) {
		nfds_t count = 0;

		for (; (int)count < n; count++)
			polls[count] = (struct pollfd){.fd = ports[count].fd, .events = POLLIN};
		for (int i = 0; i < CONNS; i++) {
			if (conns[i].fd < 0)
				continue;
			of[count] = &conns[i];
			polls[count++] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
		}
		if (poll(polls, count, -1) < 0)
			die("poll");
		for (nfds_t i = 0; i < count; i++) {
			if (!polls[i].revents)
				continue;
			if ((int)i >= n)
				serve_read(of[i]);
			else if (ports[i].udp)
				serve_udp(&ports[i]);
			else
				serve_accept(&ports[i]);
		}
	}
}

/* --- ask -------------------------------------------------------------------------------------------------- */

static struct {
	char text[128];
	unsigned long n;
} kinds[KINDS];
static unsigned long failed, answered;
static char cause[256];

static void fail(struct conn *c, const char *why)
{
	if (!failed++)
		snprintf(cause, sizeof(cause), "%s after %ld ms with %zu bytes", why,
			 now_ms() - c->began, c->len);
	conn_end(c);
}

static void finish(struct conn *c)
{
	char *body = strstr(c->buf, "\r\n\r\n");

	if (strncmp(c->buf, "HTTP/1.1 200 ", 13) != 0 || !body) {
		fail(c, c->len ? "a bad answer" : "an end without an answer");
		return;
	}
	body += 4;
	body[strcspn(body, "\n")] = '\0';
	for (int i = 0; i < KINDS; i++) {
		if (kinds[i].n && strcmp(kinds[i].text, body) != 0)
			continue;
		snprintf(kinds[i].text, sizeof(kinds[i].text), "%s", body);
		kinds[i].n++;
		break;
	}
	answered++;
	conn_end(c);
}

static void ask_read(struct conn *c)
{
	ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);

	if (n > 0) {
		c->len += (size_t)n;
		c->buf[c->len] = '\0';
	} else if (n == 0) {
		finish(c);
	} else if (errno != EAGAIN) {
		fail(c, strerror(errno));
	}
}

static void ask_write(struct conn *c)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
	socklen_t len = sizeof(int);
	int e = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len);
	if (e || write(c->fd, request, sizeof(request) - 1) < 0)
		fail(c, strerror(e ? e : errno));
	c->sent = true;
}

static void ask_one(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct conn *c = fd < 0 ? NULL : conn_new(fd);

	if (!c) {
		fprintf(stderr, "shop: more than %d requests at once\n", CONNS);
		exit(1);
	}
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS)
		fail(c, strerror(errno));
}

static int ask_step(bool with_stdin, int timeout, bool *end)
{
	struct conn *of[CONNS + KINDS];
	nfds_t count = 0;
	char byte;

	if (with_stdin)
		polls[count++] = (struct pollfd){.fd = 0, .events = POLLIN};
	for (int i = 0; i < CONNS; i++) {
		if (conns[i].fd < 0)
			continue;
		if (now_ms() - conns[i].began > PATIENCE_MS) {
			fail(&conns[i], "no answer");
			continue;
		}
		of[count] = &conns[i];
		polls[count++] = (struct pollfd){.fd = conns[i].fd,
						 .events = conns[i].sent ? POLLIN : POLLOUT};
	}
	if (poll(polls, count, timeout) < 0)
		die("poll");
	for (nfds_t i = 0; i < count; i++) {
		if (!polls[i].revents)
			continue;
		if (with_stdin && i == 0)
			*end = read(0, &byte, 1) <= 0;
		else if (of[i]->sent)
			ask_read(of[i]);
		else
			ask_write(of[i]);
	}
	return (int)count - with_stdin;
}

static int ask(char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
	long rate = atol(argv[2]), count = atol(argv[3]), begun = now_ms(), asked = 0;
	bool end = false, ended = false;

	if (inet_pton(AF_INET, argv[0], &to.sin_addr) != 1 || rate < 1)
		return 2;
	while (!end) {
		long due = (now_ms() - begun) * rate / 1000 + 1;

		if (count && due > count)
			due = count;
		for (; asked < due; asked++)
			ask_one(&to);
		end = count && asked == count;
		if (!end)
			ask_step(!count, (int)(1000 / rate), &end);
	}
	while (ask_step(false, 100, &ended) > 0)
		;
	for (int i = 0; i < KINDS && kinds[i].n; i++)
		printf("%lu %s\n", kinds[i].n, kinds[i].text);
	printf("%lu failed%s%s\n", failed, failed ? ": first " : "", cause);
	return (long)(failed + answered) == asked ? 0 : 1;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CONNS; i++)
		conns[i].fd = -1;
	if (argc > 2 && !strcmp(argv[1], "serve"))
		serve(argc - 2, argv + 2);
	if (argc == 6 && !strcmp(argv[1], "ask"))
		return ask(argv + 2);
	fprintf(stderr, "usage: shop serve PORT[/udp]... | shop ask ADDRESS PORT RATE COUNT\n");
	return 2;
}
