/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1 connection of a client: each request goes to whom it is for, and the bytes of both directions go on as they came.
 *
 * One request at a time: what the client sends after it stays in its socket until the answer is complete, so answers keep their order and
 * nobody's answer can be taken for another's.
 *
 * Streams call back with what has become possible; that is noted (struct end), and turn() does all the work, whoever called. An idle
 * connection has no buffer, and asks its streams for READABLE once: the common request and answer cost a read and a write each.
 */
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "agent/http1.h"
#include "base/log.h"

/* --- ends ----------------------------------------------------------------------------------------------------------------- */

size_t http1_read(struct http1 *h, struct end *e, struct buf *b, size_t most)
{
	ssize_t n;

	if (!e->can_read || !e->s)
		return 0;
	n = buf_read(b, e->s, most);
	if (n > 0) {
		/* READABLE is level-triggered: a read that gave less has mostly read all. */
		h->moved += (size_t)n;
		e->can_read = (size_t)n == most && h->moved < HTTP1_TURN_BYTES;
		return (size_t)n;
	}
	if (n == -EAGAIN)
		e->can_read = false;
	else if (n == 0)
		e->eof = true;
	else
		e->broken = true;
	if (e->broken && e == &h->client)
		http1_end(h, false);
	return 0;
}

bool http1_send_ready(struct end *e, struct buf *b, bool all)
{
	size_t goal = all ? b->end : b->ready;

	while (b->sent < goal && !e->blocked) {
		ssize_t n = stream_write(e->s, b->p + b->sent, goal - b->sent);

		if (n > 0) {
			b->sent += (size_t)n;
			continue;
		}
		e->blocked = true;
		if (n != -EAGAIN) { /* what it said before may still be there */
			e->deaf = true;
			e->can_read = true;
		}
	}
	if (b->sent < goal)
		return false;
	if (goal == b->end && !b->cap && !b->hold)
		*b = (struct buf){.p = NULL};
	return true;
}

static struct end end_of(struct stream *s)
{
	return (struct end){.s = s, .wanted = ~0U}; /* what it was asked for before is unknown */
}

static void want(struct end *e, bool read)
{
	unsigned ev = e->wanted & (STREAM_READABLE | STREAM_WRITABLE);

	if (!e->s || e->broken)
		return;
	/* Not asked for only once it has said so in vain. */
	if (e->can_read || e->eof)
		ev &= ~(unsigned)STREAM_READABLE;
	else if (read)
		ev |= STREAM_READABLE;
	if (e->blocked && !e->deaf)
		ev |= STREAM_WRITABLE;
	else
		ev &= ~(unsigned)STREAM_WRITABLE;
	if (ev != e->wanted) {
		e->wanted = ev;
		e->s->ops->want(e->s, ev);
	}
}

static void note(struct end *e, unsigned ev)
{
	if (ev & STREAM_READABLE)
		e->can_read = true;
	if (ev & STREAM_WRITABLE)
		e->blocked = false;
	if (ev & STREAM_ERROR)
		e->broken = true;
}

static void on_client(struct stream *s, unsigned ev, void *arg)
{
	struct http1 *h = arg;

	(void)s;
	note(&h->client, ev);
	if (h->client.broken)
		http1_end(h, false);
	http1_turn(h);
}

static void on_answerer(struct stream *s, unsigned ev, void *arg)
{
	struct answerer *w = arg;

	(void)s;
	note(&w->end, ev);
	http1_turn(w->h);
}

void http1_opened(struct http1 *h, struct answerer *w, struct stream *s)
{
	w->h = h;
	w->end = end_of(s);
	if (s) {
		stream_set(s, on_answerer, w);
		http1_run(h);
	} else {
		http1_end(h, false);
	}
	http1_turn(h);
}

void http1_drop(struct http1 *h, struct answerer *w)
{
	struct answerer **at = &h->laptops;

	if (w->end.s)
		w->end.s->ops->abort(w->end.s);
	w->end = (struct end){.s = NULL};
	if (w == &h->app)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	if (h->way == w)
		h->way = NULL;
	free(w);
}

/* --- the end ---------------------------------------------------------------------------------------------------------------- */

void http1_end(struct http1 *h, bool graceful)
{
	h->graceful = graceful && (!h->over || h->graceful);
	h->over = true;
}

static void finish_stream(struct end *e, bool graceful)
{
	if (!e->s)
		return;
	if (graceful && !e->broken)
		e->s->ops->close(e->s);
	else
		e->s->ops->abort(e->s);
	e->s = NULL;
}

static void destroy(struct http1 *h)
{
	if (h->phase == ASKING || h->phase == RUNNING)
		journal_add(h->base.a, &h->now->journal, h->status, h->way && h->way->is_laptop);
	relay_part_free(h->up_part);
	relay_part_free(h->down_part);
	ask_cancel(h->ask);
	if (h->dial)
		dial_cancel(h->dial);
	finish_stream(&h->client, h->graceful);
	finish_stream(&h->app.end, h->graceful);
	while (h->laptops) {
		struct answerer *w = h->laptops;

		h->laptops = w->next;
		finish_stream(&w->end, h->graceful);
		free(w);
	}
	h->base.a->heads_held -= h->held;
	buf_free(&h->up);
	buf_free(&h->down);
	free(h->now);
	free(h->proxy.iov_base);
	if (h->timer)
		event_free(h->timer);
	h1_free(h->h1);
	client_remove(&h->base);
	free(h);
}

static struct iovec unsent(const struct buf *b)
{
	if (!b->p)
		return (struct iovec){.iov_len = 0};
	return (struct iovec){.iov_base = b->p + b->sent, .iov_len = b->end - b->sent};
}

void http1_join(struct http1 *h, struct answerer *way)
{
	const struct iovec held[2] = {unsent(&h->up), unsent(&h->down)};

	http1_end(h, true);
	if (!way->end.s || h->client.broken || way->end.broken || h->up_part || h->down_part) {
		h->graceful = false;
		return;
	}
	capture_join(h->base.a, h->base.port, steal_ptr(h->client.s), steal_ptr(way->end.s), held,
		     way->is_laptop ? way->rule : NULL);
}

/* --- time ------------------------------------------------------------------------------------------------------------------- */

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	struct http1 *h = arg;

	(void)fd;
	(void)what;
	if (h->phase == IDLE && buf_has(&h->up)) {
		port_figures(h->base.a, h->base.port)->slow_heads++;
		http1_join(h, &h->app);
	} else if (h->phase == LINGERING) {
		http1_end(h, false);
	}
	http1_turn(h);
}

bool http1_timer(struct http1 *h, unsigned seconds)
{
	const struct timeval tv = {.tv_sec = seconds};

	if (!h->timer)
		h->timer = evtimer_new(h->base.a->base, on_time, h);
	return h->timer && (evtimer_pending(h->timer, NULL) || !evtimer_add(h->timer, &tv));
}

/* An answer of ours goes out, then our end; the client's bytes are read away, for a reset would take the answer along. */
static void linger(struct http1 *h)
{
	uint8_t *scratch = agent_scratch();
	ssize_t n = 1;

	if (!http1_send(&h->client, &h->down, false) && !h->client.deaf)
		return;
	if (!h->passed_end) {
		h->passed_end = true;
		h->client.s->ops->shutdown(h->client.s);
		if (!http1_timer(h, HTTP1_LINGER_S))
			http1_end(h, true);
	}
	if (h->client.can_read && !h->over) { /* once a turn: it may send without end */
		n = stream_read(h->client.s, scratch, AGENT_SCRATCH);
		h->client.can_read = false;
	}
	if (n == 0 || (n < 0 && n != -EAGAIN) || h->client.deaf)
		http1_end(h, true);
}

/* --- between requests ---------------------------------------------------------------------------------------------------- */

/* The application speaks though nothing was asked, or ends. */
static void app_stirs(struct http1 *h)
{
	struct end *e = &h->app.end;
	int fd = e->s->ops->fd(e->s);
	char c;
	ssize_t n = e->broken ? -1 : recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && !e->broken && (errno == EAGAIN || errno == EINTR)) {
		e->can_read = false;
		return;
	}
	if (h->phase != IDLE || (h->way && h->way->is_laptop)) /* it was not the last to answer */
		http1_drop(h, &h->app);
	else if (n >= 0 &&
		 (!h->answered || buf_has(&h->up))) /* it speaks first, or to half a head */
		http1_join(h, &h->app);
	else
		http1_end(h, n == 0);
}

static void look_at_the_idle(struct http1 *h)
{
	struct end *app = &h->app.end;

	for (struct answerer *w = h->laptops, *next; w; w = next) {
		next = w->next;
		if ((h->phase != RUNNING || w != h->way) &&
		    (w->end.can_read || w->end.broken || w->end.eof))
			http1_drop(h, w);
	}
	if (app->s && (app->can_read || app->broken) && (h->phase != RUNNING || h->way != &h->app))
		app_stirs(h);
}

/* --- the turn --------------------------------------------------------------------------------------------------------------- */

static void keep(struct http1 *h, struct buf *b)
{
	if (b->p && buf_keep(b))
		http1_end(h, false);
}

/* Heads only: a body that waits for a laptop that stands must not cost others theirs. */
static void count_held(struct http1 *h)
{
	size_t now = h->phase == RUNNING ? 0 : h->up.cap;

	h->base.a->heads_held += now - h->held;
	h->held = now;
}

static void ask_for_events(struct http1 *h)
{
	bool running = h->phase == RUNNING;
	bool body = running && !h->cut && !h1_request_over(h->h1) && !h->way->end.blocked;

	want(&h->client, h->phase == IDLE || h->phase == LINGERING || body);
	want(&h->app.end, !running || h->way != &h->app || !h->client.blocked);
	for (struct answerer *w = h->laptops; w; w = w->next)
		want(&w->end, !running || h->way != w || !h->client.blocked);
}

void http1_turn(struct http1 *h)
{
	h->again = true;
	if (h->inside)
		return;
	h->inside = true;
	h->moved = 0;
	while (h->again && !h->over) {
		h->again = false;
		http1_requests(h);
		keep(h, &h->up);
		count_held(h);
		if (h->phase == RUNNING && h->way->end.broken && !h->over)
			http1_lost(h);
		http1_answers(h);
		if (h->phase == LINGERING && !h->over)
			linger(h);
		keep(h, &h->down);
		if (!h->over)
			look_at_the_idle(h);
	}
	if (h->over) {
		destroy(h);
		return;
	}
	ask_for_events(h);
	h->inside = false;
}

/* --- rules that change, and the beginning ----------------------------------------------------------------------------- */

/* The laptop is away. What may be asked again is, and goes by the policy; what may not waits: it may have been done, and the laptop may come back. */
static void without_laptop(struct http1 *h, struct answerer *w)
{
	if (h->phase != RUNNING || h->way != w)
		http1_drop(h, w);
	else if (http1_may_ask_again(h))
		w->end.broken = true;
}

static void on_recheck(struct client *base)
{
	struct http1 *h = container_of(base, struct http1, base);

	for (struct answerer *w = h->laptops, *next; w; w = next) {
		const struct rule *r = rule_ref_find(base->a, w->rule);

		next = w->next;
		if (r && !r->online)
			without_laptop(h, w);
		else if (!r && h->phase == RUNNING && h->way == w)
			http1_end(h, false);
		else if (!r)
			http1_drop(h, w);
	}
	if (h->ask && ask_stale(h->ask)) {
		ask_cancel(steal_ptr(h->ask));
		h1_head_again(h->h1, h->up.p + h->up.start, h->head_len);
		http1_route(h);
	}
	http1_turn(h);
}

static void on_abort(struct client *base)
{
	struct http1 *h = container_of(base, struct http1, base);

	h->over = true;
	h->graceful = false;
	destroy(h);
}

static const struct client_ops ops = {.recheck = on_recheck, .abort = on_abort};

void http1_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n, struct iovec proxy)
{
	struct http1 *h = malloc(sizeof(*h));

	if (h)
		*h = (struct http1){.h1 = h1_new()};
	if (!h || !h->h1) {
		free(h);
		free(proxy.iov_base);
		client->ops->abort(client);
		if (app)
			app->ops->abort(app);
		return;
	}
	client_add(&h->base, a, port, &ops);
	h->client = end_of(client);
	h->app = (struct answerer){.h = h, .end = end_of(app)};
	h->proxy = proxy;
	stream_set(client, on_client, h);
	if (app)
		stream_set(app, on_answerer, &h->app);
	buf_borrow(&h->up, first, n);
	http1_turn(h);
}
