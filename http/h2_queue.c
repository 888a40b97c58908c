/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a stream that wait for the other hop: a ring that grows up to the window, and is no longer there when it is empty. */
#include <errno.h>

#include "http/h2_internal.h"

enum { FIRST_SIZE = 1024 };

static size_t queued;
static TAILQ_HEAD(h2_queue_ages, h2_queue)
ages = TAILQ_HEAD_INITIALIZER(ages);

size_t h2_queued(void)
{
	return queued;
}

struct h2_stream *h2_queue_oldest(const struct h2 *h)
{
	const struct h2_queue *q, *oldest = NULL;

	for (q = TAILQ_FIRST(&ages); q; q = TAILQ_NEXT(q, age)) {
		if (q->stream->h != h && q->stream->h->busy)
			continue;
		if (q->size >= H2_QUEUE_LARGE)
			return q->stream;
		if (!oldest)
			oldest = q;
	}
	return oldest ? oldest->stream : NULL;
}

static void copy_out(const struct h2_queue *q, uint8_t *buf, size_t n)
{
	size_t first = MIN(n, q->size - q->at);

	memcpy(buf, q->ring + q->at, first);
	memcpy(buf + first, q->ring, n - first);
}

static size_t size_for(const struct h2_queue *q, size_t need)
{
	size_t size = q->size ? q->size : FIRST_SIZE;

	while (size < need)
		size *= 2;
	return size;
}

bool h2_queue_fits(const struct h2_queue *q, size_t len)
{
	return queued - q->size + size_for(q, q->len + len) <= H2_BUFFERED_MAX;
}

static int grow(struct h2_queue *q, size_t need)
{
	size_t size = size_for(q, need);
	uint8_t *ring = malloc(size);

	if (!ring)
		return -ENOMEM;
	if (q->len)
		copy_out(q, ring, q->len);
	free(q->ring);
	queued += size - q->size;
	q->ring = ring;
	q->size = size;
	q->at = 0;
	return 0;
}

int h2_queue_put(struct h2_queue *q, const uint8_t *data, size_t len, size_t owed)
{
	size_t end, first;

	if (!len)
		return 0;
	if (q->size - q->len < len && grow(q, q->len + len))
		return -ENOMEM;
	end = (q->at + q->len) & (q->size - 1);
	first = MIN(len, q->size - end);
	memcpy(q->ring + end, data, first);
	memcpy(q->ring, data + first, len - first);
	if (!q->len && q->stream)
		TAILQ_INSERT_TAIL(&ages, q, age);
	q->len += len;
	q->owed += owed;
	return 0;
}

size_t h2_queue_take(struct h2_queue *q, uint8_t *buf, size_t n)
{
	size_t owed = MIN(n, q->owed);

	if (!n)
		return 0;
	if (buf)
		copy_out(q, buf, n);
	q->at = (q->at + n) & (q->size - 1);
	q->len -= n;
	q->owed -= owed;
	if (q->stream)
		TAILQ_REMOVE(&ages, q, age);
	if (q->len && q->stream)
		TAILQ_INSERT_TAIL(&ages, q, age);
	if (!q->len) {
		queued -= q->size;
		free(q->ring);
		q->ring = NULL;
		q->size = q->at = 0;
	}
	return owed;
}

void h2_queue_free(struct h2_queue *q)
{
	if (q->len && q->stream)
		TAILQ_REMOVE(&ages, q, age);
	queued -= q->size;
	free(q->ring);
	h2_head_free(q->trailers);
	*q = (struct h2_queue){.ended = q->ended, .stream = q->stream};
}
