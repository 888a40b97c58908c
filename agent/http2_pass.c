/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 connection on a port without http rules: its bytes pass through. Those of the application are followed, frame head by frame
 * head, so that GOAWAY can be put in when a rule comes: the client's next connection is split (http2.c), what runs here ends here.
 * A direction holds memory only for what its sink did not take.
 */
#include <errno.h>

#include "agent/internal.h"
#include "base/stream.h"

enum { BUDGET = 1 << 20 };

struct half {
	struct stream *in, *out;
	uint8_t *rest; /* what `out` did not take; NULL = nothing */
	size_t at, len;
	bool ended;
};

struct pass {
	struct client base;
	struct half up, down;	 /* from the client, to the client */
	struct h2_frames frames; /* of `down` */
	bool move;		 /* the client is to come again */
};

static void end(struct pass *p)
{
	p->up.in->ops->abort(p->up.in);
	p->down.in->ops->abort(p->down.in);
	free(p->up.rest);
	free(p->down.rest);
	client_remove(&p->base);
	free(p);
}

static void on_abort(struct client *base)
{
	end(container_of(base, struct pass, base));
}

/* Writes what it can; the rest is kept. */
static int put(struct half *h, const uint8_t *data, size_t len)
{
	ssize_t n = stream_write(h->out, data, len);

	if (n < 0 && n != -EAGAIN)
		return (int)n;
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return 0;
	h->len = len - (size_t)n;
	h->at = 0;
	h->rest = malloc(h->len);
	if (!h->rest)
		return -ENOMEM;
	memcpy(h->rest, data + n, h->len);
	return 0;
}

static int put_rest(struct half *h)
{
	ssize_t n = stream_write(h->out, h->rest + h->at, h->len);

	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	h->at += (size_t)n;
	h->len -= (size_t)n;
	if (!h->len) {
		free(h->rest);
		h->rest = NULL;
	}
	return 0;
}

/* May it be sent, and is it any use? One of the application's own must not be followed by a higher number. */
static bool may_move(const struct pass *p)
{
	return p->move && !p->frames.goaway && !p->down.ended;
}

/* The application's bytes, with GOAWAY put in where it fits. There is room behind them. Returns their new length. */
static size_t follow(struct pass *p, uint8_t *data, size_t len)
{
	size_t n = h2_frames_pass(&p->frames, data, len, may_move(p));

	if (!may_move(p) || !h2_frames_between(&p->frames))
		return len;
	memmove(data + n + H2_GOAWAY_LEN, data + n, len - n);
	memcpy(data + n, h2_goaway_frame, H2_GOAWAY_LEN);
	p->move = false;
	h2_frames_pass(&p->frames, data + n, len - n + H2_GOAWAY_LEN, false);
	return len + H2_GOAWAY_LEN;
}

/* 0, or what broke. */
static int pump(struct pass *p, struct half *h)
{
	uint8_t *buf = agent_scratch();
	size_t moved = 0;
	int err = h->rest ? put_rest(h) : 0;

	if (!err && !h->rest && h == &p->down && may_move(p) && h2_frames_between(&p->frames))
		err = put(h, buf, follow(p, buf, 0));
	while (!err && !h->rest && !h->ended && moved < BUDGET) {
		ssize_t n = stream_read(h->in, buf, AGENT_SCRATCH);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return (int)n;
		if (n == 0) {
			h->ended = true;
			h->out->ops->shutdown(h->out);
			break;
		}
		err = put(h, buf, h == &p->down ? follow(p, buf, (size_t)n) : (size_t)n);
		moved += (size_t)n;
		if (n < AGENT_SCRATCH) /* mostly the next read would be for nothing */
			break;
	}
	return err;
}

static void want(const struct half *in, const struct half *out)
{
	struct stream *s = in->in;

	s->ops->want(s, (!in->rest && !in->ended ? STREAM_READABLE : 0) |
				(out->rest ? STREAM_WRITABLE : 0));
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct pass *p = arg;
	struct half *in = s == p->up.in ? &p->up : &p->down;
	struct half *out = in == &p->up ? &p->down : &p->up;
	int err = ev & STREAM_ERROR ? -EIO : 0;

	if (!err && ev & STREAM_READABLE)
		err = pump(p, in);
	if (!err && ev & STREAM_WRITABLE)
		err = pump(p, out);
	if (!err && p->up.ended && p->down.ended && !p->up.rest && !p->down.rest) {
		p->up.in->ops->close(p->up.in);
		p->down.in->ops->close(p->down.in);
		client_remove(&p->base);
		free(p);
		return;
	}
	if (err) {
		end(p);
		return;
	}
	want(&p->up, &p->down);
	want(&p->down, &p->up);
}

/* A rule came, for requests or for the whole port: later connections go its way. */
static void on_recheck(struct client *base)
{
	struct pass *p = container_of(base, struct pass, base);
	struct rules *rules = &base->a->rules;
	uint16_t target = base->port->target;

	p->move = rules_http(rules, target, NULL) || rules_find(rules, target, false);
	if (may_move(p) && h2_frames_between(&p->frames))
		on_stream(p->up.in, STREAM_WRITABLE, p);
}

static void on_drain(struct client *base)
{
	struct pass *p = container_of(base, struct pass, base);

	p->move = true;
	if (may_move(p) && h2_frames_between(&p->frames))
		on_stream(p->up.in, STREAM_WRITABLE, p);
}

static const struct client_ops ops = {.recheck = on_recheck, .drain = on_drain, .abort = on_abort};

void http2_pass(struct agent *a, const struct agent_port *port, struct stream *client,
		struct stream *app, const uint8_t *first, size_t n)
{
	struct pass *p = calloc(1, sizeof(*p));

	if (!p) {
		client->ops->abort(client);
		app->ops->abort(app);
		return;
	}
	client_add(&p->base, a, port, &ops);
	p->up = (struct half){.in = client, .out = app};
	p->down = (struct half){.in = app, .out = client};
	h2_frames_init(&p->frames, false);
	stream_set(client, on_stream, p);
	stream_set(app, on_stream, p);
	if (put(&p->up, first, n)) {
		end(p);
		return;
	}
	want(&p->up, &p->down);
	want(&p->down, &p->up);
}
