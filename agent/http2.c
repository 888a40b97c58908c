/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 connection on a port with http rules, split (http/): each stream goes to the laptop of the first rule that matches, else to
 * the application. A leg is one connection of this client to one of them, made when its first stream comes, its frames written when it is open.
 *
 * What nghttp2's callbacks find out is only noted; settle() then writes what there is, ends legs that are over, and the whole. A stream of
 * a leg that ends without an answer is routed anew (on_lost); of a leg to a laptop that is away those that may be.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/queue.h>

#include "agent/http2.h"
#include "base/log.h"
#include "relay/relay.h"

enum { TEXT_MAX = 512, LEG_IDLE_S = 5, IDLE_LEGS_MAX = 256, TIDY_AFTER_S = 1 };

/* Why a leg ends. */
enum verdict { BROKE, NO_ANSWER, TO_POD, RULE_GONE };

struct leg {
	LIST_ENTRY(leg) next;
	struct wire wire;
	bool app;	     /* the application's */
	struct rule_ref ref; /* else whose */
	struct ask *ask;
	struct dial *dial;
	nsec_t idle; /* since when it has no streams; 0 = it has */
	bool ending;
	bool away; /* the laptop, as the manager says: what may have been done there waits, nothing else */
	enum verdict verdict;
};

struct request {
	struct leg *leg; /* that it was sent to last */
	bool by_laptop;
	bool tag;
	bool preview; /* of a visitor: the application must not answer in the laptop's place */
	bool again;   /* it was sent anew */
	int status;
	struct journal_request journal;
};

struct http2 {
	struct client base;
	struct h2 *h2;
	struct wire client;
	LIST_HEAD(leg_list, leg)
	legs;
	struct event *later, *idle;
	bool inside; /* settle() will be called */
	bool goaway, rules_changed;
	struct h2_counts told; /* of h2's, what the port's figures have */
	struct iovec proxy;    /* a PROXY header, for an application that is dialled anew */
};

/* --- legs --------------------------------------------------------------------------------------------------------------- */

static void on_wire(struct stream *s, unsigned ev, void *arg);
static void settle(struct http2 *c);

static void wire_open(struct wire *w, struct stream *s)
{
	w->s = s;
	stream_set(s, on_wire, w);
}

/* `since` 0: it has work. */
static void leg_idle(struct leg *l, nsec_t since)
{
	struct agent *a = l->wire.c->base.a;

	if (since && !l->idle)
		a->idle_legs++;
	else if (!since && l->idle)
		a->idle_legs--;
	l->idle = since;
}

static void leg_end(struct leg *l, enum verdict verdict)
{
	bool over = h2_over(l->wire.end) || !h2_leg_streams(l->wire.end);

	leg_idle(l, 0);
	l->ending = true;
	l->verdict = verdict;
	h2_leg_free(l->wire.end);
	ask_cancel(l->ask);
	if (l->dial)
		dial_cancel(l->dial);
	wire_close(&l->wire, over || l->wire.eof);
	LIST_REMOVE(l, next);
	free(l);
}

static struct leg *leg_new(struct http2 *c, bool app)
{
	struct leg *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct leg){.app = app, .wire.c = c, .wire.end = h2_leg_new(c->h2, app)};
	if (!l->wire.end) {
		free(l);
		return NULL;
	}
	LIST_INSERT_HEAD(&c->legs, l, next);
	return l;
}

static void on_dialled(void *arg, struct stream *s, int error)
{
	static struct log_limit limit;
	struct leg *l = arg;
	struct http2 *c = l->wire.c;
	char text[ADDR_STRLEN];

	c->inside = true;
	l->dial = NULL;
	if (s && c->proxy.iov_len &&
	    stream_write(s, c->proxy.iov_base, c->proxy.iov_len) != (ssize_t)c->proxy.iov_len) {
		s->ops->abort(s); /* it is short, and its connection new */
		leg_end(l, NO_ANSWER);
	} else if (s) {
		wire_open(&l->wire, s);
	} else {
		log_limited(&limit, 10 * NSEC_PER_SEC, "application %s: %s",
			    sockaddr_format(&c->base.port->application, text), strerror(-error));
		leg_end(l, NO_ANSWER);
	}
	settle(c);
}

static void on_asked(void *arg, enum ask_result result, struct stream *s)
{
	struct leg *l = arg;
	struct http2 *c = l->wire.c;

	c->inside = true;
	l->ask = NULL;
	if (result == ASK_LAPTOP)
		wire_open(&l->wire, s);
	else
		leg_end(l, result == ASK_POD ? TO_POD : NO_ANSWER);
	settle(c);
}

static bool leg_takes(const struct leg *l)
{
	return !l->ending && !l->wire.dead && !l->wire.eof && h2_leg_takes(l->wire.end);
}

static struct leg *app_leg(struct http2 *c)
{
	struct leg *l;

	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		if (l->app && leg_takes(l))
			return l;
	}
	l = leg_new(c, true);
	if (!l)
		return NULL;
	if (!capture_dial(c->base.a, c->base.port, on_dialled, l, &l->dial))
		return l;
	leg_end(l, NO_ANSWER);
	return NULL;
}

static struct leg *laptop_leg(struct http2 *c, struct rule *r)
{
	struct leg *l;

	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		if (!l->app && leg_takes(l) && rule_ref_find(c->base.a, &l->ref) == r)
			return l;
	}
	l = leg_new(c, false);
	if (!l)
		return NULL;
	rule_ref_set(&l->ref, r);
	if (!ask_start(&l->ask, c->base.a, r, on_asked, l))
		return l;
	leg_end(l, NO_ANSWER);
	return NULL;
}

/* --- requests -------------------------------------------------------------------------------------------------------------- */

/* OWNER of OWNER/NAME. */
static const char *owner(const struct leg *l, char buf[static RULE_NAME_LEN])
{
	const char *slash = strrchr(l->ref.name, '/');

	snprintf(buf, RULE_NAME_LEN, "%.*s",
		 slash ? (int)(slash - l->ref.name) : (int)sizeof(l->ref.name), l->ref.name);
	return buf;
}

static void answer(struct h2_stream *s, int status, const char *text)
{
	struct request *q = h2_stream_user(s);

	q->status = status;
	h2_answer(s, status, NULL, text);
}

/* Its laptop does not answer, and nobody else shall. */
static void answer_away(struct h2_stream *s, const struct leg *l)
{
	struct request *q = h2_stream_user(s);
	const char *slash = strrchr(l->ref.name, '/');
	const char *name = slash ? slash + 1 : l->ref.name;
	const struct http_field away = {.name = {"x-culvert-away", 14},
					.value = {l->ref.name, strlen(l->ref.name)}};
	char text[TEXT_MAX], who[RULE_NAME_LEN];

	snprintf(text, sizeof(text),
		 "The laptop of %s, which intercepts this with '%s', does not answer.",
		 owner(l, who), name);
	q->status = 503;
	h2_answer(s, 503, q->preview ? &away : NULL, text);
}

static bool send_to(struct h2_stream *s, struct leg *l)
{
	struct request *q = h2_stream_user(s);
	char who[RULE_NAME_LEN];
	const char *tag = l && !l->app ? owner(l, who) : "pod";

	q->leg = l;
	q->by_laptop = l && !l->app;
	return l && !h2_send(s, l->wire.end, q->tag ? tag : NULL);
}

static void to_app(struct http2 *c, struct h2_stream *s)
{
	if (!send_to(s, app_leg(c)))
		answer(s, 502, "The application does not answer.");
}

static void route(struct http2 *c, struct h2_stream *s, struct rule *r)
{
	if (!r)
		to_app(c, s);
	else if (!send_to(s, laptop_leg(c, r)))
		answer(s, 503, "The agent is out of memory.");
}

static void on_request(void *arg, struct h2_stream *s, const struct http_head *head)
{
	struct http2 *c = arg;
	struct agent *a = c->base.a;
	struct rule *r = rules_match(&a->rules, c->base.port->target, head);
	struct request *q = calloc(1, sizeof(*q));

	if (!q) {
		h2_stream_reset(s);
		return;
	}
	h2_stream_set(s, q);
	journal_begin(&q->journal, r, head);
	rules_http(&a->rules, c->base.port->target, &q->tag);
	q->preview = http_field_find(head, "x-culvert-preview", NULL);
	if (r) {
		r->requests++;
		a->rules.counted = true;
	}
	route(c, s, r);
}

/* What a leg that broke has said of itself. */
static void answer_broken(struct h2_stream *s, const struct leg *l)
{
	char text[TEXT_MAX], who[RULE_NAME_LEN];

	if (l->app)
		snprintf(text, sizeof(text), "The application ended the connection.");
	else if (l->wire.http1)
		snprintf(text, sizeof(text),
			 "The program on the laptop of %s speaks HTTP/1 only, and this is HTTP/2: "
			 "let it speak "
			 "HTTP/2 without TLS (prior knowledge).",
			 owner(l, who));
	else if (!h2_leg_spoke(l->wire.end))
		snprintf(text, sizeof(text),
			 "The program on the laptop of %s does not speak HTTP/2 without TLS (prior "
			 "knowledge).",
			 owner(l, who));
	else
		snprintf(text, sizeof(text), "The laptop of %s ended the connection.",
			 owner(l, who));
	answer(s, 502, text);
}

/* Sent once more, to whom the rules name now. */
static void send_again(struct http2 *c, struct h2_stream *s)
{
	struct request *q = h2_stream_user(s);

	q->again = true;
	route(c, s, rules_match(&c->base.a->rules, c->base.port->target, h2_stream_head(s)));
}

static void on_lost(void *arg, struct h2_stream *s, enum h2_lost why, bool whole)
{
	struct http2 *c = arg;
	struct request *q = h2_stream_user(s);
	struct leg *l = q->leg;

	if (why == H2_LOST_ANSWER) {
		answer(s, 502,
		       l->app ? "What the application answered is no HTTP/2."
			      : "What the laptop answered is no HTTP/2.");
		return;
	}
	if (why == H2_LOST_TAKEN) {
		send_again(c, s);
		return;
	}
	if (why == H2_LOST_REFUSED || l->verdict == RULE_GONE) {
		if (whole && !q->again)
			send_again(c, s);
		else if (why == H2_LOST_REFUSED)
			h2_stream_refuse(s);
		else /* the laptop may have done it */
			h2_stream_reset(s);
		return;
	}
	switch (l->verdict) {
	case TO_POD:
		if (q->preview)
			answer_away(s, l);
		else
			to_app(c, s);
		break;
	case NO_ANSWER:
		if (l->app)
			answer(s, 502, "The application does not answer.");
		else
			answer_away(s, l);
		break;
	case RULE_GONE:
	case BROKE:
		if (whole && !q->again && (l->app || h2_leg_spoke(l->wire.end)))
			send_again(c, s);
		else
			answer_broken(s, l);
		break;
	}
}

static void on_answered(void *arg, struct h2_stream *s, int status)
{
	struct request *q = h2_stream_user(s);

	(void)arg;
	q->status = status;
}

static void on_gone(void *arg, struct h2_stream *s)
{
	struct http2 *c = arg;
	struct request *q = h2_stream_user(s);

	if (q)
		journal_add(c->base.a, &q->journal, q->status, q->by_laptop);
	free(q);
}

static void on_disturbed(void *arg)
{
	struct http2 *c = arg;

	event_active(c->later, EV_TIMEOUT, 1);
}

static const struct h2_ops h2_ops = {
	.request = on_request,
	.lost = on_lost,
	.answered = on_answered,
	.gone = on_gone,
	.disturbed = on_disturbed,
};

/* --- the connection ----------------------------------------------------------------------------------------------------------- */

static void end(struct http2 *c, bool gently)
{
	struct leg *l;

	c->inside = true;
	wire_close(&c->client, gently);
	h2_free(c->h2);
	while ((l = LIST_FIRST(&c->legs))) {
		leg_idle(l, 0);
		ask_cancel(l->ask);
		if (l->dial)
			dial_cancel(l->dial);
		wire_close(&l->wire, gently);
		LIST_REMOVE(l, next);
		free(l);
	}
	event_free(c->later);
	event_free(c->idle);
	free(c->proxy.iov_base);
	client_remove(&c->base);
	free(c);
}

/* What h2 has counted since it was last asked. */
static void count(struct http2 *c)
{
	const struct h2_counts *now = h2_counts(c->h2);
	static struct log_limit limit;
	struct port_figures *f;

	if (now->bad_heads + now->floods == c->told.bad_heads + c->told.floods &&
	    now->bad_answers == c->told.bad_answers && now->overflows == c->told.overflows)
		return;
	if (now->overflows != c->told.overflows)
		log_limited(&limit, 60 * NSEC_PER_SEC,
			    "HTTP/2: above %d MiB wait for clients, laptops or the application to "
			    "take them; streams of which none was taken for longest are ended",
			    H2_BUFFERED_MAX >> 20);
	f = port_figures(c->base.a, c->base.port);
	f->bad_heads += now->bad_heads - c->told.bad_heads + now->floods - c->told.floods;
	f->bad_answers += now->bad_answers - c->told.bad_answers;
	f->overflows += now->overflows - c->told.overflows;
	c->told = *now;
}

static bool flush_all(struct http2 *c)
{
	bool wrote = wire_flush(&c->client);
	struct leg *l;

	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		wrote |= wire_flush(&l->wire);
	}
	return wrote;
}

static bool leg_over(const struct leg *l)
{
	const struct wire *w = &l->wire;

	return w->dead || w->eof || h2_over(w->end) || (l->away && !h2_leg_awaited(w->end)) ||
	       (!h2_leg_takes(w->end) && !h2_leg_streams(w->end) && !h2_has_output(w->end));
}

/* Ends one leg that is over; its streams may make new ones. */
static bool reap(struct http2 *c)
{
	struct leg *l;

	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		if (leg_over(l)) {
			leg_end(l, BROKE);
			return true;
		}
	}
	return false;
}

/* A leg that nobody uses is ended after a while, since a session takes a dozen KiB; at once where many others are idle, too. */
static void look_for_idle(struct http2 *c)
{
	const struct timeval soon = {.tv_sec = LEG_IDLE_S};
	struct agent *a = c->base.a;
	struct leg *l, *next;

	for (l = LIST_FIRST(&c->legs); l; l = next) {
		next = LIST_NEXT(l, next);
		if (h2_leg_streams(l->wire.end))
			leg_idle(l, 0);
		else if (!l->idle)
			leg_idle(l, clock_boot());
		if (l->idle && a->idle_legs > IDLE_LEGS_MAX && l->wire.s && !l->wire.rest)
			leg_end(l, BROKE);
		else if (l->idle && !evtimer_pending(c->idle, NULL))
			evtimer_add(c->idle, &soon);
	}
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tidy = {.tv_sec = TIDY_AFTER_S};
	struct http2 *c = arg;
	nsec_t now = clock_boot();
	struct leg *l, *next;

	(void)fd;
	(void)what;
	c->inside = true;
	for (l = LIST_FIRST(&c->legs); l; l = next) {
		next = LIST_NEXT(l, next);
		if (l->idle && now - l->idle >= (LEG_IDLE_S - 1) * NSEC_PER_SEC) {
			leg_end(l, BROKE);
			evtimer_add(c->base.a->tidy, &tidy);
		}
	}
	settle(c);
}

/* May free c. */
static void settle(struct http2 *c)
{
	struct leg *l;

	c->inside = true;
	do {
		while (flush_all(c))
			;
	} while (reap(c));
	count(c);
	/* A client that has ended its side has gone: nobody waits for what its streams do. One that was told off is not
	 * listened to any more. */
	if (c->client.dead || c->client.eof || h2_over(c->client.end)) {
		end(c, !c->client.dead);
		return;
	}
	look_for_idle(c);
	wire_want(&c->client);
	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		wire_want(&l->wire);
	}
	c->inside = false;
}

/* The manager has missed its laptop. What may be asked again is, and goes by the policy; what may not waits: it may have been done. */
static void leave_away(struct http2 *c)
{
	struct leg *l;

	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		const struct rule *r = l->app || l->away ? NULL : rule_ref_find(c->base.a, &l->ref);

		if (r && !r->online && l->wire.s) {
			l->away = true;
			h2_leg_leave(l->wire.end);
		}
	}
}

/* The laptop's streams whose rule has gone end, or go elsewhere if they can. */
static void look_at_rules(struct http2 *c)
{
	bool again = true;
	struct leg *l;

	if (!c->goaway && rules_find(&c->base.a->rules, c->base.port->target, false)) {
		c->goaway = true;
		h2_goaway(c->h2, false);
	}
	while (again) {
		again = false;
		for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
			if (!l->app && !rule_ref_find(c->base.a, &l->ref)) {
				leg_end(l, RULE_GONE);
				again = true;
				break;
			}
		}
	}
	leave_away(c);
}

static void take(struct wire *w, unsigned ev)
{
	if (ev & STREAM_ERROR)
		w->dead = true;
	else if (ev & STREAM_READABLE && !w->eof)
		wire_read(w);
}

static void on_wire(struct stream *s, unsigned ev, void *arg)
{
	struct wire *w = arg;
	struct http2 *c = w->c;

	(void)s;
	if (c->inside) { /* lwIP calls from within its operations */
		w->later |= ev;
		event_active(c->later, EV_TIMEOUT, 1);
		return;
	}
	c->inside = true;
	take(w, ev);
	settle(c);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct http2 *c = arg;
	struct leg *l;

	(void)fd;
	(void)what;
	c->inside = true;
	if (c->rules_changed) {
		c->rules_changed = false;
		look_at_rules(c);
	}
	take(&c->client, c->client.later);
	c->client.later = 0;
	for (l = LIST_FIRST(&c->legs); l; l = LIST_NEXT(l, next)) {
		take(&l->wire, l->wire.later);
		l->wire.later = 0;
	}
	settle(c);
}

static void on_recheck(struct client *base)
{
	struct http2 *c = container_of(base, struct http2, base);

	c->rules_changed = true;
	if (!c->inside)
		on_later(-1, 0, c);
	else
		event_active(c->later, EV_TIMEOUT, 1);
}

static void on_drain(struct client *base)
{
	struct http2 *c = container_of(base, struct http2, base);

	h2_goaway(c->h2, false);
	event_active(c->later, EV_TIMEOUT, 1);
}

/* The client learns which of its streams it may send again to others. */
static void on_abort(struct client *base)
{
	struct http2 *c = container_of(base, struct http2, base);

	c->inside = true;
	h2_goaway(c->h2, true);
	wire_flush(&c->client);
	end(c, !c->client.rest);
}

static const struct client_ops ops = {.recheck = on_recheck, .drain = on_drain, .abort = on_abort};

static struct http2 *http2_new(struct agent *a, const struct agent_port *port)
{
	struct http2 *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->h2 = h2_new(&h2_ops, c);
	c->later = evtimer_new(a->base, on_later, c);
	c->idle = evtimer_new(a->base, on_idle, c);
	if (!c->h2 || !c->later || !c->idle) {
		h2_free(c->h2);
		if (c->later)
			event_free(c->later);
		if (c->idle)
			event_free(c->idle);
		free(c);
		return NULL;
	}
	client_add(&c->base, a, port, &ops);
	c->client.c = c;
	c->client.end = h2_client(c->h2);
	return c;
}

void http2_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n, struct iovec proxy)
{
	struct http2 *c = NULL;
	struct leg *l = NULL;

	if (app && !rules_http(&a->rules, port->target, NULL)) {
		free(proxy.iov_base);
		http2_pass(a, port, client, app, first, n);
		return;
	}
	if (rules_http(&a->rules, port->target, NULL))
		c = http2_new(a, port);
	if (!c) {
		free(proxy.iov_base);
		client->ops->abort(client);
		if (app)
			app->ops->abort(app);
		return;
	}
	c->inside = true;
	c->proxy = proxy;
	wire_open(&c->client, client);
	/* At once: what it offers concerns the client. */
	l = app ? leg_new(c, true) : NULL;
	if (l)
		wire_open(&l->wire, app);
	else if (app)
		app->ops->abort(app);
	if (wire_input(&c->client, first, n))
		c->client.eof = true;
	settle(c);
}
