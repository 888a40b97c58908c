/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that come at the end and go at the beginning. */
#include <stdarg.h>
#include <stdio.h>

#include "gateway/bytes.h"

enum { FIRST_ROOM = 2048 };

uint8_t *buf_room(struct buf *b, size_t n)
{
	size_t room = b->room ? b->room : FIRST_ROOM;
	uint8_t *p;

	if (b->off + b->len + n <= b->room)
		return b->p + b->off + b->len;
	if (b->off) {
		memmove(b->p, b->p + b->off, b->len);
		b->off = 0;
	}
	while (room < b->len + n)
		room *= 2;
	if (room > b->room) {
		p = realloc(b->p, room);
		if (!p) {
			b->failed = true;
			return NULL;
		}
		b->p = p;
		b->room = room;
	}
	return b->p + b->len;
}

void buf_added(struct buf *b, size_t n)
{
	b->len += n;
}

void buf_take(struct buf *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (!b->len)
		b->off = 0;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
	uint8_t *p = n ? buf_room(b, n) : NULL;

	if (!p)
		return;
	memcpy(p, data, n);
	buf_added(b, n);
}

void buf_text(struct buf *b, struct http_text t)
{
	buf_add(b, t.p, t.len);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	buf_add(b, text, (size_t)n);
	free(text);
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){.p = NULL};
}
