/* SPDX-License-Identifier: Apache-2.0 */
/* Frames on a stream: reading with a bound, writing through a bounded buffer. */
#include "rpc/frame.h"

#include <errno.h>

#include "base/stream.h"
#include "rpc/rpc.h"

enum { FRAME_HEAD = 4, OUT_KEEP = 16 << 10 /* a larger empty buffer is given back */ };

static int take_head(struct frame_in *in)
{
	uint32_t len = get_be32(in->head);

	if (len == 0 || len > RPC_MAX)
		return -EMSGSIZE;
	/* Untouched pages cost nothing: a peer that announces much and sends little gains nothing. */
	in->body = malloc(len);
	if (!in->body)
		return -ENOMEM;
	in->len = len;
	return 0;
}

int frame_read(struct frame_in *in, struct stream *s)
{
	for (;;) {
		ssize_t n;
		int r;

		if (in->have < FRAME_HEAD)
			n = stream_read(s, in->head + in->have, FRAME_HEAD - in->have);
		else
			n = stream_read(s, in->body + (in->have - FRAME_HEAD),
					in->len - (in->have - FRAME_HEAD));
		if (n < 0)
			return (int)n;
		if (n == 0)
			return in->have ? -EPROTO : 0;
		in->have += (uint32_t)n;
		if (in->have == FRAME_HEAD && !in->body) {
			r = take_head(in);
			if (r)
				return r;
		}
		if (in->have > FRAME_HEAD && in->have - FRAME_HEAD == in->len)
			return 1;
	}
}

void frame_in_reset(struct frame_in *in)
{
	free(in->body);
	*in = (struct frame_in){0};
}

static int reserve(struct frame_out *out, size_t more)
{
	size_t cap = out->cap ? out->cap : 1024;
	uint8_t *p;

	if (out->off) {
		memmove(out->data, out->data + out->off, out->len - out->off);
		out->len -= out->off;
		out->off = 0;
	}
	if (out->len + more > RPC_OUT_MAX)
		return -ENOBUFS;
	while (cap < out->len + more)
		cap *= 2;
	if (cap == out->cap)
		return 0;
	p = realloc(out->data, cap);
	if (!p)
		return -ENOMEM;
	out->data = p;
	out->cap = cap;
	return 0;
}

int frame_append(struct frame_out *out, const json_t *msg)
{
	size_t size = json_dumpb(msg, NULL, 0, JSON_COMPACT);
	int r;

	if (size == 0)
		return -EINVAL;
	if (size > RPC_MAX)
		return -EMSGSIZE;
	r = reserve(out, FRAME_HEAD + size);
	if (r)
		return r;
	put_be32(out->data + out->len, (uint32_t)size);
	json_dumpb(msg, (char *)out->data + out->len + FRAME_HEAD, size, JSON_COMPACT);
	out->len += FRAME_HEAD + size;
	return 0;
}

int frame_flush(struct frame_out *out, struct stream *s)
{
	while (out->off < out->len) {
		ssize_t n = stream_write(s, out->data + out->off, out->len - out->off);

		if (n < 0)
			return (int)n;
		out->off += (size_t)n;
	}
	out->off = out->len = 0;
	if (out->cap > OUT_KEEP)
		frame_out_free(out);
	return 0;
}

void frame_out_free(struct frame_out *out)
{
	free(out->data);
	*out = (struct frame_out){0};
}
