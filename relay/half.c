/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction between two streams.
 *
 * Each direction moves bytes in the way that costs its two streams least, and reads only what it can get rid of, so back-pressure needs no
 * buffer of ours:
 *
 *   SPLICE   both are sockets: kernel to kernel, through a pipe held only while bytes are in it
 *   PEEK     the source shows its bytes (lwIP): written from there, consumed as far as taken
 *   RESERVE  the sink shows its free memory (lwIP): read into it
 *   COPY     neither: through a buffer on the stack; what the sink did not take waits in `rest`
 *
 * After each move it is in one state, from which the events to ask for follow:
 *
 *   EMPTY    asks the source for READABLE; also when the budget of the turn is used up
 *   BLOCKED  asks the sink for WRITABLE, and nothing of the source
 *   ENDED    the source has ended, or given all it should; asks for nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "relay/internal.h"

enum { IOV_MAX_MOVE = 16, COPY_CHUNK = 16 * 1024 };

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

static void was_read(struct half *h, size_t n)
{
	if (h->left != UINT64_MAX)
		h->left -= n;
}

/* As much of it as is left; how many of the n, and how many bytes in all. */
static int within(const struct half *h, struct iovec *iov, int n, size_t *bytes)
{
	uint64_t left = h->left;
	int i;

	for (i = 0; i < n && left; i++) {
		iov[i].iov_len = (size_t)MIN((uint64_t)iov[i].iov_len, left);
		left -= iov[i].iov_len;
	}
	if (bytes)
		*bytes = (size_t)(h->left - left);
	return i;
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
	ssize_t r = h->out->ops->writev(h->out, iov, within(h, iov, n, NULL));
	if (r <= 0)
		return blocked_if_again(h, r);
	h->in->ops->consume(h->in, (size_t)r);
	was_read(h, (size_t)r);
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
	n = within(h, iov, n, &room);
	ssize_t r = h->in->ops->readv(h->in, iov, n);
	if (r <= 0)
		return empty_if_again(h, r);
	h->drained = (size_t)r < room;
	h->out->ops->commit(h->out, (size_t)r);
	was_read(h, (size_t)r);
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

	ssize_t n = stream_read(h->in, buf, (size_t)MIN(h->left, sizeof(buf)));
	if (n <= 0)
		return empty_if_again(h, n);
	h->drained = (size_t)n < sizeof(buf);
	was_read(h, (size_t)n);
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
	ssize_t n = splice_some(h->in->ops->fd(h->in), h->pipe.wr, (size_t)MIN(h->left, PIPE_SIZE));
	if (n <= 0)
		return empty_if_again(h, n);
	was_read(h, (size_t)n);
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
 * Moves until something is in the way or the budget is used up. A source that gave less than was asked for is not asked again:
 * READABLE is level-triggered, and mostly that read would be for nothing.
 */
int half_pump(struct half *h)
{
	uint64_t limit = h->bytes + RELAY_BUDGET;
	ssize_t n = 1;

	if (h->state == ENDED)
		return 0;
	h->state = EMPTY;
	h->drained = false;
	while (n > 0 && h->bytes < limit && (h->left ? !h->drained || in_hand(h) : in_hand(h)))
		n = step(h);
	/* The budget may run out with bytes in hand: then the sink has to be asked. */
	if (n > 0 && in_hand(h))
		h->state = BLOCKED;
	if (n == 0 || (!h->left && !in_hand(h)))
		h->state = ENDED;
	if (h->pipe.rd >= 0 && !h->in_pipe)
		pipe_put(&h->pipe);
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

void half_fini(struct half *h)
{
	if (h->pipe.rd >= 0)
		pipe_discard(&h->pipe);
	free(h->rest);
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

int half_init(struct half *h, struct stream *in, struct stream *out, uint64_t left,
	      const struct iovec *held)
{
	*h = (struct half){
		.in = in, .out = out, .mode = choose_mode(in, out), .left = left, .pipe = {-1, -1}};
	ignore_sigpipe();
	if (!held || !held->iov_len)
		return 0;
	h->rest = malloc(held->iov_len);
	if (!h->rest)
		return -ENOMEM;
	memcpy(h->rest, held->iov_base, held->iov_len);
	h->rest_len = held->iov_len;
	return 0;
}

/* --- so many bytes, for who looks at the rest ------------------------------------------------------------------ */

struct relay_part {
	struct half half;
};

int relay_part_new(struct relay_part **pp, struct stream *in, struct stream *out, uint64_t len)
{
	struct relay_part *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	(void)half_init(&p->half, in, out, len, NULL); /* fails only with bytes held */
	*pp = p;
	return 0;
}

int relay_part_run(struct relay_part *p, uint64_t *delivered)
{
	uint64_t before = p->half.bytes;
	int r = half_pump(&p->half);

	*delivered = p->half.bytes - before;
	if (r)
		return r;
	switch (p->half.state) {
	case EMPTY:
		return PART_WANTS_IN;
	case BLOCKED:
		return PART_WANTS_OUT;
	case ENDED:
		break;
	}
	return p->half.left && p->half.left != UINT64_MAX ? PART_CUT : PART_DONE;
}

void relay_part_free(struct relay_part *p)
{
	if (p)
		half_fini(&p->half);
	free(p);
}
