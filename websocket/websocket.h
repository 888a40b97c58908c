/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket: RFC 6455 as a stream: what is written goes out in binary messages, whose borders mean nothing; over any
 * other stream, at either end. It is pinged every 10 s and dead (-ETIMEDOUT) after 25 s without a byte, or after 60 s where the
 * carrier takes nothing from us either. Whose owner pauses answers no pings, but sends its own, and hears nothing by right;
 * another kind of peer that does not read for so long is taken for dead. A close frame of code 1000 is the end of the stream, any other
 * -ECONNRESET; shutdown() sends a close frame (a WebSocket has no half-close, so what the peer still sends before its own is
 * read). One thread; every callback may free its object.
 */
#pragma once

#include "base/clock.h"
#include "base/stream.h"

struct event_base;

enum websocket_role { WEBSOCKET_CLIENT, WEBSOCKET_SERVER }; /* a client masks what it sends */

enum {
	WEBSOCKET_KEY_LEN = 24,
	WEBSOCKET_ACCEPT_LEN = 28,
	/* Bytes of a message that we send, and how many more where they are the last. A WebSocket in a channel of another fits
	 * that one's messages, and all of it 64 KiB: no message, and no record of TLS, is a short rest. */
	WEBSOCKET_MESSAGE_MAX = 64 * 1024 - 32,
	WEBSOCKET_MESSAGE_SLACK = 16,
};

/* Owns `carrier` on success. `early`: bytes that came behind the HTTP head, copied; -EMSGSIZE above 48 KiB. */
int websocket_new(struct stream **sp, struct event_base *base, struct stream *carrier,
		  enum websocket_role role, const void *early, size_t early_len);
/* Why it ended, in words of the peer's close frame, or "". */
const char *websocket_reason(const struct stream *s);

/*
 * For protocols whose messages have borders. Sending: what one call of writev() takes is one message. Receiving, instead of
 * readv(): bytes of one message only; *begin = they are its first.
 */
ssize_t websocket_receive(struct stream *s, const struct iovec *iov, int n, bool *begin);

/* Sec-WebSocket-Key of a client, and the Sec-WebSocket-Accept that answers it (section 4.2.2). */
void websocket_key(char key[static WEBSOCKET_KEY_LEN + 1]);
void websocket_accept(const char *key, char accept[static WEBSOCKET_ACCEPT_LEN + 1]);
/* Is `word` one of the comma-separated words of `value`? Any case. */
bool websocket_has_word(const char *value, const char *word);

/* --- a client's handshake over a stream that is connected ----------------------------------------------- */

struct websocket_dial;

struct websocket_call {
	const char *host, *path; /* "NAME:PORT"; with the query */
	const char *protocol;	 /* NULL = none; else the server must choose it */
	const char *headers;	 /* more "Name: value\r\n" lines, or NULL */
	nsec_t timeout;		 /* 0 = 30 s */
};

/* Why there is no WebSocket. */
struct websocket_refusal {
	/* -ECONNREFUSED: it answered `status`; -EPROTO: no HTTP, or not the protocol asked for; -ETIMEDOUT; what broke the
	 * carrier */
	int error;
	int status;	  /* 0 = none came */
	const char *body; /* of the answer, bounded; NUL-terminated, borrowed for the callback */
	size_t len;
	const char *why;	      /* half a sentence */
	const struct stream *carrier; /* it may know more; aborted after the callback */
};

typedef void websocket_dial_cb(void *arg, struct stream *s, const struct websocket_refusal *why);

/* Owns `carrier` from success on. Exactly one callback, from the loop: a stream (the caller's), or NULL and why. -EINVAL: a
 * line break in the call. */
int websocket_dial(struct websocket_dial **dp, struct event_base *base, struct stream *carrier,
		   const struct websocket_call *call, websocket_dial_cb *cb, void *arg);
void websocket_dial_cancel(struct websocket_dial *d); /* NULL ok; before its callback only */
