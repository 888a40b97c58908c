/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a split HTTP/2 connection share.
 *
 *   http2.c   the connection: legs, routing, its end        http2_wire.c   bytes of the streams
 */
#pragma once

#include "agent/internal.h"
#include "base/stream.h"

struct http2;

/* One of the connections, with what its stream did not take. */
struct wire {
	struct http2 *c;
	struct stream *s; /* NULL = not open yet */
	struct h2_end *end;
	uint8_t *rest;
	size_t at, len;
	bool eof, dead;
	bool heard, http1; /* something; and that was HTTP/1 */
	unsigned later;	   /* events that came at the wrong time */
};

/* Writes what the end has to say, and the stream takes. True if something was written. */
bool wire_flush(struct wire *w);
/* Asks the stream for what the wire waits for. */
void wire_want(struct wire *w);
/* Reads what there is, up to a budget: sets `eof` or `dead` at the end of it. */
void wire_read(struct wire *w);
/* As h2_input(). */
int wire_input(struct wire *w, const uint8_t *data, size_t len);
/* It ends: in order, or by a reset. */
void wire_close(struct wire *w, bool gently);
