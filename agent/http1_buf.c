/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between reading and writing. */
#include <errno.h>

#include "agent/http1.h"

enum { BUF_MIN = 1024 };

/* Room for `more` bytes behind what is there, in memory of its own. */
static int grow(struct buf *b, size_t more)
{
	size_t cap = b->cap ? b->cap : BUF_MIN;
	uint8_t *bigger;

	while (cap < b->end + more)
		cap *= 2;
	if (cap == b->cap)
		return 0;
	bigger = realloc(b->cap ? b->p : NULL, cap);
	if (!bigger)
		return -ENOMEM;
	if (!b->cap && b->p)
		memcpy(bigger, b->p, b->end);
	b->p = bigger;
	b->cap = cap;
	return 0;
}

static size_t needed(const struct buf *b)
{
	return b->hold ? b->start : MIN(b->ready, b->sent);
}

/* To the front, what is needed. */
static void compact(struct buf *b, size_t from)
{
	memmove(b->p, b->p + from, b->end - from);
	b->start -= MIN(from, b->start);
	b->ready -= from;
	b->sent -= from;
	b->end -= from;
}

ssize_t buf_read(struct buf *b, struct stream *s, size_t most)
{
	ssize_t n;

	if (!b->p)
		*b = (struct buf){.p = agent_scratch()};
	if (b->end > AGENT_SCRATCH / 2)
		compact(b, needed(b));
	if (b->end >= AGENT_SCRATCH)
		return -ENOBUFS;
	most = MIN(most, AGENT_SCRATCH - b->end);
	if (b->cap) {
		/* A head that comes in drops does not get the room of a whole one. */
		most = MIN(most, MAX((size_t)BUF_MIN, b->cap - b->end));
		if (grow(b, most))
			return -ENOMEM;
	}
	n = stream_read(s, b->p + b->end, most);
	if (n > 0)
		b->end += (size_t)n;
	return n;
}

void buf_borrow(struct buf *b, const uint8_t *data, size_t n)
{
	*b = (struct buf){.p = (uint8_t *)(uintptr_t)data, .end = n};
}

int buf_insert(struct buf *b, size_t at, const char *text, size_t len)
{
	if (b->cap || !b->p ? grow(b, len) : b->end + len > AGENT_SCRATCH + AGENT_SCRATCH_ROOM)
		return -ENOMEM;
	memmove(b->p + at + len, b->p + at, b->end - at);
	memcpy(b->p + at, text, len);
	b->end += len;
	return 0;
}

void buf_remove(struct buf *b, size_t at, size_t len)
{
	memmove(b->p + at, b->p + at + len, b->end - at - len);
	b->end -= len;
}

int buf_keep(struct buf *b)
{
	size_t from = needed(b);

	if (!b->p)
		return 0;
	if (from == b->end) {
		buf_free(b);
		return 0;
	}
	if (b->cap && !from)
		return 0;
	if (!b->cap) {
		struct buf kept = {.start = b->start - MIN(from, b->start),
				   .ready = b->ready - from,
				   .sent = b->sent - from,
				   .hold = b->hold};

		if (grow(&kept, b->end - from))
			return -ENOMEM;
		kept.end = b->end - from;
		memcpy(kept.p, b->p + from, kept.end);
		*b = kept;
		return 0;
	}
	compact(b, from);
	return 0;
}

void buf_free(struct buf *b)
{
	if (b->cap)
		free(b->p);
	*b = (struct buf){.p = NULL};
}
