/* SPDX-License-Identifier: Apache-2.0 */
/* Inside transport/: the state of a transport over a stream, shared by its life, the way out and
 * the way in. */
#pragma once

#include "base/stream.h"
#include "transport/internal.h"

struct event;

enum {
	FRAME_HEAD = 4,	      /* its length */
	RX_BYTES = 256 << 10, /* of a read */
	CHUNK_BYTES = TRANSPORT_HEAD + 2 * (FRAME_HEAD + TRANSPORT_FRAME_MAX) + TRANSPORT_TAIL,
};

/* A piece of the queue: whole frames from TRANSPORT_HEAD to `end`, one behind the other. */
struct chunk {
	struct chunk *next;
	size_t start, end; /* of what is still to be written */
	uint8_t mem[CHUNK_BYTES];
};

struct stream_transport {
	struct transport t;
	struct stream *s; /* NULL: ended */
	int error;	  /* why */
	/* Tells closed() and writable() from the loop, whoever's call they came out of. */
	struct event *later;
	bool tell_closed, tell_writable;

	struct chunk *first, *last;
	size_t queued; /* bytes in them */
	bool blocked;  /* the stream takes no more: its WRITABLE is awaited */
	bool full;     /* was above TRANSPORT_HIGH, and not below TRANSPORT_LOW since */

	/* What a read ended in the middle of. */
	uint8_t head[FRAME_HEAD]; /* of a frame whose length has not come as a whole */
	size_t head_len;
	uint8_t *partial; /* a frame whose length is known: TRANSPORT_HEAD bytes into its memory */
	size_t partial_len, partial_have;
};

static inline struct stream_transport *stream_self(struct transport *t)
{
	return container_of(t, struct stream_transport, t);
}

/* stream.c: nothing is read or written from now on; the loop will tell. The stream is gone after
 * it. */
void stream_end(struct stream_transport *st, int error);
/* Memory that all streams share: see there. */
uint8_t *stream_shared_rx(void);
struct chunk *stream_chunk_new(void);
void stream_chunk_free(struct chunk *c);

/* stream_send.c */
void stream_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		 size_t stride);
void stream_flush(struct transport *t);
/* Frees the queue; what was in it counts as lost. */
void stream_discard(struct stream_transport *st);

/* stream_receive.c */
void stream_receive(struct stream_transport *st);
void stream_partial_free(struct stream_transport *st);
