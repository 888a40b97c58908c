/* SPDX-License-Identifier: Apache-2.0 */
/* A visitor's side of its connection (visitor.h has the states). */
#include "gateway/visitor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <strings.h>

#include "serve/serve.h"

/* --- life --------------------------------------------------------------------------------------------------- */

void visitor_free(struct visitor *v, void (*end)(struct stream *))
{
	struct gateway *g = v->g;

	if (v->cancel)
		v->cancel(v->cancel_arg);
	ingress_drop(v);
	if (v->watcher) {
		LIST_REMOVE(v->watcher, link);
		free(v->watcher);
		g->nwatching--;
	}
	event_del(&v->late);
	TAILQ_REMOVE(&g->visitors, v, link);
	g->nvisitors--;
	h1_free(v->h);
	buf_free(&v->in);
	buf_free(&v->raw);
	buf_free(&v->out);
	buf_free(&v->back);
	buf_free(&v->head);
	end(v->s);
	free(v);
}

void visitor_abort(struct visitor *v)
{
	visitor_free(v, v->s->ops->abort);
}

static enum went gone(struct visitor *v, void (*end)(struct stream *))
{
	visitor_free(v, end);
	return GONE;
}

unsigned visitors_of(const struct gateway *g, const struct ipaddr *from)
{
	const struct visitor *v;
	unsigned n = 0;

	TAILQ_FOREACH (v, &g->visitors, link)
		n += ipaddr_equal(&v->from, from);
	return n;
}

bool visitor_evict(struct gateway *g)
{
	for (struct visitor *v = TAILQ_FIRST(&g->visitors); v; v = TAILQ_NEXT(v, link)) {
		if (v->state == V_HEAD || v->state == V_LINGER) {
			visitor_free(v, v->s->ops->abort);
			return true;
		}
	}
	return false;
}

/* --- answers of our own -------------------------------------------------------------------------------------- */

static void put_answer(struct buf *b, const struct answer *a, bool close, bool body)
{
	buf_printf(b,
		   "HTTP/1.1 %d %s\r\nCache-Control: %s\r\nReferrer-Policy: same-origin\r\n"
		   "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
		   "Cross-Origin-Resource-Policy: same-origin\r\n",
		   a->status, serve_status_text(a->status), a->cacheable ? "no-cache" : "no-store");
	if (a->type)
		buf_printf(b, "Content-Type: %s\r\n", a->type);
	if (!a->live)
		buf_printf(b, "Content-Length: %zu\r\n", a->len);
	if (a->headers)
		buf_add(b, a->headers, strlen(a->headers));
	buf_printf(b, "%s\r\n", close || a->live ? "Connection: close\r\n" : "");
	if (body && a->body)
		buf_add(b, a->body, a->len);
}

void visitor_answer(struct visitor *v, const struct answer *a)
{
	v->cancel = NULL;
	ingress_drop(v);
	h1_answer_restart(v->h);
	buf_free(&v->back);
	v->back_pass = 0;
	v->answer_over = false;
	v->answer_begun = true;
	v->live = a->live;
	v->close |= a->live || v->minor == 0;
	v->state = V_OWN;
	put_answer(&v->back, a, v->close, !v->is_head);
	if (!v->pumping)
		visitor_pump(v);
}

void visitor_redirect(struct visitor *v, const char *to, const char *headers)
{
	struct buf all = {.p = NULL};
	struct answer a = {.status = 303};

	buf_printf(&all, "Location: %s\r\n%s", to, headers ? headers : "");
	buf_add(&all, "", 1);
	a.headers = all.failed ? NULL : (const char *)buf_data(&all);
	visitor_answer(v, &a);
	buf_free(&all);
}

/* To what is no request. */
static enum went refuse(struct visitor *v, int status, const char *why)
{
	struct buf text = {.p = NULL};
	struct answer a = {.status = status, .type = "text/plain; charset=utf-8"};

	log_limited(&v->g->refused, 10 * NSEC_PER_SEC, "a visitor's request was refused: %s", why);
	buf_printf(&text, "This request cannot be served: %s.\n", why);
	a.body = (const char *)buf_data(&text);
	a.len = text.len;
	ingress_drop(v);
	put_answer(&v->out, &a, true, true);
	buf_free(&text);
	v->state = V_REFUSE;
	return MOVED;
}

size_t visitor_backlog(const struct visitor *v)
{
	return v->out.len + v->back.len;
}

void visitor_more(struct visitor *v, const void *data, size_t len)
{
	buf_add(&v->back, data, len);
	if (!v->pumping)
		visitor_pump(v);
}

struct watcher *visitor_watch(struct visitor *v, const struct grant *who)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->v = v;
	w->who = *who;
	v->watcher = w;
	v->g->nwatching++;
	LIST_INSERT_HEAD(&v->g->watchers, w, link);
	return w;
}

void visitor_wait(struct visitor *v, void (*cancel)(void *arg), void *arg)
{
	v->cancel = cancel;
	v->cancel_arg = arg;
}

/* --- what site.c asks ----------------------------------------------------------------------------------------- */

struct gateway *visitor_gateway(const struct visitor *v)
{
	return v->g;
}

/* Others' heads have been read since, perhaps. */
const struct http_head *visitor_head(const struct visitor *v)
{
	h1_head_again(v->h, buf_data(&v->raw), v->raw.len);
	return h1_head(v->h);
}

struct http_text visitor_target(const struct visitor *v)
{
	return v->target;
}

const struct ipaddr *visitor_from(const struct visitor *v)
{
	return &v->from;
}

void visitor_set_target(struct visitor *v, struct http_text target)
{
	v->target = target;
}

bool visitor_wants_html(const struct visitor *v)
{
	return v->html;
}

bool visitor_is_get(const struct visitor *v)
{
	const struct http_head *h = visitor_head(v);

	return http_text_is(h->method, "GET") || http_text_is(h->method, "HEAD");
}

bool visitor_is_post(const struct visitor *v)
{
	return http_text_is(visitor_head(v)->method, "POST");
}

bool visitor_same_origin(const struct visitor *v)
{
	const struct http_head *h = visitor_head(v);
	const struct http_field *origin = http_field_find(h, "origin", NULL);

	return origin && !http_field_find(h, "origin", origin) &&
	       text_starts(origin->value, "https://") &&
	       origin->value.len == 8 + h->authority.len &&
	       !strncasecmp(origin->value.p + 8, h->authority.p, h->authority.len);
}

/* --- requests ------------------------------------------------------------------------------------------------- */

static bool accepts_html(const struct http_head *h)
{
	const struct http_field *f = NULL;

	while ((f = http_field_find(h, "accept", f))) {
		if (memmem(f->value.p, f->value.len, "text/html", 9))
			return true;
	}
	return false;
}

static enum went begin_request(struct visitor *v, size_t n)
{
	const struct http_head *h;

	buf_free(&v->raw);
	buf_add(&v->raw, buf_data(&v->in), n);
	buf_take(&v->in, n);
	if (v->raw.failed)
		return gone(v, v->s->ops->abort);
	h = visitor_head(v);
	v->minor = head_minor(buf_data(&v->raw), n, h);
	v->is_head = http_text_is(h->method, "HEAD");
	v->html = accepts_html(h);
	v->websocket = head_is_websocket(h);
	v->close = v->minor == 0 || head_has_word(h, "connection", "close");
	v->answer_begun = v->answer_over = v->live = false;
	v->body_lost = v->retried = false;
	v->discarded = 0;
	v->served = true;
	v->state = V_DECIDE;
	site_request(v, v->dashboard_port);
	return MOVED;
}

static enum went take_head(struct visitor *v)
{
	size_t n;

	if (!v->in.len)
		return v->in_ended ? gone(v, v->s->ops->close) : STUCK;
	switch (h1_request(v->h, buf_data(&v->in), v->in.len, &n)) {
	case H1_HEAD:
		return begin_request(v, n);
	case H1_MORE:
		return v->in_ended ? gone(v, v->s->ops->close) : STUCK;
	default:
		return refuse(v, v->in.len >= HTTP_HEAD_MAX ? 431 : 400, h1_why(v->h));
	}
}

static enum went bad_body(struct visitor *v)
{
	return v->answer_begun ? gone(v, v->s->ops->abort) : refuse(v, 400, h1_why(v->h));
}

/* More of the request's body, for the ingress or for nobody. */
static enum went take_body(struct visitor *v)
{
	size_t n;

	if (h1_request_over(v->h))
		return STUCK;
	switch (h1_request(v->h, v->in.len ? buf_data(&v->in) : (const uint8_t *)"", v->in.len,
			   &n)) {
	case H1_BODY:
	case H1_END:
		v->in_pass = n;
		return MOVED;
	case H1_MORE:
		return STUCK;
	default:
		return bad_body(v);
	}
}

static enum went throw_away(struct visitor *v)
{
	if (!v->in_pass)
		return STUCK;
	v->discarded += v->in_pass;
	buf_take(&v->in, v->in_pass);
	v->in_pass = 0;
	return MOVED;
}

static enum went request_to_ingress(struct visitor *v)
{
	enum went w = v->up_broken ? throw_away(v) : ingress_write(v);

	v->body_lost |= v->discarded != 0;
	if (w == STUCK && !v->in_pass)
		w = take_body(v);
	/* Who has gone waits for no answer. */
	if (w == STUCK && v->in_ended && !v->in_pass)
		return gone(v, v->s->ops->abort);
	return w;
}

static enum went request_to_nobody(struct visitor *v)
{
	enum went w = throw_away(v);

	if (w == STUCK && v->in_ended && v->live)
		return gone(v, v->s->ops->close);
	if (w == STUCK && v->discarded < DISCARD_MAX)
		w = take_body(v);
	return w;
}

static enum went tunnel_in(struct visitor *v)
{
	enum went w;

	v->in_pass = v->in.len;
	w = ingress_write(v);
	if (w == STUCK && v->in_ended && !v->in.len && !v->up_shut) {
		v->up_shut = true;
		v->up->ops->shutdown(v->up);
	}
	return w;
}

static enum went from_visitor(struct visitor *v)
{
	switch (v->state) {
	case V_HEAD:
		return take_head(v);
	case V_DECIDE:
		return v->in_ended ? gone(v, v->s->ops->abort) : STUCK;
	case V_PROXY:
		return request_to_ingress(v);
	case V_OWN:
		return request_to_nobody(v);
	case V_TUNNEL:
		return tunnel_in(v);
	case V_REFUSE:
	case V_LINGER:
		buf_take(&v->in, v->in.len);
		return v->in_ended && v->state == V_LINGER ? gone(v, v->s->ops->close) : STUCK;
	}
	return STUCK;
}

/* --- answers --------------------------------------------------------------------------------------------------- */

static enum went write_some(struct visitor *v, struct buf *b, size_t *pass)
{
	ssize_t n = stream_write(v->s, buf_data(b), *pass);

	if (n == -EAGAIN || n == 0)
		return STUCK;
	if (n < 0)
		return gone(v, v->s->ops->abort);
	buf_take(b, (size_t)n);
	*pass -= (size_t)n;
	v->moved = true;
	return MOVED;
}

static enum went linger(struct visitor *v)
{
	ingress_drop(v);
	v->s->ops->shutdown(v->s);
	v->state = V_LINGER;
	return MOVED;
}

static void keep(struct visitor *v)
{
	v->up_kept = true;
	v->up_idle = clock_boot();
}

/* The answer is on its way; what comes next? */
static enum went finish(struct visitor *v)
{
	if (v->close || v->state == V_REFUSE || !h1_done(v->h) || !h1_keeps(v->h))
		return linger(v);
	if (v->state == V_OWN || v->up_broken || v->up_ended || v->back.len)
		ingress_drop(v); /* bytes behind an answer are nobody's */
	else
		keep(v);
	buf_free(&v->raw);
	buf_free(&v->back);
	buf_free(&v->out);
	buf_free(&v->head);
	if (!v->in.len)
		buf_free(&v->in);
	v->state = V_HEAD;
	/* It begins anew, even if the whole request took one turn only. */
	v->patience = ANY_TIME;
	event_del(&v->late);
	TAILQ_REMOVE(&v->g->visitors, v, link);
	TAILQ_INSERT_TAIL(&v->g->visitors, v, link);
	return MOVED;
}

static enum went over(struct visitor *v, size_t n)
{
	v->back_pass = n;
	v->answer_over = true;
	return MOVED;
}

static enum went answer_ended(struct visitor *v)
{
	if (v->state == V_PROXY && v->up_ended) {
		if (h1_answer_eof(v->h) == H1_END)
			return over(v, 0);
		return ingress_failed(v, "it ended the connection before its answer was whole");
	}
	return STUCK;
}

static enum went own_head(struct visitor *v, size_t n)
{
	buf_add(&v->out, buf_data(&v->back), n);
	buf_take(&v->back, n);
	return v->out.failed ? gone(v, v->s->ops->abort) : MOVED;
}

static enum went parse_answer(struct visitor *v)
{
	size_t n;
	const uint8_t *data = v->back.len ? buf_data(&v->back) : (const uint8_t *)"";
	enum h1_step step = h1_answer(v->h, data, v->back.len, &n);

	switch (step) {
	case H1_HEAD:
	case H1_TUNNEL:
		if (v->state == V_OWN)
			return own_head(v, n);
		return ingress_head(v, n, step == H1_TUNNEL);
	case H1_BODY:
		v->back_pass = n;
		return MOVED;
	case H1_END:
		return over(v, n);
	case H1_MORE:
		return answer_ended(v);
	case H1_BAD:
		break;
	}
	return ingress_failed(v, h1_why(v->h));
}

static enum went tunnel_back(struct visitor *v)
{
	if (v->back.len) {
		v->back_pass = v->back.len;
		return MOVED;
	}
	if (!v->up_ended)
		return STUCK;
	if (v->up_shut) /* both ways are over */
		return gone(v, v->s->ops->close);
	if (!v->answer_over) {
		v->answer_over = true;
		v->s->ops->shutdown(v->s);
	}
	return STUCK;
}

static enum went to_visitor(struct visitor *v)
{
	size_t out = v->out.len;

	if (v->out.failed || v->back.failed)
		return gone(v, v->s->ops->abort);
	if (out)
		return write_some(v, &v->out, &out);
	if (v->back_pass)
		return write_some(v, &v->back, &v->back_pass);
	switch (v->state) {
	case V_PROXY:
	case V_OWN:
		/* A tail of the request may still be on its way in, of which the parser has to know. */
		return v->answer_over ? finish(v) : parse_answer(v);
	case V_REFUSE:
		return finish(v);
	case V_TUNNEL:
		return tunnel_back(v);
	default:
		return STUCK;
	}
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static enum patience patience_for(const struct visitor *v)
{
	bool sending = v->out.len || v->back_pass;

	switch (v->state) {
	case V_HEAD:
		if (v->in.len)
			return REST_OF_HEAD;
		return v->served ? NEXT_HEAD : FIRST_HEAD;
	case V_DECIDE:
		return DECISION;
	case V_PROXY:
		if (ingress_begins(v))
			return HANDSHAKE;
		/* The answer may take as long as somebody looks at it in a debugger. */
		return sending || (!h1_request_over(v->h) && !v->in_pass) ? TRANSFER : ANY_TIME;
	case V_OWN:
		return v->live && !sending ? ANY_TIME : TRANSFER;
	case V_TUNNEL:
		return sending ? TRANSFER : ANY_TIME;
	case V_REFUSE:
		return TRANSFER;
	case V_LINGER:
		return LINGERING;
	}
	return ANY_TIME;
}

static void set_patience(struct visitor *v)
{
	static const int seconds[] = {
		[FIRST_HEAD] = 20, /* with the handshake */
		[NEXT_HEAD] = 75,  [REST_OF_HEAD] = 30, [DECISION] = 60,
		[HANDSHAKE] = 20,  [TRANSFER] = 120,	[LINGERING] = 3,
	};
	enum patience p = patience_for(v);

	if (p == v->patience && !(p == TRANSFER && v->moved))
		return;
	v->patience = p;
	if (p == ANY_TIME)
		event_del(&v->late);
	else
		event_add(&v->late, &(struct timeval){.tv_sec = seconds[p]});
}

static bool wants_more(const struct visitor *v)
{
	if (v->in_ended)
		return false;
	switch (v->state) {
	case V_HEAD:
	case V_LINGER:
	case V_REFUSE:
		return true;
	case V_TUNNEL:
		return !v->in_pass;
	case V_OWN:
	case V_PROXY:
	case V_DECIDE:
		return !v->in_pass && v->in.len < PIECE; /* if only to see the end */
	}
	return false;
}

static void watch(struct visitor *v)
{
	unsigned ev = wants_more(v) ? STREAM_READABLE : 0;

	if (v->out.len || v->back_pass)
		ev |= STREAM_WRITABLE;
	v->s->ops->want(v->s, ev);
	ingress_watch(v);
	set_patience(v);
	v->moved = false;
}

void visitor_pump(struct visitor *v)
{
	enum went in, out;

	v->pumping = true;
	do {
		in = from_visitor(v);
		if (in == GONE)
			return;
		out = to_visitor(v);
		if (out == GONE)
			return;
	} while (in == MOVED || out == MOVED);
	v->pumping = false;
	watch(v);
}

static void on_visitor(struct stream *s, unsigned ev, void *arg)
{
	struct visitor *v = arg;
	uint8_t *room;
	ssize_t n;

	if (ev & STREAM_ERROR) {
		visitor_free(v, s->ops->abort);
		return;
	}
	if ((ev & STREAM_READABLE) && wants_more(v)) {
		room = buf_room(&v->in, PIECE);
		n = room ? stream_read(s, room, PIECE) : -ENOMEM;
		if (n < 0 && n != -EAGAIN) {
			visitor_free(v, s->ops->abort);
			return;
		}
		v->in_ended = n == 0;
		v->moved |= n > 0;
		if (n > 0)
			buf_added(&v->in, (size_t)n);
	}
	visitor_pump(v);
}

static void on_late(int fd, short what, void *arg)
{
	struct visitor *v = arg;

	(void)fd;
	(void)what;
	if (v->patience == REST_OF_HEAD) {
		(void)refuse(v, 408, "its head did not come within 30 s");
		visitor_pump(v);
		return;
	}
	if (v->patience == HANDSHAKE) {
		if (ingress_begins(v))
			ingress_fails(v, "TLS's handshake was not over within 20 s");
		else
			set_patience(v);
		return;
	}
	visitor_free(v, v->patience == TRANSFER ? v->s->ops->abort : v->s->ops->close);
}

int visitor_new(struct gateway *g, struct stream *s, const struct ipaddr *from, bool dashboard_port)
{
	struct visitor *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->h = h1_new();
	if (!v->h) {
		free(v);
		return -ENOMEM;
	}
	v->g = g;
	v->s = s;
	v->from = *from;
	v->dashboard_port = dashboard_port;
	event_assign(&v->late, g->base, -1, 0, on_late, v);
	TAILQ_INSERT_TAIL(&g->visitors, v, link);
	g->nvisitors++;
	stream_set(s, on_visitor, v);
	watch(v);
	return 0;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

void visitors_check(struct gateway *g)
{
	struct visitor *v, *next;
	int64_t now = now_seconds();

	for (v = TAILQ_FIRST(&g->visitors); v; v = next) {
		const struct preview *p;

		next = TAILQ_NEXT(v, link);
		if (v->watcher && v->watcher->who.expires <= now) {
			visitor_free(v, v->s->ops->close);
			continue;
		}
		if (v->state != V_PROXY && v->state != V_TUNNEL)
			continue;
		p = told_find(&g->told, text_of(v->grant.id));
		if (!p || !site_allows(g, &v->grant, p))
			visitor_free(v, v->s->ops->abort);
	}
}
