/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes, in any pieces, through the deframer. Input: u8 n, then n bytes: how much each read
 * returns (0 = as much as it asks for; in turn, the last one goes on); the rest is the stream.
 * What must hold: the same messages come out, and the same end, as from a deframer of four lines
 * that has everything at once; and what is promised to be readable around a message is (ASan).
 */
#include <errno.h>
#include <event2/event.h>

#include "base/stream.h"
#include "transport/transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct source {
	struct stream s;
	const uint8_t *data, *sizes;
	size_t len, n_sizes, at_size;
	unsigned wanted;
	bool freed;
};

static const uint8_t *expected;
static size_t expected_left;
static int ended; /* 1 = not yet */

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* --- the stream --- */

static ssize_t source_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct source *src = container_of(s, struct source, s);
	size_t most = src->n_sizes ? src->sizes[src->at_size] : 0, done = 0;

	if (src->at_size + 1 < src->n_sizes)
		src->at_size++;
	for (int i = 0; i < n; i++) {
		size_t here = MIN(iov[i].iov_len, src->len);

		if (most)
			here = MIN(here, most - done);
		memcpy(iov[i].iov_base, src->data, here);
		src->data += here;
		src->len -= here;
		done += here;
	}
	return (ssize_t)done;
}

static ssize_t source_writev(struct stream *s, const struct iovec *iov, int n)
{
	(void)s;
	(void)iov;
	(void)n;
	return -EAGAIN;
}

static void source_want(struct stream *s, unsigned ev)
{
	container_of(s, struct source, s)->wanted = ev;
}

static void source_free(struct stream *s)
{
	container_of(s, struct source, s)->freed = true;
}

static const struct stream_ops source_ops = {
	.readv = source_readv,
	.writev = source_writev,
	.want = source_want,
	.close = source_free,
	.abort = source_free,
};

/* --- what comes out --- */

static void on_receive(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride)
{
	static volatile uint8_t touch;

	(void)arg;
	require(from->transport == 7 && stride == len);
	require(expected_left >= 4 && get_le32(expected) == len && len &&
		len <= TRANSPORT_FRAME_MAX && expected_left - 4 >= len);
	require(!memcmp(expected + 4, data, len));
	expected += 4 + len;
	expected_left -= 4 + len;
	for (int i = 1; i <= TRANSPORT_HEAD; i++)
		touch = data[-i];
	for (int i = 0; i < TRANSPORT_TAIL; i++)
		touch = data[len + (size_t)i];
	(void)touch;
}

static void on_closed(void *arg, int error)
{
	(void)arg;
	require(ended == 1);
	ended = error;
}

/* Nothing whole may be left, and the end is as the rest says. */
static void check_end(void)
{
	size_t n = expected_left >= 4 ? get_le32(expected) : 0;

	if (!expected_left)
		require(ended == 0);
	else if (expected_left < 4)
		require(ended == -ECONNRESET);
	else if (!n || n > TRANSPORT_FRAME_MAX)
		require(ended == -EBADMSG);
	else
		require(n > expected_left - 4 && ended == -ECONNRESET);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct transport_ops ops = {.receive = on_receive, .closed = on_closed};
	static struct event_base *base;
	size_t n_sizes = len ? MIN((size_t)data[0], len - 1) : 0;
	struct source src = {.s.ops = &source_ops, .sizes = data + 1, .n_sizes = n_sizes};
	struct transport *t;

	if (!len)
		return 0;
	if (!base)
		base = event_base_new();
	expected = src.data = data + 1 + n_sizes;
	expected_left = src.len = len - 1 - n_sizes;
	ended = 1;
	if (!base || transport_stream_new(&t, base, &src.s, 7, &ops, NULL, NULL))
		return 0;
	while (!src.freed) {
		require(src.wanted & STREAM_READABLE);
		src.s.cb(&src.s, STREAM_READABLE, src.s.arg);
	}
	require(ended == 1); /* told by the loop, not from inside */
	event_base_loop(base, EVLOOP_NONBLOCK);
	check_end();
	transport_free(t);
	return 0;
}
