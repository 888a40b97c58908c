/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: a small HTTP/1.1 server on the event loop, plain or with TLS 1.2/1.3: requests that are answered whole, or upgraded to a
 * WebSocket. The manager's webhook and overlay ports are made of it. One thread; a handler may answer now or later.
 * The program ignores SIGPIPE. Upgraded connections are no longer counted here: the owner bounds them.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"
#include "base/stream.h"

struct event_base;
struct serve;
struct serve_request;

enum {
	SERVE_CONNS_MAX =
		512, /* of one server; then the oldest that has no request at its owner goes */
	SERVE_HEAD_MAX = 16384,	  /* bytes */
	SERVE_BODY_MAX = 3 << 20, /* a pod in an AdmissionReview, with room */
	SERVE_IDLE_S = 60,	  /* between requests, and for the rest of one */
	SERVE_HEADERS_MAX = 64,
};

#define SERVE_PROTOCOL "culvert.v1"

struct serve_ops {
	/* A whole request. Answer it exactly once, by serve_reply() or serve_websocket(), now or later. */
	void (*request)(void *arg, struct serve_request *r);
};
struct serve_stats {
	uint64_t requests, upgrades, malformed, refused; /* refused: a bound was hit */
	unsigned conns;
};

/* Listens. `cert` and `key` are PEM texts; NULL, NULL = plain TCP. */
int serve_new(struct serve **sp, struct event_base *base, const union sockaddr_any *listen,
	      const char *cert, const char *key, const struct serve_ops *ops, void *arg,
	      struct error *e);
/* NULL ok; requests not yet answered become void; streams handed over live on. */
void serve_free(struct serve *s);
/* For connections from now on. The old one stays on error. */
int serve_set_cert(struct serve *s, const char *cert, const char *key, struct error *e);
int serve_local(const struct serve *s, union sockaddr_any *sa);
const struct serve_stats *serve_stats(const struct serve *s);

const char *serve_method(const struct serve_request *r);
const char *serve_path(const struct serve_request *r); /* with the query, as it came */
const char *serve_header(const struct serve_request *r,
			 const char *name); /* the first, or NULL; any case */
const char *serve_body(const struct serve_request *r, size_t *len); /* NUL-terminated */
void serve_remote(const struct serve_request *r, union sockaddr_any *sa);
void serve_reply(struct serve_request *r, int status, const char *content_type, const void *body,
		 size_t len);
/* RFC 9110's words for the statuses that are answered here. */
const char *serve_status_text(int status);
/*
 * Is it a WebSocket handshake (RFC 6455 4.2.1)? Then 101 goes out and *sp is the caller's; the subprotocol is SERVE_PROTOCOL
 * if it was offered. -EPROTO: it is not; -ECONNRESET: the client has gone. Either is still to be answered by serve_reply().
 */
int serve_websocket(struct serve_request *r, struct stream **sp);
