/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's files share.
 *
 *   config     the file                      told       previews and intercepts, as the manager told them
 *   keys       cookie key, certificates      link       the connection to the manager
 *   listen     sockets and their bounds      visitor    one visitor's connection and the ingress behind it
 *   site       who may have what; own paths of previews          login      OpenID Connect, tickets
 *   dashboard  its page and live list        pages      small pages
 */
#pragma once

#include <event2/event_struct.h>
#include <jansson.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "gateway/config.h"
#include "gateway/resolve.h"
#include "rpc/rpc.h"

struct event_base;
struct evconnlistener;
struct oidc;
struct oidc_call;
struct visitor;
struct gateway;

enum {
	VISITORS_MAX = 2048,
	VISITORS_PER_ADDRESS = 1024, /* a load balancer in front may be everybody's address */
	PREVIEWS_MAX = 4096,
	SHARES_MAX = 16,
	STALE_S = 60, /* what is known without the manager is good for so long */
	COOKIE_S = 8 * 3600,
	FLOW_S = 600,
	TICKET_S = 60,
	TICKETS_MAX = 1024, /* used ones, remembered until they have expired */
	TICK_S = 5,
};

/* --- assets.c ------------------------------------------------------------------------------------------------ */

const char *asset_find(const char *name, size_t *len); /* NULL = there is none */

/* --- told.c: what the manager said, checked ------------------------------------------------------------------ */

struct preview {
	char id[ID_LEN + 1];
	char uid[64], name[INTERCEPT_TEXT + 1], header[HEADER_TEXT + 1];
	bool online;
	char host[NAME_TEXT + 1], l5[NAME_TEXT + 8];
	uint16_t port;
	bool tls, verify;
	unsigned nshares;
	struct {
		char hash[HASH_TEXT + 1];
		int64_t expires;
	} share[SHARES_MAX];
};

struct told {
	unsigned n;
	struct preview *preview; /* by id */
	json_t *intercepts;	 /* the list as it came, or NULL */
	bool known;		 /* the manager has told once */
	nsec_t lost;		 /* since when there is no manager; 0 = there is one */
};

/* From the params of `previews`. 0, or -EINVAL: all stays as it was. Of those that make no sense each is left out, and said. */
int told_previews(struct told *t, json_t *params, struct error *e);
int told_intercepts(struct told *t, json_t *params, struct error *e);
void told_free(struct told *t);
const struct preview *told_find(const struct told *t, struct http_text id);
/* Is there a share of that hash, which has not expired? */
bool preview_shared(const struct preview *p, const char *hash, int64_t now);

/* --- the program ---------------------------------------------------------------------------------------------- */

struct ticket_used {
	char once[SECRET_TEXT + 1];
	int64_t expires;
};

struct gateway {
	struct event_base *base;
	struct config config;
	uint8_t key[KEY_LEN];
	char loop
		[33]; /* marks requests that went through us; of the key, so that replicas share it */
	struct ssl_ctx_st *server, *to_ingress, *to_manager;
	struct resolver *resolver;
	struct evconnlistener *listener, *dashboard_listener;
	struct event tick, resume;
	uint64_t cert_stamp;
	TAILQ_HEAD(visitor_list, visitor)
	visitors; /* by the time of their last request's end, the oldest first */
	unsigned nvisitors, nwatching;
	LIST_HEAD(watcher_list, watcher)
	watchers;
	struct told told;
	struct link *link;
	struct oidc *oidc; /* NULL = no issuer */
	struct ticket_used ticket[TICKETS_MAX];
	unsigned ntickets;
	struct log_limit full, refused;
};

int64_t now_seconds(void); /* since 1970 */

/* keys.c */
int keys_load(struct gateway *g, struct error *e);
void keys_tick(struct gateway *g); /* reads certificates again that have changed */

/* listen.c */
int listen_start(struct gateway *g, struct error *e);
void listen_stop(struct gateway *g);

/* link.c */
int link_new(struct link **lp, struct gateway *g);
void link_free(struct link *l); /* NULL ok */
bool link_connected(const struct link *l);
/* `user` and `login` of a ticket of the manager's, or NULL, NULL and why not. Never from inside; visitors that have gone cancel. */
struct redeem;
typedef void redeemed(void *arg, const char *user, const char *login, const char *why);
int link_redeem(struct redeem **rp, struct link *l, const char *ticket, redeemed *cb, void *arg);
void link_redeem_cancel(struct redeem *r); /* NULL ok; not after its callback */
void link_watch(struct link *l, bool on);

/* What the link brings. */
void gateway_told(struct gateway *g); /* previews, intercepts or the manager's presence changed */
void gateway_requests(struct gateway *g, json_t *params); /* the live list's */

/* --- visitor.c ------------------------------------------------------------------------------------------------ */

int visitor_new(struct gateway *g, struct stream *s, const struct ipaddr *from,
		bool dashboard_port);
void visitor_abort(struct visitor *v);
unsigned visitors_of(const struct gateway *g, const struct ipaddr *from);
/* Makes room by ending the oldest that waits for its next request; false = all are busy. */
bool visitor_evict(struct gateway *g);
/* Ends those who may no longer have what they are getting. */
void visitors_check(struct gateway *g);

struct answer {
	int status;
	const char *type;    /* NULL = no body */
	const char *headers; /* further lines, or NULL */
	const char *body;
	size_t len;
	bool live;	/* no end yet: more comes by visitor_more() */
	bool cacheable; /* else no-store */
};
/* Exactly one of these for each request, in site_request() or later. */
void visitor_answer(struct visitor *v, const struct answer *a);
void visitor_redirect(struct visitor *v, const char *to, const char *headers);
/* To the ingress of this preview; `g` let the visitor in. */
void visitor_proxy(struct visitor *v, const struct preview *p, const struct grant *g);
/* Waits for something else, which `cancel` ends if the visitor goes first. */
void visitor_wait(struct visitor *v, void (*cancel)(void *arg), void *arg);

struct gateway *visitor_gateway(const struct visitor *v);
const struct http_head *visitor_head(const struct visitor *v);
struct http_text visitor_target(const struct visitor *v); /* in origin form, once set */
void visitor_set_target(struct visitor *v, struct http_text target);
const struct ipaddr *visitor_from(const struct visitor *v);
bool visitor_wants_html(const struct visitor *v);
bool visitor_is_get(const struct visitor *v); /* or HEAD */
bool visitor_is_post(const struct visitor *v);
bool visitor_same_origin(const struct visitor *v); /* a POST from a page of the same host */

/* A live answer: what it has not taken yet, and more for it. */
size_t visitor_backlog(const struct visitor *v);
void visitor_more(struct visitor *v, const void *data, size_t len);
/* Live answers in turn. */
struct watcher {
	struct visitor *v;
	struct grant who;
	bool stale;	  /* a state waits to be sent */
	unsigned dropped; /* requests that were not */
	LIST_ENTRY(watcher) link;
};
struct watcher *visitor_watch(struct visitor *v, const struct grant *who); /* NULL = no memory */

/* --- site.c, login.c, dashboard.c, pages.c ------------------------------------------------------------------------ */

/* A request whose head is whole. */
void site_request(struct visitor *v, bool dashboard_port);
/* May this grant still have the preview? */
bool site_allows(const struct gateway *g, const struct grant *grant, const struct preview *p);
void site_cookie(struct buf *headers, const struct gateway *g, const char *name,
		 const struct grant *grant);
void site_cookie_gone(struct buf *headers, const char *name);
void site_away(struct visitor *v); /* the page for it */

#define COOKIE_PREVIEW	 COOKIE_PREFIX
#define COOKIE_DASHBOARD COOKIE_PREFIX "-dashboard"
#define COOKIE_FLOW	 COOKIE_PREFIX "-login"
#define COOKIE_ENTER	 COOKIE_PREFIX "-enter"
#define COOKIE_CONFIRM	 COOKIE_PREFIX "-confirm"

/* The visitor's cookie of that name. */
int site_grant(const struct visitor *v, const char *cookie, enum grant_kind kind, struct grant *g);

int login_new(struct gateway *g, struct error *e);
void login_free(struct gateway *g);
/* At the preview's host: who are you? */
void login_ask(struct visitor *v, const char *id, struct http_text path);
void login_enter(struct visitor *v,
		 const char *id); /* .culvert/enter with a ticket of the dashboard's */
/* At the dashboard's. */
void login_begin(struct visitor *v);
void login_callback(struct visitor *v);
void login_redeem(struct visitor *v);
void login_confirm(struct visitor *v); /* POST from the page that login_redeem() gave */
void login_logout(struct visitor *v);

void dashboard_request(struct visitor *v);
void dashboard_tick(struct gateway *g);

struct page {
	int status;
	const char *title, *text;    /* text; what is between ` and ` is code */
	const char *small;	     /* what is less important, or NULL */
	const char *action, *button; /* a form with one button, or NULL */
	const char *link, *link_text;
	const char *headers;
};
void page_answer(struct visitor *v, const struct page *p);
void page_not_found(struct visitor *v);
