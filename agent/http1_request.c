/* SPDX-License-Identifier: Apache-2.0 */
/* What the client of an HTTP/1 connection sends, and who gets it. */
#include <event2/event.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "agent/http1.h"

/* --- whose it is ------------------------------------------------------------------------------------------------------ */

void http1_run(struct http1 *h)
{
	h->phase = RUNNING;
}

static void on_dialled(void *arg, struct stream *s, int error)
{
	struct http1 *h = arg;

	(void)error;
	h->dial = NULL;
	if (s && h->proxy.iov_len &&
	    stream_write(s, h->proxy.iov_base, h->proxy.iov_len) != (ssize_t)h->proxy.iov_len) {
		s->ops->abort(s);
		s = NULL;
	}
	http1_opened(h, &h->app, s);
}

void http1_to_application(struct http1 *h)
{
	h->way = &h->app;
	if (h->app.end.s) {
		http1_run(h);
		return;
	}
	h->phase = ASKING;
	if (capture_dial(h->base.a, h->base.port, on_dialled, h, &h->dial))
		http1_end(h, false);
}

/* Its name has the form OWNER/NAME. */
static void not_served(struct http1 *h, bool preview)
{
	char text[RULE_NAME_LEN + 80];

	snprintf(text, sizeof(text), "culvert: the laptop of %s does not answer.",
		 h->now->asked.name);
	http1_reply(h, 503, preview ? h->now->asked.name : NULL, text);
}

static struct answerer *new_laptop(struct http1 *h)
{
	struct answerer *w = calloc(1, sizeof(*w) + sizeof(h->now->asked));

	if (!w)
		return NULL;
	*w = (struct answerer){.is_laptop = true, .next = h->laptops};
	w->rule = memcpy(w + 1, &h->now->asked, sizeof(h->now->asked));
	h->laptops = w;
	return w;
}

static void on_asked(void *arg, enum ask_result result, struct stream *s)
{
	struct http1 *h = arg;
	struct answerer *w;

	h->ask = NULL;
	if (result == ASK_LAPTOP) {
		w = new_laptop(h);
		if (!w) {
			s->ops->abort(s);
			http1_end(h, false);
		} else {
			h->way = w;
			http1_opened(h, w, s);
			return;
		}
	} else if (result == ASK_POD && !h->preview) {
		http1_to_application(h);
	} else {
		not_served(h, h->preview);
	}
	http1_turn(h);
}

void http1_to_laptop(struct http1 *h, struct rule *r)
{
	h->phase = ASKING;
	rule_ref_set(&h->now->asked, r);
	if (ask_start(&h->ask, h->base.a, r, on_asked, h))
		http1_end(h, false);
}

static struct answerer *kept_laptop(struct http1 *h, const struct rule *r)
{
	for (struct answerer *w = h->laptops; w; w = w->next) {
		if (rule_ref_find(h->base.a, w->rule) == r)
			return w;
	}
	return NULL;
}

/* May it be sent again, whole, should a kept connection prove to be dead (RFC 9110, 9.2.2)? */
static bool may_repeat(const struct http_head *head)
{
	static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

	if (http_field_find(head, "content-length", NULL) ||
	    http_field_find(head, "transfer-encoding", NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (http_text_is(head->method, names[i]))
			return true;
	}
	return false;
}

void http1_route(struct http1 *h)
{
	struct rules *rules = &h->base.a->rules;
	const struct http_head *head = h1_head(h->h1);
	struct rule *r = NULL;

	if (!h->now)
		h->now = malloc(sizeof(*h->now)); /* all of it is set before it is read */
	if (!h->now) {
		h->phase = IDLE; /* there is nothing to tell of it */
		http1_end(h, false);
		return;
	}
	/* What has gone to the application is the application's. */
	if (rules->n && h->up.sent == h->up.start)
		r = rules_match(rules, h->base.port->target, head);
	rules_http(rules, h->base.port->target, &h->tag);
	h->is_head = http_text_is(head->method, "HEAD");
	h->preview = r && http_field_find(head, "x-culvert-preview", NULL);
	journal_begin(&h->now->journal, r, head);
	h->status = 0;
	h->retried = h->up.hold = false;
	if (!r) {
		/* A kept connection that has been idle while laptops answered may be dead by now. */
		h->up.hold = h->way && h->way->is_laptop && may_repeat(head);
		http1_to_application(h);
		return;
	}
	r->requests++;
	rules->counted = true;
	h->way = kept_laptop(h, r);
	if (!h->way) {
		http1_to_laptop(h, r);
		return;
	}
	h->now->asked = *h->way->rule;
	h->up.hold = may_repeat(head);
	http1_run(h);
}

/* --- what the parser refuses ------------------------------------------------------------------------------------------- */

static void bad_request(struct http1 *h)
{
	port_figures(h->base.a, h->base.port)->bad_heads++;
	if (h->phase == IDLE || !h->way->is_laptop)
		http1_join(h, h->phase == IDLE ? &h->app : h->way);
	else if (h1_answer_begun(h->h1) || buf_has(&h->down))
		http1_end(h, false);
	else
		http1_reply(h, 400, NULL, "culvert: the body of the request is malformed.");
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

/* With nobody to tell them apart for, the bytes of a head need not wait for its end. */
static bool eager(const struct http1 *h)
{
	return h->phase == IDLE && h->app.end.s &&
	       (h->up.sent > h->up.start ||
		!rules_http(&h->base.a->rules, h->base.port->target, NULL));
}

static bool names_h2c(const struct http_head *head)
{
	const struct http_field *f = NULL;

	while ((f = http_field_find(head, "upgrade", f))) {
		for (size_t i = 0; i + 3 <= f->value.len; i++) {
			if (!strncasecmp(f->value.p + i, "h2c", 3))
				return true;
		}
	}
	return false;
}

/*
 * An upgrade to HTTP/2 would end the telling apart: while somebody wants that, it is not offered to anybody, and the client goes on in
 * HTTP/1. The one thing we ever take away.
 */
static void withhold_h2c(struct http1 *h)
{
	static const char *const names[] = {"http2-settings", "upgrade"};
	const struct http_head *head = h1_head(h->h1);

	if (h->up.sent > h->up.start ||
	    !rules_http(&h->base.a->rules, h->base.port->target, NULL) || !names_h2c(head))
		return;
	for (unsigned i = head->nfields;
	     i-- > 0;) { /* from behind: what is before stays where it is */
		const struct http_field *f = &head->field[i];
		const char *lf = memchr(f->name.p, '\n', HTTP_HEAD_MAX);
		size_t at = (size_t)((const uint8_t *)f->name.p - h->up.p);
		size_t len = (size_t)(lf + 1 - f->name.p);

		if (!http_text_is_nocase(f->name, names[0]) &&
		    !http_text_is_nocase(f->name, names[1]))
			continue;
		buf_remove(&h->up, at, len);
		h->up.ready -= len;
		h->head_len -= len;
	}
}

static void take_head(struct http1 *h, size_t n)
{
	h->head_len = n;
	h->up.ready += n;
	if (h->timer)
		event_del(h->timer);
	http1_route(h);
	if (!h->over)
		withhold_h2c(h);
}

/* The client has ended its direction. */
static void client_ended(struct http1 *h)
{
	if (h->phase != IDLE)
		h->cut = true;
	else if (h->up.end > h->up.ready)
		http1_join(h, &h->app);
	else
		http1_end(h, true);
}

/* Part of a head is here: it may wait for the rest for so long, and in so much memory. */
static void wait_for_head(struct http1 *h)
{
	struct agent *a = h->base.a;

	if (h->up.end == h->up.ready)
		return;
	if (a->heads_held > HEADS_HELD_MAX) {
		port_figures(a, h->base.port)->slow_heads++;
		http1_join(h, &h->app);
	} else if (!http1_timer(h, HEAD_S)) {
		http1_end(h, false);
	}
}

/* False: nothing more now. */
static bool read_more(struct http1 *h)
{
	bool first = h->phase == IDLE;
	size_t n = http1_read(h, &h->client, &h->up, first ? HTTP1_HEAD_READ : AGENT_SCRATCH);

	if (n)
		return true;
	if (h->client.eof && !h->over)
		client_ended(h);
	else if (!h->over && first)
		wait_for_head(h);
	return false;
}

/* Bytes whose number is known need not be looked at. */
static bool start_part(struct http1 *h)
{
	uint64_t left = h1_request_left(h->h1);

	if (left < HTTP1_PART_MIN || h->up.ready < h->up.end || h->up.sent < h->up.ready)
		return false;
	if (relay_part_new(&h->up_part, h->client.s, h->way->end.s, left)) {
		http1_end(h, false);
		return false;
	}
	return true;
}

static bool run_part(struct http1 *h)
{
	struct end *out = &h->way->end;
	uint64_t n;
	int r;

	if (out->blocked || !h->client.can_read)
		return false;
	r = relay_part_run(h->up_part, &n);
	h1_request_skip(h->h1, n);
	switch (r) {
	case PART_DONE:
		relay_part_free(steal_ptr(h->up_part));
		return true;
	case PART_WANTS_IN:
		h->client.can_read = false;
		return false;
	case PART_WANTS_OUT:
		out->blocked = true;
		return false;
	case PART_CUT:
		h->client.eof = h->cut = true;
		return false;
	default:
		/* Whose fault it was is not told: an answerer that wants no more may have said why. */
		out->deaf = out->blocked = true;
		h->way->end.can_read = true;
		h->again = true;
		return false;
	}
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

/* False: nothing more now. */
static bool step(struct http1 *h)
{
	const struct buf *b = &h->up;
	size_t n;

	switch (h1_request(h->h1, buf_at(b), b->end - b->ready, &n)) {
	case H1_MORE:
		if (h->phase == RUNNING ? !http1_send(&h->way->end, &h->up, false)
					: eager(h) && !http1_send(&h->app.end, &h->up, true))
			return false;
		return read_more(h);
	case H1_HEAD:
		h->up.start = h->up.ready;
		take_head(h, n);
		return true;
	case H1_BODY:
	case H1_END:
		h->up.ready += n;
		return true;
	case H1_TUNNEL:
	case H1_BAD:
		break;
	}
	bad_request(h);
	return false;
}

/* The client may go away while it waits for its answer: who makes that wants to know. The next request is not read yet;
 * where it is here already, the end is its. */
static void look_for_the_end(struct http1 *h)
{
	struct end *way = &h->way->end;
	int fd = h->client.s->ops->fd(h->client.s);
	char c;

	if (h->client.can_read && !h->client.eof && recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		h->client.eof = true;
	if (h->client.eof && h->up.end == h->up.ready && !h->passed_end && way->s) {
		h->passed_end = true;
		way->s->ops->shutdown(way->s);
	}
}

void http1_requests(struct http1 *h)
{
	bool more = true;

	while (more && !h->over && (h->phase == IDLE || h->phase == RUNNING)) {
		bool running = h->phase == RUNNING;
		bool over = running && (h->cut || h1_request_over(h->h1));

		/* All that is here goes in one write. */
		if (running && (over || h->up.ready == h->up.end) &&
		    !http1_send(&h->way->end, &h->up, false))
			break;
		if (over) {
			look_for_the_end(h);
			break;
		}
		more = h->up_part || (running && start_part(h)) ? run_part(h) : step(h);
	}
}
