/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket: what a peer sends. The first byte: 'h' = the head of an upgrade's answer; else frames, to a client (even) or a
 * server, in reads of the size that its other bits give; what comes out is compared with a reading of the same frames at once.
 */
#include <errno.h>
#include <event2/event.h>

#include "websocket/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A carrier that has these bytes, and takes what it gets. */
struct tape {
	struct stream s;
	const uint8_t *data;
	size_t len, at, step;
};

static ssize_t tape_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct tape *t = container_of(s, struct tape, s);
	size_t done = 0;

	if (t->at == t->len)
		return 0;
	for (int i = 0; i < n && done < t->step; i++) {
		size_t len = MIN(MIN(iov[i].iov_len, t->len - t->at), t->step - done);

		memcpy(iov[i].iov_base, t->data + t->at, len);
		t->at += len;
		done += len;
	}
	return (ssize_t)done;
}

static ssize_t tape_writev(struct stream *s, const struct iovec *iov, int n)
{
	size_t done = 0;

	(void)s;
	for (int i = 0; i < n; i++)
		done += iov[i].iov_len;
	return (ssize_t)done;
}

static void tape_want(struct stream *s, unsigned ev)
{
	(void)s;
	(void)ev;
}

static void tape_end(struct stream *s)
{
	(void)s;
}

static const struct stream_ops tape_ops = {
	.readv = tape_readv,
	.writev = tape_writev,
	.want = tape_want,
	.shutdown = tape_end,
	.close = tape_end,
	.abort = tape_end,
};

/* All that comes out, and how it ends. */
static size_t receive(const uint8_t *data, size_t len, enum websocket_role role, size_t step,
		      uint8_t *out, size_t room, ssize_t *end)
{
	static struct event_base *base;
	struct tape t = {.s.ops = &tape_ops, .data = data, .len = len, .step = step};
	struct stream *s;
	size_t got = 0, before;
	ssize_t n;

	if (!base)
		base = event_base_new();
	if (websocket_new(&s, base, &t.s, role, "", 0))
		abort();
	/* -EAGAIN: it has had its turn, and would go on in the next one; this carrier is never empty. */
	do {
		before = t.at;
		n = stream_read(s, out + got, MIN(step, room - got));
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n == -EAGAIN && t.at != before));
	*end = n;
	s->ops->abort(s);
	return got;
}

static void head(const char *text, size_t len)
{
	struct handshake_answer a;

	if (handshake_answer(text, len, "dGhlIHNhbXBsZSBub25jZQ==", &a) == 0 &&
	    (a.head_len > len || a.status < 100 || (a.upgraded && a.status != 101)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum websocket_role role;
	uint8_t *copy, *one, *other;
	size_t a, b;
	ssize_t end_a, end_b;

	if (size < 2)
		return 0;
	copy = malloc(size);
	memcpy(copy, data + 1, size - 1);
	copy[size - 1] = '\0';
	if (*data == 'h') {
		head((char *)copy, size - 1);
		(void)handshake_unchunk((char *)copy, size - 1);
		free(copy);
		return 0;
	}
	role = *data & 1 ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
	one = malloc(size);
	other = malloc(size);
	a = receive(copy, size - 1, role, 1 << 20, one, size, &end_a);
	b = receive(copy, size - 1, role, (size_t)(*data >> 1) + 1, other, size, &end_b);
	if (a != b || memcmp(one, other, a) != 0 || end_a != end_b)
		abort();
	free(one);
	free(other);
	free(copy);
	return 0;
}
