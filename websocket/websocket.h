/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket: RFC 6455 as a stream: what is written goes out in binary messages, whose borders mean nothing; over any
 * other stream, at either end. It is pinged every 10 s and dead (-ETIMEDOUT) after 25 s without a byte. A close
 * frame of code 1000 is the end of the stream, any other -ECONNRESET; shutdown() sends a close frame (a WebSocket has no half-close,
 * so what the peer still sends before its own is read). One thread; every callback may free its object.
 */
#pragma once

#include "base/stream.h"

struct event_base;

enum websocket_role { WEBSOCKET_CLIENT, WEBSOCKET_SERVER }; /* a client masks what it sends */

enum { WEBSOCKET_KEY_LEN = 24, WEBSOCKET_ACCEPT_LEN = 28 };

/* Owns `carrier` on success. `early`: bytes that came behind the HTTP head, copied. */
int websocket_new(struct stream **sp, struct event_base *base, struct stream *carrier,
		  enum websocket_role role, const void *early, size_t early_len);
/* Why it ended, in words of the peer's close frame, or "". */
const char *websocket_reason(const struct stream *s);

/* Sec-WebSocket-Key of a client, and the Sec-WebSocket-Accept that answers it (section 4.2.2). */
void websocket_key(char key[static WEBSOCKET_KEY_LEN + 1]);
void websocket_accept(const char *key, char accept[static WEBSOCKET_ACCEPT_LEN + 1]);
