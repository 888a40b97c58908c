/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams joined.
 *
 * A join is two independent directions (struct half, half.c). What one reads to its end is passed on as shutdown.
 *
 * Both ENDED: closed, done. An error anywhere: both aborted, done. A stream may call back while we
 * are inside one of its operations; then the work is put off to the next turn of the loop, as is a
 * result found inside relay_join().
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "relay/internal.h"

struct relay {
	struct half ab, ba;
	unsigned want_a, want_b; /* what the streams were asked for */
	bool inside;		 /* within one of the streams' operations */
	bool over;		 /* only the telling is left, by `later` */
	int error;
	void (*done)(void *arg, const struct relay_result *res);
	void *arg;
	struct event later;
};

static int pump(struct half *h)
{
	bool ended = h->state == ENDED;
	int r = half_pump(h);

	if (h->state == ENDED && !ended)
		h->out->ops->shutdown(h->out);
	return r;
}

static void relay_free(struct relay *r)
{
	event_del(&r->later);
	half_fini(&r->ab);
	half_fini(&r->ba);
	free(r);
}

void relay_abort(struct relay *r)
{
	r->ab.in->ops->abort(r->ab.in);
	r->ba.in->ops->abort(r->ba.in);
	relay_free(r);
}

/* Frees r, then tells: the callback may do what it likes. */
static void finish(struct relay *r)
{
	struct relay_result res = {.a_to_b = r->ab.bytes, .b_to_a = r->ba.bytes, .error = r->error};
	void (*done)(void *, const struct relay_result *) = r->done;
	void *arg = r->arg;

	if (r->error) {
		relay_abort(r);
	} else {
		r->ab.in->ops->close(r->ab.in);
		r->ba.in->ops->close(r->ba.in);
		relay_free(r);
	}
	if (done)
		done(arg, &res);
}

static void ask(struct stream *s, unsigned *asked, const struct half *from, const struct half *to)
{
	unsigned ev = (from->state == EMPTY ? STREAM_READABLE : 0) |
		      (to->state == BLOCKED ? STREAM_WRITABLE : 0);

	if (ev != *asked) {
		*asked = ev;
		s->ops->want(s, ev);
	}
}

/* Runs the directions named; true when the join is over. */
static bool turn(struct relay *r, bool ab, bool ba)
{
	r->inside = true;
	if (!r->error && ab)
		r->error = pump(&r->ab);
	if (!r->error && ba)
		r->error = pump(&r->ba);
	r->over = r->error || (r->ab.state == ENDED && r->ba.state == ENDED);
	if (!r->over) {
		ask(r->ab.in, &r->want_a, &r->ab, &r->ba);
		ask(r->ba.in, &r->want_b, &r->ba, &r->ab);
	}
	r->inside = false;
	return r->over;
}

static void on_later(int fd, short what, void *arg)
{
	struct relay *r = arg;

	(void)fd;
	(void)what;
	if (r->over || turn(r, true, true))
		finish(r);
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct relay *r = arg;
	bool is_a = s == r->ab.in;

	if ((ev & STREAM_ERROR) && !r->error)
		r->error = s->error ? s->error : -EIO;
	if (r->inside || r->over) {
		event_active(&r->later, EV_TIMEOUT, 1);
		return;
	}
	bool ab = is_a ? ev & STREAM_READABLE : ev & STREAM_WRITABLE;
	bool ba = is_a ? ev & STREAM_WRITABLE : ev & STREAM_READABLE;
	if (turn(r, ab, ba))
		finish(r);
}

int relay_join(struct event_base *base, struct stream *a, struct stream *b,
	       void (*done)(void *arg, const struct relay_result *res), void *arg,
	       struct relay **rp)
{
	const struct iovec none[2] = {{0}};

	return relay_join_held(base, a, b, none, done, arg, rp);
}

int relay_join_held(struct event_base *base, struct stream *a, struct stream *b,
		    const struct iovec held[2],
		    void (*done)(void *arg, const struct relay_result *res), void *arg,
		    struct relay **rp)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (half_init(&r->ab, a, b, UINT64_MAX, &held[0]) ||
	    half_init(&r->ba, b, a, UINT64_MAX, &held[1])) {
		free(r->ab.rest);
		free(r);
		return -ENOMEM;
	}
	r->want_a = r->want_b = ~0U; /* what they are asked for now is unknown */
	r->done = done;
	r->arg = arg;
	event_assign(&r->later, base, -1, 0, on_later, r);
	stream_set(a, on_stream, r);
	stream_set(b, on_stream, r);
	*rp = r;
	if (turn(r, true, true))
		event_active(&r->later, EV_TIMEOUT, 1);
	return 0;
}
