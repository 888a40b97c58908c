/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: TLS 1.2 and 1.3 as a stream over a connected socket, at either end; ALPN is HTTP/1.1. The handshake is part of the first
 * read or write. Bounded: a record out, what OpenSSL holds of one in. One thread; every callback may free its stream.
 */
#pragma once

#include "base/error.h"
#include "base/stream.h"

struct event_base;
struct ssl_ctx_st;

/* Each is counted: streams hold their own, so one may be freed or replaced at any time. -EINVAL with the sentence. */
/* `cert` (with its chain) and `key` are PEM texts. */
int tls_server(struct ssl_ctx_st **ctx, const char *cert, const char *key, struct error *e);
/* Trusts the authorities in the PEM text `ca` (or NULL), and those of the system if `public`. */
int tls_client(struct ssl_ctx_st **ctx, const char *ca, bool public, struct error *e);
void tls_free(struct ssl_ctx_st *ctx); /* NULL ok */

/* Own `fd` on success: connected (or connecting), non-blocking. */
int tls_accept(struct stream **sp, struct event_base *base, struct ssl_ctx_st *ctx, int fd);
/* `name`, or an address as text, is asked for, and has to be the certificate's if `verify`. */
int tls_connect(struct stream **sp, struct event_base *base, struct ssl_ctx_st *ctx, int fd,
		const char *name, bool verify);
/* Why a stream broke with -EPROTO, in OpenSSL's words, as "certificate has expired"; "" of one that did not, or is none of ours. */
const char *tls_reason(const struct stream *s);
/* Is the handshake over? True of what is none of ours. */
bool tls_is_up(const struct stream *s);
