/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of websocket/ share: frames and the handshake; bytes only. */
#pragma once

#include "websocket/websocket.h"

/* --- frame.c: RFC 6455, 5.2 --------------------------------------------------------------------------- */

enum {
	FRAME_HEAD_MAX = 14,
	FRAME_CONTROL_MAX = 125,
};

enum frame_opcode {
	FRAME_CONTINUATION = 0,
	FRAME_TEXT = 1,
	FRAME_BINARY = 2,
	FRAME_CLOSE = 8,
	FRAME_PING = 9,
	FRAME_PONG = 10,
};

struct frame {
	uint64_t len; /* of the payload */
	uint8_t opcode, mask[4];
	bool fin, masked;
};

static inline bool frame_is_control(const struct frame *f)
{
	return f->opcode & 8;
}

/* Bytes of the head, 0 = more are needed, -EPROTO = what no endpoint may send. */
int frame_parse(struct frame *f, const void *data, size_t len);
/* A whole message's frame; `mask` NULL = none. The length of the head. */
size_t frame_head(uint8_t out[static FRAME_HEAD_MAX], enum frame_opcode opcode, size_t len,
		  const uint8_t *mask);
/* dst = src ^ mask, for the payload's bytes from `offset` on. dst may be src. */
void frame_mask(void *dst, const void *src, size_t len, const uint8_t mask[static 4],
		uint64_t offset);

/* --- handshake.c: RFC 6455, 4 ------------------------------------------------------------------------- */

enum { HANDSHAKE_HEAD_MAX = 16384 };

struct handshake_answer {
	int status;
	size_t head_len;	/* with the empty line */
	long long body_len;	/* -1 = until the end, or chunked */
	bool chunked, upgraded; /* the headers fit our key */
	char protocol[64];
};

/* The request's text, malloc'ed; NULL = no memory. */
char *handshake_request(const struct websocket_call *call, const char *key);
/* 0 = complete, -EAGAIN = more bytes are needed, -EPROTO. */
int handshake_answer(const char *data, size_t len, const char *key, struct handshake_answer *a);
/* The new length of a chunked body, in place. What is malformed ends it. */
size_t handshake_unchunk(char *body, size_t len);

/* sha1.c, for Sec-WebSocket-Accept alone. */
void sha1(const void *data, size_t len, uint8_t digest[static 20]);
