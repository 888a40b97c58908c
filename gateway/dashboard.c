/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dashboard: its page, what there is, and the live list. Who looks at it is holder of the intercepts that were made by that
 * user or login; of others' there are counts.
 */
#include <stdio.h>

#include "gateway/internal.h"

/* A watcher that does not read gets no more requests, and its next state when it does. */
enum { BACKLOG_MAX = 256 * 1024 };

static const char policy[] =
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
	"connect-src 'self'; "
	"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'\r\n";

/* --- what there is ---------------------------------------------------------------------------------------------- */

static const char *text_at(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool holds(const struct grant *who, json_t *intercept)
{
	const char *user = text_at(intercept, "user"), *login = text_at(intercept, "login");

	return (*who->user && !strcmp(who->user, user)) ||
	       (*who->login && !strcmp(who->login, login));
}

static json_t *previews(const struct gateway *g)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < g->told.n; i++) {
		const struct preview *p = &g->told.preview[i];
		json_t *url = g->config.by_path ? json_sprintf("https://%s/p/%s/",
							       g->config.previews.authority, p->id)
						: json_sprintf("https://%s.%s/", p->id,
							       g->config.previews.authority);

		json_array_append_new(list, json_pack("{s:s,s:o}", "uid", p->uid, "url", url));
	}
	return list;
}

static char *state(const struct gateway *g, const struct grant *who)
{
	json_t *o =
		json_pack("{s:s,s:s,s:O?,s:o,s:{s:b}}", "user", *who->name ? who->name : who->user,
			  "login", who->login, "intercepts", g->told.intercepts, "previews",
			  previews(g), "manager", "connected", link_connected(g->link));
	char *text;

	if (o && !g->told.intercepts)
		json_object_set_new(o, "intercepts", json_array());
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

/* --- live ---------------------------------------------------------------------------------------------------------- */

static void send_event(struct watcher *w, const char *name, const char *data)
{
	struct buf b = {.p = NULL};

	buf_printf(&b, "event: %s\ndata: %s\n\n", name, data);
	if (!b.failed)
		visitor_more(w->v, buf_data(&b), b.len);
	buf_free(&b);
}

/* The visitor may be gone afterwards. */
static void send_state(struct watcher *w)
{
	cleanup(free_ptr) char *text = NULL;

	w->stale = visitor_backlog(w->v) > BACKLOG_MAX;
	if (w->stale)
		return;
	text = state(visitor_gateway(w->v), &w->who);
	if (text)
		send_event(w, "state", text);
}

/* Each watcher, of which `fn` may end any. */
static void each(struct gateway *g, void (*fn)(struct watcher *w, void *arg), void *arg)
{
	struct watcher *w, *next;

	for (w = LIST_FIRST(&g->watchers); w; w = next) {
		next = LIST_NEXT(w, link);
		fn(w, arg);
	}
}

static void tell_state(struct watcher *w, void *arg)
{
	(void)arg;
	send_state(w);
}

void gateway_told(struct gateway *g)
{
	visitors_check(g);
	each(g, tell_state, NULL);
}

static json_t *find_intercept(const struct gateway *g, const char *uid)
{
	size_t i;
	json_t *o;

	json_array_foreach(g->told.intercepts, i, o)
	{
		if (*uid && !strcmp(text_at(o, "uid"), uid))
			return o;
	}
	return NULL;
}

/* [uid, t_ms, method, path, status, ms, by], with its names. */
static json_t *named(json_t *row, json_t *intercept, json_t *agent)
{
	return json_pack("{s:O?,s:O?,s:O?,s:O?,s:O?,s:O?,s:O?,s:O?,s:s}", "uid",
			 json_array_get(row, 0), "t", json_array_get(row, 1), "method",
			 json_array_get(row, 2), "path", json_array_get(row, 3), "status",
			 json_array_get(row, 4), "ms", json_array_get(row, 5), "by",
			 json_array_get(row, 6), "agent", agent, "name",
			 text_at(intercept, "name"));
}

static void count(json_t *others, const char *uid)
{
	json_int_t n = json_integer_value(json_object_get(others, uid));

	json_object_set_new(others, uid, json_integer(n + 1));
}

static void tell_requests(struct watcher *w, void *arg)
{
	struct gateway *g = visitor_gateway(w->v);
	json_t *params = arg, *rows = json_object_get(params, "requests"), *row, *event;
	json_t *own = json_array(), *others = json_object();
	json_int_t dropped = json_integer_value(json_object_get(params, "dropped"));
	char *text;
	size_t i;

	if (visitor_backlog(w->v) > BACKLOG_MAX) {
		w->dropped += (unsigned)json_array_size(rows);
		json_decref(own);
		json_decref(others);
		return;
	}
	json_array_foreach(rows, i, row)
	{
		const char *uid = json_string_value(json_array_get(row, 0));
		json_t *intercept = find_intercept(g, uid ? uid : "");

		if (intercept && holds(&w->who, intercept))
			json_array_append_new(
				own, named(row, intercept, json_object_get(params, "agent")));
		else
			count(others, uid ? uid : "");
	}
	event = json_pack("{s:o,s:I,s:o}", "requests", own, "dropped", dropped + w->dropped,
			  "others", others);
	text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	json_decref(event);
	w->dropped = 0;
	if (text)
		send_event(w, "requests", text);
	free(text);
}

void gateway_requests(struct gateway *g, json_t *params)
{
	each(g, tell_requests, params);
}

static void beat(struct watcher *w, void *arg)
{
	(void)arg;
	if (w->stale)
		send_state(w);
	else if (!visitor_backlog(w->v))
		visitor_more(w->v, ":\n\n", 3); /* so that an end is seen */
}

void dashboard_tick(struct gateway *g)
{
	each(g, beat, NULL);
	link_watch(g->link, g->nwatching != 0);
}

/* --- requests -------------------------------------------------------------------------------------------------------- */

static void answer_asset(struct visitor *v, const char *name, const char *type)
{
	size_t len = 0;
	const char *data = asset_find(name, &len);

	if (!data) {
		page_not_found(v);
		return;
	}
	visitor_answer(v, &(struct answer){.status = 200,
					   .type = type,
					   .headers = policy,
					   .body = data,
					   .len = len,
					   .cacheable = strcmp(name, "index.html") != 0});
}

static void answer_json(struct visitor *v, int status, const char *text)
{
	visitor_answer(v, &(struct answer){.status = status,
					   .type = "application/json",
					   .headers = policy,
					   .body = text,
					   .len = strlen(text)});
}

static void answer_live(struct visitor *v, const struct grant *who)
{
	struct gateway *g = visitor_gateway(v);
	cleanup(free_ptr) char *text = state(g, who);
	struct buf first = {.p = NULL};
	struct watcher *w = text ? visitor_watch(v, who) : NULL;

	if (!w) {
		answer_json(v, 500, "{}");
		return;
	}
	link_watch(g->link, true);
	buf_printf(&first, "retry: 2000\n\nevent: state\ndata: %s\n\n", text);
	visitor_answer(v, &(struct answer){.status = 200,
					   .type = "text/event-stream",
					   .headers = policy,
					   .body = (const char *)buf_data(&first),
					   .len = first.len,
					   .live = true});
	buf_free(&first);
}

/* Of another origin's page, says the browser. A preview is of the same site as the dashboard, so cookies alone do not tell. */
static bool is_foreign(const struct visitor *v)
{
	const struct http_field *f = http_field_find(visitor_head(v), "sec-fetch-site", NULL);

	return f && !http_text_is(f->value, "same-origin") && !http_text_is(f->value, "none");
}

static void answer_api(struct visitor *v, struct http_text path)
{
	cleanup(free_ptr) char *text = NULL;
	struct grant who;

	if (is_foreign(v)) {
		answer_json(v, 403, "{\"error\":\"not from here\"}");
		return;
	}
	if (site_grant(v, COOKIE_DASHBOARD, GRANT_DASHBOARD, &who)) {
		answer_json(v, 401, "{\"error\":\"not logged in\"}");
		return;
	}
	if (http_text_is(path, "/api/state")) {
		text = state(visitor_gateway(v), &who);
		answer_json(v, text ? 200 : 500, text ? text : "{}");
	} else if (http_text_is(path, "/api/events") &&
		   http_text_is(visitor_head(v)->method, "GET")) {
		answer_live(v, &who);
	} else {
		answer_json(v, 404, "{\"error\":\"no such thing\"}");
	}
}

static void answer_get(struct visitor *v, struct http_text path)
{
	struct grant who;

	if (http_text_is(path, "/")) {
		if (site_grant(v, COOKIE_DASHBOARD, GRANT_DASHBOARD, &who))
			visitor_redirect(v, "/login", NULL);
		else
			answer_asset(v, "index.html", "text/html; charset=utf-8");
	} else if (http_text_is(path, "/app.css")) {
		answer_asset(v, "app.css", "text/css; charset=utf-8");
	} else if (http_text_is(path, "/app.js")) {
		answer_asset(v, "app.js", "text/javascript; charset=utf-8");
	} else if (http_text_is(path, "/login")) {
		login_begin(v);
	} else if (http_text_is(path, "/.culvert/callback")) {
		login_callback(v);
	} else if (http_text_is(path, "/.culvert/enter") &&
		   http_text_is(visitor_head(v)->method, "GET")) { /* HEAD uses up no ticket */
		login_redeem(v);
	} else if (text_starts(path, "/api/")) {
		answer_api(v, path);
	} else {
		page_not_found(v);
	}
}

void dashboard_request(struct visitor *v)
{
	struct http_text path = target_path(visitor_target(v));

	if (visitor_is_get(v))
		answer_get(v, path);
	else if (visitor_is_post(v) && http_text_is(path, "/logout"))
		login_logout(v);
	else if (visitor_is_post(v) && http_text_is(path, "/.culvert/enter"))
		login_confirm(v);
	else
		page_not_found(v);
}
