/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress's side of a visitor's connection: one connection to it, kept as long as requests are for the same. */
#include <errno.h>
#include <stdio.h>

#include "gateway/visitor.h"
#include "tls/tls.h"

#define FRESH NSEC_PER_SEC

static void on_up(struct stream *s, unsigned ev, void *arg);

/* --- the connection --------------------------------------------------------------------------------------------- */

void ingress_drop(struct visitor *v)
{
	call_cancel(v->caller);
	v->caller = NULL;
	if (v->up)
		v->up->ops->abort(v->up);
	v->up = NULL;
	v->up_kept = v->up_broken = v->up_ended = v->up_shut = false;
	v->head_sent = 0;
	if (v->state == V_HEAD || v->state == V_DECIDE) {
		buf_free(&v->back);
		v->back_pass = 0;
	}
}

void ingress_fails(struct visitor *v, const char *why)
{
	v->pumping = true;
	if (ingress_failed(v, why) != GONE)
		visitor_pump(v);
}

static void on_called(void *arg, struct stream *s, const struct error *why)
{
	struct visitor *v = arg;

	v->caller = NULL;
	if (!s) {
		ingress_fails(v, why->text);
		return;
	}
	v->up = s;
	stream_set(s, on_up, v);
	visitor_pump(v);
}

bool ingress_begins(const struct visitor *v)
{
	return v->up && !tls_is_up(v->up);
}

static int dial(struct visitor *v)
{
	v->call.host = v->up_host;
	v->call.name = v->up_name;
	return call_start(&v->caller, v->g->resolver, &v->call, on_called, v);
}

/* The name in the certificate: the one that the ingress is asked for. */
static void certificate_name(char name[static NAME_TEXT + 1], const char *l5)
{
	if (host_name(text_of(l5), name))
		*name = '\0';
	if (*name == '[') {
		memmove(name, name + 1, strlen(name));
		name[strcspn(name, "]")] = '\0';
	}
}

/* RFC 9110, 9.2.2: may it be asked twice? */
static bool is_idempotent(const struct visitor *v)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
	const struct http_head *h = visitor_head(v);

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (http_text_is(h->method, methods[i]))
			return true;
	}
	return false;
}

/*
 * Does what is open lead there? It may be closed over there just now. Who may be asked twice then is; others go by a
 * connection that was used a moment ago, or by a new one.
 */
static bool leads_to(const struct visitor *v, const struct preview *p, const char *name)
{
	if (!v->up || !v->up_kept || v->up_ended ||
	    (!is_idempotent(v) && clock_boot() - v->up_idle > FRESH))
		return false;
	return !strcmp(v->up_host, p->host) && v->call.port == p->port && !v->call.tls == !p->tls &&
	       (!p->tls || (v->call.verify == p->verify && !strcmp(v->up_name, name)));
}

static void set_passage(struct visitor *v, const struct preview *p, const struct grant *grant)
{
	const struct http_head *h = visitor_head(v);
	struct passage *to = &v->passage;
	char from[ADDR_STRLEN];

	*to = (struct passage){
		.port = p->port, .tls = p->tls, .marked = !grant->cluster, .loop = v->g->loop};
	snprintf(to->host, sizeof(to->host), "%.*s", (int)h->authority.len, h->authority.p);
	(void)host_name(h->authority, to->name);
	memcpy(to->l5, p->l5, sizeof(to->l5));
	memcpy(to->id, p->id, sizeof(to->id));
	memcpy(to->header, p->header, sizeof(to->header));
	snprintf(to->from, sizeof(to->from), "%.47s", ipaddr_format(&v->from, from));
}

void visitor_proxy(struct visitor *v, const struct preview *p, const struct grant *grant)
{
	char name[NAME_TEXT + 1];

	certificate_name(name, p->l5);
	if (!leads_to(v, p, name)) {
		ingress_drop(v);
		memcpy(v->up_host, p->host, sizeof(v->up_host));
		memcpy(v->up_name, name, sizeof(v->up_name));
		v->call = (struct call){.port = p->port,
					.tls = p->tls ? v->g->to_ingress : NULL,
					.verify = p->verify,
					.guarded = true};
	}
	set_passage(v, p, grant);
	v->grant = *grant;
	buf_free(&v->head);
	buf_free(&v->back);
	v->back_pass = v->head_sent = 0;
	head_to_ingress(&v->head, visitor_head(v), v->target, v->minor, &v->passage);
	v->state = V_PROXY;
	if (v->head.failed || (!v->up && dial(v)))
		(void)ingress_failed(v, "out of memory");
}

/* --- to it -------------------------------------------------------------------------------------------------------- */

static enum went wrote(struct visitor *v, ssize_t n)
{
	if (n == -EAGAIN || n == 0)
		return STUCK;
	if (n < 0) {
		/* It may have answered before it closed. */
		v->up_broken = true;
		return v->state == V_TUNNEL ? ingress_failed(v, strerror((int)-n)) : MOVED;
	}
	v->moved = true;
	return MOVED;
}

enum went ingress_write(struct visitor *v)
{
	ssize_t n;

	if (!v->up || v->up_broken)
		return STUCK;
	if (v->head_sent < v->head.len) {
		n = stream_write(v->up, buf_data(&v->head) + v->head_sent,
				 v->head.len - v->head_sent);
		if (n > 0)
			v->head_sent += (size_t)n;
		return wrote(v, n);
	}
	if (!v->in_pass)
		return STUCK;
	n = stream_write(v->up, buf_data(&v->in), v->in_pass);
	if (n > 0) {
		v->body_lost = true;
		v->in_pass -= (size_t)n;
		buf_take(&v->in, (size_t)n);
	}
	return wrote(v, n);
}

/* --- from it ------------------------------------------------------------------------------------------------------ */

void ingress_watch(struct visitor *v)
{
	unsigned ev = 0;

	if (!v->up)
		return;
	if (!v->up_ended && !v->back_pass && !v->out.len)
		ev |= STREAM_READABLE;
	if (!v->up_broken && (v->state == V_PROXY || v->state == V_TUNNEL) &&
	    (v->in_pass || v->head_sent < v->head.len))
		ev |= STREAM_WRITABLE;
	v->up->ops->want(v->up, ev);
}

/* "it reset the connection", or what TLS says. */
static const char *broke(const struct stream *s, int error)
{
	const char *reason = tls_reason(s);

	return *reason ? reason : strerror(-error);
}

static void on_up(struct stream *s, unsigned ev, void *arg)
{
	struct visitor *v = arg;
	char why[200];
	uint8_t *room;
	ssize_t n = -EAGAIN;

	if (ev & STREAM_ERROR)
		n = s->error;
	else if (ev & STREAM_READABLE) {
		room = buf_room(&v->back, PIECE);
		n = room ? stream_read(s, room, PIECE) : -ENOMEM;
	}
	if (n < 0 && n != -EAGAIN) {
		snprintf(why, sizeof(why), "%s", broke(s, (int)n));
		ingress_fails(v, why);
		return;
	}
	if ((ev & STREAM_READABLE) && n == 0)
		v->up_ended = true;
	if (n > 0)
		buf_added(&v->back, (size_t)n);
	/* Between requests it has nothing to say but its end. */
	if ((v->state == V_HEAD || v->state == V_DECIDE) && (n > 0 || v->up_ended))
		ingress_drop(v);
	visitor_pump(v);
}

enum went ingress_failed(struct visitor *v, const char *why)
{
	char text[700];
	bool again = v->state == V_PROXY && v->up_kept && !v->answer_begun && !v->body_lost &&
		     !v->retried && !v->back.len && is_idempotent(v);

	if (v->state == V_HEAD || v->state == V_DECIDE) {
		ingress_drop(v);
		return STUCK;
	}
	if (v->state != V_PROXY || v->answer_begun) {
		visitor_free(v, v->s->ops->abort);
		return GONE;
	}
	ingress_drop(v);
	if (again) { /* it had been closed while nobody asked */
		v->retried = true;
		if (dial(v) == 0)
			return MOVED;
	}
	snprintf(text, sizeof(text), "The ingress `%s:%u` of this preview gives no answer: %.300s.",
		 v->up_host, v->call.port, why);
	log_debug("preview %s: ingress %s:%u: %s", v->grant.id, v->up_host, v->call.port, why);
	page_answer(v, &(struct page){.status = 502,
				      .title = "The ingress does not answer",
				      .text = text,
				      .small = "Whoever made the preview can name another ingress: "
					       "`culvert preview create`."});
	return MOVED;
}

static bool will_close(const struct http_head *h, const struct visitor *v)
{
	const char *raw = (const char *)buf_data(&v->back);
	bool framed = http_field_find(h, "content-length", NULL) ||
		      http_field_find(h, "transfer-encoding", NULL) || v->is_head ||
		      h->status == 204 || h->status == 304;

	return v->close || !framed || !memcmp(raw, "HTTP/1.0", 8) ||
	       head_has_word(h, "connection", "close");
}

enum went ingress_head(struct visitor *v, size_t n, bool tunnel)
{
	const struct http_head *h = h1_head(v->h);
	bool close = !tunnel && h->status >= 200 && will_close(h, v);

	if (tunnel && !v->websocket)
		return ingress_failed(v, "it changed to a protocol that nobody asked for");
	if (h->status == 503 && v->html && http_field_find(h, "x-culvert-away", NULL)) {
		site_away(v);
		return MOVED;
	}
	head_to_visitor(&v->out, h, buf_data(&v->back), n, close, &v->passage);
	buf_take(&v->back, n);
	v->close |= close;
	v->answer_begun |= h->status >= 200 || tunnel;
	if (tunnel) {
		v->state = V_TUNNEL;
		buf_free(&v->head);
		v->head_sent = 0;
	}
	return v->out.failed ? ingress_failed(v, "out of memory") : MOVED;
}
