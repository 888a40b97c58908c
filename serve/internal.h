/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of serve/ share: the server, its connections, their requests. */
#pragma once

#include <event2/event_struct.h>
#include <llhttp.h>
#include <sys/queue.h>

#include "base/addr.h"
#include "base/clock.h"
#include "serve/serve.h"
#include "tls/tls.h"

struct evconnlistener;
struct ssl_ctx_st;

enum {
	SERVE_BODIES_MAX =
		16 << 20, /* bytes of all bodies of a server at once; then the oldest goes */
	SERVE_CHUNK = 16384,
};

/* --- serve.c, conn.c ------------------------------------------------------------------------------------- */

struct serve {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *resume;
	struct ssl_ctx_st *ctx; /* NULL = plain */
	const struct serve_ops *ops;
	void *arg;
	size_t bodies;
	struct serve_stats stats;
	TAILQ_HEAD(conn_list, serve_conn)
	conns; /* by the time of their last request's end, the oldest first */
	LIST_HEAD(orphan_list, serve_request)
	orphans; /* their connection is gone, their answer is still to come */
};

/*
 * HEAD      the head is read, or the next is awaited; leads to BODY or HANDLED
 * BODY      until it is whole; leads to HANDLED
 * HANDLED   the owner has the request; nothing is read
 * REPLY     the answer is being written; leads to HEAD, or to LINGER
 * LINGER    what still comes is thrown away, until the peer ends: a close with unread bytes would be a reset, which can
 *           overtake the answer
 */
enum serve_state { SERVE_HEAD, SERVE_BODY, SERVE_HANDLED, SERVE_REPLY, SERVE_LINGER };

struct serve_header {
	const char *name, *value; /* in the request's head */
	size_t name_len, value_len;
};

struct serve_request {
	struct serve *serve;
	struct serve_conn *conn; /* NULL = gone */
	char head[SERVE_HEAD_MAX + 1];
	size_t head_len;
	char *path; /* in the head */
	size_t path_len;
	struct serve_header headers[SERVE_HEADERS_MAX];
	unsigned n_headers;
	char *body;
	size_t body_len, body_room, raw_len; /* raw: as it came, with chunk heads */
	int refuse;			     /* status, when a callback of llhttp found a bound */
	llhttp_method_t method;
	bool in_name, head_done, complete, http11, keep_alive;
	union sockaddr_any remote;
	LIST_ENTRY(serve_request) link;
};

struct serve_conn {
	struct serve *serve;
	struct stream *s;
	struct event late;
	enum serve_state state;
	llhttp_t parser;
	struct serve_request *r;
	char in[SERVE_CHUNK]; /* of the body, or behind the request */
	size_t in_len;
	char *out;
	size_t out_len, out_sent;
	bool close_after;
	union sockaddr_any remote;
	TAILQ_ENTRY(serve_conn) link;
};

/* Takes `s` on success. */
int serve_conn_new(struct serve *serve, struct stream *s, const union sockaddr_any *remote);
void serve_conn_free(struct serve_conn *c, void (*end)(struct stream *));
/* The answer's head and body; then the next request, unless `close_after`. */
void serve_conn_send(struct serve_conn *c, int status, const char *type, const void *body,
		     size_t len);
/* 101 goes out, and the stream is the caller's; the connection is gone, and its request. -ECONNRESET: the connection alone. */
int serve_conn_switch(struct serve_conn *c, const char *head, size_t len, struct stream **sp);
/* Makes room by ending the oldest one that the owner has no request of; of those with a body, for one that `asks` (or NULL). */
bool serve_evict(struct serve *s, const struct serve_conn *asks);

/* --- head.c: what llhttp does not ask of a head; bytes only ---------------------------------------------- */

/* Bytes of a whole head at the beginning of `data`; 0 = more are needed; -EPROTO = one that two readers could read differently:
 * a bare CR or LF, a NUL, a folded line. */
ssize_t serve_head_check(const char *data, size_t len);
/* Fills in the request from its head. 0, or the status to refuse it with. */
int serve_head_parse(struct serve_request *r, llhttp_t *parser);
/* Bytes of it used; less than len once it is complete. -status to refuse it with. */
ssize_t serve_body_parse(struct serve_request *r, llhttp_t *parser, const char *data, size_t len);
/* The first header of that name, or NULL, and how many there are. */
const char *serve_header_at(const struct serve_request *r, const char *name, unsigned *count);
bool serve_wants_keep_alive(const struct serve_request *r);
void serve_request_free(struct serve_request *r);
