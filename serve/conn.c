/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: its requests, one after the other (internal.h has the states). */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "serve/internal.h"
#include "websocket/websocket.h"

enum { LINGER_SECONDS = 5 };

/* --- life ----------------------------------------------------------------------------------------------- */

/* Without its stream. The request lives on until its owner has answered it. */
static void detach(struct serve_conn *c)
{
	event_del(&c->late);
	TAILQ_REMOVE(&c->serve->conns, c, link);
	c->serve->stats.conns--;
	if (c->r && c->state == SERVE_HANDLED) {
		c->r->conn = NULL;
		LIST_INSERT_HEAD(&c->serve->orphans, c->r, link);
	} else {
		serve_request_free(c->r);
	}
	free(c->out);
	free(c);
}

void serve_conn_free(struct serve_conn *c, void (*end)(struct stream *))
{
	end(c->s);
	detach(c);
}

static void drop(struct serve_conn *c)
{
	serve_conn_free(c, c->s->ops->abort);
}

static void set_late(struct serve_conn *c, unsigned seconds)
{
	struct timeval tv = {.tv_sec = seconds};

	event_add(&c->late, &tv);
}

/* --- answering ------------------------------------------------------------------------------------------ */

const char *serve_status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{200, "OK"},
		{204, "No Content"},
		{303, "See Other"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{413, "Content Too Large"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{421, "Misdirected Request"},
		{426, "Upgrade Required"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
		{508, "Loop Detected"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "Unknown";
}

/* The next request, from the beginning. */
static void next(struct serve_conn *c)
{
	serve_request_free(c->r);
	c->r = NULL;
	c->state = SERVE_HEAD;
	TAILQ_REMOVE(&c->serve->conns, c, link);
	TAILQ_INSERT_TAIL(&c->serve->conns, c, link);
	set_late(c, SERVE_IDLE_S);
	c->s->ops->want(c->s, STREAM_READABLE);
}

static void linger(struct serve_conn *c)
{
	c->state = SERVE_LINGER;
	c->in_len = 0;
	c->s->ops->shutdown(c->s);
	set_late(c, LINGER_SECONDS);
	c->s->ops->want(c->s, STREAM_READABLE);
}

/* The connection may be gone afterwards. */
static void write_out(struct serve_conn *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = stream_write(c->s, c->out + c->out_sent, c->out_len - c->out_sent);

		if (n == -EAGAIN || n == 0) {
			c->s->ops->want(c->s, STREAM_WRITABLE);
			return;
		}
		if (n < 0) {
			drop(c);
			return;
		}
		c->out_sent += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_sent = 0;
	if (c->close_after)
		linger(c);
	else
		next(c);
}

void serve_conn_send(struct serve_conn *c, int status, const char *type, const void *body,
		     size_t len)
{
	bool empty = c->r && c->r->method == HTTP_HEAD;
	int n;

	c->close_after |= !c->r || !c->r->keep_alive || c->in_len;
	n = asprintf(
		&c->out, "HTTP/1.1 %d %s\r\n%s%s%sContent-Length: %zu\r\nConnection: %s\r\n\r\n",
		status, serve_status_text(status), type ? "Content-Type: " : "", type ? type : "",
		type ? "\r\n" : "", len, c->close_after ? "close" : "keep-alive");
	if (n < 0)
		c->out = NULL;
	if (n >= 0 && !empty && len) {
		char *whole = realloc(c->out, (size_t)n + len);

		if (whole) {
			memcpy(whole + n, body, len);
			c->out = whole;
			n += (int)len;
		} else {
			n = -1;
		}
	}
	c->state = SERVE_REPLY;
	if (n < 0) {
		drop(c);
		return;
	}
	c->out_len = (size_t)n;
	set_late(c, SERVE_IDLE_S);
	write_out(c);
}

/* Refuses what is no request. Its end cannot be known, so the connection ends. */
static void refuse(struct serve_conn *c, int status)
{
	const char *text = serve_status_text(status);

	if (status == 400 || status == 505)
		c->serve->stats.malformed++;
	else
		c->serve->stats.refused++;
	c->close_after = true;
	serve_conn_send(c, status, "text/plain", text, strlen(text));
}

int serve_conn_switch(struct serve_conn *c, const char *head, size_t len, struct stream **sp)
{
	struct stream *s = c->s;

	/* Nothing else waits to be sent, so a head that does not fit means a peer that does not read. */
	if (stream_write(s, head, len) != (ssize_t)len ||
	    websocket_new(sp, c->serve->base, s, WEBSOCKET_SERVER, c->in, c->in_len)) {
		drop(c);
		return -ECONNRESET;
	}
	c->serve->stats.upgrades++;
	c->state = SERVE_REPLY;
	detach(c);
	return 0;
}

/* --- asking --------------------------------------------------------------------------------------------- */

/* The last thing a callback does: the owner may free the server in there. */
static void handle(struct serve_conn *c)
{
	c->state = SERVE_HANDLED;
	event_del(&c->late);
	c->s->ops->want(c->s, 0);
	c->serve->stats.requests++;
	c->serve->ops->request(c->serve->arg, c->r);
}

static void take_body(struct serve_conn *c)
{
	ssize_t n = serve_body_parse(c->r, &c->parser, c->in, c->in_len);

	if (n < 0) {
		refuse(c, (int)-n);
		return;
	}
	c->in_len -= (size_t)n;
	memmove(c->in, c->in + n, c->in_len);
	if (c->r->complete)
		handle(c);
}

/* "Expect: 100-continue"; 0, or the status to refuse it with. */
static int meet_expectation(struct serve_conn *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const char *expect = serve_header(c->r, "Expect");

	if (!expect || !c->r->http11)
		return 0;
	if (!websocket_has_word(expect, "100-continue"))
		return 417;
	/* Who has begun to send does not wait for it. */
	if (c->in_len || c->r->complete)
		return 0;
	return stream_write(c->s, go_on, strlen(go_on)) == (ssize_t)strlen(go_on) ? 0 : 503;
}

static void take_head(struct serve_conn *c)
{
	struct serve_request *r = c->r;
	ssize_t len = serve_head_check(r->head, r->head_len);
	int status;

	if (len == 0 && r->head_len < SERVE_HEAD_MAX)
		return;
	if (len <= 0) {
		refuse(c, len ? 400 : 431);
		return;
	}
	c->in_len = r->head_len - (size_t)len;
	memcpy(c->in, r->head + len, c->in_len);
	r->head_len = (size_t)len;
	r->head[len] = '\0';
	status = serve_head_parse(r, &c->parser);
	if (!status)
		status = meet_expectation(c);
	if (status) {
		refuse(c, status);
	} else if (r->complete) {
		handle(c);
	} else {
		c->state = SERVE_BODY;
		if (c->in_len)
			take_body(c);
	}
}

static int begin(struct serve_conn *c)
{
	c->r = calloc(1, sizeof(*c->r));
	if (!c->r)
		return -ENOMEM;
	c->r->serve = c->serve;
	c->r->conn = c;
	c->r->remote = c->remote;
	set_late(c, SERVE_IDLE_S);
	return 0;
}

static void read_in(struct serve_conn *c)
{
	bool head = c->state == SERVE_HEAD;
	char *into;
	size_t room;
	ssize_t n;

	if (head && !c->r && begin(c)) {
		drop(c);
		return;
	}
	into = head ? c->r->head + c->r->head_len : c->in + c->in_len;
	room = head ? SERVE_HEAD_MAX - c->r->head_len : SERVE_CHUNK - c->in_len;
	n = stream_read(c->s, into, room);
	if (n == -EAGAIN)
		return;
	if (n <= 0 && c->state == SERVE_LINGER) {
		serve_conn_free(c, c->s->ops->close);
	} else if (n <= 0) {
		c->serve->stats.malformed += n < 0 ? n == -EPROTO : c->r->head_len != 0;
		serve_conn_free(c, c->s->ops->close);
	} else if (c->state == SERVE_LINGER) {
		return;
	} else if (head) {
		c->r->head_len += (size_t)n;
		take_head(c);
	} else {
		c->in_len += (size_t)n;
		take_body(c);
	}
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct serve_conn *c = arg;

	(void)s;
	if (ev & STREAM_ERROR)
		drop(c);
	else if (c->state == SERVE_REPLY)
		write_out(c);
	else if ((ev & STREAM_READABLE) && c->state != SERVE_HANDLED)
		read_in(c);
}

static void on_late(int fd, short what, void *arg)
{
	struct serve_conn *c = arg;

	(void)fd;
	(void)what;
	if (c->state == SERVE_LINGER || !c->r || !c->r->head_len) {
		serve_conn_free(c, c->s->ops->close);
	} else if (c->state == SERVE_REPLY) {
		c->serve->stats.refused++;
		drop(c);
	} else {
		refuse(c, 408);
	}
}

int serve_conn_new(struct serve *serve, struct stream *s, const union sockaddr_any *remote)
{
	struct serve_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->serve = serve;
	c->s = s;
	c->remote = *remote;
	if (event_assign(&c->late, serve->base, -1, 0, on_late, c)) {
		free(c);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&serve->conns, c, link);
	serve->stats.conns++;
	set_late(c, SERVE_IDLE_S);
	stream_set(s, on_stream, c);
	s->ops->want(s, STREAM_READABLE);
	return 0;
}
