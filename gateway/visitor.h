/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One visitor's connection: its requests in turn, each answered by us or by the ingress. Bytes go
 *
 *   visitor -> in -> (head) -> ingress           in_pass of `in` are parsed, and wait for the ingress to take them
 *   visitor <- out, back <- ingress or us        back_pass of `back` are parsed; `out` (heads) goes before them
 *
 * and a side is read only when nothing that it has sent waits: so neither can make the other grow.
 *
 *   HEAD    a head is read, or the next is awaited; leads to DECIDE
 *   DECIDE  site.c has the request; leads to OWN or PROXY, now or later
 *   PROXY   request and answer, both under way; leads to HEAD, LINGER, TUNNEL, or OWN if the ingress gives no answer
 *   OWN     our own answer, while what is left of the request is thrown away; leads to HEAD or LINGER
 *   REFUSE  the same to what was no request: nothing more of it can be understood; leads to LINGER
 *   TUNNEL  a WebSocket: bytes, both ways
 *   LINGER  what still comes is thrown away until the visitor ends: a close with unread bytes would be a reset, which can
 *           overtake the answer
 */
#pragma once

#include "gateway/internal.h"

enum visitor_state { V_HEAD, V_DECIDE, V_PROXY, V_OWN, V_REFUSE, V_TUNNEL, V_LINGER };

enum { PIECE = 16384, DISCARD_MAX = 1 << 20 };

/* What a step of the work came to. */
enum went { STUCK, MOVED, GONE };

/* What is waited for, and how long. */
enum patience {
	ANY_TIME,
	FIRST_HEAD,
	NEXT_HEAD,
	REST_OF_HEAD,
	DECISION,
	HANDSHAKE,
	TRANSFER,
	LINGERING
};

struct visitor {
	struct gateway *g;
	TAILQ_ENTRY(visitor) link;
	struct stream *s;
	struct ipaddr from;
	bool dashboard_port;
	enum visitor_state state;
	struct h1 *h;
	struct event late;
	enum patience patience;
	bool pumping, moved, served;

	struct buf in;
	size_t in_pass, discarded;
	bool in_ended;

	/* the request under way */
	struct buf raw; /* its head as it came */
	struct http_text target;
	int minor;
	bool is_head, html, websocket, close;

	struct buf out, back;
	size_t back_pass;
	bool answer_begun, answer_over, live;
	struct watcher *watcher;

	void (*cancel)(void *arg);
	void *cancel_arg;

	/* the ingress */
	struct caller *caller;
	struct stream *up;
	struct buf head; /* as it goes there, until the answer comes */
	size_t head_sent;
	nsec_t up_idle; /* since when it waits for the next request */
	bool up_kept;	/* it has answered before */
	bool up_broken; /* it takes no more; its answer may still come */
	bool up_ended, body_lost, retried, up_shut;
	struct passage passage;
	struct call call;
	char up_host[NAME_TEXT + 1], up_name[NAME_TEXT + 1];
	struct grant grant;
};

/* visitor.c */
void visitor_free(struct visitor *v, void (*end)(struct stream *));
void visitor_pump(struct visitor *v); /* it may be gone afterwards */

/* ingress.c */
enum went ingress_write(struct visitor *v); /* head and body */
void ingress_watch(struct visitor *v);
void ingress_drop(struct visitor *v);
/* It gave no answer, or no whole one. */
enum went ingress_failed(struct visitor *v, const char *why);
/* The same as an event tells it, not the pump; `v` may be gone afterwards. */
void ingress_fails(struct visitor *v, const char *why);
/* It is connected, and has not done its part of TLS's handshake yet. */
bool ingress_begins(const struct visitor *v);
/* The answer's head lies in the first n bytes of `back`. */
enum went ingress_head(struct visitor *v, size_t n, bool tunnel);
