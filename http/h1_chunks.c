/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunked coding (RFC 9112, 7.1). Not llhttp's: that looks for a CR in an extension, and passes over an LF that others take for the
 * end of the line. The fuzzer asks both.
 */
#include <errno.h>

#include "http/h1.h"

enum { TRAILERS_MAX = HTTP_HEAD_MAX, SIZE_DIGITS_MAX = 15, EXTENSION_MAX = 4096 };

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_char(struct h1_chunks *c, uint8_t b)
{
	int value = hex(b);

	if (value >= 0 && c->digits < SIZE_DIGITS_MAX) {
		c->digits++;
		c->left = c->left << 4 | (uint64_t)value;
		return true;
	}
	if (!c->digits || (b != ';' && b != '\r'))
		return false;
	c->digits = 0;
	c->state = b == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
	return true;
}

static bool extension_char(struct h1_chunks *c, uint8_t b)
{
	if (b == '\r') {
		c->digits = 0;
		c->state = CHUNK_SIZE_LF;
		return true;
	}
	return (b == '\t' || (b >= ' ' && b < 0x7f)) && ++c->digits <= EXTENSION_MAX;
}

static bool expect(struct h1_chunks *c, uint8_t b, uint8_t what, int next)
{
	c->state = next;
	return b == what;
}

/* A trailer's name is a token, and its line may not be folded. `digits`: of the name. */
static bool trailer_char(struct h1_chunks *c, uint8_t b)
{
	if (++c->trailers > TRAILERS_MAX)
		return false;
	if (c->state == TRAILER_START) {
		if (b == ':' && c->digits) {
			c->digits = 0;
			c->state = TRAILER;
			return true;
		}
		if (b == '\r' && !c->digits) {
			c->state = LAST_LF;
			return true;
		}
		c->digits++;
		return http_is_token(b);
	}
	if (b == '\r') {
		c->state = TRAILER_LF;
		return true;
	}
	return b == '\t' || (b >= ' ' && b != 0x7f);
}

static bool one(struct h1_chunks *c, uint8_t b)
{
	switch (c->state) {
	case CHUNK_SIZE:
		return size_char(c, b);
	case CHUNK_EXTENSION:
		return extension_char(c, b);
	case CHUNK_SIZE_LF:
		return expect(c, b, '\n', c->left ? CHUNK_DATA : TRAILER_START);
	case CHUNK_DATA_CR:
		return expect(c, b, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF:
		return expect(c, b, '\n', CHUNK_SIZE);
	case TRAILER_START:
	case TRAILER:
		return trailer_char(c, b);
	case TRAILER_LF:
		return expect(c, b, '\n', TRAILER_START);
	case LAST_LF:
		return expect(c, b, '\n', CHUNKS_OVER);
	case CHUNK_DATA:
	case CHUNKS_OVER:
		break;
	}
	return false;
}

ssize_t h1_chunks_pass(struct h1_chunks *c, const uint8_t *data, size_t len)
{
	size_t i = 0;

	while (i < len && c->state != CHUNKS_OVER) {
		if (c->state == CHUNK_DATA) {
			size_t n = (size_t)MIN((uint64_t)(len - i), c->left);

			i += n;
			c->left -= n;
			if (!c->left)
				c->state = CHUNK_DATA_CR;
		} else if (!one(c, data[i++])) {
			return -EPROTO;
		}
	}
	return (ssize_t)i;
}
