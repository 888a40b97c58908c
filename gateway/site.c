/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which host a request is for, and whether its visitor may have what it asks for.
 *
 * A preview's visitor has a cookie of ours that names the preview and how it got in: by a share link (looked up again at each
 * request) or a login. Names are compared, never resolved; a port is not looked at, since a tunnel may have another one.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "gateway/internal.h"

int64_t now_seconds(void)
{
	return (int64_t)time(NULL);
}

/* --- cookies ---------------------------------------------------------------------------------------------------- */

void site_cookie(struct buf *headers, const struct gateway *g, const char *name,
		 const struct grant *grant)
{
	char text[GRANT_TEXT_MAX + 1];
	int64_t life = grant->expires - now_seconds();

	if (grant_seal(grant, g->key, text) < 0)
		return;
	buf_printf(headers,
		   "Set-Cookie: %s=%s; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=%lld\r\n",
		   name, text, (long long)life);
}

void site_cookie_gone(struct buf *headers, const char *name)
{
	buf_printf(headers,
		   "Set-Cookie: %s=; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=0\r\n", name);
}

int site_grant(const struct visitor *v, const char *cookie, enum grant_kind kind, struct grant *g)
{
	struct http_text text = cookie_find(visitor_head(v), cookie);

	if (!text.p)
		return -ENOENT;
	return grant_open(g, kind, text.p, text.len, now_seconds(), visitor_gateway(v)->key);
}

bool site_allows(const struct gateway *g, const struct grant *grant, const struct preview *p)
{
	(void)g;
	if (grant->expires <= now_seconds() || strcmp(grant->id, p->id))
		return false;
	return *grant->share ? preview_shared(p, grant->share, now_seconds())
			     : *grant->login || *grant->user;
}

/* --- what previews have beside themselves ------------------------------------------------------------------------- */

static void redirect_with(struct visitor *v, const char *to, const char *cookie,
			  const struct grant *grant)
{
	struct buf headers = {.p = NULL};

	site_cookie(&headers, visitor_gateway(v), cookie, grant);
	buf_add(&headers, "", 1);
	visitor_redirect(v, to, headers.failed ? NULL : (const char *)buf_data(&headers));
	buf_free(&headers);
}

static void answer_ended(struct visitor *v)
{
	page_answer(v, &(struct page){.status = 404,
				      .title = "This preview has ended",
				      .text = "There is no preview of this name any more: its "
					      "intercept was left, or its laptop went.",
				      .small = "Ask whoever sent you the link for a new one."});
}

static void share(struct visitor *v, const struct preview *p, struct http_text secret)
{
	struct grant grant = {.kind = GRANT_PREVIEW, .expires = now_seconds() + COOKIE_S};

	if (!share_hash(secret, grant.share) || !preview_shared(p, grant.share, now_seconds())) {
		page_answer(v, &(struct page){
				       .status = 403,
				       .title = "This link is good no more",
				       .text = "It has expired, was taken back, or is not whole.",
				       .small = "Ask whoever sent it for a new one: `culvert "
						"preview share`."});
		return;
	}
	memcpy(grant.id, p->id, sizeof(grant.id));
	redirect_with(v, "/", COOKIE_PREVIEW, &grant);
}

static void choose_version(struct visitor *v, const struct preview *p, bool cluster)
{
	struct grant grant;

	if (!visitor_same_origin(v)) {
		page_answer(
			v,
			&(struct page){
				.status = 403,
				.title = "Not from here",
				.text = "This can be asked for by a page of this preview only."});
		return;
	}
	if (site_grant(v, COOKIE_PREVIEW, GRANT_PREVIEW, &grant) ||
	    !site_allows(visitor_gateway(v), &grant, p)) {
		login_ask(v, p->id, text_of("/"));
		return;
	}
	grant.cluster = cluster;
	redirect_with(v, "/", COOKIE_PREVIEW, &grant);
}

/* /.culvert/: which version this visitor sees, and a way to the other. */
static void show_version(struct visitor *v, const struct preview *p)
{
	struct grant grant;
	char text[400];
	bool cluster;

	if (site_grant(v, COOKIE_PREVIEW, GRANT_PREVIEW, &grant) ||
	    !site_allows(visitor_gateway(v), &grant, p)) {
		login_ask(v, p->id, text_of("/"));
		return;
	}
	cluster = grant.cluster;
	snprintf(text, sizeof(text), "You see the %s version of `%s`.",
		 cluster ? "cluster’s" : "laptop’s", p->name);
	page_answer(v, &(struct page){.status = 200,
				      .title = "Preview",
				      .text = text,
				      .action = cluster ? "/.culvert/laptop" : "/.culvert/cluster",
				      .button = cluster ? "Show the laptop’s version"
							: "Show the cluster’s version"});
}

static void answer_style(struct visitor *v)
{
	size_t len = 0;
	const char *css = asset_find("page.css", &len);

	visitor_answer(v, &(struct answer){.status = 200,
					   .type = "text/css; charset=utf-8",
					   .body = css,
					   .len = len,
					   .cacheable = true});
}

static struct http_text from(struct http_text t, size_t n)
{
	return (struct http_text){.p = t.p + n, .len = t.len - n};
}

/* `path` begins with /.culvert/ */
static void reserved(struct visitor *v, const struct preview *p, struct http_text path)
{
	struct http_text rest = from(path, strlen("/.culvert/"));
	bool get = visitor_is_get(v), post = visitor_is_post(v);

	/* By path the cookie that is still there may be another preview's: the ticket says which it is for. */
	if (http_text_is(visitor_head(v)->method, "GET") && http_text_is(rest, "enter"))
		login_enter(v, p && !visitor_gateway(v)->config.by_path ? p->id : NULL);
	else if (!p)
		answer_ended(v);
	else if (get && !rest.len)
		show_version(v, p);
	else if (get && text_starts(rest, "share/"))
		share(v, p, from(rest, 6));
	else if (post && http_text_is(rest, "cluster"))
		choose_version(v, p, true);
	else if (post && http_text_is(rest, "laptop"))
		choose_version(v, p, false);
	else
		page_not_found(v);
}

/* --- previews ------------------------------------------------------------------------------------------------------ */

/* Of what is known, when the manager has been away too long: nothing. */
static bool is_stale(const struct gateway *g)
{
	return !g->told.known ||
	       (g->told.lost && clock_boot() - g->told.lost > STALE_S * NSEC_PER_SEC);
}

static void answer_stale(struct visitor *v)
{
	page_answer(v,
		    &(struct page){
			    .status = 503,
			    .title = "The gateway has lost the cluster’s manager",
			    .text = "Without it nobody knows which previews there are. The gateway "
				    "tries again by itself: reload this page in a moment.",
			    .small = "If it stays so: `kubectl -n culvert get pods`, and the "
				     "manager’s log.",
			    .headers = "Retry-After: 5\r\n"});
}

/* Somebody else's page must not speak to a preview with its visitor's cookie: nothing else stands between the two. */
static bool is_foreign_websocket(const struct visitor *v)
{
	const struct http_head *h = visitor_head(v);

	return head_is_websocket(h) && http_field_find(h, "origin", NULL) &&
	       !visitor_same_origin(v);
}

/*
 * By path all previews have one origin, one after the other. A service worker of one would stay, see the next one's pages and
 * tickets, and could answer in its place. Browsers say so when they ask for a worker's script.
 */
static bool is_service_worker(const struct visitor *v)
{
	return visitor_gateway(v)->config.by_path &&
	       http_field_find(visitor_head(v), "service-worker", NULL);
}

void site_away(struct visitor *v)
{
	page_answer(v, &(struct page){
			       .status = 503,
			       .title = "The laptop is away",
			       .text = "This preview shows what runs on a laptop, and the laptop "
				       "cannot be reached right now. It comes back by itself.",
			       .small = "The cluster has a version of its own. To return to the "
					"laptop's: `/.culvert/` here.",
			       .action = "/.culvert/cluster",
			       .button = "Show the cluster’s version"});
}

/* Behind the first tier nothing but baggage tells of the preview: agents there would give the request of a laptop that is away to the pod. */
static void pass(struct visitor *v, const struct preview *p)
{
	struct grant grant;

	if (site_grant(v, COOKIE_PREVIEW, GRANT_PREVIEW, &grant) ||
	    !site_allows(visitor_gateway(v), &grant, p))
		login_ask(v, p->id, visitor_target(v));
	else if (is_foreign_websocket(v))
		page_answer(v,
			    &(struct page){
				    .status = 403,
				    .title = "Not from here",
				    .text = "A page of another origin asked for this WebSocket."});
	else if (is_service_worker(v))
		page_answer(v, &(struct page){.status = 403,
					      .title = "No service workers here",
					      .text = "Previews at one host come one after the "
						      "other, and a worker of this one would see "
						      "the next. With a preview domain each has a "
						      "host of its own."});
	else if (!p->online && !grant.cluster)
		site_away(v);
	else
		visitor_proxy(v, p, &grant);
}

/* A host of its own: ID.DOMAIN. */
static void preview_by_host(struct visitor *v, struct http_text id)
{
	const struct gateway *g = visitor_gateway(v);
	const struct preview *p = told_find(&g->told, id);
	struct http_text path = target_path(visitor_target(v));

	if (text_starts(path, "/.culvert/"))
		reserved(v, p, path);
	else if (!p)
		answer_ended(v);
	else
		pass(v, p);
}

/* /p/ID/… : only the door. Behind it the preview has the root, as it expects, and the cookie says which it is. */
static void door(struct visitor *v, struct http_text id, struct http_text rest)
{
	const struct gateway *g = visitor_gateway(v);
	const struct preview *p = told_find(&g->told, id);
	struct grant grant;
	bool shared = text_starts(rest, "/share/");

	if (!p)
		answer_ended(v);
	else if (!visitor_is_get(v) || (rest.len > 1 && !shared))
		page_not_found(v);
	else if (shared)
		share(v, p, from(rest, 7));
	else if (site_grant(v, COOKIE_PREVIEW, GRANT_PREVIEW, &grant) == 0 &&
		 site_allows(g, &grant, p))
		visitor_redirect(v, "/", NULL);
	else
		login_ask(v, p->id, text_of("/"));
}

static void preview_by_path(struct visitor *v)
{
	const struct gateway *g = visitor_gateway(v);
	struct http_text path = target_path(visitor_target(v)), id = {.p = NULL};
	const struct preview *p = NULL;
	struct grant grant;

	if (text_starts(path, "/p/") && path.len >= 3 + ID_LEN)
		id = (struct http_text){.p = path.p + 3, .len = ID_LEN};
	if (id.p && is_id(id) && (path.len == 3 + ID_LEN || path.p[3 + ID_LEN] == '/')) {
		door(v, id, from(path, 3 + ID_LEN));
		return;
	}
	if (site_grant(v, COOKIE_PREVIEW, GRANT_PREVIEW, &grant) == 0)
		p = told_find(&g->told, text_of(grant.id));
	else
		*grant.id = '\0';
	if (text_starts(path, "/.culvert/"))
		reserved(v, p, path);
	else if (*grant.id && !p)
		answer_ended(v);
	else if (p)
		pass(v, p);
	else
		page_answer(
			v, &(struct page){.status = 401,
					  .title = "Which preview?",
					  .text = "Open a preview by its link: `/p/…/`. This visit "
						  "belongs to none yet."});
}

/* --- every request --------------------------------------------------------------------------------------------------- */

static void answer_misdirected(struct visitor *v)
{
	page_answer(
		v, &(struct page){
			   .status = 421,
			   .title = "No such host here",
			   .text = "The gateway serves previews and their dashboard, and this host "
				   "is neither. Look at the link again."});
}

/* What every reader has to read alike: one Host, a target of ours. */
static int check_head(struct visitor *v, char name[static NAME_TEXT + 1])
{
	const struct http_head *h = visitor_head(v);
	const struct http_field *host = http_field_find(h, "host", NULL);
	struct http_text target;

	if (http_text_is(h->method, "CONNECT") || http_text_is(h->method, "TRACE"))
		return 405;
	if (!host || http_field_find(h, "host", host) || host_name(host->value, name))
		return 400;
	if (http_text_is(h->method, "OPTIONS") && http_text_is(h->target, "*"))
		target = h->target;
	else if (target_origin_form(h->target, host->value, &target))
		return 400;
	visitor_set_target(v, target);
	return 0;
}

static bool has_looped(const struct visitor *v)
{
	const struct http_head *h = visitor_head(v);
	const struct http_field *f = NULL;

	while ((f = http_field_find(h, "x-culvert-gateway", f))) {
		if (http_text_is(f->value, visitor_gateway(v)->loop))
			return true;
	}
	return false;
}

/* ID of ID.DOMAIN */
static struct http_text id_of_host(const struct gateway *g, const char *name)
{
	const char *dot = strchr(name, '.');
	struct http_text id = {.p = name, .len = dot ? (size_t)(dot - name) : 0};

	return dot && is_id(id) && !strcmp(dot + 1, g->config.previews.name)
		       ? id
		       : (struct http_text){.p = NULL};
}

static void refuse(struct visitor *v, int status)
{
	page_answer(v, &(struct page){
			       .status = status,
			       .title = status == 405 ? "This method is not served"
						      : "This request makes no sense",
			       .text = status == 405
					       ? "The gateway is no proxy for other hosts."
					       : "It needs one Host, and a target of that host."});
}

static void route(struct visitor *v, const char *name, bool dashboard_port)
{
	const struct gateway *g = visitor_gateway(v);
	const struct config *c = &g->config;
	struct http_text id = {.p = NULL};

	if (c->by_path ? dashboard_port && !strcmp(name, c->dashboard.name)
		       : !strcmp(name, c->dashboard.name)) {
		dashboard_request(v);
		return;
	}
	if (!c->by_path)
		id = id_of_host(g, name);
	if (c->by_path ? dashboard_port || strcmp(name, c->previews.name) : !id.p)
		answer_misdirected(v);
	else if (is_stale(g))
		answer_stale(v);
	else if (c->by_path)
		preview_by_path(v);
	else
		preview_by_host(v, id);
}

void site_request(struct visitor *v, bool dashboard_port)
{
	char name[NAME_TEXT + 1];
	int status = check_head(v, name);

	if (status)
		refuse(v, status);
	else if (http_text_is(target_path(visitor_target(v)), "/.culvert/page.css"))
		answer_style(v);
	else if (has_looped(v))
		page_answer(v, &(struct page){
				       .status = 508,
				       .title = "This preview leads to itself",
				       .text = "Its ingress sent the request back to this gateway.",
				       .small = "The preview needs the ingress of the application, "
						"not the gateway: `culvert preview create`."});
	else
		route(v, name, dashboard_port);
}
