/* SPDX-License-Identifier: Apache-2.0 */
/* Frames on a stream: u32 length (big endian), then that many bytes of JSON, at most RPC_MAX. */
#pragma once

#include <jansson.h>

#include "base/util.h"

struct stream;

struct frame_in {
	uint8_t head[4];
	uint8_t *body; /* allocated when the head is there */
	uint32_t len;  /* of the body */
	uint32_t have; /* bytes read, the head's included */
};

struct frame_out {
	uint8_t *data;
	size_t off, len, cap; /* data[off..len) is unsent */
};

/* Reads on. 1: a whole frame lies in body[0..len), call frame_in_reset() after use. 0: the stream ended between
 * frames. -EAGAIN; -EMSGSIZE the length is 0 or above RPC_MAX; -EPROTO it ended inside a frame; -errno. */
int frame_read(struct frame_in *in, struct stream *s);
void frame_in_reset(struct frame_in *in);

/* Appends a message. -EMSGSIZE: it is larger than RPC_MAX (nothing was appended); -ENOBUFS: the reader does
 * not keep up (RPC_OUT_MAX); -ENOMEM. */
int frame_append(struct frame_out *out, const json_t *msg);
/* Writes what the stream takes: 0 = all is out, -EAGAIN, -errno. */
int frame_flush(struct frame_out *out, struct stream *s);
void frame_out_free(struct frame_out *out);
