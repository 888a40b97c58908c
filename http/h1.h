/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP/1 files of http/ share. */
#pragma once

#include <llhttp.h>

#include "base/util.h"
#include "http/http.h"

/* RFC 9110, 5.6.2 */
bool http_is_token(uint8_t c);

/* How a message says where it ends, read off its head alone. */
struct h1_framing {
	bool chunked, has_length;
	uint64_t length;
	bool close, keep_alive, upgrade; /* members of Connection */
	bool http11;
};

/* How far a head that is not whole has been looked at, and where its last line begins. */
struct h1_scan {
	size_t seen, line;
};

/*
 * Reads a head: its length, or 0 = more is needed. The lines themselves are checked: each ends with CR LF and has no other, none is continued
 * by the next, the first is one of HTTP/1 and the others are fields. -EPROTO and *why if they are not, as soon as that can be seen.
 * The fields lie in memory that the next call uses again.
 */
ssize_t h1_head_read(const uint8_t *data, size_t len, bool answer, struct h1_scan *scan,
		     struct http_head *head, struct h1_framing *f, const char **why);

/* Where a chunked body ends (RFC 9112, 7.1). Nothing that has gone past is looked at again. */
struct h1_chunks {
	enum {
		CHUNK_SIZE,
		CHUNK_EXTENSION,
		CHUNK_SIZE_LF,
		CHUNK_DATA,
		CHUNK_DATA_CR,
		CHUNK_DATA_LF,
		TRAILER_START,
		TRAILER,
		TRAILER_LF,
		LAST_LF,
		CHUNKS_OVER
	} state;
	unsigned digits, trailers; /* bytes of */
	uint64_t left;		   /* CHUNK_DATA */
};
/* Goes over what belongs to it; how many bytes, or -EPROTO. */
ssize_t h1_chunks_pass(struct h1_chunks *c, const uint8_t *data, size_t len);
