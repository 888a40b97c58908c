/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams joined.
 *
 * A join is two independent directions (struct half). Each moves bytes in the way that costs its
 * two streams least, and reads only what it can get rid of, so back-pressure needs no buffer of
 * ours:
 *
 *   SPLICE   both are sockets: kernel to kernel, through a pipe held only while bytes are in it
 *   PEEK     the source shows its bytes (lwIP): written from there, consumed as far as taken
 *   RESERVE  the sink shows its free memory (lwIP): read into it
 *   COPY     neither: through a buffer on the stack; what the sink did not take waits in `rest`
 *
 * After each move a half is in one state, from which the events to ask for follow:
 *
 *   EMPTY    asks the source for READABLE; also when the budget of the turn is used up
 *   BLOCKED  asks the sink for WRITABLE, and nothing of the source
 *   ENDED    the source's end was passed on as shutdown; asks for nothing
 *
 * Both ENDED: closed, done. An error anywhere: both aborted, done. A stream may call back while we
 * are inside one of its operations; then the work is put off to the next turn of the loop, as is a
 * result found inside relay_join().
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>

#include "relay/internal.h"

enum { IOV_MAX_MOVE = 16, COPY_CHUNK = 16 * 1024 };

enum half_mode { SPLICE, PEEK, RESERVE, COPY };
enum half_state { EMPTY, BLOCKED, ENDED };

struct half {
	struct stream *in, *out;
	enum half_mode mode;
	enum half_state state;
	uint64_t bytes;
	bool drained;	       /* the last read left the source empty, as far as can be told */
	struct pipe_pair pipe; /* SPLICE; rd -1 = none */
	size_t in_pipe;
	uint8_t *
		rest; /* what was read and not yet taken (COPY, or before the join); NULL = nothing */
	size_t rest_off, rest_len;
};

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

static enum half_mode choose_mode(struct stream *in, struct stream *out)
{
	if (in->ops->peek)
		return PEEK;
	if (out->ops->reserve)
		return RESERVE;
	if (in->ops->fd && out->ops->fd && in->ops->fd(in) >= 0 && out->ops->fd(out) >= 0)
		return SPLICE;
	return COPY;
}

/*
 * A step moves some bytes. > 0 bytes delivered (or, SPLICE and COPY, read); 0 the source has ended
 * and nothing waits; -EAGAIN with h->state set; other negative errno.
 */
static ssize_t blocked_if_again(struct half *h, ssize_t n)
{
	if (n == -EAGAIN)
		h->state = BLOCKED;
	return n == 0 ? -EPIPE : n; /* a sink that takes 0 of more than 0 bytes would spin */
}

static ssize_t empty_if_again(struct half *h, ssize_t n)
{
	if (n == -EAGAIN)
		h->state = EMPTY;
	return n;
}

static ssize_t step_peek(struct half *h)
{
	struct iovec iov[IOV_MAX_MOVE];
	int n = h->in->ops->peek(h->in, iov, IOV_MAX_MOVE);

	if (n <= 0)
		return empty_if_again(h, n);
	ssize_t r = h->out->ops->writev(h->out, iov, n);
	if (r <= 0)
		return blocked_if_again(h, r);
	h->in->ops->consume(h->in, (size_t)r);
	h->bytes += (size_t)r;
	return r;
}

static ssize_t step_reserve(struct half *h)
{
	struct iovec iov[IOV_MAX_MOVE];
	size_t room = 0;
	int n = h->out->ops->reserve(h->out, iov, IOV_MAX_MOVE);

	if (n <= 0)
		return blocked_if_again(h, n);
	for (int i = 0; i < n; i++)
		room += iov[i].iov_len;
	ssize_t r = h->in->ops->readv(h->in, iov, n);
	if (r <= 0)
		return empty_if_again(h, r);
	h->drained = (size_t)r < room;
	h->out->ops->commit(h->out, (size_t)r);
	h->bytes += (size_t)r;
	return r;
}

/* Writes what waits; only when all of it is gone more is read. */
static ssize_t step_rest(struct half *h)
{
	ssize_t r = stream_write(h->out, h->rest + h->rest_off, h->rest_len);

	if (r <= 0)
		return blocked_if_again(h, r);
	h->bytes += (size_t)r;
	h->rest_off += (size_t)r;
	h->rest_len -= (size_t)r;
	if (!h->rest_len) {
		free(h->rest);
		h->rest = NULL;
	}
	return r;
}

static ssize_t step_copy(struct half *h)
{
	uint8_t buf[COPY_CHUNK];

	ssize_t n = stream_read(h->in, buf, sizeof(buf));
	if (n <= 0)
		return empty_if_again(h, n);
	h->drained = (size_t)n < sizeof(buf);
	ssize_t r = stream_write(h->out, buf, (size_t)n);
	if (r < 0 && r != -EAGAIN)
		return r;
	size_t taken = r > 0 ? (size_t)r : 0;
	h->bytes += taken;
	if (taken == (size_t)n)
		return n;
	h->rest_off = 0;
	h->rest_len = (size_t)n - taken;
	h->rest = malloc(h->rest_len);
	if (!h->rest)
		return -ENOMEM;
	memcpy(h->rest, buf + taken, h->rest_len);
	return n;
}

static ssize_t splice_some(int from, int to, size_t len)
{
	ssize_t n;

	do {
		n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* The pipe is empty before the source is read, so -EAGAIN there is the source's and never a full
 * pipe's. */
static ssize_t step_splice(struct half *h)
{
	if (h->in_pipe) {
		ssize_t n = splice_some(h->pipe.rd, h->out->ops->fd(h->out), h->in_pipe);
		if (n <= 0)
			return blocked_if_again(h, n);
		h->in_pipe -= (size_t)n;
		h->bytes += (size_t)n;
		return n;
	}
	if (h->pipe.rd < 0 && pipe_get(&h->pipe) < 0) {
		h->mode = COPY; /* out of descriptors: slower, not broken */
		return step_copy(h);
	}
	ssize_t n = splice_some(h->in->ops->fd(h->in), h->pipe.wr, PIPE_SIZE);
	if (n <= 0)
		return empty_if_again(h, n);
	/* Also a pipe that is short of slots ends a read early, but hardly so early. */
	h->drained = n < COPY_CHUNK;
	h->in_pipe = (size_t)n;
	return n;
}

static ssize_t step(struct half *h)
{
	if (h->rest)
		return step_rest(h);
	switch (h->mode) {
	case SPLICE:
		return step_splice(h);
	case PEEK:
		return step_peek(h);
	case RESERVE:
		return step_reserve(h);
	case COPY:
		break;
	}
	return step_copy(h);
}

/* Bytes that were read and could not be delivered yet. */
static bool in_hand(const struct half *h)
{
	return h->in_pipe || h->rest;
}

/*
 * Moves until something is in the way or the budget is used up. 0, or what broke. A source that
 * gave less than was asked for is not asked again: READABLE is level-triggered, and mostly that
 * read would be for nothing.
 */
static int pump(struct half *h)
{
	uint64_t limit = h->bytes + RELAY_BUDGET;
	ssize_t n = 1;

	if (h->state == ENDED)
		return 0;
	h->state = EMPTY;
	h->drained = false;
	while (n > 0 && h->bytes < limit && (!h->drained || in_hand(h)))
		n = step(h);
	/* The budget may run out with bytes in hand: then the sink has to be asked. */
	if (n > 0 && in_hand(h))
		h->state = BLOCKED;
	if (n == 0) {
		h->state = ENDED;
		h->out->ops->shutdown(h->out);
	}
	if (h->pipe.rd >= 0 && !h->in_pipe)
		pipe_put(&h->pipe);
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static void half_fini(struct half *h)
{
	if (h->pipe.rd >= 0)
		pipe_discard(&h->pipe);
	free(h->rest);
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

/* splice(2) knows no MSG_NOSIGNAL: a peer that goes must not kill the program. A handler of its own
 * stays. */
static void ignore_sigpipe(void)
{
	static bool seen;
	struct sigaction old;

	if (seen)
		return;
	seen = true;
	if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

static int half_init(struct half *h, struct stream *in, struct stream *out,
		     const struct iovec *held)
{
	*h = (struct half){.in = in, .out = out, .mode = choose_mode(in, out), .pipe = {-1, -1}};
	if (!held->iov_len)
		return 0;
	h->rest = malloc(held->iov_len);
	if (!h->rest)
		return -ENOMEM;
	memcpy(h->rest, held->iov_base, held->iov_len);
	h->rest_len = held->iov_len;
	return 0;
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
	if (half_init(&r->ab, a, b, &held[0]) || half_init(&r->ba, b, a, &held[1])) {
		free(r->ab.rest);
		free(r);
		return -ENOMEM;
	}
	ignore_sigpipe();
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
