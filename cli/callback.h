/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a code flow that comes back to this computer (RFC 8252, 7.3): one request to a port of 127.0.0.1. */
#pragma once

#include "base/error.h"

struct callback;
struct event_base;

enum { CALLBACK_URI_MAX = 64, CALLBACK_CODE_MAX = 4096 };

/* Once: the code that came with `state`, or NULL and what the issuer says. Requests without that state are answered, and are nothing. */
typedef void callback_cb(void *arg, const char *code, const struct error *why);

int callback_new(struct callback **cp, struct event_base *base, callback_cb *cb, void *arg,
		 struct error *e);
void callback_free(struct callback *c); /* NULL ok */
const char *callback_uri(const struct callback *c);
/* From now on, and not before, the code is taken. */
void callback_expect(struct callback *c, const char *state);

/* Of "/path?a=b&c=d": the value of `key`, percent-decoded; false: it is not there, does not fit, or has a NUL. */
bool callback_query(const char *target, const char *key, char *to, size_t size);
